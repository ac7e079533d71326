import pytest

from tool_catalog.rate import interval_of


@pytest.mark.parametrize(
    ("rate", "interval_s"), [("10/min", 6.0), ("2/s", 0.5), ("100/h", 36.0), ("1/h", 3600.0)]
)
def test_a_rate_is_an_interval(rate, interval_s):
    assert interval_of(rate) == interval_s


@pytest.mark.parametrize("rate", ["", "0/s", "10", "10/m", "10 / min", "-1/s", "1.5/s", "1/sec"])
def test_what_is_no_rate(rate):
    with pytest.raises(ValueError, match="10/min"):
        interval_of(rate)

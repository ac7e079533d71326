import pytest

from app.plan_name import PlanName, is_plan_text, read_plan_name


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("nightly", "nightly", None),
        ("nightly@3", "nightly", 3),
        ("a", "a", None),
        ("a" + "b" * 62 + "@999999999", "a" + "b" * 62, 999_999_999),
        ("check-2-disks", "check-2-disks", None),
        ("schema-1", "schema-1", None),
    ],
)
def test_a_name_reads_and_writes_back(text, name, version):
    assert read_plan_name(text) == PlanName(name, version)
    assert str(PlanName(name, version)) == text


@pytest.mark.parametrize(
    "text",
    ["", "Nightly", "2nd", "-a", "a_b", "a.b", "a b", "nightly@", "nightly@0", "nightly@03", "a@-1",
     "nightly@1000000000", "a@1@2", "a" * 64, "nightly\n", "./nightly", "nächtlich",
     "schema", "schema@1"],
)  # fmt: skip
def test_what_can_be_no_name(text):
    assert read_plan_name(text) is None


@pytest.mark.parametrize("text", ["steps: []", '{"steps": []}', "nightly\n", "\n"])
def test_a_text_is_no_name(text):
    assert is_plan_text(text)


@pytest.mark.parametrize("given", ["nightly", "nightly@3", "Nightly", "", {"steps": []}, None])
def test_a_name_is_no_text(given):
    assert not is_plan_text(given)

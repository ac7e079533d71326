from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calendar import (
    MAX_KEPT,
    Timing,
    find_timing_faults,
    is_in_time,
    next_due,
    next_dues,
    passed_dues,
)

NOW = datetime(2026, 3, 1, 12, 0, 30, 250000, tzinfo=UTC)
BERLIN = "Europe/Berlin"
#: When the clocks of Berlin, St John's and Troll (by two hours) change. Lord Howe Island is left
#: out: it alone changes by half an hour, and cronsim 2.8 takes whole hours there once a year.
CHANGES = [
    "2026-03-08T05:30+00:00",
    "2026-03-29T01:00+00:00",
    "2026-10-25T01:00+00:00",
    "2026-11-01T04:30+00:00",
]


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def dues_of(cron, zone, after, count):
    timing = Timing(cron=cron, timezone=zone)
    first = next_due(timing, at(after))
    return [due.isoformat() for due in next_dues(timing, first, count)]


def test_cron_is_read_in_its_time_zone():
    assert dues_of("30 2 * * 1-5", BERLIN, "2026-03-06T00:00+01:00", 2) == [
        "2026-03-06T02:30:00+01:00",
        "2026-03-09T02:30:00+01:00",
    ]


def test_a_time_that_the_spring_change_leaves_out_comes_at_the_first_minute_that_exists():
    assert dues_of("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", 3) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
        "2026-03-31T02:30:00+02:00",
    ]


def test_two_times_in_the_spring_gap_fall_together_into_one():
    assert dues_of("0,30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:00:00+02:00",
    ]


def test_a_time_that_the_autumn_change_repeats_comes_once():
    assert dues_of("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_asked_for_in_the_repeated_hour_the_next_due_is_never_in_the_past():
    second_pass = "2026-10-25T02:10:00+01:00"
    assert dues_of("30 2 * * *", BERLIN, second_pass, 1) == ["2026-10-26T02:30:00+01:00"]


def test_every_quarter_of_an_hour_goes_on_through_both_changes():
    timing = Timing(cron="*/15 * * * *", timezone=BERLIN)
    for day in ("2026-03-29T00:00+01:00", "2026-10-25T00:00+02:00"):
        dues = next_dues(timing, next_due(timing, at(day)), 24)
        assert {later.astimezone(UTC) - due.astimezone(UTC) for due, later in pairwise(dues)} == {
            timedelta(minutes=15)
        }


def test_an_interval_counts_real_seconds():
    timing = Timing(interval_s=1.5, timezone=BERLIN)
    assert next_due(timing, NOW) == NOW + timedelta(seconds=1.5)


@settings(deadline=None, max_examples=300)
@given(
    start=st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes),
        st.sampled_from([at(change) for change in CHANGES]),
        st.integers(-36 * 60, 36 * 60),
    ),
    zone=st.sampled_from([BERLIN, "America/St_Johns", "Antarctica/Troll", "Asia/Kolkata"]),
    minute=st.sampled_from(["*", "*/7", "*/30"]),
    hour=st.sampled_from(["*", "1-3", "2"]),
)
def test_the_next_due_is_the_first_minute_that_fits(start, zone, minute, hour):
    timing = Timing(cron=f"{minute} {hour} * * *", timezone=zone)
    due = next_due(timing, start)
    minutes = {"*": range(60), "*/7": range(0, 60, 7), "*/30": range(0, 60, 30)}[minute]
    hours = {"*": range(24), "1-3": range(1, 4), "2": range(2, 3)}[hour]
    moment = start + timedelta(minutes=1)
    while True:
        local = moment.astimezone(ZoneInfo(zone))
        if local.minute in minutes and local.hour in hours:
            break
        moment += timedelta(minutes=1)
    assert due == moment


@settings(deadline=None)
@given(st.text(alphabet="0123456789*/,-#L MONJAN@²", max_size=20))
def test_any_text_is_a_cron_line_or_a_named_fault(text):
    timing = Timing(cron=text)
    faults = find_timing_faults(timing, NOW)
    if faults:
        assert [fault.path for fault in faults] == ["cron"]
    else:
        assert next_due(timing, NOW) > NOW


@pytest.mark.parametrize(
    ("timing", "path", "words"),
    [
        (Timing(cron="* * * *"), "cron", "4 fields"),
        (Timing(cron="0 * * * * *"), "cron", "6 fields"),
        (Timing(cron="@daily"), "cron", "1 fields"),
        (Timing(cron="61 * * * *"), "cron", "minute"),
        (Timing(cron="0 0 30 2 *"), "cron", "day-of-month"),
        (Timing(), "cron", "exactly one"),
        (Timing(cron="* * * * *", interval_s=5), "cron", "exactly one"),
        (Timing(interval_s=0.5), "interval_s", "too short"),
        (Timing(interval_s=float("nan")), "interval_s", "too short"),
        (Timing(interval_s=1e12), "interval_s", "too long"),
        (Timing(interval_s=5, timezone="Europe/Atlantis"), "timezone", "Atlantis"),
        (Timing(interval_s=5, timezone="../../etc/passwd"), "timezone", "no time zone"),
    ],
)
def test_faults_name_their_place(timing, path, words):
    (fault,) = find_timing_faults(timing, NOW)
    assert fault.path == path
    assert words in fault.message


def test_both_faults_of_a_timing_come_at_once():
    faults = find_timing_faults(Timing(interval_s=0, timezone="Mars"), NOW)
    assert [fault.path for fault in faults] == ["timezone", "interval_s"]


def test_passed_counts_the_first_and_the_one_that_is_due_this_instant():
    first = at("2026-03-01T00:00+00:00")
    passed = passed_dues(Timing(interval_s=60), first, first + timedelta(minutes=3))
    assert passed.count == 4
    assert passed.latest == tuple(first + timedelta(minutes=n) for n in range(4))


@pytest.mark.parametrize("timing", [Timing(interval_s=1), Timing(cron="* * * * *")])
def test_a_year_of_downtime_is_counted_and_only_its_end_kept(timing):
    first = at("2025-03-01T00:00+00:00")
    now = first + timedelta(days=365, seconds=30)
    passed = passed_dues(timing, first, now)
    assert passed.count == (365 * 86400 + 31 if timing.interval_s else 365 * 1440 + 1)
    assert len(passed.latest) == MAX_KEPT
    assert passed.latest[-1] <= now < next_due(timing, passed.latest[-1])


@pytest.mark.parametrize(
    ("late_s", "grace_s", "fires"),
    [(0, None, True), (60, None, True), (61, None, False), (61, 3600, True), (3601, 3600, False)],
)
def test_a_late_due_time_fires_only_within_its_grace(late_s, grace_s, fires):
    assert is_in_time(NOW, NOW + timedelta(seconds=late_s), grace_s) is fires


def test_waiting_for_an_earlier_execution_is_not_being_late():
    now = NOW + timedelta(hours=5)
    assert is_in_time(NOW, now, None, free_at=now - timedelta(seconds=1))
    assert not is_in_time(NOW, now, None, free_at=now - timedelta(hours=1))

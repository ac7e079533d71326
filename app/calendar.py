"""When a schedule is due: pure reckoning with cron fields, intervals and time zones."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from app.errors import Fault

CRON_FIELDS = 5
MIN_INTERVAL_S = 1.0
#: A year; longer waits are a cron line's.
MAX_INTERVAL_S = 366 * 86400.0
#: cron counts in minutes: within its minute a due time is on time.
ON_TIME_S = 60.0
#: After a long downtime the last this many due times are looked at one by one.
MAX_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due: exactly one of cron (five fields) and interval_s."""

    cron: str | None = None
    interval_s: float | None = None
    #: An IANA time zone name; cron's fields are read in it.
    timezone: str = "UTC"


def find_timing_faults(timing: Timing, now: datetime) -> list[Fault]:
    """What is wrong with a timing, at the paths cron, interval_s and timezone."""
    faults = []
    if timing.timezone not in available_timezones():
        faults.append(
            Fault(
                path="timezone",
                code="not_allowed",
                message=f"no time zone '{timing.timezone}'",
                given=timing.timezone,
                hint="use an IANA name such as Europe/Berlin or UTC",
            )
        )
    if (timing.cron is None) == (timing.interval_s is None):
        faults.append(
            Fault(
                path="cron",
                code="rule",
                message="a schedule has exactly one of cron and interval_s",
                hint="for example cron: '30 2 * * 1-5', or interval_s: 300",
            )
        )
    elif timing.interval_s is not None:
        faults += _find_interval_faults(timing.interval_s)
    elif not faults:
        faults += _find_cron_faults(timing, now)
    return faults


def _find_interval_faults(interval_s: float) -> list[Fault]:
    if MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
        return []
    return [
        Fault(
            path="interval_s",
            code="out_of_range",
            message="the interval is too short or too long",
            given=str(interval_s),
            allowed=f"{MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:.0f} seconds",
        )
    ]


def _find_cron_faults(timing: Timing, now: datetime) -> list[Fault]:
    given = timing.cron or ""
    problem = _find_cron_problem(timing, now)
    if problem is None:
        return []
    return [
        Fault(
            path="cron",
            code="bad_format",
            message=f"not a cron line: {problem}",
            given=given[:80],
            allowed="minute hour day-of-month month day-of-week",
            hint="for example '30 2 * * 1-5': at 02:30, Monday to Friday",
        )
    ]


def _find_cron_problem(timing: Timing, now: datetime) -> str | None:
    fields = (timing.cron or "").split()
    if len(fields) != CRON_FIELDS:
        return f"it has {len(fields)} fields, not {CRON_FIELDS}"
    try:
        next(_times_after(timing, now))
    except CronSimError as error:
        return str(error).replace("Bad ", "bad field: ")
    except StopIteration:
        return "it is never due"
    return None


def next_due(timing: Timing, after: datetime) -> datetime:
    """The first due time later than `after`, in UTC; an interval counts from `after`."""
    return next(_times_after(timing, after))


def next_dues(timing: Timing, first: datetime, count: int) -> list[datetime]:
    """`first` and the due times behind it, in the timing's own time zone."""
    zone = ZoneInfo(timing.timezone)
    return [due.astimezone(zone) for due in islice(_times_from(timing, first), count)]


@dataclass(frozen=True, slots=True)
class Passed:
    """The due times that have come: how many, and the latest of them, in UTC."""

    count: int
    latest: tuple[datetime, ...]


def passed_dues(timing: Timing, first: datetime, now: datetime) -> Passed:
    """Every due time from `first`, itself one, up to and including `now`."""
    skipped = 0
    if timing.interval_s is not None:
        step = timedelta(seconds=timing.interval_s)
        skipped = max(0, (now - first) // step + 1 - MAX_KEPT)
        first += skipped * step
    count = 0
    latest: deque[datetime] = deque(maxlen=MAX_KEPT)
    for due in takewhile(lambda due: due <= now, _times_from(timing, first)):
        count += 1
        latest.append(due)
    return Passed(skipped + count, tuple(latest))


def is_in_time(
    due: datetime, now: datetime, grace_s: float | None, free_at: datetime | None = None
) -> bool:
    """Whether a due time is still to be fired.

    On time is within a minute; a late one still fires within `grace_s` (None: never).
    Waiting for an earlier execution, which ended at `free_at`, does not count as late.
    """
    late_s = (now - max(due, free_at or due)).total_seconds()
    return late_s <= max(ON_TIME_S, grace_s or 0)


def _times_from(timing: Timing, first: datetime) -> Iterator[datetime]:
    yield first
    yield from _times_after(timing, first)


def _times_after(timing: Timing, after: datetime) -> Iterator[datetime]:
    if timing.interval_s is not None:
        step = timedelta(seconds=timing.interval_s)
        while True:
            after += step
            yield after
    # cron's fixed times follow the wall clock: one that the spring change leaves out comes at
    # the first minute that exists, one that the autumn change repeats comes once. So two may
    # fall together, and one may lie before `after`: only later ones count.
    for local in CronSim(timing.cron or "", after.astimezone(ZoneInfo(timing.timezone))):
        due = local.astimezone(UTC)
        if due > after:
            after = due
            yield due

"""Firing against the real ledger; time and submit are the test's own."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Fault, PlanRejected, Unavailable
from app.firing import Firing, make_key
from app.principal import Principal, Role
from app.schedules import list_schedules, pause_schedule, remove_schedule, resume_schedule
from app.store.db import make_engine
from app.store.models import Event, ExecutionRow, ScheduleRow
from app.store.models import Principal as PrincipalRow
from app.store.plans import NewPlan, StoredPlans
from app.store.schedules import Schedules

START = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
TEXT = "name: {name}\ninputs: {{path: {{type: path}}}}\nsteps:\n- tool: df\n"


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Submits:
    """Stands for `app.submit.submit`: keeps an execution for each key, as the ledger does."""

    def __init__(self, engine):
        self.engine = engine
        self.error = None
        self.asked = []
        self.plans = []

    def __call__(self, plan, principal, parts, *, key, source):
        self.asked.append((key, source, plan.name, principal.name))
        self.plans.append(plan)
        if self.error:
            raise self.error
        row = {
            "id": uuid4(),
            "tenant": principal.tenant,
            "name": plan.name,
            "principal_id": principal.id,
            "idempotency_key": key,
            "plan_digest": "",
            "source": source,
            "state": "running",
            "stage": 0,
            "stages": 1,
            "finally_stage": 1,
            "stage_open": 1,
        }
        made = insert(ExecutionRow).values(**row).on_conflict_do_nothing()
        with self.engine.begin() as connection:
            created = connection.execute(made).rowcount == 1
            same = select(ExecutionRow.id).where(ExecutionRow.idempotency_key == key)
            execution_id = connection.execute(same).scalar_one()
        return SimpleNamespace(execution_id=execution_id, delivery="sent", created=created)


def make_parts(engine):
    return SimpleNamespace(schedules=Schedules(engine), plans=StoredPlans(engine), catalog=None)


class Bench:
    """One schedule, a clock, and what was submitted."""

    def __init__(self, engine):
        self.engine = engine
        self.clock = Clock(START)
        self.submits = Submits(engine)
        self.parts = make_parts(engine)
        self.save("probe")
        with Session(engine) as session, session.begin():
            owner = PrincipalRow(name="ops", role="operator", key_prefix="0", key_hash=b"")
            session.add(owner)
            session.flush()
            self.principal = Principal(owner.id, "ops", Role.OPERATOR)

    def save(self, name, text=TEXT):
        """The newest version of the plan `probe`, called `name` in its text."""
        plan = NewPlan("default", "probe", text.format(name=name), "ops", {})
        return self.parts.plans.save(plan)[0].version

    def add(self, **given):
        """A schedule that is due now, every minute unless told otherwise."""
        row = {
            "id": uuid4(),
            "tenant": "default",
            "name": "nightly",
            "principal_id": self.principal.id,
            "plan_name": "probe",
            "cron": None if "interval_s" in given else "* * * * *",
            "interval_s": None,
            "timezone": "UTC",
            "overlap": "skip",
            "catch_up": "none",
            "grace_s": 3600,
            "next_at": START,
        } | given
        self.parts.schedules.add(ScheduleRow(**row), "ops")
        return row["id"]

    def firing(self):
        return Firing(self.parts, self.submits, self.clock)

    def fire(self, *, after=timedelta()):
        self.clock.now += after
        return self.firing().run_once()

    def end_executions(self, *, at=None):
        ended = update(ExecutionRow).where(ExecutionRow.finished_at.is_(None))
        with self.engine.begin() as connection:
            connection.execute(ended.values(state="succeeded", finished_at=at or self.clock.now))

    def row(self):
        with Session(self.engine) as session:
            return session.scalars(select(ScheduleRow)).one()

    def executions(self):
        """The due times that were started, oldest first."""
        with Session(self.engine) as session:
            keys = session.scalars(select(ExecutionRow.idempotency_key))
            return sorted(datetime.fromisoformat(key.split(":", 2)[2]) for key in keys)

    def events(self):
        """Kind and data of what beat did."""
        with Session(self.engine) as session:
            rows = session.scalars(
                select(Event)
                .where(Event.kind.notin_(["schedule.added", "plan.saved"]))
                .order_by(Event.id)
            )
            return [(row.kind, row.data) for row in rows]

    def kinds(self):
        return [kind for kind, _ in self.events()]


@pytest.fixture
def bench(engine):
    return Bench(engine)


def test_a_due_schedule_is_submitted_once_for_its_due_time(bench):
    schedule_id = bench.add()
    pause_s = bench.fire()
    assert bench.submits.asked == [
        (make_key(schedule_id, START), "schedule:nightly", "probe", "ops")
    ]
    row = bench.row()
    assert row.next_at == START + timedelta(minutes=1)
    assert row.last_at == START
    assert row.last_outcome == f"started {row.last_execution_id}"
    assert pause_s == 60
    bench.fire(after=timedelta(seconds=59))
    assert len(bench.submits.asked) == 1
    assert bench.kinds() == ["schedule.fired"]


def test_nothing_planned_gives_no_pause(bench):
    assert bench.fire() is None


def test_a_schedule_of_the_future_is_left_alone(bench):
    bench.add(next_at=START + timedelta(seconds=7))
    assert bench.fire() == 7
    assert bench.submits.asked == []


def test_many_beats_at_once_fire_each_due_time_once(bench, database_url):
    for number in range(5):
        bench.add(name=f"s{number}")
    engines = [make_engine(database_url, pool_size=2) for _ in range(4)]
    gate = threading.Barrier(len(engines))

    def beat(engine):
        firing = Firing(make_parts(engine), Submits(engine), bench.clock)
        for _ in range(3):
            gate.wait(timeout=10)
            firing.run_once()

    threads = [threading.Thread(target=beat, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for engine in engines:
        engine.dispose()
    assert bench.executions() == [START] * 5
    assert bench.kinds() == ["schedule.fired"] * 5


def test_a_beat_that_dies_between_submit_and_commit_starts_nothing_twice(bench):
    bench.add(overlap="allow")

    class Death(BaseException):
        pass

    def submit_and_die(*args, **options):
        bench.submits(*args, **options)
        raise Death

    with pytest.raises(Death):
        Firing(bench.parts, submit_and_die, bench.clock).run_once()
    assert bench.row().next_at == START
    bench.fire(after=timedelta(seconds=5))
    assert bench.executions() == [START]
    assert bench.row().last_execution_id is not None
    assert bench.row().next_at == START + timedelta(minutes=1)


def test_after_such_a_death_an_older_start_counts_as_the_one_before(bench):
    schedule_id = bench.add()
    bench.submits(
        SimpleNamespace(name="probe"),
        bench.principal,
        None,
        key=make_key(schedule_id, START),
        source="",
    )
    bench.fire(after=timedelta(minutes=3))
    # It still runs, so the latest is skipped; only the two between were missed.
    assert bench.executions() == [START]
    assert [(kind, data["count"]) for kind, data in bench.events()] == [
        ("schedule.missed", 2),
        ("schedule.skipped", 1),
    ]


def test_skip_leaves_out_what_would_overlap_and_says_so(bench):
    bench.add(overlap="skip")
    bench.fire()
    bench.fire(after=timedelta(minutes=1))
    assert bench.executions() == [START]
    first = bench.row().last_execution_id
    assert bench.row().last_outcome == f"skipped: execution {first} is running"
    assert bench.kinds() == ["schedule.fired", "schedule.skipped"]
    bench.end_executions()
    bench.fire(after=timedelta(minutes=1))
    assert bench.executions() == [START, START + timedelta(minutes=2)]


def test_an_execution_that_needs_attention_is_not_over(bench):
    bench.add(overlap="skip")
    bench.fire()
    with bench.engine.begin() as connection:
        connection.execute(update(ExecutionRow).values(state="attention"))
    bench.fire(after=timedelta(minutes=1))
    assert bench.executions() == [START]


def test_allow_starts_beside_the_one_before(bench):
    bench.add(overlap="allow")
    bench.fire()
    bench.fire(after=timedelta(minutes=1))
    assert bench.executions() == [START, START + timedelta(minutes=1)]


def test_queue_waits_for_the_one_before_and_then_fires_one(bench):
    bench.add(overlap="queue")
    bench.fire()
    for _ in range(300):
        assert bench.fire(after=timedelta(minutes=1)) is None  # nothing but the waiting one
    assert bench.executions() == [START]
    assert bench.kinds() == ["schedule.fired", "schedule.waiting"]
    bench.end_executions()
    bench.fire(after=timedelta(seconds=1))
    assert bench.executions() == [START, START + timedelta(minutes=300)]
    assert bench.row().next_at == START + timedelta(minutes=301)
    assert [(kind, data.get("count")) for kind, data in bench.events()[2:]] == [
        ("schedule.skipped", 299),
        ("schedule.fired", None),
    ]


def test_none_starts_nothing_after_a_downtime_and_counts_what_was_missed(bench):
    bench.add(cron="30 2 * * *")
    bench.fire(after=timedelta(days=3, minutes=2))
    assert bench.executions() == []
    assert bench.row().last_outcome == "missed: 4 due times"
    assert bench.row().next_at == START + timedelta(days=4)
    ((kind, data),) = bench.events()
    assert (kind, data["count"], data["since"]) == ("schedule.missed", 4, START.isoformat())


def test_last_starts_the_latest_within_its_grace(bench):
    bench.add(cron="30 2 * * *", catch_up="last")
    bench.fire(after=timedelta(days=3, minutes=59))
    assert bench.executions() == [START + timedelta(days=3)]
    assert [(kind, data.get("count")) for kind, data in bench.events()] == [
        ("schedule.missed", 3),
        ("schedule.fired", None),
    ]


def test_last_starts_nothing_beyond_its_grace(bench):
    bench.add(cron="30 2 * * *", catch_up="last")
    bench.fire(after=timedelta(minutes=61))
    assert bench.executions() == []
    assert bench.row().last_outcome == "missed: 1 due time"


def test_a_beat_that_restarts_within_the_minute_loses_nothing(bench):
    bench.add(cron="30 2 * * *")
    bench.fire(after=timedelta(seconds=40))
    assert bench.executions() == [START]


def test_a_refused_plan_is_recorded_and_the_schedule_goes_on(bench):
    bench.add()
    fault = Fault("steps[0].tool", "unknown_tool", "no tool 'df'", step="1 (df)")
    bench.submits.error = PlanRejected([fault])
    bench.fire()
    assert bench.row().last_outcome == "refused: the plan has 1 fault; step 1 (df): no tool 'df'"
    assert bench.kinds() == ["schedule.refused"]
    bench.submits.error = None
    bench.fire(after=timedelta(minutes=1))
    assert bench.executions() == [START + timedelta(minutes=1)]


def test_the_outcome_of_a_refusal_names_version_line_and_hint(bench):
    bench.add()
    fault = Fault("steps[0].tool", "x", "no tool", "1 (df)", hint="df changed", line=4)
    bench.submits.error = PlanRejected([fault, Fault("limit", "x", "no asset")], "probe@1")
    bench.fire()
    assert bench.row().last_outcome == (
        "refused: the plan probe@1 has 2 faults; line 4, step 1 (df): no tool (df changed); "
        "limit: no asset"
    )


def test_a_schedule_without_a_version_takes_the_newest_each_time(bench):
    bench.add()
    bench.fire()
    assert bench.save("second") == 2
    bench.fire(after=timedelta(minutes=1))
    assert [plan.stored for plan in bench.submits.plans] == [("probe", 1)]  # the first still runs
    bench.end_executions()
    bench.fire(after=timedelta(minutes=1))
    assert [(p.stored, p.name) for p in bench.submits.plans] == [
        (("probe", 1), "probe"),
        (("probe", 2), "second"),
    ]


def test_a_schedule_of_a_version_keeps_it_with_its_inputs_and_limit(bench):
    bench.add(plan_version=1, inputs={"path": "/var"}, limit="web-01")
    bench.save("second")
    bench.fire()
    (plan,) = bench.submits.plans
    assert (plan.stored, plan.name) == (("probe", 1), "probe")
    assert (plan.given, plan.limit) == ({"path": "/var"}, "web-01")


def test_a_stored_plan_that_is_not_there_is_refused_and_the_schedule_goes_on(bench):
    bench.add(plan_version=9)
    bench.fire()
    said = bench.row().last_outcome
    assert "plan: the stored plan 'probe' has no version 9" in said
    assert bench.row().next_at == START + timedelta(minutes=1)
    assert bench.submits.asked == []


def test_a_saved_text_that_is_not_read_any_more_is_refused_with_its_line(bench):
    bench.save("odd", "name: {name}\nsteps:\n- tool: df\n  parametres: 1\n")
    bench.add()
    bench.fire()
    said = bench.row().last_outcome
    assert said.startswith("refused: the plan probe@2 has 1 fault; line 4, step 1 (df): ")


def test_a_revoked_principal_is_refused_without_asking(bench):
    bench.add()
    with bench.engine.begin() as connection:
        connection.execute(update(PrincipalRow).values(revoked_at=func.now()))
    bench.fire()
    assert bench.row().last_outcome == "refused: the key of 'ops' was revoked"
    assert bench.submits.asked == []


def test_one_schedule_that_fails_does_not_stop_the_others(bench, caplog):
    bench.add(name="a")
    bench.add(name="b")
    bench.submits.error = ZeroDivisionError("planted")
    bench.fire()
    assert [asked[1] for asked in bench.submits.asked] == ["schedule:a", "schedule:b"]
    assert bench.kinds() == ["schedule.refused"] * 2
    assert "planted" in caplog.text


def test_while_the_ledger_is_away_a_schedule_stays_due(bench):
    bench.add()
    bench.submits.error = Unavailable("away")
    with pytest.raises(Unavailable):
        bench.fire()
    bench.submits.error = None
    bench.fire(after=timedelta(seconds=5))
    assert bench.executions() == [START]


def test_a_paused_schedule_rests_and_a_resumed_one_starts_from_now(bench):
    bench.add()
    shown = pause_schedule("nightly", bench.principal, bench.parts, bench.clock)
    assert shown["paused"]
    assert shown["next_five"] == []
    bench.fire(after=timedelta(hours=5))
    shown = resume_schedule("nightly", bench.principal, bench.parts, bench.clock)
    assert shown["next_five"][0] == (START + timedelta(hours=5, minutes=1)).isoformat()
    resume_schedule("nightly", bench.principal, bench.parts, bench.clock)
    bench.fire()
    assert bench.executions() == []
    assert bench.kinds() == ["schedule.paused", "schedule.resumed"]


def test_removed_means_gone_and_its_executions_stay(bench):
    bench.add()
    bench.fire()
    remove_schedule("nightly", bench.principal, bench.parts)
    bench.fire(after=timedelta(minutes=5))
    assert list_schedules(bench.principal, bench.parts) == []
    assert bench.executions() == [START]
    assert bench.kinds() == ["schedule.fired", "schedule.removed"]


def test_schedules_of_another_tenant_are_not_seen(bench):
    bench.add(tenant="other")
    assert list_schedules(bench.principal, bench.parts) == []

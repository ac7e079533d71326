"""A database role of one domain: its workers can speak of that domain's steps and nothing else."""

import secrets
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import ProgrammingError

from app.step import State
from app.store.db import make_engine
from app.store.ledger import Ledger
from tests.lab.ledger_bench import LedgerBench, done, make_change, make_step
from tool_catalog.model import Reason

ROLE = "opsfarm_comms"
SPOKEN = (
    "claim_step",
    "heartbeat",
    "arm_step",
    "finish_step",
    "retry_step",
    "interrupt_step",
    "release_step",
    "unsend_steps",
    "get_secret",
    "get_credential",
)


@pytest.fixture
def bench(engine):
    return LedgerBench(engine)


@pytest.fixture
def comms(bench, database_url):
    """The ledger as workers of the comms domain reach it."""
    password = secrets.token_hex(16)
    bench.ask(f"create role {ROLE} login password '{password}'")
    bench.ask(
        f"do $$ declare f regprocedure; begin"
        f" for f in select oid from pg_proc where proname in {SPOKEN!r} loop"
        f" execute format('grant execute on function %s to {ROLE}', f); end loop; end $$"
    )
    url = make_url(database_url).set(username=ROLE, password=password)
    engine = make_engine(url.render_as_string(hide_password=False))
    yield engine.execution_options(isolation_level="AUTOCOMMIT")
    engine.dispose()
    bench.ask(f"drop owned by {ROLE}")
    bench.ask(f"drop role {ROLE}")


def claim(ledger, bench, execution, key):
    row = bench.rows(execution, key)[0]
    return ledger.claim_step(row["id"], row["attempt"], uuid4(), "w", ["comms", "automation"])


def test_it_claims_and_ends_its_own_steps(bench, comms):
    ledger = Ledger(comms)
    execution = bench.open(make_change("mail", domain="comms"), make_step("look"))
    step = claim(ledger, bench, execution, "mail")
    assert step is not None
    assert ledger.heartbeat("w", [step.token]) == ({step.token}, set())
    assert ledger.arm_step(step)
    finished = ledger.finish_step(step, done(), link=None, send=64)
    assert [link.tool for link in finished.sending.run] == ["look"]
    assert ledger.unsend_steps([link.step_id for link in finished.sending.run]) == 1
    assert bench.states(execution) == ["succeeded", "queued"]


def test_it_claims_no_step_of_another_domain(bench, comms):
    execution = bench.open(make_step("look"))
    assert claim(Ledger(comms), bench, execution, "look") is None
    assert bench.states(execution) == ["queued"]
    assert bench.claim(execution, "look") is not None


@pytest.mark.parametrize("word", ["arm", "finish", "retry", "interrupt", "release"])
def test_a_stolen_token_of_another_domain_is_worth_nothing(bench, comms, word):
    ledger = Ledger(comms)
    execution = bench.open(make_change("restart", max_retries=3))
    step = bench.take(execution, "restart")
    if word == "interrupt":
        bench.ledger.arm_step(step)
    before = bench.rows(execution)
    failed = done(State.FAILED, Reason.TIMEOUT)
    said = {
        "arm": lambda: ledger.arm_step(step),
        "finish": lambda: ledger.finish_step(step, done(), link=None, send=1).accepted,
        "retry": lambda: ledger.retry_step(step, failed),
        "interrupt": lambda: ledger.interrupt_step(step, failed),
        "release": lambda: ledger.release_step(step),
    }[word]()
    assert said is False
    assert bench.rows(execution) == before


def test_it_reads_no_secret_of_another_domain_s_step(bench, comms):
    bench.ask(
        "insert into secrets (id, name, kind, version, key_id, wrapped_key, sealed)"
        " values (gen_random_uuid(), 'token', 'secret', 1, 'k', '', '')"
    )
    mine = bench.open(make_step("mail", domain="comms", secrets=("token",)))
    other = bench.open(make_step("look", secrets=("token",)))
    step = claim(Ledger(comms), bench, mine, "mail")
    stolen = bench.take(other, "look")
    query = "select count(*) from get_secret(%s, %s::uuid, 'token')"
    with comms.connect() as connection:
        found = [
            connection.exec_driver_sql(query, (each.id, str(token))).scalar()
            for each, token in ((step, step.token), (stolen, stolen.token), (step, uuid4()))
        ]
    assert found == [1, 0, 0]


@pytest.mark.parametrize("table", ["steps", "executions", "events", "secrets", "principals"])
def test_it_sees_no_table(bench, comms, table):
    with comms.connect() as connection, pytest.raises(ProgrammingError, match="denied"):
        connection.exec_driver_sql(f"select * from {table}")


@pytest.mark.parametrize(
    "statement",
    [
        "select settle(1, null, '{queued}', 'succeeded', null, '{}', null, 0)",
        "select open_execution('{}', '[]', 0)",
        "select cancel_execution(gen_random_uuid(), 'x', 'x', 0)",
        "select take_unsent('comms', 1, null)",
        "select expand_step(1, '[]', null, 0)",
        "select settle_due(1, 'skipped', null, 'x', 0)",
        "select resolve_step(gen_random_uuid(), 1, 'succeeded', 'x', 'x', 0)",
        "select resume_execution(gen_random_uuid(), false, 'x', 'x', 0)",
        "select approve('default', 1, 'd', '{}', 'x', 0)",
        "select end_approval('default', 1, 'rejected', '{}', 'x', 0)",
        "select reap_step(1, gen_random_uuid(), 0, 0, 0)",
        "select expire_queued(10)",
        "select tell('default', null, null, 'forged', 'me', '{}')",
    ],
)
def test_it_calls_only_what_it_was_granted(bench, comms, statement):
    with comms.connect() as connection, pytest.raises(ProgrammingError, match="denied"):
        connection.exec_driver_sql(statement)


def test_a_change_of_role_within_a_session_changes_nothing(bench, comms):
    execution = bench.open(make_step("look"))
    with comms.connect() as connection, pytest.raises(ProgrammingError, match="denied"):
        connection.exec_driver_sql("set session authorization postgres")
    assert claim(Ledger(comms), bench, execution, "look") is None


def test_objects_of_its_own_do_not_stand_in_for_the_ledger_s(bench, comms):
    execution = bench.open(make_step("look"))
    with comms.connect() as connection:
        connection.exec_driver_sql("create temp table steps (id bigint)")
        connection.exec_driver_sql(
            "create function pg_temp.may_touch(text) returns boolean language sql as 'select true'"
        )
        row = bench.rows(execution)[0]
        claimed = connection.exec_driver_sql(
            "select claim_step(%s, 0, %s::uuid, 'w', '{automation}')", (row["id"], str(uuid4()))
        ).scalar()
        assert claimed is None
    assert bench.states(execution) == ["queued"]

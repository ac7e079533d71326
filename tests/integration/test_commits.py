"""How often a step writes: two commits for one that reads, three for one that changes."""

import pytest

from app.admin.servers import find_free_port, start_postgres
from app.store.db import make_engine, migrate
from tasks.execute import execute_step
from tasks.workshop import build_workshop
from tests.lab.farm import Farm

PLANS = pytest.mark.parametrize("steps", [1, 5])


@pytest.fixture(scope="module")
def quiet_server(server_folder):
    """A PostgreSQL in which nobody else writes: even autovacuum would take transaction ids."""
    options = ["fsync=off", "autovacuum=off", "track_commit_timestamp=on"]
    server = start_postgres(server_folder / "quiet", find_free_port(), "test-password", options)
    engine = make_engine(server.url)
    migrate(engine)
    engine.dispose()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def farm(quiet_server, redis_server, tmp_path_factory):
    farm = Farm(quiet_server, redis_server, tmp_path_factory.mktemp("farm"))
    yield farm
    farm.close()


def next_id(farm):
    """A transaction id; those of whoever writes after it are higher."""
    with farm.parts.autocommit.connect() as connection:
        return int(connection.exec_driver_sql("select pg_current_xact_id()::text").scalar())


def commits_since(farm, first):
    """How many committed something: a savepoint has an id, but no moment of its own."""
    with farm.parts.autocommit.connect() as connection:
        return connection.exec_driver_sql(
            "select count(distinct pg_xact_commit_timestamp(id::text::xid))"
            " from generate_series(%s, %s) id",
            (first + 1, next_id(farm) - 1),
        ).scalar()


def play(farm, steps, queue="automation"):
    """Run a plan's steps as its worker does; commits that wrote, and the state that it came to."""
    execution = farm.submit(*steps).execution_id
    shop = build_workshop(farm.parts, "worker@test", (farm.queue(queue),))
    rows = [step["results"][0]["step_id"] for step in farm.read(execution)["steps"]]
    first = next_id(farm)
    for row, link in zip(rows, [*rows[1:], None], strict=True):
        execute_step(row, 0, link, shop)
    return commits_since(farm, first), farm.read(execution)["state"]


@PLANS
@pytest.mark.parametrize(("operation", "commits"), [("read", 2), ("change", 3)])
def test_commits_of_a_step_whatever_the_plan_s_length(farm, tmp_path, steps, operation, commits):
    """Claim and finish; a change arms in between."""
    given = {"file": str(tmp_path / "marks")}
    step = {"tool": "mark", "operation": operation, "target": "local", "parameters": given}
    plan = [step | {"id": f"s{n}"} for n in range(steps)]
    assert play(farm, plan) == (commits * steps, "succeeded")


def test_an_asset_is_made_in_two_commits(farm):
    """The effect is in the commit that ends the step."""
    given = {"hostname": "web-01", "ip_address": "192.0.2.1"}
    step = {"tool": "asset-create", "parameters": given}
    assert play(farm, [step], queue="asset") == (2, "succeeded")

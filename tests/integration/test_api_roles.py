"""Who may call what over HTTP: every route has a row here, and each role is tried on it."""

from dataclasses import dataclass
from itertools import count

import pytest
import requests
from fastapi.routing import APIRoute
from sqlalchemy import text

from app.api.application import _MODULES
from app.principal import Role
from app.step import State, StepResult
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason

#: The operator `owner` submitted what the routes act on; `stranger` is another operator.
ALL = frozenset({"viewer", "stranger", "owner", "approver", "admin"})
OPERATORS = frozenset({"stranger", "owner", "admin"})
ADMIN = frozenset({"admin"})
#: Of an execution: whoever submitted it, and those who look after all of them.
CONCERNED = frozenset({"owner", "approver", "admin"})
NOBODY = frozenset()

DF = {"steps": [{"tool": "df", "targets": "local"}]}
CHANGE = {"tool": "chmod", "operation": "set", "parameters": {"path": "/x", "mode": "0640"}}
WIPE = {"tool": "command", "parameters": {"argv": ["touch", "/x"]}}
WHY = {"reason": "to see who may"}
LOGIN = {"name": "x", "assets": ["web-01"], "username": "ops", "password": "canary"}
EVERY = {"name": "x", "plan": DF, "interval_s": 60}
UNKNOWN = StepResult(State.FAILED, "no end was seen", Reason.WORKER_LOST, unknown=True)

#: "METHOD path": (who may, what is sent, which execution `{execution_id}` and `{step_id}` mean).
TABLE = {
    "POST /execute-plan": (OPERATORS, DF, None),
    "POST /plans/check": (OPERATORS, DF, None),
    "POST /plans/dry-run": (OPERATORS, DF, None),
    "GET /plans/schema": (ALL, None, None),
    "POST /plans": (OPERATORS, {"name": "x", "plan": DF}, None),
    "GET /plans": (ALL, None, None),
    "GET /plans/{name}": (ALL, None, None),
    "GET /plans/{name}/versions": (ALL, None, None),
    "GET /executions": (ALL, None, None),
    "GET /executions/{execution_id}": (ALL, None, "failed"),
    "GET /executions/{execution_id}/events": (ALL, None, "failed"),
    "POST /executions/{execution_id}/cancel": (OPERATORS, WHY, "waiting"),
    "POST /executions/{execution_id}/rerun": (OPERATORS, {}, "failed"),
    "GET /approvals": (ALL, None, None),
    "GET /approvals/{approval_id}": (ALL, None, None),
    "GET /executions/{execution_id}/approvals": (ALL, None, "waiting"),
    "POST /executions/{execution_id}/approve": (CONCERNED, WHY, "waiting"),
    "POST /executions/{execution_id}/reject": (CONCERNED, WHY, "waiting"),
    "POST /executions/{execution_id}/steps/{step}/resolve": (
        CONCERNED,
        {"as": "failed", **WHY},
        "interrupted",
    ),
    "POST /executions/{execution_id}/resume": (CONCERNED, WHY, "failed"),
    "POST /executions/{execution_id}/undo": (CONCERNED, WHY, "failed"),
    "GET /deadletter": (ALL, None, None),
    "GET /deadletter/{step_id}": (ALL, None, "failed"),
    "POST /deadletter/{step_id}/requeue": (CONCERNED, WHY, "failed"),
    "POST /deadletter/{step_id}/discard": (CONCERNED, WHY, "failed"),
    "GET /locks": (ALL, None, None),
    "GET /schedules": (ALL, None, None),
    "POST /schedules": (OPERATORS, EVERY, None),
    "POST /schedules/{name}/pause": (OPERATORS, None, None),
    "POST /schedules/{name}/resume": (OPERATORS, None, None),
    "DELETE /schedules/{name}": (OPERATORS, None, None),
    "GET /tools": (ALL, None, None),
    "GET /tools/{name}": (ALL, None, None),
    "POST /tools/reload": (ADMIN, None, None),
    "GET /workers": (ALL, None, None),
    "POST /assets/import": (OPERATORS, {"assets": [{"hostname": "web-01"}]}, None),
    "GET /assets/words": (ALL, None, None),
    "GET /secrets": (OPERATORS, None, None),
    "POST /secrets": (ADMIN, {"name": "x", "value": "canary"}, None),
    "DELETE /secrets/{name}": (ADMIN, None, None),
    "GET /credentials": (OPERATORS, None, None),
    "POST /credentials": (ADMIN, LOGIN, None),
    "POST /credentials/{name}/assets": (ADMIN, {"assets": ["web-01"]}, None),
    "DELETE /credentials/{name}": (ADMIN, None, None),
    "GET /principals": (ADMIN, None, None),
    "POST /principals": (ADMIN, {"name": "x", "role": "viewer"}, None),
    "DELETE /principals/{name}": (ADMIN, None, None),
}
#: These want no key: they tell whether the farm is well, and nothing else.
OPEN = {"GET /health/live", "GET /health/ready"}


def all_routes():
    """Every route of the application, as "METHOD path"."""
    return {
        f"{method} {route.path}"
        for module in _MODULES
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }


@dataclass
class Scene:
    """An execution of the operator `owner`, in the state that a row of the table wants."""

    execution_id: str = "0197c0de"
    step_id: int = 1
    approval_id: int = 1

    def fill(self, route):
        """The path of a route, about this execution."""
        known = {**vars(self), "step": f"row:{self.step_id}", "name": "x"}
        return route.split(" ")[1].format(**known)


@pytest.fixture
def farm(api_farm):
    with api_farm.client(Role.OPERATOR) as farm:
        yield farm


@pytest.fixture
def make_scene(api_farm, farm):
    """`make_scene("failed")`: a fresh execution in that state, on an asset of its own."""
    bench = AssetBench(api_farm.parts.engine)
    numbers = count(1)

    def make(kind):
        name = f"web-{next(numbers):02}"
        bench.run("asset-create", hostname=name)
        if kind is None:
            return Scene()
        step = WIPE | {"confirm": name} if kind == "waiting" else CHANGE
        execution = farm.submit({"steps": [step | {"targets": name}]})
        if kind == "waiting":
            [approval] = execution.approvals()
            return Scene(execution.id, approval_id=approval["id"])
        step = api_farm.claim(execution.id)
        if kind == "failed":
            api_farm.fail(step, "it broke")
        else:
            assert api_farm.parts.ledger.arm_step(step)
            assert api_farm.parts.ledger.interrupt_step(step, UNKNOWN)
        return Scene(execution.id, step.id)

    return make


@pytest.fixture
def call(api_farm):
    """`call(who, "GET /tools", scene, body)`: the status of the answer."""
    add = api_farm.parts.principals.add
    keys = {role.value: key for role, key in api_farm.keys.items()}
    keys |= {"owner": keys["operator"], "stranger": add("default", "bob", Role.OPERATOR)[1]}
    session = requests.Session()

    def send(who, route, scene, body):
        method, url = route.split(" ")[0], api_farm.url + scene.fill(route)
        headers = {"Authorization": f"Bearer {keys[who]}"} if who else {}
        return session.request(method, url, json=body, headers=headers, timeout=20).status_code

    yield send
    session.close()


def read_ledger(engine):
    """All that a refused request could have changed."""
    tables = ("executions", "steps", "approvals", "events", "plans", "schedules", "secrets",
              "principals", "assets")  # fmt: skip
    with engine.connect() as connection:
        return {
            table: connection.execute(text(f"select t::text from {table} t order by 1")).all()
            for table in tables
        }


def test_no_route_is_left_out():
    assert all_routes() == TABLE.keys() | OPEN


@pytest.mark.parametrize("route", TABLE)
def test_each_role_does_what_it_may_and_no_more(api_farm, make_scene, call, route):
    allowed, body, kind = TABLE[route]
    scene = make_scene(kind)
    before = read_ledger(api_farm.parts.engine)
    assert call(None, route, scene, body) == 401
    for who in sorted(ALL - allowed):
        assert (who, call(who, route, scene, body)) == (who, 403)
    assert read_ledger(api_farm.parts.engine) == before
    for who in sorted(allowed):
        status = call(who, route, make_scene(kind), body)
        assert status not in {401, 403, 405, 422, 500}, f"{who} {route}: {status}"
        # Nothing was done that could be undone: that is said to those who may.
        assert kind is None or status < 300 or route.endswith("/undo"), f"{who} {route}: {status}"

import pytest

from app.errors import PlanRejected
from app.plan_reader import read_request
from app.safety import read_policy
from app.selector import Selection
from app.step import Target
from app.surroundings import Rules
from app.validate import validate
from queues import Routing
from tool_catalog.loader import load_catalog

LIMITED = """
summary: Restart a thing
execution_location: automation-service
operations:
  show:
    summary: How it is
    effect: read
    argv: [show-thing]
    examples: [{parameters: {}}]
  ask:
    summary: How it says it is
    effect: read
    http: {method: GET, path: /state}
    examples: [{parameters: {}}]
  act:
    summary: Ask in Python
    effect: read
    needs: {connection: http}
    python: network.tcp:connect
    examples: [{parameters: {}}]
  restart:
    summary: Restart it
    effect: change
    repeat: never
    argv: [restart-thing]
    examples: [{parameters: {}}]
"""


class Farm:
    """One asset, reached in some way."""

    def __init__(self, connection):
        self.target = Target("host-1", asset_id=1, address="127.0.0.1", connection=connection)

    def select(self, _selector):
        return Selection(targets=(self.target,), left_out=(), unknown=())

    def offers(self):
        return None

    def secret_names(self):
        return set()

    def logins(self, asset_ids):
        return {}


@pytest.fixture
def reject(tmp_path):
    """`reject(plan, connection)`: the faults of a plan over a catalogue of one tool."""
    (tmp_path / "thing.yaml").write_text(LIMITED)
    catalog = load_catalog(str(tmp_path))

    def run(plan, connection="ssh"):
        rules = Rules(read_policy(), Routing())
        with pytest.raises(PlanRejected) as error:
            validate(read_request(plan).plan, catalog, Farm(connection), rules)
        return error.value.faults

    return run


@pytest.mark.parametrize(
    ("operation", "connection", "allowed"),
    [
        ("show", "http", "local, ssh"),
        ("ask", "ssh", "http"),
        ("act", "ssh", "http"),
    ],
)
def test_a_target_that_is_reached_in_another_way_is_refused(reject, operation, connection, allowed):
    plan = f"steps: [{{tool: thing, operation: {operation}, targets: host-1}}]"
    (fault,) = reject(plan.encode(), connection)
    assert (fault.path, fault.code) == ("steps[0].targets", "wrong_connection")
    assert (fault.given, fault.allowed) == ("host-1", allowed)
    assert f"host-1 is reached by {connection}" in fault.message


def test_a_read_over_http_has_no_local_target(reject):
    (fault,) = reject(b"steps: [{tool: thing, operation: ask}]")
    assert (fault.code, fault.given) == ("wrong_connection", "local")

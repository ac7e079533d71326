import pytest

from app.errors import ExpressionError
from app.step import LOCAL, Target
from app.targeting import lock_key, render_targets
from tool_catalog.model import Effect, Operation, Repeat

WEB = Target("web-01", 1)


@pytest.mark.parametrize(
    ("operation", "effect", "target", "key"),
    [
        ("systemctl restart", Effect.CHANGE, WEB, "asset:1"),
        ("systemctl stop", Effect.DESTROY, WEB, "asset:1"),
        ("systemctl restart", Effect.CHANGE, LOCAL, "local"),
        ("systemctl show", Effect.READ, WEB, None),
        ("command run", Effect.READ, LOCAL, None),
        ("asset-delete delete", Effect.DESTROY, None, None),
        ("sendmail send", Effect.CHANGE, None, None),
    ],
)
def test_change_and_destroy_over_a_runner_lock_their_asset(catalog, operation, effect, target, key):
    tool, _, name = operation.partition(" ")
    assert lock_key(catalog.find(tool).operations[name], effect, target) == key


def test_python_that_changes_a_target_locks_it_too():
    move = Operation(
        name="move",
        summary="moves",
        effect=Effect.CHANGE,
        repeat=Repeat.NEVER,
        python="network.thing:move",
        examples=(),
    )
    assert lock_key(move, Effect.CHANGE, WEB) == "asset:1"


@pytest.mark.parametrize(
    ("targets", "rendered"),
    [
        (None, None),
        ("web-01", "web-01"),
        ("tags.role=web", "tags.role=web"),
        ("{{ steps.a.failed_targets }}", ["web-01", 2]),
        ("{{ steps.a.results }}", ["db-01"]),
        ("{{ steps.a.summary }}", ["web-02"]),
        (["{{ steps.a.failed_targets }}", "db-01"], ["web-01", 2, "db-01"]),
        ({"hostname": "{{ steps.a.summary }}"}, {"hostname": "web-02"}),
    ],
)
def test_rendered_targets(targets, rendered):
    outcome = {
        "failed_targets": ["web-01", 2],
        "results": [{"target": "db-01", "state": "failed"}],
        "summary": "web-02",
    }
    assert render_targets(targets, {"steps": {"a": outcome}}) == rendered


@pytest.mark.parametrize("given", ["a=b", "!web-01", "a,b", "a;b", {"type": "server"}, 1.5, [[1]]])
def test_an_output_cannot_widen_the_targets(given):
    for targets in ("{{ steps.a.output }}", ["{{ steps.a.output }}"]):
        with pytest.raises(ExpressionError, match="names no asset"):
            render_targets(targets, {"steps": {"a": {"output": given}}})

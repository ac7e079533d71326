"""What people read of steps that wait for others."""

from app.cli.waits import tell_holder, tell_waits

HOLDER = {
    "execution_id": "0197c0de-1",
    "step_id": 7,
    "step": "restart",
    "position": 2,
    "target": "web-01",
    "state": "running",
    "since": "2026-01-02T03:04:05+00:00",
}


def row(**members):
    return {"target": "web-01", "state": "queued", "reason": None, "blocked_by": None} | members


def told(*rows):
    return tell_waits([{"position": 1, "tool": "systemctl", "results": list(rows)}])


def test_who_holds_an_asset():
    assert tell_holder(HOLDER) == (
        "by step 2 (restart) on web-01 of execution 0197c0de-1, since 2026-01-02 03:04:05 UTC"
    )
    assert tell_holder({**HOLDER, "target": None, "state": "interrupted"}).endswith(
        "since 2026-01-02 03:04:05 UTC, interrupted: "
        "'opsfarm executions show 0197c0de-1' says how to go on"
    )


def test_rows_that_wait_say_for_what():
    held = row(blocked_by=HOLDER)
    limited = row(target=None, reason="limit: 2 running systemctl")
    unserved = row(reason="no_worker: net_raw on cap-1")
    others = row(reason="timeout"), row(state="failed", reason="limit: odd")
    assert told(held, limited, unserved, *others) == [
        f"step 1 (systemctl) on web-01: blocked {tell_holder(HOLDER)}",
        "step 1 (systemctl): waits, limit: 2 running systemctl",
        "step 1 (systemctl) on web-01: waits, no_worker: net_raw on cap-1",
    ]


def test_of_many_the_first_are_told():
    lines = told(*[row(blocked_by=HOLDER)] * 25)
    assert (len(lines), lines[-1]) == (11, "... and 15 more")

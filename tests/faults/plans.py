"""Random plans over the fake world, the same for the same seed."""

import random
from typing import Any

#: Few enough that plans meet on them.
HOSTS = tuple(f"host-{number}" for number in range(6))
#: One for each plan, where nothing shall meet.
OWN_HOSTS = tuple(f"own-{number}" for number in range(24))
SECRET = "canary"  # the name of a secret, not its value


def make_plan(
    dice: random.Random, name: str, world: str, hosts: tuple[str, ...] = HOSTS
) -> dict[str, Any]:
    """One to five steps on some of the hosts; some fail, some repeat, some fan out."""
    keys = [f"s{number}" for number in range(dice.randint(1, 5))]
    steps = [_make_step(dice, key, f"{name}/{key}", world, hosts) for key in keys]
    plan: dict[str, Any] = {"name": name, "steps": steps}
    if dice.random() < 0.2:
        plan["finally"] = [_make_step(dice, "last", f"{name}/last", world, hosts)]
    return plan


def _make_step(
    dice: random.Random, key: str, name: str, world: str, hosts: tuple[str, ...]
) -> dict[str, Any]:
    operation = dice.choices(["look", "once", "again"], [2, 5, 2])[0]
    parameters = {
        "world": world,
        "step": name,
        "before": f"{dice.choice([0, 0, 0.05, 0.2])}",
        "after": f"{dice.choice([0, 0, 0.05, 0.2])}",
        "exit": "3" if dice.random() < 0.06 else "0",
        "canary": {"$secret": SECRET},
    }
    step: dict[str, Any] = {
        "tool": "trace",
        "operation": operation,
        "id": key,
        "parameters": parameters,
        "targets": dice.sample(hosts, min(len(hosts), dice.choice([1, 1, 1, 1, 2, 3]))),
    }
    if dice.random() < 0.3:
        step["on_failure"] = "continue"
    if dice.random() < 0.3:
        step["retries"] = {"max": 2, "backoff_s": 0.1}
    return step


def make_step(
    world: str, name: str, host: str, operation: str = "once", **more: Any
) -> dict[str, Any]:
    """One step of a plan of one's own: `name` is "<plan>/<id>"; `more`: waits, exit, step's keys.

    `before`, `after` and `exit` are parameters of the fake world's tool, the rest are the step's.
    """
    own = {key: str(more.pop(key)) for key in ("before", "after", "exit") if key in more}
    parameters = {"world": world, "step": name, "canary": {"$secret": SECRET}} | own
    return {
        "tool": "trace",
        "operation": operation,
        "id": name.rpartition("/")[2],
        "targets": host,
        "parameters": parameters,
    } | more

"""The Python client: `Farm().submit(plan).wait()`. Speaks HTTP only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from app.farm_address import find_farm
from app.farm_deadletters import FarmDeadLetters
from app.farm_execution import Execution, key_header
from app.farm_http import FarmConnection
from app.farm_plans import FarmPlans, GivenPlan, read_if_file, refuse_long
from app.plan_name import is_plan_text

#: A plan as for `Farm.plans.save`, or `NAME` or `NAME@VERSION` of a stored one.
Plan = GivenPlan
Inputs = Mapping[str, Any]


class Farm:
    """A farm, found through the arguments, the environment, or the nearest state folder.

    Raises FarmUnreachable when none answers (within `patience_s`, where that is given),
    Unauthenticated without a key.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        state_dir: Path | str | None = None,
        *,
        patience_s: float | None = None,
    ) -> None:
        folder = Path(state_dir) if state_dir is not None else None
        self.http = FarmConnection(find_farm(url, key, folder), patience_s)
        self.plans = FarmPlans(self.http)
        self.dead_letters = FarmDeadLetters(self.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the kept connections."""
        self.http.close()

    def submit(
        self,
        plan: Plan,
        key: str | None = None,
        *,
        inputs: Inputs | None = None,
        limit: str | None = None,
        reason: str | None = None,
    ) -> Execution:
        """Submit a plan: a mapping, a text (YAML or JSON), the path of a file, a stored one's name.

        `inputs` are values for what the plan asks for, `limit` is a selector beyond which nothing
        acts, `reason` says why (where policy wants no more, it approves what is destroyed). With a
        `key` a second submit of the same gives the first execution. Raises
        PlanRejected with every fault, Conflict for a key that stands for another plan.
        """
        body = encode_request(plan, inputs, limit, reason)
        return Execution(self.http, self.http.post_text("/execute-plan", body, key_header(key)))

    def check(
        self, plan: Plan, *, inputs: Inputs | None = None, limit: str | None = None
    ) -> dict[str, Any]:
        """What the plan would be, step by step; raises PlanRejected. Writes nothing."""
        body = encode_request(plan, inputs, limit)
        return dict(self.http.post_text("/plans/check", body, {}))

    def dry_run(
        self, plan: Plan, *, inputs: Inputs | None = None, limit: str | None = None
    ) -> dict[str, Any]:
        """The exact masked commands on each target; raises PlanRejected. Runs nothing."""
        body = encode_request(plan, inputs, limit)
        return dict(self.http.post_text("/plans/dry-run", body, {}))

    def execution(self, execution_id: str) -> Execution:
        """The execution with that id, or a unique prefix of it; raises NotFound or Conflict."""
        return Execution(self.http, self.http.get(f"/executions/{quote(execution_id, safe='')}"))

    def executions(
        self, *, state: str | None = None, limit: int = 50, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Executions, the newest first, without their steps."""
        answer = self.http.get("/executions", state=state, limit=limit, before=before)
        shown: list[dict[str, Any]] = answer["executions"]
        return shown

    def approvals(
        self, *, everything: bool = False, limit: int = 50, before: int | None = None
    ) -> list[dict[str, Any]]:
        """What waits for a yes, the newest first, in short; `everything`: decided ones, too.

        `before`: only those with a lower `id`.
        """
        answer = self.http.get("/approvals", all=everything, limit=limit, before=before)
        found: list[dict[str, Any]] = answer["approvals"]
        return found

    def approval(self, approval_id: int) -> dict[str, Any]:
        """One approval with all that it shows; raises NotFound."""
        return dict(self.http.get(f"/approvals/{approval_id}"))

    def locks(self) -> list[dict[str, Any]]:
        """The assets that steps hold now, the oldest first: {lock, held_by, waiting}."""
        held: list[dict[str, Any]] = self.http.get("/locks")["locks"]
        return held


def encode_request(
    plan: Plan,
    inputs: Inputs | None = None,
    limit: str | None = None,
    reason: str | None = None,
) -> bytes:
    """A plan with what it is run with, as it travels; raises TooLarge before anything is sent.

    A plan alone goes out as it was written; beside anything else its text goes out as text.
    Either way faults name lines of it.
    """
    given = read_if_file(plan)
    named = given is plan and isinstance(given, str) and not is_plan_text(given)
    if not named and not inputs and limit is None and reason is None:
        encoded = given.encode() if isinstance(given, str) else _dump(given)
    else:
        # The line break: what a file holds is never the name of a stored plan.
        whole = given if named or not isinstance(given, str) else f"{given}\n"
        beside = {"inputs": inputs or None, "limit": limit, "reason": reason}
        encoded = _dump({"plan": whole} | {k: v for k, v in beside.items() if v is not None})
    refuse_long(len(encoded))
    return encoded


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

"""Stored plans of a farm, as its client sees them: `Farm().plans`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.errors import TooLarge
from app.farm_http import FarmConnection
from app.plan import MAX_BODY_BYTES

#: A plan, its text in YAML or JSON, or the path of a file.
GivenPlan = Mapping[str, Any] | str | Path
#: Versions without their texts.
Heads = list[dict[str, Any]]


class FarmPlans:
    """Saves, lists and shows them; raises the UserError that the farm answered."""

    def __init__(self, http: FarmConnection) -> None:
        self._http = http

    def save(self, plan: GivenPlan, name: str | None = None, note: str = "") -> dict[str, Any]:
        """Keep a plan as the newest version of `name`, of its own name when left out.

        The answer holds the version; `created` is False where the newest is the same. Raises
        PlanRejected with every fault.
        """
        body = {"plan": read_if_file(plan), "note": note}
        answer = self._http.post("/plans", body | ({"name": name} if name else {}))
        return dict(answer)

    def list(self) -> Heads:
        """The newest version of each, by name, without texts."""
        plans: Heads = self._http.get("/plans")["plans"]
        return plans

    def versions(self, name: str) -> Heads:
        """Every version of a plan, the newest first; raises NotFound."""
        versions: Heads = self._http.get(f"{_path_of(name)}/versions")["versions"]
        return versions

    def show(self, name: str) -> dict[str, Any]:
        """The version of `NAME@VERSION`, the newest of `NAME`: its text and its inputs."""
        return dict(self._http.get(_path_of(name)))


def read_if_file(plan: GivenPlan) -> Mapping[str, Any] | str:
    """A plan as it travels; raises TooLarge for a text beyond the limit, before it is sent."""
    given = plan.read_text() if isinstance(plan, Path) else plan
    if isinstance(given, str):
        refuse_long(len(given.encode()))
    return given


def refuse_long(size: int) -> None:
    """Raise TooLarge for a plan of more bytes than the farm takes."""
    if size > MAX_BODY_BYTES:
        raise TooLarge(
            f"the plan is {size} bytes long; at most {MAX_BODY_BYTES} are taken",
            hint="hand large texts over as artifacts or files on the target",
        )


def _path_of(name: str) -> str:
    return f"/plans/{quote(name, safe='@')}"

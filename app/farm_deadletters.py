"""The dead-letter desk of a farm, as its client sees it. Speaks HTTP only."""

from typing import Any

from app.farm_http import FarmConnection


class FarmDeadLetters:
    """Failed and interrupted steps: `Farm().dead_letters`. Rows go by their `step_id`."""

    def __init__(self, http: FarmConnection) -> None:
        self._http = http

    def list(self, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # as their names say
        """The newest first.

        Filters: reason, tool, target, since (ISO 8601), before (only lower ids), limit.
        """
        letters: list[dict[str, Any]] = self._http.get("/deadletter", **filters)["letters"]
        return letters

    def show(self, step_id: int) -> dict[str, Any]:
        """One row: what it left behind, what speaks for which end, its history."""
        return dict(self._http.get(f"/deadletter/{step_id}"))

    def requeue(self, step_id: int, reason: str) -> dict[str, Any]:
        """Run it again; gives its execution. Raises Conflict when its state does not allow it."""
        return dict(self._http.post(f"/deadletter/{step_id}/requeue", {"reason": reason}))

    def discard(self, step_id: int, reason: str) -> dict[str, Any]:
        """Take a failed row from the desk; raises Conflict for any other."""
        return dict(self._http.post(f"/deadletter/{step_id}/discard", {"reason": reason}))

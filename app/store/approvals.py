"""Reads what waits for a yes, and what was said to it, as JSON-ready data."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, RowMapping, text

from app.errors import NotFound
from app.store.db import guard_unavailable
from app.store.views import show_approval

APPROVALS_LIMIT = 500

_HEAD = """
    select a.id, a.execution_id, e.name, p.name as principal, a.step_id, a.digest, a.needed,
           a.asked_at, a.expires_at, a.given, a.decision, a.decided_at, a.decided_by, a.reason,
           e.reason as asked_why, e.source
"""
# What is shown may be long: a list tells of each step what it is and how many targets it has.
_STEPS = """
    (select jsonb_agg(jsonb_build_object(
        'position', s -> 'position', 'id', s -> 'id', 'tool', s -> 'tool',
        'operation', s -> 'operation', 'effect', s -> 'effect',
        'targets', (select count(distinct t ->> 'name')
                    from jsonb_path_query(s, '$.commands[*].targets[*]') t)))
     from jsonb_array_elements(a.shown -> 'steps') s) as steps
"""
_FROM = """
    from approvals a join executions e on e.id = a.execution_id
    join principals p on p.id = e.principal_id
    where a.tenant = :tenant
"""


class Approvals:
    """Every method raises `Unavailable` when the ledger cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit

    def list(
        self, tenant: str, *, decided: bool = False, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """What waits for a yes, the newest first; with `decided`, what was decided, too.

        Each with `steps` in the place of all that is `shown`. `before`: only lower ids.
        """
        rows = self._read(
            f"{_HEAD}, {_STEPS} {_FROM}"
            " and (:decided or a.decision is null)"
            " and (cast(:before as bigint) is null or a.id < :before)"
            " order by a.id desc limit :limit",
            tenant=tenant,
            decided=decided,
            before=before,
            limit=min(limit, APPROVALS_LIMIT),
        )
        return [show_approval(row) | {"steps": row["steps"] or []} for row in rows]

    def of_execution(self, tenant: str, execution_id: UUID) -> Sequence[dict[str, Any]]:
        """All that an execution asked for, whole, the oldest first."""
        rows = self._read(
            f"{_HEAD}, a.shown {_FROM} and a.execution_id = :execution order by a.id",
            tenant=tenant,
            execution=execution_id,
        )
        return [show_approval(row) | {"shown": row["shown"]} for row in rows]

    def read(self, tenant: str, approval_id: int) -> dict[str, Any]:
        """One approval: what it shows, what it needs, who said what. Raises NotFound."""
        rows = self._read(f"{_HEAD}, a.shown {_FROM} and a.id = :id", tenant=tenant, id=approval_id)
        if not rows:
            raise NotFound(f"no approval {approval_id}", hint="see 'opsfarm approvals list --all'")
        return show_approval(rows[0]) | {"shown": rows[0]["shown"]}

    def _read(self, query: str, **values: Any) -> Sequence[RowMapping]:  # noqa: ANN401  # bound values
        with guard_unavailable(), self._engine.connect() as connection:
            return connection.execute(text(query), values).mappings().all()

"""The cancel story: write it down, publish what `finally` has to do."""

from typing import Any
from uuid import UUID

from app.errors import Conflict
from app.parts import Parts
from app.principal import Principal


def cancel(
    execution_id: UUID, principal: Principal, parts: Parts, reason: str = ""
) -> dict[str, Any]:
    """Ask an execution to stop; gives it as it is then.

    Queued steps end at once, running ones as soon as their worker has ended them. Raises
    Conflict when it is final, NotFound, Unavailable.
    """
    before = parts.records.read_execution(principal.tenant, execution_id)
    answer, sending = parts.ledger.cancel_execution(
        execution_id, principal.name, reason, parts.settings.window
    )
    if not answer["accepted"]:
        how = "is being cancelled already" if not before["finished_at"] else f"is {answer['state']}"
        raise Conflict(
            f"execution {execution_id} {how}",
            hint=f"'opsfarm executions show {execution_id}' shows what it did",
        )
    parts.publisher.publish(sending)
    return parts.records.read_execution(principal.tenant, execution_id)

"""The cancel story: write it down; what `finally` has to do is the dispatcher's.

No broker is asked: one that does not answer must not keep anybody from stopping something.
"""

from typing import Any
from uuid import UUID

from app.errors import Conflict
from app.parts import Parts
from app.principal import Principal
from app.step import FINAL_EXECUTION_STATES


def cancel(
    execution_id: UUID, principal: Principal, parts: Parts, reason: str = ""
) -> dict[str, Any]:
    """Ask an execution to stop; gives it as it is then.

    Queued steps end at once, running ones as soon as their worker has ended them. Raises
    Conflict when it is final, NotFound, Unavailable.
    """
    parts.records.read_execution(principal.tenant, execution_id)  # NotFound for another tenant's
    answer, _ = parts.ledger.cancel_execution(execution_id, principal.name, reason, 0)
    if not answer["accepted"]:
        state = answer["state"]
        final = state in FINAL_EXECUTION_STATES
        how = f"is {state}" if final else f"is being cancelled already, and {state}"
        raise Conflict(
            f"execution {execution_id} {how}",
            hint=f"'opsfarm executions show {execution_id}' shows what it did",
        )
    return parts.records.read_execution(principal.tenant, execution_id)

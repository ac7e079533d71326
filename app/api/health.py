"""Whether the process lives, and whether what it needs answers. No key: for supervisors."""

from typing import Any

from fastapi import APIRouter, Response

from app.api.auth import PartsOfFarm
from app.observe.health import broker_answers, ledger_answers

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready", responses={503: {"description": "Something needed does not answer."}})
def ready(parts: PartsOfFarm, response: Response) -> dict[str, Any]:
    """Each dependency by itself; 503 when one is red.

    Without the broker plans are still accepted, and delivered when it is back.
    """
    checks = {"ledger": ledger_answers(parts.engine), "broker": broker_answers(parts.celery)}
    response.status_code = 200 if all(checks.values()) else 503
    return {
        "status": "ready" if all(checks.values()) else "not ready",
        "checks": {name: "ok" if answers else "unreachable" for name, answers in checks.items()},
    }

"""Who holds which asset, and how many wait for it."""

from typing import Any

from fastapi import APIRouter

from app.api.auth import PartsOfFarm, Viewer

router = APIRouter(prefix="/locks", tags=["executions"])


@router.get("")
def list_locks(principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Locks that are held now, the oldest first; at most 500."""
    return {"locks": parts.records.list_locks(principal.tenant)}

"""Principals: who may ask. For admins only."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.api.auth import Admin, PartsOfFarm
from app.errors import Conflict
from app.principal import Role

router = APIRouter(prefix="/principals", tags=["principals"])


class PrincipalIn(BaseModel):
    """Somebody who gets a key."""

    model_config = ConfigDict(extra="forbid")

    name: str
    role: Role


@router.get("")
def list_principals(principal: Admin, parts: PartsOfFarm) -> dict[str, Any]:
    """Names, roles and key prefixes; no key."""
    return {"principals": parts.principals.list(principal.tenant)}


@router.post("", status_code=201)
def add_principal(given: PrincipalIn, principal: Admin, parts: PartsOfFarm) -> dict[str, Any]:
    """Make a principal; the answer is the only place where its key is ever shown."""
    added, key = parts.principals.add(principal.tenant, given.name, given.role)
    return {"name": added.name, "role": added.role.value, "key": key}


@router.delete("/{name}", status_code=204)
def revoke_principal(name: str, principal: Admin, parts: PartsOfFarm) -> None:
    """End a principal's key for good."""
    if name == principal.name:
        raise Conflict("this is your own key", hint="let another admin revoke it")
    parts.principals.revoke(principal.tenant, name)

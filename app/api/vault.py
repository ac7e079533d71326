"""Secrets and logins: values go in, only names come out."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.api.auth import Admin, Operator, PartsOfFarm
from app.errors import NotFound
from app.parts import Parts
from app.step import Credential, Secret

router = APIRouter(tags=["vault"])


class SecretIn(BaseModel):
    """A named secret; the same name again makes a new version."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: SecretStr


class Become(BaseModel):
    """How to become another user after the login."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["sudo"] = "sudo"
    user: str = "root"


class CredentialIn(BaseModel):
    """How to log in, of one asset when `hostname` names it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    hostname: str | None = None
    username: str = Field(min_length=1)
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    become: Become | None = None


@router.get("/secrets")
def list_secrets(principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """Names and versions of secrets."""
    return {"secrets": _list(parts, principal.tenant, "secret")}


@router.post("/secrets", status_code=201)
def put_secret(secret: SecretIn, principal: Admin, parts: PartsOfFarm) -> dict[str, Any]:
    """Keep a secret."""
    value = Secret(secret.value.get_secret_value())
    parts.vault.put_secret(principal.tenant, secret.name, value)
    return {"name": secret.name}


@router.delete("/secrets/{name}", status_code=204)
def remove_secret(name: str, principal: Admin, parts: PartsOfFarm) -> None:
    """Forget a secret."""
    _remove(parts, principal.tenant, "secret", name)


@router.get("/credentials")
def list_credentials(principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """Names, users and assets of logins."""
    return {"credentials": _list(parts, principal.tenant, "credential")}


@router.post("/credentials", status_code=201)
def put_credential(given: CredentialIn, principal: Admin, parts: PartsOfFarm) -> dict[str, Any]:
    """Keep a login."""
    credential = Credential(
        name=given.name,
        username=given.username,
        password=_sealed(given.password),
        private_key=_sealed(given.private_key),
        become=given.become.model_dump() if given.become else None,
    )
    parts.vault.put_credential(principal.tenant, given.name, credential, given.hostname)
    return {"name": given.name, "hostname": given.hostname}


@router.delete("/credentials/{name}", status_code=204)
def remove_credential(name: str, principal: Admin, parts: PartsOfFarm) -> None:
    """Forget a login."""
    _remove(parts, principal.tenant, "credential", name)


def _sealed(value: SecretStr | None) -> Secret | None:
    return Secret(value.get_secret_value()) if value else None


def _list(parts: Parts, tenant: str, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in parts.vault.list(tenant) if entry["kind"] == kind]


def _remove(parts: Parts, tenant: str, kind: str, name: str) -> None:
    if name not in {entry["name"] for entry in _list(parts, tenant, kind)}:
        raise NotFound(f"no {kind} {name[:80]!r}", hint=f"'opsfarm {kind}s list' shows them")
    parts.vault.remove(tenant, name)

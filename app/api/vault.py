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
    user: str = Field(default="root", min_length=1)
    #: What sudo asks for, where it is not the password of the login.
    password: SecretStr | None = None


class AssetsIn(BaseModel):
    """Names and selectors of assets."""

    model_config = ConfigDict(extra="forbid")

    assets: list[str] = Field(min_length=1, max_length=1000)


class CredentialIn(BaseModel):
    """How to log in to the assets that names and selectors mean at this moment.

    Without any, a login that is kept already goes on serving its assets. Beside a private key
    `password` is that key's passphrase.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    assets: list[str] = Field(default=[], max_length=1000)
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
    """Keep a login; the answer names the assets that it serves."""
    become = given.become
    credential = Credential(
        name=given.name,
        username=given.username,
        password=_sealed(given.password),
        private_key=_sealed(given.private_key),
        become={"method": become.method, "user": become.user} if become else None,
        become_password=_sealed(become.password) if become else None,
    )
    served = parts.vault.put_credential(principal.tenant, given.name, credential, *given.assets)
    return {"name": given.name, "hostnames": served}


@router.post("/credentials/{name}/assets")
def assign_credential(
    name: str, given: AssetsIn, principal: Admin, parts: PartsOfFarm
) -> dict[str, Any]:
    """Let a login serve more assets; the answer names all that it serves."""
    served = parts.vault.assign(principal.tenant, name, *given.assets)
    return {"name": name, "hostnames": served}


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

"""Who asks, by API key, and what each role may do."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Forbidden, Unauthenticated
from app.parts import Parts
from app.principal import Principal, Role

_BEARER = HTTPBearer(auto_error=False, description="`Authorization: Bearer <API key>`")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The API key")
_HINT = "send 'Authorization: Bearer <key>'; 'opsfarm principals add NAME' makes a key"


def get_parts(request: Request) -> Parts:
    """What the application was built with."""
    parts: Parts = request.app.state.parts
    return parts


PartsOfFarm = Annotated[Parts, Depends(get_parts)]


def identify(
    parts: PartsOfFarm,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    header: Annotated[str | None, Depends(_HEADER)],
) -> Principal:
    """The principal of the request's key; raises Unauthenticated."""
    key = bearer.credentials if bearer else header
    if not key:
        raise Unauthenticated("this needs an API key", hint=_HINT)
    principal = parts.principals.find(key)
    if principal is None:
        raise Unauthenticated("the API key is not known, or was revoked", hint=_HINT)
    return principal


#: Any principal: reads.
Viewer = Annotated[Principal, Depends(identify)]


def require_operator(principal: Viewer) -> Principal:
    """Submits, cancels and reads what may be sensitive."""
    if not principal.may_submit:
        raise _lacking(principal, "operator")
    return principal


def require_admin(principal: Viewer) -> Principal:
    """Manages principals, secrets and credentials."""
    if principal.role is not Role.ADMIN:
        raise _lacking(principal, "admin")
    return principal


Operator = Annotated[Principal, Depends(require_operator)]
Admin = Annotated[Principal, Depends(require_admin)]


def _lacking(principal: Principal, needed: str) -> Forbidden:
    return Forbidden(
        f"{principal.name} is {principal.role.value}; this needs the role {needed}",
        hint=f"'opsfarm principals add NAME --role {needed}' makes a key for it",
    )

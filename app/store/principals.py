"""Principals: who may ask, known by an API key that is kept as a keyed hash."""

import hashlib
import hmac
import re
import secrets
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.errors import Conflict, NotFound, UserError
from app.principal import Principal, Role
from app.store.db import guard_unavailable
from app.store.keyring import Keyring
from app.store.models import Principal as PrincipalRow

#: opsfarm_<public prefix>_<256 random bits, URL-safe base64>.
_KEY = re.compile(r"opsfarm_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


class Principals:
    """Adds, finds and revokes those who may ask. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._hash_keys = keyring.derive("api keys")

    def add(self, tenant: str, name: str, role: Role) -> tuple[Principal, str]:
        """Make a principal and its key, shown this once; raises Conflict on a taken name.

        The name of a revoked principal stays taken: the events speak of it.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"{name[:80]!r} is no name for a principal: letters, digits, . _ @ -")
        prefix = secrets.token_hex(4)
        key_text = f"opsfarm_{prefix}_{secrets.token_urlsafe(32)}"
        row = insert(PrincipalRow).values(tenant=tenant, name=name, role=Role(role).value)
        row = row.values(key_prefix=prefix, key_hash=_hash(self._hash_keys[0], key_text))
        row = row.on_conflict_do_nothing(index_elements=["tenant", "name"])
        with guard_unavailable(), self._engine.begin() as connection:
            made = connection.execute(row.returning(PrincipalRow.id)).scalar()
        if made is None:
            raise Conflict(f"a principal {name!r} exists", hint="choose another name")
        return Principal(id=made, name=name, role=Role(role), tenant=tenant), key_text

    def find(self, key_text: str) -> Principal | None:
        """Whose key it is; None when it is not known or was revoked. One SELECT."""
        shape = _KEY.fullmatch(key_text)
        if shape is None:
            return None
        rows = select(PrincipalRow.__table__).where(
            PrincipalRow.key_prefix == shape[1], PrincipalRow.revoked_at.is_(None)
        )
        with guard_unavailable(), self._engine.connect() as connection:
            row = connection.execute(rows).one_or_none()
        if row is None or not self._fits(key_text, row.key_hash):
            return None
        return _to_principal(row)

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """A tenant's principals by name: id, role, key_prefix, created_at, revoked_at of each."""
        rows = select(PrincipalRow).where(PrincipalRow.tenant == tenant).order_by(PrincipalRow.name)
        with guard_unavailable(), self._engine.connect() as connection:
            return [_to_json(row) for row in connection.execute(rows)]

    def revoke(self, tenant: str, name: str) -> None:
        """End a key for good; raises NotFound when there is no such principal with one."""
        row = update(PrincipalRow).values(revoked_at=func.now())
        row = row.where(PrincipalRow.tenant == tenant, PrincipalRow.name == name)
        row = row.where(PrincipalRow.revoked_at.is_(None))
        with guard_unavailable(), self._engine.begin() as connection:
            ended = connection.execute(row.returning(PrincipalRow.id)).scalar()
        if ended is None:
            raise NotFound(
                f"no principal {name[:80]!r} with a valid key",
                hint="'opsfarm principals list' shows them",
            )

    def _fits(self, key_text: str, kept: bytes) -> bool:
        """Compare under each farm key without an early end."""
        fits = [hmac.compare_digest(_hash(key, key_text), kept) for key in self._hash_keys]
        return any(fits)


def _hash(hash_key: bytes, key_text: str) -> bytes:
    return hmac.digest(hash_key, key_text.encode(), hashlib.sha256)


def _to_principal(row: Any) -> Principal:  # noqa: ANN401  # a row with PrincipalRow's columns
    return Principal(id=row.id, name=row.name, role=Role(row.role), tenant=row.tenant)


def _to_json(row: Any) -> dict[str, Any]:  # noqa: ANN401  # a row with PrincipalRow's columns
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "key_prefix": row.key_prefix,
        "created_at": row.created_at.isoformat(),
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }

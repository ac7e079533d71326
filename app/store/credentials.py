"""The vault: named secrets and logins, sealed so that the database alone reveals none.

Each row has a data key of its own (AES-256-GCM), wrapped by the farm's key, which lives
outside PostgreSQL. What is sealed is bound to tenant, id and version: values that were moved
between rows, or an older value in a row of today, do not open. A whole row put back from an older
copy does: the vault keeps no record of versions outside the row.
"""

import json
import re
from typing import Any, Protocol
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ColumnElement, Engine, delete, func, select, text
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound, SealBroken, UserError
from app.step import Credential, Secret
from app.store.db import guard_unavailable, make_sessions
from app.store.inventory import find_asset
from app.store.keyring import Keyring, seal, unseal
from app.store.models import Asset, StoredSecret

MAX_SECRET_CHARS = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HINT = "'opsfarm credentials list' and 'opsfarm secrets list' show the names"


class SealedRow(Protocol):
    """The columns of `StoredSecret` that opening it needs; any row that has them will do."""

    id: UUID
    tenant: str
    name: str
    kind: str
    asset_id: int | None
    version: int
    key_id: str
    wrapped_key: bytes
    sealed: bytes


class Vault:
    """Keeps and opens secrets and logins. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._sessions = make_sessions(engine)
        self._keyring = keyring

    def put_secret(self, tenant: str, name: str, value: Secret) -> None:
        """Keep a secret; one of the same name gets a new version. Raises Conflict, UserError."""
        if not 0 < len(value.reveal()) <= MAX_SECRET_CHARS:
            raise UserError(f"a secret has 1 to {MAX_SECRET_CHARS} characters")
        with guard_unavailable(), self._sessions.begin() as session:
            self._put(session, _find_or_new(session, tenant, name, "secret"), value.reveal())

    def put_credential(
        self, tenant: str, name: str, credential: Credential, hostname: str | None = None
    ) -> None:
        """Keep a login, of an asset when one is named. Raises Conflict, NotFound, UserError."""
        _check_login(credential)
        with guard_unavailable(), self._sessions.begin() as session:
            session.info["tenant"] = tenant
            row = _find_or_new(session, tenant, name, "credential")
            row.asset_id = find_asset(session, hostname).id if hostname else None
            row.public = {"username": credential.username, "become": credential.become}
            content = {
                "username": credential.username,
                "password": credential.password.reveal() if credential.password else None,
                "private_key": credential.private_key.reveal() if credential.private_key else None,
                "become": credential.become,
                "asset_id": row.asset_id,
            }
            self._put(session, row, json.dumps(content))

    def find(self, tenant: str, name: str) -> StoredSecret:
        """The sealed row of a name; raises NotFound."""
        with guard_unavailable(), self._sessions() as session:
            row = session.scalar(select(StoredSecret).where(*_named(tenant, name)))
        if row is None:
            raise NotFound(f"no secret or credential {name[:80]!r}", hint=_HINT)
        return row

    def credential_for(self, tenant: str, asset_id: int) -> Credential | None:
        """The newest login of an asset; None when it has none."""
        rows = select(StoredSecret).where(StoredSecret.tenant == tenant)
        rows = rows.where(StoredSecret.asset_id == asset_id, StoredSecret.kind == "credential")
        rows = rows.order_by(StoredSecret.updated_at.desc(), StoredSecret.name).limit(1)
        with guard_unavailable(), self._sessions() as session:
            row = session.scalar(rows)
        return self.open_credential(row) if row else None

    def open_secret(self, row: SealedRow) -> Secret:
        """Unseal a named secret; raises SealBroken, which never holds the value."""
        return Secret(self._open(row, "secret"))

    def open_credential(self, row: SealedRow) -> Credential:
        """Unseal a login; raises SealBroken, also when it was moved to another asset."""
        content = json.loads(self._open(row, "credential"))
        if content["asset_id"] != row.asset_id:
            raise SealBroken(f"credential {row.name!r}: sealed for another asset; enter it again")
        return Credential(
            name=row.name,
            username=content["username"],
            password=Secret(content["password"]) if content["password"] else None,
            private_key=Secret(content["private_key"]) if content["private_key"] else None,
            become=content["become"],
        )

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """By name: name, kind, hostname, public, version, created_at, updated_at; no value."""
        rows = select(StoredSecret, Asset.hostname).outerjoin(Asset)
        rows = rows.where(StoredSecret.tenant == tenant).order_by(StoredSecret.name)
        with guard_unavailable(), self._sessions() as session:
            return [_to_json(row, hostname) for row, hostname in session.execute(rows)]

    def names(self, tenant: str) -> set[str]:
        """The secrets that plans may name; a login is not one of them."""
        rows = select(StoredSecret.name).where(
            StoredSecret.tenant == tenant, StoredSecret.kind == "secret"
        )
        with guard_unavailable(), self._sessions() as session:
            return set(session.scalars(rows))

    def remove(self, tenant: str, name: str) -> None:
        """Delete it; raises NotFound."""
        gone = delete(StoredSecret).where(*_named(tenant, name)).returning(StoredSecret.id)
        with guard_unavailable(), self._sessions.begin() as session:
            if session.scalar(gone) is None:
                raise NotFound(f"no secret or credential {name[:80]!r}", hint=_HINT)

    def rewrap(self, new: Keyring) -> int:
        """Wrap every data key anew with the current key of `new`, all or none; how many."""
        with guard_unavailable(), self._sessions.begin() as session:
            rows = session.scalars(select(StoredSecret).with_for_update()).all()
            for row in rows:
                row.wrapped_key = new.wrap(self._data_key(row), _bound_to(row))
                row.key_id = new.current_id
        self._keyring = new
        return len(rows)

    def _put(self, session: Session, row: StoredSecret, plain: str) -> None:
        data_key = AESGCM.generate_key(256)
        row.version += 1
        row.key_id = self._keyring.current_id
        row.wrapped_key = self._keyring.wrap(data_key, _bound_to(row))
        row.sealed = seal(data_key, plain.encode(), _bound_to(row))
        row.updated_at = func.now()
        session.add(row)

    def _open(self, row: SealedRow, kind: str) -> str:
        if row.kind != kind:
            raise SealBroken(f"{row.name!r} is a {row.kind}, not a {kind}")
        try:
            return unseal(self._data_key(row), row.sealed, _bound_to(row)).decode()
        except SealBroken as error:
            raise SealBroken(f"{kind} {row.name!r}: {error}") from None

    def _data_key(self, row: SealedRow) -> bytes:
        return self._keyring.unwrap(row.key_id, row.wrapped_key, _bound_to(row))


def _bound_to(row: SealedRow) -> bytes:
    return f"{row.tenant}|{row.id}|{row.version}".encode()


def _named(tenant: str, name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return StoredSecret.tenant == tenant, StoredSecret.name == name


def _find_or_new(session: Session, tenant: str, name: str, kind: str) -> StoredSecret:
    """The row to write, locked against another writer of the same name."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name[:80]!r} is no name: letters, digits, '.', '_' and '-'")
    lock = text("select pg_advisory_xact_lock(hashtextextended(:name, 7276002))")
    session.execute(lock, {"name": f"{tenant}|{name}"})
    row = session.scalar(select(StoredSecret).where(*_named(tenant, name)))
    if row is None:
        return StoredSecret(id=uuid4(), tenant=tenant, name=name, kind=kind, version=0)
    if row.kind != kind:
        raise Conflict(f"{name!r} is a {row.kind}", hint="choose another name, or remove it first")
    return row


def _check_login(credential: Credential) -> None:
    if not credential.username:
        raise UserError("a credential needs a user name")
    become = dict(credential.become or {"method": "sudo"})
    if become.pop("method", None) != "sudo" or become.keys() - {"user"}:
        raise UserError("become is {method: sudo, user: <name>}")


def _to_json(row: StoredSecret, hostname: str | None) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "hostname": hostname,
        "public": row.public,
        "version": row.version,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }

"""The vault: named secrets and logins, sealed so that the database alone reveals none.

Each row has a data key of its own (AES-256-GCM), wrapped by the farm's key, which lives
outside PostgreSQL. What is sealed is bound to tenant, id and version: values that were moved
between rows, or an older value in a row of today, do not open. A whole row put back from an older
copy does: the vault keeps no record of versions outside the row.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ARRAY, ColumnElement, Engine, Integer, cast, delete, func, select, text
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound, SealBroken, UserError
from app.private_key import check_private_key
from app.privilege import KnownLogin
from app.selector import parse_selector
from app.selector_text import SelectorError
from app.step import Credential, Secret
from app.store.asset_filters import serves_asset
from app.store.db import guard_unavailable, make_sessions
from app.store.inventory import find_meant
from app.store.keyring import Keyring, seal, unseal
from app.store.models import Asset, StoredSecret

MAX_SECRET_CHARS = 64 * 1024
#: What of a login nobody sees.
_HIDDEN = ("password", "private_key", "become_password")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HINT = "'opsfarm credentials list' and 'opsfarm secrets list' show the names"


class SealedRow(Protocol):
    """The columns of `StoredSecret` that opening it needs; any row that has them will do."""

    id: UUID
    tenant: str
    name: str
    kind: str
    asset_ids: list[int]
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
        self, tenant: str, name: str, credential: Credential, *assets: str
    ) -> list[str]:
        """Keep a login for the assets that these names and selectors mean; gives host names.

        With none of them, a login of that name keeps its assets. Raises Conflict, NotFound,
        UserError.
        """
        _check_login(credential)
        with guard_unavailable(), self._sessions.begin() as session:
            session.info["tenant"] = tenant
            row = _find_or_new(session, tenant, name, "credential")
            if assets:
                row.asset_ids = _find_ids(session, assets)
            row.public = {"username": credential.username, "become": credential.become}
            self._put(session, row, _write_login(credential, row.asset_ids))
            return _host_names(session, row.asset_ids)

    def assign(self, tenant: str, name: str, *assets: str) -> list[str]:
        """Let a login serve more assets; the host names of all that it serves now.

        Raises NotFound, UserError, and SealBroken for a login that does not open.
        """
        with guard_unavailable(), self._sessions.begin() as session:
            session.info["tenant"] = tenant
            row = _find_or_new(session, tenant, name, "credential")
            if not row.version:
                raise NotFound(f"no credential {name[:80]!r}", hint=_HINT)
            credential = self.open_credential(row)
            row.asset_ids = sorted({*row.asset_ids, *_find_ids(session, assets)})
            self._put(session, row, _write_login(credential, row.asset_ids))
            return _host_names(session, row.asset_ids)

    def find(self, tenant: str, name: str) -> StoredSecret:
        """The sealed row of a name; raises NotFound."""
        with guard_unavailable(), self._sessions() as session:
            row = session.scalar(select(StoredSecret).where(*_named(tenant, name)))
        if row is None:
            raise NotFound(f"no secret or credential {name[:80]!r}", hint=_HINT)
        return row

    def credential_for(self, tenant: str, asset_id: int) -> Credential | None:
        """The login of an asset that serves the fewest others, the newest of those, if any."""
        rows = select(StoredSecret).where(StoredSecret.tenant == tenant)
        rows = rows.where(serves_asset(asset_id))
        fewest = func.cardinality(StoredSecret.asset_ids)
        rows = rows.order_by(fewest, StoredSecret.updated_at.desc(), StoredSecret.name).limit(1)
        with guard_unavailable(), self._sessions() as session:
            row = session.scalar(rows)
        return self.open_credential(row) if row else None

    def logins(self, tenant: str, asset_ids: Collection[int]) -> dict[int, KnownLogin]:
        """By asset, which login `credential_for` would give; an asset without one is not in it."""
        rows = select(StoredSecret).where(StoredSecret.tenant == tenant)
        wanted = cast(list(asset_ids), ARRAY(Integer))
        rows = rows.where(StoredSecret.asset_ids.op("&&")(wanted))
        rows = rows.order_by(func.cardinality(StoredSecret.asset_ids).desc())
        rows = rows.order_by(StoredSecret.updated_at, StoredSecret.name.desc())
        with guard_unavailable(), self._sessions() as session:
            found = session.scalars(rows.where(StoredSecret.kind == "credential")).all()
        known: dict[int, KnownLogin] = {}
        for row in found:  # the best comes last and stays
            login = KnownLogin(row.name, row.public["username"], row.public.get("become"))
            known |= dict.fromkeys(set(row.asset_ids) & set(asset_ids), login)
        return known

    def open_secret(self, row: SealedRow) -> Secret:
        """Unseal a named secret; raises SealBroken, which never holds the value."""
        return Secret(self._open(row, "secret"))

    def open_credential(self, row: SealedRow) -> Credential:
        """Unseal a login; raises SealBroken, also when it was moved to another asset."""
        content = json.loads(self._open(row, "credential"))
        if not set(row.asset_ids) <= set(content["asset_ids"]):
            raise SealBroken(f"credential {row.name!r}: sealed for another asset; enter it again")
        hidden = {name: Secret(content[name]) if content[name] else None for name in _HIDDEN}
        return Credential(
            name=row.name, username=content["username"], become=content["become"], **hidden
        )

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """By name: name, kind, hostnames, public, version, created_at, updated_at; no value."""
        rows = select(StoredSecret).where(StoredSecret.tenant == tenant).order_by(StoredSecret.name)
        with guard_unavailable(), self._sessions() as session:
            found = session.scalars(rows).all()
            ids = {each for row in found for each in row.asset_ids}
            hosts = select(Asset).where(Asset.id.in_(ids))
            names = {asset.id: asset.hostname for asset in session.scalars(hosts)}
            return [_to_json(row, names) for row in found]

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
        return StoredSecret(
            id=uuid4(), tenant=tenant, name=name, kind=kind, version=0, asset_ids=[]
        )
    if row.kind != kind:
        raise Conflict(f"{name!r} is a {row.kind}", hint="choose another name, or remove it first")
    return row


def _find_ids(session: Session, assets: Sequence[str]) -> list[int]:
    """The ids that names and selectors mean, resting assets too; raises NotFound, UserError."""
    try:
        found, unknown = find_meant(session, parse_selector(list(assets)))
    except SelectorError as error:
        raise UserError(str(error)) from None
    if unknown or not found:
        what = f"no asset {unknown[0][:80]!r}" if unknown else "no asset fits " + " ".join(assets)
        raise NotFound(what, hint="'opsfarm assets list' shows what there is")
    return sorted(asset.id for asset in found)


def _host_names(session: Session, ids: Sequence[int]) -> list[str]:
    rows = select(Asset.hostname).where(Asset.id.in_(ids)).order_by(Asset.hostname)
    return list(session.scalars(rows))


def _write_login(credential: Credential, asset_ids: Sequence[int]) -> str:
    """What is sealed: bound to its assets, too."""
    hidden = {name: getattr(credential, name) for name in _HIDDEN}
    content = {name: value.reveal() if value else None for name, value in hidden.items()}
    public = {"username": credential.username, "become": credential.become}
    return json.dumps({**content, **public, "asset_ids": list(asset_ids)})


def _check_login(credential: Credential) -> None:
    if not credential.username:
        raise UserError("a credential needs a user name")
    become = dict(credential.become or {"method": "sudo"})
    if become.pop("method", None) != "sudo" or become.keys() - {"user"}:
        raise UserError("become is {method: sudo, user: <name>}")
    if credential.private_key is not None:
        check_private_key(credential.private_key, credential.password)


def _to_json(row: StoredSecret, hostnames: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "hostnames": sorted(hostnames[each] for each in row.asset_ids if each in hostnames),
        "public": row.public,
        "version": row.version,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }

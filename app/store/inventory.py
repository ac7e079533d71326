"""The inventory: assets as targets of steps, and the reads and writes of the asset tools.

The functions over a session run in their caller's transaction. `session.info` says for whom:
tenant, and for the events actor, execution_id and step_id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.asset import RESTING_STATUSES, check_values
from app.errors import Conflict, NotFound, UserError
from app.selector import Selection, Selector, parse_selector
from app.step import LOCAL, Target
from app.store.asset_filters import holds_text, is_named, matches, serves_asset
from app.store.asset_names import all_names, in_order, means_local, unknown_names
from app.store.db import guard_unavailable, make_sessions
from app.store.models import Asset, Event, StoredSecret

_FIELDS = (
    "id",
    "hostname",
    "ip_address",
    "type",
    "status",
    "environment",
    "criticality",
    "os",
    "connection",
    "tags",
    "metadata",
)
_SHOW_HINT = "asset-list shows what there is"


class Inventory:
    """Finds the assets that a selector means. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = make_sessions(engine)

    def select(self, tenant: str, selector: Selector) -> Selection:
        """The targets of a selector, what it leaves out and which names it does not know."""
        with guard_unavailable(), self._sessions() as session:
            session.info["tenant"] = tenant
            meant, unknown = find_meant(session, selector)
        resting = [asset for asset in meant if asset.status in RESTING_STATUSES]
        targets = [to_target(asset) for asset in meant if asset not in resting]
        return Selection(
            targets=(*([LOCAL] if means_local(selector) else []), *targets),
            left_out=tuple(f"{asset.hostname} ({asset.status})" for asset in resting),
            unknown=unknown,
        )


def find_meant(session: Session, selector: Selector) -> tuple[list[Asset], tuple[str, ...]]:
    """The assets that a selector means, whatever their status, and the names it does not know."""
    names = dict.fromkeys(all_names(selector))
    wanted = matches(selector)
    rows = (
        select(Asset, wanted)
        .order_by(Asset.hostname)
        .where(Asset.tenant == _tenant(session), or_(wanted, is_named(names)) if names else wanted)
    )
    found = [(asset, bool(is_meant)) for asset, is_meant in session.execute(rows)]
    unknown = tuple(unknown_names(names, [asset for asset, _ in found]))
    return in_order([asset for asset, is_meant in found if is_meant], list(names)), unknown


def to_target(asset: Asset) -> Target:
    """How to reach an asset: its `connection`, else SSH (WinRM on Windows) at its address."""
    options = dict(asset.connection)
    windows = (asset.os or "").lower().startswith("windows")
    return Target(
        name=asset.hostname,
        asset_id=asset.id,
        connection=options.pop("type", "winrm" if windows else "ssh"),
        port=options.pop("port", None),
        address=options.pop("address", None) or asset.ip_address or asset.hostname,
        os=asset.os,
        options=options,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some assets of all that fit."""

    assets: list[dict[str, Any]]
    total: int


def create_asset(session: Session, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add an asset; raises UserError on a bad value and Conflict on a taken host name."""
    checked = _check(values)
    row = insert(Asset).values(tenant=_tenant(session), **to_columns(checked))
    row = row.on_conflict_do_nothing(index_elements=["tenant", "hostname"])
    asset = session.scalar(row.returning(Asset))
    if asset is None:
        raise _taken(session, checked["hostname"])
    _record(session, "asset.created", asset, fields=sorted(checked))
    return as_json(asset)


def find_asset(session: Session, name: str, *, lock: bool = False) -> Asset:
    """One asset by id (digits), address or host name; raises NotFound, Conflict on several."""
    rows = select(Asset).where(Asset.tenant == _tenant(session), is_named([name])).limit(2)
    found = session.scalars(rows.with_for_update() if lock else rows).all()
    if not found:
        raise NotFound(f"no asset {name[:80]!r}", hint=_SHOW_HINT)
    if len(found) > 1:
        raise Conflict(f"several assets have the address {name}", hint="name one by its host name")
    return found[0]


def list_assets(
    session: Session,
    where: Mapping[str, Any],
    *,
    words: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> Page:
    """Assets that meet every condition (a selector's mapping form) and hold the text, by id."""
    condition = Asset.tenant == _tenant(session)
    condition &= matches(parse_selector(where)) if where else true()
    condition &= holds_text(words) if words else true()
    total = session.scalar(select(func.count()).select_from(Asset).where(condition))
    rows = select(Asset).where(condition).order_by(Asset.id).limit(limit).offset(offset)
    return Page([as_json(asset) for asset in session.scalars(rows)], total or 0)


def update_asset(
    session: Session, name: str, values: Mapping[str, Any], *, replace: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Change what was given; the asset as it is now, and {field: {before, after}} of what moved.

    Objects are merged (RFC 7396: null removes a key) unless named in `replace`; a field given
    as None is cleared. Raises NotFound, UserError, and Conflict on a taken host name.
    """
    asset = find_asset(session, name, lock=True)
    before = as_json(asset)
    merged = {
        key: value if key in replace else _merge(before.get(key), value)
        for key, value in values.items()
    }
    given = {key: value for key, value in merged.items() if value is not None}
    checked = _check(given) | dict.fromkeys(merged.keys() - given.keys())
    moved = {
        key: {"before": before[key], "after": value}
        for key, value in checked.items()
        if before[key] != value
    }
    if moved:
        _write(session, asset, {key: checked[key] for key in moved})
        _record(session, "asset.updated", asset, fields=sorted(moved))
    return as_json(asset), moved


def delete_asset(session: Session, name: str) -> dict[str, Any]:
    """Remove an asset and the credentials of it alone; what it was, with their names.

    Raises NotFound.
    """
    asset = find_asset(session, name, lock=True)
    removed = as_json(asset) | {"credentials": _remove_logins(session, asset)}
    session.execute(delete(Asset).where(Asset.id == asset.id))
    _record(session, "asset.deleted", asset, fields=[])
    return removed


def _remove_logins(session: Session, asset: Asset) -> list[str]:
    """Names of the logins that served this asset alone; the others serve one asset less."""
    rows = select(StoredSecret).where(StoredSecret.tenant == asset.tenant)
    rows = rows.where(serves_asset(asset.id)).with_for_update()
    removed = []
    for login in session.scalars(rows).all():
        login.asset_ids = [each for each in login.asset_ids if each != asset.id]
        if not login.asset_ids:
            session.delete(login)
            removed.append(login.name)
    session.flush()
    return sorted(removed)


def as_json(asset: Asset) -> dict[str, Any]:
    """An asset as the tools and the API give it; times in ISO 8601."""
    return {
        **{name: getattr(asset, _column(name)) for name in _FIELDS},
        "created_at": asset.created_at.isoformat(),
        "updated_at": asset.updated_at.isoformat(),
    }


def _column(name: str) -> str:
    return "details" if name == "metadata" else name  # see models.Asset


def to_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an asset as columns of its table."""
    return {_column(name): value for name, value in values.items()}


def _tenant(session: Session) -> str:
    return str(session.info["tenant"])


def _check(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return check_values(values)
    except ValueError as error:
        raise UserError(str(error)) from None


def _taken(session: Session, hostname: str) -> Conflict:
    asset = find_asset(session, hostname)
    return Conflict(
        f"{hostname} exists as asset {asset.id} ({asset.type}, {asset.status})",
        hint="use asset-update to change it, or choose another host name",
    )


def _merge(old: Any, patch: Any) -> Any:  # noqa: ANN401  # JSON
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _write(session: Session, asset: Asset, values: Mapping[str, Any]) -> None:
    """One UPDATE; a taken host name undoes only it, so that the caller's transaction lives."""
    row = update(Asset).where(Asset.id == asset.id)
    row = row.values(updated_at=func.clock_timestamp(), **to_columns(values))
    try:
        with session.begin_nested():
            session.execute(row)
    except IntegrityError:
        raise _taken(session, str(values["hostname"])) from None
    session.refresh(asset)


def _record(session: Session, kind: str, asset: Asset, *, fields: list[str]) -> None:
    info = session.info
    session.add(
        Event(
            tenant=asset.tenant,
            execution_id=info.get("execution_id"),
            step_id=info.get("step_id"),
            kind=kind,
            actor=info.get("actor"),
            data={"asset_id": asset.id, "hostname": asset.hostname, "fields": fields},
        )
    )
    session.flush()

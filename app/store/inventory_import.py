"""Takes assets from a file into the inventory: all of them or none, with an event for each."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.imports.difference import Difference, compare
from app.principal import Principal
from app.store.db import guard_unavailable, make_sessions
from app.store.inventory import as_json, to_columns, update_asset
from app.store.models import Asset, Event

#: Rows that go to the database in one statement.
_BATCH = 500

Drafts = Mapping[str, Mapping[str, Any]]


def compare_assets(
    engine: Engine, principal: Principal, drafts: Drafts, owned_tags: str | None
) -> Difference:
    """What an import would change now; writes nothing. Drafts are checked (`check_values`)."""
    with guard_unavailable(), make_sessions(engine)() as session:
        return _compare(session, principal, drafts, owned_tags)


def import_assets(
    engine: Engine,
    principal: Principal,
    drafts: Drafts,
    owned_tags: str | None,
    permit: Callable[[Difference], None] = lambda _found: None,
) -> Difference:
    """Write what is new or changed in one transaction, and what that was.

    `permit` raises where that must not be. Raises Conflict when somebody else adds one of the
    assets at that moment, NotFound when somebody removes one, UserError when a merged object grows
    too large.
    """
    with guard_unavailable(), make_sessions(engine).begin() as session:
        session.info.update(tenant=principal.tenant, actor=principal.name)
        found = _compare(session, principal, drafts, owned_tags)
        permit(found)
        names = list(found.new)
        for start in range(0, len(names), _BATCH):
            _add(session, principal, {n: found.new[n] for n in names[start : start + _BATCH]})
        for hostname, patch in found.patches():
            update_asset(session, hostname, patch)
        return found


def _compare(
    session: Session, principal: Principal, drafts: Drafts, owned_tags: str | None
) -> Difference:
    rows = select(Asset).where(Asset.tenant == principal.tenant)
    assets = {asset.hostname: as_json(asset) for asset in session.scalars(rows)}
    session.expunge_all()
    return compare(drafts, assets, owned_tags)


def _add(session: Session, principal: Principal, drafts: Drafts) -> None:
    """New assets and their events; raises Conflict where one is there meanwhile."""
    made = _insert(session, principal, drafts)
    missing = sorted(drafts.keys() - made.keys())
    if missing:
        raise Conflict(f"{missing[0]} was added by somebody else meanwhile", hint="import again")
    head = {"tenant": principal.tenant, "kind": "asset.created", "actor": principal.name}
    told = [
        {"asset_id": made[name], "hostname": name, "fields": sorted({"hostname", *fields})}
        for name, fields in drafts.items()
    ]
    session.execute(insert(Event), [{**head, "data": data} for data in told])


def _insert(session: Session, principal: Principal, drafts: Drafts) -> dict[str, int]:
    """Host name to id of what was not there yet.

    Rows of one statement have the same columns: what a draft leaves out gets its default.
    """
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for hostname, fields in drafts.items():
        row = {"tenant": principal.tenant, "hostname": hostname, **to_columns(fields)}
        by_columns.setdefault(tuple(sorted(row)), []).append(row)
    made: dict[str, int] = {}
    for alike in by_columns.values():
        added = insert_or_skip(Asset).values(alike).on_conflict_do_nothing()
        rows = session.execute(added.returning(Asset.id, Asset.hostname)).all()
        made |= {hostname: asset_id for asset_id, hostname in rows}
    return made

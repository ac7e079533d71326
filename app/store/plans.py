"""Stored plans: versions that are added and read, never changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Never

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.plan_name import PlanName
from app.store.db import guard_unavailable, make_sessions
from app.store.models import Event, PlanRow
from tool_catalog.names import did_you_mean, suggest


@dataclass(frozen=True, slots=True)
class NewPlan:
    """A plan's text that is to become a version."""

    tenant: str
    name: str
    #: YAML or JSON, as it was handed in.
    document: str
    saved_by: str
    #: Tool to the digest of its file.
    tools: Mapping[str, str]
    note: str = ""


class StoredPlans:
    """Adds and reads versions. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = make_sessions(engine)

    def save(self, new: NewPlan) -> tuple[PlanRow, bool]:
        """The version with this text, and whether it is a new one."""
        with guard_unavailable(), self._sessions.begin() as session:
            return add_version(session, new)

    def read(self, tenant: str, wanted: PlanName) -> PlanRow:
        """One version, the newest where none is named; raises NotFound saying what there is."""
        rows = _versions_of(tenant, wanted.name)
        if wanted.version is not None:
            rows = rows.where(PlanRow.version == wanted.version)
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(rows.limit(1)).first() or _refuse(session, tenant, wanted)

    def list_newest(self, tenant: str) -> Sequence[PlanRow]:
        """The newest version of each plan, by name."""
        rows = (
            select(PlanRow)
            .where(PlanRow.tenant == tenant)
            .distinct(PlanRow.name)
            .order_by(PlanRow.name, PlanRow.version.desc())
        )
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(rows).all()

    def list_versions(self, tenant: str, name: str) -> Sequence[PlanRow]:
        """Every version of a plan, the newest first; raises NotFound."""
        with guard_unavailable(), self._sessions() as session:
            found = session.scalars(_versions_of(tenant, name)).all()
            return found or _refuse(session, tenant, PlanName(name))


def add_version(session: Session, new: NewPlan) -> tuple[PlanRow, bool]:
    """Add a version in the caller's transaction; the newest is given back when it is the same."""
    # Two who save the same name at once would both count on from the same version.
    lock = func.hashtextextended(f"{new.tenant}/{new.name}", 0)
    session.execute(select(func.pg_advisory_xact_lock(lock)))
    newest = session.scalars(_versions_of(new.tenant, new.name).limit(1)).first()
    digest = digest_of_text(new.document)
    if newest is not None and newest.digest == digest:
        return newest, False
    row = PlanRow(
        tenant=new.tenant,
        name=new.name,
        version=newest.version + 1 if newest else 1,
        digest=digest,
        document=new.document,
        note=new.note,
        saved_by=new.saved_by,
        tools=dict(new.tools),
    )
    session.add(row)
    session.add(
        Event(
            tenant=new.tenant,
            kind="plan.saved",
            actor=new.saved_by,
            data={"plan": row.name, "version": row.version, "digest": digest},
        )
    )
    session.flush()
    return row, True


def digest_of_text(document: str) -> str:
    """SHA-256 of a plan's text, hex."""
    return hashlib.sha256(document.encode()).hexdigest()


def _versions_of(tenant: str, name: str) -> Select[tuple[PlanRow]]:
    rows = select(PlanRow).where(PlanRow.tenant == tenant, PlanRow.name == name)
    return rows.order_by(PlanRow.version.desc())


def _refuse(session: Session, tenant: str, wanted: PlanName) -> Never:
    """Raise NotFound with the versions that there are, or a name that is near."""
    newest = session.scalars(_versions_of(tenant, wanted.name).limit(1)).first()
    if newest is not None:
        there = "version 1" if newest.version == 1 else f"versions 1 to {newest.version}"
        raise NotFound(
            f"the stored plan '{wanted.name}' has no version {wanted.version}",
            hint=f"there is {there}; 'opsfarm plans show {wanted.name}' shows them",
        )
    names = session.scalars(select(PlanRow.name).where(PlanRow.tenant == tenant).distinct())
    near = suggest(wanted.name, names.all())
    raise NotFound(
        f"no stored plan '{wanted.name}'{did_you_mean(near)}",
        hint="'opsfarm plans list' shows them",
    )

"""Stored plans: versions that are added and read, never changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.plan_name import PlanName
from app.store.db import guard_unavailable, make_sessions
from app.store.models import Event, PlanRow


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

    def find(self, tenant: str, wanted: PlanName) -> PlanRow | None:
        """One version, the newest where none is named."""
        rows = _versions_of(tenant, wanted.name)
        if wanted.version is not None:
            rows = rows.where(PlanRow.version == wanted.version)
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(rows.limit(1)).first()

    def list_newest(self, tenant: str) -> Sequence[PlanRow]:
        """The newest version of each plan, by name."""
        rows = (
            select(PlanRow)
            .where(PlanRow.tenant == tenant)
            .ext(distinct_on(PlanRow.name))
            .order_by(PlanRow.name, PlanRow.version.desc())
        )
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(rows).all()

    def list_versions(self, tenant: str, name: str) -> Sequence[PlanRow]:
        """Every version of a plan, the newest first."""
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(_versions_of(tenant, name)).all()

    def list_names(self, tenant: str) -> Sequence[str]:
        """The names of all stored plans."""
        names = select(PlanRow.name).where(PlanRow.tenant == tenant).distinct()
        with guard_unavailable(), self._sessions() as session:
            return session.scalars(names.order_by(PlanRow.name)).all()


def add_version(session: Session, new: NewPlan) -> tuple[PlanRow, bool]:
    """Add a version in the caller's transaction, unless the newest is the same.

    The same text over a tool that changed since is a new version: it was checked anew.
    """
    # Two who save the same name at once would both count on from the same version.
    lock = func.hashtextextended(f"{new.tenant}/{new.name}", 0)
    session.execute(select(func.pg_advisory_xact_lock(lock)))
    newest = session.scalars(_versions_of(new.tenant, new.name).limit(1)).first()
    digest = hashlib.sha256(new.document.encode()).hexdigest()
    if newest is not None and (newest.digest, newest.tools) == (digest, new.tools):
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
    event = Event(
        tenant=new.tenant,
        kind="plan.saved",
        actor=new.saved_by,
        data={"plan": row.name, "version": row.version, "digest": digest},
    )
    session.add_all([row, event])
    session.flush()
    return row, True


def _versions_of(tenant: str, name: str) -> Select[PlanRow]:
    rows = select(PlanRow).where(PlanRow.tenant == tenant, PlanRow.name == name)
    return rows.order_by(PlanRow.version.desc())

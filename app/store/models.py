"""The tables, but for those of steps, which are in `app.store.step_models`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Moment = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    """Root of the models; names every constraint so that migrations can find it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # the name and form that SQLAlchemy reads
        datetime: Moment,
        str: Text,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        UUID: Uuid,
        float: Double,
    }


class Principal(Base):
    """Who may ask: holds an API key, kept as a keyed hash."""

    __tablename__ = "principals"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default="default")
    name: Mapped[str]
    role: Mapped[str]
    #: Public part of the key, to find the row by.
    key_prefix: Mapped[str] = mapped_column(unique=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class Asset(Base):
    """A machine or device in the inventory."""

    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("tenant", "hostname"),
        Index("ix_assets_tags", "tags", postgresql_using="gin"),
        Index("ix_assets_ip_address", "tenant", "ip_address"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default="default")
    hostname: Mapped[str]
    ip_address: Mapped[str | None] = mapped_column(INET)
    type: Mapped[str] = mapped_column(server_default="server")
    status: Mapped[str] = mapped_column(server_default="active")
    environment: Mapped[str | None]
    criticality: Mapped[str | None]
    os: Mapped[str | None]
    #: How to reach it: {"type": "ssh", "port": 22, "host_key": "ssh-ed25519 ...", ...}.
    connection: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    tags: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    # `metadata` is taken by SQLAlchemy; the column keeps the name that people use.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StoredSecret(Base):
    """A named secret or an asset's credential, sealed (see `app.store.credentials`)."""

    __tablename__ = "secrets"
    __table_args__ = (
        UniqueConstraint("tenant", "name"),
        CheckConstraint("kind in ('secret', 'credential')", name="kind"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default="default")
    name: Mapped[str]
    kind: Mapped[str]
    #: Of a credential: whose login it is; what is not secret of it (username, become).
    asset_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    public: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    version: Mapped[int]
    #: Which key-encryption key wrapped the data key.
    key_id: Mapped[str]
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ExecutionRow(Base):
    """One run of one plan. Counters make its state a matter of one row, not of a scan."""

    __tablename__ = "executions"
    __table_args__ = (
        UniqueConstraint("tenant", "principal_id", "idempotency_key"),
        Index("ix_executions_recent", "tenant", "created_at"),
        Index("ix_executions_state", "tenant", "state", "created_at"),
        Index("ix_executions_reruns", "rerun_of", postgresql_where=text("rerun_of is not null")),
        Index("ix_executions_deadline", "deadline", postgresql_where=text("deadline is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    principal_id: Mapped[int] = mapped_column(ForeignKey("principals.id"))
    idempotency_key: Mapped[str | None]
    plan_digest: Mapped[str]
    source: Mapped[str]
    #: The stored plan it came from, and the execution that it repeats.
    plan_name: Mapped[str | None]
    plan_version: Mapped[int | None]
    rerun_of: Mapped[UUID | None]
    #: Why it is run, as whoever submitted it says; an approval by itself where that is enough.
    reason: Mapped[str | None]
    #: How long its approvals stay open at most; None: as the farm says.
    approval_timeout_s: Mapped[float | None]
    #: How long it may take from its start, or its latest resume; then it is cancelled, once.
    timeout_s: Mapped[float | None]
    deadline: Mapped[datetime | None]
    #: How often it was started: resuming counts on.
    run: Mapped[int] = mapped_column(server_default=text("1"))
    warnings: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    state: Mapped[str]
    #: The stage whose rows are open, counted from 0; `stages` is how many there are.
    stage: Mapped[int]
    stages: Mapped[int]
    #: The first stage of `finally`; equals `stages` when there is none.
    finally_stage: Mapped[int]
    #: The first stage of what reverses the others; None while nobody asked for it.
    undo_stage: Mapped[int | None]
    #: Rows of the current stage that are not final.
    stage_open: Mapped[int]
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    cancelled: Mapped[int] = mapped_column(server_default=text("0"))
    interrupted: Mapped[int] = mapped_column(server_default=text("0"))
    waiting: Mapped[int] = mapped_column(server_default=text("0"))
    #: A step with `on_failure: stop` failed: what is left of the main part is skipped.
    stopping: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Some steps stand in blocks or hold rows back (`max_parallel`): stages are opened with care.
    shaped: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Rows of stages below this number may not start any more (0: no cancel asked for).
    cancel_below: Mapped[int] = mapped_column(server_default=text("0"))
    cancel_requested_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None]
    cancel_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class ExecutionPlan(Base):
    """The plan of an execution as it was handed in; apart, so that its row stays small."""

    __tablename__ = "execution_plans"

    execution_id: Mapped[UUID] = mapped_column(
        ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True
    )
    plan: Mapped[dict[str, Any]]
    #: Tool to the digest of its file at that time.
    tools: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class Event(Base):
    """Append-only: written in the transaction of what it tells."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_execution", "execution_id", "id"),
        Index("ix_events_order", "xid", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    #: Readers take only what is below every running transaction: ids are taken before commit.
    xid: Mapped[int] = mapped_column(
        BigInteger, server_default=text("pg_current_xact_id()::text::bigint")
    )
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    tenant: Mapped[str]
    execution_id: Mapped[UUID | None]
    step_id: Mapped[int | None] = mapped_column(BigInteger)
    #: e.g. "execution.accepted", "step.running", "step.succeeded", "asset.created".
    kind: Mapped[str]
    actor: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class OutputChunk(Base):
    """Live output of a running step; at most one write a second and step, removed with age."""

    __tablename__ = "output_chunks"
    __table_args__ = (Index("ix_output_chunks_execution", "execution_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    xid: Mapped[int] = mapped_column(
        BigInteger, server_default=text("pg_current_xact_id()::text::bigint")
    )
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    tenant: Mapped[str]
    execution_id: Mapped[UUID]
    step_id: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int]
    #: [["stdout", "text"], ...]
    lines: Mapped[list[Any]] = mapped_column(JSONB)


class ArtifactRow(Base):
    """A file that a step left behind; its bytes lie in the artifact store."""

    __tablename__ = "artifacts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    execution_id: Mapped[UUID | None]
    step_id: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str]
    kind: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    url: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class WorkerRow(Base):
    """What a worker process says it can do, renewed by its heartbeat."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pool: Mapped[str]
    queues: Mapped[list[str]]
    slots: Mapped[int]
    #: {"programs": {"nmap": "7.93"}, "capabilities": ["net_raw"], "interfaces": ["eth0"]}.
    offers: Mapped[dict[str, Any]]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: How often in a row its process died soon after its start.
    deaths: Mapped[int] = mapped_column(server_default=text("0"))
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stopped_at: Mapped[datetime | None]


class PlanRow(Base):
    """One version of a stored plan; never changed."""

    __tablename__ = "plans"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    #: Counted from 1 for each name.
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: SHA-256 of the text, hex.
    digest: Mapped[str]
    #: The text as it was handed in, YAML or JSON: comments and places survive.
    document: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    saved_by: Mapped[str]
    saved_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: Tool to the digest of its file at that time.
    tools: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class ScheduleRow(Base):
    """A stored plan that beat submits when it is due."""

    __tablename__ = "schedules"
    __table_args__ = (
        UniqueConstraint("tenant", "name"),
        Index("ix_schedules_due", "next_at", postgresql_where=text("paused_at is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    principal_id: Mapped[int] = mapped_column(ForeignKey("principals.id"))
    plan_name: Mapped[str]
    #: None: the newest at each due time.
    plan_version: Mapped[int | None]
    #: What the plan's inputs are given, and the selector that narrows its targets.
    inputs: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    limit: Mapped[str | None] = mapped_column("limit_to")
    #: Why its plan is run: what each of its executions is given.
    reason: Mapped[str | None]
    #: Exactly one of cron (five fields) and interval_s.
    cron: Mapped[str | None]
    interval_s: Mapped[float | None]
    timezone: Mapped[str]
    overlap: Mapped[str]
    catch_up: Mapped[str]
    grace_s: Mapped[float]
    next_at: Mapped[datetime]
    last_at: Mapped[datetime | None]
    last_execution_id: Mapped[UUID | None]
    last_outcome: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

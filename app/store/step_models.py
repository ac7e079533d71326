"""The tables of steps. Their state changes live in SQL functions (see `migrations/`)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, SmallInteger, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.store.models import Base


class FailureCount(Base):
    """How many failures a block, or a step with `max_failures` outside of blocks, has had."""

    __tablename__ = "failure_counts"

    execution_id: Mapped[UUID] = mapped_column(
        ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True
    )
    #: Number of the block; 0 for a step.
    block: Mapped[int] = mapped_column(primary_key=True)
    #: Place of the step; 0 for a block.
    position: Mapped[int] = mapped_column(primary_key=True)
    failed: Mapped[int]


class Dropout(Base):
    """A target that failed in a block: the block's later steps leave it out."""

    __tablename__ = "dropouts"

    execution_id: Mapped[UUID] = mapped_column(
        ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True
    )
    block: Mapped[int] = mapped_column(primary_key=True)
    #: Name of the target; `#` and the row's id where it has none.
    target: Mapped[str] = mapped_column(primary_key=True)
    #: The step that failed on it.
    key: Mapped[str]


class CapStart(Base):
    """When somebody's latest row that shares a cap began."""

    __tablename__ = "cap_starts"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    #: As in the rows' `caps`.
    key: Mapped[str] = mapped_column(primary_key=True)
    principal_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started_at: Mapped[datetime]


class ApprovalRow(Base):
    """Somebody's yes that rows wait for, and what became of it."""

    __tablename__ = "approvals"
    __table_args__ = (
        Index("ix_approvals_open", "expires_at", postgresql_where=text("decision is null")),
        Index("ix_approvals_execution", "execution_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant: Mapped[str]
    execution_id: Mapped[UUID] = mapped_column(ForeignKey("executions.id", ondelete="CASCADE"))
    #: The dynamic step that asks, by the row it had when it was due; None: all that submit knows.
    step_id: Mapped[int | None] = mapped_column(BigInteger)
    #: Of what was shown: parameters, targets, credentials' names, the tools' files.
    digest: Mapped[str]
    #: {"who": "self" | "other", "groups": {name: how many of them}}.
    needed: Mapped[dict[str, Any]]
    #: What people decide on.
    shown: Mapped[dict[str, Any]]
    asked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    #: Each yes: {"id", "name", "groups", "from", "at", "reason"}.
    given: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    #: approved, rejected, expired or withdrawn; None while it is open.
    decision: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    reason: Mapped[str | None]


class StepRow(Base):
    """One step on one target. In state `queued` this row is the outbox."""

    __tablename__ = "steps"
    __table_args__ = (
        Index("ix_steps_execution", "execution_id", "stage", "id"),
        # The dispatcher's outbox, oldest first for each principal.
        Index(
            "ix_steps_outbox",
            "queue",
            "principal_id",
            "queued_at",
            postgresql_where=text("state = 'queued' and (caps is null or sent_at is not null)"),
        ),
        # The same for rows with limits, by group: a full one is passed over whole.
        Index(
            "ix_steps_capped",
            "queue",
            "principal_id",
            "cap_group",
            "queued_at",
            postgresql_where=text("state = 'queued' and sent_at is null and cap_group is not null"),
        ),
        # What is in the broker.
        Index(
            "ix_steps_sent",
            "queue",
            postgresql_where=text("state = 'queued' and sent_at is not null"),
        ),
        # What waits until another row of its step ends; not by id, or the planner walks the
        # primary key to find the first.
        Index(
            "ix_steps_held",
            "execution_id",
            "stage",
            "position",
            "target_index",
            postgresql_where=text("state = 'pending' and max_parallel is not null"),
        ),
        # The dead-letter desk.
        Index(
            "ix_steps_dead",
            "tenant",
            "id",
            postgresql_where=text("state in ('failed', 'interrupted') and discarded_at is null"),
        ),
        Index("ix_steps_due", "id", postgresql_where=text("state = 'due'")),
        # Interrupted rows whose probe is to be asked.
        Index(
            "ix_steps_probes",
            "probe_at",
            postgresql_where=text("state = 'interrupted' and probes_left > 0"),
        ),
        Index("ix_steps_running", "id", postgresql_where=text("state = 'running'")),
        # The backstop of the claim's own check: one holder for each mutex.
        Index(
            "uq_steps_mutex_held",
            "tenant",
            "mutex",
            unique=True,
            postgresql_where=text("mutex is not null and state in ('running', 'interrupted')"),
        ),
        {"postgresql_with": {"fillfactor": "70"}},  # room for updates on the same page
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant: Mapped[str]
    execution_id: Mapped[UUID] = mapped_column(ForeignKey("executions.id", ondelete="CASCADE"))
    principal_id: Mapped[int]
    #: 1-based place in the plan; `finally` goes on counting.
    position: Mapped[int]
    #: The step's id in expressions.
    key: Mapped[str]
    #: Place among the targets of its step, from 0.
    target_index: Mapped[int] = mapped_column(server_default=text("0"))
    stage: Mapped[int]
    #: The row that this one reverses; 0 of the row that asks what there is to reverse.
    undoes: Mapped[int | None] = mapped_column(BigInteger)
    tool: Mapped[str]
    operation: Mapped[str]
    domain: Mapped[str]
    queue: Mapped[str]
    effect: Mapped[str]
    repeat: Mapped[str]
    #: May ride in one chain behind the stage before it (static, single row).
    linkable: Mapped[bool]
    #: Holds expressions: rendered by the dispatcher when it becomes due.
    dynamic: Mapped[bool]
    #: Keys of the plan that rendering needs (when, targets, parameters as written).
    template: Mapped[dict[str, Any] | None]
    parameters: Mapped[dict[str, Any]]
    target: Mapped[dict[str, Any] | None]
    asset_id: Mapped[int | None]
    #: The row's item of `for_each`.
    item: Mapped[Any] = mapped_column(JSONB, nullable=True)
    run_as: Mapped[str | None]
    secrets: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    on_failure: Mapped[str]
    #: How many rows of the step may be under way at once; the others stay `pending`.
    max_parallel: Mapped[int | None]
    #: How many failures are borne: of the block's targets, or of the step's rows outside of one.
    max_failures: Mapped[int | None]
    #: Number of the outermost block, and what too many failures in it mean.
    block: Mapped[int | None]
    block_on_failure: Mapped[str | None]
    timeout_s: Mapped[float]
    queue_timeout_s: Mapped[float]
    max_retries: Mapped[int]
    backoff_s: Mapped[float]
    #: What a worker must have: {"programs": [], "capabilities": []}; shown while it waits.
    needs: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))

    state: Mapped[str]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    run: Mapped[int] = mapped_column(server_default=text("1"))
    #: Made by the worker at claim; every later word about the step must carry it.
    token: Mapped[UUID | None]
    heartbeats: Mapped[int] = mapped_column(server_default=text("0"))
    armed: Mapped[datetime | None]
    worker: Mapped[str | None]
    queued_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    #: How often it was published; more than once means that a message was lost or late.
    sends: Mapped[int] = mapped_column(server_default=text("0"))
    not_before: Mapped[datetime | None]
    mutex: Mapped[str | None]
    blocked_by: Mapped[int | None] = mapped_column(BigInteger)
    #: The approval that it waits for, or had.
    approval_id: Mapped[int | None] = mapped_column(BigInteger)
    #: What was approved and must still hold when it runs: {"tool": digest, "login": {...}}.
    bound: Mapped[dict[str, Any] | None]
    #: The limits that it shares with others, [{"key", "what", "running", "every_s"}]; null: none.
    caps: Mapped[list[Any] | None] = mapped_column(JSONB)
    #: The same for rows with the same caps.
    cap_group: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    #: Of an interrupted row with `repeat: probe`: when its probe is to be asked next, or counts as
    #: lost if it does not answer; null: a person decides.
    probe_at: Mapped[datetime | None]
    probes_left: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: Somebody took it from the dead-letter desk.
    discarded_at: Mapped[datetime | None]

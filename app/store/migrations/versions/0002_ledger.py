"""The ledger's SQL functions."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

SQL = Path(__file__).parents[1] / "sql" / "0002_ledger.sql"

FUNCTIONS = (
    "refuse_rewrite",
    "get_credential",
    "get_secret",
    "cancel_execution",
    "expand_step",
    "expire_queued",
    "take_unsent",
    "reap_step",
    "unsend_steps",
    "release_step",
    "interrupt_step",
    "retry_step",
    "finish_step",
    "settle",
    "arm_step",
    "heartbeat",
    "claim_step",
    "open_execution",
    "followers",
    "send_next",
    "mark_sent",
    "keep",
    "advance",
    "close_unstarted",
    "execution_state",
    "step_facts",
    "tell",
    "may_touch",
    "caller_domain",
)


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SQL.read_text().replace("%", "%%"))


def downgrade() -> None:
    op.execute("drop trigger events_append_only on events")
    for name in FUNCTIONS:
        op.execute(f"drop function {name}")

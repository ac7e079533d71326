"""The ledger's SQL functions, from the files under `sql/`."""

import re
from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

FOLDER = Path(__file__).parents[1] / "sql"
#: In the order of their dependencies: what is plain SQL is checked when it is created.
FILES = (
    "events",
    "stages",
    "failures",
    "dispatch",
    "limits",
    "executions",
    "probes",
    "steps",
    "departures",
    "due",
    "undo",
    "decisions",
    "deadletters",
    "approvals",
    "secrets",
    "rights",
)


def upgrade() -> None:
    for name in FILES:
        op.get_bind().exec_driver_sql(_read(name).replace("%", "%%"))


def downgrade() -> None:
    op.execute("drop trigger events_append_only on events")
    for name in reversed(FILES):
        for function in reversed(re.findall(r"^create function (\w+)", _read(name), re.MULTILINE)):
            op.execute(f"drop function {function}")


def _read(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text()

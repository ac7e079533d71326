"""The command `opsfarm`."""

import click

from app.admin.cli import ADMIN_COMMANDS
from app.cli.approvals import approvals
from app.cli.assets import assets
from app.cli.completion import completion
from app.cli.deadletter import deadletter
from app.cli.executions import executions
from app.cli.farm import OpsfarmGroup
from app.cli.locks import locks
from app.cli.output import examples, json_option, share_examples
from app.cli.plan import plan
from app.cli.plans import plans
from app.cli.principals import principals
from app.cli.run import run
from app.cli.schedules import schedules
from app.cli.tools import tools
from app.cli.vault import credentials, secrets
from app.cli.workers import workers


@click.group(
    cls=OpsfarmGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "opsfarm up",
        "opsfarm run df path=/",
        "opsfarm plan run nightly.yaml",
        "opsfarm executions watch 0197c0de",
    ),
)
@click.version_option("0.1.0", prog_name="opsfarm")
@json_option
def opsfarm() -> None:
    """A worker farm for IT operations.

    Exit status: 0 succeeded, 1 failed, 2 refused, 3 waiting or needs attention, 4 cancelled,
    5 farm unreachable, 124 the wait ended, 130 left with Ctrl-C.
    """


for _command in (
    plan,
    plans,
    run,
    executions,
    deadletter,
    approvals,
    tools,
    assets,
    secrets,
    credentials,
    principals,
    workers,
    locks,
    schedules,
    completion,
    *ADMIN_COMMANDS,
):
    opsfarm.add_command(_command)
    if isinstance(_command, click.Group):
        share_examples(_command)


def main() -> None:
    """Run the command line."""
    opsfarm(prog_name="opsfarm")

"""`opsfarm schedules`: plans that run when they are due."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from app.cli.asked import reason_option
from app.cli.complete_plans import complete_stored
from app.cli.farm import open_farm
from app.cli.output import examples, json_option, note, print_json, print_records, wants_json
from app.cli.plan_source import PlanSource, given_options, open_file
from tool_catalog.model import Parameter, ParameterType
from tool_catalog.scalars import BadValue, read_duration

_DURATION = Parameter(type=ParameterType.DURATION)
_NAME = click.argument("name")


class Duration(click.ParamType[float]):
    """A number of seconds from 90, 90s, 5m, 1.5h or 2d."""

    name = "duration"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Seconds; a wrong text fails with words."""
        try:
            return read_duration(_DURATION, float(value) if _is_number(value) else value)
        except BadValue as error:
            return self.fail(error.message, param, ctx)


def _is_number(value: object) -> bool:
    return not isinstance(value, str) or value.replace(".", "", 1).isdecimal()


@click.group(
    epilog=examples(
        'opsfarm schedules add nightly plan.yaml --cron "30 2 * * 1-5" --timezone Europe/Berlin',
        "opsfarm schedules add probe plan.yaml --every 5m --overlap queue",
        "opsfarm schedules add web --plan health@3 --set environment=staging --every 1h",
        "opsfarm schedules list",
        "opsfarm schedules pause nightly",
        "opsfarm schedules resume nightly",
        "opsfarm schedules remove nightly",
    )
)
def schedules() -> None:
    """Schedules: plans that run when they are due."""


@schedules.command()
@_NAME
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--plan",
    metavar="NAME[@VERSION]",
    shell_complete=complete_stored,
    help="A stored plan; without a version the newest at each due time.",
)
@given_options
@reason_option
@click.option("--cron", help="Five fields: minute, hour, day of month, month, day of week.")
@click.option("--every", "interval_s", type=Duration(), help="An interval, such as 30s or 5m.")
@click.option("--timezone", default="UTC", show_default=True, help="Where cron's clock hangs.")
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow"]),
    default="skip",
    show_default=True,
    help="When the execution before still runs: leave this one out, wait, or start anyway.",
)
@click.option(
    "--catch-up",
    type=click.Choice(["none", "last"]),
    default="none",
    show_default=True,
    help="What passed while the farm was down: leave it out, or start the latest.",
)
@click.option("--grace", "grace_s", type=Duration(), help="How late that may be (default 1h).")
@json_option
def add(name: str, file: str | None, plan: str | None, **given: Any) -> None:  # noqa: ANN401  # the options above
    """Run a plan at set times; shows the next five.

    Name a stored plan with --plan, or give a FILE (YAML or JSON; - is standard input): it is
    stored under the schedule's NAME first. Give --cron or --every.
    """
    farm, source = open_farm(), _find_source(file, plan)
    settings = given.pop("settings")
    asked = {key: value for key, value in given.items() if value is not None}
    body = {"name": name, "plan": source.given, "inputs": source.read_inputs(farm, settings)}
    shown = farm.http.post("/schedules", body | asked)
    if wants_json():
        print_json(shown)
        return
    for warning in shown["warnings"]:
        note(f"warning: {warning}")
    click.echo(f"schedule {shown['name']} ({_when(shown)}) is due next at")
    for due in shown["next_five"]:
        click.echo(f"  {due}")


def _find_source(file: str | None, plan: str | None) -> PlanSource:
    if (file is None) == (plan is None):
        raise click.UsageError("give either a FILE or --plan NAME[@VERSION]")
    return PlanSource(plan, stored=True) if plan is not None else open_file(str(file))


@schedules.command("list")
@json_option
def list_() -> None:
    """Every schedule, when it is due next and what came of it last."""
    shown = open_farm().http.get("/schedules")
    if wants_json():
        print_json(shown)
        return
    print_records(
        [
            {
                "name": schedule["name"],
                "plan": schedule["plan"],
                "when": _when(schedule),
                "overlap": schedule["overlap"],
                "next": "paused" if schedule["paused"] else schedule["next_five"][0],
                "last": schedule["last_at"],
                "outcome": schedule["last_outcome"],
            }
            for schedule in shown["schedules"]
        ]
    )


@schedules.command()
@_NAME
@json_option
def pause(name: str) -> None:
    """Stop starting NAME until it is resumed."""
    shown = open_farm().http.post(f"/schedules/{quote(name, safe='')}/pause")
    _tell(shown, f"schedule {name} is paused; 'opsfarm schedules resume {name}' goes on")


@schedules.command()
@_NAME
@json_option
def resume(name: str) -> None:
    """Start NAME again, from its next due time on."""
    shown = open_farm().http.post(f"/schedules/{quote(name, safe='')}/resume")
    _tell(shown, f"schedule {name} is due next at {shown['next_five'][0]}")


@schedules.command()
@_NAME
@json_option
def remove(name: str) -> None:
    """Forget NAME; the executions that it started stay."""
    open_farm().http.delete(f"/schedules/{quote(name, safe='')}")
    _tell({"name": name, "removed": True}, f"schedule {name} is removed")


def _tell(shown: Mapping[str, Any], words: str) -> None:
    if wants_json():
        print_json(shown)
    else:
        click.echo(words)


def _when(shown: Mapping[str, Any]) -> str:
    if shown["cron"]:
        return f"{shown['cron']} {shown['timezone']}"
    return f"every {shown['interval_s']:g} s"

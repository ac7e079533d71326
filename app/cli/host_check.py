"""Runs the tool host-check on assets and shows what it found: one line for each check."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from app.cli.finish import Wait, finish
from app.cli.output import note
from app.client import Farm
from app.step import State

_LOOKS = {"ok": "green", "failed": "red", "skipped": None}
_WIDTH = len("host key")


def check_hosts(farm: Farm, targets: str | Sequence[str], credential: str | None = None) -> None:
    """Check every asset by a plan of one step, print the checks, and end like the plan.

    `targets` is a selector or names; `credential` names the login to try.
    """
    parameters = {} if credential is None else {"credential": credential}
    named = targets if isinstance(targets, str) else list(targets)
    step = {"tool": "host-check", "operation": "reach", "targets": named, "parameters": parameters}
    execution = farm.submit({"name": "assets-test", "steps": [step]})
    for warning in execution.warnings:
        note(f"warning: {warning}")
    finish(execution, Wait(), print_checks)


def print_checks(execution: Mapping[str, Any]) -> None:
    """Every asset with its checks; what failed says what to do next."""
    for result in execution["steps"][0]["results"]:
        _print_asset(result)


def _print_asset(result: Mapping[str, Any]) -> None:
    ready = result["state"] == State.SUCCEEDED
    words = "ready" if ready else result["state"].replace("_", " ")
    click.secho(f"{result['target']}: {words}", bold=True, nl=True)
    checks = (result["output"] or {}).get("checks", ())
    for check in checks:
        state = click.style(f"{check['state']:<7}", fg=_LOOKS[check["state"]])
        click.echo(f"  {check['check']:<{_WIDTH}}  {state}  {check['detail']}".rstrip())
    if not (checks or ready):
        click.echo(f"  {result['summary'] or result['reason'] or ''}".rstrip())

"""What waits for a yes, in words; and the reason that whoever submitted it may give at once."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from app.cli.dry_run import name_target, print_run
from app.cli.output import cell, note, print_line, wants_json
from app.farm_execution import Execution

Command = TypeVar("Command", bound=Callable[..., Any])

_APPROVER = "approver"


def reason_option(command: Command) -> Command:
    """The option `--reason` of commands that start something."""
    words = "Why it is run; where the farm's policy wants no more, this approves what it destroys."
    return click.option("--reason", help=words)(command)


def print_approval(approval: Mapping[str, Any]) -> None:
    """Exactly what will run, on what, with which credentials, and whose yes it needs."""
    why = f", because: {cell(approval['asked_why'])}" if approval["asked_why"] else ""
    print_line(f"approval {approval['id']}: {approval['principal']} asks to run{why}")
    for step in approval["shown"]["steps"]:
        became = f" as {step['run_as']}" if step["run_as"] else ""
        tool = f"{step['tool']} {step['operation']}"
        stays = ", cannot be undone" if step["lasts"] else ""
        print_line(
            f"step {step['position']} {step['id']}: {tool} ({step['effect']}{stays}){became}"
        )
        for command in step["commands"]:
            print_run(_name_targets(command), command)
    print_line(f"needs {tell_need(approval)}; until {approval['expires_at'][:19]} UTC")
    print_line(f"digest {approval['digest']}")


def tell_need(approval: Mapping[str, Any]) -> str:
    """Whose yes an approval needs, in words."""
    needed = approval["needed"]
    if needed["who"] == "self":
        return f"a reason from {approval['principal']} or an approver"
    return f"the yes of {tell_short(needed)}, other than {approval['principal']}"


def tell_short(needed: Mapping[str, Any] | None) -> str:
    """A need in a few words; nothing where there is none."""
    if needed is None:
        return ""
    if needed["who"] == "self":
        return "a reason"
    return " and ".join(_tell_group(name, count) for name, count in needed["groups"].items())


def note_waiting(shown: Mapping[str, Any]) -> None:
    """Say whose yes an execution waits for, and how it is given."""
    for approval in shown.get("approvals", ()):
        steps = ", ".join(step["id"] for step in approval["shown"]["steps"])
        note(f"  {steps}: needs {tell_need(approval)}")
        several = f" {approval['shown']['steps'][0]['id']}" if len(shown["approvals"]) > 1 else ""
        name = f"{shown['execution_id']}{several}"
        note(f"  look at it: opsfarm approvals show {shown['execution_id']}")
        note(f"  approve it: opsfarm executions approve {name} --reason TEXT")
        if approval["needed"]["who"] == "self" and not approval["asked_why"]:
            note("  or say why at once: --reason TEXT")


def offer_reason(execution: Execution) -> None:
    """Ask for the reason on a terminal, where it is all that an execution waits for."""
    if wants_json() or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    waiting = execution.status()["approvals"]
    if len(waiting) != 1 or waiting[0]["needed"]["who"] != "self":
        return
    print_approval(waiting[0])
    try:
        reason = click.prompt("Why (empty: it waits)", default="", show_default=False, err=True)
    except click.Abort:
        note("")
        return
    if reason.strip():
        execution.approve(reason.strip(), digest=waiting[0]["digest"])


def _name_targets(command: Mapping[str, Any]) -> str:
    item = f", item {cell(command['item'])}" if command["item"] is not None else ""
    return (", ".join(map(_name_target, command["targets"])) or "the farm") + item


def _name_target(target: Mapping[str, Any]) -> str:
    return name_target(target["name"], target)


def _tell_group(name: str, count: int) -> str:
    if name == _APPROVER:
        return "an approver" if count == 1 else f"{count} approvers"
    return f"{count} of the group {name}"

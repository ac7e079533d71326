"""`opsfarm assets trust`: pins the host keys that an SSH server shows, once you have seen them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from app.cli.complete import complete_target
from app.cli.exits import Exit
from app.cli.farm import open_farm
from app.cli.follow import follow
from app.cli.output import json_option, note, print_json, wants_json
from app.client import Farm
from app.step import State


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the options say."""

    yes: bool
    replace: bool
    fingerprint: str | None


@click.command()
@click.argument("selector", shell_complete=complete_target)
@click.option("--yes", is_flag=True, help="Pin without asking; you compared the fingerprint.")
@click.option("--fingerprint", metavar="SHA256:...", help="Pin the key that has it, and no other.")
@click.option("--replace", is_flag=True, help="Pin a key that is not the one pinned before.")
@json_option
def trust(selector: str, *, yes: bool, fingerprint: str | None, replace: bool) -> None:
    """Show the host keys of SSH assets, and pin them on the assets.

    A worker fetches them. Compare the fingerprint with what the host itself says
    ('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub').
    """
    farm = open_farm()
    status, shown = _fetch(farm, selector)
    wish = _Wish(yes, replace, fingerprint)
    pins: dict[str, list[str]] = {}
    for result in shown["steps"][0]["results"]:
        if result["state"] != State.SUCCEEDED:
            note(f"{result['target']}: {result['summary']}")
            continue
        keys = _choose(result["target"], result["output"], wish)
        if keys is None:
            status = status or Exit.REFUSED
        elif keys:
            pins[result["target"]] = keys
    if pins:
        status = _pin(farm, pins) or status
    if wants_json():
        print_json({"pinned": pins})
    click.get_current_context().exit(status)


def _fetch(farm: Farm, selector: str) -> tuple[Exit, dict[str, Any]]:
    step = {"tool": "host-check", "operation": "host_key", "targets": selector}
    execution = farm.submit({"name": "assets-trust", "steps": [step]})
    for warning in execution.warnings:
        note(f"warning: {warning}")
    return follow(execution)


def _choose(name: str, output: Mapping[str, Any], wish: _Wish) -> list[str] | None:
    """The keys to pin; none where they are pinned already, None where they are not taken."""
    shown: Sequence[Mapping[str, str]] = output["shown"]
    note(f"{name} ({output['address']} port {output['port']}) shows")
    for key in shown:
        note(f"  {key['type']} {key['fingerprint']}")
    if output["state"] == "same":
        note(f"{name}: pinned already")
        return []
    if output["state"] == "changed" and not _may_replace(name, output["pinned"], wish):
        return None
    if wish.fingerprint:
        shown = [key for key in shown if key["fingerprint"] == wish.fingerprint]
        if not shown:
            note(f"{name}: refused: it shows no key with the fingerprint {wish.fingerprint}")
    elif not wish.yes and not click.confirm(f"Pin what {name} shows?", err=True):
        note(f"{name}: not pinned")
        return None
    return [key["key"] for key in shown] or None


def _may_replace(name: str, pinned: Sequence[Mapping[str, str]], wish: _Wish) -> bool:
    for key in pinned:
        note(f"  pinned is {key['type']} {key['fingerprint']}")
    if not wish.replace:
        note(
            f"{name}: refused: its key changed. If the host was installed anew: opsfarm assets "
            f"trust {name} --replace. If not, somebody may stand between."
        )
    return wish.replace


def _pin(farm: Farm, pins: Mapping[str, Sequence[str]]) -> Exit:
    steps = [
        {
            "tool": "asset-update",
            "id": f"pin_{place}",
            "parameters": {"hostname": name, "connection": {"host_key": list(keys)}},
        }
        for place, (name, keys) in enumerate(pins.items(), 1)
    ]
    status, shown = follow(farm.submit({"name": "assets-trust", "steps": steps}))
    for name, step in zip(pins, shown["steps"], strict=True):
        done = step["state"] == State.SUCCEEDED
        note(
            f"{name}: " + ("pinned" if done else f"not pinned: {step['summary'] or step['state']}")
        )
    return status

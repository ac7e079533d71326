"""`opsfarm workers`: who serves which queue, with what."""

import click

from app.cli.farm import open_farm
from app.cli.output import examples, json_option, print_json, print_table, wants_json
from app.worker_offer import LIVE_S


@click.command(epilog=examples("opsfarm workers", "opsfarm workers --json"))
@json_option
def workers() -> None:
    """Show the workers seen within a day, and what they can do."""
    found = open_farm().http.get("/workers")["workers"]
    if wants_json():
        print_json(found)
        return
    rows = [
        [
            worker["name"],
            worker["pool"],
            _state(worker["stopped"], worker["seconds_ago"]),
            worker["slots"],
            ", ".join(worker["queues"]),
            ", ".join(worker["capabilities"]),
            ", ".join(sorted(worker["programs"])),
        ]
        for worker in found
    ]
    columns = ["worker", "pool", "state", "slots", "queues", "capabilities", "programs"]
    print_table(columns, rows)


def _state(stopped: bool, seconds_ago: float) -> str:
    if stopped:
        return "stopped"
    return "up" if seconds_ago <= LIVE_S else f"silent for {seconds_ago:.0f} s"

"""`opsfarm locks`: which assets are held, by whom, and how many steps wait for them."""

import click

from app.cli.farm import open_farm
from app.cli.output import examples, json_option, moment, print_json, print_table, wants_json


@click.command(epilog=examples("opsfarm locks", "opsfarm locks --json"))
@json_option
def locks() -> None:
    """Show the assets that steps hold, and who waits for them."""
    found = open_farm().locks()
    if wants_json():
        print_json(found)
        return
    rows = [
        [
            held["target"] or lock["lock"],
            held["execution_id"],
            f"{held['position']} ({held['step']})",
            held["state"],
            moment(held["since"]),
            lock["waiting"],
        ]
        for lock in found
        for held in [lock["held_by"]]
    ]
    print_table(["target", "held by execution", "step", "state", "since (UTC)", "waiting"], rows)

"""`opsfarm principals`: who may ask."""

from urllib.parse import quote

import click

from app.cli.farm import open_farm
from app.cli.output import examples, json_option, note, print_json, print_records, wants_json
from app.principal import Role

_NAME = click.argument("name")


@click.group(
    epilog=examples(
        "opsfarm principals add alice --role operator > alice.key",
        "opsfarm principals list",
        "opsfarm principals revoke alice",
    )
)
def principals() -> None:
    """Principals and their API keys; for admins."""


@principals.command()
@_NAME
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.OPERATOR.value,
    show_default=True,
    help="What the key may do (docs/security.md).",
)
@json_option
def add(name: str, role: str) -> None:
    """Make a principal; its key is printed once, on standard output."""
    added = open_farm().http.post("/principals", {"name": name, "role": role})
    if wants_json():
        print_json(added)
        return
    note(f"{added['name']} is {added['role']}; keep this key, it is not shown again:")
    click.echo(added["key"])


@principals.command("list")
@json_option
def list_() -> None:
    """Names and roles; no keys."""
    found = open_farm().http.get("/principals")["principals"]
    if wants_json():
        print_json(found)
        return
    print_records(found)


@principals.command()
@_NAME
@json_option
def revoke(name: str) -> None:
    """End a principal's key for good."""
    open_farm().http.delete(f"/principals/{quote(name, safe='')}")
    if wants_json():
        print_json({"name": name, "revoked": True})
    else:
        note(f"the key of {name} is revoked")

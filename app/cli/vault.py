"""`opsfarm secrets` and `opsfarm credentials`: values come by prompt or pipe, never by argument."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from app.cli.farm import open_farm
from app.cli.output import examples, json_option, note, print_json, print_records, wants_json

_NAME = click.argument("name")


@click.group(
    epilog=examples(
        "opsfarm secrets set smtp-password",
        "pass show smtp | opsfarm secrets set smtp-password",
        "opsfarm secrets list",
        "opsfarm secrets remove smtp-password",
    )
)
def secrets() -> None:
    """Named secrets that plans may use: {$secret: NAME}."""


@secrets.command("set")
@_NAME
@json_option
def set_(name: str) -> None:
    """Keep a secret; its value is asked for, or read from a pipe."""
    value = read_hidden(f"Value of {name}")
    open_farm().http.post("/secrets", {"name": name, "value": value})
    _tell({"name": name}, f"secret {name} is kept")


@secrets.command("list")
@json_option
def list_secrets() -> None:
    """Names and versions; no values."""
    found = open_farm().http.get("/secrets")["secrets"]
    if wants_json():
        print_json(found)
        return
    print_records([_head(entry) for entry in found])


@secrets.command("remove")
@_NAME
@json_option
def remove_secret(name: str) -> None:
    """Forget a secret."""
    open_farm().http.delete(f"/secrets/{quote(name, safe='')}")
    _tell({"name": name}, f"secret {name} is removed")


@click.group(
    epilog=examples(
        "opsfarm credentials add web-login --host web-01 --user deploy",
        "opsfarm credentials add web-key --host web-01 --user deploy --private-key ~/.ssh/id",
        "opsfarm credentials list",
        "opsfarm credentials remove web-key",
    )
)
def credentials() -> None:
    """Logins of assets."""


@credentials.command()
@_NAME
@click.option("--host", "hostname", help="The asset that it is for.")
@click.option("--user", "username", required=True, help="The name to log in with.")
@click.option(
    "--private-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a private key without passphrase, instead of a password.",
)
@click.option("--become", metavar="USER", help="Become this user by sudo after the login.")
@json_option
def add(name: str, private_key: Path | None, become: str | None, **given: Any) -> None:  # noqa: ANN401  # the texts above
    """Keep a login; the password is asked for, or read from a pipe."""
    body = {"name": name, **given}
    if private_key:
        body["private_key"] = private_key.read_text()
    else:
        body["password"] = read_hidden(f"Password of {given['username']}")
    if become:
        body["become"] = {"method": "sudo", "user": become}
    open_farm().http.post("/credentials", body)
    _tell({"name": name, "hostname": given["hostname"]}, f"credential {name} is kept")


@credentials.command("list")
@json_option
def list_credentials() -> None:
    """Names, users and assets; no passwords."""
    found = open_farm().http.get("/credentials")["credentials"]
    if wants_json():
        print_json(found)
        return
    print_records(
        [
            _head(entry) | {"host": entry["hostname"], "user": entry["public"].get("username")}
            for entry in found
        ]
    )


@credentials.command("remove")
@_NAME
@json_option
def remove_credential(name: str) -> None:
    """Forget a login."""
    open_farm().http.delete(f"/credentials/{quote(name, safe='')}")
    _tell({"name": name}, f"credential {name} is removed")


def read_hidden(prompt: str) -> str:
    """A value that does not show: typed twice at a terminal, else all of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True)
        return typed
    piped = sys.stdin.read().removesuffix("\n")
    if not piped:
        raise click.UsageError("standard input is empty; pipe the value in, or use a terminal")
    return piped


def _head(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("name", "version", "updated_at")}


def _tell(shown: dict[str, Any], words: str) -> None:
    if wants_json():
        print_json(shown)
    else:
        note(words)

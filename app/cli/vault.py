"""`opsfarm secrets` and `opsfarm credentials`: values come by prompt or pipe, never by argument."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from app.cli.complete import complete_credential, complete_secret, complete_target
from app.cli.farm import open_farm
from app.cli.host_check import check_hosts
from app.cli.output import examples, json_option, note, print_json, print_records, wants_json
from app.errors import NotFound

_SECRET = click.argument("name", shell_complete=complete_secret)
_CREDENTIAL = click.argument("name", shell_complete=complete_credential)


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
@_SECRET
@json_option
def set_(name: str) -> None:
    """Keep a secret; its value is asked for, or read from a pipe."""
    [value] = read_hidden([f"Value of {name}"])
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
@_SECRET
@json_option
def remove_secret(name: str) -> None:
    """Forget a secret."""
    open_farm().http.delete(f"/secrets/{quote(name, safe='')}")
    _tell({"name": name}, f"secret {name} is removed")


@click.group(
    epilog=examples(
        "opsfarm credentials add web --asset web-01 --user deploy",
        "opsfarm credentials add key --asset tags.role=web --user deploy --private-key ~/.ssh/id",
        "opsfarm credentials add web --user deploy --become sudo --become-password",
        "opsfarm credentials assign key web-09",
        "opsfarm credentials list",
        "opsfarm credentials test web",
        "opsfarm credentials remove key",
    )
)
def credentials() -> None:
    """Logins of assets."""


@credentials.command()
@_CREDENTIAL
@click.option(
    "--asset",
    "assets",
    metavar="SELECTOR",
    multiple=True,
    shell_complete=complete_target,
    help="An asset, or a selector: those that it means now. Repeatable. Left out, a login of this "
    "name goes on serving its assets.",
)
@click.option("--user", "username", required=True, help="The name to log in with.")
@click.option(
    "--private-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a private key, instead of a password.",
)
@click.option("--passphrase", is_flag=True, help="The private key has one: it is asked for.")
@click.option("--become", type=click.Choice(["sudo"]), help="Steps may become another user so.")
@click.option("--become-user", metavar="USER", help="Which user; left out: root, and so anybody.")
@click.option(
    "--become-password",
    is_flag=True,
    help="sudo wants another password than the login: it is asked for.",
)
@json_option
def add(name: str, assets: tuple[str, ...], username: str, **given: Any) -> None:  # noqa: ANN401  # the options above
    """Keep a login; what is secret is asked for, or read from a pipe."""
    if given["passphrase"] and not given["private_key"]:
        raise click.UsageError("--passphrase goes with --private-key")
    body = {"name": name, "assets": list(assets), "username": username, **_read_login(given)}
    served = open_farm().http.post("/credentials", body)["hostnames"]
    _tell({"name": name, "hostnames": served}, f"credential {name} is kept; {_serving(served)}")


@credentials.command()
@_CREDENTIAL
@click.argument(
    "assets", nargs=-1, required=True, metavar="SELECTOR...", shell_complete=complete_target
)
@json_option
def assign(name: str, assets: tuple[str, ...]) -> None:
    """Let a login serve more assets: those that the selectors mean now."""
    path = f"/credentials/{quote(name, safe='')}/assets"
    served = open_farm().http.post(path, {"assets": list(assets)})["hostnames"]
    _tell({"name": name, "hostnames": served}, f"credential {name}: {_serving(served)}")


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
            _head(entry)
            | {
                "user": entry["public"].get("username"),
                "become": (entry["public"].get("become") or {}).get("user"),
                "assets": ", ".join(entry["hostnames"]),
            }
            for entry in found
        ]
    )


@credentials.command()
@_CREDENTIAL
@json_option
def test(name: str) -> None:
    """Log in with it to each of its assets, as `assets test` does."""
    farm = open_farm()
    found = {entry["name"]: entry for entry in farm.http.get("/credentials")["credentials"]}
    if name not in found:
        raise NotFound(f"no credential {name[:80]!r}", hint="'opsfarm credentials list' shows them")
    served = found[name]["hostnames"]
    if not served:
        hint = f"opsfarm credentials assign {name} SELECTOR"
        raise NotFound(f"credential {name} serves no asset", hint=hint)
    check_hosts(farm, served, credential=name)


@credentials.command("remove")
@_CREDENTIAL
@json_option
def remove_credential(name: str) -> None:
    """Forget a login."""
    open_farm().http.delete(f"/credentials/{quote(name, safe='')}")
    _tell({"name": name}, f"credential {name} is removed")


def _read_login(given: dict[str, Any]) -> dict[str, Any]:
    """The secret members of a login, from the file and the prompts that the options ask for."""
    body: dict[str, Any] = {}
    asked = {}
    if given["private_key"]:
        body["private_key"] = _read_key(given["private_key"])
    if given["passphrase"] or not given["private_key"]:
        asked["password"] = "Passphrase of the key" if given["passphrase"] else "Password"
    if given["become_password"]:
        asked["become_password"] = "Password that sudo asks for"  # noqa: S105  # a prompt
    typed = dict(zip(asked, read_hidden(list(asked.values())), strict=True)) if asked else {}
    if given["become"] or given["become_user"] or given["become_password"]:
        body["become"] = {"method": "sudo", "user": given["become_user"] or "root"}
        if "become_password" in typed:
            body["become"]["password"] = typed["become_password"]
    return body | ({"password": typed["password"]} if "password" in typed else {})


def _read_key(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is no private key: it is not text") from None


def read_hidden(prompts: Sequence[str]) -> list[str]:
    """Values that do not show: typed twice at a terminal, else standard input.

    One value is all of standard input; of several each is a line.
    """
    if sys.stdin.isatty():
        return [
            str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
            for prompt in prompts
        ]
    piped = sys.stdin.read().removesuffix("\n")
    values = [piped] if len(prompts) == 1 else piped.split("\n")
    if not all(values):
        raise click.UsageError("standard input is empty; pipe the value in, or use a terminal")
    if len(values) != len(prompts):
        raise click.UsageError(
            f"standard input has {len(values)} line{'s' if len(values) != 1 else ''}; one for each "
            f"of: {', '.join(prompts)}"
        )
    return values


def _serving(hostnames: Sequence[str]) -> str:
    if not hostnames:
        return "it serves no asset yet: 'opsfarm credentials assign' names some"
    return f"it serves {', '.join(hostnames)}"


def _head(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("name", "version", "updated_at")}


def _tell(shown: dict[str, Any], words: str) -> None:
    if wants_json():
        print_json(shown)
    else:
        note(words)

"""`opsfarm up`, `down`, `status`, `logs`, `demo`, `migrate`, `rotate-key`: the farm by hand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from app.admin.control import (
    find_folder,
    find_missing,
    start_farm,
    stop_farm,
    stopping_on_failure,
    wait_until_ready,
)
from app.admin.state import FarmFile, ProcessStatus, StateFolder, find_supervisor, require_farm
from app.cli.output import examples, json_option, note, print_json, print_table, wants_json
from app.errors import FarmUnreachable, NotFound, OpsfarmError

_FOLLOW_S = 0.2
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60


@click.command(epilog=examples("opsfarm up", "OPSFARM_STATE_DIR=/srv/farm opsfarm up"))
@json_option
def up() -> None:
    """Start the farm and wait until it is ready.

    A farm that runs already is found. It keeps everything in .opsfarm beside the project, or in
    OPSFARM_STATE_DIR.
    """
    folder = find_folder()
    if not start_farm(folder):
        farm = wait_until_ready(folder, note)
        note("the farm is up already")
    else:
        with stopping_on_failure(folder, note):
            farm = wait_until_ready(folder, note)
    _show_addresses(folder, farm)


@click.command(epilog=examples("opsfarm down", "opsfarm down --if-up"))
@click.option("--if-up", is_flag=True, help="Exit status 0 when none runs.")
def down(*, if_up: bool) -> None:
    """End the farm; running steps end first.

    Then Redis and PostgreSQL are stopped. Nothing that the farm keeps is removed.
    """
    folder = find_folder()
    if not stop_farm(folder, note) and not if_up:
        raise FarmUnreachable(f"no farm runs from {folder.path}")
    note("the farm is down")


@click.command(epilog=examples("opsfarm status", "opsfarm status --json"))
@json_option
def status() -> None:
    """Show the farm's processes, addresses and health."""
    folder = find_folder()
    seen, farm = require_farm(folder)
    missing = find_missing(folder)
    if wants_json():
        print_json({"ready": not missing, "missing": missing, **farm.show(), **asdict(seen)})
        return
    print_table(
        ["process", "state", "pid", "up", "restarts", ""],
        [_row(process) for process in seen.processes],
    )
    _show_addresses(folder, farm)
    note(f"not ready: {missing}" if missing else "ready")


@click.command(
    epilog=examples("opsfarm logs", "opsfarm logs automation -f", "opsfarm logs api -n 20")
)
@click.argument("name", required=False, metavar="[POOL]")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--lines", default=100, show_default=True, help="How many of the last lines.")
def logs(name: str | None, *, follow: bool, lines: int) -> None:
    """Show what the farm's processes wrote.

    POOL is one of them: comms, asset, network, capture, automation, but also api, dispatcher,
    beat, flower, postgres, redis, supervisor; all of them when left out.
    """
    folder = find_folder()
    found = {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
    if not found:
        raise FarmUnreachable(f"no farm ran from {folder.path}; start one with 'opsfarm up'")
    if name is not None and name not in found:
        raise NotFound(f"no log of {name!r}", hint=f"there are: {', '.join(found)}")
    chosen = [found[name]] if name else list(found.values())
    for line in _read_logs(chosen, lines, follow=follow):
        click.echo(line)


@click.command(epilog=examples("opsfarm demo", "opsfarm demo --once"))
@click.option("--once", is_flag=True, help="Take the farm down afterwards.")
def demo(*, once: bool) -> None:
    """Run a sample plan that acts in all four domains."""
    sys.stdout.flush()
    # A Ctrl-C while the next Python loads waits until that one can end in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    argv = [sys.executable, "-m", "app.admin.demo", *(["--once"] if once else [])]
    os.execv(sys.executable, argv)  # noqa: S606  # our own module; a signal then reaches it alone


@click.command(
    epilog=examples("OPSFARM_DATABASE_URL=postgresql://ops@db.example/opsfarm opsfarm migrate")
)
def migrate() -> None:
    """Bring the ledger's schema up to date.

    It is the one of OPSFARM_DATABASE_URL, else that of the running farm; 'opsfarm up' does it too.
    """
    _run_beside_the_ledger("app.admin.prepare")
    note("the schema is up to date")


@click.command(epilog=examples("opsfarm rotate-key", "opsfarm down && opsfarm up"))
@json_option
def rotate_key() -> None:
    """Make a new farm key and wrap all data keys with it.

    The new key becomes the first line of the key file (OPSFARM_SECRET_KEY_FILE, else the running
    farm's secret.key). The old key stays below it: running processes go on, and API keys made
    under it stay valid. After a restart the new key seals.
    """
    done = json.loads(_run_beside_the_ledger("app.admin.rotate_key"))
    if wants_json():
        print_json(done)
        return
    count = done["rewrapped"]
    are = "data key is" if count == 1 else "data keys are"
    note(f"{count} {are} wrapped with the new key in {done['key_file']}")
    note("restart the farm's processes when it suits you; keep a copy of the file")


ADMIN_COMMANDS: list[click.Command] = [up, down, status, logs, demo, migrate, rotate_key]


def _run_beside_the_ledger(module: str) -> str:
    """What a module of ours says that needs the database's libraries. Raises OpsfarmError."""
    environment = dict(os.environ)
    if not (environment.get("OPSFARM_DATABASE_URL") or environment.get("DATABASE_URL")):
        folder = find_folder()
        environment["OPSFARM_DATABASE_URL"] = require_farm(folder)[1].database_url
        if not environment.get("OPSFARM_SECRET_KEY"):
            environment.setdefault("OPSFARM_SECRET_KEY_FILE", str(folder.secret_key_file))
    done = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", module], env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise OpsfarmError(done.stderr.strip() or f"{module} failed")
    return done.stdout


def _show_addresses(folder: StateFolder, farm: FarmFile) -> None:
    """Where things are, without a password."""
    if wants_json():
        print_json(farm.show())
        return
    click.echo(f"API      {farm.api_url}  (described by {farm.api_url}/openapi.json)")
    click.echo(f"Flower   {farm.flower_url}")
    click.echo(f"ports    {', '.join(f'{name} {port}' for name, port in farm.ports.items())}")
    click.echo(f"API key  {folder.admin_key_file}")
    click.echo(f"policy   {farm.policy}")


def _row(process: ProcessStatus) -> Sequence[object]:
    up_s = int(time.time() - process.since) if process.pid else 0
    return (
        process.name,
        process.state.value,
        process.pid,
        _duration(up_s) if process.pid else "",
        process.restarts,
        process.note,
    )


def _duration(seconds: int) -> str:
    for size, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= size:
            return f"{seconds // size} {letter}"
    return f"{seconds} s"


def _read_logs(paths: Sequence[Path], lines: int, *, follow: bool) -> Iterator[str]:
    """The last lines of each, then what comes; the file's name in front when there are several."""
    width = max(len(path.stem) for path in paths) if len(paths) > 1 else 0
    places: dict[Path, int] = {}
    for path in paths:
        content = path.read_bytes()
        places[path] = len(content)
        yield from _marked(path, content.decode(errors="replace").splitlines()[-lines:], width)
    while follow and find_supervisor(StateFolder(paths[0].parent.parent)) is not None:
        for path in paths:
            if path.stat().st_size < places[path]:
                places[path] = 0
            with path.open("rb") as source:
                source.seek(places[path])
                chunk = source.read()
            whole, _, _rest = chunk.rpartition(b"\n")
            places[path] += len(whole) + 1 if whole else 0
            yield from _marked(path, whole.decode(errors="replace").splitlines(), width)
        time.sleep(_FOLLOW_S)


def _marked(path: Path, lines: Sequence[str], width: int) -> Iterator[str]:
    for line in lines:
        yield f"{path.stem:<{width}} | {line}" if width else line

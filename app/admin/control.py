"""Starting and stopping the embedded farm from another process: `opsfarm up`, `down`, the demo."""

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.admin.child import last_line
from app.admin.state import (
    FarmFile,
    FarmState,
    FarmStatus,
    ProcessState,
    ProcessStatus,
    StateFolder,
    find_supervisor,
    read_farm,
    read_status,
)
from app.config import PROJECT, Settings, read_settings
from app.errors import ConfigError, OpsfarmError
from app.farm_address import find_state_folder
from queues import Pool

READY_TIMEOUT_S = 120.0
#: A process that was started so often without success is not waited for.
GIVE_UP_RESTARTS = 3
#: Without one of these, some plans would never end.
NEEDED = frozenset({"api", "dispatcher", *Pool})
_LOOK_S = 0.1

Say = Callable[[str], None]


def locate(settings: Settings) -> StateFolder:
    """The state folder: the named one, the nearest farm's, else the one beside the project."""
    if "state_dir" in settings.model_fields_set:
        return StateFolder(settings.state_dir.resolve())
    found = find_state_folder(settings)
    return StateFolder((found or PROJECT / settings.state_dir).resolve())


def find_folder() -> StateFolder:
    """The state folder of this command's surroundings."""
    return locate(read_settings())


def start_farm(folder: StateFolder, procfile: Path = PROJECT / "Procfile") -> bool:
    """Start a supervisor that outlives us; False when there is one. Does not wait for the farm."""
    folder.make()
    if find_supervisor(folder) is not None:
        return False
    pid = _spawn_detached(folder, procfile)
    try:
        while (holder := find_supervisor(folder)) is None:
            if os.waitpid(pid, os.WNOHANG)[0] and find_supervisor(folder) is None:
                log = folder.log_of("supervisor")
                raise ConfigError(f"the farm did not start: {last_line(log)} (see {log})")
            time.sleep(0.02)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        raise
    return holder == pid


def _spawn_detached(folder: StateFolder, procfile: Path) -> int:
    """A supervisor in a session of its own: no terminal's Ctrl-C or end reaches it."""
    argv = ["env", "--chdir", str(PROJECT), sys.executable, "-m", "app.admin.supervisor"]
    log = str(folder.log_of("supervisor"))
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        argv[0],
        [*argv, "--procfile", str(procfile.resolve())],
        os.environ | {"OPSFARM_STATE_DIR": str(folder.path)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def stop_farm(folder: StateFolder, say: Say) -> bool:
    """End the farm in order and wait for it; False when none runs."""
    pid = find_supervisor(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    with _said_once(say) as say_once:
        while find_supervisor(folder) == pid:
            status = read_status(folder)
            if status is not None and status.state is FarmState.STOPPING:
                say_once(status.message)
            time.sleep(0.05)
    return True


@contextmanager
def stopping_on_failure(folder: StateFolder, say: Say) -> Iterator[None]:
    """Take down a farm whose start was interrupted; a half-started one helps nobody."""
    try:
        yield
    except BaseException:
        stop_farm(folder, say)
        raise


def wait_until_ready(folder: StateFolder, say: Say) -> FarmFile:
    """Wait until the API answers and every pool has advertised itself; raises OpsfarmError.

    A pool that this host cannot serve counts as settled; one that does not stay up is an error,
    because its steps would wait for ever.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    with _said_once(say) as say_once:
        while True:
            missing = find_missing(folder)
            if not missing:
                break
            if time.monotonic() > deadline:
                raise OpsfarmError(f"the farm is not ready: {missing}; see 'opsfarm status'")
            say_once(missing)
            time.sleep(_LOOK_S)
    farm = read_farm(folder)
    if farm is None:
        raise OpsfarmError(f"{folder.farm_file} is missing; 'opsfarm down', then 'opsfarm up'")
    return farm


def find_missing(folder: StateFolder) -> str:
    """What the farm still waits for, in words; empty when it is ready."""
    status, farm = read_status(folder), read_farm(folder)
    if find_supervisor(folder) is None:
        why = status.message if status is not None and status.state is FarmState.FAILED else ""
        raise ConfigError(f"the farm did not start: {why or 'its supervisor ended'}")
    if status is None or farm is None or status.state is not FarmState.RUNNING:
        return (status.message if status else "") or "starting"
    refused = [p for p in status.processes if p.state is ProcessState.REFUSED]
    if refused:
        raise ConfigError(f"the farm did not start: {refused[0].note}")
    broken = [p for p in status.processes if p.name in NEEDED and _is_broken(p)]
    if broken:
        name, note = broken[0].name, broken[0].note
        raise ConfigError(f"{name} does not stay up: {note} (see 'opsfarm logs {name}')")
    if _ask(farm, folder, "/health/ready") is None:
        return "waiting for the API"
    absent = find_absent_pools(status, _ask(farm, folder, "/workers"))
    return f"waiting for the pools {', '.join(absent)}" if absent else ""


def find_absent_pools(status: FarmStatus, answer: Any) -> list[str]:  # noqa: ANN401  # JSON of the API
    """Pools that run, may yet come up, and did not advertise themselves since they started."""
    workers = answer["workers"] if isinstance(answer, dict) else answer or []
    now = time.time()
    absent = []
    for process in status.processes:
        if process.name not in set(Pool) or process.state is ProcessState.NOT_POSSIBLE:
            continue
        fresh = now - process.since
        if not any(_is_fresh(worker, process.name, fresh) for worker in workers):
            absent.append(process.name)
    return absent


def _is_fresh(worker: dict[str, Any], pool: str, within_s: float) -> bool:
    return (
        worker["pool"] == pool and worker["seconds_ago"] <= within_s and not worker.get("stopped")
    )


def _is_broken(process: ProcessStatus) -> bool:
    return process.restarts >= GIVE_UP_RESTARTS and process.state is ProcessState.RESTARTING


def _ask(farm: FarmFile, folder: StateFolder, path: str) -> Any:  # noqa: ANN401  # JSON of the API
    """An answer of the API; None while it does not answer well."""
    connection = http.client.HTTPConnection("127.0.0.1", farm.ports["api"], timeout=5)
    try:
        key = folder.admin_key_file.read_text().strip()
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        body = response.read()
        return json.loads(body) if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


@contextmanager
def _said_once(say: Say) -> Iterator[Say]:
    """Say a thing when it differs from the one before."""
    last = ""

    def once(words: str) -> None:
        nonlocal last
        if words and words != last:
            say(words)
        last = words

    yield once

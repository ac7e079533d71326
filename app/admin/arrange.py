"""What a start settles before anything runs: ports, passwords, the processes' environment."""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from app.admin.servers import find_free_port, postgres_url, redis_url
from app.admin.state import FarmFile, StateFolder, read_farm, write_private
from app.config import Settings
from app.safety import DEFAULT_POLICY

#: Beside the usual ones, so that a system's own servers keep theirs.
POSTGRES_PORT = 5433
REDIS_PORT = 6390


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Addresses to keep in `farm.json`, and what the processes are given."""

    farm: FarmFile
    #: Empty where OPSFARM_DATABASE_URL, OPSFARM_BROKER_URL replace the embedded server.
    postgres_password: str
    redis_password: str
    #: Of every process. Passwords travel here, never as arguments.
    environment: Mapping[str, str]


def arrange(folder: StateFolder, settings: Settings) -> Arrangement:
    """Choose ports (the last ones again, if they are free) and passwords."""
    ports = choose_ports(
        {
            "api": settings.api_port,
            "flower": settings.flower_port,
            "postgres": POSTGRES_PORT,
            "redis": REDIS_PORT,
        },
        before=read_farm(folder),
    )
    postgres_password = "" if settings.database_url else _keep_password(folder)
    redis_password = "" if settings.broker_url else secrets.token_urlsafe(24)
    farm = FarmFile(
        api_url=f"http://127.0.0.1:{ports['api']}",
        flower_url=f"http://127.0.0.1:{ports['flower']}",
        database_url=settings.database_url or postgres_url(ports["postgres"], postgres_password),
        broker_url=settings.broker_url or redis_url(ports["redis"], redis_password),
        ports=ports,
        policy=str((settings.policy_file or DEFAULT_POLICY).resolve()),
    )
    environment = make_environment(folder, settings, farm)
    return Arrangement(farm, postgres_password, redis_password, environment)


def choose_ports(preferred: Mapping[str, int], before: FarmFile | None) -> dict[str, int]:
    """The port of the last start, else the preferred one, else any; each only if it is free."""
    chosen: dict[str, int] = {}
    for name, port in preferred.items():
        wanted = [before.ports.get(name, port), port] if before else [port]
        free = (p for p in wanted if p not in chosen.values() and is_free(p))
        chosen[name] = next(free, None) or find_free_port()
    return chosen


def is_free(port: int) -> bool:
    """Whether a server may take a TCP port of loopback (one in TIME_WAIT counts as free)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def make_environment(folder: StateFolder, settings: Settings, farm: FarmFile) -> dict[str, str]:
    """The caller's environment and ours; what libraries keep goes into the state folder."""
    cache = str(folder.path / "cache")
    ours = {
        "OPSFARM_STATE_DIR": str(folder.path),
        "OPSFARM_DATABASE_URL": farm.database_url,
        "OPSFARM_BROKER_URL": farm.broker_url,
        "OPSFARM_API_PORT": str(farm.ports["api"]),
        "OPSFARM_FLOWER_PORT": str(farm.ports["flower"]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder.path / "tmp"),
        "XDG_CACHE_HOME": cache,
        "XDG_CONFIG_HOME": cache,
        "XDG_DATA_HOME": cache,
        "XDG_STATE_HOME": cache,
    }
    unless_set = {
        "OPSFARM_ARTIFACT_URL": str(folder.path / "artifacts"),
        "OPSFARM_EVENTS": "1",
        "OPSFARM_REMOTE_CONTROL": "1",
        # The embedded farm listens on loopback and may speak to it: the demo's receivers.
        "OPSFARM_ALLOW_PRIVATE": "localhost, 127.0.0.1",
    }
    if not settings.secret_key and settings.secret_key_file is None:
        ours["OPSFARM_SECRET_KEY_FILE"] = str(folder.secret_key_file)
    return unless_set | dict(os.environ) | ours


def _keep_password(folder: StateFolder) -> str:
    """The password of the embedded cluster, made with it: a lost farm.json loses nothing."""
    path = folder.path / "postgres.password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()

"""A farm of real processes on a Redis and a PostgreSQL of its own, seen from the outside."""

import base64
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import redis
import requests
from sqlalchemy.orm import Session

from app.admin.servers import Server, find_free_port, postgres_url, start_postgres, start_redis
from app.config import Settings
from app.parts import build_parts
from app.principal import Role
from app.step import Credential, Target
from app.store.db import make_engine, migrate
from app.store.roster import Roster
from queues import Routing
from tests.lab.daemon import stop_daemon
from tests.lab.offers import everything
from tests.lab.redis import start_other_redis
from tests.lab.waiting import WAIT_S, wait_until
from tests.lab.warden import mark

PROJECT = Path(__file__).parents[2]
PASSWORD = "test-password"
#: Short enough for tests; none of them changes what a farm does.
QUICK = {
    "OPSFARM_HEARTBEAT_S": "0.3",
    "OPSFARM_REAP_S": "2",
    "OPSFARM_DRAIN_S": "1",
    "OPSFARM_RESEND_S": "1",
    "OPSFARM_DISPATCH_TICK_S": "0.2",
    "OPSFARM_SLOTS": "4",
}
#: Tables that an accepted plan leaves rows in.
LEDGER = ("executions", "execution_plans", "steps", "events")
COMMANDS = {"api": ["-m", "app.api"]}


class Servers(AbstractContextManager["Servers"]):
    """A migrated PostgreSQL and a Redis that can be stopped and come back with their data."""

    def __init__(self, folder: Path, redis_program: str | None = None) -> None:
        """`redis_program`: a redis-server in place of the embedded one."""
        folder.mkdir()
        folder.chmod(0o755)
        self._folder = folder
        self._redis_program = redis_program
        self._ports = {"redis": find_free_port(), "postgres": find_free_port()}
        self.redis: Server = self.start_redis()
        self.engine = make_engine(postgres_url(self._ports["postgres"], PASSWORD))
        self.postgres: Server = self.start_postgres()
        migrate(self.engine)
        self.client = redis.Redis.from_url(self.redis.url)

    def __exit__(self, *_exc: object) -> None:
        self.client.close()
        self.engine.dispose()
        self.redis.stop()
        self.stop_postgres()

    def start_redis(self) -> Server:
        """Start it, with the data that it had."""
        where = self._folder / "redis", self._ports["redis"], PASSWORD
        if self._redis_program is None:
            self.redis = start_redis(*where)
        else:
            self.redis = start_other_redis(self._redis_program, *where)
        return self.redis

    def stop_postgres(self) -> None:
        """End it as an administrator in a hurry does: without waiting for its clients."""
        self.postgres.process.send_signal(signal.SIGINT)
        self.postgres.process.wait(30)

    def start_postgres(self) -> Server:
        """Start it, with the data that it had."""
        options = ["fsync=off", "max_connections=200"]
        port = self._ports["postgres"]
        self.postgres = start_postgres(self._folder / "postgres", port, PASSWORD, options)
        self.engine.dispose()  # its connections ended with the server before
        return self.postgres

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session of the default tenant, committed at its end."""
        with Session(self.engine) as session, session.begin():
            session.info["tenant"] = "default"
            yield session

    def ask(self, query: str) -> Any:
        """The first value of a query."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar()

    def footprint(self) -> dict[str, Any]:
        """What a submit may leave: rows of the ledger, and every key of the broker."""
        rows = {name: self.ask(f"select count(*) from {name}") for name in LEDGER}
        keys = {key.decode(): self.client.dump(key) for key in self.client.keys("*")}
        lists = [key for key in keys if self.client.type(key) == b"list"]
        return {"rows": rows, "lengths": {k: self.client.llen(k) for k in lists}, "keys": keys}


class RealFarm(AbstractContextManager["RealFarm"]):
    """`with RealFarm(servers, folder, "api", "dispatcher", "comms") as farm`."""

    def __init__(
        self, servers: Servers, folder: Path, *names: str, settings: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir()
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.settings = {
            **QUICK,
            "OPSFARM_DATABASE_URL": servers.postgres.url,
            "OPSFARM_BROKER_URL": servers.redis.url,
            "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "OPSFARM_STATE_DIR": str(folder / "state"),
            "OPSFARM_API_PORT": str(port),
            "OPSFARM_HOST": "test-host",
            "OPSFARM_LOG_FORMAT": "text",
            **(settings or {}),
        }
        self.keys = self._make_keys(servers)
        self._session = requests.Session()
        self._names = names
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for name in self._names:
            self.start(name)
        self.wait_until_ready()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._session.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            stop_daemon(process)

    def start(self, name: str) -> None:
        """Start one process of the Procfile; its log is in our folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *COMMANDS.get(name, ["-m", "workers", name])],
                cwd=PROJECT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """End it at once, as a crash does."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def environment(self) -> dict[str, str]:
        """What our processes see: nothing of the caller's settings."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **mark(), **self.settings}

    def logs(self) -> dict[str, str]:
        """What each process wrote."""
        return {path.stem: path.read_text() for path in self.folder.glob("*.log")}

    def tracebacks(self) -> list[str]:
        """The processes whose log shows one."""
        return [name for name, text in self.logs().items() if "Traceback" in text]

    def call(
        self, method: str, path: str, *, role: Role = Role.ADMIN, **request: Any
    ) -> requests.Response:
        """A plain request, as any HTTP client would send it."""
        headers = {"Authorization": f"Bearer {self.keys[role]}", **request.pop("headers", {})}
        return self._session.request(
            method, self.url + path, headers=headers, timeout=WAIT_S, **request
        )

    def opsfarm(self, *argv: str, role: Role = Role.OPERATOR, **settings: str) -> Any:
        """Start the command line; its standard output and error are pipes of text."""
        return subprocess.Popen(
            [sys.executable, "-c", "from app.cli.main import main; main()", *argv],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(PROJECT),
                "OPSFARM_API_URL": self.url,
                "OPSFARM_API_KEY": self.keys[role],
                **settings,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def enter(self, target: Target, login: Credential, **members: Any) -> None:
        """Put a host with its login into the inventory; `members` are asset-create's."""
        connection = {**target.options, **({"port": target.port} if target.port else {})}
        asset = {"hostname": target.name, "ip_address": target.address, "connection": connection}
        plan = {"steps": [{"tool": "asset-create", "parameters": {**asset, **members}}]}
        created = self.call("POST", "/execute-plan?wait=30", json=plan)
        assert created.json()["state"] == "succeeded", created.text
        given = {
            "name": f"login-{target.name}",
            "assets": [target.name],
            "username": login.username,
            "private_key": login.private_key.reveal() if login.private_key else None,
            "become": dict(login.become) if login.become else None,
        }
        assert self.call("POST", "/credentials", json=given).status_code == 201

    def wait_until_ready(self) -> None:
        """Until the API answers and every pool has said what it can do."""
        pools = {name for name in self.processes if name not in {"api", "dispatcher"}}
        wait_until(lambda: self._is_ready(pools), f"a farm with {pools}; logs: {self.logs()}")

    def _is_ready(self, pools: set[str]) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended: {self.logs()[name]}"
        if "api" not in self.processes:
            return True
        try:
            offers = self.call("GET", "/workers").json()["workers"]
        except requests.ConnectionError:
            return False
        return pools <= {offer["pool"] for offer in offers if offer["programs"]}

    def _make_keys(self, servers: Servers) -> dict[Role, str]:
        parts = build_parts(
            Settings(
                OPSFARM_DATABASE_URL=servers.postgres.url,
                broker_url=servers.redis.url,
                secret_key=self.settings["OPSFARM_SECRET_KEY"],
                state_dir=self.folder / "state",
            )
        )
        tag = secrets.token_hex(3)
        keys = {
            role: parts.principals.add("default", f"{role.value}-{tag}", role)[1] for role in Role
        }
        parts.close()
        parts.celery.close()
        return keys


def advertise_all(servers: Servers) -> None:
    """Let submit believe in a worker that can do everything, where a test wants none to run."""
    offer = everything("everything@elsewhere", "elsewhere", Routing())
    Roster(servers.engine).advertise(offer)

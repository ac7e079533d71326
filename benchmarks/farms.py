"""Our farm and the peer's, as processes on one Redis: what the benchmarks measure."""

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import redis
import requests
from sqlalchemy import Engine

from app.admin.servers import Server, find_free_port, start_postgres, start_redis
from app.config import read_settings
from app.parts import Parts, build_parts
from app.plan import Plan
from app.plan_reader import read_plan
from app.principal import Principal, Role
from app.store.db import make_engine, migrate
from app.store.listener import Listener
from app.store.roster import Roster
from app.submit import submit
from benchmarks.celery_peer import QUEUES
from benchmarks.celery_peer import app as peer
from queues import Pool

HERE = Path(__file__).parent
ROOT = HERE.parent
POOLS = (Pool.COMMS, Pool.ASSET, Pool.NETWORK, Pool.AUTOMATION)
TOOLS = ("noop-communication", "noop-asset", "noop-network-analyzer", "noop-automation")
START_S = 60.0


class Servers:
    """One Redis and one PostgreSQL, with the durability that production has."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="opsfarm-bench-"))
        self.folder.chmod(0o755)
        password = secrets.token_hex(8)
        self.redis: Server = start_redis(self.folder / "redis", find_free_port(), password)
        self.postgres: Server = start_postgres(self.folder / "postgres", find_free_port(), password)
        self.client = redis.Redis.from_url(self.redis.url)

    def counters(self) -> tuple[int, int]:
        """(commands, bytes received) of Redis so far, its own INFO left out."""
        commands = sum(
            entry["calls"]
            for name, entry in self.client.info("commandstats").items()
            if name != "cmdstat_info"
        )
        return commands, int(self.client.info("stats")["total_net_input_bytes"])

    def stop(self) -> None:
        """End both."""
        self.client.close()
        self.redis.stop()
        self.postgres.stop()


class OurFarm:
    """Four pools and a dispatcher with the ledger on; commands are played back."""

    def __init__(self, servers: Servers, *, events: bool = False, prefix: str = "") -> None:
        self._environment = {
            "OPSFARM_DATABASE_URL": servers.postgres.url,
            "OPSFARM_BROKER_URL": servers.redis.url,
            "OPSFARM_STATE_DIR": str(servers.folder),
            "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "OPSFARM_TOOL_PATH": str(HERE / "tools"),
            "OPSFARM_EVENTS": "1" if events else "0",
            "OPSFARM_QUEUE_PREFIX": prefix,
            "OPSFARM_LOG_LEVEL": "WARNING",
        }
        os.environ.update(self._environment)
        self.engine: Engine = make_engine(servers.postgres.url)
        migrate(self.engine)
        self.parts: Parts = build_parts(read_settings())
        self.principal: Principal = self._make_principal()
        self._processes = [
            _start(["-m", "benchmarks.noop_worker", pool], self._environment) for pool in POOLS
        ] + [_start(["-m", "workers", "dispatcher"], self._environment)]
        self._wait_for_workers()
        self._finals = Listener(self.engine, "opsfarm_final")
        self._watch = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def plan(self, steps: int) -> Plan:
        """A plan of no-ops that go round the four queues."""
        document = {
            "steps": [
                {"tool": TOOLS[index % len(TOOLS)], "id": f"s{index}"} for index in range(steps)
            ]
        }
        return read_plan(document)

    def submit(self, plan: Plan) -> UUID:
        """Hand it in as the API does."""
        return submit(plan, self.principal, self.parts).execution_id

    def wait(self, execution_id: UUID) -> None:
        """Until it is final, as the API waits: on the ledger's notification."""
        wanted = str(execution_id)
        while wanted not in self._finals.wait(10):
            pass

    def wait_all(self) -> None:
        """Until nothing is open."""
        query = "select exists (select 1 from executions where finished_at is null)"
        while self._watch.exec_driver_sql(query).scalar():
            time.sleep(0.005)

    def stop(self) -> None:
        """End every process."""
        _stop(self._processes)
        self._watch.close()
        self._finals.__exit__()
        self.parts.close()
        self.engine.dispose()

    def _make_principal(self) -> Principal:
        name = f"bench-{secrets.token_hex(4)}"
        return self.parts.principals.add("default", name, Role.OPERATOR)[0]

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + START_S
        queues = {self.parts.settings.queue_prefix + pool for pool in POOLS}
        while time.monotonic() < deadline:
            live = self.parts.roster.offers(10)
            if queues <= {queue for offer in live for queue in offer.queues}:
                return
            time.sleep(0.05)
        raise TimeoutError("the farm's workers did not come up")


class OneWorker:
    """One real worker process, from start to stop."""

    def __init__(self, servers: Servers) -> None:
        self._process = _start(["-m", "workers", Pool.ASSET], {"OPSFARM_QUEUE_PREFIX": "one."})
        engine = make_engine(servers.postgres.url)
        roster = Roster(engine)
        deadline = time.monotonic() + START_S
        while not any("one.asset" in offer.queues for offer in roster.offers(10)):
            if time.monotonic() > deadline:
                raise TimeoutError("the worker did not come up")
            time.sleep(0.02)
        engine.dispose()

    def stop(self) -> None:
        """End it."""
        _stop([self._process])


class ApiProcess:
    """The HTTP API as its own process, with a key and a kept connection."""

    def __init__(self) -> None:
        port = find_free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._process = _start(["-m", "app.api"], {"OPSFARM_API_PORT": str(port)})
        parts = build_parts(read_settings())
        _, key = parts.principals.add("default", f"api-{secrets.token_hex(4)}", Role.OPERATOR)
        parts.close()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._plan = {"steps": [{"tool": TOOLS[n % 4], "id": f"s{n}"} for n in range(10)]}

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self._session.get(f"{self._url}/health/live", timeout=5).raise_for_status()
            except requests.ConnectionError:
                time.sleep(0.05)
            else:
                return self
        raise TimeoutError("the API did not come up")

    def __exit__(self, *error: object) -> None:
        self._session.close()
        _stop([self._process])

    def submit_ten(self) -> None:
        """Hand in a plan of ten steps."""
        answer = self._session.post(f"{self._url}/execute-plan", json=self._plan, timeout=10)
        answer.raise_for_status()


class CeleryFarm:
    """Celery's own defaults: prefork, results in Redis; one worker a queue."""

    def __init__(self, servers: Servers) -> None:
        url = servers.redis.url.removesuffix("/0") + "/1"
        peer.conf.update(broker_url=url, result_backend=url)
        command = ["-m", "celery", "-A", "benchmarks.celery_peer", "worker", "-l", "error"]
        self._processes = [
            _start([*command, "-Q", queue, "-n", f"{queue}@peer", "-c", "2"], {"PEER_URL": url})
            for queue in QUEUES
        ]

    def stop(self) -> None:
        """End every process."""
        _stop(self._processes)


def _start(arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()

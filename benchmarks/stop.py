"""How long a stop takes: from the request to cancel to the end that was seen, on a whole farm.

Run as root: python -m benchmarks.stop [--rounds 20]

Real workers, broker, ledger and hosts, idle but for the one step; the Windows host and the camera
are doubles. Heartbeats are those of production (5 s): what stops a step is the notification.
"""

import argparse
import secrets
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from app.admin.servers import find_free_port, start_postgres, start_redis
from app.cancel import cancel
from app.step import Credential, Target
from app.store.db import make_engine, migrate
from app.store.inventory import create_asset
from app.store.listener import Listener
from tests.lab.camera import Camera
from tests.lab.farm import TENANT, Farm
from tests.lab.host import Hosts
from tests.lab.receivers import Receiver, Reply
from tests.lab.windows import WindowsHost

LIMIT_S = 2.0
P95_LIMIT_S = 5.0
#: So long a step is left alone before it is cancelled: it is in the middle of what it does.
SETTLE_S = 0.3
FOREVER = 900

#: A child in a session of its own, without our environment, that defies SIGTERM.
STRAY = (
    "env -i PATH=/usr/bin:/bin setsid sh -c \"trap '' TERM; while :; do sleep 0.1; done\" & wait"
)
CHECKED = """
summary: An effect that nobody ever sees
execution_location: automation-service
operations:
  look:
    summary: Look
    effect: read
    argv: ["true"]
    output: {parser: text}
    examples: [{parameters: {}}]
  act:
    summary: Act, and look for a long time
    effect: change
    repeat: never
    argv: ["true"]
    verify: {operation: look, until: "output == 'never'", within_s: 600}
    examples: [{parameters: {}}]
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of step that is stopped; `pool` None: nobody ever takes it."""

    name: str
    step: Mapping[str, Any]
    pool: str | None = "automation"
    #: The state in which it is cancelled.
    state: str = "running"


def step(
    tool: str,
    target: str | None,
    operation: str | None = None,
    **given: Any,  # noqa: ANN401  # any parameters
) -> dict[str, Any]:
    """A step of a plan that would go on for a quarter of an hour."""
    wanted = {"tool": tool, "parameters": given, "timeout_s": FOREVER}
    where = {} if target is None else {"targets": target}
    return wanted | where | ({} if operation is None else {"operation": operation})


def list_kinds(host: str, windows: str, camera: str, silent: int, url: str) -> list[Kind]:
    """Every way in which a step can be busy."""
    busy = {"file": "/tmp/opsfarm-bench-pid", "seconds": str(FOREVER)}  # on the host
    missing = {"file": "/nonexistent"}
    again = {"retries": {"max": 2, "backoff_s": FOREVER}}
    capture = step("tcpdump", None, "capture", interface="lo", duration_s=600)
    slow = step("http-analyzer", None, "request", url=f"http://127.0.0.1:{silent}/")
    return [
        Kind("queued", step("asset-list", None), None, "queued"),
        Kind("waits for a retry", step("roll", "local", **missing) | again, state="queued"),
        Kind("waits in verify", step("checked", "local", "act")),
        Kind("local process", step("hold", "local", "read", **busy)),
        Kind("local, defiant stray child", step("script", "local", script=STRAY)),
        Kind("capture", capture, "capture"),
        Kind("SSH command", step("hold", host, "change", **busy)),
        Kind("SSH, defiant stray child", step("script", host, script=STRAY)),
        Kind("SSH, host that says nothing", step("script", "silent", script="true")),
        Kind("WinRM shell (double)", step("get-service", windows, "list", name=["Bench"])),
        Kind("HTTP request (double)", step("axis-vapix-device-info", camera), "network"),
        Kind(
            "Python operation, webhook",
            step("webhook-sender", None, url=url, json={"at": "bench"}),
            "comms",
        ),
        Kind("Python operation, HTTP", slow, "network"),
    ]


class Bench:
    """A farm with every pool, and the assets that its steps act on."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        password = secrets.token_hex(8)
        postgres = start_postgres(folder / "pg", find_free_port(), password)
        stack.callback(postgres.stop)
        broker = start_redis(folder / "redis", find_free_port(), password)
        stack.callback(broker.stop)
        migrate(make_engine(postgres.url))
        (folder / "farm" / "tools").mkdir(parents=True)
        (folder / "farm" / "tools" / "checked.yaml").write_text(CHECKED)
        self.farm = Farm(
            postgres.url,
            broker.url,
            folder / "farm",
            OPSFARM_HEARTBEAT_S="5",
            OPSFARM_SELF_KILL_S="20",
            OPSFARM_REAP_S="30",
            OPSFARM_DISPATCH_TICK_S="1",
            OPSFARM_ALLOW_PRIVATE="127.0.0.0/8",
        )
        stack.callback(self.farm.close)
        self._finals = stack.enter_context(Listener(self.farm.parts.engine, "opsfarm_final"))
        self.kinds = self._plant(stack, folder)
        self.farm.start("dispatcher")
        for pool in sorted({kind.pool for kind in self.kinds if kind.pool}):
            self.farm.start(pool)

    def measure(self, kind: Kind) -> tuple[float, str]:
        """Seconds from the cancel to the end, and what the row says of its stop."""
        accepted = self.farm.submit(dict(kind.step))
        execution_id = accepted.execution_id
        self.farm.wait_until(lambda: self._is_busy(execution_id, kind))
        time.sleep(SETTLE_S)
        began = time.perf_counter()
        cancel(execution_id, self.farm.principal, self.farm.parts)
        self._wait(execution_id)
        took_s = time.perf_counter() - began
        row = self.farm.result(execution_id)
        if row["state"] != "cancelled":
            raise RuntimeError(f"{kind.name}: {row['state']}: {row['summary']}")
        return took_s, row["stopped"] or "never began"

    def _is_busy(self, execution_id: UUID, kind: Kind) -> bool:
        row = self.farm.result(execution_id)
        tried = kind.name != "waits for a retry" or row["attempt"] > 0
        return row["state"] == kind.state and tried

    def _wait(self, execution_id: UUID) -> None:
        wanted, until = str(execution_id), time.monotonic() + 60
        while self.farm.parts.records.read_state(execution_id) != "cancelled":
            if wanted not in self._finals.wait(1) and time.monotonic() > until:
                raise TimeoutError(
                    f"execution {wanted} does not end: {self.farm.read(execution_id)}"
                )

    def _plant(self, stack: ExitStack, folder: Path) -> list[Kind]:
        """The world that the steps act on."""
        host = stack.enter_context(Hosts()).start("bench-01")[0]
        self._add(host.target, replace(host.credential(), name="host"))
        silent = stack.enter_context(silent_server())
        where = replace(host.target, name="silent", address="127.0.0.1", port=silent)
        self._add(where, replace(host.credential(), name="silent"))
        gate = threading.Event()
        windows = stack.enter_context(WindowsHost(folder))
        windows.plant("get-service", "list", {"name": ["Bench"]}, [], gate=gate)
        windows.double.planted *= FOREVER
        stack.callback(gate.set)
        self._add(replace(windows.target, name="win-01"), replace(windows.credential, name="win"))
        camera = stack.enter_context(Camera())
        camera.interfere = lambda _request: Reply(never=True)
        self._add(camera.target(), replace(camera.credential(), name="cam"))
        hook = stack.enter_context(Receiver(lambda _request: Reply(never=True)))
        return list_kinds("bench-01", "win-01", camera.target().name, silent, hook.url)

    def _add(self, target: Target, credential: Credential) -> None:
        """An asset and its login."""
        port = {} if target.port is None else {"port": target.port}
        values = {
            "hostname": target.name,
            "ip_address": target.address,
            "connection": {"type": target.connection, **port, **target.options},
        }
        parts = self.farm.parts
        with parts.inventory._sessions.begin() as session:  # noqa: SLF001  # as a step would
            session.info.update(tenant=TENANT, actor="bench", execution_id=None, step_id=None)
            create_asset(session, values)
        parts.vault.put_credential(TENANT, credential.name, credential, target.name)


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


def main() -> None:
    """Measure every kind in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    table = Table("what is stopped", "p50 s", "p95 s", "limit", "stopped", "kept")
    with ExitStack() as stack:
        bench = Bench(stack)
        for kind in bench.kinds:
            found = [bench.measure(kind) for _ in range(rounds)]
            times = sorted(took_s for took_s, _ in found)
            middle, late = statistics.median(times), times[round(0.95 * (len(times) - 1))]
            words = ", ".join(sorted({said for _, said in found}))
            kept = "yes" if middle <= LIMIT_S and late <= P95_LIMIT_S else "NO"
            limit = f"{LIMIT_S:g}, p95 {P95_LIMIT_S:g}"
            table.add_row(kind.name, f"{middle:.2f}", f"{late:.2f}", limit, words, kept)
    Console().print(table)


if __name__ == "__main__":
    main()

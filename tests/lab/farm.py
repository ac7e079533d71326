"""Real farm processes on real servers, with times that tests can wait for."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import redis

from app.config import Settings
from app.parts import Parts, build_parts
from app.plan_reader import read_request
from app.principal import Principal, Role
from app.step import FINAL_EXECUTION_STATES
from app.submit import Accepted, submit
from tests.lab.waiting import wait_until

PROJECT = Path(__file__).parents[2]
TENANT = "default"
WAIT_S = 30

#: Everything that a farm waits for, shortened; a test may say otherwise.
SHORT = {
    "OPSFARM_HEARTBEAT_S": "0.2",
    "OPSFARM_SELF_KILL_S": "1.5",
    "OPSFARM_REAP_S": "1.5",
    "OPSFARM_DRAIN_S": "1",
    "OPSFARM_RESEND_S": "1",
    "OPSFARM_DISPATCH_TICK_S": "0.1",
    "OPSFARM_SLOTS": "4",
}

#: Tools of a test's own site. Each leaves a line in a file for each time that it ran.
TOOLS = {
    "mark": """
summary: Leave a line in a file
execution_location: automation-service
default: read
parameters:
  file: {type: path, required: true, example: /tmp/x}
  line: {type: string, default: ran, example: ran}
operations:
  read:
    summary: Nothing is lost by doing it twice
    effect: read
    takes: [file, line]
    argv: [tee, -a, {operands: file}]
    stdin: "{line}\\n"
    examples: [{parameters: {file: /tmp/x}}]
  change:
    summary: Not to be done twice
    effect: change
    repeat: never
    takes: [file, line]
    argv: [tee, -a, {operands: file}]
    stdin: "{line}\\n"
    examples: [{parameters: {file: /tmp/x}}]
""",
    "hold": """
summary: Stay busy and leave a line in a file first
execution_location: automation-service
default: read
parameters:
  file: {type: path, required: true, example: /tmp/x}
  seconds: {type: string, default: "30", example: "30"}
operations:
  read: &no
    summary: May be done twice
    effect: read
    takes: [file, seconds]
    argv: [sh, -c, 'echo $$ >> "$0"; exec sleep "$1"', "{file}", "{seconds}"]
    examples: [{parameters: {file: /tmp/x}}]
  change:
    summary: Not to be done twice
    effect: change
    repeat: never
    takes: [file, seconds]
    argv: [sh, -c, 'echo $$ >> "$0"; exec sleep "$1"', "{file}", "{seconds}"]
    examples: [{parameters: {file: /tmp/x}}]
  again:
    summary: Leaves the same state when it is done twice
    effect: change
    repeat: idempotent
    takes: [file, seconds]
    argv: [sh, -c, 'echo $$ >> "$0"; exec sleep "$1"', "{file}", "{seconds}"]
    examples: [{parameters: {file: /tmp/x}}]
""".replace(" &no", ""),
    "script": """
summary: A line of shell
execution_location: automation-service
operations:
  run:
    summary: Only looks
    effect: read
    parameters: {script: {type: string, required: true, example: "true"}}
    argv: [sh, -c, "{script}"]
    examples: [{parameters: {script: "true"}}]
""",
    "odd": """
summary: Say what no database likes
execution_location: automation-service
operations:
  bytes:
    summary: NUL, half a character, a lone surrogate
    effect: read
    argv: [printf, 'a\\000b\\n\\377\\n\\355\\240\\200\\n']
    output: {parser: text}
    examples: [{parameters: {}}]
""",
    "roll": """
summary: Names
execution_location: automation-service
operations:
  call:
    summary: The file's lines
    effect: read
    parameters: {file: {type: path, required: true, example: /tmp/x}}
    argv: [cat, {operands: file}]
    output: {parser: json}
    examples: [{parameters: {file: /tmp/x}}]
""",
}


class Process:
    """One process of the farm; it is ended when the farm is."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path, *entry: str) -> None:
        """`entry`: what to run instead of `python -m workers`."""
        self.name = name
        self.log = folder / f"{name}-{secrets.token_hex(3)}.log"
        with self.log.open("wb") as sink:
            self._popen = subprocess.Popen(
                [*(entry or (sys.executable, "-m", "workers")), name],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self.pid = self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, timeout_s: float = 20) -> int:
        """Ask it to end; its exit status."""
        self._popen.terminate()
        return self._popen.wait(timeout_s)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.is_alive:
            self.kill()  # what it runs dies with it


class Farm:
    """Starts processes on a database and a broker; submits to them; reads the ledger."""

    def __init__(self, database_url: str, broker_url: str, folder: Path, **more: str) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir(parents=True, exist_ok=True)
        for name, text in TOOLS.items():
            (tools / f"{name}.yaml").write_text(text)
        self.environment = {
            **SHORT,
            "OPSFARM_DATABASE_URL": database_url,
            "OPSFARM_BROKER_URL": broker_url,
            "OPSFARM_QUEUE_PREFIX": f"{secrets.token_hex(4)}.",
            "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "OPSFARM_STATE_DIR": str(folder / "state"),
            "OPSFARM_HOST": f"test-{secrets.token_hex(4)}",
            "OPSFARM_TOOL_PATH": str(tools),
            "OPSFARM_LOG_FORMAT": "text",
            **more,
        }
        members = {
            name.removeprefix("OPSFARM_").lower(): value for name, value in self.environment.items()
        }
        members["OPSFARM_DATABASE_URL"] = members.pop("database_url")
        self.settings = Settings(**members)
        self.parts: Parts = build_parts(self.settings)
        self.principal: Principal = self.parts.principals.add(TENANT, "ops", Role.OPERATOR)[0]
        self.broker_url = broker_url
        self.processes: list[Process] = []

    @cached_property
    def broker(self) -> redis.Redis:
        """The broker's raw commands, where it is Redis."""
        return redis.Redis.from_url(self.broker_url)

    def start(self, name: str, *entry: str, wait: bool = True, **more: str) -> Process:
        """Start `python -m workers <name>`; a pool is awaited in the roster."""
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **self.environment, **more}
        process = Process(name, environment, self.folder, *entry)
        self.processes.append(process)
        if wait and name not in {"dispatcher", "beat", "flower"}:
            self.wait_until(lambda: name in self.pools_up() or not process.is_alive)
            assert process.is_alive, process.log.read_text()
        return process

    def pools_up(self) -> set[str]:
        """Pools with a worker that beats now."""
        return {each.pool for each in self.parts.roster.offers(2) if not each.stopped}

    def queue(self, domain: str = "automation") -> str:
        """The name of a domain's queue here."""
        return self.settings.queue_prefix + domain

    def depth(self, domain: str = "automation") -> int:
        """Messages in Redis."""
        return int(self.broker.llen(self.queue(domain)))

    def submit(self, *steps: dict, key: str | None = None, **plan: Any) -> Accepted:
        """Submit a plan as a front door does."""
        body = json.dumps({"name": "test", "steps": list(steps), **plan}).encode()
        return submit(read_request(body).plan, self.principal, self.parts, key=key)

    def read(self, execution_id: UUID) -> dict[str, Any]:
        """The execution as people see it."""
        return self.parts.records.read_execution(TENANT, execution_id)

    def result(self, execution_id: UUID, step: int = 0, row: int = 0) -> dict[str, Any]:
        """One row of one step."""
        return self.read(execution_id)["steps"][step]["results"][row]

    def wait_until(self, happened: Any, timeout_s: float = WAIT_S) -> None:
        """Poll the ledger, or the world, until something happened."""
        wait_until(happened, self._tell, timeout_s)

    def wait_for(self, execution_id: UUID, *states: str, timeout_s: float = WAIT_S) -> dict:
        """Wait for one of these states (any final one when none is given)."""
        wanted = set(states or FINAL_EXECUTION_STATES)
        self.wait_until(lambda: self.parts.records.read_state(execution_id) in wanted, timeout_s)
        return self.read(execution_id)

    def wait_for_row(self, execution_id: UUID, state: str, step: int = 0) -> dict[str, Any]:
        """Wait until the first row of a step is in this state."""
        self.wait_until(lambda: self.result(execution_id, step)["state"] == state)
        return self.result(execution_id, step)

    def wait_for_lines(self, path: Path, count: int = 1) -> list[str]:
        """Wait until a tool left so many lines in its file."""
        self.wait_until(lambda: len(lines_of(path)) >= count)
        return lines_of(path)

    def push(self, body: str | bytes, domain: str = "automation") -> None:
        """Put raw bytes into a queue, as anyone who reaches the broker can."""
        self.broker.lpush(self.queue(domain), body)

    def message(self, *arguments: Any, **members: Any) -> str:
        """A message as Celery writes it, naming `arguments`; `members` change its embed."""
        number = secrets.token_hex(16)
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **members}
        body = json.dumps([list(arguments), {}, embed])
        return self.envelope(body, number)

    def envelope(self, body: str, number: str, **headers: Any) -> str:
        """A message with this body."""
        return json.dumps(
            {
                "body": base64.b64encode(body.encode()).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {
                    "lang": "py",
                    "task": "opsfarm.run_step",
                    "id": number,
                    "root_id": number,
                    "parent_id": None,
                    "group": None,
                    "retries": 0,
                    **headers,
                },
                "properties": {
                    "correlation_id": number,
                    "delivery_mode": 2,
                    "delivery_info": {"exchange": "", "routing_key": self.queue()},
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": number,
                },
            }
        )

    def _tell(self) -> str:
        logs = [f"--- {p.log.name}\n{p.log.read_text()[-3000:]}" for p in self.processes]
        return "it did not happen in time\n" + "\n".join(logs)

    def close(self) -> None:
        """End every process, then let go of the connections."""
        for process in self.processes:
            process.close()
        if self.broker_url.startswith("redis"):
            for key in self.broker.scan_iter(match=f"*{self.settings.queue_prefix}*"):
                self.broker.delete(key)
            self.broker.close()
        self.parts.close()
        self.parts.celery.close()


def hold(operation: str, file: Path, *, seconds: str = "60", **members: Any) -> dict:
    """A step that stays busy; it leaves its process id in `file` first."""
    parameters = {"file": str(file), "seconds": seconds}
    return {
        "tool": "hold",
        "operation": operation,
        "parameters": parameters,
        "targets": "local",
        "id": file.name,
        **members,
    }


def mark(file: Path, line: str = "ran", operation: str = "read", **members: Any) -> dict:
    """A step that leaves a line in `file`."""
    parameters = {"file": str(file), "line": line}
    return {
        "tool": "mark",
        "operation": operation,
        "parameters": parameters,
        "targets": "local",
        "id": file.name,
        **members,
    }


def lines_of(path: Path) -> list[str]:
    """What a tool left in its file."""
    return path.read_text().splitlines() if path.exists() else []

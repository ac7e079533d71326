"""A real API over a real ledger and broker, and a hand that plays the worker."""

import base64
import json
import secrets
import socket
import threading
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import uvicorn
from sqlalchemy import insert

from app.api.application import create_api
from app.client import Farm
from app.config import Settings
from app.parts import build_parts
from app.principal import Role
from app.step import State, StepResult
from app.store.models import OutputChunk
from tests.lab.offers import everything
from tool_catalog.model import Reason

TENANT = "default"


class ApiFarm:
    """Serves on a loopback port until `close`."""

    def __init__(self, database_url: str, broker_url: str, state_dir: Path) -> None:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        settings = Settings(
            OPSFARM_DATABASE_URL=database_url,
            broker_url=broker_url,
            secret_key=key,
            state_dir=state_dir,
        )
        self.state_dir = state_dir
        self.parts = build_parts(settings)
        self.keys = {role: self._make_key(role) for role in Role}
        self.advertise("worker-1")
        self._serve()
        self._write_farm_file()

    def _make_key(self, role: Role) -> str:
        return self.parts.principals.add(TENANT, f"test-{role.value}", role)[1]

    def advertise(self, name: str) -> None:
        """Let submit believe in a worker that can do everything."""
        self.parts.roster.advertise(everything(name, "here", self.parts.settings.routing))

    def _serve(self) -> None:
        # asyncio turns Nagle's waiting off only for sockets that name their protocol.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._api = create_api(self.parts)
        config = uvicorn.Config(self._api, log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()

    def _write_farm_file(self) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        (self.state_dir / "farm.json").write_text(json.dumps({"api_url": self.url}))
        (self.state_dir / "admin.key").write_text(self.keys[Role.ADMIN] + "\n")

    def close(self) -> None:
        """End the server and every connection."""
        self._server.should_exit = True
        self._thread.join()
        self.parts.celery.close()
        self.parts.close()

    def client(self, role: Role = Role.OPERATOR) -> Farm:
        """A client with the key of a role."""
        return Farm(url=self.url, key=self.keys[role])

    def change_parts(self, **members) -> None:
        """Let the API go on with other parts: another catalogue, say."""
        self.parts = self._api.state.parts = replace(self.parts, **members)

    def read(self, execution_id: str) -> dict:
        """The execution as the ledger holds it."""
        return self.parts.records.read_execution(TENANT, UUID(execution_id))

    def queued(self, execution_id: str) -> list[dict]:
        """Its rows that a worker could claim now."""
        rows = [row for step in self.read(execution_id)["steps"] for row in step["results"]]
        return [row for row in rows if row["state"] == "queued"]

    def claim(self, execution_id: str):
        """Take the first queued row, as a worker does."""
        row = self.queued(execution_id)[0]
        step = self.parts.ledger.claim_step(
            row["step_id"], row["attempt"], uuid4(), "worker-1", [row["queue"]]
        )
        assert step is not None
        return step

    def say(self, step, *lines: str) -> None:
        """Leave live output of a running step."""
        chunk = insert(OutputChunk).values(
            tenant=TENANT,
            execution_id=step.execution_id,
            step_id=step.id,
            attempt=step.attempt,
            lines=[["stdout", line] for line in lines],
        )
        with self.parts.engine.begin() as connection:
            connection.execute(chunk)

    def finish(self, step, **members) -> None:
        """Bring a claimed step to its end; succeeded unless `state` says otherwise."""
        result = StepResult(**{"state": State.SUCCEEDED, "summary": "done", **members})
        assert self.parts.ledger.finish_step(step, result, link=None, send=0).accepted

    def fail(self, step, summary: str) -> None:
        """Bring a claimed step to a failed end."""
        self.finish(
            step,
            state=State.FAILED,
            reason=Reason.EXIT_CODE,
            summary=summary,
            exit_code=1,
            stderr_tail="it broke\n",
        )

    def work(self, execution_id: str, **members) -> None:
        """Run every step to its end."""
        while self.queued(execution_id):
            self.finish(self.claim(execution_id), **members)

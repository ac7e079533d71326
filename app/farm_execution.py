"""One execution of a farm, as the client holds it: its state, its end, its events, decisions."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

from app.errors import FarmUnreachable, Unavailable
from app.farm_http import FarmConnection
from app.step import FINAL_EXECUTION_STATES

#: One long poll; the farm answers earlier when the execution is final.
_POLL_S = 20.0
#: A watcher gives up when the farm was away for so long.
_AWAY_S = 60.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

#: How a person says that an interrupted step ended, or who is to find out.
Resolution = Literal["succeeded", "failed", "retry", "skip", "probe"]


class Execution:
    """One execution on a farm."""

    def __init__(self, http: FarmConnection, shown: Mapping[str, Any]) -> None:
        self._http = http
        self.id = str(shown["execution_id"])
        #: As the farm told it last.
        self.state = str(shown["state"])
        self.delivery = str(shown.get("delivery", "sent"))
        #: Whether a submit made it; False: its key stood for it already.
        self.created = bool(shown.get("created", True))
        self.warnings: tuple[str, ...] = tuple(shown.get("warnings", ()))
        #: How often it was started: resuming counts on.
        self.run = int(shown.get("run", 1))
        self._path = f"/executions/{self.id}"
        #: The event behind which its present run begins, where that was told.
        self._begins_after: str | None = shown.get("events_after")

    def status(self) -> dict[str, Any]:
        """The execution as it is now, with its steps and their results."""
        return self._keep_state(self._http.get(self._path))

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait until the execution is final and return it; raises TimeoutError.

        An execution that waits for a person stays open: give a time limit where nobody looks.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _POLL_S if deadline is None else deadline - time.monotonic()
            pause_s = max(0.0, min(_POLL_S, left_s))
            shown = self._http.get(self._path, wait=pause_s, timeout_s=pause_s + 30)
            self._keep_state(shown)
            if self.state in FINAL_EXECUTION_STATES:
                return shown  # type: ignore[no-any-return]  # the execution as JSON
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"execution {self.id} is {self.state} after {timeout_s:g} s")

    def events(self, after: str | None = None) -> Iterator[dict[str, Any]]:
        """Every event, past and to come, until the execution is final.

        Of one that was resumed or undone just now, those from then on.

        A lost connection is made again where it broke; raises FarmUnreachable when the farm
        stays away for a minute.
        """
        pauses, after = _Pauses(), after or self._begins_after
        while True:
            try:
                for event_id, event in self._stream(after):
                    after = event_id or after
                    pauses.reset()
                    yield event
                    if self._is_end(event):
                        self.state = str(event["data"]["state"])
                        return
                if self.status()["state"] in FINAL_EXECUTION_STATES:
                    return  # what it told lies behind `after`, or is too old to be kept
                pauses.take(None)
            except (FarmUnreachable, Unavailable) as error:
                pauses.take(error)

    def cancel(self, reason: str) -> dict[str, Any]:
        """Ask for the execution to be stopped; raises Conflict when it is final."""
        return self._keep_state(self._http.post(f"{self._path}/cancel", {"reason": reason}))

    def approvals(self) -> list[dict[str, Any]]:
        """Every approval that it asked for, oldest first, and what became of it."""
        found: list[dict[str, Any]] = self._http.get(f"{self._path}/approvals")["approvals"]
        return found

    def approve(
        self, reason: str = "", *, step: str | None = None, digest: str | None = None
    ) -> dict[str, Any]:
        """Say yes to what it waits with; `step` says to which, `digest` what was looked at.

        Raises Forbidden for one's own plan or without the right, Conflict where nothing waits, it
        expired or was decided, or what would run is not what was asked for.
        """
        body = {"reason": reason, "step": step, "digest": digest}
        return self._keep_state(self._http.post(f"{self._path}/approve", body))

    def reject(self, reason: str, *, step: str | None = None) -> dict[str, Any]:
        """Say no: what waits is cancelled. Raises as `approve`."""
        body = {"reason": reason, "step": step}
        return self._keep_state(self._http.post(f"{self._path}/reject", body))

    def rerun(
        self, *, failed_only: bool = False, key: str | None = None, reason: str | None = None
    ) -> "Execution":
        """Run its plan again with its inputs and its limit, as a new execution.

        `failed_only`: only on the targets that failed, were cancelled or interrupted. Raises
        Conflict while it is not final, or when nothing failed; PlanRejected with every fault.
        """
        body = {"failed_only": failed_only} | ({"reason": reason} if reason else {})
        return Execution(self._http, self._http.post(f"{self._path}/rerun", body, key_header(key)))

    def resolve(
        self, step: str | int, as_: Resolution, reason: str = "", *, target: str | None = None
    ) -> dict[str, Any]:
        """Say how an interrupted step ended: succeeded, failed, skip; or retry to run it again.

        `probe` has the operation's own look asked again and needs no reason; what it finds decides.
        `step` is its id or number, or `row:` and a row's id; `target` tells the rows of one that
        fanned out apart. Raises NotFound, Forbidden, Conflict when it is not interrupted.
        """
        body = {"as": as_, "reason": reason, "target": target}
        path = f"{self._path}/steps/{quote(str(step), safe='')}/resolve"
        return self._keep_state(self._http.post(path, body))

    def resume(self, *, failed_only: bool = False, reason: str = "") -> "Execution":
        """Let it go on where it first failed; its `warnings` name tools that changed since.

        `failed_only`: only on the targets that failed. Raises Conflict unless it failed or was
        cancelled.
        """
        body = {"failed_only": failed_only, "reason": reason}
        return Execution(self._http, self._http.post(f"{self._path}/resume", body))

    def undo(self, reason: str) -> "Execution":
        """Have reversed what it did, the last first; raises Conflict while it is not final."""
        return Execution(self._http, self._http.post(f"{self._path}/undo", {"reason": reason}))

    def _stream(self, after: str | None) -> Iterator[tuple[str | None, dict[str, Any]]]:
        headers = {"Last-Event-ID": after} if after else {}
        with self._http.stream(f"{self._path}/events", headers) as lines:
            yield from read_event_stream(lines)

    def _is_end(self, event: Mapping[str, Any]) -> bool:
        """Whether it ended for good: what was resumed had ended before."""
        finished = event["kind"] == "execution.finished"
        return bool(finished and event["data"].get("run", 1) >= self.run)

    def _keep_state(self, shown: dict[str, Any]) -> dict[str, Any]:
        self.state = str(shown.get("state", self.state))
        self.run = int(shown.get("run", self.run))
        return shown


class _Pauses:
    """Growing pauses between attempts to reach a farm, and the end of patience."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._give_up_at = time.monotonic() + _AWAY_S

    def take(self, error: Exception | None) -> None:
        """Pause; raises `error` again when the farm was away for too long."""
        if error is not None and time.monotonic() > self._give_up_at:
            raise error
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


def read_event_stream(lines: Iterable[bytes]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Server-sent events (id, data as JSON) from the lines of a stream; comments are skipped.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    event_id: str | None = None
    data: list[str] = []
    for line in lines:
        name, _, value = line.decode().partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "data":
            data.append(value)
        elif not line and data:
            yield event_id, json.loads("\n".join(data))
            data = []


def key_header(key: str | None) -> dict[str, str]:
    """The caller's own key, as a header of a submit."""
    return {"Idempotency-Key": key} if key else {}

"""Movements of a PTZ camera that must end, whatever happens to the step (VAPIX ptz.cgi)."""

import time
from collections.abc import Mapping
from typing import Any

from app.command import Command
from app.errors import StepError, Stopped
from app.http_request import Request
from app.step import LOCAL, State, StepResult
from tasks.http_status import reason_of, show_status
from tasks.operations.base import OperationContext
from tasks.parsers.base import ParseError
from tasks.parsers.documents import parse_key_value
from tasks.runners.base import RawOutput, StepControl
from tool_catalog.model import Output, Reason

PATH = "/axis-cgi/com/ptz.cgi"
#: A camera has no timer of its own: these tries stand between it and moving on for ever.
STOP_TRIES = 3
STOP_S = 5.0
#: How long it may take to come to rest once it was told to.
REST_S = 5.0
_LOOK_S = 0.2

_AXES = ("pan", "tilt", "zoom")
_POSITION = Output(parser="key_value", fields=dict.fromkeys(_AXES, "number"))


def move_for(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Move at a speed for a time; the camera is stopped also on a cancel or an error.

    `output` is where it came to rest: {pan, tilt, zoom}. Raises StepError; with `sent` when
    nobody knows whether it still moves.
    """
    camera = _Camera(parameters, context)
    pan, tilt, zoom = (int(parameters.get(f"{axis}_speed") or 0) for axis in _AXES)
    movement = {"continuouspantiltmove": f"{pan},{tilt}", "continuouszoommove": str(zoom)}
    duration_s = min(float(parameters["duration_s"]), context.control.seconds_left)
    try:
        camera.start(movement)
        was_cancelled = context.control.cancelled.wait(duration_s)
    except Stopped:
        if not camera.armed:
            raise
        was_cancelled = True
    finally:
        if camera.armed:
            camera.stop()
    position = camera.rest()
    if was_cancelled:
        raise Stopped(f"stopped before its time, at {_show(position)}", verified=True)
    return StepResult(State.SUCCEEDED, f"came to rest at {_show(position)}", output=position)


class _Camera:
    """The camera of a step."""

    def __init__(self, parameters: Mapping[str, Any], context: OperationContext) -> None:
        self.armed = False
        self._number = str(parameters["camera"])
        self._context = context
        self._runner = context.runner()

    def start(self, movement: Mapping[str, str]) -> None:
        """Begin a movement; raises StepError, which may have begun it all the same."""
        ours = self._context.control
        control = StepControl(ours.seconds_left, cancelled=ours.cancelled, before_effect=self._arm)
        self._call(movement, control)

    def stop(self) -> None:
        """End every movement, even when the step itself may do nothing any more."""
        still = {"continuouspantiltmove": "0,0", "continuouszoommove": "0"}
        last = StepError(Reason.INTERNAL, "it was not tried")
        for _ in range(STOP_TRIES):
            try:
                self._call(still, StepControl(STOP_S))
            except StepError as error:
                last = error
            else:
                return
        raise StepError(
            last.reason,
            f"the camera may still be moving, for it took no stop: {last.message}; "
            "run the operation stop",
            sent=True,
        )

    def rest(self) -> dict[str, Any]:
        """Where it is once two looks agree; raises StepError when they do not in time."""
        until = time.monotonic() + REST_S
        seen = self._position()
        while time.monotonic() < until:
            time.sleep(_LOOK_S)  # the camera tells nobody when it has come to rest
            before, seen = seen, self._position()
            if seen == before:
                return seen
        raise StepError(
            Reason.NOT_VERIFIED,
            f"the camera was told to stop, and still moves after {REST_S:g} s; look at it",
            sent=True,
        )

    def _arm(self) -> None:
        self._context.control.before_effect()
        self.armed = True

    def _position(self) -> dict[str, Any]:
        request = Request("GET", PATH, (("query", "position"), ("camera", self._number)))
        raw = self._send(request, StepControl(STOP_S))
        try:
            return parse_key_value(raw.stdout.decode(errors="replace"), _POSITION)
        except ParseError as error:
            what = f"the camera's position cannot be read: {error}"
            raise StepError(Reason.INVALID_OUTPUT, what) from None

    def _call(self, arguments: Mapping[str, str], control: StepControl) -> None:
        query = (("camera", self._number), *arguments.items())
        self._send(Request("GET", PATH, query, ok=(200, 204), changes=True), control)

    def _send(self, request: Request, control: StepControl) -> RawOutput:
        """The answer; raises StepError for every one that is no success."""
        command = Command(kind="http", request=request)
        target = self._context.step.target or LOCAL
        raw = self._runner.run(command, target, self._context.credential, control)
        status, body = raw.status or 0, raw.stdout.decode(errors="replace")
        if status not in request.ok:
            raise StepError(reason_of(status), show_status(status, raw.headers, body))
        if body.startswith("Error:"):  # VAPIX says so with status 200
            refused = " ".join(body.removeprefix("Error:").split())
            raise StepError(Reason.REFUSED_BY_DEVICE, f"camera refused: {refused}")
        return raw


def _show(position: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in position.items() if value is not None)

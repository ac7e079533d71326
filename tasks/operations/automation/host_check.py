"""Whether a host can be worked on: each thing that a step needs there, one after the other."""

from collections.abc import Mapping
from typing import Any

from app.errors import StepError, Stopped
from app.step import LOCAL, State, StepResult
from tasks.operations.automation.host_visit import LocalVisit, NotAsked, SshVisit, Visit
from tasks.operations.automation.host_visit_web import HttpVisit, WinrmVisit
from tasks.operations.base import OperationContext
from tasks.runners.ssh_host_keys import (
    SSH_PORT,
    fetch_host_keys,
    fingerprints,
    pinned_keys,
    write_host_key,
)
from tool_catalog.model import Reason

_VISITS: Mapping[str, type[Visit]] = {
    "local": LocalVisit,
    "ssh": SshVisit,
    "winrm": WinrmVisit,
    "http": HttpVisit,
}
OK, FAILED, SKIPPED = "ok", "failed", "skipped"


def reach(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Check in order; what comes behind a failure is skipped.

    `output` is {checks: [{check, state: ok|failed|skipped, detail}], connection, address, port,
    user, os}; the detail of a failure says what to do next.
    """
    target = context.step.target or LOCAL
    visit = _VISITS[target.connection](target, context, parameters)
    failure: StepError | None = None
    checks = []
    for name, probe in visit.probes():
        if context.control.cancelled.is_set():
            raise Stopped("stopped before the next check", verified=True)
        state, detail = SKIPPED, ""
        if failure is None:
            try:
                state, detail = OK, probe()
            except NotAsked as reason:
                detail = str(reason)
            except StepError as error:
                if isinstance(error, Stopped):
                    raise
                state, detail, failure = FAILED, error.message, error
        checks.append({"check": name, "state": state, "detail": detail})
    output = {"checks": checks, **visit.found()}
    if failure is None:
        return StepResult(State.SUCCEEDED, visit.summary(), output=output)
    return StepResult(
        State.FAILED, failure.message, failure.reason, output=output, transient=failure.transient
    )


def host_key(_parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """The keys that an SSH server shows, beside those that the asset has pinned.

    `output` is {state: new|same|changed, shown: [{type, fingerprint, key}], pinned: [{type,
    fingerprint}], address, port}; it changes nothing.
    """
    target = context.step.target or LOCAL
    if target.connection != "ssh":
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"{target.name} is reached by {target.connection}: only SSH servers have host keys",
        )
    shown = fetch_host_keys(target)
    pinned = pinned_keys(target) if target.options.get("host_key") else []
    # A server may gain or lose a type of key; one of a pinned type must be the pinned one.
    known = {key.get_name(): key for key in pinned}
    common = [key for key in shown if key.get_name() in known]
    same = bool(common) and all(known[key.get_name()] == key for key in common)
    state = "same" if same else "changed" if pinned else "new"
    output = {
        "state": state,
        "shown": [
            {"type": k.get_name(), "fingerprint": k.fingerprint, "key": write_host_key(k)}
            for k in shown
        ],
        "pinned": [{"type": k.get_name(), "fingerprint": k.fingerprint} for k in pinned],
        "address": target.address,
        "port": target.port or SSH_PORT,
    }
    words = {"new": "none is pinned", "same": "as pinned", "changed": "another is pinned"}
    summary = f"{target.name} shows {fingerprints(shown)}; {words[state]}"
    return StepResult(State.SUCCEEDED, summary, output=output)

"""Whether a host can be worked on: each thing that a step needs there, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from paramiko import PKey

from app.errors import StepError, Stopped
from app.step import LOCAL, State, StepResult
from tasks.operations.automation.host_visit import LocalVisit, NotAsked, Probe, SshVisit, Visit
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
_WORDS = {"new": "none is pinned", "same": "as pinned", "changed": "another is pinned"}


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
            state, detail, failure = _try(probe)
        checks.append({"check": name, "state": state, "detail": detail})
    output = {"checks": checks, **visit.found()}
    if failure is None:
        return StepResult(State.SUCCEEDED, visit.summary(), output=output)
    return StepResult(
        State.FAILED, failure.message, failure.reason, output=output, transient=failure.transient
    )


def _try(probe: Probe) -> tuple[str, str, StepError | None]:
    """State and detail of one check; raises Stopped."""
    try:
        return OK, probe(), None
    except NotAsked as reason:
        return SKIPPED, str(reason), None
    except Stopped:
        raise
    except StepError as error:
        return FAILED, error.message, error


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
    state = _compare(shown, pinned)
    output = {
        "state": state,
        "shown": [_describe(key) | {"key": write_host_key(key)} for key in shown],
        "pinned": [_describe(key) for key in pinned],
        "address": target.address,
        "port": target.port or SSH_PORT,
    }
    summary = f"{target.name} shows {fingerprints(shown)}; {_WORDS[state]}"
    return StepResult(State.SUCCEEDED, summary, output=output)


def _compare(shown: Sequence[PKey], pinned: Sequence[PKey]) -> str:
    """A server may gain or lose a type of key; one of a pinned type must be the pinned one."""
    known = {key.get_name(): key for key in pinned}
    common = [key for key in shown if key.get_name() in known]
    same = common and all(known[key.get_name()] == key for key in common)
    return "same" if same else "changed" if pinned else "new"


def _describe(key: PKey) -> dict[str, str]:
    return {"type": key.get_name(), "fingerprint": key.fingerprint}

"""Reads a plan: bytes in JSON or YAML to a `Plan`, or every fault of its form at once (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.block_reader import EntryReader, count_steps, list_steps
from app.errors import Fault, Malformed
from app.faults import Faults
from app.inputs import read_given, read_inputs
from app.members import (
    check_keys,
    check_strings,
    read_number,
    read_on_empty,
    read_reason,
    read_text,
    read_user,
    read_whole,
    unalias,
)
from app.plan import (
    MAX_APPROVAL_S,
    MAX_BODY_BYTES,
    MAX_FAILURES,
    MAX_PARALLEL,
    MAX_PLAN_S,
    MAX_STEPS,
    Plan,
)
from app.plan_name import ALLOWED, is_plan_text, read_plan_name
from tool_catalog.document import Document, DocumentError, read_document

MAX_KEY = 200
MAX_NAME = 100

ENVELOPE_KEYS = ("execution_id", "plan", "inputs", "limit", "reason")
PLAN_KEYS = (
    "name",
    "inputs",
    "targets",
    "run_as",
    "max_parallel",
    "max_failures",
    "on_empty",
    "approval_timeout_s",
    "timeout_s",
    "steps",
    "finally",
)
#: Keys of a kept plan beside those of a plan as written: what its request gave.
KEPT_KEYS = ("given", "limit")

_READ_APART = ("steps", "finally", "inputs", "given")
_BESIDE_THE_PLAN = {
    "limit": "it stands beside the plan: {plan: {...}, limit: web-01}",
    "reason": "it stands beside the plan: {plan: {...}, reason: disk full}",
    "execution_id": "it stands beside the plan: {execution_id: ..., plan: {...}}",
    "on_failure": "it is said of a step or a block",
}


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A plan, or the name of a stored one, and what the envelope says beside it."""

    #: None: `stored` names it, and `fill_plan` gives it the rest.
    plan: Plan | None
    #: The caller's own key (`execution_id`).
    key: str | None = None
    #: Values for the plan's inputs; those of `plan` hold them already.
    inputs: Mapping[str, Any] = field(default_factory=dict)
    limit: str | None = None
    #: Why the plan is run.
    reason: str | None = None
    #: NAME or NAME@VERSION of a stored plan.
    stored: str | None = None
    #: Places of the envelope's members in its text.
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def read_request(body: bytes, *, source: str = "request") -> PlanRequest:
    """Read the bare form `{steps: [...]}` or the envelope `{execution_id, plan, inputs, ...}`.

    The envelope's plan is a mapping, the text of a plan, or the name of a stored one.
    Raises Malformed when the text cannot be read, PlanRejected with every fault of its form.
    """
    document = _read_document(body, source)
    return _read_top(document.value, document.places)


def read_plan_text(text: str) -> Plan:
    """A plan from its text in YAML or JSON, without an envelope. Raises as `read_request`."""
    document = _read_document(text, "plan")
    faults = Faults(document.places)
    plan = _read_plan(document.value, faults, kept=False)
    faults.raise_if_any()
    return plan


def read_plan(
    document: Any,  # noqa: ANN401  # any JSON value
    places: Mapping[str, tuple[int, int]] | None = None,
    *,
    kept: bool = True,
) -> Plan:
    """A plan from its JSON form, e.g. one kept in the ledger. Raises PlanRejected.

    A kept one also holds what its request gave: values for inputs, a limit.
    """
    faults = Faults(places or {})
    plan = _read_plan(document, faults, kept=kept)
    faults.raise_if_any()
    return plan


def read_plan_or_text(given: Mapping[str, Any] | str) -> Plan:
    """A plan that a request holds: its text, or the plan itself. Raises as `read_request`."""
    return read_plan_text(given) if isinstance(given, str) else read_plan(given, kept=False)


def fill_plan(plan: Plan, request: PlanRequest, *, stored: tuple[str, int] | None = None) -> Plan:
    """A plan with what a request says beside it; `stored` tells the version it was kept as."""
    asked = {"given": dict(request.inputs), "limit": request.limit}
    return replace(
        plan,
        given=request.inputs,
        limit=request.limit,
        reason=request.reason,
        stored=stored,
        document={**plan.document, **{key: value for key, value in asked.items() if value}},
        places={**plan.places, **request.places},
    )


def _read_document(text: bytes | str, source: str) -> Document:
    size = len(text if isinstance(text, bytes) else text.encode(errors="replace"))
    if size > MAX_BODY_BYTES:
        message = f"{source}: {size:,} bytes; at most {MAX_BODY_BYTES:,} are read"
        hint = "put long texts and files into artifacts, or split the plan"
        raise Malformed(message, hint=hint, faults=[Fault("", "too_large", message, hint=hint)])
    try:
        return read_document(text, source=source)
    except DocumentError as error:
        fault = Fault("", "malformed", error.message, line=error.line, column=error.column)
        raise Malformed(f"{source}: {error.message}", faults=[fault]) from None


def _read_top(value: Any, places: Mapping[str, tuple[int, int]]) -> PlanRequest:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping) or not set(value) & {"execution_id", "plan"}:
        faults = Faults(places)
        plan = _read_plan(value, faults, kept=False)
        faults.raise_if_any()
        return PlanRequest(plan)
    top = Faults({path: at for path, at in places.items() if not path.startswith("plan.")})
    check_keys(value, ENVELOPE_KEYS, top)
    given = value.get("plan")
    request = PlanRequest(
        plan=None,
        key=_read_key(value.get("execution_id"), top),
        inputs=read_given(value.get("inputs"), top),
        limit=read_text(value, "limit", top),
        reason=read_reason(value, top),
        stored=None if is_plan_text(given) else _read_stored(given, top),
        places={at: place for at, place in top.places.items() if at != ""},
    )
    if isinstance(given, str) and is_plan_text(given):
        top.raise_if_any()
        # Places are those of the plan's own text: those around it would be taken for its lines.
        plan = fill_plan(read_plan_text(given), replace(request, places={}))
        return replace(request, plan=plan)
    if request.stored is None and "plan" in value:
        inner = {path.removeprefix("plan."): at for path, at in places.items()
                 if path.startswith("plan.")}  # fmt: skip
        faults = Faults({**inner, "": places["plan"]}, top.found)
        plan = _read_plan(given, faults, kept=False)
        request = replace(request, plan=fill_plan(plan, request))
    top.raise_if_any()
    return request


def _read_stored(value: Any, faults: Faults) -> str | None:  # noqa: ANN401  # any JSON value
    if value is None:
        hint = "{execution_id, plan: {steps: [...]}}, or the name of a stored plan"
        faults.add("plan", "missing", "the envelope has no 'plan'", hint=hint)
    if not isinstance(value, str):
        return None
    if read_plan_name(value) is None:
        allowed = f"NAME or NAME@VERSION; a name is {ALLOWED}"
        message = "'plan' names no stored plan"
        faults.add("plan", "bad_format", message, given=value, allowed=allowed)
    return value


def _read_key(value: Any, faults: Faults) -> str | None:  # noqa: ANN401  # any JSON value
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MAX_KEY and value.isprintable():
        return value
    faults.add(
        "execution_id",
        "bad_format",
        "'execution_id' is no key: it is the caller's own name for this execution",
        given=value,
        allowed=f"text of 1 to {MAX_KEY} printable characters",
    )
    return None


def _read_plan(value: Any, faults: Faults, *, kept: bool) -> Plan:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping):
        faults.add("", "wrong_type", "a plan is a mapping", given=value, allowed="{steps: [...]}")
        return Plan(())
    known = (*PLAN_KEYS, *KEPT_KEYS) if kept else PLAN_KEYS
    check_keys(value, known, faults, _BESIDE_THE_PLAN)
    members = unalias(value, faults)
    check_strings({k: v for k, v in members.items() if k not in _READ_APART}, "", faults)
    parts = {
        "steps": list_steps(members, "steps", faults),
        "finally": list_steps(members, "finally", faults) if members.get("finally") else (),
    }
    count = sum(map(count_steps, parts.values()))
    if count > MAX_STEPS:
        faults.add(
            "steps", "too_many", f"{count:,} steps", given=count, allowed=f"at most {MAX_STEPS:,}"
        )
        return Plan(())
    reader = EntryReader()
    read = {part: reader.read(values, part, faults) for part, values in parts.items()}
    shown = {key: members[key] for key in known if key in members}
    shown |= {part: documents for part, (_, documents) in read.items() if documents}
    return Plan(
        steps=tuple(read["steps"][0]),
        finally_steps=tuple(read["finally"][0]),
        document=shown,
        places=faults.places,
        **_read_members(members, faults),
    )


def _read_members(members: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """What a plan says beside its steps."""
    return {
        "name": read_text(members, "name", faults, limit=MAX_NAME),
        "targets": members.get("targets"),
        "inputs": read_inputs(members.get("inputs"), faults),
        "given": read_given(members.get("given"), faults),
        "limit": read_text(members, "limit", faults),
        "run_as": read_user(members, "run_as", faults),
        "max_parallel": read_whole(members, "max_parallel", faults, limits=(1, MAX_PARALLEL)),
        "max_failures": read_whole(members, "max_failures", faults, limits=(0, MAX_FAILURES)),
        "on_empty": read_on_empty(members, faults) or "fail",
        "approval_timeout_s": read_number(
            members, "approval_timeout_s", faults, limits=(1, MAX_APPROVAL_S)
        ),
        "timeout_s": read_number(members, "timeout_s", faults, limits=(1, MAX_PLAN_S)),
    }

"""Reads a plan: bytes in JSON or YAML to a `Plan`, or every fault of its form at once (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import Fault, Malformed
from app.faults import Faults
from app.members import check_keys, check_strings, read_text, unalias
from app.plan import LATER_KEYS, MAX_BODY_BYTES, MAX_STEPS, Plan, PlanStep
from app.step_reader import name_step, read_step
from tool_catalog.document import DocumentError, read_document

MAX_KEY = 200
MAX_NAME = 100

ENVELOPE_KEYS = ("execution_id", "plan")
PLAN_KEYS = ("name", "targets", "steps", "finally")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A plan, and the caller's own key for it (the envelope's `execution_id`)."""

    plan: Plan
    key: str | None = None


def read_request(body: bytes, *, source: str = "request") -> PlanRequest:
    """Read the bare form `{steps: [...]}` or the envelope `{execution_id, plan}`.

    Raises Malformed when the text cannot be read, PlanRejected with every fault of its form.
    """
    if len(body) > MAX_BODY_BYTES:
        message = f"{source}: {len(body):,} bytes; at most {MAX_BODY_BYTES:,} are read"
        hint = "put long texts and files into artifacts, or split the plan"
        raise Malformed(message, hint=hint, faults=[_body_fault(message, hint, "too_large")])
    try:
        document = read_document(body, source=source)
    except DocumentError as error:
        fault = Fault("", "malformed", error.message, line=error.line, column=error.column)
        raise Malformed(f"{source}: {error.message}", faults=[fault]) from None
    return _read_top(document.value, document.places)


def read_plan(document: Any, places: Mapping[str, tuple[int, int]] | None = None) -> Plan:  # noqa: ANN401  # any JSON value
    """A plan from its JSON form, e.g. one kept in the ledger. Raises PlanRejected."""
    faults = Faults(places or {})
    plan = _read_plan(document, faults)
    faults.raise_if_any()
    return plan


def _body_fault(message: str, hint: str, code: str) -> Fault:
    return Fault("", code, message, hint=hint)


def _read_top(value: Any, places: Mapping[str, tuple[int, int]]) -> PlanRequest:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping) or not set(value) & set(ENVELOPE_KEYS):
        return PlanRequest(read_plan(value, places))
    top = Faults(places)
    check_keys(value, ENVELOPE_KEYS, (), top)
    key = _read_key(value.get("execution_id"), top)
    inner = {path.removeprefix("plan."): at for path, at in places.items() if path != ""}
    faults = Faults({**inner, "": places.get("plan", (1, 1))}, top.found)
    if "plan" not in value:
        top.add(
            "plan",
            "missing",
            "the envelope has no 'plan'",
            hint="{execution_id, plan: {steps: [...]}}",
        )
    plan = _read_plan(value.get("plan"), faults) if "plan" in value else Plan(())
    faults.raise_if_any()
    return PlanRequest(plan, key)


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


def _read_plan(value: Any, faults: Faults) -> Plan:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping):
        faults.add("", "wrong_type", "a plan is a mapping", given=value, allowed="{steps: [...]}")
        return Plan(())
    check_keys(value, PLAN_KEYS, LATER_KEYS["plan"], faults)
    document = unalias(value, faults)
    check_strings({key: document.get(key) for key in ("name", "targets")}, "", faults)
    steps, finally_steps = (_list_steps(document, part, faults) for part in ("steps", "finally"))
    count = len(steps) + len(finally_steps)
    if count > MAX_STEPS:
        faults.add(
            "steps", "too_many", f"{count:,} steps", given=count, allowed=f"at most {MAX_STEPS:,}"
        )
        return Plan(())
    main = _read_steps(steps, "steps", 1, faults)
    last = _read_steps(finally_steps, "finally", len(steps) + 1, faults)
    shown = {key: document[key] for key in ("name", "targets") if document.get(key) is not None}
    shown["steps"] = [document for _, document in main]
    if last:
        shown["finally"] = [document for _, document in last]
    return Plan(
        steps=tuple(step for step, _ in main),
        name=read_text(document, "name", faults, limit=MAX_NAME),
        targets=document.get("targets"),
        finally_steps=tuple(step for step, _ in last),
        document=shown,
        places=faults.places,
    )


def _list_steps(plan: Mapping[str, Any], part: str, faults: Faults) -> Sequence[Any]:
    value = plan.get(part)
    if value is None and part == "finally":
        return ()
    if isinstance(value, list) and (value or part == "finally"):
        return value
    if part not in plan or value in (None, []):
        faults.add(part, "missing", f"the plan has no {part}", hint="steps: [{tool: df}]")
    else:
        faults.add(
            part, "wrong_type", f"{part!r} is not a list", given=value, allowed="a list of steps"
        )
    return ()


def _read_steps(
    values: Sequence[Any], part: str, first: int, faults: Faults
) -> list[tuple[PlanStep, dict[str, Any]]]:
    return [
        read_step(value, faults.at(f"{part}[{index}]", name_step(first + index, value)))
        for index, value in enumerate(values)
    ]

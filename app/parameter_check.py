"""Checks the parameters of a step: values, references, secrets (pure)."""

from collections.abc import Mapping
from typing import Any

from app.errors import ExpressionError
from app.faults import join_path
from app.render import (
    ARTIFACT,
    LITERAL,
    REFERENCE_KEYS,
    SECRET,
    find_references,
    has_expression,
    knows_names,
    render_value,
)
from app.surroundings import Draft, Scene
from tool_catalog.names import did_you_mean, shorten, suggest
from tool_catalog.params import ParameterFault, check_names, check_parameters


def check_whole(draft: Draft, context: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to run with, rendered with `context`; notes every fault."""
    try:
        given = render_value(draft.step.parameters, context)
    except ExpressionError as error:
        draft.faults.add("parameters", "expression", str(error))
        return {}
    values, faults = check_parameters(draft.operation, given)
    for fault in faults:
        _note(draft, fault)
    return values


def check_partly(draft: Draft) -> dict[str, Any]:
    """The parameters that are known now; rules over several of them wait for the others."""
    given = draft.step.parameters
    named, unknown_names = check_names(draft.operation, given)
    later = {name for name, value in named.items() if not knows_names(value, draft.context)}
    known = {key: value for key, value in given.items() if knows_names(value, draft.context)}
    try:
        values, faults = check_parameters(draft.operation, render_value(known, draft.context))
    except ExpressionError as error:
        draft.faults.add("parameters", "expression", str(error))
        return {}
    kept = [fault for fault in faults if fault.path not in later and fault.code != "rule"]
    seen = {fault.path for fault in kept}
    kept += [fault for fault in unknown_names if fault.path not in seen]
    for fault in kept:
        _note(draft, fault)
    return {name: value for name, value in values.items() if name not in later}


def find_secrets(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the secrets that parameters, as written in the plan, refer to."""
    held = (value for _, key, value in find_references(parameters) if key == SECRET)
    return tuple(dict.fromkeys(str(name) for name in held))


def _note(draft: Draft, fault: ParameterFault) -> None:
    draft.faults.add(
        join_path("parameters", fault.path),
        fault.code,
        fault.message,
        shown=fault.given,
        allowed=fault.allowed,
        hint=fault.hint,
    )


def check_references(draft: Draft, scene: Scene) -> tuple[str, ...]:
    """The names of the secrets that the parameters refer to; notes every bad `$` key."""
    for path, key, value in find_references(draft.step.parameters, "parameters"):
        if draft.faults.has(path):
            continue
        if key not in REFERENCE_KEYS:
            draft.faults.add(
                path,
                "unknown_reference",
                f"no reference {shorten(key)!r}{did_you_mean(suggest(key, REFERENCE_KEYS))}",
                shown=shorten(key),
                allowed=REFERENCE_KEYS,
                hint=f"to mean a mapping with that key, write {{{LITERAL}: ...}} around it",
            )
        elif key == LITERAL:
            _check_literal(draft, path, value)
        elif key == SECRET:
            _check_secret(draft, path, value, scene)
        elif key == ARTIFACT and not isinstance(value, str):
            message = f"{ARTIFACT} takes the id of an artifact"
            draft.faults.add(path, "wrong_type", message, given=value, allowed="text")
    return find_secrets(draft.step.parameters)


def _check_literal(draft: Draft, path: str, value: Any) -> None:  # noqa: ANN401  # any JSON value
    """A worker would take a reference inside a literal for one of the plan."""
    held = [key for _, key, _ in find_references({"": value}) if key in {SECRET, ARTIFACT}]
    for key in held:
        message = f"a literal cannot hold a mapping with the key {key}"
        draft.faults.add(path, "unknown_reference", message, shown=key)


def _check_secret(draft: Draft, path: str, name: Any, scene: Scene) -> None:  # noqa: ANN401  # any JSON value
    if not isinstance(name, str) or has_expression(name):
        message = f"{SECRET} takes the name of a secret, written out"
        draft.faults.add(path, "wrong_type", message, allowed="the name of a secret")
        return
    if name in scene.secret_names:
        return
    near = did_you_mean(suggest(name, scene.secret_names))
    draft.faults.add(
        path,
        "unknown_secret",
        f"no secret {shorten(name)!r}{near}",
        shown=shorten(name),
        hint=f"opsfarm secrets set {shorten(name)}",
    )

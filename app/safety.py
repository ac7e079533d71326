"""What a step would do to the world, whether it may, and whose yes it needs (pure).

Closed when unsure: an entry of the policy that could be widened is refused when it is read,
and a command that fits no entry keeps the effect of its operation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.approval_policy import (
    ApprovalRule,
    Members,
    Select,
    check_rules,
    find_members,
    find_need,
)
from app.errors import ConfigError
from app.limits import MAX_RULES, LimitRule
from app.plan import CheckedStep, Need
from app.principal import Principal
from app.step import Target
from tool_catalog.document import DocumentError, read_document
from tool_catalog.model import Effect, Operation

DEFAULT_POLICY = Path(__file__).with_name("policy.yaml")

#: What a `*` may stand for: a file name or a word, never a path, an option or a pattern.
_REST = re.compile(r"(?!-)[A-Za-z0-9_.:@+-]+")
_SEVERITY = (Effect.READ, Effect.CHANGE, Effect.DESTROY)


def _check_item(item: str) -> str:
    stem = item.removesuffix("*")
    if not item or not item.isprintable() or "*" in stem:
        raise ValueError(f"{item!r}: a '*' may stand only at the end of an item")
    if stem != item and (not stem or stem.startswith("-") or ".." in stem):
        raise ValueError(f"{item!r}: text must stand before the '*', and no option")
    return item


def _check_program(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or argv[0].endswith("*"):
        raise ValueError("a command begins with the name of its program, without '*'")
    return argv


class CommandRule(BaseModel):
    """One command that does less than `command` as a whole may do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    argv: Annotated[
        tuple[Annotated[str, AfterValidator(_check_item)], ...], AfterValidator(_check_program)
    ]
    effect: Effect

    def fits(self, argv: list[str]) -> bool:
        """Whether a command is exactly this one, `*` at an item's end standing for one name."""
        return len(argv) == len(self.argv) and all(map(_fits_item, self.argv, argv))


class Policy(BaseModel):
    """What the farm's owner allows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    #: Whether steps may run on the worker's own host.
    local: Literal["allow", "deny"] = "allow"
    command: tuple[CommandRule, ...] = ()
    #: The first rule that fits decides; none fits: no approval.
    approval: tuple[ApprovalRule, ...] = ()
    #: Names of principals, by group.
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    #: How many steps may run at once, and how often one may begin: every rule that fits counts.
    limits: Annotated[tuple[LimitRule, ...], Field(max_length=MAX_RULES)] = ()

    @model_validator(mode="after")
    def _check_approval(self) -> Self:
        check_rules(self.approval, self.groups)
        return self


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a step may run; `fault` and `hint` say why not and what to do."""

    allowed: bool
    fault: str = ""
    hint: str = ""
    #: Whose yes it needs first.
    need: Need | None = None


def read_policy(path: Path | None = None) -> Policy:
    """The policy in `path`, or the one that comes with opsfarm. Raises ConfigError."""
    path = path or DEFAULT_POLICY
    try:
        value = read_document(path.read_bytes(), source=str(path)).value
        return Policy.model_validate_json(json.dumps(value))
    except OSError as error:
        raise ConfigError(f"policy {path}: {error.strerror}; see OPSFARM_POLICY_FILE") from None
    except DocumentError as error:
        raise ConfigError(f"policy {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"policy {path}: {place}: {first['msg']}") from None


def effect_of(operation: Operation, parameters: Mapping[str, Any], policy: Policy) -> Effect:
    """The effect of an operation with these (checked) parameters.

    `destroy_if` raises it; the policy's commands lower it where the caller writes the argv.
    """
    if any(_holds(condition, parameters) for condition in operation.destroy_if):
        return Effect.DESTROY
    if not _caller_writes_argv(operation) or not _is_bare(operation, parameters):
        return operation.effect
    argv = parameters.get("argv")
    if isinstance(argv, list) and all(isinstance(item, str) for item in argv):
        for rule in policy.command:
            if rule.fits(argv):
                return min(rule.effect, operation.effect, key=_SEVERITY.index)
    return operation.effect


def judge_target(target: Target | None, policy: Policy) -> Verdict:
    """Whether a step may act on this target at all."""
    if target is not None and target.asset_id is None and policy.local == "deny":
        hint = "name an asset as its target ('opsfarm assets list')"
        return Verdict(False, fault="policy forbids to run on the worker's own host", hint=hint)
    return Verdict(True)


def judge_all(
    steps: Sequence[CheckedStep], policy: Policy, principal: Principal, select: Select
) -> list[tuple[CheckedStep, Verdict]]:
    """Each step, with the approval that it needs, and whether the principal may run it.

    Asked at submit, and when a step is due; `select` finds the assets that a rule's selector means.
    """
    members = find_members(steps, policy.approval, select)
    judged = [(step, judge(step, policy, principal, members)) for step in steps]
    return [(replace(step, approval=verdict.need), verdict) for step, verdict in judged]


def judge(step: CheckedStep, policy: Policy, principal: Principal, members: Members) -> Verdict:
    """Whether a principal may run a checked step, and whose yes it needs."""
    if not principal.may_submit:
        hint = "ask an admin for a key with the role operator"
        fault = f"{principal.name} is {principal.role}, and may look but not run plans"
        return Verdict(False, fault=fault, hint=hint)
    for row in step.rows:
        verdict = judge_target(row.target, policy)
        if not verdict.allowed:
            return verdict
    return Verdict(True, need=find_need(step, policy.approval, members))


def _fits_item(pattern: str, item: str) -> bool:
    if not pattern.endswith("*"):
        return item == pattern
    stem = pattern[:-1]
    rest = item[len(stem) :]
    return item.startswith(stem) and ".." not in rest and _REST.fullmatch(rest) is not None


def _caller_writes_argv(operation: Operation) -> bool:
    """Whether the whole argv is the parameter `argv`, as in the tool `command`."""
    items = operation.argv or ()
    return len(items) == 1 and isinstance(items[0], Mapping) and "argv" in items[0].values()


def _is_bare(operation: Operation, parameters: Mapping[str, Any]) -> bool:
    """Whether nothing but the argv was given: input or environment could widen a command."""
    return all(
        name == "argv" or value is None or value == _default(operation, name)
        for name, value in parameters.items()
    )


def _default(operation: Operation, name: str) -> Any:  # noqa: ANN401  # any JSON value
    parameter = operation.parameters.get(name)
    return None if parameter is None else parameter.default


def _holds(condition: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Every parameter of a condition has the value, one of the values, or fits `{pattern}`."""
    return all(_fits_value(wanted, parameters.get(name)) for name, wanted in condition.items())


def _fits_value(wanted: Any, value: Any) -> bool:  # noqa: ANN401  # any JSON value
    if isinstance(value, list):
        return any(_fits_value(wanted, item) for item in value)
    if isinstance(wanted, Mapping) and "pattern" in wanted:
        return value is not None and re.fullmatch(str(wanted["pattern"]), str(value)) is not None
    if isinstance(wanted, list | tuple):
        return value in wanted
    return bool(value == wanted)

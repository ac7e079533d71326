"""Expressions: found, checked without running them, and rendered (pure).

A string that is exactly one `{{ ... }}` keeps its type; any other template gives text. What
comes out is never read as a template again.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser
from jinja2.runtime import Undefined

from app.errors import ExpressionError
from app.expression_tree import ROOTS, Reference, check_tree
from app.faults import join_path
from app.plan import MAX_TEMPLATE
from app.sandbox import BUDGET, MAX_RESULT, Budget, ExpressionEnvironment

_ENVIRONMENT = ExpressionEnvironment()
_MARKER = re.compile(r"\{[{%#]")

#: `{$literal: ...}` is a value that is taken as it stands; the others are for the worker.
LITERAL, SECRET, ARTIFACT = "$literal", "$secret", "$artifact"
REFERENCE_KEYS = (LITERAL, SECRET, ARTIFACT)

#: What Jinja2 and the operators in it raise; a template can reach nothing that raises more.
_RENDER_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


def has_expression(value: Any) -> bool:  # noqa: ANN401  # any JSON value
    """Whether anything in `value` is a template."""
    return next(find_expressions(value), None) is not None


def find_expressions(value: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  # any JSON value
    """Each template in `value` with its path."""
    if isinstance(value, str):
        if _MARKER.search(value):
            yield path, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from find_expressions(item, f"{path}[{index}]")
    elif isinstance(value, Mapping) and not (LITERAL in value or SECRET in value):
        for key, item in value.items():
            yield from find_expressions(item, join_path(path, key))


def find_references(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:  # noqa: ANN401  # any JSON value
    """Each key that begins with `$`: (path of its mapping, key, its value)."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key.startswith("$"):
                yield path, key, item
            if key != LITERAL:
                yield from find_references(item, join_path(path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from find_references(item, f"{path}[{index}]")


@lru_cache(maxsize=4096)
def inspect_template(text: str) -> tuple[Reference, ...]:
    """What a template refers to. Raises ExpressionError for what it may not do."""
    return check_tree(_parse_template(text))


@lru_cache(maxsize=4096)
def inspect_condition(text: str, roots: tuple[str, ...] = ROOTS) -> tuple[Reference, ...]:
    """What a bare expression (`when`) refers to. Raises ExpressionError."""
    return check_tree(_parse_condition(text), roots)


def knows_names(value: Any, context: Mapping[str, Any]) -> bool:  # noqa: ANN401  # any JSON value
    """Whether every expression in `value` names only what `context` holds."""
    return all(_knows(inspect_template, text, context) for _, text in find_expressions(value))


def knows_condition(text: str, context: Mapping[str, Any]) -> bool:
    """Whether a bare expression names only what `context` holds."""
    return _knows(inspect_condition, text, context)


def _knows(
    inspect: Callable[[str], tuple[Reference, ...]], text: str, context: Mapping[str, Any]
) -> bool:
    try:
        references = inspect(text)
    except ExpressionError:
        return False  # noted where expressions are checked
    return all(
        reference.root in context
        and (reference.root != "inputs" or _names_member(reference, context["inputs"]))
        for reference in references
    )


def _names_member(reference: Reference, values: Mapping[str, Any]) -> bool:
    return bool(reference.parts) and reference.parts[0] in values


def is_single_expression(text: str) -> bool:
    """Whether a template is exactly one `{{ ... }}`."""
    return _only_expression(_parse_template(text)) is not None


def render_value(value: Any, context: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    """`value` with its templates rendered and its literals unwrapped. Raises ExpressionError."""
    budget = Budget()
    rendered = _render(value, {**context, BUDGET: budget})
    _measure(rendered)
    return rendered


def evaluate_condition(
    text: str, context: Mapping[str, Any], roots: tuple[str, ...] = ROOTS
) -> bool:
    """Whether a bare expression holds. Raises ExpressionError."""
    return bool(_run(_compile_condition(text, roots), {**context, BUDGET: Budget()}, text))


def _render(value: Any, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, str):
        return _render_text(value, variables) if _MARKER.search(value) else value
    if isinstance(value, list | tuple):
        return [_render(item, variables) for item in value]
    if not isinstance(value, Mapping) or SECRET in value:
        return value
    if LITERAL in value:
        return value[LITERAL]
    return {key: _render(item, variables) for key, item in value.items()}


def _render_text(text: str, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    compiled = _compile_template(text)
    if isinstance(compiled, TemplateExpression):
        return _run(compiled, variables, text)
    try:
        return _collect(compiled.generate(variables))
    except _RENDER_ERRORS as error:
        raise ExpressionError(f"{_short(text)}: {error}") from None


def _run(compiled: TemplateExpression, variables: Mapping[str, Any], text: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        value = _as_data(compiled(variables), [MAX_RESULT])
    except _RENDER_ERRORS as error:
        raise ExpressionError(f"{_short(text)}: {error}") from None
    held = next(find_references(value), None)
    if held is not None:
        # Else the output of a tool could name a secret.
        raise ExpressionError(f"{_short(text)}: it gives a reference ({held[1]}); write that out")
    return value


def _collect(chunks: Iterable[str]) -> str:
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_RESULT:
            raise ValueError(f"the result is larger than {MAX_RESULT // 1024} KiB")
        parts.append(chunk)
    return "".join(parts)


def _as_data(value: Any, room: list[int]) -> Any:  # noqa: ANN401  # any JSON value
    """Plain JSON data; `room` counts down so that a result that refers to itself ends, too."""
    if isinstance(value, Undefined):
        str(value)  # raises, naming what is missing
    room[0] -= len(value) if isinstance(value, str) else 1
    if room[0] < 0:
        raise ValueError(f"the result is larger than {MAX_RESULT // 1024} KiB")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number")
        return value
    if isinstance(value, Mapping):
        return {str(key): _as_data(item, room) for key, item in value.items()}
    if callable(value) or not isinstance(value, Iterable):
        raise TypeError("it gives no data; a method needs its ()")
    return [_as_data(item, room) for item in value]


def _measure(value: Any) -> None:  # noqa: ANN401  # any JSON value
    try:
        _as_data(value, [MAX_RESULT])
    except ValueError as error:
        raise ExpressionError(f"rendered parameters: {error}") from None


@lru_cache(maxsize=1024)
def _compile_template(text: str) -> Template | TemplateExpression:
    tree = _parse_template(text)
    check_tree(tree)
    single = _only_expression(tree)
    if single is not None:
        return _compile_expression(single)
    return _ENVIRONMENT.from_string(tree)


@lru_cache(maxsize=1024)
def _compile_condition(text: str, roots: tuple[str, ...]) -> TemplateExpression:
    tree = _parse_condition(text)
    check_tree(tree, roots)
    return _compile_expression(tree)


def _compile_expression(expression: nodes.Expr) -> TemplateExpression:
    # What Environment.compile_expression does, for a tree that is already parsed and checked.
    store = nodes.Assign(nodes.Name("result", "store", lineno=1), expression, lineno=1)
    tree = nodes.Template([store], lineno=1)
    return TemplateExpression(_ENVIRONMENT.from_string(tree), undefined_to_none=False)


def _parse_template(text: str) -> nodes.Template:
    _check_length(text)
    try:
        return _ENVIRONMENT.parse(text)
    except TemplateError as error:
        raise ExpressionError(f"{_short(text)}: {error.message}") from None
    except RecursionError:
        raise ExpressionError(f"{_short(text)}: nested too deeply") from None


def _parse_condition(text: str) -> nodes.Expr:
    _check_length(text)
    if _MARKER.search(text):
        raise ExpressionError(f"{_short(text)}: 'when' is a bare expression, without braces")
    try:
        parser = Parser(_ENVIRONMENT, text, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            parser.fail("text after the end of the expression")
    except TemplateError as error:
        raise ExpressionError(f"{_short(text)}: {error.message}") from None
    except RecursionError:
        raise ExpressionError(f"{_short(text)}: nested too deeply") from None
    return expression


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return None if len(parts) != 1 or isinstance(parts[0], nodes.TemplateData) else parts[0]


def _check_length(text: str) -> None:
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(
            f"a template of {len(text):,} characters; at most {MAX_TEMPLATE:,}"
            " (text without expressions may be longer)"
        )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004  # fits a line

"""The Jinja2 environment of expressions: what they may name, and what they may cost.

Built from allow-lists: data goes in, data comes out. No statement but `if` and `for`, no
filter or method that can blow a value up, no attribute of Python's own.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_context, pass_environment
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.filters import do_sum
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS

MAX_RESULT = 256 * 1024
#: Items and characters that one rendering may touch; some tenths of a second.
MAX_COST = 1_000_000
MAX_RANGE = 10_000
MAX_BITS = 256

#: Where a rendering keeps its budget; no template can spell the name.
BUDGET = "(budget)"
_CHARGE = "(charge)"

_KEPT_METHODS: Mapping[type, str] = {
    str: "split rsplit splitlines strip lstrip rstrip startswith endswith upper lower title find "
    "count removeprefix removesuffix isdigit",
    dict: "get items keys values",
    list: "index count",
    LoopContext: "index index0 first last length revindex",
}
_KEPT_FILTERS = (
    "abs capitalize count d default dictsort filesizeformat first float int items last length list "
    "lower map max min reject rejectattr reverse select selectattr sort title trim truncate "
    "unique upper wordcount"
)
_KEPT_TESTS = (
    "boolean defined divisibleby eq equalto even false float ge greaterthan gt integer iterable le "
    "lessthan lower lt mapping ne none number odd sequence string true undefined upper == != < <= "
    "> >="
)


METHODS = {kind: frozenset(names.split()) for kind, names in _KEPT_METHODS.items()}
METHOD_NAMES = METHODS[str] | METHODS[dict] | METHODS[list]


class Budget:
    """What a rendering may still cost."""

    __slots__ = ("left",)

    def __init__(self, cost: int = MAX_COST) -> None:
        self.left = cost

    def spend(self, amount: int) -> None:
        """Take `amount` off; raises SecurityError when it is used up."""
        self.left -= amount
        if self.left < 0:
            raise SecurityError(f"it touches more than {MAX_COST:,} items and characters")


def as_text(value: Any) -> Any:  # noqa: ANN401  # any value of an expression
    """A value inside a text: text as it is, everything else as JSON."""
    if isinstance(value, str | Undefined):
        return value
    if isinstance(value, Iterator):
        value = list(value)
    return json.dumps(value, ensure_ascii=False)


@pass_context
def _charge(context: Context, value: Any) -> Any:  # noqa: ANN401  # any value of an expression
    budget: Budget = context[BUDGET]
    if isinstance(value, Iterator):
        return _count(budget, value)
    budget.spend(len(value) + 1 if isinstance(value, str | list | tuple | dict | range) else 1)
    return value


def _count(budget: Budget, items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        budget.spend(1)
        yield item


def _join(items: Iterable[Any], separator: str = "") -> str:
    parts = [as_text(item) for item in items]
    _cap(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _replace(text: str, old: str, new: str) -> str:
    _cap(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new)


def _round(number: float, digits: int = 0) -> float:
    return round(number, digits) if digits else round(number)


@pass_environment
def _sum(environment: Environment, items: Iterable[Any], attribute: str | None = None) -> Any:  # noqa: ANN401  # a number
    return do_sum(environment, items, attribute)


@pass_context
def _is_in(context: Context, value: Any, container: Any) -> bool:  # noqa: ANN401  # any value of an expression
    return value in _charge(context, container)


def _range(*limits: int) -> range:
    numbers = range(*limits)
    if len(numbers) > MAX_RANGE:
        raise SecurityError(f"range() gives more than {MAX_RANGE:,} numbers")
    return numbers


def _cap(size: int) -> None:
    if size > MAX_RESULT:
        raise SecurityError(f"the result is larger than {MAX_RESULT // 1024} KiB")


FILTERS: Mapping[str, Any] = {
    **{name: JINJA_FILTERS[name] for name in _KEPT_FILTERS.split()},
    "join": _join,
    "replace": _replace,
    "round": _round,
    "string": as_text,
    "sum": _sum,
    "tojson": lambda value: json.dumps(value, ensure_ascii=False),
}
TESTS: Mapping[str, Any] = {
    **{name: JINJA_TESTS[name] for name in _KEPT_TESTS.split()},
    "in": _is_in,
}


#: Members of a node whose cost grows with the data in them.
_COSTLY: Mapping[type[nodes.Node], tuple[str, ...]] = {
    nodes.For: ("iter",),
    nodes.Filter: ("node",),
    nodes.Compare: ("expr",),
    nodes.Operand: ("expr",),
    nodes.Add: ("left", "right"),
}


def _put_price_tags(node: nodes.Node) -> None:
    for child in node.iter_child_nodes():
        _put_price_tags(child)
    for member in _COSTLY.get(type(node), ()):
        setattr(node, member, _charged(getattr(node, member)))
    if isinstance(node, nodes.Concat):
        node.nodes = [_charged(part) for part in node.nodes]
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        node.node.node = _charged(node.node.node)


def _charged(node: nodes.Expr) -> nodes.Expr:
    return nodes.Filter(
        node, _CHARGE, [], [], None, None, lineno=node.lineno, environment=node.environment
    )


class ExpressionEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2 with nothing in it but data, the kept filters and tests, and `range`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, finalize=as_text)
        self.filters = {**FILTERS, _CHARGE: _charge}
        self.tests = dict(TESTS)
        self.globals = {"range": _range}

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401  # handed on
        # Jinja's own hook: whatever is compiled passes here.
        _put_price_tags(source)
        return super()._generate(source, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401  # any value of an expression
        """A member of a mapping, or one of the few methods; nothing else of Python."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if any(isinstance(obj, kind) and attribute in METHODS[kind] for kind in METHODS):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401  # any value of an expression
        """An item of a mapping, list or text."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401  # any value of an expression
        """`*` and `%` for numbers only, `**` never, `+` with a limit."""
        if operator == "+":
            _cap(sum(len(side) for side in (left, right) if isinstance(side, str | list)))
        elif operator == "**" or not _are_small_numbers(left, right):
            raise SecurityError(f"'{operator}' works on numbers of ordinary size only")
        return super().call_binop(context, operator, left, right)


def _are_small_numbers(*values: object) -> bool:
    return all(
        isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= MAX_BITS)
        for value in values
    )

"""Reads the syntax tree of an expression: what it refers to, and that it stays within bounds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jinja2 import nodes

from app.errors import ExpressionError
from app.sandbox import FILTERS, METHOD_NAMES, TESTS
from tool_catalog.names import did_you_mean, suggest

MAX_NESTING = 50
MAX_LOOPS = 2
ROOTS = ("steps", "execution", "inputs", "item")

_PLAIN = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Slice,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Neg,
    nodes.Pos,
    nodes.Concat,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place that an expression reads: `steps.disk.results[0]` is steps, (disk, results, 0)."""

    root: str
    #: A member's name, an index, or None where it is computed.
    parts: tuple[str | int | None, ...]

    def __str__(self) -> str:
        shown = "".join(f".{p}" if isinstance(p, str) else f"[{p or 0}]" for p in self.parts)
        return self.root + shown


def check_tree(tree: nodes.Node, roots: tuple[str, ...] = ROOTS) -> tuple[Reference, ...]:
    """Every reference of the tree, outermost first; `roots` are the names that it may use.

    Raises ExpressionError.
    """
    return tuple(dict.fromkeys(_Walk(roots).visit(tree, frozenset(), 0)))


class _Walk:
    """One walk over a tree; `scope` holds the names of the loops around a node."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._loops = 0

    def visit(self, node: nodes.Node, scope: frozenset[str], depth: int) -> Iterator[Reference]:
        if depth > MAX_NESTING:
            raise ExpressionError(f"nested more than {MAX_NESTING} deep")
        if isinstance(node, nodes.For):
            yield from self._visit_for(node, scope, depth)
        elif isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
            yield from self._visit_access(node, scope, depth)
        elif isinstance(node, nodes.Call):
            yield from self._visit_call(node, scope, depth)
        else:
            _check_kind(node)
            yield from self._visit_all(node.iter_child_nodes(), scope, depth)

    def _visit_all(
        self, children: Iterable[nodes.Node], scope: frozenset[str], depth: int
    ) -> Iterator[Reference]:
        for child in children:
            yield from self.visit(child, scope, depth + 1)

    def _visit_for(self, node: nodes.For, scope: frozenset[str], depth: int) -> Iterator[Reference]:
        self._loops += 1
        if node.recursive or self._loops > MAX_LOOPS:
            raise ExpressionError(f"at most {MAX_LOOPS} loops in one another, none recursive")
        yield from self.visit(node.iter, scope, depth + 1)
        names = {name.name for name in node.target.find_all(nodes.Name)}
        if isinstance(node.target, nodes.Name):
            names.add(node.target.name)
        inner = scope | names | {"loop"}
        body = [*([node.test] if node.test else []), *node.body, *node.else_]
        yield from self._visit_all(body, inner, depth)
        self._loops -= 1

    def _visit_access(
        self, node: nodes.Expr, scope: frozenset[str], depth: int
    ) -> Iterator[Reference]:
        parts: list[str | int | None] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            if isinstance(node, nodes.Getattr):
                parts.append(node.attr)
            else:
                parts.append(_constant(node.arg))
                yield from self.visit(node.arg, scope, depth + 1)
            _refuse_private(parts[-1])
            node = node.node
        if len(parts) > MAX_NESTING:
            raise ExpressionError(f"nested more than {MAX_NESTING} deep")
        if not isinstance(node, nodes.Name):
            yield from self.visit(node, scope, depth + 1)
        elif node.name in self._roots and node.name not in scope:
            yield Reference(node.name, tuple(reversed(parts)))
        elif node.name not in scope:
            raise ExpressionError(
                f"no name {node.name!r} here{did_you_mean(suggest(node.name, self._roots))};"
                f" an expression knows {', '.join(self._roots)}"
            )

    def _visit_call(
        self, node: nodes.Call, scope: frozenset[str], depth: int
    ) -> Iterator[Reference]:
        if node.dyn_args or node.dyn_kwargs:
            raise ExpressionError("* and ** in a call are not allowed")
        called = node.node
        if isinstance(called, nodes.Getattr):
            _refuse_private(called.attr)
            if called.attr not in METHOD_NAMES:
                raise ExpressionError(f"method {called.attr!r} is not allowed in an expression")
            yield from self.visit(called.node, scope, depth + 1)
        elif not (isinstance(called, nodes.Name) and called.name == "range"):
            name = called.name if isinstance(called, nodes.Name) else "this"
            raise ExpressionError(f"{name!r} cannot be called in an expression")
        yield from self._visit_all([*node.args, *node.kwargs], scope, depth)


def _check_kind(node: nodes.Node) -> None:
    if isinstance(node, nodes.Filter):
        _check_known("filter", node.name, FILTERS)
    elif isinstance(node, nodes.Test):
        _check_known("test", node.name, TESTS)
    elif isinstance(node, nodes.Pow):
        raise ExpressionError("** is not allowed in an expression")
    elif not isinstance(node, _PLAIN):
        kind = type(node).__name__.lower()
        raise ExpressionError(f"{kind!r} is not allowed: use {{{{ }}}}, if and for only")
    if isinstance(node, nodes.Filter | nodes.Test):
        for argument in (*node.args, *(pair.value for pair in node.kwargs)):
            _refuse_private(_constant(argument))


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ExpressionError(f"no {kind} {name!r}{did_you_mean(suggest(name, known))}")


def _refuse_private(part: str | int | None) -> None:
    if isinstance(part, str) and any(name.startswith("_") for name in part.split(".")):
        raise ExpressionError(f"{part!r} reaches into Python: expressions see data only")


def _constant(node: nodes.Node) -> str | int | None:
    value = node.value if isinstance(node, nodes.Const) else None
    return value if isinstance(value, str | int) else None

"""What the shell offers after <Tab>: tools, operations, parameters, assets, names of logins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from app.asset import CRITICALITIES, STATUSES, TYPES
from app.cli.ask import Offers, ask, offering
from app.selector import FIELDS
from app.step import LOCAL
from tool_catalog.loader import TOOLS
from tool_catalog.names import normalise

#: What may stand before the name or condition that is being typed.
_JOINTS = ",;|!("
_CHOICES: Mapping[str, Sequence[str]] = {
    "type": TYPES,
    "status": STATUSES,
    "criticality": CRITICALITIES,
}
_HOST_PARAMETERS = ("hostname", "host", "asset")


@offering
def complete_tool(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Offers:
    """Tools of the farm; without one, those that come with opsfarm."""
    start = normalise(incomplete)
    found = ask("/tools").get("tools")
    if found is None:
        return sorted(path.stem for path in TOOLS.rglob("*.yaml") if path.stem.startswith(start))
    return [
        CompletionItem(tool["name"], help=tool["summary"])
        for tool in found
        if tool["name"].startswith(start)
    ]


@offering
def complete_operation(
    context: click.Context, _parameter: click.Parameter, _incomplete: str
) -> Offers:
    """Operations of the tool that stands on the line already."""
    # Behind an option that still lacks its value click has not read the arguments.
    name = context.params.get("tool") or next(iter(context.args), None)
    operations = _tool(name).get("operations", {})
    return [CompletionItem(name, help=each["summary"]) for name, each in operations.items()]


def complete_parameters(tool: str | None = None) -> Callable[..., list[CompletionItem]]:
    """Completes KEY=VALUE for the parameters of a tool; None: of the one on the line."""

    @offering
    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Offers:
        shown = _tool(tool or context.params.get("tool"))
        properties = _properties(shown, context.params.get("operation"))
        given = {pair.partition("=")[0] for pair in context.params.get("parameters") or ()}
        name, equals, value = incomplete.partition("=")
        if equals:
            return [f"{name}={each}" for each in _values(name, properties.get(name, {}), value)]
        return [
            CompletionItem(f"{key}=", help=schema.get("description"))
            for key, schema in properties.items()
            if key not in given
        ]

    return complete


@offering
def complete_asset(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Offers:
    """Host names."""
    return _hostnames(incomplete)


@offering
def complete_target(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> Offers:
    """Host names, fields and tags with their values: the last part of a selector."""
    cut = max((incomplete.rfind(joint) for joint in _JOINTS), default=-1) + 1
    before, part = incomplete[:cut], incomplete[cut:]
    if before.endswith("|"):  # another value of the same condition
        condition = before[max(map(before[:-1].rfind, ",;!("), default=-1) + 1 :]
        part = condition.partition("=")[0] + "=" + part
        before = before[: -len(condition)] + condition
        return [before + each.partition("=")[2] for each in _conditions(part)]
    return [before + each for each in _parts(part)]


@offering
def complete_secret(
    _context: click.Context, _parameter: click.Parameter, _incomplete: str
) -> Offers:
    """Names of secrets."""
    return [entry["name"] for entry in ask("/secrets").get("secrets", ())]


@offering
def complete_credential(
    _context: click.Context, _parameter: click.Parameter, _incomplete: str
) -> Offers:
    """Names of logins, each with the assets that it serves."""
    return [
        CompletionItem(entry["name"], help=", ".join(entry["hostnames"]))
        for entry in ask("/credentials").get("credentials", ())
    ]


@offering
def complete_execution(
    _context: click.Context, _parameter: click.Parameter, _incomplete: str
) -> Offers:
    """The newest executions of the farm."""
    return [
        CompletionItem(execution["execution_id"], help=f"{execution['name']} {execution['state']}")
        for execution in ask("/executions", limit=50).get("executions", ())
    ]


def _tool(name: str | None) -> Mapping[str, Any]:
    return ask(f"/tools/{quote(name, safe='')}") if name else {}


def _properties(tool: Mapping[str, Any], operation: str | None) -> dict[str, Any]:
    """The parameters of one operation; of all of them, as long as it is not said which."""
    operations: Mapping[str, Mapping[str, Any]] = tool.get("operations", {})
    meant = operation or tool.get("default")
    if meant is not None and meant in operations:
        return dict(operations[meant]["schema"]["properties"])
    return {
        name: schema
        for each in operations.values()
        for name, schema in each["schema"]["properties"].items()
    }


def _values(name: str, schema: Mapping[str, Any], start: str) -> Iterator[str]:
    """What a parameter may be: its choices, truth, or what the inventory knows."""
    yield from _choices(schema)
    if name in _HOST_PARAMETERS or schema.get("format") == "hostname":
        yield from _hostnames(start)
    elif name == "credential":
        yield from (entry["name"] for entry in ask("/credentials").get("credentials", ()))
    elif name in {"environment", "os"}:
        yield from _words("").get("fields", {}).get(name, ())


def _choices(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from schema.get("enum", ())
    if schema.get("type") == "boolean":
        yield from ("true", "false")
    for part in (*schema.get("anyOf", ()), schema.get("items", {})):
        yield from part.get("enum", ())


def _words(prefix: str) -> dict[str, Any]:
    return ask("/assets/words", prefix=prefix)


def _hostnames(prefix: str) -> list[str]:
    found: list[str] = _words(prefix.lower()).get("hostnames", [])
    return found


def _parts(part: str) -> Iterator[str]:
    """Names and the beginnings of conditions; behind `=` the values of one."""
    if "=" in part:
        yield from _conditions(part)
        return
    words = _words(part.lower())
    yield LOCAL.name
    yield from words.get("hostnames", ())
    yield from (f"{name}=" for name in FIELDS)
    yield from (f"tags.{tag}=" for tag in words.get("tags", {}))


def _conditions(part: str) -> Iterator[str]:
    name = part.partition("=")[0]
    words = _words("")
    values = words.get("tags", {}).get(name.removeprefix("tags."), ())
    if not name.startswith("tags."):
        values = _CHOICES.get(name) or words.get("fields", {}).get(name, ())
    yield from (f"{name}={value}" for value in values)

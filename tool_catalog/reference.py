"""The reference under `docs/tools/`: one page a tool and an index, from the tool files alone.

`python -m tool_catalog.reference [FOLDER]` writes it.
"""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from queues import CAPTURE
from tool_catalog.loader import Catalog, load_catalog
from tool_catalog.model import Effect, Example, Operation, Parameter, Rule, Tool
from tool_catalog.values import describe

REFERENCE = Path(__file__).parents[1] / "docs" / "tools"
#: The host that examples act on where they need one.
_TARGET = "web-01"


class _Dumper(yaml.SafeDumper):
    """Plans as people write them: lists indented, several lines as a block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  # PyYAML's signature
        super().increase_indent(flow, False)

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """A block for several lines, plain or quoted otherwise."""
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

_RULES = ("exactly_one", "at_least_one", "at_most_one")
_WHERE = {"worker": "on the worker", "target": "on the target"}
_ROOT = {
    "needed": "Runs as root: the target's credential must say how to become it.",
    "maybe": "May need `run_as: root`, where what it acts on is root's.",
}
#: By folder: what every tool in it was tested against, where that is not the real thing.
_DOUBLES = {
    "network/vapix": (
        "For an Axis device, over HTTP. Tested against a double of one: the connection is real, "
        "what the device is and does is made up. No camera was at hand."
    )
}
_WINDOWS = (
    "For a Windows host, over WinRM. Tested against a double of one: the connection is real, what "
    "PowerShell answers is planted. Nothing was run on Windows."
)


def write_reference(catalog: Catalog, folder: Path) -> list[Path]:
    """Write `<tool>.md` for each tool and README.md; pages of tools that are gone are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{tool.name}.md": render_tool(tool) for tool in catalog.tools.values()}
    pages["README.md"] = _render_index(catalog)
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text)
    return [folder / name for name in pages]


def render_tool(tool: Tool) -> str:
    """A tool's page, Markdown."""
    double = [_DOUBLES[tool.folder]] if tool.folder in _DOUBLES else []
    parts = [f"# {tool.name}", f"{tool.summary}.", *double, _render_operations(tool)]
    for operation in tool.operations.values():
        parts += _render_operation(tool, operation)
    return "\n\n".join(parts) + "\n"


def _render_index(catalog: Catalog) -> str:
    source = "the files under `tool_catalog/tools/` by `python -m tool_catalog.reference`"
    parts = ["# Tools", f"One page a tool, made from {source}."]
    tools = sorted(catalog.tools.values(), key=lambda tool: (tool.folder, tool.name))
    for folder, group in groupby(tools, key=lambda tool: tool.folder):
        rows = [
            (f"[{tool.name}]({tool.name}.md)", tool.summary, ", ".join(tool.operations))
            for tool in group
        ]
        parts += [f"## {folder or 'own'}", _table(("tool", "what for", "operations"), rows)]
    return "\n\n".join(parts) + "\n"


def _render_operations(tool: Tool) -> str:
    rows = []
    for name, operation in tool.operations.items():
        mark = " (default)" if name == tool.default else ""
        facts = (operation.effect.value, operation.repeat.value, operation.at)
        rows.append((f"`{name}`{mark}", operation.summary, *facts, _queue(tool, operation)))
    head = ("operation", "what it does", "effect", "repeat", "runs on", "queue")
    return _table(head, rows)


def _queue(tool: Tool, operation: Operation) -> str:
    return CAPTURE if operation.needs.capabilities else tool.domain.value


def _render_operation(tool: Tool, operation: Operation) -> list[str]:
    parts = [f"## {operation.name}"]
    if operation.parameters:
        rows = [_parameter_row(name, p) for name, p in operation.parameters.items()]
        parts.append(_table(("parameter", "takes", "default", "what it is"), rows))
    else:
        parts.append("Takes no parameters.")
    notes = [*_rule_lines(operation.rules), *_fact_lines(operation)]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    for example in operation.examples:
        parts += _render_example(tool, operation, example)
    return parts


def _parameter_row(name: str, parameter: Parameter) -> tuple[str, ...]:
    default = "required" if parameter.required else ""
    if parameter.default is not None:
        default = f"`{json.dumps(parameter.default, ensure_ascii=False)}`"
    also = f"Also: {', '.join(parameter.aliases)}." if parameter.aliases else ""
    summary = f"{parameter.summary}." if parameter.summary and also else parameter.summary
    return f"`{name}`", describe(parameter), default, f"{summary} {also}".strip()


def _rule_lines(rules: Iterable[Rule]) -> list[str]:
    lines = []
    for rule in rules:
        counted = [(key.replace("_", " "), getattr(rule, key)) for key in _RULES]
        lines += [f"Give {words} of {_code(names)}." for words, names in counted if names]
        needs = rule.requires.items()
        lines += [f"`{name}` needs {_code(others)} beside it." for name, others in needs]
    return lines


def _fact_lines(operation: Operation) -> list[str]:
    lines = []
    if operation.needs.programs or operation.needs.capabilities:
        needs = _code((*operation.needs.programs, *operation.needs.capabilities))
        lines.append(f"Needs {needs} {_WHERE[operation.at]}.")
    if operation.powershell is not None:
        lines.append(_WINDOWS)
    if operation.output.artifact:
        lines.append(f"Leaves a {operation.output.artifact} artifact.")
    elif operation.output.fields:
        fields = ", ".join(f"`{name}` ({kind})" for name, kind in operation.output.fields.items())
        lines.append(f"Gives {fields}.")
    if operation.sensitive:
        lines.append("Its answer may show secrets: it is kept from viewers.")
    lines += _promise_lines(operation)
    reasons = _code(dict.fromkeys(rule.reason.value for rule in operation.errors))
    if reasons:
        lines.append(f"May fail with {reasons}.")
    return lines


def _promise_lines(operation: Operation) -> list[str]:
    """What stands around the operation's own command."""
    lines = []
    if operation.destroy_if:
        conditions = " or ".join(f"`{_condition(each)}`" for each in operation.destroy_if)
        lines.append(f"Counts as destroy with {conditions}.")
    if operation.root != "never":
        lines.append(_ROOT[operation.root])
    if operation.before is not None:
        lines.append(f"Keeps what `{operation.before}` gives before and after it.")
    if operation.verify is not None:
        within = f"{operation.verify.within_s:g} s"
        lines.append(f"Succeeds once `{operation.verify.operation}` shows its effect, in {within}.")
    if operation.undo is not None:
        lines.append(f"Is reversed by `{operation.undo.operation}`.")
    return lines


def _condition(condition: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} like {value['pattern']}"
        if isinstance(value, Mapping)
        else f"{name}={json.dumps(value)}"
        for name, value in condition.items()
    )


def _render_example(tool: Tool, operation: Operation, example: Example) -> list[str]:
    title = f"{example.summary}:" if example.summary else "For example:"
    step = example_plan(tool, operation, example)
    plan = yaml.dump(step, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96)
    line = example_line(tool, operation, example)
    return [title, f"```yaml\n{plan}```", f"```sh\n{line}\n```"]


def example_plan(tool: Tool, operation: Operation, example: Example) -> dict[str, Any]:
    """An example as a plan of one step."""
    step: dict[str, Any] = {"tool": tool.name}
    if _must_be_named(tool, operation):
        step["operation"] = operation.name
    if _needs_target(operation):
        step["targets"] = _TARGET
    if _needs_confirm(operation):
        step["confirm"] = _TARGET
    if example.parameters:
        step["parameters"] = dict(example.parameters)
    return {"steps": [step]}


def example_line(tool: Tool, operation: Operation, example: Example) -> str:
    """An example as a command line of the CLI."""
    words = ["opsfarm", "run", tool.name]
    words += [word for name, value in example.parameters.items() for word in _pairs(name, value)]
    if _must_be_named(tool, operation):
        words += ["--operation", operation.name]
    if _needs_target(operation):
        words += ["--target", _TARGET]
    if _needs_confirm(operation):
        words += ["--confirm", _TARGET]
    return shlex.join(words)


def _must_be_named(tool: Tool, operation: Operation) -> bool:
    return len(tool.operations) > 1 and operation.name != tool.default


def _needs_target(operation: Operation) -> bool:
    """What reads may run on the worker's own host, unless it speaks to another kind of host."""
    if operation.at == "worker":
        return False
    local = operation.argv is not None or operation.python is not None
    return (
        operation.effect is not Effect.READ or not local or operation.needs.connection is not None
    )


def _needs_confirm(operation: Operation) -> bool:
    return operation.at == "target" and operation.effect is Effect.DESTROY


def _pairs(name: str, value: Any) -> list[str]:  # noqa: ANN401  # any JSON value
    plain = isinstance(value, list) and all(
        isinstance(item, str) and not item.startswith(("{", "[", '"', "@")) for item in value
    )
    if plain and value:
        return [f"{name}={item}" for item in value]
    if isinstance(value, str):
        return [f"{name}={value}"]
    return [f"{name}={json.dumps(value, ensure_ascii=False)}"]


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main(arguments: Mapping[int, str]) -> None:
    """Write the reference to the folder given, else to `docs/tools/`."""
    written = write_reference(load_catalog(), Path(arguments.get(1, REFERENCE)))
    sys.stdout.write(f"wrote {len(written)} pages to {written[0].parent}\n")


if __name__ == "__main__":
    main(dict(enumerate(sys.argv)))

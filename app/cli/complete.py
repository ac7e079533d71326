"""What the shell offers after <Tab>: names that are known without asking anybody slow."""

import click
from click.shell_completion import CompletionItem

from app.client import Farm
from app.errors import OpsfarmError
from tool_catalog.loader import TOOLS
from tool_catalog.names import normalise


def complete_tool(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Tools, by the names of their files."""
    start = normalise(incomplete)
    return sorted(path.stem for path in TOOLS.rglob("*.yaml") if path.stem.startswith(start))


def complete_execution(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The newest executions of the farm; nothing when no farm answers."""
    try:
        with Farm() as farm:
            shown = farm.executions(limit=50)
    except OpsfarmError:
        return []
    return [
        CompletionItem(execution["execution_id"], help=f"{execution['name']} {execution['state']}")
        for execution in shown
        if execution["execution_id"].startswith(incomplete)
    ]

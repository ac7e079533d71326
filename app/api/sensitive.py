"""What a viewer may not read: the output of operations that their tool calls sensitive (pure)."""

from collections.abc import Mapping
from typing import Any

from app.principal import Principal
from app.undo import UNDO_TOOL
from tool_catalog.loader import Catalog
from tool_catalog.names import UnknownName

_HIDDEN: Mapping[str, Any] = {
    "output": None,
    "before": None,
    "after": None,
    "stdout_tail": "",
    "stderr_tail": "",
}
#: Of an event's data, what may tell a sensitive output.
TELLING = frozenset({"summary", "probe", "resolved"})
HIDDEN_NOTE = "sensitive: its output needs the role operator"


def hide_output(
    execution: dict[str, Any], principal: Principal, catalog: Catalog
) -> dict[str, Any]:
    """An execution as its reader may see it: outcome and size always, sensitive output not."""
    if principal.may_submit:
        return execution
    steps = [
        _hide_step(step) if is_sensitive(catalog, step["tool"], step["operation"]) else step
        for step in execution["steps"]
    ]
    return {**execution, "steps": steps}


def is_sensitive(catalog: Catalog, tool: str, operation: str) -> bool:
    """Whether an operation's output may show secrets; what is not known any more counts as such."""
    if tool == UNDO_TOOL:
        return False
    try:
        return catalog.operation(catalog.find(tool), operation).sensitive
    except UnknownName:
        return True


class EventFilter:
    """Events of one execution as a viewer may see them, one after the other.

    It begins with the rows that there are, and takes in those that are rendered while its viewer
    watches: an event that names its tool comes before the first output of its row.
    """

    def __init__(self, execution: Mapping[str, Any], catalog: Catalog) -> None:
        self._catalog = catalog
        #: The step rows whose output anybody may read.
        self._visible = {
            result["step_id"]
            for step in execution["steps"]
            if not is_sensitive(catalog, step["tool"], step["operation"])
            for result in step["results"]
        }

    def hide(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """An event without the words of a step that is not among the visible ones."""
        step_id, given = event["step_id"], event["data"]
        if "tool" in given and not is_sensitive(self._catalog, given["tool"], given["operation"]):
            self._visible.add(step_id)
        if step_id is None or step_id in self._visible:
            return dict(event)
        data = {name: value for name, value in given.items() if name not in TELLING}
        if "lines" in data:
            data["lines"] = []
        return {**event, "data": data}


def _hide_result(result: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**result, **_HIDDEN, "summary": HIDDEN_NOTE}
    if "evidence" in result:
        late = [{**each, "summary": HIDDEN_NOTE} for each in result["evidence"]["late"]]
        probe = {name: value for name, value in (result["evidence"].get("probe") or {}).items()
                 if name not in {"evidence", "why"}}  # fmt: skip
        shown["evidence"] = {
            **result["evidence"],
            "lines": [],
            "late": late,
            "probe": probe or None,
        }
    return shown


def _hide_step(step: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**step, "summary": HIDDEN_NOTE}
    shown["results"] = [_hide_result(result) for result in step["results"]]
    return shown | ({"output": None} if "output" in step else {})

"""What a step will run on one target, with what stands around it, masked (pure)."""

from collections.abc import Mapping
from typing import Any

from app.command import build_command, show_command
from app.errors import StepError
from app.plan import CheckedRow
from app.privilege import Login, find_user, show_login, sudo_prefix
from app.step import LOCAL
from tool_catalog.links import LinkError, link_parameters
from tool_catalog.model import Operation, Tool
from tool_catalog.params import check_parameters


def show_run(
    tool: Tool, operation: Operation, row: CheckedRow, run_as: str | None, login: Login | None
) -> dict[str, Any]:
    """The members of a dry run's command: what is read before, run, looked for, and put back.

    Parameters hold secrets by name only, so they may be shown.
    """
    asked = _Asked(tool, row, run_as, login)
    used = login if operation.at == "target" else None
    shown = show_login(used) | {"command": asked.show(operation, row.parameters)}
    if operation.before is not None:
        shown["before"] = asked.show_read(operation.before, {})
    if operation.verify is not None:
        verify = operation.verify
        told = {"until": verify.until, "within_s": verify.within_s}
        shown["verify"] = asked.show_read(verify.operation, verify.with_) | told
    if operation.undo is not None:
        shown["undo"] = operation.undo.operation
    return shown


class _Asked:
    """One row of a step."""

    def __init__(
        self, tool: Tool, row: CheckedRow, run_as: str | None, login: Login | None
    ) -> None:
        self._tool = tool
        self._row = row
        self._run_as = run_as
        self._login = login

    def show(self, operation: Operation, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A command as it will be, and whom it becomes; `become` stands before its argv."""
        on_worker = operation.at == "worker" or self._row.target is None
        target = LOCAL if on_worker or self._row.target is None else self._row.target
        try:
            shown = show_command(build_command(operation, parameters))
            user = find_user(operation, self._run_as, target, self._login)
        except StepError as error:
            return {"kind": "refused", "message": error.message}
        if shown["kind"] == "python":
            shown["parameters"] = dict(parameters)
        if user is not None:
            shown["run_as"] = user
        if user is not None and target is not LOCAL:
            # With -S in the place of -n where the credential holds a password for sudo.
            shown["become"] = list(sudo_prefix(user, asks=False))
        return shown

    def show_read(self, name: str, with_: Mapping[str, Any]) -> dict[str, Any]:
        """A read beside it; what depends on an answer before cannot be shown yet."""
        read = self._tool.operations[name]
        shown: dict[str, Any] = {"operation": name}
        try:
            linked = link_parameters(read, self._row.parameters, with_)
        except LinkError:
            return shown | {"with": dict(with_)}
        parameters, _faults = check_parameters(read, linked)
        return shown | {"command": self.show(read, parameters)}

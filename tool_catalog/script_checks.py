"""What a PowerShell operation must keep: nothing else can be tried without a Windows host."""

import re

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Operation, ParameterType
from tool_catalog.names import near_or_all

#: cmd.exe takes 8191 characters; encoded, and with what stands around it, so much of them is left.
MAX_PIPELINE = 2400
_NAMES = re.compile(r"\$p\.([A-Za-z_]\w*)")
_RUNS_TEXT = re.compile(r"(?i)\b(?:invoke-expression|iex)\b")
#: Keys that belong to programs.
_NOT_WITH = ("stdin", "env", "precheck", "run_for")


def check_script(operation: Operation, place: str) -> None:
    """Raises BadKey for the first thing in an operation's pipeline that cannot work."""
    if operation.powershell is None:
        return
    for key in _NOT_WITH:
        if getattr(operation, key):
            raise BadKey(f"{place}.{key}", "goes with argv; a pipeline reads its parameters as $p")
    if operation.at == "worker":
        raise BadKey(f"{place}.at", "a pipeline runs on its target: no worker has PowerShell")
    if operation.output.artifact is not None:
        raise BadKey(f"{place}.output.artifact", "a pipeline gives rows as JSON, no file")
    for name, parameter in operation.parameters.items():
        if ParameterType.ARTIFACT in (parameter.type, parameter.of):
            message = "an artifact lies on the worker; a Windows host cannot read it"
            raise BadKey(f"{place}.parameters.{name}", message)
    _check_pipeline(operation, f"{place}.powershell")


def _check_pipeline(operation: Operation, place: str) -> None:
    pipeline = operation.powershell or ""
    if len(pipeline) > MAX_PIPELINE:
        raise BadKey(place, f"is longer than {MAX_PIPELINE} characters: no command line holds it")
    if _RUNS_TEXT.search(pipeline):
        raise BadKey(place, "runs a text as code (Invoke-Expression); call a cmdlet")
    for name in _NAMES.findall(pipeline):
        if name not in operation.parameters:
            raise BadKey(place, f"no parameter {name!r}{near_or_all(name, operation.parameters)}")

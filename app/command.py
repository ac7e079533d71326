"""What will be run, as data with a raw and a masked view (pure: dry run shows it too)."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import StepError
from app.filling import HIDDEN_SECRETS, PLACEHOLDER, Text, Texts, as_text
from app.http_request import Request, build_request, show_line, show_request
from app.powershell import frame_script, write_parameters
from app.step import Secret
from tool_catalog.model import ArgvItem, CatalogError, Operation, ParameterType, Reason

#: Types whose values may begin with "-": a sign is not an option.
_SIGNED = frozenset({ParameterType.INTEGER, ParameterType.NUMBER})


@dataclass(frozen=True, slots=True)
class Command:
    """One of argv, request, script or python. Neither an argv nor a script ever holds a secret."""

    kind: str  # "argv" | "http" | "python" | "powershell"
    argv: tuple[str, ...] = ()
    #: A PowerShell script; its parameters are in `stdin`, as JSON.
    script: str | None = None
    stdin: Text | None = None
    env: Mapping[str, Text] = field(default_factory=dict)
    #: Run first; must exit 0 before the step is armed.
    precheck: tuple[str, ...] = ()
    #: Seconds after which `stop_signal` ends it, as success.
    run_for_s: float | None = None
    stop_signal: str = "TERM"
    #: Standard output goes to a file of this kind, at most `artifact_max_bytes`.
    artifact: str | None = None
    artifact_max_bytes: int | None = None
    request: Request | None = None
    function: str | None = None
    #: Whom to become for it on the target; None: whoever logs in.
    run_as: str | None = None
    #: Output that is too long for memory goes to files.
    keeps_whole: bool = False


def build_command(
    operation: Operation,
    parameters: Mapping[str, Any],
    secrets: Mapping[str, Secret] = HIDDEN_SECRETS,
) -> Command:
    """What an operation will run with these checked parameters.

    `secrets` holds decrypted values by secret name, and the target's login under
    "credential.username" and "credential.password". An artifact parameter holds a local path.
    Raises StepError for a value that could become an option, or a secret that is not there.
    """
    if operation.python is not None:
        return Command(kind="python", function=operation.python)
    if operation.powershell is not None:
        script = frame_script(operation.powershell)
        stdin = write_parameters(parameters, secrets)
        return Command(kind="powershell", script=script, stdin=stdin)
    texts = Texts(operation, parameters, secrets)
    if operation.http is not None:
        return _http_command(operation, build_request(operation, operation.http, texts), parameters)
    if operation.argv is None:
        raise CatalogError(f"operation {operation.name} says not what to run")
    words = _Words(operation, parameters)
    env = {name: texts.fill(value) for name, value in operation.env.items()}
    run_for = _number(operation.run_for, parameters)
    max_bytes = _number(operation.output.max_bytes, parameters)
    return Command(
        kind="argv",
        argv=words.build(operation.argv),
        stdin=None if operation.stdin is None else texts.fill(operation.stdin),
        env={name: value for name, value in env.items() if value is not None},
        precheck=words.build(operation.precheck or ()),
        run_for_s=run_for,
        stop_signal=operation.stop_signal,
        artifact=operation.output.artifact,
        artifact_max_bytes=None if max_bytes is None else int(max_bytes),
    )


def show_command(command: Command) -> dict[str, Any]:
    """The masked view, JSON-safe: {"kind", "argv", "line", "stdin", "env", ...}; no empty members.

    `line` is for people to read: the argv quoted for a POSIX shell, or method, path and query.
    """
    request = command.request
    shown = {
        "kind": command.kind,
        "argv": list(command.argv),
        "line": shlex.join(command.argv) if request is None else show_line(request),
        "script": command.script,
        "stdin": None if command.stdin is None else str(command.stdin),
        "env": {name: str(value) for name, value in command.env.items()},
        "precheck": list(command.precheck),
        "run_for_s": command.run_for_s,
        "stop_signal": command.stop_signal if command.run_for_s is not None else None,
        "artifact": command.artifact,
        "artifact_max_bytes": command.artifact_max_bytes,
        "request": None if request is None else show_request(request),
        "function": command.function,
        "run_as": command.run_as,
    }
    return {name: value for name, value in shown.items() if value not in (None, "", [], {})}


def _http_command(operation: Operation, request: Request, parameters: Mapping[str, Any]) -> Command:
    max_bytes = _number(operation.output.max_bytes, parameters)
    return Command(
        kind="http",
        request=request,
        artifact=operation.output.artifact,
        artifact_max_bytes=None if max_bytes is None else int(max_bytes),
    )


def _number(name: str | None, parameters: Mapping[str, Any]) -> float | None:
    value = None if name is None else parameters.get(name)
    return None if value is None else float(value)


class _Words:
    """Turns argv items into arguments; an item whose parameter is absent disappears."""

    def __init__(self, operation: Operation, parameters: Mapping[str, Any]) -> None:
        self._operation = operation
        self._parameters = parameters

    def build(self, items: tuple[ArgvItem, ...]) -> tuple[str, ...]:
        words: list[str] = []
        ended_options = False
        for item in items:
            added = self._item(item)
            if isinstance(item, Mapping) and "operands" in item and added and not ended_options:
                words.append("--")
                ended_options = True
            words += added
        return tuple(words)

    def _item(self, item: ArgvItem) -> list[str]:
        match item:
            case str():
                return self._literal(item)
            case {"flag": flag, "if": name}:
                return [flag] if self._parameters.get(name) else []
            case {"option": option, "value": name}:
                return self._options(option, self._present(name)[:1], name)
            case {"option": option, "each": name}:
                return self._options(option, self._each(name), name)
            case {"value": name}:
                return [self._no_option(value, name) for value in self._present(name)]
            case {"operands": name} | {"program": name}:
                return [as_text(value) for value in self._each(name)]
        raise CatalogError(f"operation {self._operation.name}: cannot read argv item {item!r}")

    def _literal(self, item: str) -> list[str]:
        """Literal text and `{p}`: always one argument."""
        names = [n for n in PLACEHOLDER.findall(item) if n in self._operation.parameters]
        if any(not self._present(name) for name in names):
            return []
        word = PLACEHOLDER.sub(self._replace, item)
        if word.startswith("-") and not item.startswith("-") and not self._is_signed(names[0]):
            self._refuse(names[0])
        return [word]

    def _replace(self, found: re.Match[str]) -> str:
        value = self._present(found[1]) if found[1] in self._operation.parameters else []
        return as_text(value[0]) if value else found[0]

    def _options(self, option: str, values: list[Any], name: str) -> list[str]:
        if option.endswith("="):
            return [option + as_text(value) for value in values]
        words = []
        for value in values:
            text = as_text(value) if self._is_signed(name) else self._no_option(value, name)
            words += [option, text]
        return words

    def _present(self, name: str) -> list[Any]:
        """The value of a parameter as a list of one; of none where it is absent."""
        self._refuse_secret(name)
        value = self._parameters.get(name)
        return [] if value is None or value == [] else [value]

    def _each(self, name: str) -> list[Any]:
        values = self._present(name)
        if values and isinstance(values[0], list | tuple):
            return list(values[0])
        return values

    def _refuse_secret(self, name: str) -> None:
        parameter = self._operation.parameters.get(name)
        if parameter is not None and parameter.type is ParameterType.SECRET:
            raise CatalogError(
                f"operation {self._operation.name}: argv names the secret {name}; "
                "every user of a host can read an argv: use stdin or env"
            )

    def _is_signed(self, name: str) -> bool:
        parameter = self._operation.parameters.get(name)
        return parameter is not None and parameter.type in _SIGNED

    def _no_option(self, value: object, name: str) -> str:
        text = as_text(value)
        if text.startswith("-"):
            self._refuse(name)
        return text

    def _refuse(self, name: str) -> None:
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"{name} begins with '-', so the program could take it for an option; "
            "write a value that begins with something else",
        )

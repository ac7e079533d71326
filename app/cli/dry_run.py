"""One row of a dry run as people read it: what would run there, in its order."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from app.cli.output import print_line
from app.cli.waits import tell_holder
from app.privilege import tell_login

_WIDTH = 8
#: Members of a command that its line does not tell.
_BESIDE = (
    *("stdin", "env", "run_for_s", "artifact", "parameters", "script"),
    *("headers", "json", "form", "body"),
)


def name_target(name: str, shown: Mapping[str, Any]) -> str:
    """A target with its address and its login: "web-01 (192.0.2.1, credential key as ops)"."""
    port = f" port {shown['port']}" if shown.get("port") else ""
    told = [f"{shown['address']}{port}"] if shown.get("address") else []
    told += [f"credential {tell_login(shown)}"] if shown.get("credential") else []
    return name + (f" ({', '.join(told)})" if told else "")


def print_run(name: str, shown: Mapping[str, Any]) -> None:
    """The row's name, then a line for each thing that would run."""
    print_line(f"  {name}")
    for label, words in _lines(shown):
        print_line(f"    {label:<{_WIDTH}}{words}")


def _lines(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    command = shown["command"]
    if "before" in shown:
        yield "before", _tell_read(shown["before"])
    if "precheck" in command:
        yield "check", shlex.join([*command.get("become", ()), *command["precheck"]])
    yield "run", _tell(command)
    if "verify" in shown:
        verify = shown["verify"]
        until = " ".join(verify["until"].split())
        yield "verify", f"{_tell_read(verify)}, for {verify['within_s']:g} s until {until}"
    if "undo" in shown:
        yield "undo", shown["undo"]
    if shown.get("blocked_by"):
        yield "blocked", tell_holder(shown["blocked_by"])
    elif shown.get("lock"):
        yield "lock", f"{shown['lock']}, while it runs"
    for limit in shown.get("limits", ()):
        yield "limit", f"at most {limit}"


def _tell_read(read: Mapping[str, Any]) -> str:
    if "command" not in read:
        return f"{read['operation']} with {_write(read['with'])}"
    return _tell(read["command"])


def _tell(command: Mapping[str, Any]) -> str:
    if command["kind"] == "refused":
        return f"refused: {command['message']}"
    become = f"{shlex.join(command['become'])} " if "become" in command else ""
    on_worker = f"as {command['run_as']}: " if "run_as" in command and not become else ""
    line = str(command.get("line") or command.get("function") or command["kind"])
    told = command.get("request", {}) | command
    beside = {name: told[name] for name in _BESIDE if name in told}
    return on_worker + become + line + (f"  {_write(beside)}" if beside else "")


def _write(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

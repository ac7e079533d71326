"""PowerShell operations: the script that a Windows host runs, and its parameters (pure).

The script is an operation's pipeline in a fixed frame. It names no value: parameters come as one
line of base64 JSON on standard input, so that no value can become code, and no secret is seen in
the command line of the process.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import StepError
from app.filling import SecretText, Text
from app.step import Secret
from tool_catalog.model import Reason

#: The first error ends the script. `$input` holds the lines of standard input; Windows PowerShell
#: reads them itself, so that `[Console]::In` would find nothing. `@(...)` makes one row a list of
#: one, and no row an empty list. What goes wrong is one line that no console width breaks:
#: category, id, message.
_FRAME = """\
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
try {
$p = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String(-join @($input))) | ConvertFrom-Json
ConvertTo-Json -Depth 4 -Compress -InputObject @(
%s
)
} catch {
[Console]::Error.WriteLine("$($_.CategoryInfo.Category): $($_.FullyQualifiedErrorId): $($_.Exception.Message)")
exit 1
}
"""  # noqa: E501  # lines of another language


def frame_script(pipeline: str) -> str:
    """The whole script around an operation's pipeline, which sees its parameters as `$p.name`."""
    return _FRAME % pipeline.strip()


def write_parameters(parameters: Mapping[str, Any], secrets: Mapping[str, Secret]) -> Text:
    """Parameters as JSON, `{"$secret": name}` by its value; raises StepError when it is missing."""
    parts = tuple(_write(parameters, secrets))
    if any(isinstance(part, Secret) for part in parts):
        return SecretText(parts)
    return "".join(str(part) for part in parts)


def _write(value: object, secrets: Mapping[str, Secret]) -> Iterator[str | Secret]:
    if isinstance(value, Mapping) and "$secret" in value:
        yield from ('"', _find(str(value["$secret"]), secrets), '"')
    elif isinstance(value, Mapping):
        yield "{"
        for number, (name, member) in enumerate(value.items()):
            yield f"{', ' if number else ''}{json.dumps(name)}: "
            yield from _write(member, secrets)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, member in enumerate(value):
            yield ", " if number else ""
            yield from _write(member, secrets)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def _find(name: str, secrets: Mapping[str, Secret]) -> Secret:
    """The secret as JSON has it between its quotes."""
    try:
        return Secret(json.dumps(secrets[name].reveal(), ensure_ascii=False)[1:-1])
    except KeyError:
        raise StepError(Reason.NOT_FOUND, f"there is no secret named {name}") from None

"""What will be run, as data with a raw and a masked view (pure: dry run shows it too)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """One of argv, request or python. Items may be `Secret`; the masked view prints `***`."""

    kind: str  # "argv" | "http" | "python" | "powershell"
    argv: tuple[str, ...] = ()
    stdin: str | None = None
    env: Mapping[str, Any] = field(default_factory=dict)
    #: Run first; must exit 0 before the step is armed.
    precheck: tuple[str, ...] = ()
    #: Seconds after which `stop_signal` ends it, as success.
    run_for_s: float | None = None
    stop_signal: str = "TERM"
    #: Standard output goes to a file of this kind, at most `artifact_max_bytes`.
    artifact: str | None = None
    artifact_max_bytes: int | None = None
    request: Mapping[str, Any] | None = None
    function: str | None = None

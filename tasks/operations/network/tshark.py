"""Captures read by tshark: in a child process with limits, line by line, no secret at hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

from app.command import Command
from app.errors import StepError
from app.step import LOCAL
from tasks.operations.base import OperationContext
from tasks.runners.base import StepControl
from tool_catalog.model import Reason

#: What a capture may cost (prlimit): hostile packets are met here, not in the worker.
_LIMITS = ("--as=4294967296", "--cpu=540", "--fsize=0", "--core=0")
_CUT_SHORT = "appears to have been cut short"
_NO_CAPTURE = "isn't a capture file in a format"


def read_packets(
    capture: Path,
    display_filter: str,
    fields: Sequence[str],
    take: Callable[[list[str]], None],
    context: OperationContext,
) -> bool:
    """Hand the fields of each packet that the filter lets through to `take`, as texts.

    An absent field is "", of several values the first. Gives False where the capture ends within
    a packet. Raises StepError.
    """
    columns = [word for field in fields for word in ("-e", field)]
    argv = (
        *("prlimit", *_LIMITS, "--"),
        *("tshark", "-n", "-r", str(capture), "-Y", display_filter),
        *("-T", "fields", "-E", "separator=/t", "-E", "occurrence=f", *columns),
    )

    def on_line(stream: str, line: str) -> None:
        if stream == "stdout" and line:
            values = line.split("\t")
            take([*values, *[""] * (len(fields) - len(values))])

    ours = context.control
    control = StepControl(ours.seconds_left, cancelled=ours.cancelled, on_line=on_line)
    raw = context.runner().run(Command(kind="argv", argv=argv), LOCAL, None, control)
    said = raw.stderr.decode(errors="replace")
    if raw.timed_out:
        raise StepError(Reason.TIMEOUT, "the capture could not be read in the step's time")
    if _CUT_SHORT in said:
        return False
    if raw.exit_code != 0:
        raise StepError(Reason.INVALID_OUTPUT, _explain(said, raw.exit_code))
    return True


def _explain(said: str, exit_code: int | None) -> str:
    if _NO_CAPTURE in said:
        return "the artifact is no capture that tshark can read"
    lines = [line for line in said.splitlines() if line and "Running as user" not in line]
    return f"tshark ended with {exit_code}: {lines[-1] if lines else 'without a word'}"

"""What tests of runners share: short commands, a control, and the processes that they leave."""

import threading
import time
from pathlib import Path

from app.command import Command
from tasks.runners.base import StepControl
from tests.lab.waiting import wait_until


def control(timeout_s=30.0, lines=None, **given):
    """A step's control whose live lines land in `lines` as (stream, text)."""
    sink = [] if lines is None else lines
    return StepControl(timeout_s, on_line=lambda *line: sink.append(line), **given)


def shell(script, **members):
    """A command that runs a script."""
    return Command(kind="argv", argv=("sh", "-c", script), **members)


def stray_script(folder, pids):
    """A script whose child has a session of its own and an empty environment, and defies SIGTERM.

    The child's pid lands in the file `pids`.
    """
    inner = folder / "stray.sh"
    inner.write_text(
        f"trap '' TERM; echo $$ > {pids}.new; mv {pids}.new {pids}\nwhile :; do sleep 0.05; done\n"
    )
    return f'env -i PATH="$PATH" setsid sh {inner} & wait'


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_for(path, timeout_s=10):
    """The words in a file, as soon as there are any."""
    return wait_until(
        lambda: path.exists() and path.read_text().split(), f"{path} was never written", timeout_s
    )


def act_once(path, action):
    """Does `action` when the command has written its pids; gives the thread and the moment."""
    moment = []

    def act():
        wait_for(path)
        moment.append(time.monotonic())
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread, moment

"""The command line as a process, as a person at a shell has it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.principal import Role

COMMAND = [sys.executable, "-c", "from app.cli.main import main; main()"]


class Process:
    """One `opsfarm` process; its standard error is read line by line."""

    def __init__(self, api_farm, argv, *, role=Role.OPERATOR, **settings):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path.cwd()),
            "OPSFARM_API_URL": api_farm.url,
            "OPSFARM_API_KEY": api_farm.keys[role],
            **settings,
        }
        self._process = subprocess.Popen(
            [*COMMAND, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.notes = []
        self._killer = threading.Timer(60, self._process.kill)
        self._killer.start()

    def wait_for_note(self, part):
        """Read standard error until a line holds `part`; gives the line."""
        for line in self._process.stderr:
            self.notes.append(line.rstrip("\n"))
            if part in line:
                return self.notes[-1]
        pytest.fail(f"no line with {part!r} in {self.notes}")

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def end(self, given=""):
        """(exit status, standard output); standard error is in `notes`."""
        out, err = self._process.communicate(given)
        self._killer.cancel()
        self.notes += err.splitlines()
        return self._process.returncode, out

    def close(self):
        """End what a failed test left behind."""
        if self._process.returncode is None:
            self._process.kill()
            self.end()

"""How a command on the worker's own host becomes another user's: root steps down, others sudo."""

import os
import pwd
import subprocess
from dataclasses import dataclass, replace
from typing import Any

from app.command import Command
from app.errors import StepError
from tasks.runners.environment import FIXED
from tasks.runners.remote import Become, read_stop, signal_argv, stdin_text, stop_argv, wrap
from tool_catalog.model import Reason

#: For the short commands that signal and end; ending takes up to 4 s.
_SIDE_S = 10.0


@dataclass(frozen=True, slots=True)
class LocalUser:
    """Somebody else on this host."""

    entry: pwd.struct_passwd
    #: The worker is not root: only sudo can make its command another's.
    by_sudo: bool

    @property
    def environment(self) -> dict[str, str]:
        """What a program asks who it is."""
        name = self.entry.pw_name
        return {"HOME": self.entry.pw_dir, "USER": name, "LOGNAME": name}

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments of Popen: set in the child, after the fork."""
        if self.by_sudo:
            return {}
        name, group = self.entry.pw_name, self.entry.pw_gid
        groups = os.getgrouplist(name, group)
        return {"user": self.entry.pw_uid, "group": group, "extra_groups": groups}

    def prepare(self, command: Command, marker: str, seconds_left: float) -> Command:
        """The command as it is started: behind sudo, in the wrapper that hosts over SSH know."""
        if not self.by_sudo:
            return replace(command, env={**self.environment, **command.env})
        become = Become(self.entry.pw_name)
        argv = become.argv(wrap(command, marker, seconds_left))
        stdin = stdin_text(command, become, marker)
        return replace(command, argv=tuple(argv), stdin=stdin, env={})

    def signal(self, marker: str, name: str) -> None:
        """Signal the program of a marker."""
        self._side(signal_argv(marker, name))

    def end(self, marker: str) -> str:
        """End the processes of a marker; empty when they were seen to be gone."""
        return read_stop(self._side(stop_argv(marker)))

    def _side(self, argv: list[str]) -> str:
        try:
            done = subprocess.run(  # noqa: S603  # an argv of ours, never a shell
                Become(self.entry.pw_name).argv(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(FIXED),
                timeout=_SIDE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode(errors="replace").strip()


def find_local_user(name: str | None) -> LocalUser | None:
    """Whom to become; None where nobody else is meant. Raises StepError for an unknown name."""
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        text = f"the worker's host has no user {name}; add one there, or name another in run_as"
        raise StepError(Reason.NO_PRIVILEGE, text) from None
    if entry.pw_uid == os.geteuid():
        return None
    return LocalUser(entry, by_sudo=os.geteuid() != 0)

"""What a host is asked, by the way it is reached: each probe says what it found, or why not.

Here: over SSH, and the worker's own host. `host_visit_web` has WinRM and HTTP.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.command import Command
from app.errors import StepError
from app.step import Credential, Target
from tasks.operations.base import OperationContext
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.ssh_host_keys import (
    SSH_PORT,
    changed_host_key,
    fetch_host_keys,
    fingerprints,
    pinned_keys,
)
from tool_catalog.model import Reason

_CONNECT_S = 10
#: RFC 4253, section 4.2: other lines may come before the version; ours is the first of them.
_SSH_GREETING_BYTES = 255
#: What `run` gives up after, for each command of a check.
_COMMAND_S = 20.0
#: How much of what a program complained of is told.
_MOST_LINES = 2
_PRETTY_NAME = re.compile(r"^PRETTY_NAME=[\"']?(.+?)[\"']?$", re.MULTILINE)

Probe = Callable[[], str]


class NotAsked(Exception):
    """A check that does not apply; the text says why."""


class Visit:
    """One visit of a host; each way of connecting has its own probes."""

    default_port = 0

    def __init__(
        self, target: Target, context: OperationContext, parameters: Mapping[str, Any]
    ) -> None:
        self.target = target
        self.context = context
        self.parameters = parameters
        self.port = target.port or self.default_port
        self.os: str | None = None

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """Names of checks and what does them, in order."""
        yield "resolve", self.resolve
        yield "connect", self.connect

    def found(self) -> dict[str, Any]:
        """What the visit learnt, for the output."""
        credential = self.context.credential
        return {
            "connection": self.target.connection,
            "address": self.target.address,
            "port": self.port or None,
            "user": credential.username if credential else None,
            "os": self.os,
        }

    def summary(self) -> str:
        """One line about a host that passed every check."""
        user = self.found()["user"]
        words = [self.os or "", f"as {user}" if user else ""]
        told = ", ".join(word for word in words if word)
        return f"{self.target.name} is ready" + (f": {told}" if told else "")

    def resolve(self) -> str:
        """The addresses of the host's name."""
        given = self.target.address
        try:
            found = socket.getaddrinfo(given, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            again = getattr(error, "errno", None) == socket.EAI_AGAIN
            why = getattr(error, "strerror", None) or "it is no host name"
            raise StepError(
                Reason.NOT_FOUND,
                f"the name {given} has no address here: {why}; set the asset's ip_address, or mend "
                "the name service of the worker",
                transient=again,
            ) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return given if addresses == [given] else f"{given} is {', '.join(addresses)}"

    def connect(self) -> str:
        """A TCP connection to the port."""
        began = time.monotonic()
        try:
            with socket.create_connection((self.target.address, self.port), _CONNECT_S) as server:
                took_ms = (time.monotonic() - began) * 1000
                return f"port {self.port} in {took_ms:.0f} ms{self.greeting(server)}"
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise StepError(
                Reason.UNREACHABLE,
                f"no connection to {self.target.address} port {self.port}: {why}; check that the "
                "host is up, that connection.port is right, and the firewalls between",
                transient=True,
            ) from None

    def greeting(self, server: socket.socket) -> str:  # noqa: ARG002  # some protocols have none
        """What the server says unasked, as the end of a line; raises StepError or OSError."""
        return ""

    def need_login(self) -> Credential:
        """The credential of this visit; raises StepError where the asset has none."""
        if self.context.credential is not None:
            return self.context.credential
        user = self.target.options.get("user", "USER")
        raise StepError(
            Reason.AUTH_FAILED,
            f"there is no login; 'opsfarm credentials add NAME --asset {self.target.name} "
            f"--user {user}' adds one",
        )

    def run(self, command: Command, credential: Credential | None) -> RawOutput:
        """Run something on the host by its real runner, without live lines."""
        control = self.context.control
        left_s = min(_COMMAND_S, control.seconds_left)
        quiet = StepControl(left_s, cancelled=control.cancelled)
        return self.context.runner().run(command, self.target, credential, quiet)

    def say(self, *argv: str, run_as: str | None = None) -> str:
        """The output of a program on a POSIX host; raises StepError when it fails."""
        command = Command(kind="argv", argv=argv, run_as=run_as)
        raw = self.run(command, self.context.credential)
        if raw.exit_code != 0:
            said = raw.stderr_tail.decode(errors="replace").strip().splitlines()
            why = "; ".join(said[:_MOST_LINES]) or f"exit code {raw.exit_code}"
            raise StepError(Reason.EXIT_CODE, f"{' '.join(argv)} failed there: {why}")
        return raw.stdout.decode(errors="replace").strip()


class PosixVisit(Visit):
    """What may be asked of any POSIX host."""

    def read_os(self) -> str:
        """The name of the operating system."""
        try:
            found = _PRETTY_NAME.search(self.say("cat", "/etc/os-release"))
        except StepError as error:
            if error.reason is not Reason.EXIT_CODE:
                raise
            found = None  # not every POSIX system has that file
        self.os = found[1] if found else self.say("uname", "-s", "-r")
        return self.os


class LocalVisit(PosixVisit):
    """The worker's own host."""

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """There is no way to it that could be closed."""
        yield "login", self.login
        yield "os", self.read_os

    def login(self) -> str:
        """Who steps run as."""
        return f"as {self.say('id', '-un')} on {socket.gethostname()}, where the worker runs"


class SshVisit(PosixVisit):
    """A host over SSH."""

    default_port = SSH_PORT

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """From the name to the operating system."""
        yield from super().probes()
        yield "host key", self.host_key
        yield "login", self.login
        yield "sudo", self.sudo
        yield "os", self.read_os

    def greeting(self, server: socket.socket) -> str:
        """The version that an SSH server begins with."""
        said = server.recv(_SSH_GREETING_BYTES).decode(errors="replace")
        version = said.splitlines()[0].strip() if said.strip() else ""
        if not version.startswith("SSH-"):
            raise StepError(
                Reason.UNREACHABLE,
                f"port {self.port} of {self.target.address} is open, but no SSH server answers "
                "there; is connection.port right?",
            )
        return f", {version}"

    def host_key(self) -> str:
        """The pinned keys, which the server must show."""
        if not self.target.options.get("host_key"):
            first = fingerprints(fetch_host_keys(self.target)[:1])
            raise StepError(
                Reason.HOST_KEY_CHANGED,
                f"none is pinned; it shows {first}: compare that with the host, then "
                f"'opsfarm assets trust {self.target.name}'",
            )
        pinned = pinned_keys(self.target)
        shown = fetch_host_keys(self.target)
        types = {key.get_name() for key in pinned}
        theirs = [key for key in shown if key.get_name() in types]
        if not theirs or any(key not in pinned for key in theirs):
            raise changed_host_key(self.target, theirs or shown, pinned)
        return f"{fingerprints(theirs)}, as pinned"

    def login(self) -> str:
        """A login, and a program that answers."""
        credential = self.need_login()
        self.say("true")
        how = "key" if credential.private_key is not None else "password"
        return f"as {credential.username} with credential {credential.name} ({how})"

    def sudo(self) -> str:
        """Whether the login becomes who it shall."""
        credential = self.context.credential
        if credential is None or credential.become is None:
            name = credential.name if credential else "NAME"
            raise NotAsked(
                f"credential {name} says no way to become another user; steps that need root want "
                "one that was added with --become sudo"
            )
        try:
            return f"to {self.say('id', '-un', run_as=str(credential.become.get('user', 'root')))}"
        except StepError as error:
            if error.reason is not Reason.EXIT_CODE:
                raise
            raise StepError(
                Reason.NO_PRIVILEGE,
                f"{error.message}; check the sudo rule of {credential.username} there, and the "
                f"user that credential {credential.name} becomes",
            ) from None

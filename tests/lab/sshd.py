"""A real sshd on loopback, as root or as an ordinary user: own keys, own configuration."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.admin.servers import find_free_port
from app.step import Credential, Secret, Target
from tests.lab.daemon import start_daemon

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM {pam}
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100:30:200
MaxSessions 10
LogLevel VERBOSE
{extra}
"""
#: Serves files, from the same code as OpenSSH's program for it.
SFTP = "Subsystem sftp internal-sftp"


@dataclass
class Sshd:
    """A running server and what a client needs to log in to it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host_key(self) -> str:
        """The public host key, as an asset's `connection.host_key` has it."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def target(self) -> Target:
        return Target(
            name="lab-host",
            asset_id=1,
            address="127.0.0.1",
            connection="ssh",
            port=self.port,
            options={"host_key": self.host_key},
        )

    @property
    def credential(self) -> Credential:
        return Credential(
            name="lab-key",
            username=getpass.getuser(),
            private_key=Secret((self.folder / "user_key").read_text()),
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connections(self) -> int:
        """How many times somebody logged in."""
        return self.log.count("Accepted publickey")

    def cut_connections(self) -> None:
        """Kill the processes that serve open connections, as a dying host would."""
        for child in servers_below(self.process.pid):
            with suppress(ProcessLookupError):  # its parent's end was its own
                os.kill(child, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop answering, as a host does whose kernel hangs; `stop` still works."""
        for pid in (self.process.pid, *servers_below(self.process.pid)):
            os.kill(pid, signal.SIGSTOP)

    def stop(self) -> None:
        """End the server and every connection."""
        self.cut_connections()
        self.process.kill()
        self.process.wait(10)


def servers_below(pid: int) -> list[int]:
    """The sshd processes that a process started, and those that they started."""
    children = _read(Path(f"/proc/{pid}/task/{pid}/children")).split()
    servers = [int(c) for c in children if _read(Path(f"/proc/{c}/comm")).startswith("sshd")]
    return [found for server in servers for found in (server, *servers_below(server))]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it ended meanwhile


def make_key(path: Path, kind: str = "ed25519") -> None:
    """A key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)


def start_sshd(folder: Path, program: str, extra: str = SFTP) -> Sshd:
    """Start a server in `folder` on a free port and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation
    for name in ("host_key", "user_key"):
        if not (folder / name).exists():
            make_key(folder / name)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = find_free_port()
    # Without PAM sshd refuses an account that has no password, as many ordinary users' have.
    pam = "no" if os.geteuid() == 0 else "yes"
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder, pam=pam, extra=extra))
    argv = [program, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
    process = start_daemon(argv, folder / "log", lambda: _answers(port))
    return Sshd(folder, port, process)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            return client.recv(4) == b"SSH-"
    except OSError:
        return False

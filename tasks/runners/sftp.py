"""The files of a host over SFTP: on a kept SSH connection, as the login or as whom it becomes.

OpenSSH's server is run by sudo where another user is wanted: a subsystem runs as the login only.
"""

import hashlib
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Self

import paramiko
from paramiko.sftp import CMD_EXTENDED

from app.errors import StepError
from tasks.runners.base import StepControl
from tasks.runners.remote import Become, is_refused
from tasks.runners.ssh_connections import Session
from tasks.runners.ssh_side import Side, keep_going
from tool_catalog.model import Reason

_BLOCK_BYTES = 255 * 1024
#: How long the host may say nothing.
_SILENT_S = 10.0
#: How long it may take to write a file down to its disk.
_SYNC_S = 60.0
_STDERR_BYTES = 4096
#: What sha256sum prints; a name with odd characters is escaped, and so marked.
_SUM = re.compile(rb"\\?([0-9a-f]{64}) [ *]")

#: Debian, Red Hat, Arch and Alpine, BSD.
_SERVER = """
for path in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec; do
  [ -x "$path/sftp-server" ] && exec "$path/sftp-server"
done
echo "no sftp-server" >&2; exit 127
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies at a path of a host."""

    #: "file", "directory", "link" or "other".
    kind: str
    size_bytes: int
    #: The permission bits, without the kind.
    mode: int
    uid: int
    gid: int
    #: Seconds since 1970.
    modified: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What went over the wire."""

    size_bytes: int
    #: Hex.
    sha256: str


class RemoteFiles(AbstractContextManager["RemoteFiles"]):
    """One conversation about files. Every call raises StepError naming host and path."""

    def __init__(self, session: Session, become: Become, control: StepControl) -> None:
        self._session = session
        self._become = become
        self._side = Side(session, become, control)
        self._control = control
        #: Whether an effect may have come about, so that a lost connection leaves it unknown.
        self._armed = False
        session.channel.settimeout(_SILENT_S)
        self._client = self._open()

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    @property
    def host(self) -> str:
        """The name of the host, for messages."""
        return self._session.target.name

    def arm(self) -> None:
        """Say that the effect comes now; raises where it must not."""
        self._control.before_effect()
        self._armed = True

    def look(self, path: str, *, follow: bool = False) -> Entry | None:
        """What lies at a path, None for nothing; a link itself unless it is to be followed."""
        with self._saying("look at", path):
            try:
                found = self._client.stat(path) if follow else self._client.lstat(path)
            except FileNotFoundError:
                return None
            return _entry(found)

    def read_link(self, path: str) -> str:
        """Where a link leads."""
        with self._saying("read the link", path):
            return self._client.readlink(path) or ""

    def read(self, path: str, sink: Callable[[bytes], object], max_bytes: int) -> Copied:
        """Hand a file to `sink` block by block; one that is longer is refused."""
        with self._saying("read", path), self._client.open(path, "rb") as remote:
            # One round trip for each block: a short answer is allowed, and asked on from there.
            remote.MAX_REQUEST_SIZE = _BLOCK_BYTES
            return self._copy(lambda: remote.read(_BLOCK_BYTES), sink, path, max_bytes)

    def write(self, path: str, source: BufferedIOBase, max_bytes: int) -> Copied:
        """Write a new file, for its owner alone, down to the disk where the server can."""
        with self._saying("write", path), self._client.open(path, "wxb") as remote:
            remote.chmod(stat.S_IRUSR | stat.S_IWUSR)

            def write(block: bytes) -> None:
                # All but the last byte in requests that wait for no answer. The last one does,
                # for all of them: paramiko forgets what is unanswered when a file is closed.
                remote.set_pipelined(True)
                remote.write(block[:-1])
                remote.set_pipelined(False)
                remote.write(block[-1:])

            copied = self._copy(lambda: source.read(_BLOCK_BYTES), write, path, max_bytes)
            self._sync(remote)
            return copied

    def digest(self, path: str, max_bytes: int) -> str:
        """SHA-256 in hex, reckoned by the host itself where it has sha256sum."""
        with self._saying("read", path):
            found = _SUM.match(self._side.run("sha256sum", "--", path))
        if found is not None:
            return found[1].decode()
        return self.read(path, lambda _block: None, max_bytes).sha256

    def ask(self, *argv: str) -> bytes:
        """What a short program prints there, empty where it cannot be run."""
        with self._saying("run", argv[0]):
            return self._side.run(*argv)

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        """Give a file to somebody."""
        with self._saying("change the owner of", path):
            self._client.chown(path, uid, gid)

    def set_mode(self, path: str, mode: int) -> None:
        """Set a file's permission bits."""
        with self._saying("change the mode of", path):
            self._client.chmod(path, mode)

    def replace(self, old: str, new: str) -> None:
        """Rename over whatever is there, in one move."""
        with self._saying("write", new):
            self._client.posix_rename(old, new)

    def put_in_place(self, old: str, new: str) -> None:
        """Rename, unless there is something by now (OpenSSH makes sure of that with a link)."""
        with self._saying("write", new):
            self._client.rename(old, new)

    def remove(self, path: str) -> None:
        """Remove a file; nothing there is as well."""
        with self._saying("remove", path), suppress(FileNotFoundError):
            self._client.remove(path)

    def _copy(
        self,
        read: Callable[[], bytes],
        write: Callable[[bytes], object],
        path: str,
        max_bytes: int,
    ) -> Copied:
        digest, size_bytes = hashlib.sha256(), 0
        while block := read():
            keep_going(self._control)
            size_bytes += len(block)
            if size_bytes > max_bytes:
                raise too_large(path, size_bytes, max_bytes)
            digest.update(block)
            write(block)
        return Copied(size_bytes, digest.hexdigest())

    def _sync(self, remote: paramiko.SFTPFile) -> None:
        # No public call of paramiko's; a server that does not know it says so. It may take a while.
        self._session.channel.settimeout(_SYNC_S)
        with suppress(OSError):
            self._client._request(CMD_EXTENDED, "fsync@openssh.com", remote.handle)  # noqa: SLF001  # see above
        self._session.channel.settimeout(_SILENT_S)

    def _open(self) -> paramiko.SFTPClient:
        channel = self._session.channel
        try:
            if self._become.user is None:
                channel.invoke_subsystem("sftp")
            else:
                self._side.start(channel, "sh", "-c", _SERVER)
            return paramiko.SFTPClient(channel)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._closed(error) from None

    def _closed(self, error: BaseException) -> StepError:
        """Why the conversation could not begin."""
        name = self.host
        if not self._session.connection.is_connected:
            return self._lost(error)
        said = self._session.channel.recv_stderr(_STDERR_BYTES)
        if self._become.user is not None and is_refused(said):
            why = said.decode(errors="replace").strip().splitlines()[-1]
            return StepError(
                Reason.NO_PRIVILEGE,
                f"the login cannot become {self._become.user} on {name}: {why}; check the sudo "
                "rule there and the password of the credential",
            )
        return StepError(
            Reason.MISSING_PROGRAM,
            f"sshd of {name} serves no files: it needs OpenSSH's sftp-server "
            "(in sshd_config: Subsystem sftp ...)",
        )

    @contextmanager
    def _saying(self, verb: str, path: str) -> Iterator[None]:
        """Turn what paramiko raises into what a person can act on."""
        where = f"{path} on {self.host}"
        try:
            yield
        except StepError:
            raise
        except FileNotFoundError:
            words = f"cannot {verb} {where}: there is no such file or folder"
            raise StepError(Reason.NOT_FOUND, words) from None
        except PermissionError:
            who = self._become.user or "the login"
            words = f"cannot {verb} {where}: {who} may not; use another login, or run_as"
            raise StepError(Reason.NO_PRIVILEGE, words) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            lost = isinstance(error, TimeoutError) or self._session.channel.closed
            if lost or not isinstance(error, OSError):
                raise self._lost(error) from None
            if error.errno is not None:
                raise  # of a file on this side: the host's errors have none
            words = f"cannot {verb} {where}: {error}; is its disk full or read-only?"
            raise StepError(Reason.REFUSED_BY_DEVICE, words) from None

    def _lost(self, error: BaseException) -> StepError:
        self._session.broken = True
        why = str(error) or type(error).__name__
        return StepError(
            Reason.UNREACHABLE,
            f"the connection to {self.host} was lost while it served files: {why}",
            transient=True,
            sent=self._armed,
        )


def too_large(path: str, size_bytes: int, max_bytes: int) -> StepError:
    """The refusal of a file that is longer than the step takes."""
    return StepError(
        Reason.INVALID_PARAMETER,
        f"{path} has more than the {max_bytes:,} bytes of max_bytes (at least {size_bytes:,})",
    )


def _entry(found: paramiko.SFTPAttributes) -> Entry:
    mode = found.st_mode or 0
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return Entry(
        kinds.get(stat.S_IFMT(mode), "other"),
        found.st_size or 0,
        stat.S_IMODE(mode),
        found.st_uid or 0,
        found.st_gid or 0,
        int(found.st_mtime or 0),
    )

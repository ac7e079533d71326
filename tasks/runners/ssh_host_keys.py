"""Host keys: what an SSH server shows of its own, and what an asset has pinned."""

import base64
import binascii
import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import paramiko

from app.errors import StepError
from app.step import Target
from tool_catalog.model import Reason

SSH_PORT = 22
_CONNECT_S = 10
#: Host key algorithms by the type of key that they sign with, the strongest first (RFC 8332,
#: RFC 8709); a server has one key of each type at most.
_ALGORITHMS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
#: A server without a key of some type is no error, and what is one, we raise: without this
#: paramiko would log both with a traceback.
_UNHEARD = "opsfarm.host_keys"
logging.getLogger(_UNHEARD).setLevel(logging.CRITICAL)


def fetch_host_keys(target: Target) -> list[paramiko.PKey]:
    """Every host key that a server shows, the strongest type first; it is told no name.

    Raises StepError when it cannot be reached, or is no SSH server.
    """
    found = []
    refused: paramiko.SSHException | None = None
    for algorithms in _ALGORITHMS:
        try:
            with _transport(target) as transport:
                transport.get_security_options().key_types = algorithms
                transport.start_client(timeout=_CONNECT_S)
                found.append(transport.get_remote_server_key())
        except paramiko.IncompatiblePeer as error:
            refused = error  # it has no key of this type, or shares no other algorithm with us
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise _no_answer(target, error) from None
    if not found:
        raise _no_answer(target, refused or EOFError("no key was shown"))
    return found


def pinned_keys(target: Target) -> list[paramiko.PKey]:
    """The host keys of the asset's `connection.host_key`: "ssh-ed25519 AAAA...", one per type.

    Raises StepError where there is none, or it cannot be read.
    """
    given = target.options.get("host_key") or ()
    lines = [given] if isinstance(given, str) else given
    if not lines:
        raise StepError(
            Reason.HOST_KEY_CHANGED,
            f"the host key of {target.name} is not known; 'opsfarm assets trust {target.name}' "
            "shows its fingerprint and pins it",
        )
    try:
        return [_read_host_key(str(line)) for line in lines]
    except (ValueError, IndexError, binascii.Error, paramiko.SSHException):
        raise StepError(
            Reason.HOST_KEY_CHANGED,
            f"connection.host_key of {target.name} cannot be read; it looks like "
            f"\"ssh-ed25519 AAAAC3...\" ('opsfarm assets trust {target.name} --replace' sets it)",
        ) from None


def write_host_key(key: paramiko.PKey) -> str:
    """A key as `connection.host_key` and known_hosts have it."""
    return f"{key.get_name()} {key.get_base64()}"


def fingerprints(keys: Iterable[paramiko.PKey]) -> str:
    """Keys as `ssh-keygen -l` shows them: "ssh-ed25519 SHA256:..."."""
    return ", ".join(f"{key.get_name()} {key.fingerprint}" for key in keys)


def changed_host_key(
    target: Target, shown: Iterable[paramiko.PKey], pinned: Iterable[paramiko.PKey]
) -> StepError:
    """The error of a host that shows another key than the pinned one."""
    return StepError(
        Reason.HOST_KEY_CHANGED,
        f"{target.name} shows another host key ({fingerprints(shown)}) than the pinned one "
        f"({fingerprints(pinned)}); find out why before you run "
        f"'opsfarm assets trust {target.name} --replace'",
    )


@contextmanager
def _transport(target: Target) -> Iterator[paramiko.Transport]:
    address = (target.address, target.port or SSH_PORT)
    with socket.create_connection(address, _CONNECT_S) as connection:
        transport = paramiko.Transport(connection)
        try:
            transport.set_log_channel(_UNHEARD)
            transport.banner_timeout = transport.handshake_timeout = _CONNECT_S
            yield transport
        finally:
            transport.close()


def _read_host_key(line: str) -> paramiko.PKey:
    kind, text = line.split()[:2]
    return paramiko.PKey.from_type_string(kind, base64.b64decode(text, validate=True))


def _no_answer(target: Target, error: Exception) -> StepError:
    where = f"{target.name} ({target.address}:{target.port or SSH_PORT})"
    return StepError(
        Reason.UNREACHABLE,
        f"{where} shows no host key: {error or type(error).__name__}; check that sshd answers "
        "there, and that connection.port is right",
        transient=True,
    )

"""How clients log in to the WinRM double: basic, or NTLM with the seal that follows from it."""

import base64
import hashlib
import struct
from pathlib import Path

import spnego
from spnego.channel_bindings import GssChannelBindings

BOUNDARY = b"--Encrypted Boundary"
PROTOCOL = "application/HTTP-SPNEGO-session-encrypted"
SEALED = f'multipart/encrypted;protocol="{PROTOCOL}";boundary="Encrypted Boundary"'
PLAIN = "application/soap+xml;charset=UTF-8"


class Login:
    """One account. `transport` is "basic" or "ntlm"; NTLM's accounts come from NTLM_USER_FILE."""

    def __init__(self, transport: str, user: str, password: str, certificate: bytes | None = None):
        self.transport = transport
        self.user = user
        self.password = password
        #: The server's certificate in DER: then NTLM must be bound to its channel.
        self.certificate = certificate
        #: How many messages came sealed, and how many readable.
        self.sealed = 0
        self.readable = 0

    def new_session(self, _connection):
        """NTLM logs a connection in, not a request."""
        return BasicSession(self) if self.transport == "basic" else NtlmSession(self)

    def write_user_file(self, path: Path) -> Path:
        """What NTLM_USER_FILE must name."""
        domain, _, name = self.user.rpartition("\\")
        path.write_text(f"{domain}:{name}:{self.password}\n")
        return path


class BasicSession:
    def __init__(self, login: Login) -> None:
        self._login = login

    def check(self, header: str | None) -> str | None:
        """None when the login is right; else what the client must offer."""
        text = f"{self._login.user}:{self._login.password}".encode()
        if header == f"Basic {base64.b64encode(text).decode()}":
            return None
        return 'Basic realm="WSMAN"'

    def open(self, _kind: str, body: bytes) -> bytes:
        self._login.readable += 1
        return body

    def seal(self, answer: bytes) -> tuple[str, bytes]:
        return PLAIN, answer


class NtlmSession:
    def __init__(self, login: Login) -> None:
        self._login = login
        self._context = None
        self._is_sealed = False

    def check(self, header: str | None) -> str | None:
        if header is None:
            logged_in = self._context is not None and self._context.complete
            return None if logged_in else "Negotiate"
        if self._context is None:
            self._context = spnego.server(protocol="ntlm", channel_bindings=self._binding())
        try:
            token = self._context.step(base64.b64decode(header.partition(" ")[2]))
        except spnego.exceptions.SpnegoError:
            self._context = None
            return "Negotiate"
        if self._context.complete:
            return None
        return f"Negotiate {base64.b64encode(token).decode()}"

    def open(self, kind: str, body: bytes) -> bytes:
        self._is_sealed = kind.startswith("multipart/encrypted")
        if not self._is_sealed:
            self._login.readable += 1
            return body
        self._login.sealed += 1
        payload = body.split(BOUNDARY + b"\r\n", 2)[2]
        payload = payload.removeprefix(b"\tContent-Type: application/octet-stream\r\n")
        payload = payload.removesuffix(BOUNDARY + b"--\r\n")
        (length,) = struct.unpack("<i", payload[:4])
        return self._context.unwrap_winrm(payload[4 : 4 + length], payload[4 + length :])

    def seal(self, answer: bytes) -> tuple[str, bytes]:
        if not self._is_sealed:
            return PLAIN, answer
        wrapped = self._context.wrap_winrm(answer)
        length = struct.pack("<i", len(wrapped.header))
        lines = (
            BOUNDARY,
            f"\tContent-Type: {PROTOCOL}".encode(),
            f"\tOriginalContent: type={PLAIN};Length={len(answer)}".encode(),
            BOUNDARY,
            b"\tContent-Type: application/octet-stream",
            length + wrapped.header + wrapped.data + BOUNDARY + b"--",
        )
        return SEALED, b"\r\n".join(lines) + b"\r\n"

    def _binding(self) -> GssChannelBindings | None:
        if self._login.certificate is None:
            return None
        digest = hashlib.sha256(self._login.certificate).digest()
        return GssChannelBindings(application_data=b"tls-server-end-point:" + digest)

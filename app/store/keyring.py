"""The farm's key, held outside PostgreSQL: seals data keys and derives other keys."""

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.config import Settings
from app.errors import ConfigError, SealBroken

KEY_BYTES = 32
NONCE_BYTES = 12

_HOW_TO_MAKE = (
    "make one with: python3 -c "
    "'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'"
)


class Keyring:
    """One current key and those before it: the current one seals, each one opens.

    A ring with several keys is what a change of keys looks like: `put_new_key` puts one first,
    `Vault.rewrap` follows; the old ones stay for as long as API keys made under them are in use.
    """

    def __init__(self, keys: Sequence[bytes], source: Path | None = None) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ConfigError(
                f"a farm key has {KEY_BYTES} bytes, written in base64: {_HOW_TO_MAKE}"
            )
        self._keys = {_key_id(key): key for key in keys}
        self.current_id = _key_id(keys[0])
        #: The file that the keys came from: a new key may come into it while we run.
        self._source = source

    @classmethod
    def from_settings(cls, settings: Settings) -> "Keyring":
        """The ring in OPSFARM_SECRET_KEY, else in OPSFARM_SECRET_KEY_FILE; raises ConfigError."""
        text = settings.secret_key.get_secret_value()
        if text:
            return cls(_decode(text, "OPSFARM_SECRET_KEY"))
        if settings.secret_key_file is None:
            raise ConfigError(
                "no farm key: set OPSFARM_SECRET_KEY or OPSFARM_SECRET_KEY_FILE, "
                f"or run 'opsfarm up'; {_HOW_TO_MAKE}"
            )
        return read_key_file(settings.secret_key_file)

    @property
    def keys(self) -> dict[str, bytes]:
        """Every key by its id, the current one first."""
        return dict(self._keys)

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """32 bytes for one purpose from each key of the ring, the current one first."""
        return tuple(_derive(key, purpose) for key in self._keys.values())

    def wrap(self, data_key: bytes, bound_to: bytes) -> bytes:
        """Seal a data key with the current key; the same `bound_to` opens it again."""
        return seal(self._keys[self.current_id], data_key, bound_to)

    def unwrap(self, key_id: str, wrapped: bytes, bound_to: bytes) -> bytes:
        """Open a data key; raises SealBroken when it was altered or its key is not here."""
        if key_id not in self._keys and self._source is not None:
            self._keys = self._keys | read_key_file(self._source).keys
        if key_id not in self._keys:
            raise SealBroken(f"sealed with the farm key {key_id}, which this process does not have")
        return unseal(self._keys[key_id], wrapped, bound_to)


def seal(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """AES-256-GCM: a random nonce of 12 bytes, then the cipher text with its tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def unseal(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """Undo `seal`; raises SealBroken when a bit, the key or `bound_to` differs."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise SealBroken("altered since it was sealed, or sealed with another key") from None


def read_key_file(path: Path) -> Keyring:
    """The ring in a file, one key a line, the current one first; raises ConfigError."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"farm key file {path}: {_why(error)}; {_HOW_TO_MAKE}") from None
    return Keyring(_decode(text, f"farm key file {path}"), path)


def make_key_file(path: Path) -> None:
    """Write a new key to a file of mode 0600; an existing one is never touched (ConfigError)."""
    write_private_file(path, _new_line())


def put_new_key(path: Path) -> Keyring:
    """Make a key the first line of a key file, its earlier lines below; gives the new ring.

    The file is replaced at once, with mode 0600 and its owner. Raises ConfigError.
    """
    with _alone_in(path.parent):
        read_key_file(path)  # not onto a file that holds no keys
        before = path.stat()
        handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as sink:
                _write_through(sink, _new_line() + path.read_bytes())
                os.fchown(sink.fileno(), before.st_uid, before.st_gid)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    return read_key_file(path)


def write_private_file(path: Path, content: bytes) -> None:
    """Make a file of mode 0600, whole or not at all; raises ConfigError when it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as sink:
            _write_through(sink, content)
        os.link(draft, path)  # unlike a rename, refuses to replace
    except FileExistsError:
        raise ConfigError(f"{path} exists; it is not replaced") from None
    finally:
        Path(draft).unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two changes of a key file at once would lose one of the keys."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_through(sink: BinaryIO, content: bytes) -> None:
    sink.write(content)
    sink.flush()
    os.fsync(sink.fileno())


def _new_line() -> bytes:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"


def _decode(text: str, source: str) -> list[bytes]:
    try:
        return [base64.b64decode(word, validate=True) for word in text.split()]
    except binascii.Error:
        raise ConfigError(f"{source} is not base64; {_HOW_TO_MAKE}") from None


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"opsfarm {purpose}".encode()).derive(key)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(_derive(key, "key id")).hexdigest()[:16] if len(key) == KEY_BYTES else ""


def _why(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "is not text"

"""Private keys of a test's own."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


def make_private_key(passphrase=None, form=PrivateFormat.OpenSSH):
    """A fresh Ed25519 key as text."""
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, lock).decode()

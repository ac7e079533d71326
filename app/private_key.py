"""Whether a private key can be used for logins (pure: it is looked at before it is sealed)."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from app.errors import UserError
from app.step import Secret

#: What SSH servers of today take; the runner reads the same ones.
_KINDS = (Ed25519PrivateKey, EllipticCurvePrivateKey, RSAPrivateKey)
_HINT = "it must be Ed25519, ECDSA or RSA, in OpenSSH or PEM form, whole and unaltered"


def check_private_key(text: Secret, passphrase: Secret | None) -> None:
    """Raise UserError, which holds nothing of the key, unless it opens with its passphrase."""
    encoded = text.reveal().strip().encode() + b"\n"
    load = load_ssh_private_key if b"BEGIN OPENSSH" in encoded else load_pem_private_key
    try:
        key = load(encoded, passphrase.reveal().encode() if passphrase else None)
    except TypeError:  # cryptography's word for a passphrase that is missing, or one too many
        raise _passphrase_error(passphrase) from None
    except (ValueError, UnsupportedAlgorithm):
        if passphrase is not None:
            raise UserError("the private key does not open with this passphrase") from None
        raise UserError("the private key cannot be read", hint=_HINT) from None
    if not isinstance(key, _KINDS):
        raise UserError("a private key of this type is not served", hint=_HINT)


def _passphrase_error(passphrase: Secret | None) -> UserError:
    if passphrase is None:
        return UserError(
            "the private key has a passphrase",
            hint="give it too: opsfarm credentials add NAME ... --private-key FILE --passphrase",
        )
    return UserError(
        "the private key has no passphrase",
        hint="leave --passphrase out; what sudo asks for is --become-password",
    )

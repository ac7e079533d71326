"""A certificate authority of the tests' own, and a server certificate that it signed."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """Files in PEM."""

    authority: Path
    #: Certificate and key in one file.
    server: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context

    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, in hex with colons."""
        certificate = x509.load_pem_x509_certificate(self.server.read_bytes())
        return certificate.fingerprint(hashes.SHA256()).hex(":")


def make_certificates(folder: Path, *names: str) -> Certificates:
    """Issue a certificate for host names and addresses (default: localhost and 127.0.0.1)."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _issue("opsfarm test authority", authority_key, authority_key, [], None)
    key = ec.generate_private_key(ec.SECP256R1())
    names = names or ("localhost", "127.0.0.1")
    certificate = _issue(names[0], key, authority_key, [_san(name) for name in names], authority)
    made = Certificates(folder / "authority.pem", folder / "server.pem")
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(authority.public_bytes(pem))
    made.server.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _issue(name, key, signing_key, sans, issuer):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _san(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

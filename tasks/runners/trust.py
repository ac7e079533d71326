"""How the certificate of an HTTPS server is judged."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """How a server's certificate is judged: by the public authorities unless something is set."""

    ca_file: Path | None = None
    #: PEM of authorities, in place of the public ones.
    ca: str | None = None
    #: SHA-256 in hex: exactly this certificate, whoever signed it and whatever it is named.
    fingerprint: str | None = None
    #: False: any certificate.
    verify: bool = True

    @property
    def pool_options(self) -> dict[str, str]:
        """What urllib3's pools are told."""
        options = {"ca_cert_data": self.ca, "assert_fingerprint": self.fingerprint}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def requests_verify(self) -> bool | str:
        """The same in the words of requests; a fingerprint takes the place of its checks."""
        if self.fingerprint is not None or not self.verify:
            return False
        return str(self.ca_file) if self.ca_file else True

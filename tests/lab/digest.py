"""The server's side of HTTP digest (RFC 7616, RFC 2617) and basic logins, as a camera keeps it."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True)
class Account:
    """`role`: viewer, operator or admin."""

    password: str
    role: str = "admin"


@dataclass
class Doorkeeper:
    """Issues nonces and judges what comes back; counts what it saw."""

    accounts: dict[str, Account]
    realm: str = "AXIS_ACCC8E000001"
    #: The schemes that are offered, in this order.
    offers: tuple[str, ...] = ("digest",)
    algorithm: str = "MD5"
    #: Nonce to the highest nc that came with it.
    nonces: dict[str, int] = field(default_factory=dict)
    #: Wrong user names, passwords, counts or URIs.
    refused: int = 0

    def forget_nonces(self):
        """Every nonce has aged."""
        self.nonces.clear()

    def judge(self, header, method, target):
        """(account, None), or (None, lines of WWW-Authenticate)."""
        scheme, _, rest = (header or "").partition(" ")
        if scheme.lower() == "digest" and "digest" in self.offers:
            return self._judge_digest(rest, method, target)
        if scheme.lower() == "basic" and "basic" in self.offers:
            name, _, password = base64.b64decode(rest).decode().partition(":")
            account = self.accounts.get(name)
            if account and secrets.compare_digest(account.password, password):
                return account, None
            self.refused += 1
        return None, self._challenges()

    def _judge_digest(self, rest, method, target):
        given = {
            name: re.sub(r"\\(.)", r"\1", quoted) if quoted or not bare else bare
            for name, quoted, bare in _PARAMETER.findall(rest)
        }
        if given.get("nonce") not in self.nonces:
            return None, self._challenges(stale=True)
        account = self.accounts.get(given.get("username", ""))
        if account is None or not self._is_right(given, account, method, target):
            self.refused += 1
            return None, self._challenges()
        self.nonces[given["nonce"]] = int(given["nc"], 16)
        return account, None

    def _is_right(self, given, account, method, target):
        rising = re.fullmatch("[0-9a-f]{8}", given.get("nc", "")) is not None
        rising = rising and int(given["nc"], 16) > self.nonces[given["nonce"]]
        if not rising or given.get("uri") != target or given.get("qop") != "auth":
            return False
        user = self._hash(f"{given['username']}:{self.realm}:{account.password}")
        asked = self._hash(f"{method}:{given['uri']}")
        middle = ":".join(given[name] for name in ("nonce", "nc", "cnonce", "qop"))
        return given.get("response") == self._hash(f"{user}:{middle}:{asked}")

    def _hash(self, text):
        name = {"MD5": "md5", "SHA-256": "sha256"}[self.algorithm]
        return hashlib.new(name, text.encode()).hexdigest()

    def _challenges(self, *, stale=False):
        lines = []
        for scheme in self.offers:
            if scheme == "basic":
                lines.append(f'Basic realm="{self.realm}"')
                continue
            nonce = secrets.token_urlsafe(24)
            self.nonces[nonce] = 0
            aged = ", stale=true" if stale else ""
            lines.append(
                f'Digest realm="{self.realm}", nonce="{nonce}", '
                f'algorithm={self.algorithm}, qop="auth"{aged}'
            )
        return lines

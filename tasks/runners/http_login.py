"""How a request shows who sends it: basic, bearer, digest (RFC 7616, RFC 2617, RFC 2069)."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.errors import StepError
from app.step import Credential
from tool_catalog.model import Reason

Challenge = tuple[str, Mapping[str, str]]

#: One parameter, or one scheme, of a WWW-Authenticate line (RFC 9110, 11.6.1).
_PART = re.compile(
    r"""[\s,]*(?:(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))"""
    r"""|(?P<scheme>[A-Za-z][\w-]*)(?=[\s,]|$))"""
)


def read_challenges(lines: Iterable[str]) -> list[Challenge]:
    """(scheme, parameters) of every challenge, both names in lower case, in the server's order."""
    challenges: list[tuple[str, dict[str, str]]] = []
    for line in lines:
        for part in _PART.finditer(line):
            if part["scheme"]:
                challenges.append((part["scheme"].lower(), {}))
            elif challenges:
                quoted = part["quoted"]
                value = part["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                challenges[-1][1][part["name"].lower()] = value
    return list(challenges)


class Login:
    """The login of one kept connection: what it has learnt of the server's challenges.

    `hidden` says that TLS keeps the requests from other eyes.
    """

    def __init__(self, credential: Credential | None, kind: str, *, hidden: bool) -> None:
        self._credential = credential
        self._kind = kind
        self._hidden = hidden
        self._digest: _Digest | None = None
        self._sends_basic = kind == "basic"

    def header(self, method: str, uri: str) -> str | None:
        """The Authorization of a request; None where none can be given yet."""
        if self._credential is None:
            return None
        username, password = self._credential.username, _password(self._credential)
        if self._kind == "bearer":
            return f"Bearer {password}"
        if self._sends_basic:
            return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        if self._digest is None:
            return None
        return self._digest.header(method, uri, username, password)

    def learn(self, lines: Iterable[str]) -> bool:
        """Take in the challenge of a 401; False where trying again would change nothing."""
        refused, self._digest = self._digest, None
        if self._credential is None or self._kind == "bearer" or self._sends_basic:
            return False
        challenges = read_challenges(lines)
        digests = [given for scheme, given in challenges if scheme == "digest"]
        usable = next((given for given in digests if _is_usable(given)), None)
        if usable is not None:
            # The server's very own nonce of a moment ago: not aged, so the login is wrong.
            fresh = refused is not None and refused.count == 1
            if fresh and usable.get("stale", "").lower() != "true":
                return False
            self._digest = _Digest.read(usable)
            return True
        if self._kind == "auto" and any(scheme == "basic" for scheme, _ in challenges):
            self._sends_basic = self._may_send_basic()
            return True
        raise StepError(Reason.AUTH_FAILED, _cannot(challenges))

    def _may_send_basic(self) -> bool:
        if self._hidden:
            return True
        raise StepError(
            Reason.AUTH_FAILED,
            "the target asks for a basic login over plain http, which would show the password to "
            "the network; set connection.scheme to https, or connection.login to basic to allow it",
        )


def _cannot(challenges: list[Challenge]) -> str:
    """What the target wants instead, in words."""
    wanted = ", ".join(dict.fromkeys(scheme for scheme, _ in challenges)) or "nothing we can read"
    return (
        f"the target asks for another login than connection.login allows ({wanted}); "
        "known are basic, bearer, and digest by MD5 or SHA-256 with qop auth"
    )


def _password(credential: Credential) -> str:
    if credential.password is None:
        raise StepError(
            Reason.AUTH_FAILED, f"credential {credential.name} has no password; add one"
        )
    return credential.password.reveal()


def _is_usable(given: Mapping[str, str]) -> bool:
    base = given.get("algorithm", "MD5").upper().removesuffix("-SESS")
    return base in _HASHES and "nonce" in given and _qop(given) is not None


def _qop(given: Mapping[str, str]) -> str | None:
    """The qop to answer with: "" of a server without (RFC 2069), None of one with other ones."""
    if "qop" not in given:
        return ""
    return "auth" if "auth" in re.split(r"[\s,]+", given["qop"].lower()) else None


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_HASHES: Mapping[str, Callable[[str], str]] = {"MD5": _md5, "SHA-256": _sha256}


@dataclass(slots=True)
class _Digest:
    """A nonce of the server, and how often it was used."""

    realm: str
    nonce: str
    opaque: str | None
    algorithm: str
    #: As the server wrote it; None where it wrote none.
    algorithm_given: str | None
    qop: str
    count: int = 0

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "_Digest":
        return cls(
            realm=given.get("realm", ""),
            nonce=given["nonce"],
            opaque=given.get("opaque"),
            algorithm=given.get("algorithm", "MD5").upper(),
            algorithm_given=given.get("algorithm"),
            qop=_qop(given) or "",
        )

    def header(self, method: str, uri: str, username: str, password: str) -> str:
        """The next answer with this nonce (RFC 7616, 3.4)."""
        self.count += 1
        count, cnonce = f"{self.count:08x}", secrets.token_hex(16)
        hashed = _HASHES[self.algorithm.removesuffix("-SESS")]
        user = hashed(f"{username}:{self.realm}:{password}")
        if self.algorithm.endswith("-SESS"):
            user = hashed(f"{user}:{self.nonce}:{cnonce}")
        asked = hashed(f"{method}:{uri}")
        middle = [count, cnonce, self.qop] if self.qop else []
        quoted = {
            "username": username,
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": uri,
            "response": hashed(":".join([user, self.nonce, *middle, asked])),
            **({"opaque": self.opaque} if self.opaque is not None else {}),
            **({"cnonce": cnonce} if self.qop or self.algorithm.endswith("-SESS") else {}),
        }
        bare = {
            **({"algorithm": self.algorithm_given} if self.algorithm_given else {}),
            **({"qop": self.qop, "nc": count} if self.qop else {}),
        }
        parts = [f"{name}={_quote(value)}" for name, value in quoted.items()]
        return "Digest " + ", ".join([*parts, *(f"{n}={value}" for n, value in bare.items())])


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

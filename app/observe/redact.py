"""Takes what looks like a secret out of a text (pure): the last net, also under logs."""

import re

MASK = "***"

#: Names whose value is a secret, as they end in options, headers, JSON and connection texts.
TELLING_NAMES = (
    r"(?:password|passwd|passphrase|(?<=_)pwd|(?<![a-z0-9])(?:secret|token)"
    r"|(?:api|access|secret|private|account|client)[_-]?(?:access[_-]?)?(?:key|token|secret))"
)

#: What must stand in a text, in lower case, for the expression beside it to be worth the search;
#: looking for it costs a twentieth. Each expression keeps its first group and masks the rest. None
#: looks back further than a name is long: the text may be hostile.
_NAMED = ("passw", "passphrase", "pwd", "secret", "token", "key")
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (_NAMED, re.compile(rf"(?i)({TELLING_NAMES}\"?[ \t]*[=:][ \t]*\")(?:[^\"\\\n]|\\.)+(?=\")")),
    (_NAMED, re.compile(rf"(?i)({TELLING_NAMES}'?[ \t]*[=:][ \t]*')[^'\n]+(?=')")),
    (_NAMED, re.compile(rf"(?i)({TELLING_NAMES}[ \t]*[=:][ \t]*)[^\s\"',;&)\]}}]+")),
    (
        ("authorization",),
        re.compile(r"(?i)(authorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:[a-z]+[ \t]+)?)[^\s\"',]+"),
    ),
    (("bearer",), re.compile(r"(?i)(\bbearer[ \t]+)[a-z0-9._~+/-]{16,}=*")),
    (("akia", "asia"), re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    (
        ("gh", "github_pat_"),
        re.compile(r"()\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{22,}\b"),
    ),
    (("xox",), re.compile(r"()\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    (("eyj",), re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+")),
    (("opsfarm_",), re.compile(r"()\bopsfarm_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")),
    (("hooks.slack",), re.compile(r"(https://hooks\.slack(?:-gov)?\.com/)[A-Za-z0-9/_-]+")),
    (("://",), re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)")),
    (
        ("private key",),
        re.compile(
            r"()-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
            r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
    ),
)


def redact(text: str) -> str:
    """The text with `***` where a password, key or token seems to stand."""
    lowered = text.lower()
    for needles, pattern in _PATTERNS:
        if any(needle in lowered for needle in needles):
            text = pattern.sub(lambda found: (found[1] or "") + MASK, text)
    return text

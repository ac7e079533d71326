"""A secret that is planted and looked for, in every form that text takes on its way."""

import base64
import re
import secrets
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus


def make_canary() -> str:
    """A value that each way of writing it down writes differently."""
    return f"{secrets.token_hex(12)}/+&?{secrets.token_hex(12)}"


def forms_of(canary: str) -> set[str]:
    """The canary plain, hex, url-encoded, in JSON, and in base64 wherever in a text it stands."""
    plain = canary.encode()
    forms = {canary, plain.hex(), plain.hex().upper(), quote(canary), quote(canary, safe="")}
    forms |= {quote_plus(canary), canary.replace("/", "\\/")}
    for before in range(3):  # base64 takes three bytes at a time
        text = base64.b64encode(b"\0" * before + plain).decode()
        # Letters at both ends hold bits of the neighbours, too.
        middle = text[4 if before else 0 : len(text) // 4 * 4 - 4]
        forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return forms


def find_shown(texts: Iterable[str], canary: str) -> Iterator[str]:
    """A sentence for each text in which the canary stands in any form."""
    pattern = re.compile("|".join(re.escape(form) for form in sorted(forms_of(canary))))
    for text in texts:
        if found := pattern.search(text):
            around = text[max(0, found.start() - 60) : found.start()]
            yield f"the canary secret stands behind: {around!r}"

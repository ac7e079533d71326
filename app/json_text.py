"""Values as JSON that PostgreSQL's jsonb takes (pure)."""

import json
import math
import re
from typing import Any

_REFUSED = re.compile("[\ud800-\udfff\x00]")
#: What `json.dumps` writes for those; also for halves of pairs that are fine.
_SUSPECT = re.compile(r"\\u(?:0000|d[89a-f])")


def write_json(value: object) -> str:
    """The value as text; what jsonb refuses is replaced, so that no result is lost for it."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(make_storable(value))
    return json.dumps(make_storable(value)) if _SUSPECT.search(text) else text


def make_storable(value: object) -> Any:  # noqa: ANN401  # JSON
    """The same value, fit for jsonb: no NUL, no lone surrogate, no NaN or infinity."""
    if isinstance(value, str):
        return _REFUSED.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [make_storable(item) for item in value]
    if isinstance(value, dict):
        return {str(make_storable(name)): make_storable(item) for name, item in value.items()}
    return value

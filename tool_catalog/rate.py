"""How often an operation may begin: `rate_limit`."""

import re

_RATE = re.compile(r"(?P<times>[1-9][0-9]{0,5})/(?P<unit>s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def interval_of(rate: str) -> float:
    """Seconds between two starts of a `rate_limit` such as 10/min; raises ValueError."""
    found = _RATE.fullmatch(rate)
    if found is None:
        raise ValueError(f"{rate!r} is no rate; write 10/min, 2/s or 100/h")
    return _SECONDS[found["unit"]] / int(found["times"])

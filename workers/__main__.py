"""`python -m workers <pool|dispatcher|beat|flower>`: one process of the farm."""

import sys
import warnings

from app.config import Settings, read_settings
from app.errors import ConfigError, Unavailable
from app.observe.logs import set_up_logging
from queues import NOT_POSSIBLE, REFUSED, Pool
from tool_catalog.model import CatalogError
from workers import beat, dispatcher, flower
from workers.capture import find_capabilities
from workers.worker import make_worker_app, run_worker

USAGE = f"usage: python -m workers {'|'.join(Pool)}|dispatcher|beat|flower"

SERVICES = {"dispatcher": dispatcher.main, "beat": beat.main, "flower": flower.main}


def main(arguments: list[str]) -> int:
    """Run one process until it is told to stop; gives its exit status."""
    if len(arguments) != 1 or arguments[0] not in {*Pool, *SERVICES}:
        sys.stderr.write(USAGE + "\n")
        return 2
    try:
        settings = read_settings()
        set_up_logging(settings.log_level, settings.log_format)
        if arguments[0] in SERVICES:
            SERVICES[arguments[0]](settings)
            return 0
        return run_pool(Pool(arguments[0]), settings)
    except (ConfigError, CatalogError, Unavailable) as error:
        sys.stderr.write(f"opsfarm {arguments[0]}: {error}\n")
        return 1 if isinstance(error, Unavailable) else REFUSED


def run_pool(pool: Pool, settings: Settings) -> int:
    """A Celery worker on this pool's queues."""
    if pool is Pool.CAPTURE and "net_raw" not in find_capabilities():
        sys.stderr.write(
            "capture is not possible here: this user may not open raw sockets "
            "(run as root, or with ambient CAP_NET_RAW and CAP_NET_ADMIN)\n"
        )
        return NOT_POSSIBLE
    return run_worker(make_worker_app(settings, pool), pool.value)


if __name__ == "__main__":
    # Celery warns root because of pickle; we read JSON only.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
    sys.exit(main(sys.argv[1:]))

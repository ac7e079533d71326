"""`python -m app.api`: serve the HTTP API."""

import sys

import uvicorn

from app.api.application import create_api
from app.config import read_settings
from app.errors import ConfigError
from app.observe.logs import set_up_logging
from app.parts import build_parts
from queues import REFUSED
from tool_catalog.model import CatalogError

#: Watchers of events would keep a server from ending: they resume at the next one.
_SHUTDOWN_S = 3


def main() -> int:
    """Serve on the configured address until a signal ends it; gives the exit status."""
    try:
        serve()
    except (ConfigError, CatalogError) as error:
        sys.stderr.write(f"opsfarm api: {error}\n")
        return REFUSED
    return 0


def serve() -> None:
    """Build the application and serve it. Raises ConfigError and CatalogError."""
    settings = read_settings()
    set_up_logging(settings.log_level, settings.log_format)
    uvicorn.run(
        create_api(build_parts(settings)),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


if __name__ == "__main__":
    sys.exit(main())

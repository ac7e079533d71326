"""Flower: workers, queues and steps in a browser. Read-only; what it shows is display only."""

import logging
import os
import signal
from ipaddress import ip_address

from flower.app import Flower
from flower.options import options
from flower.urls import settings as web_settings
from tornado.httputil import HTTPHeaders
from tornado.web import OutputTransform

from app.celery_app import make_celery
from app.config import Settings
from app.errors import ConfigError

#: Steps kept in memory; the ledger has them all.
MAX_STEPS_SHOWN = 20_000
_COLUMNS = "name,args,state,received,started,runtime,worker"

_log = logging.getLogger(__name__)


class SameOriginOnly(OutputTransform):
    """Takes back Flower's word that any web page may read an API without a password."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Drop the CORS headers of an answer."""
        for name in [name for name in headers if name.startswith("Access-Control-")]:
            del headers[name]
        return super().transform_first_chunk(status_code, headers, chunk, finishing)


def main(settings: Settings) -> None:
    """Serve Flower until SIGTERM or SIGINT; raises ConfigError when it cannot."""
    web = make_flower(settings)
    try:
        web.start_http_server()
    except OSError as error:
        place = f"{settings.flower_host}:{settings.flower_port}"
        raise ConfigError(
            f"Flower cannot listen on {place} ({error.strerror}): set OPSFARM_FLOWER_PORT"
        ) from error
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: web.io_loop.add_callback_from_signal(web.stop))
    _log.info("Flower listens on http://%s:%d", settings.flower_host, settings.flower_port)
    web.start()


def make_flower(settings: Settings) -> Flower:
    """Flower for our Celery app; beyond loopback only behind a password."""
    password = settings.flower_password.get_secret_value()
    if not password and not _is_loopback(settings.flower_host):
        raise ConfigError(
            f"Flower on {settings.flower_host} needs a password: set OPSFARM_FLOWER_PASSWORD"
        )
    # Only from this host, and read-only: its API needs no password then.
    os.environ["FLOWER_UNAUTHENTICATED_API"] = "false" if password else "true"
    options.address = settings.flower_host
    options.port = settings.flower_port
    options.basic_auth = [f"{settings.flower_user}:{password}"] if password else []
    options.read_only = True
    options.persistent = False  # the ledger remembers; Flower writes no file
    options.natural_time = True
    options.tasks_columns = _COLUMNS
    options.max_tasks = MAX_STEPS_SHOWN
    options.enable_events = settings.remote_control
    logging.getLogger("tornado.access").propagate = False  # a line for each poll of a browser
    web = Flower(capp=make_celery(settings), options=options, **web_settings)
    web.add_transform(SameOriginOnly)
    return web


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The one Celery instance; each setting with its reason."""

from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu import Exchange, Queue

from app.broker import register_transport
from app.config import Settings
from app.errors import ConfigError
from queues import Pool

#: Seconds a broker socket may stay silent before we call it dead.
SOCKET_TIMEOUT_S = 10

#: Publishing must not wait for a broker that is down (kombu: 6 s): the row stays in the ledger
#: and the dispatcher sends it. Consumers reconnect by Celery's settings.
PUBLISH_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}

REDIS_SCHEMES = frozenset({"redis", "rediss"})
AMQP_SCHEMES = frozenset({"amqp", "amqps", "pyamqp"})


def uses_redis(settings: Settings) -> bool:
    """Whether the broker is Redis: then queues are `no_ack` and nothing is prefetched."""
    return urlsplit(settings.broker_url).scheme in REDIS_SCHEMES


def check_broker_url(url: str) -> None:
    """Raise ConfigError for a broker that opsfarm cannot use."""
    if not url:
        raise ConfigError("no broker: set OPSFARM_BROKER_URL, or run 'opsfarm up'")
    scheme = urlsplit(url).scheme
    if scheme not in REDIS_SCHEMES | AMQP_SCHEMES:
        raise ConfigError(f"broker scheme {scheme!r}: use redis, rediss, amqp or amqps")
    if "cluster" in urlsplit(url).query:
        raise ConfigError("Redis Cluster cannot be the broker: its queues need one node's lists")


def make_queue(name: str, settings: Settings) -> Queue:
    """A queue with its own exchange and routing key (kombu shows the default's otherwise)."""
    exchange = Exchange(name, type="direct")
    if uses_redis(settings):
        # The ledger's claim is what makes delivery safe; acknowledging costs 4 commands a step.
        return Queue(name, exchange, routing_key=name, no_ack=True)
    return Queue(
        name, exchange, routing_key=name, queue_arguments={"x-queue-type": "quorum"}, durable=True
    )


class FarmCelery(Celery):
    """Celery's app that knows the farm's settings and the pool that it serves, if any."""

    def __init__(self, settings: Settings, pool: Pool | None) -> None:
        super().__init__("opsfarm", broker=settings.broker_url, set_as_current=False)
        self.farm_settings = settings
        self.farm_pool = pool


def make_celery(settings: Settings, pool: Pool | None = None) -> FarmCelery:
    """The Celery app; with a pool, one that consumes this pool's queues by default."""
    check_broker_url(settings.broker_url)
    register_transport()
    celery = FarmCelery(settings, pool)
    celery.conf.update(_common_settings(settings))
    celery.conf.update(_redis_settings() if uses_redis(settings) else _amqp_settings())
    pools = [pool] if pool else [Pool.COMMS, Pool.ASSET, Pool.NETWORK, Pool.AUTOMATION]
    names = [name for each in pools for name in settings.routing.queues_of(each, settings.host)]
    celery.conf.task_queues = [make_queue(name, settings) for name in names]
    celery.conf.update(
        task_default_queue=names[0],
        task_default_exchange=names[0],
        task_default_routing_key=names[0],
    )
    return celery


def _common_settings(settings: Settings) -> dict[str, Any]:
    return {
        # Results live in the ledger.
        "task_ignore_result": True,
        "result_backend": None,
        # Nothing but JSON is read: a message can never be code.
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        # Early acknowledgement: what was lost is published again from the ledger.
        "task_acks_late": False,
        # A link to network.capture.<host> is published by workers that never declared it.
        "task_create_missing_queues": True,
        # Keep trying for ever, also at start: a broker that is down is no reason to die.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 5,
        # Publishing gives up quickly: the dispatcher sends again what could not be sent.
        "task_publish_retry": False,
        # Prefetch one: a waiting message belongs to whoever is free first.
        "worker_prefetch_multiplier": 1,
        # Our own logging (app.observe.logs) formats and scrubs.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # For Flower; off, they cost nothing.
        "worker_send_task_events": settings.events,
        "task_send_sent_event": False,
        "worker_enable_remote_control": settings.remote_control,
        # The ledger's heartbeat tells who is alive.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_max_loop_interval": settings.beat_tick_s,
    }


def _redis_settings() -> dict[str, Any]:
    return {
        # Take a message only when a slot is free (the whole queue comes at once without it).
        "worker_disable_prefetch": True,
        "broker_transport_options": {
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 25,
            **PUBLISH_ONCE,
            # Nothing of ours is unacknowledged; Celery's own queues should not wait an hour.
            "visibility_timeout": 3600,
            "queue_order_strategy": "round_robin",
        },
    }


def _amqp_settings() -> dict[str, Any]:
    return {
        "broker_transport_options": {"confirm_publish": True, **PUBLISH_ONCE},
        "broker_heartbeat": 20,
        "worker_detect_quorum_queues": True,
    }

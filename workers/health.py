"""`python -m workers.health [POOL]`: whether this host's processes can do their work (containers).

Exit status 0 when ledger and broker answer and, with a pool, when its worker on this host beats.
"""

import sys

from app.celery_app import make_celery
from app.config import Settings, read_settings
from app.errors import ConfigError, Unavailable
from app.observe.health import broker_answers, ledger_answers
from app.store.db import make_engine
from app.store.roster import Roster
from app.worker_offer import LIVE_S
from queues import Pool


def find_fault(settings: Settings, pool: Pool | None) -> str:
    """What is wrong, in words; empty when all is well. Raises ConfigError."""
    engine = make_engine(settings.database_url, name="opsfarm health")
    try:
        if not ledger_answers(engine):
            return "PostgreSQL does not answer"
        if not broker_answers(make_celery(settings)):
            return "the broker does not answer"
        if pool is None:
            return ""
        offers = Roster(engine).offers(LIVE_S)
        beats = any(o.pool == pool and o.host == settings.host and not o.stopped for o in offers)
        return "" if beats else f"no worker of {pool} on {settings.host} beats"
    finally:
        engine.dispose()


def main(arguments: list[str]) -> int:
    """Say what is wrong on standard error; gives the exit status."""
    if len(arguments) > 1 or not set(arguments) <= set(Pool):
        sys.stderr.write(f"usage: python -m workers.health [{'|'.join(Pool)}]\n")
        return 2
    try:
        fault = find_fault(read_settings(), Pool(arguments[0]) if arguments else None)
    except (ConfigError, Unavailable) as error:
        fault = str(error)
    if fault:
        sys.stderr.write(f"{fault}\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

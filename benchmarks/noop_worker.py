"""A worker of ours whose commands are played back by the fake runner: all else is real.

Started with the pool's name as its argument; the peers' no-op tasks do nothing either.
"""

import sys

from app.config import read_settings
from app.observe.logs import set_up_logging
from queues import Pool
from tasks.runners.base import RawOutput
from tasks.runners.fake import Answer, FakeRunner
from workers.lifecycle import FarmStep
from workers.worker import make_worker_app, run_worker

NOTHING = Answer(RawOutput(exit_code=0))


class NoopStep(FarmStep):
    """Our worker's step with another runner in its workshop."""

    name = "benchmarks.NoopStep"

    def __init__(self, worker: object, **options: object) -> None:
        super().__init__(worker, **options)
        runner = FakeRunner([NOTHING])
        runner.calls = Forgetful()
        self.shop.runners["local"] = runner  # type: ignore[index]  # make_runners gives a dict


class Forgetful(list):  # type: ignore[type-arg]  # of calls, none of which stays
    """A list that keeps nothing: a long run must not grow."""

    def append(self, _item: object) -> None:
        """Forget it."""


def main(pool: Pool) -> None:
    """Serve one pool until SIGTERM."""
    settings = read_settings()
    set_up_logging("WARNING", "text")
    celery = make_worker_app(settings, pool)
    celery.steps["worker"].discard(FarmStep)
    celery.steps["worker"].add(NoopStep)
    run_worker(celery, pool.value)


if __name__ == "__main__":
    main(Pool(sys.argv[1]))

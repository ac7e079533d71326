"""The peer: Celery as its documentation starts it, a chain of no-ops over four queues."""

import os

from celery import Celery, chain

QUEUES = ("comms", "asset", "network", "automation")

app = Celery("peer")
# A worker process finds its Redis in the environment; the benchmark itself sets it later.
app.conf.update(broker_url=os.environ.get("PEER_URL"), result_backend=os.environ.get("PEER_URL"))


@app.task(name="peer.noop")
def noop() -> None:
    """Nothing."""


def make_chain(steps: int) -> chain:
    """A plan of the peer: immutable no-ops that go round the four queues."""
    return chain(*[noop.si().set(queue=QUEUES[index % len(QUEUES)]) for index in range(steps)])

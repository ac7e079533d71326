"""The only Celery task: a doorbell. What happens behind it is in `tasks.execute`."""

import logging
from typing import Any

from celery import Celery, Task
from celery.worker.request import Request

from queues import RUN_STEP
from tasks.execute import execute_step
from tasks.workshop import Workshop

log = logging.getLogger(__name__)

#: What the ledger's columns hold: bigint, integer.
MAX_ID = 2**63 - 1
MAX_ATTEMPT = 2**31 - 1


class StepFailed(Exception):
    """Lets Flower show a failed step. Its text is the reason code, nothing of the step's data."""


class QuietRequest(Request):
    """A request whose failure tells Flower the reason only: `throws` quiets the log, not events."""

    def send_event(self, type: str, **fields: Any) -> Any:  # noqa: A002, ANN401  # Celery's words
        """Send the event without the traceback, which says nothing of the step."""
        fields.pop("traceback", None)
        return super().send_event(type, **fields)


def register_run_step(celery: Celery, shop: Workshop) -> Task[Any, None]:
    """Register `run_step` on a worker's app, bound to the worker's parts."""

    def run_step(self: Task[Any, None], step_id: int, attempt: int) -> None:
        if not (is_id(step_id) and is_id(attempt, MAX_ATTEMPT)):
            log.warning("a message that names no step: ignored")
            self.request.chain = None
            return
        ended = execute_step(step_id, attempt, next_link(self.request.chain), shop)
        if not ended.sending.link:
            self.request.chain = None  # the ledger decided otherwise than the message
        shop.publisher.publish(ended.sending)
        if ended.failure is not None:
            raise StepFailed(ended.failure.value)

    register = celery.task(
        name=RUN_STEP,
        bind=True,
        throws=(StepFailed,),
        ignore_result=True,
        shared=False,  # of this app alone: others in the process have other workshops
    )
    task: Task[Any, None] = register(run_step)
    task.Request = QuietRequest  # type: ignore[assignment]  # a class serves as well as its name
    return task


def next_link(chain: Any) -> int | None:  # noqa: ANN401  # whatever a message held
    """The row that Celery would start next (its chain is kept last first); None when unsure."""
    match chain:
        case [*_, {"task": task, "args": [step_id, 0]}] if task == RUN_STEP and is_id(step_id):
            return int(step_id)
    return None


def is_id(given: object, most: int = MAX_ID) -> bool:
    """A number that the ledger could hold: anything else would break a statement, not match."""
    return type(given) is int and 0 <= given <= most

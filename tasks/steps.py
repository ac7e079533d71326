"""The only Celery task: a doorbell. What happens behind it is in `tasks.execute`."""

from typing import Any

from celery import Celery, Task
from celery.worker.request import Request

from queues import RUN_STEP
from tasks.execute import execute_step
from tasks.workshop import Workshop


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
        ended = execute_step(step_id, attempt, next_link(self.request.chain), shop)
        if not ended.sending.link:
            self.request.chain = None  # the ledger decided otherwise than the message
        shop.publisher.publish(ended.sending)
        if ended.failure is not None:
            raise StepFailed(ended.failure.value)

    register = celery.task(name=RUN_STEP, bind=True, throws=(StepFailed,), ignore_result=True)
    task: Task[Any, None] = register(run_step)
    task.Request = QuietRequest  # type: ignore[assignment]  # a class serves as well as its name
    return task


def next_link(chain: Any) -> int | None:  # noqa: ANN401  # whatever a message held
    """The row that Celery would start next (its chain is kept last first); None when unsure."""
    match chain:
        case [*_, {"task": task, "args": [int(step_id), int()]}] if task == RUN_STEP:
            return step_id
    return None

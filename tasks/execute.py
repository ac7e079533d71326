"""One step from claim to finish. Knows nothing of Celery.

The order is the promise: claim, build the command, run it (arming it right before its effect),
read its meaning, finish. Whatever goes wrong ends in one of four ledger words: finished,
to be tried again, interrupted, or not ours any more.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID, uuid4

from app.errors import StepError, Unavailable
from app.observe.logs import bind
from app.step import Found, State, Step, StepResult
from app.store.db import guard_unavailable
from app.store.ledger import Finished, Sending
from tasks.inputs import NOT_APPROVED
from tasks.perform import perform
from tasks.running import REPEATABLE, Running
from tasks.workshop import Workshop
from tool_catalog.model import Operation, Reason, Repeat, Tool
from tool_catalog.names import UnknownName

log = logging.getLogger(__name__)

#: How long a result is offered to a ledger that does not answer.
KEEP_TRYING_S = 60.0

NOTHING = Sending()

T = TypeVar("T")


class NotOurs(Exception):
    """Somebody else has settled the step meanwhile."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the Celery task does next: publish `sending`; fail visibly when `failure` is set."""

    sending: Sending = NOTHING
    failure: Reason | None = None


def execute_step(step_id: int, attempt: int, link: int | None, shop: Workshop) -> Ended:
    """Run one step if it is ours. `link` is the row that the chain would start next.

    A ledger that cannot be reached leaves the row to the sweeper: nothing is guessed.
    """
    try:
        return _execute_step(step_id, attempt, link, shop)
    except Unavailable as error:
        log.warning("step %s: %s; its lease will run out", step_id, error)
        return Ended(failure=Reason.INTERNAL)


def _execute_step(step_id: int, attempt: int, link: int | None, shop: Workshop) -> Ended:
    claimed = shop.ledger.claim_step(step_id, attempt, new_token(), shop.worker, shop.queues)
    if claimed is None:
        log.info("step %s attempt %s is not ours to run", step_id, attempt)
        return Ended()
    if isinstance(claimed, Sending):
        return Ended(claimed, Reason.REFUSED_BY_POLICY)
    if claimed.probe is not None:
        return _probe(claimed, shop)
    names = {"execution_id": str(claimed.execution_id), "step_id": claimed.id}
    with bind(**names, attempt=claimed.attempt), shop.running.watch(claimed) as running:
        started = time.monotonic()
        try:
            tool, operation = _find_operation(claimed, shop)
        except StepError as error:
            return conclude(running, _refused(error), link, shop)
        if operation.repeat is Repeat.TRANSACTIONAL:
            return run_transactional(running, operation.python or "", link, shop)
        result = perform(running, tool, operation, shop)
        result = replace(result, duration_s=time.monotonic() - started)
        return conclude(running, result, link, shop)


def _probe(step: Step, shop: Workshop) -> Ended:
    """Look what became of a step whose worker was lost, and say it; nothing of it is run."""
    with (
        bind(execution_id=str(step.execution_id), step_id=step.id),
        shop.running.watch(step) as running,
    ):
        try:
            result = perform(running, *_find_operation(step, shop), shop)
        except StepError as error:
            result = _refused(error)
        found = _read_found(result)
        log.info("%s.%s: its probe found %s", step.tool, step.operation, found)
        pause_s, window = shop.settings.resend_s, shop.settings.window
        told = keep_trying(
            lambda: shop.ledger.probe_step(step, found, result, pause_s=pause_s, send=window)
        )
    return Ended(told.sending)


def _read_found(result: StepResult) -> Found:
    if result.state is State.SUCCEEDED:
        return Found.DONE
    return Found.NOT_DONE if result.reason is Reason.NOT_VERIFIED else Found.UNKNOWN


def _find_operation(step: Step, shop: Workshop) -> tuple[Tool, Operation]:
    """What the step runs, from our own tool files; raises StepError where they are others."""
    try:
        tool = shop.catalog.find(step.tool)
        operation = shop.catalog.operation(tool, step.operation)
    except UnknownName as error:
        raise StepError(Reason.INTERNAL, f"on worker {shop.worker}: {error}") from None
    if step.bound is not None and step.bound["tool"] != tool.digest:
        changed = f"not run: the file of {tool.name} on worker {shop.worker} {NOT_APPROVED}"
        raise StepError(Reason.REFUSED_BY_POLICY, changed)
    return tool, operation


def _refused(error: StepError) -> StepResult:
    return StepResult(State.FAILED, error.message, error.reason)


def new_token() -> UUID:
    """A random claim token: a sequence could be handed out twice after a crash."""
    return uuid4()


def conclude(running: Running, result: StepResult, link: int | None, shop: Workshop) -> Ended:
    """Write the result down, as far as the step is still ours."""
    step = running.step
    log.info("%s.%s %s %s", step.tool, step.operation, result.state, result.reason or "")
    if (running.draining or running.lost) and result.state is State.CANCELLED:
        # Nobody cancelled it: we had to end it, or it was taken from us meanwhile.
        # Not armed: as if never started. Armed and repeatable: its lease runs out, it runs again.
        if not running.armed:
            keep_trying(lambda: shop.ledger.release_step(step))
        elif step.repeat not in REPEATABLE:
            keep_trying(lambda: shop.ledger.interrupt_step(step, result))
        return Ended(failure=Reason.STOPPED)
    if _try_again(running, result, shop):
        return Ended(failure=result.reason)
    if _is_unknown(running, result) and step.repeat not in REPEATABLE:
        keep_trying(lambda: shop.ledger.interrupt_step(step, result))
        return Ended(failure=result.reason)
    went_on = result.state is State.SUCCEEDED
    finished = keep_trying(
        lambda: shop.ledger.finish_step(
            step, result, link=link if went_on else None, send=shop.settings.window
        )
    )
    return Ended(finished.sending, None if went_on else result.reason or Reason.INTERNAL)


def _try_again(running: Running, result: StepResult, shop: Workshop) -> bool:
    """Back to the queue: a failure with retries left, or an unknown outcome that may repeat."""
    step, unknown = running.step, _is_unknown(running, result)
    if result.state is not State.FAILED or running.cancelled.is_set():
        return False
    if result.reason is Reason.REFUSED_BY_POLICY:
        return False  # what was approved is something else: no further try makes it the same
    if step.retries_left <= 0 and not unknown:
        return False
    if running.armed and step.repeat not in REPEATABLE:
        return False
    return keep_trying(lambda: shop.ledger.retry_step(step, result, unknown=unknown))


def _is_unknown(running: Running, result: StepResult) -> bool:
    """The effect may have happened, and we saw no end of it."""
    return running.armed and (result.unknown or result.stopped == "unverified")


def run_transactional(running: Running, function: str, link: int | None, shop: Workshop) -> Ended:
    """Effect and finish in one transaction: truly once, or nothing was written."""
    step = running.step
    try:
        result, finished = _act_and_finish(step, function, link, shop)
    except NotOurs:
        log.warning("step %s was taken from us; its effect was taken back", step.id)
        return Ended()
    except StepError as error:
        failed = StepResult(State.FAILED, error.message, error.reason, transient=error.transient)
        return conclude(running, failed, None, shop)
    except Unavailable:
        raise
    except Exception:  # a bug in one tool must not take the worker's other steps along
        log.exception("step %s: %s broke", step.id, function)
        text = f"{step.tool} broke inside opsfarm; the log of worker {shop.worker} says where"
        return conclude(running, StepResult(State.FAILED, text, Reason.INTERNAL), None, shop)
    ok = result.state is State.SUCCEEDED
    return Ended(finished.sending, None if ok else result.reason or Reason.INTERNAL)


def _act_and_finish(
    step: Step, function: str, link: int | None, shop: Workshop
) -> tuple[StepResult, Finished]:
    """Raises NotOurs, and takes the effect back, when the step was settled by somebody else."""
    started = time.monotonic()
    with guard_unavailable(), shop.sessions.begin() as session:
        session.info.update(
            tenant=step.tenant,
            actor=step.principal,
            execution_id=step.execution_id,
            step_id=step.id,
        )
        result: StepResult = shop.operations[function](session, step.parameters)
        finished = shop.ledger.finish_step(
            step,
            replace(result, duration_s=time.monotonic() - started),
            link=link,
            send=shop.settings.window,
            connection=session.connection(),
        )
        if not finished.accepted:
            raise NotOurs
    return result, finished


def keep_trying(write: Callable[[], T]) -> T:
    """Offer a word to the ledger until it takes it; raises Unavailable after a minute.

    Repeating is safe: each word carries the step's token, and the ledger takes it once.
    """
    wait_s = 0.1
    deadline = time.monotonic() + KEEP_TRYING_S
    while True:
        try:
            return write()
        except Unavailable:
            if time.monotonic() + wait_s > deadline:
                raise
            log.warning("ledger unreachable; trying again in %.1f s", wait_s)
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, 5.0)

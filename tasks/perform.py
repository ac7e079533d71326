"""Perform a claimed step's operation: look, act, look again, and say what came of it."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from app.errors import ExpressionError, OpsfarmError, StepError, Stopped, Unavailable
from app.promises import has_changed
from app.step import Probe, State, StepResult
from tasks.caller import Caller
from tasks.inputs import open_inputs
from tasks.runners.base import StepControl
from tasks.running import Running
from tasks.scrub import Scrubber
from tasks.verify import Seen, look_until
from tasks.workshop import Workshop
from tool_catalog.model import Effect, Operation, Reason, Repeat, Tool, Verify

log = logging.getLogger(__name__)


def perform(running: Running, tool: Tool, operation: Operation, shop: Workshop) -> StepResult:
    """Run the operation and give its result, scrubbed. Raises Unavailable only.

    Of a step to be probed nothing is run but the look of its `verify`: succeeded means that its
    effect is there, failed with `not_verified` that it is not, anything else that nobody knows. The
    `output` is what was seen.
    """
    step = running.step
    scrub = Scrubber(())
    try:
        inputs = open_inputs(step, operation, shop)
        scrub = Scrubber(inputs.hidden())
        lines = shop.live_output.open(step)
        try:
            control = StepControl(
                step.timeout_s,
                cancelled=running.cancelled,
                on_line=lambda stream, line: lines.add(stream, scrub.scrub_line(stream, line)),
            )
            act = _Act(running, Caller(step, tool, inputs, shop, scrub), operation)
            result = act.run(control) if step.probe is None else act.look_back(step.probe)
        finally:
            shop.live_output.close(lines)
    except Stopped as stopped:
        result = _stopped(stopped)
    except StepError as error:
        result = _failed(error, armed=running.armed)
    except Unavailable:
        raise  # nothing more can be written down: the sweeper will find the step
    except OpsfarmError as error:
        result = StepResult(State.FAILED, str(error), Reason.INTERNAL, unknown=running.armed)
    except Exception:  # a bug in one tool must not take the worker's other steps along
        log.exception("step %s: %s.%s broke", step.id, step.tool, operation.name)
        text = f"{step.tool} broke inside opsfarm; the log of worker {shop.worker} says where"
        result = StepResult(State.FAILED, text, Reason.INTERNAL, unknown=running.armed)
    return scrub.scrub_result(result)


def arm(running: Running, shop: Workshop, before: object = None) -> None:
    """Tell the ledger that the effect comes now. Raises Stopped when it must not."""
    step = running.step
    if step.effect is Effect.READ or running.armed:
        return
    if running.cancelled.is_set() or not shop.ledger.arm_step(step, before):
        raise Stopped("stopped before it began", verified=True)
    running.armed = True


@dataclass(slots=True)
class _Act:
    """One operation between the reads that stand before and after it."""

    running: Running
    caller: Caller
    operation: Operation
    before: Any = None

    def run(self, control: StepControl) -> StepResult:
        """Raises StepError as long as nothing is armed."""
        if self.operation.before is not None:
            self.before = self.caller.read(self.operation.before, {}, None, control)
        control.arms = self.running.step.effect is not Effect.READ
        control.before_effect = lambda: self._arm(control)
        result = replace(self._act(control), before=self.before)
        if result.unknown and self._may_probe():
            return self._probe(result)
        if result.state is State.SUCCEEDED and self.operation.effect is not Effect.READ:
            return self._prove(result, control)
        return result

    def _arm(self, control: StepControl) -> None:
        """Arm right before the first effect, and act on a fresh answer only.

        A process that was frozen since it asked may have lost its step: somebody else may act in
        its place, or on what it holds no more.
        """
        shop, asked_at = self.caller.shop, float("-inf")
        if self.running.armed:
            return
        while time.monotonic() - asked_at > shop.settings.self_kill_s / 2:
            self.running.armed = False
            asked_at = time.monotonic()
            arm(self.running, shop, self.caller.scrub.scrub_value(self.before))
            if control.seconds_left == 0 and control.arms:
                self.running.armed = False
                raise StepError(Reason.TIMEOUT, "its time was over before it began")

    def _act(self, control: StepControl) -> StepResult:
        try:
            return self.caller.act(self.operation, control)
        except Stopped as stopped:
            return _stopped(stopped)
        except StepError as error:
            return _failed(error, armed=self.running.armed)

    def _may_probe(self) -> bool:
        """Nobody wants the step to end, and its tool says how to find out."""
        step, cancelled = self.running.step, self.running.cancelled.is_set()
        return step.repeat is Repeat.PROBE and self.running.armed and not cancelled

    def look_back(self, asked: Probe) -> StepResult:
        """What became of an effect that a lost worker may have had; its output is what was seen."""
        self.before = asked.before
        lost = StepResult(State.FAILED, "its worker was lost", Reason.WORKER_LOST)
        result, seen = self._look_for(replace(lost, before=self.before))
        return replace(result, output=seen.output if seen else None)

    def _probe(self, result: StepResult) -> StepResult:
        """Evidence in place of an outcome that nobody saw; without any it stays unknown."""
        return self._look_for(result)[0]

    def _look_for(self, result: StepResult) -> tuple[StepResult, Seen | None]:
        verify = self.operation.verify
        if verify is None:
            return result, None
        control = StepControl(verify.within_s, cancelled=self.running.cancelled)
        try:
            seen = look_until(self.caller, verify, self.before, control, unknown=True)
        except Stopped:
            return result, None
        if seen.reached:
            words = f"no end was seen ({result.summary}), but its effect: {verify.until}"
            done = replace(result, state=State.SUCCEEDED, reason=None, summary=words, unknown=False)
            done = replace(done, changed=True, transient=False, stopped=None)
            return self._compare(done, seen, control), seen
        if not seen.answered:
            return replace(result, summary=f"{result.summary}; {seen.why}"), seen
        return replace(_not_verified(result, seen, verify), unknown=False), seen

    def _prove(self, result: StepResult, control: StepControl) -> StepResult:
        """What the effect left behind: verified where the tool says how, compared with before."""
        seen = None
        if self.operation.verify is not None:
            try:
                seen = look_until(self.caller, self.operation.verify, self.before, control)
            except Stopped as stopped:
                text = f"{stopped.message}; it has happened: {result.summary}"
                ended = _stopped(Stopped(text, verified=stopped.verified))
                return replace(ended, before=self.before, changed=True)
            if not seen.reached:
                return _not_verified(result, seen, self.operation.verify)
        return self._compare(result, seen, control)

    def _compare(self, result: StepResult, seen: Seen | None, control: StepControl) -> StepResult:
        """The result with `after` and `changed`; a read that fails now undoes no success."""
        operation, after = self.operation, None
        try:
            if operation.before is not None:
                after = self._read_after(operation.before, seen, control)
            facts = {
                "output": result.output,
                "before": self.before,
                "after": after,
                "parameters": self.running.step.parameters,
            }
            return replace(result, after=after, changed=_changed(operation, result, facts))
        except (StepError, ExpressionError) as error:
            summary = f"{result.summary}; what it changed is not known: {error}"
            return replace(result, after=after, changed=True, summary=summary)

    def _read_after(self, name: str, seen: Seen | None, control: StepControl) -> Any:  # noqa: ANN401  # any JSON value
        verify = self.operation.verify
        if (
            seen is not None
            and verify is not None
            and (verify.operation, verify.with_) == (name, {})
        ):
            return seen.output
        return self.caller.read(name, {}, self.before, control)


def _changed(operation: Operation, result: StepResult, facts: dict[str, Any]) -> bool | None:
    """As the operation itself tells it; else whether before and after differ."""
    if operation.changed_if is not None:
        return has_changed(operation.changed_if, facts)
    if operation.before is None or (operation.python is not None and result.changed is not None):
        return result.changed
    return bool(facts["before"] != facts["after"])


def _not_verified(result: StepResult, seen: Seen, verify: Verify) -> StepResult:
    return replace(
        result,
        state=State.FAILED,
        reason=Reason.NOT_VERIFIED,
        summary=f"not so within {verify.within_s:g} s: {seen.why}",
        changed=True,
        transient=False,
        after=seen.output,
    )


def _stopped(stopped: Stopped) -> StepResult:
    return StepResult(
        State.CANCELLED,
        stopped.message,
        Reason.STOPPED,
        stopped="verified" if stopped.verified else "unverified",
    )


def _failed(error: StepError, *, armed: bool) -> StepResult:
    unknown = error.sent or (armed and error.reason is Reason.TIMEOUT)
    return StepResult(
        State.FAILED, error.message, error.reason, transient=error.transient, unknown=unknown
    )

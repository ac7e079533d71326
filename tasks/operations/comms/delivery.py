"""Sending over HTTP for chat and webhooks: try, wait as asked, try again, or give up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from app.errors import StepError, Stopped
from app.step import Secret, State, StepResult
from tasks.http_status import FAILS_FOR_NOW
from tasks.operations.base import OperationContext
from tasks.operations.comms.retries import pause, wait_before
from tasks.runners.addresses import AddressGuard
from tasks.runners.base import StepControl
from tasks.runners.http_transport import Answer, HttpTransport, Limits
from tasks.runners.kept import Kept
from tasks.runners.trust import Trust
from tasks.runners.urls import check_url
from tool_catalog.model import Reason

TRIES = 4
#: Before the second try; doubled before each further one.
BACKOFF_S = 0.5
ANSWER_TIMEOUT_S = 10.0
#: How much of an answer is read.
BODY_BYTES = 64 * 1024

KEPT: Kept[HttpTransport] = Kept(idle_s=20)

guard_for = lru_cache(maxsize=8)(AddressGuard.from_text)


def _no_stamp() -> Mapping[str, str]:
    return {}


def fails_for_now(answer: Answer) -> bool:
    """Whether an answer asks to be tried again, by its status."""
    return answer.status in FAILS_FOR_NOW


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent, and what may be done when it does not arrive."""

    method: str
    #: May be a credential: never shown.
    url: Secret
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    #: The receiver can tell a repetition by a key in the headers.
    keyed: bool = False
    https_only: bool = True
    #: Further headers, made for each try (a signature holds its time).
    stamp: Callable[[], Mapping[str, str]] = _no_stamp
    fails_for_now: Callable[[Answer], bool] = fails_for_now

    @property
    def host(self) -> str:
        """The receiver, in words that may be shown."""
        return urlsplit(self.url.reveal()).hostname or "the receiver"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The last answer, and how many tries it took."""

    answer: Answer
    tries: int


def deliver(message: Message, context: OperationContext) -> Delivered:
    """Send a message; the caller reads the answer, whatever its status.

    Arms the step once, when first connected. Raises StepError; with `sent` when a try may have
    arrived although no answer came. An unkeyed message is then not tried again.
    """
    settings = context.settings
    guard = guard_for(settings.allow_private)
    check_url(message.url.reveal(), guard, https_only=message.https_only)
    key = (settings.allow_private, settings.http_ca_file)
    transport = KEPT.take(key) or HttpTransport(guard, Trust(ca_file=settings.http_ca_file))
    try:
        return _Sending(message, context.control, transport).run()
    finally:
        KEPT.give(key, transport)


class _Sending:
    """The tries of one message."""

    def __init__(self, message: Message, control: StepControl, transport: HttpTransport) -> None:
        self._message = message
        self._control = control
        self._transport = transport
        self._armed = False
        #: A try left us and was not answered.
        self._unknown = False

    def run(self) -> Delivered:
        """Try until there is an answer to keep, or no sense in going on."""
        tries = 0
        while True:
            tries += 1
            try:
                answer = self._exchange()
            except Stopped as stopped:
                sure = stopped.verified and not self._unknown
                raise Stopped(stopped.message, verified=sure) from None
            except StepError as error:
                self._unknown = self._unknown or error.sent
                wait_s = self._wait_after(tries)
                if not self._may_repeat(error) or wait_s is None:
                    raise self._final(error) from None
                self._pause(error.message, wait_s)
            else:
                wait_s = self._wait_after(tries, answer)
                if not self._message.fails_for_now(answer) or wait_s is None:
                    return Delivered(answer, tries)
                self._pause(f"{self._message.host} answered {answer.status}", wait_s)

    def _exchange(self) -> Answer:
        seconds = min(ANSWER_TIMEOUT_S, self._control.seconds_left)
        if seconds <= 0:
            raise StepError(Reason.TIMEOUT, "no time was left to send", sent=self._unknown)
        message = self._message
        headers = {"User-Agent": "opsfarm", **message.headers, **message.stamp()}
        try:
            request = requests.Request(
                message.method, message.url.reveal(), headers=headers, data=message.body
            ).prepare()
        except (requests.RequestException, ValueError) as error:
            what = "a header" if isinstance(error, requests.exceptions.InvalidHeader) else "the URL"
            raise StepError(Reason.INVALID_PARAMETER, f"{what} is not valid") from None
        limits = Limits(seconds, BODY_BYTES, self._control.cancelled)
        return self._transport.exchange(request, limits, self._arm)

    def _arm(self) -> None:
        if not self._armed:
            self._control.before_effect()
            self._armed = True

    def _may_repeat(self, error: StepError) -> bool:
        return error.transient and (self._message.keyed or not error.sent)

    def _wait_after(self, tries: int, answer: Answer | None = None) -> float | None:
        asked_s = seconds_asked(answer.headers.get("retry-after", "")) if answer else 0.0
        # Never earlier than asked, even with the least jitter.
        backoff_s = max(asked_s / 0.75, BACKOFF_S * 2 ** (tries - 1))
        return wait_before(TRIES - tries, backoff_s, self._control)

    def _pause(self, why: str, wait_s: float) -> None:
        pause(self._control, why, wait_s, unknown=self._unknown)

    def _final(self, error: StepError) -> StepError:
        if error.sent or not self._unknown:
            return error
        message = f"{error.message}; an earlier try may have arrived"
        return StepError(error.reason, message, transient=error.transient, sent=True)


def seconds_asked(retry_after: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110: number or date); 0 if unreadable."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def show_answer(answer: Answer) -> str:
    """An answer in a few words: status and the beginning of its text."""
    text = " ".join(answer.body[:800].decode("utf-8", "replace").replace("\0", " ").split())
    if 300 <= answer.status < 400:  # noqa: PLR2004  # the class of redirects
        text = "redirects are not followed"
    shown = f"{answer.status} {answer.phrase}".strip() + (f": {text[:200]}" if text else "")
    asked_s = seconds_asked(answer.headers.get("retry-after", ""))
    return shown + (f" (asks to wait {asked_s:.0f} s)" if asked_s else "")


def find_hook(
    parameters: Mapping[str, Any], context: OperationContext, configured: SecretStr, setting: str
) -> Secret:
    """The URL of a chat webhook: the secret that the step names, else the farm's setting."""
    given = parameters.get("webhook")
    hook = (
        context.find_secret(given["$secret"]).reveal() if given else configured.get_secret_value()
    )
    if not hook.strip():
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"no webhook is configured: set {setting} on the comms workers, or store the URL as a "
            "secret and give webhook: {$secret: NAME}",
        )
    return Secret(hook.strip())


def chat_result(
    message: Message, delivered: Delivered, fault: tuple[Reason, str] | None
) -> StepResult:
    """What a chat step leaves: `output` is {status, tries}; `fault` says why it was not taken."""
    output = {"status": delivered.answer.status, "tries": delivered.tries}
    if fault is None:
        return StepResult(
            State.SUCCEEDED, f"{message.host} took the message", output=output, changed=True
        )
    reason, text = fault
    return StepResult(
        State.FAILED,
        text,
        reason=reason,
        output=output,
        changed=False,
        transient=message.fails_for_now(delivered.answer),
    )

"""E-mail: built by the standard library, handed to an SMTP server recipient by recipient.

The Message-ID follows from the step, so that a message sent twice after a lost answer can be
recognised as one.
"""

import mimetypes
import re
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any

from app.errors import StepError, Stopped, UserError
from app.step import State, StepResult
from tasks.operations.base import OperationContext
from tasks.operations.comms.mail_server import Server, find_server
from tasks.operations.comms.retries import pause, wait_before
from tasks.operations.comms.smtp import Reply, Session
from tasks.runners.kept import Kept
from tasks.runners.opening import open_unless_stopped
from tool_catalog.model import Reason

TRIES = 3
#: Before the second try; doubled before the third.
BACKOFF_S = 1.0
MAX_ATTACHED_BYTES = 20 * 1024 * 1024
#: 7-bit throughout, so that no server needs 8BITMIME.
POLICY = SMTP.clone(cte_type="7bit")
#: RFC 5321 without quoted local parts: nothing in it can end an SMTP command.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,255}")

KEPT: Kept[Session] = Kept(idle_s=20)


def send(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Send one message; `output` is {message_id, accepted, refused, tries}.

    `refused` holds {recipient, code, text, permanent} each. Succeeds when anyone was accepted.
    """
    given = parameters.get("server")
    server = find_server(context.settings, context.find_secret(given["$secret"]) if given else None)
    recipients = _recipients(parameters)
    try:
        message = build_message(parameters, context, server)
        content = message.as_bytes(policy=POLICY)
    except ValueError as error:  # the policy refuses line breaks in headers
        raise StepError(Reason.INVALID_PARAMETER, f"the message is not valid: {error}") from None
    posting = _Posting(server, content, recipients, context)
    posting.run()
    return _read_result(str(message["Message-ID"]), posting.replies, posting.tries)


def build_message(
    parameters: Mapping[str, Any], context: OperationContext, server: Server
) -> EmailMessage:
    """The message; raises ValueError where a header would hold a line break."""
    step = context.step
    message = EmailMessage(policy=POLICY)
    message["From"] = server.sender
    for header, name in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        if parameters.get(name):
            message[header] = ", ".join(_as_list(parameters[name]))
    message["Subject"] = parameters["subject"]
    message["Date"] = formatdate()
    domain = server.sender.rpartition("@")[2].rstrip("> ")
    message["Message-ID"] = f"<step-{step.id}.{step.execution_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Opsfarm-Execution"] = str(step.execution_id)
    text, html = parameters.get("body"), parameters.get("html")
    if text is not None:
        message.set_content(text)
    if html is not None and text is not None:
        message.add_alternative(html, subtype="html")
    elif html is not None:
        message.set_content(html, subtype="html")
    _attach(message, parameters.get("attachments") or [], context)
    return message


def _attach(
    message: EmailMessage, attachments: Sequence[Mapping[str, str]], context: OperationContext
) -> None:
    try:
        found = [
            (context.name_artifact(given["$artifact"]), context.find_artifact(given["$artifact"]))
            for given in attachments
        ]
    except UserError as error:  # no such artifact, or one that was altered
        raise StepError(Reason.NOT_FOUND, f"attachments: {error.message}") from None
    size = sum(path.stat().st_size for _name, path in found)
    if size > MAX_ATTACHED_BYTES:
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"the attachments have {size} bytes together; at most {MAX_ATTACHED_BYTES} are sent",
        )
    for name, path in found:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        maintype, subtype = kind.split("/", 1)
        message.add_attachment(path.read_bytes(), maintype=maintype, subtype=subtype, filename=name)


def _recipients(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Everyone once, in the order given; raises StepError for what is no plain address."""
    everyone = [a for name in ("to", "cc", "bcc") for a in _as_list(parameters.get(name) or [])]
    for address in (*everyone, *_as_list(parameters.get("reply_to") or [])):
        if not _ADDRESS.fullmatch(address):
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"{address[:80]!r} is no plain address: write name@example.com",
            )
    return tuple(dict.fromkeys(everyone))


def _as_list(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


class _Posting:
    """The tries of one message, each only to those who have not been settled yet."""

    def __init__(
        self,
        server: Server,
        content: bytes,
        recipients: Sequence[str],
        context: OperationContext,
    ) -> None:
        self.replies = {name: Reply(0, "no answer") for name in recipients}
        self.tries = 0
        self._server = server
        self._content = content
        self._control = context.control
        self._armed = False
        #: The last message sent was not confirmed.
        self._unknown = False

    def run(self) -> None:
        """Try until everyone is settled or no try is left; raises StepError if nobody took it."""
        while pending := self._pending():
            self.tries += 1
            failure = self._try(pending)
            if not self._pending():
                return
            wait_s = wait_before(
                TRIES - self.tries, BACKOFF_S * 2 ** (self.tries - 1), self._control
            )
            if wait_s is None or (failure and not failure.transient):
                self._give_up(failure)
                return
            why = failure.message if failure else "some recipients were refused for now"
            pause(self._control, why, wait_s, unknown=self._unknown)

    def _pending(self) -> list[str]:
        return [n for n, reply in self.replies.items() if not (reply.accepted or reply.permanent)]

    def _try(self, pending: Sequence[str]) -> StepError | None:
        try:
            self._transact(pending)
        except Stopped as stopped:
            sure = stopped.verified and not self._unknown
            raise Stopped(stopped.message, verified=sure) from None
        except StepError as error:
            self._unknown = self._unknown or error.sent
            return error
        self._unknown = False
        return None

    def _transact(self, pending: Sequence[str]) -> None:
        self._look()
        session = self._find_session()
        try:
            session.begin(len(self._content))
            if taken := [name for name in pending if self._offer(session, name)]:
                self._arm()
                reply = session.transmit(self._content, self._look)
                self.replies.update(dict.fromkeys(taken, reply))
        except BaseException:
            session.drop()
            raise
        KEPT.give(self._server, session)

    def _find_session(self) -> Session:
        session = KEPT.take(self._server)
        if session is not None:
            session.serve(self._control)
            if session.is_alive():
                return session
        return open_unless_stopped(
            lambda: Session(self._server, self._control), Session.drop, self._control
        )

    def _offer(self, session: Session, name: str) -> bool:
        """Whether the server takes a recipient; a refusal is kept."""
        self._look()
        reply = session.offer(name)
        if not reply.accepted:
            self.replies[name] = reply
        return reply.accepted

    def _look(self) -> None:
        """Raise Stopped once the step is cancelled: an unfinished message goes to nobody."""
        if self._control.cancelled.is_set():
            raise Stopped("stopped before the message was sent", verified=not self._unknown)

    def _arm(self) -> None:
        if not self._armed:
            self._control.before_effect()
            self._armed = True

    def _give_up(self, failure: StepError | None) -> None:
        if failure is None:
            return
        accepted = any(reply.accepted for reply in self.replies.values())
        if self._unknown and not failure.sent:
            message = f"{failure.message}; an earlier try may have been delivered"
            raise StepError(failure.reason, message, transient=failure.transient, sent=True)
        if self._unknown or not accepted:
            raise failure
        for name in self._pending():
            if self.replies[name].code == 0:
                self.replies[name] = Reply(0, failure.message)


def _read_result(message_id: str, replies: Mapping[str, Reply], tries: int) -> StepResult:
    accepted = [name for name, reply in replies.items() if reply.accepted]
    refused = [
        {"recipient": name, "code": r.code, "text": r.text, "permanent": r.permanent}
        for name, r in replies.items()
        if not r.accepted
    ]
    output = {
        "message_id": message_id,
        "accepted": accepted,
        "refused": refused,
        "tries": tries,
    }
    summary = _summarise(replies, len(accepted))
    if accepted:
        return StepResult(State.SUCCEEDED, summary, output=output, changed=True)
    return StepResult(
        State.FAILED,
        summary,
        reason=Reason.REFUSED_BY_DEVICE,
        output=output,
        changed=False,
        transient=not all(reply.permanent for reply in replies.values()),
    )


def _summarise(replies: Mapping[str, Reply], accepted: int) -> str:
    summary = f"{accepted} of {len(replies)} recipients accepted"
    refused = [f"{n} ({r.code} {r.text})" for n, r in replies.items() if not r.accepted]
    if not refused:
        return summary
    more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""  # noqa: PLR2004  # a line
    return f"{summary}; refused: {', '.join(refused[:3])}{more}"

"""Slack: one message to an incoming webhook (docs.slack.dev, "Incoming webhooks").

A webhook has no idempotency key: after an answer that never came, the message may be there.
"""

import json
from collections.abc import Mapping
from typing import Any

from app.step import StepResult
from tasks.http_status import reason_of
from tasks.operations.base import OperationContext
from tasks.operations.comms.delivery import (
    Message,
    chat_result,
    deliver,
    find_hook,
    show_answer,
)
from tasks.runners.http_transport import Answer
from tool_catalog.model import Reason

_REVOKED = (Reason.AUTH_FAILED, "the webhook was revoked; make a new one in Slack and store it")
_RESTRICTED = "the workspace's administrators do not let this webhook post there"

#: The body of a refusal, and what it means.
REFUSALS: Mapping[str, tuple[Reason, str]] = {
    "invalid_payload": (Reason.INVALID_PARAMETER, "Slack cannot read the message"),
    "no_text": (Reason.INVALID_PARAMETER, "the message has nothing to show"),
    "missing_text_or_fallback_or_attachments": (
        Reason.INVALID_PARAMETER,
        "the message has nothing to show",
    ),
    "invalid_blocks": (Reason.INVALID_PARAMETER, "Slack does not accept these blocks"),
    "invalid_attachments": (Reason.INVALID_PARAMETER, "Slack does not accept these attachments"),
    "too_many_attachments": (Reason.INVALID_PARAMETER, "a message takes at most 100 attachments"),
    "user_not_found": (Reason.NOT_FOUND, "no such user"),
    "channel_not_found": (Reason.NOT_FOUND, "no such channel"),
    "channel_is_archived": (Reason.REFUSED_BY_DEVICE, "the channel is archived"),
    "action_prohibited": (Reason.REFUSED_BY_DEVICE, _RESTRICTED),
    "posting_to_general_channel_denied": (Reason.REFUSED_BY_DEVICE, _RESTRICTED),
    "invalid_token": _REVOKED,
    "no_service": _REVOKED,
    "no_service_id": _REVOKED,
    "no_active_hooks": _REVOKED,
    "no_team": (Reason.NOT_FOUND, "the workspace does not exist"),
    "team_disabled": (Reason.REFUSED_BY_DEVICE, "the workspace is disabled"),
}


def send(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Post a message; `output` is {status, tries}."""
    hook = find_hook(parameters, context, context.settings.slack_webhook_url, "SLACK_WEBHOOK_URL")
    message = Message(
        method="POST",
        url=hook,
        headers={"Content-Type": "application/json; charset=utf-8"},
        body=json.dumps(build_payload(parameters), ensure_ascii=False).encode(),
    )
    delivered = deliver(message, context)
    return chat_result(message, delivered, read_fault(delivered.answer))


def build_payload(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that Slack takes. Only hooks of the older kind heed name, icon and channel."""
    payload = {
        name: parameters[name]
        for name in ("channel", "username", "thread_ts", "attachments", "blocks")
        if parameters.get(name) is not None
    }
    if parameters.get("message") is not None:
        text = parameters["message"]
        payload["text"] = text if parameters.get("markup") else escape(text)
    if parameters.get("icon") is not None:
        icon = parameters["icon"]
        payload["icon_emoji" if icon.startswith(":") else "icon_url"] = icon
    if parameters.get("unfurl") is not None:
        payload["unfurl_links"] = payload["unfurl_media"] = parameters["unfurl"]
    return payload


def escape(text: str) -> str:
    """Text that mentions nobody and hides no link: Slack reads `<...>` as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read_fault(answer: Answer) -> tuple[Reason, str] | None:
    """Why Slack did not take it; None when it did: status 200 and the body `ok`."""
    body = answer.body.decode("utf-8", "replace").strip()
    if answer.status == 200 and body == "ok":  # noqa: PLR2004  # the only good answer
        return None
    shown = f"Slack answered {show_answer(answer)}"
    if body in REFUSALS:
        reason, meaning = REFUSALS[body]
        return reason, f"{meaning} ({shown})"
    return reason_of(answer.status), shown

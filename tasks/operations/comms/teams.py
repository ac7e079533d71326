"""Microsoft Teams: one adaptive card to a workflow, or one MessageCard to an older connector.

Neither has an idempotency key: after an answer that never came, the card may be there. A workflow
answers 202 before it posts: later failures of its run are only visible in Power Automate.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import StepError
from app.step import StepResult
from tasks.http_status import reason_of
from tasks.operations.base import OperationContext
from tasks.operations.comms.delivery import (
    Message,
    chat_result,
    deliver,
    fails_for_now,
    find_hook,
    show_answer,
)
from tasks.runners.http_transport import Answer
from tool_catalog.model import Reason

#: Teams refuses larger messages.
MAX_BYTES = 28 * 1024
#: Hosts of Workflows webhooks: a MessageCard would lose its buttons there.
WORKFLOW_HOSTS = (".logic.azure.com", ".api.powerplatform.com", ".azure-api.net")
#: The colours of adaptive cards, and the nearest of MessageCard.
THEME_COLORS = {
    "default": "605E5C",
    "accent": "0078D4",
    "good": "2EB886",
    "warning": "DAA038",
    "attention": "A30200",
}
#: A connector says so with status 200.
_CONNECTOR_FAILED = "Webhook message delivery failed"


def send(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Post a card; `output` is {status, tries}."""
    hook = find_hook(parameters, context, context.settings.teams_webhook_url, "TEAMS_WEBHOOK_URL")
    as_adaptive = parameters.get("format", "adaptive") == "adaptive"
    message = Message(
        method="POST",
        url=hook,
        headers={"Content-Type": "application/json; charset=utf-8"},
        body=_encode(build_adaptive(parameters) if as_adaptive else build_card(parameters)),
        fails_for_now=_throttled,
    )
    if not as_adaptive and message.host.endswith(WORKFLOW_HOSTS):
        raise StepError(
            Reason.INVALID_PARAMETER,
            "this webhook belongs to a workflow, which takes adaptive cards: leave `format` out",
        )
    delivered = deliver(message, context)
    read_fault = read_workflow_fault if as_adaptive else read_connector_fault
    return chat_result(message, delivered, read_fault(delivered.answer))


def build_adaptive(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The message with one adaptive card 1.4 that the Workflows template posts."""
    body: list[dict[str, Any]] = []
    if parameters.get("title"):
        color = parameters.get("color", "default").capitalize()
        body.append(_text(parameters["title"], weight="Bolder", size="Large", color=color))
    body.append(_text(parameters["message"]))
    body.extend(_container(section) for section in _sections(parameters))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "msteams": {"width": "Full"},
    }
    if parameters.get("actions"):
        card["actions"] = [{"type": "Action.OpenUrl", **action} for action in _actions(parameters)]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def build_card(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The MessageCard that connectors take."""
    card: dict[str, Any] = {
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "themeColor": THEME_COLORS[parameters.get("color", "default")],
        "summary": parameters.get("title") or parameters["message"][:100],
        "text": parameters["message"],
    }
    if parameters.get("title"):
        card["title"] = parameters["title"]
    if parameters.get("sections"):
        card["sections"] = [_card_section(section) for section in _sections(parameters)]
    if parameters.get("actions"):
        card["potentialAction"] = [
            {
                "@type": "OpenUri",
                "name": action["title"],
                "targets": [{"os": "default", "uri": action["url"]}],
            }
            for action in _actions(parameters)
        ]
    return card


def read_workflow_fault(answer: Answer) -> tuple[Reason, str] | None:
    """Why a workflow did not take it; None when it did (202, or 200 where it answers itself)."""
    failed = _CONNECTOR_FAILED in _text_of(answer)
    if answer.status in {200, 202} and not failed:
        return None
    return _fault(answer)


def read_connector_fault(answer: Answer) -> tuple[Reason, str] | None:
    """Why a connector did not take it; None when it did: status 200 and the body `1`."""
    if answer.status == 200 and _text_of(answer) == "1":  # noqa: PLR2004  # the only good answer
        return None
    return _fault(answer)


def _fault(answer: Answer) -> tuple[Reason, str]:
    shown = f"Teams answered {show_answer(answer)}"
    if answer.status == 413 or "HTTP error 413" in _text_of(answer):  # noqa: PLR2004  # too large
        return Reason.INVALID_PARAMETER, f"the card is too large for Teams ({shown})"
    if answer.status in {404, 410}:
        return Reason.NOT_FOUND, f"the webhook was removed or its flow is off ({shown})"
    return reason_of(answer.status), shown


def _throttled(answer: Answer) -> bool:
    return fails_for_now(answer) or "HTTP error 429" in _text_of(answer)


def _text_of(answer: Answer) -> str:
    return answer.body.decode("utf-8", "replace").strip()


def _encode(payload: Mapping[str, Any]) -> bytes:
    body = json.dumps(payload, ensure_ascii=False).encode()
    if len(body) > MAX_BYTES:
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"the card has {len(body)} bytes and Teams takes {MAX_BYTES}: shorten the message",
        )
    return body


def _text(text: str, **style: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **style}


def _container(section: Mapping[str, Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    if "title" in section:
        items.append(_text(section["title"], weight="Bolder"))
    if "text" in section:
        items.append(_text(section["text"]))
    if "facts" in section:
        facts = [{"title": name, "value": value} for name, value in section["facts"].items()]
        items.append({"type": "FactSet", "facts": facts})
    return {"type": "Container", "separator": True, "items": items}


def _card_section(section: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"startGroup": True}
    if "title" in section:
        shown["activityTitle"] = section["title"]
    if "text" in section:
        shown["text"] = section["text"]
    if "facts" in section:
        shown["facts"] = [
            {"name": name, "value": value} for name, value in section["facts"].items()
        ]
    return shown


def _sections(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sections as {title?, text?, facts?: {name: text}}; raises StepError naming the place."""
    sections = []
    for position, given in enumerate(parameters.get("sections") or []):
        place = f"sections[{position}]"
        _check_members(given, place, needed=(), allowed=("title", "text", "facts"))
        section: dict[str, Any] = {
            name: str(given[name]) for name in ("title", "text") if name in given
        }
        if "facts" in given:
            section["facts"] = _facts(given["facts"], f"{place}.facts")
        sections.append(section)
    return sections


def _facts(given: object, place: str) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise StepError(Reason.INVALID_PARAMETER, f"{place} must be a mapping of name to value")
    return {str(name): str(value) for name, value in given.items()}


def _actions(parameters: Mapping[str, Any]) -> list[dict[str, str]]:
    """Buttons as {title, url}; raises StepError naming the place."""
    actions = []
    for position, given in enumerate(parameters["actions"]):
        place = f"actions[{position}]"
        _check_members(given, place, needed=("title", "url"), allowed=("title", "url"))
        if not str(given["url"]).startswith(("https://", "http://")):
            raise StepError(Reason.INVALID_PARAMETER, f"{place}.url must begin with https://")
        actions.append({"title": str(given["title"]), "url": str(given["url"])})
    return actions


def _check_members(
    given: object, place: str, *, needed: Sequence[str], allowed: Sequence[str]
) -> None:
    if not isinstance(given, Mapping):
        raise StepError(Reason.INVALID_PARAMETER, f"{place} must be a mapping")
    wrong = [name for name in given if name not in allowed]
    missing = [name for name in needed if name not in given]
    if wrong or missing or not given:
        problem = (
            f"has no {missing[0]}"
            if missing
            else f"has an unknown member {wrong[0]}"
            if wrong
            else "is empty"
        )
        raise StepError(
            Reason.INVALID_PARAMETER, f"{place} {problem}; it takes {', '.join(allowed)}"
        )

"""Logs: one JSON object a line, with the execution and step bound to the thread, no secrets."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from app.errors import ConfigError
from app.observe.redact import redact

_BOUND: ContextVar[dict[str, Any] | None] = ContextVar("opsfarm_log_members", default=None)


@contextmanager
def bind(**members: object) -> Iterator[None]:
    """Put members (execution_id, step_id, attempt) on every line that is logged inside."""
    token = _BOUND.set({**(_BOUND.get() or {}), **members})
    try:
        yield
    finally:
        _BOUND.reset(token)


def set_up_logging(level: str, form: str = "json") -> None:
    """Log to standard error, in `json` or `text`; raises ConfigError for another level or form."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or form not in _FORMATTERS:
        raise ConfigError(
            f"OPSFARM_LOG_LEVEL={level} OPSFARM_LOG_FORMAT={form}: "
            "levels are DEBUG, INFO, WARNING, ERROR; formats are json, text"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMATTERS[form]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)


class _TextFormatter(logging.Formatter):
    """`12:00:01 WARNING app.publish broker did not take 1 step(s) execution_id=...`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        bound = "".join(f" {name}={value}" for name, value in (_BOUND.get() or {}).items())
        return redact(super().format(record)) + bound


class _JsonFormatter(logging.Formatter):
    """One object a line: at, level, logger, message, what is bound, and error if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
            **(_BOUND.get() or {}),
        }
        if record.exc_info:
            line["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


_FORMATTERS: dict[str, type[logging.Formatter]] = {"json": _JsonFormatter, "text": _TextFormatter}

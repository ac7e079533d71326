import json
import logging

import pytest

from app.errors import ConfigError
from app.observe.logs import bind, set_up_logging


@pytest.fixture
def log(capsys):
    """`log()`: a logger after `set_up_logging`; `capsys` holds what it wrote."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    def start(form="json"):
        set_up_logging("INFO", form)
        return logging.getLogger("app.test")

    yield start
    root.handlers[:], root.level = before


def test_one_object_a_line_with_what_is_bound(log, capsys):
    logger = log()
    with bind(execution_id="e-1"), bind(step_id=7):
        logger.warning("step %s\nis slow", 7)
    logger.info("after")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["message"] == "step 7\nis slow"
    assert (first["execution_id"], first["step_id"]) == ("e-1", 7)
    assert (first["level"], first["logger"]) == ("WARNING", "app.test")
    assert "step_id" not in second


def refuse():
    raise ValueError("redis://default:canary-4711@127.0.0.1/0 refused")


def test_errors_are_told_without_their_secrets(log, capsys):
    logger = log()
    try:
        refuse()
    except ValueError:
        logger.exception("password=canary-4711")
    written = capsys.readouterr().err
    assert "ValueError" in json.loads(written)["error"]
    assert written.count("***") == 3  # the message, the source line and the error


def test_text(log, capsys):
    logger = log("text")
    with bind(step_id=7):
        logger.info("token: canary-4711")
    assert capsys.readouterr().err.endswith("INFO app.test token: *** step_id=7\n")


@pytest.mark.parametrize(("level", "form"), [("LOUD", "json"), ("INFO", "xml")])
def test_settings_that_cannot_work(level, form):
    with pytest.raises(ConfigError, match="OPSFARM_LOG_LEVEL"):
        set_up_logging(level, form)

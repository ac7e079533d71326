"""What the faults must reach is counted, so that nothing new is left out unseen."""

import json
import re
from pathlib import Path

from app.store import deadletters, decisions, ledger, outbox
from tests.faults.faults import FAULTS
from tests.faults.lost_answers import NOT_PLAYED, STORY
from tests.faults.messages import make_amqp_shapes, make_shapes
from tests.faults.world import ROGUES

CALLS = re.compile(r'_call\(\s*"(\w+)"')
HEADERS = dict.fromkeys(("lang", "task", "id", "root_id", "parent_id", "group", "retries"), "x")


def test_the_story_says_every_word_of_the_ledger():
    sources = [
        Path(module.__file__).read_text() for module in (ledger, outbox, decisions, deadletters)
    ]
    said = {word for source in sources for word in CALLS.findall(source)}
    assert len(said) > 20
    assert set().union(*STORY.values()) | NOT_PLAYED.keys() == said


def test_a_message_is_malformed_in_at_least_25_ways():
    message = json.dumps({"body": "e30=", "headers": HEADERS, "properties": {}})
    shapes = make_shapes(message)
    assert message not in shapes
    assert len(set(shapes)) >= 25
    assert len({repr(shape) for shape in make_amqp_shapes(HEADERS)}) >= 25


def test_every_fault_has_a_name_of_its_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_tools_misbehave_in_every_way():
    assert set(ROGUES) == {"segfault", "deaf", "forks", "gigabyte"}

import json

import pytest
from celery import Celery

from app.chain import build_chain, build_links
from app.store.ledger import Link, Sending
from queues import RUN_STEP


@pytest.fixture
def celery():
    app = Celery("test", broker="memory://", set_as_current=False)
    yield app
    app.close()


def sending(count, **members):
    run = tuple(Link(n, 0, f"q{n}", "df", "usage", n) for n in range(1, count + 1))
    return Sending(run=run, chain=True, plan_name="nightly", **members)


def test_a_link_carries_two_numbers_and_is_immutable(celery):
    [signature] = build_links(sending(1, targets=3), celery)
    assert signature.task == RUN_STEP
    assert (signature.args, signature.kwargs) == ((1, 0), {})
    assert signature.immutable
    assert signature.options["queue"] == "q1"


def test_what_flower_shows_names_plan_and_tool_only(celery):
    [signature] = build_links(sending(1, targets=3), celery)
    shown = {name: value for name, value in signature.options.items() if name != "queue"}
    assert shown == {"shadow": "df.usage", "argsrepr": "nightly 1 x3"}


def test_one_row_is_its_own_signature(celery):
    assert build_chain(sending(1), celery).task == RUN_STEP


def test_a_chain_keeps_order_and_queues(celery):
    tasks = build_chain(sending(4), celery).tasks
    assert [task.args for task in tasks] == [(n, 0) for n in range(1, 5)]
    assert [task.options["queue"] for task in tasks] == ["q1", "q2", "q3", "q4"]


def test_a_retry_s_link_names_its_attempt(celery):
    run = (Link(7, 2, "q", "df", "usage", 1),)
    assert build_links(Sending(run=run), celery)[0].args == (7, 2)


def test_a_message_grows_with_its_links_only(celery):
    sizes = [len(json.dumps(build_chain(sending(n), celery))) for n in (2, 6, 10)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], abs=20)

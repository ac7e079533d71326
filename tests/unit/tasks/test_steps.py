"""The task itself, called as Celery calls it, with the farm behind it faked."""

from types import SimpleNamespace

import pytest
from celery import Celery

from app.store.ledger import Link, Sending
from queues import RUN_STEP
from tasks import steps
from tasks.execute import Ended
from tasks.steps import MAX_ATTEMPT, MAX_ID, StepFailed, is_id, next_link, register_run_step
from tool_catalog.model import Reason


def link(*args, task=RUN_STEP):
    return {"task": task, "args": list(args), "options": {"queue": "q"}}


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([link(7, 0)], 7),
        ([link(9, 0), link(8, 0)], 8),
        (None, None),
        ([], None),
        ("text", None),
        ([link(7, 0, task="other")], None),
        ([link(7, 1)], None),
        ([link(7)], None),
        ([link("7", 0)], None),
        ([link(True, 0)], None),
        ([link(-1, 0)], None),
        ([link(2**63, 0)], None),
        ([link(1.0, 0)], None),
        ([{"task": RUN_STEP}], None),
        ([7], None),
        ({"task": RUN_STEP, "args": [7, 0]}, None),
    ],
)
def test_the_next_link_is_read_or_nothing_is(chain, expected):
    assert next_link(chain) == expected


@pytest.mark.parametrize("given", [True, "1", 1.0, None, -1, [1], {}, MAX_ID + 1])
def test_what_is_no_id(given):
    assert not is_id(given)


def test_what_is_one():
    assert is_id(0)
    assert is_id(MAX_ID)
    assert not is_id(MAX_ATTEMPT + 1, MAX_ATTEMPT)


@pytest.fixture
def call(monkeypatch):
    """Calls the task as a worker would: what was executed, published, and left in the chain."""
    seen = SimpleNamespace(executed=[], published=[], ended=Ended(), chain="untouched")
    celery = Celery("test", broker="memory://", set_as_current=False)
    publisher = SimpleNamespace(publish=seen.published.append)
    shop = SimpleNamespace(publisher=publisher)

    def execute(step_id, attempt, following, given):
        assert given is shop
        seen.executed.append((step_id, attempt, following))
        return seen.ended

    monkeypatch.setattr(steps, "execute_step", execute)
    task = register_run_step(celery, shop)

    def run(*args, chain=None):
        task.push_request(chain=chain)
        try:
            return task.run(*args)
        finally:
            seen.chain = task.request.chain
            task.pop_request()

    seen.run = run
    yield seen
    celery.close()


def test_the_ledger_s_word_lets_celery_follow_the_chain(call):
    call.ended = Ended(Sending(link=True))
    chain = [link(9, 0), link(8, 0)]
    call.run(7, 0, chain=chain)
    assert call.executed == [(7, 0, 8)]
    assert call.chain == chain


def test_without_it_the_chain_ends_and_we_publish(call):
    sending = Sending(run=(Link(8, 0, "q", "df", "usage", 2),))
    call.ended = Ended(sending)
    call.run(7, 0, chain=[link(8, 0)])
    assert call.published == [sending]
    assert call.chain is None


def test_a_failed_step_fails_visibly_by_its_reason_only(call):
    call.ended = Ended(failure=Reason.UNREACHABLE)
    with pytest.raises(StepFailed, match=r"^unreachable$"):
        call.run(7, 0, chain=[link(8, 0)])
    assert call.chain is None


@pytest.mark.parametrize(
    "args", [("7", 0), (True, 0), (7, None), (7, 2**31), (-7, 0), ([7], 0), (7, 0.5)]
)
def test_a_message_that_names_no_step_reaches_nothing(call, args):
    call.run(*args, chain=[link(8, 0)])
    assert (call.executed, call.published, call.chain) == ([], [], None)

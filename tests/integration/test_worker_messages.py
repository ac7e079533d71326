"""What anybody who reaches the broker can say to a worker: it runs nothing that is not due."""

import json

import pytest

from tests.lab.farm import Farm, hold, lines_of, mark


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    yield farm
    farm.close()


HOSTILE_MEMBERS = [
    ("body", None),
    ("body", "no base64 !"),
    ("body", 7),
    ("headers", None),
    ("headers", [1]),
    ("properties", None),
    ("properties", {}),
    ("properties", {"delivery_tag": ["x"], "delivery_info": {}}),
    ("properties", {"delivery_tag": "x", "delivery_info": None}),
    ("properties", {"delivery_tag": "x", "delivery_info": {}, "body_encoding": "rot13"}),
    ("content-encoding", "rot13"),
    ("content-type", None),
]
HOSTILE_HEADERS = [
    ("task", None),
    ("task", ["opsfarm.run_step"]),
    ("id", ["x"]),
    ("id", None),
    ("root_id", {"a": 1}),
    ("retries", "many"),
    ("retries", [1]),
    ("timelimit", "soon"),
    ("timelimit", [1, 1]),
    ("eta", "2040-01-01T00:00:00"),
    ("expires", "yesterday"),
    ("group", "g"),
    ("compression", "zlib"),
    ("shadow", 7),
]


def forgeries(farm, due, done):
    """Messages that name no due row of this worker, or are none. `due` is pending in a plan."""
    yield "an id that is none", farm.message(10**9, 0)
    yield "an id beyond bigint", farm.message(2**63, 0)
    yield "an attempt beyond integer", farm.message(due, 2**40)
    yield "a negative id", farm.message(-1, 0)
    yield "an attempt that is not due", farm.message(due, 3)
    yield "a step that is not due", farm.message(due, 0)
    yield "a step that is done", farm.message(done, 1)
    yield "text for numbers", farm.message("1; drop table steps", "0")
    yield "truth for numbers", farm.message(True, False)
    yield "nothing for numbers", farm.message(None, None)
    yield "a fraction", farm.message(1.5, 0)
    yield "too few arguments", farm.message()
    yield "too many arguments", farm.message(due, 0, "rm -rf /")
    yield "a list for an id", farm.message([due], 0)
    yield "a chain of nonsense", farm.message(10**9, 0, chain=[{"task": "x"}, 7])
    yield "a callback", farm.message(10**9, 0, callbacks=[{"task": "os.system", "args": ["x"]}])
    yield "another task", farm.envelope("[[], {}, {}]", "f" * 32, task="celery.backend_cleanup")
    yield "a task of ours that is none", farm.envelope("[[1, 0], {}, {}]", "e" * 32, task="opsfarm")
    yield (
        "an unknown content type",
        json.dumps(
            json.loads(farm.message(due, 0)) | {"content-type": "application/x-python-serialize"}
        ),
    )
    yield "no body", json.dumps({"headers": {}, "properties": {"delivery_info": {}}})
    yield "no headers", json.dumps(json.loads(farm.message(due, 0)) | {"headers": {}})
    yield "an empty object", "{}"
    yield "a list", "[]"
    yield "a number", "7"
    yield "null", "null"
    yield "no JSON", "\x00\xff not json"
    yield "no text", b"\xff\xfe\x00"
    yield "nothing", ""
    yield "an endless number", "9" * 5000
    envelope = json.loads(farm.message(due, 0))
    for member, value in HOSTILE_MEMBERS:
        yield f"{member} = {value!r}", json.dumps(envelope | {member: value})
    for header, value in HOSTILE_HEADERS:
        yield (
            f"header {header} = {value!r}",
            farm.envelope("[[], {}, {}]", "d" * 32, **{header: value}),
        )


def test_forged_and_malformed_messages_run_nothing(farm, tmp_path):
    worker = farm.start("automation")
    finished = farm.submit(mark(tmp_path / "f"))
    done = farm.wait_for(finished.execution_id)["steps"][0]["results"][0]["step_id"]
    busy = farm.submit(hold("read", tmp_path / "g"), mark(tmp_path / "h", operation="change"))
    farm.wait_for_lines(tmp_path / "g")
    pending = farm.result(busy.execution_id, 1)["step_id"]
    for name, message in forgeries(farm, pending, done):
        farm.push(message)
        farm.wait_until(lambda: farm.depth() == 0 or not worker.is_alive)
        after = farm.submit(mark(tmp_path / "alive", name)).execution_id
        farm.wait_until(
            lambda after=after: farm.result(after)["state"] == "succeeded" or not worker.is_alive
        )
        assert worker.is_alive, name
    assert lines_of(tmp_path / "f") == ["ran"]
    assert lines_of(tmp_path / "h") == []
    assert farm.result(busy.execution_id, 1)["state"] == "pending"


def test_a_worker_takes_no_step_of_another_domain(farm, tmp_path):
    farm.start("comms")
    accepted = farm.submit(mark(tmp_path / "f"))
    step_id = farm.result(accepted.execution_id)["step_id"]
    farm.push(farm.message(step_id, 0), "comms")
    farm.wait_until(lambda: farm.depth("comms") == 0)
    farm.start("automation")
    farm.wait_for(accepted.execution_id)
    assert farm.result(accepted.execution_id)["worker"].startswith("automation@")
    assert lines_of(tmp_path / "f") == ["ran"]


def test_a_chain_that_lies_about_what_follows_starts_only_what_is_due(farm, tmp_path):
    accepted = farm.submit(mark(tmp_path / "f"), mark(tmp_path / "g"), mark(tmp_path / "h"))
    ids = [farm.result(accepted.execution_id, n)["step_id"] for n in range(3)]
    farm.broker.delete(farm.queue())
    for link in ([ids[2], 0], [True, 0], [2**70, 0], ["x", 0]):
        chain = [{"task": "opsfarm.run_step", "args": link, "options": {"queue": farm.queue()}}]
        farm.push(farm.message(ids[0], 0, chain=chain))
    farm.start("automation")
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert [lines_of(tmp_path / name) for name in "fgh"] == [["ran"]] * 3

"""RabbitMQ instead of Redis by changing one URL: quorum queues, acknowledgements, confirms."""

import pytest

from tests.lab.farm import Farm


@pytest.fixture
def farm(rabbitmq_server, database_url, tmp_path):
    farm = Farm(database_url, rabbitmq_server, tmp_path)
    yield farm
    farm.close()


def test_a_plan_goes_through_quorum_queues(farm):
    farm.start("automation")
    farm.start("dispatcher")
    marks = farm.folder / "marks"
    steps = [
        {"tool": "mark", "id": f"m{n}", "parameters": {"file": str(marks), "line": f"line {n}"}}
        for n in range(12)
    ]
    later = {
        "tool": "mark",
        "id": "last",
        "when": "steps.m11.ok",
        "parameters": {"file": "/dev/null"},
    }
    accepted = farm.submit(*steps, later)
    assert accepted.delivery == "sent"
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert marks.read_text().splitlines() == [f"line {n}" for n in range(12)]
    assert "quorum" in _queue_types(farm)


def _queue_types(farm):
    """What the broker says: declaring the queue as another type is refused by naming its own."""
    with farm.parts.celery.connection_for_write() as connection:
        channel = connection.channel()
        with pytest.raises(connection.channel_errors) as refusal:
            channel.queue_declare(
                queue=farm.queue(),
                durable=True,
                auto_delete=False,
                arguments={"x-queue-type": "classic"},
            )
    return str(refusal.value)

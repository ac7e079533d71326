"""Reading how full a queue is, while the broker comes and goes."""

import pytest
from kombu.exceptions import OperationalError

from app.admin.servers import find_free_port, start_redis
from app.celery_app import make_celery
from app.config import read_settings
from app.publish import Publisher

WINDOW = 64
PASSWORD = "test-password"


@pytest.fixture
def port():
    return find_free_port()


@pytest.fixture
def broker(tmp_path, port):
    server = start_redis(tmp_path / "redis", port, PASSWORD)
    yield server
    server.stop()


@pytest.fixture
def publisher(broker):
    celery = make_celery(read_settings(broker_url=broker.url))
    yield Publisher(celery, ledger=None, window=WINDOW)  # only its window is looked at
    celery.close()


def test_an_empty_queue_has_the_whole_window(publisher):
    assert publisher.window.room("automation") == WINDOW


def test_a_broker_that_went_away_is_one_kind_of_error_and_found_again(
    publisher, broker, port, tmp_path
):
    assert publisher.window.depth("automation") == 0
    for _ in range(2):  # the second time with connections that have failed before
        broker.process.kill()
        broker.process.wait()
        for _ in range(3):
            with pytest.raises(OperationalError, match=r"refused|closed"):
                publisher.window.depth("automation")
        broker.process = start_redis(tmp_path / "redis", port, PASSWORD).process
        assert publisher.window.depth("automation") == 0

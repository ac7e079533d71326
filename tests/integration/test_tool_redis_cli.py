"""redis-cli against a real Redis of the test's own."""

import secrets
from urllib.parse import urlsplit

import pytest
import redis

from app.admin.servers import find_free_port
from app.step import State
from tool_catalog.model import Reason

DATABASE = 7


@pytest.fixture(autouse=True)
def _needs_redis_cli(require_program):
    require_program("redis-cli")


@pytest.fixture
def client(redis_server):
    """A database that nothing else uses, empty."""
    url = redis_server.removesuffix("/0") + f"/{DATABASE}"
    client = redis.Redis.from_url(url, decode_responses=True)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def where(redis_server):
    url = urlsplit(redis_server)
    password = {"password": {"$secret": "cache"}}
    return {"host": url.hostname, "port": url.port, "database": DATABASE, **password}


@pytest.fixture
def run(bench, client, where, redis_server):
    def call(operation, given=(), **more):
        given = {**where, **dict(given)}
        given = {name: value for name, value in given.items() if value is not None}
        hidden = {"cache": urlsplit(redis_server).password, "wrong": "wr0ng-pw"}
        return bench.run("redis-cli", operation, given, secrets=hidden, **more).result

    return call


@pytest.mark.proves("redis-cli", "ping")
def test_the_server_answers(run):
    result = run("ping")
    assert (result.state, result.output) == (State.SUCCEEDED, "PONG")


@pytest.mark.proves("redis-cli", "info")
def test_info_is_what_the_server_knows(run, client):
    output = run("info").output
    told = client.info("all")
    for name in ("redis_version", "role", "redis_mode", "maxclients"):
        assert output[name] == told[name]
    assert output["used_memory"] > 100_000
    assert output["connected_clients"] >= 2
    assert output["loading"] is False


@pytest.mark.proves("redis-cli", "size")
@pytest.mark.proves("redis-cli", "keys")
def test_planted_keys_are_counted_and_found(run, client):
    names = [f"planted:{n}" for n in range(300)]
    client.mset(dict.fromkeys(names, "x") | {"other": "y"})
    assert run("size").output == 301
    result = run("keys", {"pattern": "planted:*"})
    assert sorted(row["key"] for row in result.output) == sorted(names)
    assert run("keys", {"pattern": "nothing:*"}).output == []


@pytest.mark.proves("redis-cli", "get")
@pytest.mark.parametrize("value", ["plain", 'a "b"\nc\\', "ü€", "null", "", "-x"])
def test_a_text_is_read_as_it_is(run, client, value):
    client.set("it's", value)
    result = run("get", {"key": "it's"})
    assert (result.state, result.output) == (State.SUCCEEDED, value)


@pytest.mark.proves("redis-cli", "config")
def test_a_setting(run, client):
    client.config_set("maxmemory-samples", 9)
    assert run("config", {"name": "maxmemory-samples"}).output == {"maxmemory-samples": "9"}
    result = run("config", {"name": "nosuch"})
    assert (result.reason, result.summary) == (
        Reason.NOT_FOUND,
        "the server knows no setting nosuch",
    )


@pytest.mark.proves("redis-cli", "set")
def test_a_text_is_written_and_twice_is_as_once(run, client):
    given = {"key": "feature", "value": "a 'b'\nü", "ttl_s": 100}
    for _ in range(2):
        result = run("set", given)
        assert (result.state, result.output) == (State.SUCCEEDED, "OK")
        assert client.get("feature") == "a 'b'\nü"
        assert 90 < client.ttl("feature") <= 100
    run("set", {"key": "feature", "value": "stays"})
    assert (client.get("feature"), client.ttl("feature")) == ("stays", -1)


@pytest.mark.proves("redis-cli", "delete")
def test_a_key_is_removed_and_twice_is_as_once(run, client):
    client.rpush("queue", "a", "b")
    assert [run("delete", {"key": "queue"}).output for _ in range(2)] == [1, 0]
    assert client.exists("queue") == 0


@pytest.fixture
def reader(client, redis_server):
    """A user that may not write."""
    password = f"+{urlsplit(redis_server).password}"
    rights = {"keys": ["*"], "categories": ["+@read", "+@connection"]}
    client.acl_setuser("reader", enabled=True, passwords=[password], **rights)
    yield
    client.acl_deluser("reader")


REFUSED_LOGIN = (Reason.AUTH_FAILED, "refused user or password")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("operation", "given", "refused"),
    [
        ("get", {"key": "missing"}, (Reason.NOT_FOUND, "there is no key missing")),
        ("get", {"key": "list"}, (Reason.CONFLICT, "another kind of value")),
        ("ping", {"password": None}, (Reason.AUTH_FAILED, "give it as the secret")),
        ("ping", {"password": {"$secret": "wrong"}}, REFUSED_LOGIN),
        ("info", {"user": "nobody"}, REFUSED_LOGIN),
        ("ping", {"host": "nosuch.invalid"}, (Reason.NOT_FOUND, "nosuch.invalid")),
        ("keys", {"pattern": "*", "password": None}, (Reason.AUTH_FAILED, "wants a password")),
        ("delete", {"key": "k", "user": "reader"}, (Reason.NO_PRIVILEGE, "no permissions")),
    ],
)
def test_what_the_server_refuses(run, client, operation, given, refused):
    client.rpush("list", "a")
    result = run(operation, given)
    assert (result.state, result.reason) == (State.FAILED, refused[0])
    assert refused[1] in result.summary
    assert "wr0ng-pw" not in result.summary


def test_where_no_server_is(run):
    result = run("ping", {"port": find_free_port()})
    assert (result.reason, result.transient) == (Reason.UNREACHABLE, True)


def test_over_ssh_too(run, sshd, client):
    over = {"target": sshd.target, "credential": sshd.credential}
    value = secrets.token_hex(8)
    assert run("set", {"key": "far", "value": value}, **over).state is State.SUCCEEDED
    assert run("get", {"key": "far"}, **over).output == value

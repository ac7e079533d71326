"""What the broker can read: that something runs, and nothing of what or where."""

import base64
import json
import secrets

import pytest
import redis
from sqlalchemy.orm import Session

from app.admin.servers import find_free_port, start_redis
from app.config import read_settings
from app.parts import build_parts
from app.plan_reader import read_request
from app.principal import Role
from app.step import Secret
from app.store.inventory import create_asset
from app.submit import submit

#: Every value that the plans, the inventory and the vault hold; none may be in the broker.
PLANTED = {
    "recipient": "planted-recipient@example.com",
    "subject": "planted subject",
    "body": "planted body",
    "path": "/planted/path",
    "hostname": "planted-host",
    "address": "192.0.2.77",
    "created": "planted-created",
    "header": "planted-header",
    "url": "hooks.planted.example.com",
    "secret name": "planted-secret-name",
    "secret": "planted-secret-value",
}
CHAIN = {
    "name": "nightly-check",
    "steps": [
        {"tool": "df", "parameters": {"path": PLANTED["path"]}},
        {
            "tool": "sendmail",
            "parameters": {
                "to": PLANTED["recipient"],
                "subject": PLANTED["subject"],
                "body": PLANTED["body"],
            },
        },
        {
            "tool": "webhook-sender",
            "parameters": {
                "url": f"https://{PLANTED['url']}/in",
                "headers": {"X-Note": PLANTED["header"]},
                "auth": {"$secret": PLANTED["secret name"]},
            },
        },
        {"tool": "asset-create", "parameters": {"hostname": PLANTED["created"]}},
    ],
}
FANNED = {
    "name": "fanned-out",
    "steps": [{"tool": "df", "parameters": {"path": PLANTED["path"]}, "targets": "tags.role=web"}],
}


@pytest.fixture
def broker(server_folder):
    """A Redis that nobody else uses."""
    folder = server_folder / f"redis-{secrets.token_hex(3)}"
    server = start_redis(folder, find_free_port(), "test-password")
    yield server.url
    server.stop()


@pytest.fixture
def parts(broker, database_url, monkeypatch, tmp_path):
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    monkeypatch.setenv("OPSFARM_DATABASE_URL", database_url)
    monkeypatch.setenv("OPSFARM_BROKER_URL", broker)
    monkeypatch.setenv("OPSFARM_SECRET_KEY", key)
    monkeypatch.setenv("OPSFARM_STATE_DIR", str(tmp_path))
    parts = build_parts(read_settings())
    with Session(parts.engine) as session, session.begin():
        session.info["tenant"] = "default"
        for number in (1, 2, 3):
            asset = {
                "hostname": f"{PLANTED['hostname']}-{number}",
                "ip_address": PLANTED["address"][:-1] + str(number),
                "tags": {"role": "web"},
            }
            create_asset(session, asset)
    parts.vault.put_secret("default", PLANTED["secret name"], Secret(PLANTED["secret"]))
    yield parts
    parts.close()
    parts.celery.close()


def read_broker(url):
    """Every key of Redis with its raw value, as one text."""
    with redis.Redis.from_url(url) as client:
        values = []
        for key in sorted(client.keys("*")):
            kind = client.type(key).decode()
            read = {"list": lambda k: client.lrange(k, 0, -1), "set": client.smembers}[kind]
            values += [key, *read(key)]
    text = b"\n".join(values).decode()
    messages = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    bodies = [base64.b64decode(message["body"]).decode() for message in messages]
    return "\n".join([text, *bodies]), messages


def submit_plan(plan, parts):
    principal, _ = parts.principals.add("default", "planted-principal", Role.OPERATOR)
    accepted = submit(read_request(json.dumps(plan).encode()).plan, principal, parts)
    assert accepted.delivery == "sent"
    return accepted.execution_id


@pytest.mark.parametrize("plan", [CHAIN, FANNED], ids=["chain", "fan-out"])
def test_no_value_is_in_the_broker_but_what_flower_shows_is(parts, broker, plan):
    execution_id = submit_plan(plan, parts)
    text, messages = read_broker(broker)
    assert messages
    for what, value in PLANTED.items():
        forms = (value, base64.b64encode(value.encode()).decode().rstrip("=")[:-1])
        assert not [form for form in forms if form in text], f"{what} is in the broker"
    assert "planted" not in text
    assert str(execution_id) not in text  # a message names one row and an attempt


def test_a_chain_shows_tools_and_places_of_its_steps(parts, broker):
    submit_plan(CHAIN, parts)
    text, (message,) = read_broker(broker)
    headers = message["headers"]
    assert headers["shadow"] == "df.usage"
    assert "nightly-check" in headers["argsrepr"]
    for shadow in ("sendmail.send", "webhook-sender.send", "asset-create.create"):
        assert shadow in text
    args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
    assert all(isinstance(arg, int) for arg in args)
    assert kwargs == {}
    assert len(embed["chain"]) == 3
    for position, link in enumerate(reversed(embed["chain"]), start=2):
        assert [type(arg) for arg in link["args"]] == [int, int]
        assert f"{position}" in link["options"]["argsrepr"]


def test_a_fanned_out_step_tells_how_many_targets_it_has(parts, broker):
    submit_plan(FANNED, parts)
    _, messages = read_broker(broker)
    assert {message["headers"]["shadow"] for message in messages} == {"df.usage"}
    assert {message["headers"]["argsrepr"] for message in messages} == {"fanned-out 1 x3"}
    ids = {json.loads(base64.b64decode(message["body"]))[0][0] for message in messages}
    assert len(ids) == 3

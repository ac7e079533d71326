import re

import pytest
from sqlalchemy import event, text

from app.errors import Conflict, NotFound, UserError
from app.principal import Principal, Role
from app.store.keyring import Keyring
from app.store.principals import Principals

KEYRING = Keyring([b"k" * 32])


@pytest.fixture
def principals(engine):
    return Principals(engine, KEYRING)


def test_a_key_finds_its_principal(principals):
    made, key = principals.add("default", "ada", Role.OPERATOR)
    assert re.fullmatch(r"opsfarm_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key)
    assert made == Principal(made.id, "ada", Role.OPERATOR, "default")
    assert principals.find(key) == made


def test_the_database_holds_neither_the_key_nor_its_plain_hash(engine, principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    with engine.connect() as connection:
        row = connection.execute(text("select row_to_json(p)::text from principals p")).scalar()
    assert key[17:] not in row
    assert key[8:16] in row


def test_another_key_with_the_same_prefix_is_not_known(principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    forged = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert principals.find(forged) is None


@pytest.mark.parametrize(
    "key", ["", "opsfarm_", "x" * 100_000, "opsfarm_00000000_" + "a" * 43, "opsfarm_0' or 1=1"]
)
def test_texts_that_are_no_key_are_not_known(principals, key):
    principals.add("default", "ada", Role.ADMIN)
    assert principals.find(key) is None


def test_a_key_under_another_farm_key_is_not_known(engine, principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    assert Principals(engine, Keyring([b"o" * 32])).find(key) is None


def test_a_key_made_before_a_change_of_farm_keys_still_works(engine, principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    changed = Principals(engine, Keyring([b"n" * 32, b"k" * 32]))
    assert changed.find(key).name == "ada"


def test_finding_is_one_statement(engine, principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    principals.find(key)
    assert len(statements) == 1


def test_a_taken_name_is_refused_but_free_for_another_tenant(principals):
    principals.add("default", "ada", Role.ADMIN)
    with pytest.raises(Conflict, match="'ada' exists"):
        principals.add("default", "ada", Role.VIEWER)
    principals.add("other", "ada", Role.VIEWER)
    assert [row["role"] for row in principals.list("default")] == ["admin"]


def test_a_revoked_key_never_works_again(principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    principals.revoke("default", "ada")
    assert principals.find(key) is None
    with pytest.raises(NotFound, match="'ada'"):
        principals.revoke("default", "ada")
    with pytest.raises(Conflict):
        principals.add("default", "ada", Role.ADMIN)
    assert principals.find(key) is None


def test_revoking_needs_the_right_tenant(principals):
    _, key = principals.add("default", "ada", Role.ADMIN)
    with pytest.raises(NotFound):
        principals.revoke("other", "ada")
    assert principals.find(key) is not None


def test_the_list_shows_who_and_since_when_but_no_key(principals):
    _, key = principals.add("default", "bob", Role.VIEWER)
    principals.add("default", "ada", Role.ADMIN)
    principals.revoke("default", "bob")
    ada, bob = principals.list("default")
    assert (ada["name"], ada["role"], ada["revoked_at"]) == ("ada", "admin", None)
    assert bob["revoked_at"] is not None
    assert bob["key_prefix"] == key[8:16]
    assert key[17:] not in str([ada, bob])


def test_a_name_that_is_none_is_refused(principals):
    with pytest.raises(UserError, match="no name for a principal"):
        principals.add("default", "ada\nbob", Role.ADMIN)

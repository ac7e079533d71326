import base64
import stat
from dataclasses import replace

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.config import Settings
from app.errors import ConfigError, Conflict, NotFound, SealBroken, UserError
from app.privilege import KnownLogin
from app.step import Credential, Secret
from app.store.credentials import Vault
from app.store.inventory import create_asset, delete_asset
from app.store.keyring import Keyring, make_key_file, read_key_file
from app.store.models import Asset, StoredSecret
from tests.lab.private_keys import make_private_key

OLD, NEW = b"k" * 32, b"n" * 32
CANARY = "correct horse battery staple"
LOGIN = Credential(
    name="web",
    username="ada",
    password=Secret(CANARY),
    private_key=Secret(make_private_key(CANARY)),
    become={"method": "sudo", "user": "root"},
    become_password=Secret("sudo " + CANARY),
)


@pytest.fixture
def vault(engine):
    return Vault(engine, Keyring([OLD]))


@pytest.fixture
def host_ids(engine):
    with Session(engine) as session:
        session.info["tenant"] = "default"
        made = [create_asset(session, {"hostname": name})["id"] for name in ("web-01", "web-02")]
        session.commit()
    return made


def alter(engine, **values):
    with engine.begin() as connection:
        connection.execute(update(StoredSecret).values(**values))


def alter_assets(engine, asset_id, **values):
    with engine.begin() as connection:
        connection.execute(update(Asset).where(Asset.id == asset_id).values(**values))


def everything_in(engine):
    with engine.connect() as connection:
        return str(connection.execute(text("select row_to_json(s)::text from secrets s")).all())


def test_a_secret_comes_back_and_the_database_does_not_hold_it(engine, vault):
    vault.put_secret("default", "token", Secret(CANARY))
    assert vault.open_secret(vault.find("default", "token")).reveal() == CANARY
    kept = everything_in(engine)
    for form in (CANARY, CANARY.encode().hex(), base64.b64encode(CANARY.encode()).decode()):
        assert form not in kept


def test_a_new_value_is_a_new_version_under_a_new_data_key(vault):
    vault.put_secret("default", "token", Secret("one"))
    first = vault.find("default", "token")
    vault.put_secret("default", "token", Secret("two"))
    second = vault.find("default", "token")
    assert (first.version, second.version) == (1, 2)
    assert first.id == second.id
    assert first.wrapped_key != second.wrapped_key
    assert vault.open_secret(second).reveal() == "two"


def test_a_login_comes_back_whole(vault):
    vault.put_credential("default", "web", LOGIN)
    assert vault.open_credential(vault.find("default", "web")) == LOGIN


@pytest.mark.parametrize("column", ["sealed", "wrapped_key"])
@pytest.mark.parametrize("place", [0, 12, -1])
def test_one_altered_byte_is_found(engine, vault, column, place):
    vault.put_secret("default", "token", Secret(CANARY))
    altered = bytearray(getattr(vault.find("default", "token"), column))
    altered[place] ^= 1
    alter(engine, **{column: bytes(altered)})
    with pytest.raises(SealBroken, match="secret 'token': altered") as caught:
        vault.open_secret(vault.find("default", "token"))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", [b"", b"short"])
def test_what_was_cut_off_is_found(engine, vault, value):
    vault.put_secret("default", "token", Secret(CANARY))
    alter(engine, sealed=value)
    with pytest.raises(SealBroken):
        vault.open_secret(vault.find("default", "token"))


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"version": 2}])
def test_a_row_given_to_another_tenant_or_version_does_not_open(engine, vault, change):
    vault.put_secret("default", "token", Secret(CANARY))
    alter(engine, **change)
    with pytest.raises(SealBroken):
        vault.open_secret(vault.find(change.get("tenant", "default"), "token"))


def test_sealed_bytes_put_into_another_row_do_not_open(engine, vault):
    vault.put_secret("default", "a", Secret("value of a"))
    vault.put_secret("default", "b", Secret("value of b"))
    row = vault.find("default", "a")
    alter(engine, sealed=row.sealed, wrapped_key=row.wrapped_key)
    with pytest.raises(SealBroken):
        vault.open_secret(vault.find("default", "b"))


def test_a_login_moved_to_another_asset_does_not_open(engine, vault, host_ids):
    vault.put_credential("default", "web", LOGIN, "web-01")
    alter(engine, asset_ids=[host_ids[1]])
    with pytest.raises(SealBroken, match="another asset"):
        vault.credential_for("default", host_ids[1])


def test_the_shown_user_name_cannot_change_the_sealed_one(engine, vault):
    vault.put_credential("default", "web", LOGIN)
    alter(engine, public={"username": "root", "become": None})
    assert vault.open_credential(vault.find("default", "web")) == LOGIN


def test_another_farm_key_opens_nothing_and_says_which_it_needs(engine, vault):
    vault.put_secret("default", "token", Secret(CANARY))
    row = vault.find("default", "token")
    with pytest.raises(SealBroken, match=f"farm key {row.key_id}"):
        Vault(engine, Keyring([NEW])).open_secret(row)


def test_a_secret_is_no_login_and_a_login_no_secret(vault):
    vault.put_secret("default", "token", Secret(CANARY))
    vault.put_credential("default", "web", LOGIN)
    with pytest.raises(SealBroken, match="is a secret, not a credential"):
        vault.open_credential(vault.find("default", "token"))
    with pytest.raises(SealBroken, match="is a credential, not a secret"):
        vault.open_secret(vault.find("default", "web"))
    with pytest.raises(Conflict, match="'web' is a credential"):
        vault.put_secret("default", "web", Secret("x"))


def test_an_older_value_opens_only_in_its_whole_older_row(engine, vault):
    vault.put_secret("default", "token", Secret("first"))
    older = vault.find("default", "token")
    vault.put_secret("default", "token", Secret("second"))
    alter(engine, sealed=older.sealed, wrapped_key=older.wrapped_key)
    with pytest.raises(SealBroken):
        vault.open_secret(vault.find("default", "token"))
    alter(engine, version=older.version)
    assert vault.open_secret(vault.find("default", "token")).reveal() == "first"


def test_changing_the_farm_key_rewraps_all_and_leaves_nothing_to_the_old_one(engine, vault):
    vault.put_secret("default", "token", Secret(CANARY))
    vault.put_credential("other", "web", LOGIN)
    sealed = vault.find("default", "token").sealed
    assert vault.rewrap(Keyring([NEW, OLD])) == 2
    row = vault.find("default", "token")
    assert row.sealed == sealed
    assert vault.open_secret(row).reveal() == CANARY
    only_new = Vault(engine, Keyring([NEW]))
    assert only_new.open_secret(row).reveal() == CANARY
    assert only_new.open_credential(only_new.find("other", "web")) == LOGIN
    with pytest.raises(SealBroken):
        Vault(engine, Keyring([OLD])).open_secret(row)


def test_rewrapping_stops_whole_when_one_does_not_open(engine, vault):
    vault.put_secret("default", "a", Secret("a"))
    Vault(engine, Keyring([b"x" * 32])).put_secret("default", "b", Secret("b"))
    with pytest.raises(SealBroken):
        vault.rewrap(Keyring([NEW]))
    assert vault.open_secret(vault.find("default", "a")).reveal() == "a"


def test_a_login_that_was_given_one_more_asset_behind_our_back_does_not_open(
    engine, vault, host_ids
):
    vault.put_credential("default", "web", LOGIN, "web-01")
    alter(engine, asset_ids=host_ids)
    for asset_id in host_ids:
        with pytest.raises(SealBroken, match="another asset"):
            vault.credential_for("default", asset_id)


def test_one_login_serves_what_names_and_selectors_mean(engine, vault, host_ids):
    alter_assets(engine, host_ids[1], tags={"role": "web"}, status="maintenance")
    assert vault.put_credential("default", "both", LOGIN, "web-01", "tags.role=web") == [
        "web-01",
        "web-02",
    ]
    for asset_id in host_ids:
        assert replace(vault.credential_for("default", asset_id), name="web") == LOGIN


def test_a_login_of_one_asset_goes_before_a_newer_one_of_several(vault, host_ids):
    vault.put_credential("default", "own", LOGIN, "web-01")
    vault.put_credential("default", "both", LOGIN, "web-01", "web-02")
    assert vault.credential_for("default", host_ids[0]).name == "own"
    assert vault.credential_for("default", host_ids[1]).name == "both"


def test_a_new_password_keeps_the_assets_and_new_assets_keep_the_password(vault, host_ids):
    vault.put_credential("default", "web", LOGIN, "web-01")
    assert vault.put_credential("default", "web", Credential("web", "bob", Secret("new"))) == [
        "web-01"
    ]
    assert vault.assign("default", "web", str(host_ids[1])) == ["web-01", "web-02"]
    for asset_id in host_ids:
        login = vault.credential_for("default", asset_id)
        assert (login.username, login.password.reveal()) == ("bob", "new")
    assert vault.put_credential("default", "web", LOGIN, "web-02") == ["web-02"]
    assert vault.credential_for("default", host_ids[0]) is None


def test_assigning_what_is_not_there_is_refused(vault, host_ids):
    with pytest.raises(NotFound, match="no credential 'web'"):
        vault.assign("default", "web", "web-01")
    vault.put_credential("default", "web", LOGIN, "web-01")
    with pytest.raises(NotFound, match="no asset 'web-99'"):
        vault.assign("default", "web", "web-99")
    with pytest.raises(NotFound, match=r"no asset fits tags\.role=db"):
        vault.assign("default", "web", "tags.role=db")
    with pytest.raises(UserError, match="no field 'role'"):
        vault.assign("default", "web", "role=db")
    assert vault.list("default")[0]["hostnames"] == ["web-01"]


def test_an_asset_takes_its_own_logins_along_and_leaves_the_shared_ones(engine, vault, host_ids):
    vault.put_credential("default", "own", LOGIN, "web-01")
    vault.put_credential("default", "both", LOGIN, "web-01", "web-02")
    with Session(engine) as session:
        session.info["tenant"] = "default"
        assert delete_asset(session, "web-01")["credentials"] == ["own"]
        session.commit()
    assert [(each["name"], each["hostnames"]) for each in vault.list("default")] == [
        ("both", ["web-02"])
    ]
    assert replace(vault.credential_for("default", host_ids[1]), name="web") == LOGIN


def test_the_newest_login_of_an_asset_serves(vault, host_ids):
    assert vault.credential_for("default", host_ids[0]) is None
    vault.put_credential("default", "first", LOGIN, "web-01")
    vault.put_credential("default", "second", LOGIN, str(host_ids[0]))
    vault.put_credential("default", "elsewhere", LOGIN, "web-02")
    assert vault.credential_for("default", host_ids[0]).name == "second"
    vault.put_credential("default", "first", LOGIN, "web-01")
    assert vault.credential_for("default", host_ids[0]).name == "first"
    assert vault.credential_for("other", host_ids[0]) is None


def test_the_list_shows_names_and_what_is_public(vault, host_ids):
    vault.put_credential("default", "web", LOGIN, "web-01")
    vault.put_secret("default", "token", Secret(CANARY))
    vault.put_secret("other", "theirs", Secret(CANARY))
    token, web = vault.list("default")
    assert (token["name"], token["kind"], token["hostnames"]) == ("token", "secret", [])
    assert (web["hostnames"], web["version"]) == (["web-01"], 1)
    assert web["public"] == {"username": "ada", "become": {"method": "sudo", "user": "root"}}
    assert CANARY not in str([token, web])
    assert vault.names("default") == {"token"}  # what `{$secret: name}` may name


def test_removing(vault):
    vault.put_secret("default", "token", Secret(CANARY))
    with pytest.raises(NotFound):
        vault.remove("other", "token")
    vault.remove("default", "token")
    with pytest.raises(NotFound, match="'token'"):
        vault.find("default", "token")
    with pytest.raises(NotFound):
        vault.remove("default", "token")


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        (Credential("x", ""), "user name"),
        (Credential("x", "ada", become={"method": "su"}), "become is"),
        (Credential("x", "ada", become={"method": "sudo", "password": "x"}), "become is"),
    ],
)
def test_a_login_that_cannot_work_is_refused(vault, credential, words):
    with pytest.raises(UserError, match=words):
        vault.put_credential("default", "web", credential)
    assert vault.list("default") == []


def test_names_and_sizes_are_bounded(vault):
    for name in ("", "a b", "../x", "x" * 129):
        with pytest.raises(UserError, match="no name"):
            vault.put_secret("default", name, Secret("x"))
    for value in ("", "x" * (64 * 1024 + 1)):
        with pytest.raises(UserError, match="characters"):
            vault.put_secret("default", "token", Secret(value))


def test_a_login_of_an_unknown_asset_is_refused(vault):
    with pytest.raises(NotFound, match="web-99"):
        vault.put_credential("default", "web", LOGIN, "web-99")
    assert vault.list("default") == []


# The key


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / "secret.key"
    make_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        make_key_file(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["secret.key"]
    assert Keyring.from_settings(Settings(secret_key_file=path)).current_id


def test_the_key_of_the_environment_goes_before_the_file(tmp_path):
    given = Keyring.from_settings(Settings(secret_key=base64.b64encode(OLD).decode()))
    assert given.current_id == Keyring([OLD]).current_id


def test_a_file_with_two_keys_seals_with_the_first_and_opens_with_both(tmp_path, engine, vault):
    vault.put_secret("default", "token", Secret(CANARY))
    path = tmp_path / "keys"
    path.write_bytes(base64.b64encode(NEW) + b"\n" + base64.b64encode(OLD) + b"\n")
    both = Vault(engine, read_key_file(path))
    assert both.open_secret(both.find("default", "token")).reveal() == CANARY
    both.put_secret("default", "token", Secret("new"))
    assert both.find("default", "token").key_id == Keyring([NEW]).current_id


@pytest.mark.parametrize(
    ("text_", "words"),
    [("", "32 bytes"), ("c2hvcnQ=", "32 bytes"), ("not base64!", "not base64"), ("\u00e9", "text")],
)
def test_a_file_that_holds_no_key_says_how_to_make_one(tmp_path, text_, words):
    path = tmp_path / "keys"
    path.write_text(text_)
    with pytest.raises(ConfigError, match=words) as caught:
        read_key_file(path)
    assert "make one with" in str(caught.value)


def test_no_key_at_all_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="OPSFARM_SECRET_KEY_FILE"):
        Keyring.from_settings(Settings())
    with pytest.raises(ConfigError, match="No such file"):
        Keyring.from_settings(Settings(secret_key_file=tmp_path / "none"))


def test_keys_for_different_purposes_differ():
    ring = Keyring([OLD])
    assert ring.derive("a") != ring.derive("b")
    assert OLD not in (*ring.derive("a"), ring.current_id.encode())


def test_logins_are_those_that_steps_would_use_without_their_secrets(vault, host_ids):
    web, other = host_ids
    plain = Credential("fleet", "ops", password=Secret(CANARY))
    vault.put_credential("default", "fleet", plain, "web-01", "web-02")
    vault.put_credential("default", "web", LOGIN, "web-01")
    vault.put_credential("elsewhere", "theirs", LOGIN)
    logins = vault.logins("default", [web, other, 999])
    assert logins == {
        web: KnownLogin("web", "ada", {"method": "sudo", "user": "root"}),
        other: KnownLogin("fleet", "ops", None),
    }
    for asset_id, login in logins.items():
        used = vault.credential_for("default", asset_id)
        assert (used.name, used.username, used.become) == (login.name, login.username, login.become)
    assert CANARY not in str(logins)
    assert vault.logins("elsewhere", [web]) == {}

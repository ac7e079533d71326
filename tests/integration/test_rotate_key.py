"""`opsfarm rotate-key` on a real ledger: nothing is lost, nobody has to stop."""

import json
import os
import stat
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from app.admin.rotate_key import find_key_file, rotate_key
from app.config import read_settings
from app.errors import ConfigError, SealBroken
from app.principal import Role
from app.step import Credential, Secret
from app.store.credentials import Vault
from app.store.keyring import Keyring, make_key_file, put_new_key, read_key_file
from app.store.principals import Principals

OPSFARM = "from app.cli.main import main; main()"
LOGIN = Credential(name="web", username="ada", password=Secret("canary-2"))


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "secret.key"
    make_key_file(path)
    return path


@pytest.fixture
def running(engine, key_file):
    """The vault of a process that started before the change, with two secrets in it."""
    vault = Vault(engine, read_key_file(key_file))
    vault.put_secret("default", "token", Secret("canary-1"))
    vault.put_credential("other", "web", LOGIN)
    return vault


def lines(path):
    return path.read_text().split()


def wrapped_with(engine):
    with engine.connect() as connection:
        return set(connection.execute(text("select key_id from secrets")).scalars())


def read_all(vault):
    token = vault.open_secret(vault.find("default", "token")).reveal()
    return token, vault.open_credential(vault.find("other", "web")).password.reveal()


def test_everything_is_wrapped_with_the_new_first_line(engine, key_file, running):
    [old] = lines(key_file)
    assert rotate_key(engine, key_file) == 2
    new, kept = lines(key_file)
    assert (kept, new != old) == (old, True)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [each.name for each in key_file.parent.iterdir()] == ["secret.key"]
    assert wrapped_with(engine) == {read_key_file(key_file).current_id}
    key_file.write_text(new + "\n")
    assert read_all(Vault(engine, read_key_file(key_file))) == ("canary-1", "canary-2")


def test_a_running_process_goes_on(engine, key_file, running):
    rotate_key(engine, key_file)
    assert read_all(running) == ("canary-1", "canary-2")
    running.put_secret("default", "token", Secret("canary-3"))
    assert read_all(Vault(engine, read_key_file(key_file))) == ("canary-3", "canary-2")


def test_api_keys_made_before_stay_valid(engine, key_file, running):
    _, key_text = Principals(engine, read_key_file(key_file)).add("default", "ada", Role.ADMIN)
    rotate_key(engine, key_file)
    assert Principals(engine, read_key_file(key_file)).find(key_text).name == "ada"


def test_again_and_again(engine, key_file, running):
    for _ in range(3):
        rotate_key(engine, key_file)
    assert len(set(lines(key_file))) == 4
    assert read_all(running) == ("canary-1", "canary-2")


def test_two_changes_at_once_lose_no_key(key_file):
    [old] = lines(key_file)
    threads = [threading.Thread(target=put_new_key, args=[key_file]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(lines(key_file))) == 9
    assert lines(key_file)[-1] == old


def test_no_key_is_made_when_a_secret_does_not_open(engine, key_file, running):
    Vault(engine, Keyring([b"x" * 32])).put_secret("default", "foreign", Secret("canary"))
    before = key_file.read_bytes()
    with pytest.raises(SealBroken):
        rotate_key(engine, key_file)
    assert key_file.read_bytes() == before
    assert read_all(running) == ("canary-1", "canary-2")


def test_a_file_that_holds_no_key_is_not_written_to(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("milk, eggs")
    with pytest.raises(ConfigError, match="not base64"):
        put_new_key(path)
    assert path.read_text() == "milk, eggs"


def test_a_key_that_is_not_in_a_file_says_what_to_do(key_file):
    with pytest.raises(ConfigError, match="OPSFARM_SECRET_KEY_FILE"):
        find_key_file(read_settings(secret_key=lines(key_file)[0]))


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_says_how_many(database_url, engine, key_file, running, as_json):
    done = subprocess.run(
        [sys.executable, "-c", OPSFARM, "rotate-key", *(["--json"] if as_json else [])],
        env={
            "PATH": os.environ["PATH"],
            "OPSFARM_DATABASE_URL": database_url,
            "OPSFARM_SECRET_KEY_FILE": str(key_file),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert not any(line in done.stdout + done.stderr for line in lines(key_file))
    if as_json:
        assert json.loads(done.stdout) == {"rewrapped": 2, "key_file": str(key_file)}
    else:
        assert f"2 data keys are wrapped with the new key in {key_file}" in done.stderr
    assert len(lines(key_file)) == 2

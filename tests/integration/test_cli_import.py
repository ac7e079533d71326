"""`opsfarm assets import` and `opsfarm credentials` against a served API."""

import json

import pytest
from sqlalchemy import text

from app.principal import Role
from tests.lab.private_keys import make_private_key

INVENTORY = """
[web]
web-01 ansible_host=192.0.2.1 ansible_user=deploy ansible_password=planted
web-02 ansible_host=192.0.2.2 ansible_user=deploy ansible_port=2222
"""


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "inventory.ini"
    path.write_text(INVENTORY)
    return path


def assets_in(engine):
    query = "select hostname, host(ip_address) as ip, connection, tags from assets order by id"
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


class TestImport:
    def test_shows_first_and_writes_with_apply(self, opsfarm, engine, inventory):
        status, out, notes = opsfarm("assets", "import", str(inventory))
        assert status == 0
        assert out.splitlines()[:3] == [
            "new      web-01",
            "           ip_address: 192.0.2.1",
            "           connection.user: deploy",
        ]
        assert "           tags.group.web: true" in out
        assert any(
            note.startswith(f"{inventory}:3: ansible_password is left out") for note in notes
        )
        assert notes[-2:] == [
            "2 new, 0 changed, 0 unchanged",
            "nothing is written yet; --apply writes it",
        ]
        assert assets_in(engine) == []

        status, _, notes = opsfarm("assets", "import", str(inventory), "--apply")
        assert status == 0
        assert "2 new, 0 changed, 0 unchanged, written" in notes
        assert "next: opsfarm credentials add NAME --asset SELECTOR --user deploy" in notes
        assert [asset["ip"] for asset in assets_in(engine)] == ["192.0.2.1", "192.0.2.2"]
        assert "planted" not in str(assets_in(engine))

    def test_a_change_is_shown_field_by_field(self, opsfarm, engine, inventory):
        opsfarm("assets", "import", str(inventory), "--apply")
        inventory.write_text("[db]\nweb-02 ansible_host=192.0.2.22 ansible_port=2222\n")
        status, out, notes = opsfarm("assets", "import", str(inventory), "--apply")
        assert status == 0
        assert out.splitlines() == [
            "changed  web-02",
            "           ip_address: 192.0.2.2 -> 192.0.2.22",
            "           tags.group.db: (nothing) -> true",
            "           tags.group.web: true -> (nothing)",
        ]
        assert f"not in {inventory}, and left alone: web-01" in notes
        assert assets_in(engine)[1]["tags"] == {"group.db": True}
        assert assets_in(engine)[1]["connection"] == {"port": 2222, "user": "deploy"}
        status, out, notes = opsfarm("assets", "import", str(inventory), "--apply")
        assert (status, out) == (0, "")
        assert "0 new, 0 changed, 1 unchanged, written" in notes

    def test_faults_have_places_and_nothing_is_sent(self, opsfarm, engine, inventory):
        inventory.write_text("web_01\n[web]\nweb-02 ansible_port=x\n[prod:children]\nwbe\n")
        status, out, notes = opsfarm("assets", "import", str(inventory), "--apply")
        assert (status, out) == (2, "")
        assert notes[0] == "opsfarm: it cannot be read:"
        assert notes[1].startswith(
            f"{inventory}:5:1 no group 'wbe' in this file; did you mean 'web'?"
        )
        assert assets_in(engine) == []

    def test_part_of_a_file_from_a_pipe(self, opsfarm, engine):
        given = "Host web-01\n  HostName 192.0.2.1\nHost db-01\n"
        argv = ("assets", "import", "-", "--only", "web-*", "--apply", "--json")
        status, out, _ = opsfarm(*argv, given=given)
        assert status == 0
        assert list(json.loads(out)["new"]) == ["web-01"]
        assert [asset["hostname"] for asset in assets_in(engine)] == ["web-01"]
        status, _, notes = opsfarm("assets", "import", "-", "--only", "x*", given=given)
        assert status == 2
        assert "no host of - fits x*" in notes[-1]

    def test_what_is_left_out_often_is_told_once(self, opsfarm, inventory):
        inventory.write_text("".join(f"web-{n} ansible_password=planted\n" for n in range(1, 30)))
        _, _, notes = opsfarm("assets", "import", str(inventory))
        told = [note for note in notes if "ansible_password" in note]
        assert len(told) == 1
        assert told[0].startswith(f"{inventory}:1: ansible_password is left out")
        assert told[0].endswith(" (and in 28 more lines)")

    def test_folders_that_ansible_would_read_are_named(self, opsfarm, inventory):
        (inventory.parent / "group_vars").mkdir()
        _, _, notes = opsfarm("assets", "import", str(inventory))
        assert any("group_vars/ beside it is not read" in note for note in notes)

    def test_a_viewer_may_not(self, opsfarm, inventory):
        status, _, notes = opsfarm("assets", "import", str(inventory), role=Role.VIEWER)
        assert status == 2
        assert "this needs the role operator" in notes[-2]


class TestCredentials:
    @pytest.fixture
    def admin(self, opsfarm, inventory):
        """`admin("credentials", ...)`: as an admin, with two assets in the inventory."""
        opsfarm("assets", "import", str(inventory), "--apply")
        return lambda *argv, **given: opsfarm(*argv, role=Role.ADMIN, **given)

    def test_one_login_for_several_assets(self, admin, api_farm, tmp_path):
        key = tmp_path / "id"
        key.write_text(make_private_key())
        argv = ("add", "key", "--asset", "tags.group.web=true", "--user", "deploy")
        status, _, notes = admin("credentials", *argv, "--private-key", str(key))
        assert (status, notes) == (0, ["credential key is kept; it serves web-01, web-02"])
        status, out, _ = admin("credentials", "list")
        assert "web-01, web-02" in out
        vault = api_farm.parts.vault
        login = vault.open_credential(vault.find("default", "key"))
        assert login.private_key.reveal() == key.read_text()
        assert (login.password, login.become) == (None, None)

    def test_passwords_come_one_a_line_in_the_order_of_the_prompts(self, admin, api_farm, tmp_path):
        key = tmp_path / "id"
        key.write_text(make_private_key("open sesame"))
        argv = ("add", "key", "--asset", "web-01", "--user", "ada", "--private-key", str(key))
        options = ("--passphrase", "--become-user", "app", "--become-password")
        status, _, notes = admin("credentials", *argv, *options, given="open sesame\nsud0\n")
        assert status == 0, notes
        vault = api_farm.parts.vault
        login = vault.open_credential(vault.find("default", "key"))
        assert (login.password.reveal(), login.become_password.reveal()) == ("open sesame", "sud0")
        assert login.become == {"method": "sudo", "user": "app"}
        status, _, notes = admin("credentials", *argv, *options, given="one\n")
        assert status == 2
        assert "standard input has 1 line; one for each of: Passphrase of the key" in notes[-1]

    def test_a_key_that_cannot_serve_is_refused_at_once(self, admin, api_farm, tmp_path):
        key = tmp_path / "id"
        argv = ("add", "key", "--asset", "web-01", "--user", "ada", "--private-key", str(key))
        for content, words in (
            (make_private_key("locked"), "has a passphrase"),
            ("no key at all\n", "cannot be read"),
        ):
            key.write_text(content)
            status, _, notes = admin("credentials", *argv)
            assert status == 2
            assert words in notes[0]
        key.write_bytes(b"\xff\xfe")
        assert "it is not text" in admin("credentials", *argv)[2][-1]
        assert api_farm.parts.vault.list("default") == []

    def test_more_assets_and_none(self, admin):
        status, _, notes = admin("credentials", "add", "web", "--user", "ada", given="pw\n")
        assert "it serves no asset yet" in notes[0]
        status, _, notes = admin("credentials", "test", "web")
        assert status == 2
        assert "credential web serves no asset" in notes[0]
        status, _, notes = admin("credentials", "assign", "web", "web-01", "192.0.2.2")
        assert (status, notes) == (0, ["credential web: it serves web-01, web-02"])
        status, _, notes = admin("credentials", "assign", "web", "web-99")
        assert status == 2
        assert "no asset 'web-99'" in notes[0]

    def test_what_is_not_there_is_named(self, admin):
        for argv in (("test", "web"), ("remove", "web"), ("assign", "web", "web-01")):
            status, _, notes = admin("credentials", *argv)
            assert status == 2
            assert "no credential 'web'" in notes[0]
        status, _, notes = admin(
            "credentials", "add", "web", "--user", "ada", "--asset", "web-99", given="pw\n"
        )
        assert status == 2
        assert "no asset 'web-99'" in notes[0]

"""`opsfarm assets trust` and `test`, `opsfarm credentials test`: real workers, a real sshd."""

import getpass
import json
import os
import subprocess

import pytest

from app.principal import Role
from tests.lab.camera import Camera
from tests.lab.command_line import COMMAND
from tests.lab.private_keys import make_private_key
from tests.lab.real_farm import PROJECT, RealFarm, Servers
from tests.lab.sshd import make_key

ME = getpass.getuser()


@pytest.fixture(scope="module")
def servers(server_folder):
    with Servers(server_folder / "hosts") as servers:
        yield servers


@pytest.fixture(scope="module")
def farm(servers, server_folder):
    names = ("api", "dispatcher", "asset", "automation")
    with RealFarm(servers, server_folder / "hosts-farm", *names) as farm:
        yield farm
    assert farm.tracebacks() == []


@pytest.fixture
def opsfarm(farm):
    """`opsfarm("assets", ...)`: (exit status, standard output, standard error), as an admin."""

    def run(*argv, given=None):
        done = subprocess.run(
            [*COMMAND, *argv],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(PROJECT),
                "OPSFARM_API_URL": farm.url,
                "OPSFARM_API_KEY": farm.keys[Role.ADMIN],
            },
            cwd=farm.folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def host(opsfarm, sshd, request):
    """The name of a fresh asset that is the lab's sshd; nothing is pinned, nobody logs in."""
    name = request.node.name.replace("_", "-")[:50].strip("-")
    connection = json.dumps({"address": "127.0.0.1", "port": sshd.port})
    status, _, err = opsfarm("assets", "create", name, f"connection={connection}")
    assert status == 0, err
    return name


@pytest.fixture
def key_file(sshd):
    return sshd.folder / "user_key"


def fingerprint_of(path):
    shown = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


def pinned(opsfarm, name):
    return json.loads(opsfarm("assets", "show", name, "--json")[1])["connection"].get("host_key")


class TestTrust:
    def test_shows_the_fingerprint_asks_and_pins(self, opsfarm, host, sshd):
        shown = fingerprint_of(sshd.folder / "host_key.pub")
        status, _, err = opsfarm("assets", "trust", host, given="n\n")
        assert status == 2
        assert f"ssh-ed25519 {shown}" in err
        assert pinned(opsfarm, host) is None
        status, _, err = opsfarm("assets", "trust", host, given="y\n")
        assert status == 0, err
        assert f"{host}: pinned" in err
        assert pinned(opsfarm, host) == [sshd.host_key]
        status, _, err = opsfarm("assets", "trust", host)
        assert (status, f"{host}: pinned already" in err) == (0, True)

    def test_a_changed_key_wants_more_than_a_yes(self, opsfarm, host, sshd, tmp_path):
        make_key(tmp_path / "old")
        old = " ".join((tmp_path / "old.pub").read_text().split()[:2])
        opsfarm("assets", "update", host, f"connection={json.dumps({'host_key': old})}")
        status, _, err = opsfarm("assets", "trust", host, "--yes")
        assert status == 2
        assert "refused: its key changed" in err
        assert f"pinned is ssh-ed25519 {fingerprint_of(tmp_path / 'old.pub')}" in err
        assert fingerprint_of(sshd.folder / "host_key.pub") in err
        assert pinned(opsfarm, host) == old
        assert opsfarm("assets", "trust", host, "--yes", "--replace")[0] == 0
        assert pinned(opsfarm, host) == [sshd.host_key]

    def test_a_fingerprint_stands_for_the_question(self, opsfarm, host, sshd):
        status, _, err = opsfarm("assets", "trust", host, "--fingerprint", "SHA256:other")
        assert status == 2
        assert "it shows no key with the fingerprint SHA256:other" in err
        shown = fingerprint_of(sshd.folder / "host_key.pub")
        assert opsfarm("assets", "trust", host, "--fingerprint", shown)[0] == 0
        assert pinned(opsfarm, host) == [sshd.host_key]

    def test_a_host_that_does_not_answer(self, opsfarm, host):
        opsfarm("assets", "update", host, f"connection={json.dumps({'port': 1})}")
        status, _, err = opsfarm("assets", "trust", host, "--yes")
        assert status == 1
        assert "shows no host key" in err
        assert "connection.port" in err

    def test_an_unknown_asset(self, opsfarm):
        status, _, err = opsfarm("assets", "trust", "web-99")
        assert status == 2
        assert "no asset 'web-99' in the inventory" in err


class TestTest:
    def test_from_nothing_to_ready_step_by_step(self, opsfarm, host, key_file):
        status, out, _ = opsfarm("assets", "test", host)
        assert status == 1
        lines = out.splitlines()
        assert lines[0] == f"{host}: failed"
        assert [line.split()[0] for line in lines[1:]] == [
            *("resolve", "connect", "host", "login", "sudo", "os")
        ]
        assert lines[3].startswith("  host key  failed   none is pinned; it shows ssh-ed25519 SHA")
        assert lines[4] == "  login     skipped"
        opsfarm("assets", "trust", host, "--yes")
        out = opsfarm("assets", "test", host)[1]
        assert "login     failed   there is no login; 'opsfarm credentials add NAME" in out
        argv = ("--asset", host, "--user", ME, "--private-key", str(key_file))
        assert opsfarm("credentials", "add", f"key-{host}", *argv)[0] == 0
        status, out, _ = opsfarm("assets", "test", host)
        assert status == 0
        assert out.splitlines()[0] == f"{host}: ready"
        assert f"login     ok       as {ME} with credential key-{host} (key)" in out
        shown = json.loads(opsfarm("assets", "test", host, "--json")[1])
        assert shown["steps"][0]["results"][0]["output"]["checks"][0]["check"] == "resolve"

    def test_each_login_can_be_tried(self, opsfarm, host, key_file, tmp_path):
        opsfarm("assets", "trust", host, "--yes")
        for name, content in (("good", key_file.read_text()), ("stale", make_private_key())):
            path = tmp_path / name
            path.write_text(content)
            argv = ("--asset", host, "--user", ME, "--private-key", str(path))
            assert opsfarm("credentials", "add", f"{name}-{host}", *argv)[0] == 0
        status, out, _ = opsfarm("credentials", "test", f"stale-{host}")
        assert status == 1
        assert f"{host} refused the login of {ME} with credential stale-{host}" in out
        status, out, _ = opsfarm("credentials", "test", f"good-{host}")
        assert status == 0, out
        assert f"with credential good-{host}" in out
        run = ("run", "df", "path=/", "--target", host)
        assert opsfarm(*run)[0] == 1  # the newest login serves, and it is stale
        assert opsfarm("credentials", "remove", f"stale-{host}")[0] == 0
        assert opsfarm(*run)[0] == 0

    def test_one_login_of_several_hosts(self, opsfarm, sshd, key_file, tmp_path):
        lines = [f"many-{n} ansible_host=127.0.0.1 ansible_port={sshd.port}" for n in range(3)]
        (tmp_path / "hosts").write_text("\n".join(["[many]", *lines, ""]))
        assert opsfarm("assets", "import", str(tmp_path / "hosts"), "--apply")[0] == 0
        selector = "tags.group.many=true"
        opsfarm("assets", "update", "many-2", "status=maintenance")
        argv = ("--asset", selector, "--user", ME, "--private-key", str(key_file))
        assert opsfarm("credentials", "add", "many", *argv)[0] == 0
        status, _, err = opsfarm("assets", "trust", selector, "--yes")
        assert status == 0, err
        status, out, err = opsfarm("assets", "test", selector)
        assert status == 0, out
        assert ("many-0: ready" in out, "many-1: ready" in out, "many-2" in out) == (
            *(True, True, False),
        )
        assert "leaves out many-2 (maintenance)" in err

    def test_a_device_over_http_and_the_workers_own_host(self, opsfarm):
        with Camera() as camera:
            connection = {"type": "http", "scheme": "http", "address": "127.0.0.1"}
            given = json.dumps({**connection, "port": camera.target().port})
            assert opsfarm("assets", "create", "cam-01", f"connection={given}")[0] == 0
            status, out, err = opsfarm("assets", "test", "cam-01;local")
            assert status == 0, err
            assert "cam-01: ready" in out
            assert "answer    ok       HTTP 404 at /" in out
            assert f"local: ready\n  login     ok       as {ME} on " in out
            status, _, err = opsfarm("assets", "trust", "cam-01")
            assert status == 1
            assert "cam-01 is reached by http: only SSH servers have host keys" in err
            argv = ("host-check", "path=/axis-cgi/com/ptz.cgi", "--target", "cam-01")
            status, _, err = opsfarm("run", *argv)
            assert status == 1
            assert "there is no login; 'opsfarm credentials add NAME --asset cam-01" in err

    def test_only_resting_assets(self, opsfarm, host):
        opsfarm("assets", "update", host, "status=retired")
        status, _, err = opsfarm("assets", "test", host)
        assert status == 2
        assert f"left out: {host} (retired)" in err


def test_a_plan_leaves_resting_assets_out_and_names_them(opsfarm, farm):
    for name, status in (("rest-1", "active"), ("rest-2", "maintenance"), ("rest-3", "retired")):
        tags = json.dumps({"rest": True})
        assert opsfarm("assets", "create", name, f"status={status}", f"tags={tags}")[0] == 0
    (farm.folder / "rest.yaml").write_text(
        "steps:\n  - {tool: df, targets: tags.rest=true, parameters: {path: /}}\n"
    )
    status, out, err = opsfarm("plan", "check", "rest.yaml", "--json")
    assert status == 0, err
    shown = json.loads(out)
    assert shown["steps"][0]["targets"] == ["rest-1"]
    assert shown["warnings"] == ["step 1 (df) leaves out rest-2 (maintenance), rest-3 (retired)"]

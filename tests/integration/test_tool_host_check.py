"""host-check against a real sshd on loopback, by the real runners."""

import getpass
import os
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import StepError, Stopped
from app.powershell import frame_script
from app.step import LOCAL, Credential, Secret, State, Target
from tasks.operations.automation import host_check
from tasks.operations.automation.host_visit_web import PROBE, READ_OS
from tasks.runners.http import HttpRunner
from tasks.runners.local import LocalRunner
from tasks.runners.ssh import SshRunner
from tasks.runners.winrm import WinrmRunner
from tests.lab.camera import Camera
from tests.lab.operation import Surroundings
from tests.lab.private_keys import make_private_key
from tests.lab.root_tree import PASSWORD
from tests.lab.sshd import make_key, start_sshd
from tests.lab.windows import WindowsHost
from tests.lab.wsman import Planted
from tool_catalog.model import Reason

ME = getpass.getuser()


@pytest.fixture
def runner(tmp_path):
    runner = SshRunner(tmp_path / "run")
    yield runner
    runner.close()


@pytest.fixture
def reach(sshd, runner):
    """`reach(port=1, credential=...)`: the result for the lab's host, altered."""

    def run(credential=None, **target):
        options = {**sshd.target.options, **target.pop("options", {})}
        return check(
            replace(sshd.target, options=options, **target), credential or sshd.credential, runner
        )

    return run


def check(target, credential, runner, **parameters):
    context = Surroundings(target=target, credential=credential, runner=runner).context()
    return host_check.reach(parameters, context)


def states(result):
    return {each["check"]: each["state"] for each in result.output["checks"]}


def detail(result, name):
    return next(each["detail"] for each in result.output["checks"] if each["check"] == name)


def fingerprint_of(path):
    """As OpenSSH's own program shows it."""
    shown = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


@pytest.mark.proves("host-check", "reach")
def test_a_host_that_is_ready(reach, sshd):
    result = reach()
    assert result.state is State.SUCCEEDED, result.summary
    assert list(states(result)) == ["resolve", "connect", "host key", "login", "sudo", "os"]
    assert states(result) == dict.fromkeys(states(result), "ok") | {"sudo": "skipped"}
    assert detail(result, "connect").startswith(f"port {sshd.port} in ")
    assert "SSH-2.0-OpenSSH" in detail(result, "connect")
    shown = fingerprint_of(sshd.folder / "host_key.pub")
    assert detail(result, "host key") == f"ssh-ed25519 {shown}, as pinned"
    assert detail(result, "login") == f"as {ME} with credential lab-key (key)"
    assert "credential lab-key says no way to become another user" in detail(result, "sudo")
    assert result.output["os"] in Path("/etc/os-release").read_text()
    assert result.summary == f"lab-host is ready: {result.output['os']}, as {ME}"


def test_a_name_without_an_address(reach):
    result = reach(address="nothing-here.invalid")
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert states(result) == {
        "resolve": "failed",
        **dict.fromkeys(["connect", "host key", "login", "sudo", "os"], "skipped"),
    }
    assert "the name nothing-here.invalid has no address here" in result.summary
    assert "set the asset's ip_address" in result.summary


def test_a_name_that_has_one(reach):
    assert detail(reach(address="localhost"), "resolve").startswith("localhost is ")


def test_a_port_that_is_closed(reach):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    result = reach(port=port)
    assert (result.reason, result.transient) == (Reason.UNREACHABLE, True)
    assert f"no connection to 127.0.0.1 port {port}: Connection refused" in result.summary
    assert "connection.port" in result.summary


def test_a_port_where_something_else_answers(reach):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        result = reach(port=server.getsockname()[1])
        thread.join()
    assert states(result)["connect"] == "failed"
    assert "no SSH server answers there" in result.summary


def test_a_host_key_that_was_never_pinned(reach, sshd):
    result = reach(options={"host_key": None})
    assert result.reason is Reason.HOST_KEY_CHANGED
    assert states(result)["host key"] == "failed"
    assert fingerprint_of(sshd.folder / "host_key.pub") in result.summary
    assert "'opsfarm assets trust lab-host'" in result.summary


def test_a_host_key_that_changed(reach, sshd, tmp_path):
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    result = reach(options={"host_key": other})
    assert result.reason is Reason.HOST_KEY_CHANGED
    for path in (sshd.folder / "host_key.pub", tmp_path / "other.pub"):
        assert fingerprint_of(path) in result.summary
    assert "'opsfarm assets trust lab-host --replace'" in result.summary
    assert states(result)["login"] == "skipped"


def test_no_login_at_all(sshd, runner):
    target = replace(sshd.target, options={**sshd.target.options, "user": "deploy"})
    result = check(target, None, runner)
    assert result.reason is Reason.AUTH_FAILED
    assert states(result)["host key"] == "ok"
    assert "opsfarm credentials add NAME --asset lab-host --user deploy" in result.summary


@pytest.mark.parametrize(
    "credential",
    [
        Credential("stale", ME, private_key=Secret(make_private_key())),
        Credential("stale", ME, password=Secret("planted-wrong")),
        Credential("stale", "nobody-here", password=Secret("planted-wrong")),
    ],
    ids=["key", "password", "user"],
)
def test_a_credential_that_does_not_fit(reach, credential):
    result = reach(credential)
    assert result.reason is Reason.AUTH_FAILED
    assert states(result)["login"] == "failed"
    assert f"refused the login of {credential.username} with credential stale" in result.summary
    assert "planted" not in str(result)


def test_sudo(reach, sshd, require_program):
    require_program("sudo")
    if os.geteuid() != 0:
        pytest.skip("only root may use sudo here without a password")
    daemon = replace(sshd.credential, become={"method": "sudo", "user": "daemon"})
    result = reach(daemon)
    assert result.state is State.SUCCEEDED, result.summary
    assert detail(result, "sudo") == "to daemon"
    nobody = replace(sshd.credential, become={"method": "sudo", "user": "nobody-here"})
    result = reach(nobody)
    assert states(result)["sudo"] == "failed"
    assert result.reason is Reason.NO_PRIVILEGE
    assert "root cannot become nobody-here on lab-host" in result.summary


def test_the_workers_own_host(tmp_path):
    runner = LocalRunner(tmp_path)
    result = check(LOCAL, None, runner)
    assert states(result) == {"login": "ok", "os": "ok"}
    assert detail(result, "login").startswith(f"as {ME} on {socket.gethostname()}")


def test_a_stopped_check_says_so(sshd, runner):
    context = Surroundings(target=sshd.target, runner=runner).context()
    context.control.cancelled.set()
    with pytest.raises(Stopped):
        host_check.reach({}, context)


# sudo, as distributions set it up


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("deploy", None, None),
        ("ops", PASSWORD, None),
        ("ops", "planted-wrong", "ops cannot become root on lab-01"),
        ("ops", None, "ops cannot become root on lab-01"),
        ("guest", PASSWORD, "guest cannot become root on lab-01"),
    ],
)
def test_sudo_rules_of_a_real_host(systemd_host, runner, user, password, words):
    login = systemd_host.credential(
        user,
        become={"method": "sudo", "user": "root"},
        become_password=Secret(password) if password else None,
    )
    result = check(systemd_host.target, login, runner)
    assert detail(result, "login") == f"as {user} with credential lab-{user} (key)"
    if words is None:
        assert result.state is State.SUCCEEDED, result.summary
        assert detail(result, "sudo") == "to root"
        assert result.output["os"] == "Debian GNU/Linux 12 (bookworm)"
    else:
        assert (states(result)["sudo"], result.reason) == ("failed", Reason.NO_PRIVILEGE)
        assert words in result.summary
        assert "planted" not in str(result)


# Windows hosts and devices


@pytest.fixture
def windows(tmp_path):
    with WindowsHost(tmp_path) as host:
        yield host


@pytest.fixture
def winrm(tmp_path):
    return WinrmRunner(tmp_path / "run")


def plant_windows(host):
    for script, rows in ((PROBE, b"[true]"), (READ_OS, b'[{"Caption":"Windows Server 2022 "}]')):
        host.double.planted.append(Planted(frame_script(script), {}, (("stdout", rows),)))


def test_a_windows_host_that_is_ready(windows, winrm):
    plant_windows(windows)
    result = check(windows.target, windows.credential, winrm)
    assert result.state is State.SUCCEEDED, result.summary
    assert list(states(result)) == ["resolve", "connect", "login", "os"]
    assert result.output["os"] == "Windows Server 2022"
    assert detail(result, "login") == (
        f"as {windows.credential.username} with credential {windows.credential.name}"
    )


def test_a_windows_host_that_refuses_or_is_not_trusted(windows, winrm):
    wrong = replace(windows.credential, password=Secret("planted-wrong"))
    result = check(windows.target, wrong, winrm)
    assert (states(result)["login"], result.reason) == ("failed", Reason.AUTH_FAILED)
    assert "planted" not in str(result)
    options = {name: v for name, v in windows.target.options.items() if name != "ca"}
    result = check(replace(windows.target, options=options), windows.credential, winrm)
    assert (states(result)["login"], result.reason) == ("failed", Reason.HOST_KEY_CHANGED)
    result = check(windows.target, None, winrm)
    assert "opsfarm credentials add NAME --asset" in result.summary


def test_a_windows_host_without_cim_still_takes_the_login(windows, winrm):
    for script, rows in ((PROBE, b"[true]"), (READ_OS, b"[]")):
        windows.double.planted.append(Planted(frame_script(script), {}, (("stdout", rows),)))
    result = check(windows.target, windows.credential, winrm)
    assert states(result) == {"resolve": "ok", "connect": "ok", "login": "ok", "os": "failed"}
    assert result.reason is Reason.INVALID_OUTPUT


@pytest.fixture
def http(tmp_path):
    runner = HttpRunner(tmp_path / "run")
    yield runner
    runner.close()


PTZ = "/axis-cgi/com/ptz.cgi"


def test_a_camera_that_is_ready(http):
    with Camera() as camera:
        result = check(camera.target(), camera.credential("guard"), http, path=PTZ)
    assert result.state is State.SUCCEEDED, result.summary
    assert list(states(result)) == ["resolve", "connect", "answer", "login"]
    assert detail(result, "answer") == f"{PTZ} asks for a login"
    assert detail(result, "login").startswith("as guard with credential cam-login: HTTP ")


def test_a_camera_that_refuses(http):
    with Camera() as camera:
        wrong = camera.credential("guard", "planted-wrong")
        result = check(camera.target(), wrong, http, path=PTZ)
        assert (states(result)["login"], result.reason) == ("failed", Reason.AUTH_FAILED)
        assert "planted" not in str(result)
        less = camera.credential("visitor")
        result = check(camera.target(), less, http, path="/axis-cgi/param.cgi")
        assert "HTTP 403" in result.summary
        result = check(camera.target(), None, http, path=PTZ)
        assert "opsfarm credentials add NAME --asset cam-1" in result.summary


def test_a_page_that_asks_for_no_login_proves_none(http):
    with Camera() as camera:
        result = check(camera.target(), camera.credential("guard", "planted-wrong"), http)
    assert result.state is State.SUCCEEDED
    assert (states(result)["answer"], states(result)["login"]) == ("ok", "skipped")
    assert "name another `path`" in detail(result, "login")


def test_a_connection_that_cannot_be(http):
    with Camera() as camera, pytest.raises(StepError, match="scheme") as caught:
        check(replace(camera.target(scheme="ftp"), port=None), None, http)
    assert caught.value.reason is Reason.INVALID_PARAMETER


# Host keys


@pytest.fixture(scope="module")
def three_keys(tmp_path_factory, require_program):
    """A server with a key of each type, as distributions set them up."""
    folder = tmp_path_factory.mktemp("keys")
    for kind in ("ecdsa", "rsa"):
        make_key(folder / kind, kind)
    lines = "".join(f"HostKey {folder}/{kind}\n" for kind in ("ecdsa", "rsa"))
    server = start_sshd(folder, require_program("sshd"), lines)
    yield server
    server.stop()


def show(target):
    return host_check.host_key({}, Surroundings(target=target).context())


def read_key(path):
    return " ".join(path.read_text().split()[:2])


@pytest.mark.proves("host-check", "host_key")
def test_every_key_is_shown_with_its_fingerprint(three_keys):
    files = ("host_key.pub", "ecdsa.pub", "rsa.pub")
    result = show(replace(three_keys.target, options={}))
    assert result.state is State.SUCCEEDED
    assert result.output["state"] == "new"
    assert [key["type"] for key in result.output["shown"]] == [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ssh-rsa",
    ]
    for key, name in zip(result.output["shown"], files, strict=True):
        assert key["fingerprint"] == fingerprint_of(three_keys.folder / name)
        assert key["key"] == read_key(three_keys.folder / name)
    assert (result.output["address"], result.output["port"]) == ("127.0.0.1", three_keys.port)
    assert result.summary.endswith("; none is pinned")


@pytest.mark.parametrize("pinned", ["host_key.pub", "ecdsa.pub", "rsa.pub"])
def test_one_pinned_key_of_several_is_enough(three_keys, pinned):
    options = {"host_key": read_key(three_keys.folder / pinned)}
    assert show(replace(three_keys.target, options=options)).output["state"] == "same"
    runner_less = Surroundings(target=replace(three_keys.target, options=options)).context()
    result = host_check.reach({}, runner_less)
    assert states(result)["host key"] == "ok"


def test_a_changed_key_is_told_with_the_old_one(three_keys, tmp_path):
    make_key(tmp_path / "old", "rsa")
    keys = [read_key(tmp_path / "old.pub"), read_key(three_keys.folder / "host_key.pub")]
    result = show(replace(three_keys.target, options={"host_key": keys}))
    assert result.output["state"] == "changed"
    assert fingerprint_of(tmp_path / "old.pub") in {
        key["fingerprint"] for key in result.output["pinned"]
    }


def test_a_server_that_is_not_there_or_no_sshd(three_keys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(StepError, match="Connection refused") as caught:
        show(replace(three_keys.target, port=port))
    assert caught.value.reason is Reason.UNREACHABLE
    assert caught.value.transient


def test_only_ssh_has_host_keys():
    camera = Target("cam-01", asset_id=1, address="127.0.0.1", connection="http")
    with pytest.raises(StepError, match="only SSH servers have host keys"):
        show(camera)

"""The WinRM runner against a double that speaks WS-Management on a real socket."""

import base64
import ssl
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from app.command import Command
from app.errors import StepError, Stopped
from app.filling import SecretText
from app.powershell import frame_script
from app.step import Credential, Secret
from tasks.runners import winrm_shell
from tasks.runners.winrm import WinrmRunner
from tests.lab.certificates import make_certificates
from tests.lab.running import control
from tests.lab.wsman import (
    ACCESS_DENIED,
    NO_SUCH_SHELL,
    TIMED_OUT,
    Planted,
    WsmanDouble,
)
from tests.lab.wsman_http import Answer
from tests.lab.wsman_login import Login
from tool_catalog.model import Reason

SCRIPT = frame_script("Get-Thing -Name $p.name")
GIVEN = {"name": ["Spooler"]}
ROWS = b'[{"Name":"Spooler"}]\r\n'
SAYS = Planted(SCRIPT, GIVEN, (("stdout", ROWS),))
COMMAND = Command(kind="powershell", script=SCRIPT, stdin='{"name": ["Spooler"]}')
PASSWORD = "Pa$$w0rd-plänted"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def start(certificates, tmp_path, monkeypatch):
    """`start("basic" | "sealed" | "ntlm", *planted)`: a host that is reached that way."""
    with ExitStack() as stack:

        def run(wire="basic", *planted, **more):
            pem = certificates.server.read_text()
            login = Login(
                "basic" if wire == "basic" else "ntlm",
                "alice" if wire == "basic" else "LAB\\alice",
                PASSWORD,
                ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----BEGIN PRIVATE")])
                if wire == "ntlm"
                else None,
            )
            monkeypatch.setenv("NTLM_USER_FILE", str(login.write_user_file(tmp_path / "users")))
            tls = None if wire == "sealed" else certificates.server_context()
            return stack.enter_context(WsmanDouble(login, planted, tls, **more))

        yield run


@pytest.fixture
def run(certificates, tmp_path):
    """`run(host)`: the command on that host, whose certificate the asset's `ca` signed."""
    runner = WinrmRunner(tmp_path / "scratch")

    def call(host, command=COMMAND, step_control=None, credential=None, **options):
        known = {"ca": certificates.authority.read_text()} if host.tls else {}
        known = {**host.target.options, **known, **options}
        known = {name: value for name, value in known.items() if value is not None}
        target = replace(host.target, options=known)
        return runner.run(command, target, credential or host.credential, step_control or control())

    yield call
    runner.close()


def fails(run, host, **given):
    with pytest.raises(StepError) as info:
        run(host, **given)
    assert not host.shells
    return info.value


@pytest.mark.parametrize("wire", ["basic", "sealed", "ntlm"])
def test_a_script_runs_over_each_wire(start, run, wire):
    host = start(wire, SAYS)
    lines = []
    raw = run(host, step_control=control(lines=lines))
    assert (raw.exit_code, raw.stdout, raw.stderr) == (0, ROWS, b"")
    assert lines == [("stdout", '[{"Name":"Spooler"}]')]
    assert (raw.stopped, raw.timed_out) == (None, False)
    assert not host.shells
    assert host.actions == ["Create", "Command", "Send", "Receive", "Delete"]


def test_over_http_every_message_is_sealed(start, run):
    host = start("sealed", SAYS)
    run(host)
    assert (host.login.readable, host.login.sealed) == (0, 5)


def test_script_and_parameters_arrive_as_they_are(start, run):
    host = start("basic", SAYS)
    run(host)
    [arrived] = host.arrived
    assert (arrived.script, arrived.parameters) == (SCRIPT, GIVEN)
    program, _, encoded = arrived.line.rpartition(" -EncodedCommand ")
    assert program == "powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass"
    assert base64.b64decode(encoded).decode("utf-16-le") == SCRIPT


def test_the_shell_speaks_utf8_and_ends_by_itself_when_nobody_asks(start, run):
    host = start("basic", SAYS)
    run(host)
    [options] = host.opened
    assert (options["WINRS_CODEPAGE"], options["IdleTimeOut"]) == ("65001", "PT180S")


def test_a_secret_is_in_no_command_line(start, run):
    secret = "s3cret-'\"-ü"
    planted = Planted(SCRIPT, {"login": secret})
    host = start("basic", planted)
    text = SecretText(('{"login": "', Secret(secret.replace('"', '\\"')), '"}'))
    raw = run(host, replace(COMMAND, stdin=text))
    [arrived] = host.arrived
    assert (raw.exit_code, arrived.parameters["login"]) == (0, secret)
    whole = arrived.line + base64.b64decode(arrived.line.split()[-1]).decode("utf-16-le")
    assert "s3cret" not in whole


def test_parameters_of_any_size_arrive_whole(start, run):
    host = start("basic")
    run(host, replace(COMMAND, stdin=f'{{"text": "{"x" * 100_000}"}}'))
    [arrived] = host.arrived
    assert arrived.parameters == {"text": "x" * 100_000}
    assert host.actions.count("Send") > 1


def test_lines_come_while_it_runs(start, run):
    gate = threading.Event()
    pieces = (("stdout", b"fir"), ("stdout", b"st\r\nsec"), ("stdout", b"ond\r\n"))
    host = start("basic", Planted(SCRIPT, GIVEN, (("stdout", b"begun\r\n"), *pieces), gate=gate))
    lines = []

    def on_line(_stream, text):
        lines.append(text)
        gate.set()

    raw = run(host, step_control=replace_sink(on_line))
    assert lines == ["begun", "first", "second"]
    assert raw.stdout == b"begun\r\nfirst\r\nsecond\r\n"


def replace_sink(on_line):
    made = control()
    made.on_line = on_line
    return made


def test_a_character_may_come_in_two_pieces(start, run):
    word = "Gerät".encode()
    pieces = (("stdout", word[:4]), ("stdout", word[4:] + b"\r\n"))
    lines = []
    run(start("basic", Planted(SCRIPT, GIVEN, pieces)), step_control=control(lines=lines))
    assert lines == [("stdout", "Gerät")]


def test_silence_is_waited_through(start, run):
    host = start("basic", SAYS)
    host.instead["Receive"] = [Answer(fault=TIMED_OUT), Answer(fault=TIMED_OUT)]
    assert run(host).stdout == ROWS
    assert host.actions.count("Receive") == 3


def test_output_is_capped(start, run):
    pieces = tuple(("stdout", b"0123456789abcdef\n" * 4096) for _ in range(5))
    raw = run(start("basic", Planted(SCRIPT, GIVEN, pieces)))
    assert raw.truncated
    assert len(raw.stdout) <= 256 * 1024


@pytest.mark.parametrize(("code", "shown"), [(3, 3), (-1, -1), (3221225786, -1073741510)])
def test_exit_codes_have_a_sign_as_on_windows(start, run, code, shown):
    assert run(start("basic", Planted(SCRIPT, GIVEN, exit_code=code))).exit_code == shown


def test_clixml_becomes_lines(start, run):
    said = (
        b'#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/'
        b'2004/04"><Obj S="progress" RefId="0"><MS><AV>Preparing modules.</AV></MS></Obj>'
        b'<S S="Error">Unexpected token &apos;}&apos;_x000D__x000A_</S></Objs>'
    )
    lines = []
    pieces = (("stderr", said[:150]), ("stderr", said[150:]))
    host = start("basic", Planted(SCRIPT, GIVEN, pieces, exit_code=1))
    raw = run(host, step_control=control(lines=lines))
    assert (raw.exit_code, raw.stderr) == (1, b"Unexpected token '}'\n")
    assert lines == [("stderr", "Unexpected token '}'")]


def test_a_cmdlet_that_is_not_there_is_named(start, run):
    said = b"ObjectNotFound: CommandNotFoundException: The term 'Get-ADUser' is not recognized\r\n"
    host = start("basic", Planted(SCRIPT, GIVEN, (("stderr", said),), exit_code=1))
    error = fails(run, host)
    assert error.reason is Reason.MISSING_PROGRAM
    assert error.message.startswith("Get-ADUser is not installed on win-lab")


def test_arms_once_when_powershell_waits_for_its_input(start, run):
    host = start("basic", SAYS)
    seen = []
    run(host, step_control=control(before_effect=lambda: seen.append(list(host.actions))))
    assert seen == [["Create", "Command"]]


def test_a_step_that_is_no_longer_ours_gives_the_script_no_input(start, run):
    host = start("basic", SAYS)

    def refuse():
        raise StepError(Reason.STOPPED, "no longer ours")

    fails(run, host, step_control=control(before_effect=refuse))
    assert host.arrived == []


@pytest.mark.parametrize("wire", ["basic", "sealed", "ntlm"])
def test_a_wrong_password_names_the_credential(start, run, wire):
    host = start(wire, SAYS)
    wrong = replace(host.credential, password=Secret("wr0ng-pw"))
    error = fails(run, host, credential=wrong)
    assert error.reason is Reason.AUTH_FAILED
    assert "win-login" in error.message
    assert "wr0ng-pw" not in error.message
    assert not error.sent
    assert host.actions == []


def test_a_login_by_key_cannot_work(start, run):
    host = start("basic", SAYS)
    error = fails(run, host, credential=Credential("key", "alice", private_key=Secret("x")))
    assert (error.reason, "no password" in error.message) == (Reason.AUTH_FAILED, True)


def test_a_certificate_that_nobody_signed_is_refused(start, run):
    host = start("basic", SAYS)
    error = fails(run, host, ca=None)
    assert error.reason is Reason.HOST_KEY_CHANGED
    assert "set connection.ca" in error.message
    assert host.actions == []


def test_a_certificate_may_be_left_unchecked(start, run):
    assert run(start("basic", SAYS), ca=None, verify_tls=False).stdout == ROWS


def test_the_farm_s_own_authorities_are_trusted(start, certificates, tmp_path):
    host = start("basic", SAYS)
    runner = WinrmRunner(tmp_path, certificates.authority)
    raw = runner.run(COMMAND, host.target, host.credential, control())
    assert raw.stdout == ROWS


def test_basic_over_http_is_refused_before_anything_is_sent(start, run):
    host = start("sealed", SAYS)
    error = fails(run, host, transport="basic")
    assert error.reason is Reason.INVALID_PARAMETER
    assert "basic needs scheme https" in error.message
    assert (host.login.readable, host.login.sealed) == (0, 0)


def test_a_port_where_nobody_listens(start, run):
    host = start("basic", SAYS)
    host.port = 1
    error = fails(run, host)
    assert (error.reason, error.transient, error.sent) == (Reason.UNREACHABLE, True, False)
    assert "Connection refused" in error.message


def test_a_web_server_that_is_no_winrm(start, run):
    host = start("basic", SAYS)
    host.instead["Create"] = [Answer(status=503, body=b"<html>busy</html>")]
    error = fails(run, host)
    assert (error.reason, "HTTP status 503" in error.message) == (Reason.UNREACHABLE, True)
    host.instead["Create"] = [Answer(status=200, body=b"<p>welcome")]
    assert "not as WinRM does" in fails(run, host).message


def test_a_host_that_sends_elsewhere_is_not_followed(start, run):
    host, other = start("basic", SAYS), start("basic", SAYS)
    there = f"https://127.0.0.1:{other.port}/wsman"
    host.instead["Create"] = [Answer(status=307, location=there)]
    error = fails(run, host)
    assert (error.reason, "sends nobody elsewhere" in error.message) == (Reason.UNREACHABLE, True)
    assert other.actions == []


def test_an_answer_without_end_is_not_kept(start, run):
    host = start("basic", SAYS)
    host.instead["Receive"] = [Answer(status=200, body=b"<" * 5_000_000)]
    error = fails(run, host)
    assert ("longer than was asked for" in error.message, error.sent) == (True, True)


@pytest.mark.parametrize(("action", "sent"), [("Create", False), ("Receive", True)])
def test_a_host_that_drips_is_given_up_in_time(start, run, monkeypatch, action, sent):
    monkeypatch.setattr(winrm_shell, "_CALL_S", 1)
    host = start("basic", SAYS)
    host.instead[action] = [Answer(drip=True)]
    started = time.monotonic()
    error = fails(run, host)
    assert time.monotonic() - started < 8
    assert (error.reason, error.sent) == (Reason.UNREACHABLE, sent)


def test_an_account_without_the_right(start, run):
    host = start("basic", SAYS)
    host.instead["Create"] = [Answer(fault=ACCESS_DENIED)]
    error = fails(run, host)
    assert (error.reason, "Remote Management Users" in error.message) == (Reason.NO_PRIVILEGE, True)


def test_a_host_without_room_may_be_asked_again(start, run):
    error = fails(run, start("basic", SAYS, max_shells=0))
    assert (error.reason, error.transient) == (Reason.REFUSED_BY_DEVICE, True)


@pytest.mark.parametrize(
    ("action", "answer", "sent"),
    [
        ("Command", Answer(cut=True), False),
        ("Command", Answer(fault=1234), False),
        ("Send", Answer(cut=True), True),
        ("Receive", Answer(cut=True), True),
        ("Receive", Answer(fault=NO_SUCH_SHELL), True),
        ("Receive", Answer(fault=1234), True),
    ],
)
def test_what_goes_wrong_after_the_input_is_an_unknown_outcome(start, run, action, answer, sent):
    host = start("basic", SAYS)
    host.instead[action] = [answer]
    assert fails(run, host).sent is sent


def test_cancel_ends_the_script_and_its_shell(start, run):
    cancelled = threading.Event()
    host = start("basic", Planted(SCRIPT, GIVEN, (("stdout", b"begun\n"),), gate=threading.Event()))
    stop = control(cancelled=cancelled)
    stop.on_line = lambda *_: cancelled.set()
    with pytest.raises(Stopped, match="the script was stopped") as info:
        run(host, step_control=stop)
    assert info.value.verified
    assert not host.shells
    assert host.actions[-3:] == ["Signal", "Delete", "Receive"]


def test_a_stop_that_the_host_does_not_confirm_is_unverified(start, run):
    cancelled = threading.Event()
    host = start("basic", Planted(SCRIPT, GIVEN, (("stdout", b"begun\n"),), gate=threading.Event()))
    host.instead = {"Delete": [Answer(cut=True)] * 4, "Signal": [Answer(cut=True)]}
    stop = control(cancelled=cancelled)
    stop.on_line = lambda *_: cancelled.set()
    with pytest.raises(Stopped, match="not seen to end") as info:
        run(host, step_control=stop)
    assert not info.value.verified


def test_a_stop_goes_over_a_new_connection_where_the_old_one_broke(start, run):
    cancelled = threading.Event()
    host = start("basic", Planted(SCRIPT, GIVEN, (("stdout", b"begun\n"),), gate=threading.Event()))
    host.instead = {"Signal": [Answer(cut=True)], "Delete": [Answer(cut=True)]}
    stop = control(cancelled=cancelled)
    stop.on_line = lambda *_: cancelled.set()
    with pytest.raises(Stopped) as info:
        run(host, step_control=stop)
    assert info.value.verified
    assert not host.shells


def test_a_deadline_ends_it_too(start, run):
    host = start(
        "sealed", Planted(SCRIPT, GIVEN, (("stdout", b"begun\n"),), gate=threading.Event())
    )
    raw = run(host, step_control=control(1.5))
    assert (raw.timed_out, raw.stopped, raw.stdout) == (True, "verified", b"begun\n")
    assert not host.shells


def test_a_program_is_not_what_winrm_runs(start, run):
    host = start("basic", SAYS)
    error = fails(run, host, command=Command(kind="argv", argv=("df",)))
    assert error.reason is Reason.INVALID_PARAMETER

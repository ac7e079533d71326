"""The http runner against real servers on loopback: the camera double, and ones that misbehave."""

import json
import threading
import time
from dataclasses import replace

import pytest

from app.command import Command
from app.errors import StepError, Stopped
from app.http_request import Request
from app.step import Credential, Secret, Target
from tasks.runners import http
from tests.lab.camera import Camera
from tests.lab.certificates import make_certificates
from tests.lab.receivers import Receiver, Reply
from tests.lab.running import control
from tool_catalog.model import Reason

POSITION = "/axis-cgi/com/ptz.cgi"


def ask(path="/state", method="GET", **members):
    return Command(kind="http", request=Request(method, path, **members))


def position(**members):
    return ask(POSITION, query=(("query", "position"),), **members)


def change(**members):
    return ask(POSITION, query=(("pan", "10"),), ok=(200, 204), changes=True, **members)


@pytest.fixture
def runner(tmp_path):
    runner = http.HttpRunner(tmp_path / "run")
    yield runner
    runner.close()


@pytest.fixture
def camera():
    with Camera() as camera:
        yield camera


def asset(server, **options):
    """A plain server as an asset."""
    options = {"scheme": "http", **options}
    return Target("box-1", 3, "127.0.0.1", "http", server.port, options=options)


LOGIN = Credential("box-login", "ops", Secret("pa55-ops"))


# What comes back


def test_status_headers_body_and_lines(runner):
    lines = []
    reply = Reply(418, b"one\ntwo", {"X-Kind": "teapot"})
    with Receiver(lambda _request: reply) as server:
        raw = runner.run(ask("/pot?x"), asset(server), None, control(lines=lines))
    assert (raw.status, raw.stdout, raw.headers["x-kind"]) == (418, b"one\ntwo", "teapot")
    assert lines == [("stdout", "one"), ("stdout", "two")]
    assert raw.exit_code is None
    assert raw.duration_s > 0


@pytest.mark.parametrize(
    ("members", "body", "kind"),
    [
        ({"json": {"a": [1, None, "Ä"]}}, b'{"a": [1, null, "\xc3\x84"]}', "application/json"),
        (
            {"form": (("q", "1 & 2"), ("q", "x"))},
            b"q=1+%26+2&q=x",
            "application/x-www-form-urlencoded",
        ),
        ({"body": "plain"}, b"plain", "text/plain; charset=utf-8"),
        ({}, b"", None),
    ],
)
def test_a_request_arrives_as_it_was_built(runner, members, body, kind):
    command = ask(
        "/a%2Fb", "POST", query=(("x", "1 2"), ("x", "&")), headers={"X-Team": "blue"}, **members
    )
    with Receiver() as server:
        runner.run(command, asset(server, base_path="/proxy/"), None, control())
    [request] = server.received
    assert (request.method, request.path) == ("POST", "/proxy/a%2Fb?x=1%202&x=%26")
    assert request.body == body
    assert request.headers.get("content-type") == kind
    assert request.headers["x-team"] == "blue"
    assert "authorization" not in request.headers


def test_a_long_body_is_kept_as_far_as_the_command_wants_it(runner):
    with Receiver(lambda _request: Reply(200, b"x" * 299_999 + b"\n")) as server:
        head = runner.run(ask(), asset(server), None, control())
        whole = runner.run(replace(ask(), keeps_whole=True), asset(server), None, control())
    assert (len(head.stdout), head.truncated, head.whole) == (256 * 1024, True, {})
    assert whole.whole["stdout"].path.read_bytes() == b"x" * 299_999 + b"\n"


def test_an_endless_body_is_read_up_to_its_cap(runner, monkeypatch):
    monkeypatch.setattr(http, "WHOLE_BYTES", 300_000)
    with Receiver(lambda _request: Reply(200, b"x" * 3_000_000)) as server:
        command = replace(ask(), keeps_whole=True)
        raw = runner.run(command, asset(server), None, control())
    assert 300_000 < raw.whole["stdout"].size_bytes < 500_000
    assert raw.truncated


def test_an_artifact_holds_the_body_up_to_its_cap(runner):
    whole = replace(ask(), artifact="jpeg")
    capped = replace(ask(), artifact="jpeg", artifact_max_bytes=5)
    with Receiver(lambda _request: Reply(200, b"\xff\xd8picture")) as server:
        raw = runner.run(whole, asset(server), None, control())
        cut = runner.run(capped, asset(server), None, control())
    assert raw.artifact.read_bytes() == b"\xff\xd8picture"
    assert (raw.artifact_bytes, raw.truncated, raw.stdout) == (9, False, b"")
    assert (cut.artifact.read_bytes(), cut.truncated) == (b"\xff\xd8pic", True)


def test_a_refusal_is_no_artifact(runner, tmp_path):
    with Receiver(lambda _request: Reply(503, b"busy")) as server:
        raw = runner.run(replace(ask(), artifact="jpeg"), asset(server), None, control())
    assert (raw.artifact, raw.stdout, raw.status) == (None, b"busy", 503)
    assert not list(tmp_path.rglob("artifact-*"))


def test_an_artifact_that_was_cut_off_is_not_kept(runner, tmp_path):
    with (
        Receiver(lambda _request: Reply(200, b"x", {"Content-Length": "9"})) as server,
        pytest.raises(StepError),
    ):
        runner.run(replace(ask(), artifact="jpeg"), asset(server), None, control(1))
    assert not list(tmp_path.rglob("artifact-*"))


# Where it goes


def test_redirects_are_an_answer_not_followed(runner):
    with Receiver() as other:
        moved = Reply(302, b"", {"Location": other.url + "/x"})
        with Receiver(lambda _request: moved) as server:
            raw = runner.run(ask(), asset(server), None, control())
        assert (raw.status, raw.headers["location"]) == (302, other.url + "/x")
        assert other.received == []


def test_no_proxy_and_no_login_of_the_worker_are_used(runner, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login planted password planted-pw\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Receiver() as proxy, Receiver() as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        runner.run(ask(), asset(server), None, control())
        assert proxy.received == []
        assert "authorization" not in server.received[0].headers


def test_a_name_for_the_server_changes_no_address(runner, tmp_path):
    certificates = make_certificates(tmp_path, "cam-1.example.com")
    with Receiver(tls=certificates.server_context()) as server:
        options = {
            "scheme": "https",
            "server_name": "cam-1.example.com",
            "ca": certificates.authority.read_text(),
        }
        raw = runner.run(ask(), asset(server, **options), None, control())
    assert raw.status == 200
    assert server.received[0].headers["host"] == f"cam-1.example.com:{server.port}"


def test_an_address_that_cannot_be_reached_is_told_before_arming(runner):
    with Receiver() as server:
        target = asset(server)
    armed = []
    with pytest.raises(StepError, match=r"cannot connect to 127.0.0.1") as caught:
        runner.run(change(), target, None, control(before_effect=lambda: armed.append(1)))
    assert (caught.value.reason, caught.value.sent) == (Reason.UNREACHABLE, False)
    assert caught.value.transient
    assert armed == []


def test_no_asset_leads_to_where_clouds_keep_credentials(runner):
    target = Target("box-1", 3, "169.254.169.254", "http", 80, options={"scheme": "http"})
    with pytest.raises(StepError, match="clouds hand out") as caught:
        runner.run(ask(), target, None, control())
    assert caught.value.reason is Reason.REFUSED_BY_POLICY


def test_a_bad_option_is_named(runner):
    target = Target("box-1", 3, "127.0.0.1", "http", 80, options={"scheme": "gopher"})
    with pytest.raises(StepError, match=r"box-1 cannot be reached: connection.scheme: 'gopher'"):
        runner.run(ask(), target, None, control())


def test_a_command_for_another_runner_is_refused(runner, camera):
    with pytest.raises(StepError, match="cam-1 is reached by http, which runs no argv"):
        runner.run(Command(kind="argv", argv=("ls",)), camera.target(), None, control())


# TLS


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path)


def test_a_certificate_that_nobody_vouches_for_is_refused(runner, certificates):
    with (
        Camera(certificates.server_context()) as camera,
        pytest.raises(StepError, match=r"certificate of 127.0.0.1 is not valid") as caught,
    ):
        runner.run(position(), camera.target(), camera.credential(), control())
    assert caught.value.reason is Reason.UNREACHABLE
    assert camera.requests == []


def test_the_asset_s_own_authority_its_fingerprint_or_nothing(runner, certificates):
    with Camera(certificates.server_context()) as camera:
        for options in (
            {"ca": certificates.authority.read_text()},
            {"fingerprint": certificates.fingerprint()},
            {"verify_tls": False},
        ):
            raw = runner.run(position(), camera.target(**options), camera.credential(), control())
            assert b"pan=0.00" in raw.stdout


def test_the_farm_s_authorities_are_those_of_assets_that_name_none(tmp_path, certificates):
    runner = http.HttpRunner(tmp_path, certificates.authority)
    with Camera(certificates.server_context()) as camera:
        assert runner.run(position(), camera.target(), camera.credential(), control()).status == 200
    runner.close()


def test_the_asset_s_own_authority_takes_the_place_of_all_others(tmp_path, certificates):
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    runner = http.HttpRunner(tmp_path, certificates.authority)
    with Camera(certificates.server_context()) as camera:
        target = camera.target(ca=other.authority.read_text())
        with pytest.raises(StepError, match="is not valid"):
            runner.run(position(), target, camera.credential(), control())
    runner.close()


def test_another_certificate_than_the_pinned_one_is_told(runner, certificates):
    with Camera(certificates.server_context()) as camera:
        target = camera.target(fingerprint="ab" * 32)
        with pytest.raises(StepError, match="another certificate than the one on record") as caught:
            runner.run(position(), target, camera.credential(), control())
    assert caught.value.reason is Reason.HOST_KEY_CHANGED
    assert camera.requests == []


# Logins


def test_digest_is_answered_and_its_nonce_kept(runner, camera):
    for _ in range(3):
        raw = runner.run(position(), camera.target(), camera.credential(), control())
        assert raw.status == 200
    assert len(camera.requests) == 4  # one challenge, three answers
    assert camera.connections == 1
    assert camera.door.refused == 0


def test_digest_by_sha_256(runner):
    with Camera(algorithm="SHA-256") as camera:
        raw = runner.run(position(), camera.target(), camera.credential(), control())
    assert raw.status == 200
    assert "algorithm=SHA-256" in camera.requests[1].headers["authorization"]


def test_a_nonce_that_aged_is_no_wrong_password(runner, camera):
    runner.run(position(), camera.target(), camera.credential(), control())
    camera.door.forget_nonces()
    raw = runner.run(position(), camera.target(), camera.credential(), control())
    assert raw.status == 200
    assert len(camera.requests) == 4
    assert camera.door.refused == 0


def test_a_wrong_password_is_tried_once(runner, camera):
    wrong = camera.credential("root", "not-it")
    with pytest.raises(
        StepError, match="cam-1 refused the login of root with credential"
    ) as caught:
        runner.run(position(), camera.target(), wrong, control())
    assert caught.value.reason is Reason.AUTH_FAILED
    assert camera.door.refused == 1
    assert "not-it" not in caught.value.message


def test_no_login_at_all_is_told(runner, camera):
    with pytest.raises(StepError, match="cam-1 asks for a login; add a credential") as caught:
        runner.run(position(), camera.target(), None, control())
    assert caught.value.reason is Reason.AUTH_FAILED
    assert len(camera.requests) == 1


def test_digest_goes_before_basic(runner, certificates):
    with Camera(certificates.server_context(), offers=("basic", "digest")) as camera:
        target = camera.target(ca=certificates.authority.read_text())
        runner.run(position(), target, camera.credential(), control())
    assert camera.requests[1].headers["authorization"].startswith("Digest ")


def test_basic_is_given_where_tls_hides_it(runner, certificates):
    with Camera(certificates.server_context(), offers=("basic",)) as camera:
        target = camera.target(ca=certificates.authority.read_text())
        for _ in range(2):
            assert runner.run(position(), target, camera.credential(), control()).status == 200
    assert len(camera.requests) == 3  # once it is known, it is sent at once


def test_basic_is_not_given_to_the_network_unless_the_asset_says_so(runner):
    with Camera(offers=("basic",)) as camera:
        with pytest.raises(StepError, match="would show the password to the network") as caught:
            runner.run(position(), camera.target(), camera.credential(), control())
        assert caught.value.reason is Reason.AUTH_FAILED
        assert len(camera.requests) == 1
        target = camera.target(login="basic")
        assert runner.run(position(), target, camera.credential(), control()).status == 200
    assert len(camera.requests) == 2


def test_a_wrong_basic_login_is_tried_once(runner):
    with Camera(offers=("basic",)) as camera, pytest.raises(StepError, match="refused the login"):
        runner.run(
            position(), camera.target(login="basic"), camera.credential("root", "no"), control()
        )
    assert len(camera.requests) == 1


def test_a_bearer_token(runner):
    def script(request):
        known = request.headers.get("authorization") == "Bearer pa55-ops"
        return Reply(200 if known else 401, b"", {"WWW-Authenticate": "Bearer"})

    with Receiver(script) as server:
        target = asset(server, login="bearer")
        assert runner.run(ask(), target, LOGIN, control()).status == 200
        other = replace(LOGIN, password=Secret("other"))
        with pytest.raises(StepError, match="refused the login of ops"):
            runner.run(ask(), target, other, control())


def test_a_login_that_is_not_known_is_told(runner):
    asked = Reply(401, b"", {"WWW-Authenticate": ["Negotiate", 'Digest qop="auth-int", nonce="n"']})
    with (
        Receiver(lambda _request: asked) as server,
        pytest.raises(StepError, match=r"\(negotiate, digest\)") as caught,
    ):
        runner.run(ask(), asset(server), LOGIN, control())
    assert caught.value.reason is Reason.AUTH_FAILED


def test_a_role_without_the_right_is_an_answer(runner, camera):
    command = ask("/axis-cgi/param.cgi", query=(("action", "list"),))
    raw = runner.run(command, camera.target(), camera.credential("visitor"), control())
    assert raw.status == 403


def test_each_login_has_a_connection_of_its_own(runner, camera):
    for user in ("root", "guard", "root"):
        runner.run(position(), camera.target(), camera.credential(user), control())
    assert camera.connections == 2


# Arming, repeating, stopping


def test_a_change_arms_once_right_before_it_is_sent(runner, camera):
    armed = []
    arm = control(before_effect=lambda: armed.append(len(camera.requests)))
    raw = runner.run(change(), camera.target(), camera.credential(), arm)
    assert raw.status == 204
    assert armed == [0]
    assert len(camera.requests) == 2


def test_a_refused_arm_sends_nothing(runner, camera):
    def refuse():
        raise StepError(Reason.STOPPED, "no longer ours")

    with pytest.raises(StepError, match="no longer ours"):
        runner.run(change(), camera.target(), camera.credential(), control(before_effect=refuse))
    assert camera.requests == []


def test_a_read_is_sent_again_when_its_kept_connection_had_died(runner):
    def script(request):
        return Reply(reset=request.number == 2)

    with Receiver(script) as server:
        for _ in range(2):
            assert runner.run(ask(), asset(server), None, control()).status == 200
    assert len(server.received) == 3


def test_a_read_on_a_new_connection_is_not_sent_again(runner):
    with (
        Receiver(lambda _request: Reply(reset=True)) as server,
        pytest.raises(StepError, match="closed the connection before it had answered"),
    ):
        runner.run(ask(), asset(server), None, control())
    assert len(server.received) == 1


def test_a_change_goes_over_a_connection_of_its_own_and_is_never_sent_again(runner):
    def script(request):
        return Reply(reset=request.number == 2)

    with Receiver(script) as server:
        runner.run(ask(), asset(server), None, control())
        with pytest.raises(StepError) as caught:
            runner.run(ask(changes=True), asset(server), None, control())
    assert (caught.value.reason, caught.value.sent) == (Reason.UNREACHABLE, True)
    assert server.connections == 2
    assert len(server.received) == 2


def test_no_answer_in_time_leaves_the_outcome_open(runner):
    armed = []
    ours = control(0.5, before_effect=lambda: armed.append(1))
    with (
        Receiver(lambda _request: Reply(never=True)) as server,
        pytest.raises(StepError, match="gave no whole answer within") as caught,
    ):
        runner.run(ask(changes=True), asset(server), None, ours)
    assert (caught.value.reason, caught.value.sent, armed) == (Reason.TIMEOUT, True, [1])


def test_an_answer_that_drips_is_cut_off_in_time(runner):
    started = time.monotonic()
    with Receiver(lambda _request: Reply(drip=True)) as server, pytest.raises(StepError) as caught:
        runner.run(ask(), asset(server), None, control(0.5))
    assert caught.value.reason is Reason.TIMEOUT
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("changes", [False, True])
def test_a_cancel_cuts_the_request_off(runner, changes):
    cancelled = threading.Event()

    def script(_request):
        cancelled.set()
        return Reply(never=True)

    with Receiver(script) as server, pytest.raises(Stopped) as caught:
        runner.run(ask(changes=changes), asset(server), None, control(60, cancelled=cancelled))
    # What a change did is not known; a read leaves nothing behind.
    assert caught.value.verified is not changes


def test_a_cancel_before_it_began(runner, camera):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Stopped):
        runner.run(change(), camera.target(), camera.credential(), control(cancelled=cancelled))
    assert camera.requests == []


def test_no_error_shows_what_was_sent(runner):
    secret = "pl4nted-s3cret"
    command = ask("/x", query=(("key", secret),), headers={"X-Key": secret}, json={"k": secret})
    with Receiver(lambda _request: Reply(reset=True)) as server:
        with pytest.raises(StepError) as caught:
            runner.run(command, asset(server), LOGIN, control())
        assert json.loads(server.received[0].body) == {"k": secret}
    assert secret not in f"{caught.value!r} {caught.value.message} {caught.value.__context__!r}"

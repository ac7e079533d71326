"""http-analyzer against real servers on loopback, and captures of real traffic with them."""

import hashlib
import http.client
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from app.step import State
from tests.lab.bench import ToolBench
from tests.lab.certificates import make_certificates
from tests.lab.daemon import run_daemon
from tests.lab.receivers import Receiver, Reply
from tests.lab.waiting import wait_until
from tool_catalog.model import Reason

TOOL = "http-analyzer"
BODY = b"x" * 2000


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path)


@pytest.fixture
def probe(tmp_path, certificates):
    """`probe(url, **parameters)`: the result, by a farm that may reach loopback."""
    settings = {"allow_private": "127.0.0.1, localhost", "http_ca_file": certificates.authority}
    bench = ToolBench(tmp_path, **settings)

    def run(url, members=None, **given):
        return bench.run(TOOL, "request", {"url": url, **given}, **(members or {})).result

    yield run
    bench.close()


# request


@pytest.mark.proves("http-analyzer", "request")
def test_what_a_server_answers_and_how_fast(probe):
    def slowly(_request):
        time.sleep(0.15)
        return Reply(200, b"planted body", {"X-Team": "blue", "Set-Cookie": "id=s3cret; Secure"})

    with Receiver(slowly) as server:
        result = probe(server.url + "/health?key=hidden")
    assert result.state is State.SUCCEEDED, result.summary
    output = result.output
    assert (output["status"], output["version"]) == (200, "HTTP/1.1")
    assert output["address"] == "127.0.0.1"
    assert output["url"] == f"http://127.0.0.1:{server.port}/health?…"
    assert output["size_bytes"] == 12
    assert output["sha256"] == hashlib.sha256(b"planted body").hexdigest()
    assert 150 <= output["first_byte_ms"] <= output["total_ms"]
    assert output["connect_ms"] < 150
    assert output["headers"]["x-team"] == "blue"
    assert output["headers"]["set-cookie"] == "***"
    assert output["tls"] is None
    assert "the answer came over plain http" in output["findings"]
    assert "the cookie id is not httponly" in output["findings"]
    assert "the cookie id is not secure" not in output["findings"]
    [request] = server.received
    assert request.path == "/health?key=hidden"
    assert "hidden" not in str(result)
    assert "s3cret" not in str(result)


def test_a_certificate_and_its_names(probe, certificates):
    with Receiver(tls=certificates.server_context()) as server:
        result = probe(f"https://localhost:{server.port}/", valid_days=0)
    tls = result.output["tls"]
    assert result.state is State.SUCCEEDED, result.summary
    assert (tls["valid"], tls["why"]) == (True, None)
    assert tls["version"] == "TLSv1.3"
    assert tls["names"] == ["localhost", "127.0.0.1"]
    assert tls["subject"] == "CN=localhost"
    assert tls["issuer"] == "CN=opsfarm test authority"
    assert tls["sha256"] == certificates.fingerprint().replace(":", "")
    assert tls["days_left"] == 0
    assert result.output["tls_ms"] > 0
    assert "the certificate ends in 0 days" in result.output["findings"]
    assert any("Strict-Transport-Security" in line for line in result.output["findings"])


def test_a_certificate_that_is_not_valid_is_told_not_hidden(probe, tmp_path):
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    with Receiver(tls=other.server_context()) as server:
        url = f"https://localhost:{server.port}/"
        result, failed = probe(url), probe(url, valid_days=1)
    assert result.state is State.SUCCEEDED
    assert result.output["tls"]["valid"] is False
    assert result.output["tls"]["why"]
    assert result.output["tls"]["subject"] == "CN=localhost"
    assert (failed.state, failed.reason) == (State.FAILED, Reason.CHECK_FAILED)
    assert "the certificate is not valid" in failed.summary


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"expect_status": [200, 204]}, "the status is not 200 or 204"),
        ({"expect_text": "healthy"}, "the body does not hold the expected text"),
        ({"within_ms": 1}, "it took longer than 1 ms"),
        ({"valid_days": 14}, "there is none over plain http"),
    ],
)
def test_what_is_not_as_expected_fails_and_is_kept(probe, wish, words):
    def script(_request):
        time.sleep(0.01)
        return Reply(503, b"down for work")

    with Receiver(script) as server:
        result = probe(server.url, **wish)
    assert (result.state, result.reason) == (State.FAILED, Reason.CHECK_FAILED)
    assert words in result.summary
    assert result.output["status"] == 503


def test_what_is_as_expected(probe):
    body = b"x" * 100_000 + b"healthy" + b"x" * 100_000
    with Receiver(lambda _request: Reply(200, body)) as server:
        wishes = {"expect_status": [200], "expect_text": "healthy", "within_ms": 60000}
        result = probe(server.url, **wishes)
    assert result.state is State.SUCCEEDED, result.summary


def test_a_long_body_is_read_up_to_its_cap(probe):
    with Receiver(lambda _request: Reply(200, b"x" * 1_000_000)) as server:
        output = probe(server.url, max_bytes=1000).output
    assert (output["size_bytes"], output["truncated"]) == (1000, True)
    assert output["sha256"] == hashlib.sha256(b"x" * 1000).hexdigest()


def test_redirects_are_followed_as_far_as_asked(probe):
    def script(request):
        step = int(request.path.strip("/") or 0)
        return Reply(302, b"", {"Location": f"/{step + 1}"}) if step < 3 else Reply(200, b"end")

    with Receiver(script) as server:
        stays, goes, too_far = (probe(server.url, max_redirects=n) for n in (0, 3, 2))
    assert (stays.output["status"], stays.output["headers"]["location"]) == (302, "/1")
    assert (goes.output["status"], goes.output["url"]) == (200, f"{server.url}/3")
    assert [hop["status"] for hop in goes.output["redirects"]] == [302, 302, 302]
    assert (too_far.state, too_far.reason) == (State.FAILED, Reason.CHECK_FAILED)
    assert "redirects more than 2 times" in too_far.summary


def test_a_redirect_to_a_forbidden_address_is_not_followed(probe):
    metadata = Reply(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})
    with Receiver(lambda _request: metadata) as server:
        result = probe(server.url, max_redirects=5)
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_POLICY)
    assert "clouds hand out" in result.summary


def test_a_redirect_to_another_internal_host_is_not_followed(probe):
    inside = Reply(302, b"", {"Location": "http://10.0.0.1/admin"})
    with Receiver(lambda _request: inside) as server:
        result = probe(server.url, max_redirects=5)
    assert result.reason is Reason.REFUSED_BY_POLICY


def test_loopback_is_for_farms_that_allow_it(tmp_path):
    bench = ToolBench(tmp_path)
    with Receiver() as server:
        result = bench.run(TOOL, "request", {"url": server.url}).result
    bench.close()
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_POLICY)
    assert server.received == []


def test_a_closed_port_is_unreachable(probe):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    result = probe(f"http://127.0.0.1:{port}/")
    assert (result.state, result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert f"cannot connect to 127.0.0.1 port {port}: Connection refused" in result.summary


def test_a_name_that_is_not_there(probe):
    result = probe("http://nothing-here.invalid/")
    assert result.state is State.FAILED
    assert "no address for nothing-here.invalid" in result.summary


@pytest.mark.parametrize("reply", [Reply(never=True), Reply(drip=True)])
def test_an_answer_that_does_not_come_in_time(probe, reply):
    started = time.monotonic()
    with Receiver(lambda _request: reply) as server:
        result = probe(server.url, {"timeout_s": 0.5})
    assert time.monotonic() - started < 5
    assert (result.state, result.reason) == (State.FAILED, Reason.TIMEOUT)


def test_a_cancel_cuts_it_off(probe):
    cancelled = threading.Event()

    def script(_request):
        cancelled.set()
        return Reply(never=True)

    with Receiver(script) as server:
        result = probe(server.url, {"cancelled": cancelled})
    assert (result.state, result.stopped) == (State.CANCELLED, "verified")


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.INVALID_OUTPUT, "is not HTTP"),
        (b"", Reason.UNREACHABLE, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", Reason.UNREACHABLE, "closed the"),
    ],
)
def test_a_server_that_breaks_the_protocol(probe, said, reason, words):
    with _says(said) as port:
        result = probe(f"http://127.0.0.1:{port}/")
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert words in result.summary


def test_tls_with_a_server_that_speaks_none(probe):
    with Receiver() as server:
        result = probe(f"https://127.0.0.1:{server.port}/")
    assert (result.state, result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert "no TLS with 127.0.0.1" in result.summary


@contextmanager
def _says(data):
    """A port that says some bytes to whoever has sent something, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


# capture


@pytest.fixture
def analyse(tmp_path, require_program):
    require_program("tshark")
    bench = ToolBench(tmp_path / "bench")

    def run(file, **given):
        given = {"capture": {"$artifact": "planted"}, **given}
        return bench.run(TOOL, "capture", given, artifacts={"planted": file}).result

    yield run
    bench.close()


@pytest.fixture
def record(tmp_path, require_root, require_program):
    """`with record(port) as file`: what went over loopback meanwhile."""
    program = require_program("tcpdump")

    @contextmanager
    def run(port):
        file, log = tmp_path / "planted.pcap", tmp_path / "tcpdump.log"
        # Room for more than a few packets, which each take as much of it as the longest could.
        options = ["-Z", "root", "-i", "lo", "--immediate-mode", "-U", "-B", "16384"]
        argv = [program, *options, "-w", str(file), f"tcp port {port}"]
        with run_daemon(argv, log, lambda: "listening on" in log.read_text()):
            yield file

    return run


def exchange(server, method, path, body=b"", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()


def planted(request):
    if request.path.startswith("/slow"):
        time.sleep(0.2)
    return Reply({"/gone": 404, "/broken": 500}.get(request.path, 200), BODY)


@pytest.mark.root
@pytest.mark.proves("http-analyzer", "capture")
def test_what_a_capture_holds(analyse, record):
    with Receiver(planted) as server, record(server.port) as file:
        for path in ("/a?token=s3cret", "/b", "/gone", "/broken"):
            exchange(server, "GET", path, Host="one.example")
        exchange(server, "POST", "/slow", b"y" * 3000, Host="two.example", Cookie="id=s3cret")
        _settle(file, BODY, 5)
    result = analyse(file)
    assert result.state is State.SUCCEEDED, result.summary
    output = result.output
    assert (output["requests"], output["answers"], output["unanswered"]) == (5, 5, 0)
    assert output["methods"] == {"GET": 4, "POST": 1}
    assert output["statuses"] == {"200": 3, "404": 1, "500": 1}
    assert output["errors"] == 2
    assert output["max_ms"] >= 200
    assert output["median_ms"] < 200
    hosts = {host["host"]: (host["requests"], host["errors"]) for host in output["hosts"]}
    assert hosts == {"one.example": (4, 2), "two.example": (1, 0)}
    assert output["slowest"][0]["path"] == "/slow"
    first = output["exchanges"][0]
    assert (first["method"], first["path"], first["status"]) == ("GET", "/a?…", 200)
    assert (first["server"], first["port"]) == ("127.0.0.1", server.port)
    assert output["complete"] is True
    assert result.summary.startswith("5 requests, 2 errors, answered in ")
    assert "s3cret" not in str(result)


@pytest.mark.root
def test_a_request_without_an_answer_and_a_limit(analyse, record):
    with Receiver(lambda _request: Reply(reset=True)) as server, record(server.port) as file:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                exchange(server, "GET", "/lost")
        _settle(file, b"GET /lost", 3)
    output = analyse(file, limit=2).output
    assert (output["requests"], output["answers"], output["unanswered"]) == (3, 0, 3)
    assert len(output["exchanges"]) == 2
    assert (output["median_ms"], output["exchanges"][0]["status"]) == (None, None)


@pytest.mark.root
def test_a_capture_that_was_cut_short(analyse, record, tmp_path):
    with Receiver(planted) as server, record(server.port) as file:
        exchange(server, "GET", "/a")
        _settle(file, BODY)
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(file.read_bytes()[:-7])
    result = analyse(cut)
    assert (result.state, result.output["complete"]) == (State.SUCCEEDED, False)
    assert "the capture was cut short" in result.summary
    assert result.output["requests"] == 1


@pytest.mark.root
def test_a_capture_without_http(analyse, record):
    with _says(b"220 mail\r\n") as port, record(port) as file:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"HELO\r\n")
            connection.recv(100)
        _settle(file, b"220 mail")
    result = analyse(file)
    assert (result.summary, result.output["requests"]) == ("no HTTP in it", 0)


def test_a_file_that_is_no_capture(analyse, tmp_path):
    file = tmp_path / "planted.pcap"
    file.write_text("this is no capture at all, but text\n" * 10)
    result = analyse(file)
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_OUTPUT)
    assert result.summary == "the artifact is no capture that tshark can read"


def test_a_hostile_line_stays_in_its_column(analyse, record, tmp_path):
    with Receiver(planted) as server, record(server.port) as file:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /a\tGET\t9 HTTP/1.1\r\nHost: x\ty\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        _settle(file, b"GET /a\tGET")
    result = analyse(file)
    assert result.state is State.SUCCEEDED, result.summary
    assert result.output["requests"] == 1


def _settle(file, marker, times=1):
    """What was sent has reached the capture."""
    wait_until(lambda: file.read_bytes().count(marker) >= times, f"{marker[:20]} is not in {file}")

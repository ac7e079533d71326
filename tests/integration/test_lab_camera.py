"""The camera double against curl: a double that only we could talk to would prove nothing."""

import subprocess

import pytest

from tests.lab.camera import Camera

POSITION = "/axis-cgi/com/ptz.cgi?query=position"


@pytest.fixture
def curl(require_program):
    program = require_program("curl")

    def run(camera, path, *options):
        url = f"http://127.0.0.1:{camera.target().port}{path}"
        argv = [program, "-q", "-s", "-m", "10", "-w", "\n%{http_code}", *options, url]
        body, _, status = subprocess.run(
            argv, capture_output=True, check=True, text=True
        ).stdout.rpartition("\n")
        return int(status), body

    return run


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_curl_logs_in_by_digest(curl, algorithm):
    with Camera(algorithm=algorithm) as camera:
        camera.heads[1].place(pan=12.5)
        status, body = curl(camera, POSITION, "--digest", "-u", "guard:pa55-guard")
        assert (status, body.splitlines()[0]) == (200, "pan=12.50")
        assert curl(camera, POSITION, "--digest", "-u", "guard:other")[0] == 401
        assert curl(camera, POSITION, "-u", "guard:pa55-guard")[0] == 401  # basic is not offered
    assert camera.door.refused == 1


def test_a_digest_is_good_for_one_request_only():
    with Camera() as camera:
        nonce = camera.door._challenges()[0].split('nonce="')[1].split('"')[0]
        sent = _answer(camera, nonce)
        assert camera.door.judge(sent, "GET", POSITION)[0] is not None
        assert camera.door.judge(sent, "GET", POSITION)[0] is None  # its count does not rise
        again = _answer(camera, nonce, count=2)
        assert camera.door.judge(again, "GET", "/another")[0] is None
        assert camera.door.judge(again, "POST", POSITION)[0] is None
        assert camera.door.judge(again, "GET", POSITION)[0] is not None


def _answer(camera, nonce, count=1):
    hashed = camera.door._hash
    user = hashed(f"root:{camera.door.realm}:pa55-root")
    asked = hashed(f"GET:{POSITION}")
    nc = f"{count:08x}"
    response = hashed(f"{user}:{nonce}:{nc}:c:auth:{asked}")
    return (
        f'Digest username="root", realm="{camera.door.realm}", nonce="{nonce}", '
        f'uri="{POSITION}", response="{response}", qop=auth, nc={nc}, cnonce="c"'
    )


def test_rights_and_unknown_pages(curl):
    with Camera() as camera:
        login = ("--digest", "-u")
        listing = "/axis-cgi/param.cgi?action=list&group=Brand"
        assert curl(camera, listing, *login, "visitor:pa55-visitor")[0] == 403
        status, body = curl(camera, listing, *login, "guard:pa55-guard")
        assert (status, body.splitlines()[0]) == (200, "root.Brand.Brand=AXIS")
        assert curl(camera, "/axis-cgi/nothing.cgi")[0] == 404
        assert curl(camera, POSITION, *login, "root:pa55-root", "-X", "DELETE")[0] == 405
        update = "/axis-cgi/param.cgi?action=update&Network.HostName=planted"
        assert curl(camera, update, *login, "root:pa55-root") == (200, "OK")
        assert camera.parameters["Network.HostName"] == "planted"


def test_a_camera_takes_its_time(curl):
    with Camera() as camera:
        camera.heads[1].degrees_per_s = 1
        camera.heads[1].axes["pan"].per_s = 1.0
        assert curl(camera, "/axis-cgi/com/ptz.cgi?pan=90", "--digest", "-u", "root:pa55-root") == (
            204,
            "",
        )
        assert camera.heads[1].moves
        assert camera.heads[1].position()["pan"] < 90

"""axis-vapix-ptz-control against the camera double: its wire is real, its world is made up."""

import threading
import time
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.step import State
from tasks import verify
from tasks.operations.network import vapix_ptz
from tests.lab.bench import ToolBench
from tests.lab.camera import Camera
from tests.lab.receivers import Reply
from tests.lab.waiting import wait_until
from tool_catalog.model import Reason

TOOL = "axis-vapix-ptz-control"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(verify, "_FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(vapix_ptz, "_LOOK_S", 0.05)


@pytest.fixture
def camera():
    with Camera(heads=2) as camera:
        yield camera


@pytest.fixture
def call(tmp_path, camera):
    """`call(operation, parameters)`: performed on the camera, as its admin."""
    bench = ToolBench(tmp_path)

    def run(operation, given=None, **members):
        members = {"target": camera.target(), "credential": camera.credential(), **members}
        return bench.run(TOOL, operation, given or {}, **members)

    yield run
    bench.close()


def arguments(camera):
    """What ptz.cgi and ptzconfig.cgi were asked to do, without what was refused for its login."""
    asked = [dict(parse_qsl(urlsplit(r.path).query)) for r in camera.requests if was_let_in(r)]
    return [given for given in asked if "query" not in given]


def was_let_in(request):
    return "authorization" in request.headers


# Reads


@pytest.mark.proves("axis-vapix-ptz-control", "position")
def test_the_position_is_the_camera_s(camera, call):
    camera.heads[2].place(pan=12.25, tilt=-33.5, zoom=250)
    camera.heads[2].autofocus = False
    ran = call("position", {"camera": 2})
    assert ran.result.output == {
        "pan": 12.25,
        "tilt": -33.5,
        "zoom": 250,
        "autofocus": False,
        "autoiris": True,
    }
    assert ran.kept.armed == []
    assert ran.result.changed is False


def test_a_camera_that_is_not_there(call):
    ran = call("position", {"camera": 9})
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert ran.result.summary == "camera refused: camera: no such camera: 9"


def test_a_camera_without_motors(camera, call):
    camera.interfere = lambda _request: Reply(200, b"", {"Content-Type": "text/plain"})
    ran = call("position")
    assert ran.result.reason is Reason.NOT_FOUND
    assert "it has no motors" in ran.result.summary


@pytest.mark.proves("axis-vapix-ptz-control", "limits")
def test_the_limits_are_the_camera_s(camera, call):
    camera.heads[1].axes["pan"].high = 95.0
    output = call("limits").result.output
    assert output["max_pan"] == 95.0
    assert (output["min_tilt"], output["max_zoom"]) == (-90, 9999)


@pytest.mark.proves("axis-vapix-ptz-control", "presets")
def test_the_presets_are_the_camera_s(camera, call):
    camera.heads[1].keep_preset("loading bay")
    assert call("presets").result.output == [
        {"number": 1, "name": "Home"},
        {"number": 2, "name": "loading bay"},
    ]


# Movements


@pytest.mark.proves("axis-vapix-ptz-control", "move_to")
def test_a_movement_is_awaited_and_can_be_compared(camera, call):
    camera.heads[1].place(pan=-20, tilt=-5)
    ran = call("move_to", {"pan": 40.5, "zoom": 300})
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert camera.heads[1].position() == {"pan": 40.5, "tilt": -5, "zoom": 300}
    assert ran.result.before["pan"] == -20
    assert (ran.result.after["pan"], ran.result.after["zoom"]) == (40.5, 300)
    assert ran.result.changed is True
    assert [before["pan"] for before in ran.kept.armed] == [-20]


def test_going_where_it_is_changes_nothing(camera, call):
    camera.heads[1].place(pan=7)
    ran = call("move_to", {"pan": 7})
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, False)


def test_a_movement_can_be_repeated(camera, call):
    for _ in range(2):
        assert call("move_to", {"pan": 15, "tilt": -15}).result.state is State.SUCCEEDED
    assert camera.heads[1].position() == {"pan": 15, "tilt": -15, "zoom": 1}


def test_beyond_its_limits_the_camera_stops_there(camera, call):
    assert call("move_to", {"tilt": 180}).result.after["tilt"] == 20


def test_the_second_camera_moves_alone(camera, call):
    call("move_to", {"camera": 2, "pan": 5})
    assert camera.heads[1].position()["pan"] == 0
    assert camera.heads[2].position()["pan"] == 5


@pytest.mark.proves("axis-vapix-ptz-control", "move_by")
def test_a_relative_movement_is_from_where_it_looks(camera, call):
    camera.heads[1].place(pan=10, zoom=100)
    ran = call("move_by", {"pan": -15.5, "zoom": 50})
    assert ran.result.after["pan"] == -5.5
    assert camera.heads[1].position() == {"pan": -5.5, "tilt": 0, "zoom": 150}


@pytest.mark.proves("axis-vapix-ptz-control", "goto_preset")
@pytest.mark.parametrize("which", [{"name": "gate 7"}, {"number": 2}])
def test_a_preset_is_reached(camera, call, which):
    camera.heads[1].place(pan=99, tilt=-45)
    camera.heads[1].keep_preset("gate 7")
    camera.heads[1].place(pan=0, tilt=0)
    ran = call("goto_preset", which)
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert (ran.result.before["pan"], ran.result.after["pan"]) == (0, 99)


def test_a_preset_that_is_not_there(camera, call):
    ran = call("goto_preset", {"name": "nowhere"})
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert ran.result.summary == "camera refused: No such preset position: nowhere"
    assert camera.heads[1].position()["pan"] == 0


def test_a_camera_that_never_comes_to_rest_is_not_verified(camera, call, monkeypatch):
    pans = iter(range(1000))

    def restless(request):
        if "query=position" in request.path and was_let_in(request):
            return Reply(200, f"pan={next(pans)}\ntilt=0\nzoom=1\n".encode())
        return None

    camera.interfere = restless
    ran = call("goto_preset", {"name": "Home"}, timeout_s=1.0)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_VERIFIED)


# Presets


@pytest.mark.proves("axis-vapix-ptz-control", "save_preset")
def test_a_preset_keeps_where_the_camera_looks(camera, call):
    camera.heads[1].place(pan=33, tilt=-3)
    ran = call("save_preset", {"name": "dock 4"})
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, True)
    assert camera.heads[1].presets[2] == ("dock 4", {"pan": 33, "tilt": -3, "zoom": 1})


def test_a_preset_of_the_same_name_is_replaced(camera, call):
    for pan in (1, 2):
        camera.heads[1].place(pan=pan)
        call("save_preset", {"name": "dock 4"})
    assert [name for name, _ in camera.heads[1].presets.values()] == ["Home", "dock 4"]
    assert camera.heads[1].presets[2][1]["pan"] == 2


@pytest.mark.proves("axis-vapix-ptz-control", "remove_preset")
def test_a_preset_is_removed(camera, call):
    camera.heads[1].keep_preset("old door")
    ran = call("remove_preset", {"name": "old door"})
    assert ran.result.state is State.SUCCEEDED
    assert ran.result.before == [{"number": 1, "name": "Home"}, {"number": 2, "name": "old door"}]
    assert ran.result.after == [{"number": 1, "name": "Home"}]


def test_removing_what_is_not_there_says_so(call):
    ran = call("remove_preset", {"name": "old door"})
    assert (ran.result.reason, ran.result.summary) == (
        Reason.NOT_FOUND,
        "the camera has no preset old door",
    )


def test_presets_are_for_the_admin(camera, call):
    ran = call("save_preset", {"name": "dock 4"}, credential=camera.credential("guard"))
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.AUTH_FAILED)
    assert ran.result.summary == "answered 403 Forbidden: 403 Forbidden"
    assert list(camera.heads[1].presets) == [1]


# Logins


def test_a_wrong_password_moves_nothing(camera, call):
    ran = call("move_to", {"pan": 50}, credential=camera.credential("root", "wr0ng"))
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.AUTH_FAILED)
    assert ran.kept.armed == []
    assert not ran.result.unknown
    assert camera.heads[1].position()["pan"] == 0


# Movements that must end


@pytest.mark.proves("axis-vapix-ptz-control", "move_for")
def test_a_movement_for_a_time_ends_by_itself(camera, call):
    started = time.monotonic()
    ran = call("move_for", {"pan_speed": 50, "tilt_speed": -10, "duration_s": 0.3})
    assert time.monotonic() - started >= 0.3
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert not camera.heads[1].moves
    now = camera.heads[1].position()
    assert ran.result.output == now
    assert now["pan"] > 20
    assert now["tilt"] < -4
    assert ran.result.before["pan"] == 0
    assert ran.result.changed is True
    assert len(ran.kept.armed) == 1
    assert arguments(camera)[0]["continuouspantiltmove"] == "50,-10"
    assert arguments(camera)[-1]["continuouspantiltmove"] == "0,0"


@pytest.mark.proves("axis-vapix-ptz-control", "stop")
def test_every_movement_is_stopped(camera, call):
    camera.heads[1].push(pan=1, zoom=1)
    assert camera.heads[1].moves
    ran = call("stop")
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert not camera.heads[1].moves


def test_a_cancel_stops_the_camera_at_once(camera, call):
    cancelled = threading.Event()
    performed = []
    given = {"pan_speed": 5, "duration_s": 10}
    step = threading.Thread(
        target=lambda: performed.append(call("move_for", given, cancelled=cancelled))
    )
    step.start()
    wait_until(lambda: camera.heads[1].moves)
    cancelled.set()
    step.join(8)
    [ran] = performed  # long before its ten seconds were over
    assert not camera.heads[1].moves
    assert (ran.result.state, ran.result.stopped) == (State.CANCELLED, "verified")
    assert "stopped before its time" in ran.result.summary


def test_a_step_without_time_left_is_stopped_in_time(camera, call):
    ran = call("move_for", {"pan_speed": 5, "duration_s": 10}, timeout_s=0.5)
    assert ran.result.state is State.SUCCEEDED
    assert not camera.heads[1].moves


def test_a_start_without_an_answer_is_stopped_too(camera, call):
    def lost(request):
        if "continuouspantiltmove=20" in request.path and was_let_in(request):
            camera.heads[1].push(pan=20)  # it took effect, and nobody hears of it
            return Reply(reset=True)
        return None

    camera.interfere = lost
    ran = call("move_for", {"pan_speed": 20, "duration_s": 10})
    assert not camera.heads[1].moves
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert ran.result.unknown


def test_a_stop_that_is_lost_is_tried_again(camera, call):
    lost = []

    def lose_twice(request):
        if "continuouspantiltmove=0%2C0" in request.path and len(lost) < 2:
            lost.append(request)
            return Reply(reset=True)
        return None

    camera.interfere = lose_twice
    ran = call("move_for", {"pan_speed": 20, "duration_s": 0.1})
    assert len(lost) == 2
    assert ran.result.state is State.SUCCEEDED
    assert not camera.heads[1].moves


def test_a_camera_that_takes_no_stop_is_told_of(camera, call):
    camera.interfere = lambda r: Reply(500) if "move=0%2C0" in r.path else None
    ran = call("move_for", {"pan_speed": 1, "duration_s": 0.1})
    assert (ran.result.state, ran.result.unknown) == (State.FAILED, True)
    assert "may still be moving" in ran.result.summary
    assert "run the operation stop" in ran.result.summary


def test_a_movement_that_is_refused_says_why(camera, call):
    ran = call("move_for", {"camera": 9, "pan_speed": 20})
    assert ran.result.reason is Reason.REFUSED_BY_DEVICE
    assert "no such camera: 9" in ran.result.summary


def test_a_movement_that_never_began_is_not_stopped(camera, call):
    def shut(request):
        return Reply(404, b"") if "continuouspantiltmove" in request.path else None

    camera.interfere = shut
    ran = call("move_for", {"pan_speed": 20})
    assert ran.result.state is State.FAILED

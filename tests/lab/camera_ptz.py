"""ptz.cgi and ptzconfig.cgi of the camera double: text answers, 204 for a movement."""

from functools import partial

from tests.lab.receivers import Reply

TEXT = {"Content-Type": "text/plain"}
NOTHING = Reply(204)

#: `move=` to the axis and the way (one step is a tenth of the circle).
_STEPS = {
    "left": {"pan": -36},
    "right": {"pan": 36},
    "up": {"tilt": 9},
    "down": {"tilt": -9},
    "upleft": {"tilt": 9, "pan": -36},
    "upright": {"tilt": 9, "pan": 36},
    "downleft": {"tilt": -9, "pan": -36},
    "downright": {"tilt": -9, "pan": 36},
}
_SWITCHES = ("autofocus", "autoiris")
_BAD_NAME = set('"<>~:')


class Refused(Exception):
    """Its text stands in the body, under a line that says Error, with status 200."""


def answer_ptz(heads, given):
    """One call of ptz.cgi; `given` are its arguments."""
    return _guarded(_ptz, heads, given)


def answer_config(heads, given):
    """One call of ptzconfig.cgi."""
    return _guarded(_config, heads, given)


def _guarded(cgi, heads, given):
    try:
        text = cgi(_head(heads, given), given)
    except Refused as error:
        return Reply(200, f"Error:\n{error}\n".encode(), TEXT)
    return NOTHING if text is None else Reply(200, text.encode(), TEXT)


def _head(heads, given):
    number = given.get("camera", "1")
    head = heads.get(int(number)) if number.isdigit() else None
    if head is None:
        raise Refused(f"camera: no such camera: {number}")
    return head


def _ptz(head, given):
    rest = {name: value for name, value in given.items() if name != "camera"}
    if "query" in rest:
        return _query(head, given.get("camera", "1"), rest["query"])
    if not rest:
        raise Refused("no arguments")
    # Every argument is looked at before anything moves.
    for act in [_action(head, name, value) for name, value in rest.items()]:
        act()
    return None


def _action(head, name, value):
    """What an argument will do; raises Refused before anything has moved."""
    axis = name.removeprefix("r")
    if name in head.axes:
        return partial(head.go, **{name: _number(name, value)})
    if name != axis and axis in head.axes:
        return partial(head.go, **{axis: head.position()[axis] + _number(name, value)})
    if name in _ACTIONS:
        return _ACTIONS[name](head, value)
    raise Refused(f"{name}: unknown argument")


def _move(head, value):
    if value == "stop":
        return partial(head.push, pan=0, tilt=0, zoom=0)
    if value == "home":
        return partial(head.go, **head.presets[1][1])
    if value not in _STEPS:
        raise Refused(f"move: unknown value: {value}")
    now = head.position()
    return partial(head.go, **{axis: now[axis] + way for axis, way in _STEPS[value].items()})


def _push(head, value):
    pan, _, tilt = value.partition(",")
    return partial(head.push, pan=_percent("x", pan), tilt=_percent("y", tilt))


def _push_zoom(head, value):
    return partial(head.push, zoom=_percent("continuouszoommove", value))


def _by_name(head, value):
    return _to_preset(head, head.find_preset(name=value), value)


def _by_number(head, value):
    number = int(_number("gotoserverpresetno", value))
    return _to_preset(head, head.find_preset(number=number), value)


def _to_preset(head, found, value):
    if found is None:
        raise Refused(f"No such preset position: {value}")
    return partial(head.go, **found[1])


def _switch(name):
    def act(head, value):
        if value not in {"on", "off"}:
            raise Refused(f"{name}: unknown value: {value}")
        return partial(setattr, head, name, value == "on")

    return act


def _set_speed(head, value):
    return partial(setattr, head, "speed", int(_number("speed", value)))


_ACTIONS = {
    "move": _move,
    "continuouspantiltmove": _push,
    "continuouszoommove": _push_zoom,
    "gotoserverpresetname": _by_name,
    "gotoserverpresetno": _by_number,
    "speed": _set_speed,
    "autofocus": _switch("autofocus"),
    "autoiris": _switch("autoiris"),
}


def _query(head, camera, what):
    if what == "position":
        return _lines(_position(head))
    if what == "speed":
        return _lines({"speed": head.speed})
    if what == "limits":
        bounds = {axis.capitalize(): each for axis, each in head.axes.items()}
        least = {f"Min{name}": f"{axis.low:g}" for name, axis in bounds.items()}
        return _lines(least | {f"Max{name}": f"{axis.high:g}" for name, axis in bounds.items()})
    if what in {"presetposcam", "presetposall"}:
        told = {f"presetposno{number}": name for number, (name, _) in head.presets.items()}
        return f"Preset Positions for camera {camera}\n" + _lines(told)
    raise Refused(f"query: unknown value: {what}")


def _position(head):
    now = head.position()
    return {
        "pan": f"{now['pan']:.2f}",
        "tilt": f"{now['tilt']:.2f}",
        "zoom": now["zoom"],
        "autofocus": "on" if head.autofocus else "off",
        "autoiris": "on" if head.autoiris else "off",
    }


def _config(head, given):
    if "setserverpresetname" in given:
        name = given["setserverpresetname"]
        if not 0 < len(name) <= 31 or _BAD_NAME & set(name):
            raise Refused("Invalid preset name")
        number = given.get("setserverpresetno")
        head.keep_preset(name, int(_number("setserverpresetno", number)) if number else None)
        return
    found = None
    if "removeserverpresetname" in given:
        found = head.find_preset(name=given["removeserverpresetname"])
    elif "removeserverpresetno" in given:
        number = _number("removeserverpresetno", given["removeserverpresetno"])
        found = head.find_preset(number=int(number))
    if found is None:
        raise Refused("No such preset position")
    del head.presets[found[0]]


def _number(name, value):
    try:
        return float(value)
    except ValueError:
        raise Refused(f"{name}: not a number: {value}") from None


def _percent(name, value):
    number = _number(name, value)
    if not -100 <= number <= 100:
        raise Refused(f"{name}: out of range: {value}")
    return number


def _lines(told):
    return "".join(f"{name}={value}\n" for name, value in told.items())

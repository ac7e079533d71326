"""What moves in the camera double: axes that take their time, limits and presets."""

import time
from dataclasses import dataclass, field


class Axis:
    """A value that travels at a speed to a goal, or on and on until its end is reached."""

    def __init__(self, value, low, high, per_s):
        self.low, self.high, self.per_s = low, high, per_s
        self._from, self._goal, self._speed = value, value, 0.0
        self._since = time.monotonic()

    @property
    def value(self):
        way = (time.monotonic() - self._since) * abs(self._speed)
        left = self._goal - self._from
        return self._goal if way >= abs(left) else self._from + (way if left > 0 else -way)

    @property
    def moves(self):
        return self.value != self._goal

    def go(self, goal, speed=None):
        """Travel to a goal, which is limited, not refused."""
        self._from = self.value
        self._since = time.monotonic()
        self._goal = min(max(goal, self.low), self.high)
        self._speed = self.per_s if speed is None else speed

    def push(self, percent):
        """Travel on at so much of the full speed; 0 stops."""
        if percent == 0:
            self.go(self.value)
        else:
            self.go(self.high if percent > 0 else self.low, self.per_s * abs(percent) / 100)


@dataclass
class Head:
    """One video channel with its motors: `degrees_per_s` is the full speed."""

    degrees_per_s: float = 400.0
    autofocus: bool = True
    autoiris: bool = True
    speed: int = 100
    #: Number to (name, position).
    presets: dict[int, tuple[str, dict[str, float]]] = field(default_factory=dict)

    def __post_init__(self):
        self.axes = {
            "pan": Axis(0.0, -170.0, 170.0, self.degrees_per_s),
            "tilt": Axis(0.0, -90.0, 20.0, self.degrees_per_s),
            "zoom": Axis(1.0, 1.0, 9999.0, 100 * self.degrees_per_s),
        }
        self.presets.setdefault(1, ("Home", self.position()))

    def position(self):
        """Where it is now, as the CGI tells it: hundredths of a degree, whole steps of zoom."""
        values = {name: axis.value for name, axis in self.axes.items()}
        return {
            "pan": round(values["pan"], 2),
            "tilt": round(values["tilt"], 2),
            "zoom": round(values["zoom"]),
        }

    @property
    def moves(self):
        return any(axis.moves for axis in self.axes.values())

    def place(self, **position):
        """Be there at once."""
        for name, value in position.items():
            axis = self.axes[name]
            self.axes[name] = Axis(value, axis.low, axis.high, axis.per_s)

    def go(self, **goals):
        for name, goal in goals.items():
            self.axes[name].go(goal)

    def push(self, **percents):
        for name, percent in percents.items():
            self.axes[name].push(percent)

    def find_preset(self, *, name=None, number=None):
        """(number, position) of a preset; None where there is none."""
        for each, (called, position) in self.presets.items():
            if number == each or (number is None and name == called):
                return each, position
        return None

    def keep_preset(self, name, number=None):
        """Store where it is now; a known name is overwritten."""
        known = self.find_preset(name=name)
        free = next(n for n in range(1, 1000) if n not in self.presets)
        self.presets[number or (known[0] if known else free)] = (name, self.position())

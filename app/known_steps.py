"""What is known of a plan's steps where its expressions are checked: plain data."""

from dataclasses import dataclass, field

from tool_catalog.model import Operation


@dataclass(slots=True)
class KnownStep:
    """What expressions may know of a step."""

    position: int
    operation: Operation | None
    refers_to: frozenset[str] = frozenset()
    #: Number of the outermost block that it stands in.
    block: int | None = None
    #: Path of its `parallel` stage.
    parallel: str | None = None
    #: Whether it has several rows, in all and in a batch; None when only run time shows it.
    fanned_out: bool | None = None
    fanned_out_in_batch: bool | None = None


@dataclass(slots=True)
class KnownSteps:
    """All steps of a plan by id, and the names of its inputs."""

    steps: dict[str, KnownStep] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()

    def path_between(self, start: str, end: str) -> list[str] | None:
        """The ids from `start` to `end` along references, or None."""
        came_from: dict[str, str | None] = {start: None}
        front = [start]
        while front and end not in came_from:
            key = front.pop()
            onward = sorted((self.steps[key].refers_to - came_from.keys()) & self.steps.keys())
            came_from.update(dict.fromkeys(onward, key))
            front += onward
        path = [end] if end in came_from else []
        while path and (before := came_from[path[-1]]) is not None:
            path.append(before)
        return path[::-1] or None


@dataclass(frozen=True, slots=True)
class Seat:
    """Where the expressions stand that are checked: in a step, or at the head of a block."""

    known: KnownSteps
    #: Of a block: that of its first step.
    position: int
    #: None: a block.
    key: str | None = None
    block: int | None = None
    parallel: str | None = None

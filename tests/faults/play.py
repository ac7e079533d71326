"""What one process of `make faults` plays: an arena's faults one after the other, or a control."""

import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.controls import CONTROLS, breaches_without
from tests.faults.faults import FAULTS
from tests.faults.verdict import Verdict
from tests.lab.rabbitmq import RabbitMq

EPMD = "epmd"
#: The brokers that a farm may be played on; "redis" is the embedded one.
BROKERS = ("redis", "rabbitmq", "redis7")
REDIS_7 = "/usr/bin/redis-server"


@dataclass(frozen=True, slots=True)
class Job:
    """Some faults on one arena; or one guard taken away."""

    seed: int
    broker: str = "redis"
    faults: tuple[str, ...] = ()
    #: At least so many plans a fault.
    plans: int = 1
    #: Of one fault that has an arena of its own.
    alone: bool = False
    #: The guard.
    control: str = ""


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a job; of a control `seen` says whether the checker saw it."""

    job: Job
    verdicts: tuple[Verdict, ...] = ()
    seen: bool = False
    #: Why the harness itself gave up.
    error: str = ""


def play(job: Job) -> Played:
    """Play it, and print one line for each fault; what breaks the harness is an outcome, too."""
    verdicts: list[Verdict] = []
    try:
        return _play(job, verdicts)
    except Exception as error:  # noqa: BLE001  # the other jobs go on, and the end says so
        traceback.print_exc()
        return Played(job, tuple(verdicts), error=f"{type(error).__name__}: {error}")


def _play(job: Job, verdicts: list[Verdict]) -> Played:
    if job.control:
        control = next(each for each in CONTROLS if each.guard == job.control)
        breaches = breaches_without(control, job.seed)
        told = f"seen: {breaches[0]}" if breaches else "NOT SEEN"
        print(f"without guard, seed {job.seed}: {job.control}: {told}", flush=True)
        return Played(job, seen=bool(breaches))
    settings: dict[str, str] = {}
    for fault in FAULTS:
        settings |= fault.settings if job.alone and fault.name in job.faults else {}
    with open_arena(job.broker, job.seed, settings) as arena:
        verdicts.extend(_play_faults(job, arena))
        return Played(job, tuple(verdicts))


def _play_faults(job: Job, arena: Arena) -> Iterator[Verdict]:
    for fault in FAULTS:
        if fault.name in job.faults:
            verdict = arena.play(
                fault.name, fault.run, max(job.plans, fault.plans), apart=fault.apart
            )
            told = f"{len(verdict.breaches)} BREACHES" if verdict.breaches else "holds"
            lines = [f"{job.broker} seed {job.seed}: {fault.name}: {told}"]
            print("\n  ".join([*lines, *verdict.breaches]), flush=True)
            yield verdict


@contextmanager
def open_arena(
    broker: str, seed: int, settings: Mapping[str, str] | None = None
) -> Iterator[Arena]:
    """A farm of its own on that broker; nothing of it is left at the end."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with open_broker(broker, folder) as server:
            program = REDIS_7 if broker == "redis7" else None
            with Arena(folder, seed, server, program, dict(settings or {})) as arena:
                yield arena


@contextmanager
def open_broker(broker: str, folder: Path) -> Iterator[RabbitMq | None]:
    """A RabbitMQ; None where the arena's own Redis serves."""
    if broker != "rabbitmq":
        yield None
        return
    (folder / "rabbitmq").mkdir()
    server = RabbitMq(folder / "rabbitmq", EPMD)
    try:
        yield server
    finally:
        server.close()

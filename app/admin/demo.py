"""`python -m app.admin.demo`: the sample plan against a real farm, and what came of it."""

import argparse
import json
import secrets
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from app.admin.control import (
    find_folder,
    start_farm,
    stop_farm,
    stopping_on_failure,
    wait_until_ready,
)
from app.admin.demo_report import Seen, find_failures, read_asset, show
from app.admin.receivers import (
    Hook,
    Mailbox,
    greet,
    receive_mail,
    receive_webhooks,
    send_packets,
)
from app.admin.state import FarmFile, StateFolder, find_supervisor
from app.cli.display import make_display
from app.cli.output import note
from app.client import Farm
from app.errors import OpsfarmError
from app.farm_execution import Execution
from app.step import FINAL_EXECUTION_STATES
from queues import Pool

PLAN = Path(__file__).with_name("demo.yaml")
#: A healthy farm needs a few seconds.
PLAN_TIMEOUT_S = 90.0
_CAPTURE_STEPS = {"capture", "packets"}


@dataclass(frozen=True, slots=True)
class Stage:
    """What this run of the demo planted, for its plan to find."""

    hostname: str
    greeting: str
    mailbox: Mailbox
    hook: Hook
    greeting_port: int
    packet_port: int
    mail_secret: str


def main() -> int:
    """Exit status 0 when everything that the plan did was found where it did it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="take the farm down afterwards")
    parser.add_argument("--began", type=float, help="when the installation began, epoch seconds")
    given = parser.parse_args()
    try:
        _stop_at_signals()
        return _run(find_folder(), once=given.once, began=given.began)
    except OpsfarmError as error:
        note(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        note("demo: stopped")
        if find_supervisor(find_folder()) is not None:
            note("the farm stays up; 'opsfarm down' ends it")
        return 130


def _stop_at_signals() -> None:
    """Ctrl-C is a KeyboardInterrupt once; what is then taken down is not disturbed again."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # `make demo` and `opsfarm demo` hold it back while Python loads: now it may come.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _run(folder: StateFolder, *, once: bool, began: float | None) -> int:
    times: dict[str, float] = {}
    if began is not None:
        times["install"] = time.time() - began
    started = time.monotonic()
    with ExitStack() as stack:
        if once:
            stack.callback(stop_farm, folder, note)
        farm = _bring_up(folder)
        times["start"] = time.monotonic() - started
        seen = _perform(folder, farm)
        times["plan"] = time.monotonic() - started - times["start"]
        failures = find_failures(seen)
        show(seen, None if once else farm, times, failures)
    return 1 if failures else 0


def _bring_up(folder: StateFolder) -> FarmFile:
    if not start_farm(folder):
        note("using the farm that runs already")
        return wait_until_ready(folder, note)
    note(f"starting the farm in {folder.path}")
    with stopping_on_failure(folder, note):
        return wait_until_ready(folder, note)


def _perform(folder: StateFolder, farm: FarmFile) -> Seen:
    """Set the stage, run the plan on it and look at what happened."""
    name = secrets.token_hex(4)
    greeting = f"opsfarm demo {name}"
    with ExitStack() as stack:
        client = stack.enter_context(Farm(farm.api_url, state_dir=folder.path))
        stage = Stage(
            hostname=f"demo-{name}",
            greeting=greeting,
            mailbox=stack.enter_context(receive_mail()),
            hook=stack.enter_context(receive_webhooks()),
            greeting_port=stack.enter_context(greet(greeting)),
            packet_port=stack.enter_context(send_packets(greeting)),
            mail_secret=f"demo-smtp-{name}",
        )
        _plant_secret(stack, client, stage)
        why_no_capture = find_why_no_capture(client.http.get("/workers")["workers"])
        plan = fill_plan(yaml.safe_load(PLAN.read_text()), stage, capture=not why_no_capture)
        execution = client.submit(plan)
        shown = _follow(execution)
        return Seen(
            execution=shown,
            hostname=stage.hostname,
            greeting=greeting,
            greeting_port=stage.greeting_port,
            packet_port=stage.packet_port,
            mails=tuple(stage.mailbox.mails),
            bodies=tuple(stage.hook.bodies),
            why_no_capture=why_no_capture,
            asset=read_asset(farm.database_url, stage.hostname),
        )


def _plant_secret(stack: ExitStack, client: Farm, stage: Stage) -> None:
    """Where to send mail, as a named secret; forgotten with the demo."""
    server = {
        "host": "127.0.0.1",
        "port": stage.mailbox.port,
        "use_tls": "off",
        "from": "opsfarm@example.com",
    }
    client.http.post("/secrets", {"name": stage.mail_secret, "value": json.dumps(server)})
    stack.callback(client.http.delete, f"/secrets/{stage.mail_secret}")


def _follow(execution: Execution) -> dict[str, Any]:
    """Live progress to the end; a plan that hangs, or is left by Ctrl-C, is cancelled."""

    def give_up() -> None:
        execution.cancel(f"the demo waits {PLAN_TIMEOUT_S:g} s at most")

    patience = threading.Timer(PLAN_TIMEOUT_S, give_up)
    patience.daemon = True
    patience.start()
    try:
        with make_display(execution.status()) as display:
            for event in execution.events():
                display.show(event)
        return execution.status()
    except KeyboardInterrupt:
        if execution.status()["state"] not in FINAL_EXECUTION_STATES:
            execution.cancel("the demo was stopped with Ctrl-C")
        raise
    finally:
        patience.cancel()


def find_why_no_capture(workers: list[dict[str, Any]]) -> str:
    """Why no packet can be captured here, for people; empty when it can."""
    alive = [w for w in workers if w["pool"] == Pool.CAPTURE.value and not w.get("stopped")]
    if not any("net_raw" in worker["capabilities"] for worker in alive):
        return "no worker may open raw sockets (run as root, or give CAP_NET_RAW)"
    if not any("tcpdump" in worker["programs"] for worker in alive):
        return "tcpdump is not installed on the capture worker's host"
    if not any("lo" in worker["interfaces"] for worker in alive):
        return "no capture worker has an interface named lo"
    return ""


def fill_plan(document: Mapping[str, Any], stage: Stage, *, capture: bool) -> dict[str, Any]:
    """The sample plan with what this run planted; without the capture where there can be none."""
    words = {
        "<hostname>": stage.hostname,
        "<greeting_port>": stage.greeting_port,
        "<packet_port>": stage.packet_port,
        "<mail_secret>": stage.mail_secret,
        "<webhook_url>": stage.hook.url,
    }
    plan = _replace(document, words)
    plan["steps"] = [step for step in plan["steps"] if capture or step["id"] not in _CAPTURE_STEPS]
    return dict(plan)


def _replace(value: Any, words: Mapping[str, Any]) -> Any:  # noqa: ANN401  # a plan's JSON
    """Put in the words; a text that is one of them alone becomes its value."""
    if isinstance(value, Mapping):
        return {key: _replace(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [_replace(each, words) for each in value]
    if not isinstance(value, str):
        return value
    if value in words:
        return words[value]
    for word, filling in words.items():
        value = value.replace(word, str(filling))
    return value


if __name__ == "__main__":
    sys.exit(main())

"""TCP as seen from a worker: one connection, its outcome and its greeting."""

import socket
import time
from collections.abc import Mapping
from typing import Any

from app.errors import StepError
from app.step import State, StepResult
from tasks.operations.base import OperationContext
from tasks.runners.opening import open_unless_stopped
from tool_catalog.model import Reason

BANNER_BYTES = 512


def connect(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Connect to each address of a host until one is open.

    `output` is {host, address, port, state: open|closed|filtered, connect_ms, banner}: closed
    means refused, filtered that nothing came back in time.
    """
    host, port = str(parameters["host"]), int(parameters["port"])
    output: dict[str, Any] = {}
    for family, address in _resolve(host, port):
        output = {"host": host, **_probe_unless_stopped(family, address, parameters, context)}
        if output["state"] == "open":
            break
    summary = f"{host} port {port} is {output['state']}"
    wanted = parameters.get("expect")
    if wanted and output["state"] != wanted:
        return StepResult(
            State.FAILED, f"{summary}, not {wanted}", Reason.CHECK_FAILED, output=output
        )
    return StepResult(State.SUCCEEDED, summary, output=output)


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Every (family, socket address) of a host; raises StepError when the name has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise StepError(
            Reason.NOT_FOUND, f"the name {host} has no address: {error.strerror}", transient=again
        ) from None
    return [(family, address) for family, _type, _protocol, _name, address in found]


def _probe_unless_stopped(
    family: socket.AddressFamily,
    address: tuple[Any, ...],
    parameters: Mapping[str, Any],
    context: OperationContext,
) -> dict[str, Any]:
    return open_unless_stopped(
        lambda: _probe(family, address, parameters), lambda _seen: None, context.control
    )


def _probe(
    family: socket.AddressFamily, address: tuple[Any, ...], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    began = time.monotonic()
    banner = ""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(float(parameters.get("wait_s", 3)))
        try:
            connection.connect(address)
            state = "open"
        except ConnectionRefusedError:
            state = "closed"
        except TimeoutError:
            state = "filtered"
        except OSError as error:  # no route, no network, not permitted
            raise StepError(
                Reason.UNREACHABLE, f"no way to {address[0]}: {error.strerror}", transient=True
            ) from None
        took_s = time.monotonic() - began
        if state == "open":
            banner = _listen(connection, float(parameters.get("banner_wait_s", 0.5)))
    return {
        "address": address[0],
        "port": address[1],
        "state": state,
        "connect_ms": round(took_s * 1000, 3),
        "banner": banner,
    }


def _listen(connection: socket.socket, wait_s: float) -> str:
    """What the other side says unasked; empty when it waits for us or hangs up."""
    if wait_s == 0:
        return ""
    connection.settimeout(wait_s)
    try:
        return connection.recv(BANNER_BYTES).decode(errors="replace").replace("\0", "\ufffd")
    except OSError:
        return ""

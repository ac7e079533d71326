"""What this host can do: programs, network interfaces, the right to open raw sockets."""

import shutil
import socket
import subprocess
from collections.abc import Iterable

from tasks.runners.environment import SEARCH_PATH
from tool_catalog.loader import Catalog

#: Ethernet frames of every protocol (linux/if_ether.h).
ETH_P_ALL = 0x0003
VERSION_TIMEOUT_S = 3
VERSION_LENGTH = 80


def find_capabilities() -> tuple[str, ...]:
    """("net_raw",) when this process can really open a packet socket; it tries."""
    try:
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    except PermissionError:
        return ()
    probe.close()
    return ("net_raw",)


def find_interfaces() -> tuple[str, ...]:
    """Names of the network interfaces."""
    return tuple(name for _, name in socket.if_nameindex())


def find_programs(catalog: Catalog) -> dict[str, str]:
    """Programs of the catalogue's operations that are here, with their versions' first line."""
    named = {
        program
        for tool in catalog.tools.values()
        for operation in tool.operations.values()
        for program in operation.needs.programs
    }
    return dict(_with_versions(sorted(named)))


def _with_versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        path = shutil.which(name, path=SEARCH_PATH)
        if path is not None:
            yield name, _ask_version(path)


def _ask_version(path: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # a program of the catalogue, without any input
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
    return lines[0][:VERSION_LENGTH] if lines else ""

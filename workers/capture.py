"""What this host can do: programs, network interfaces, the right to open raw sockets."""

import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from queues import Pool
from tasks.runners.environment import SEARCH_PATH
from tool_catalog.loader import Catalog

#: Ethernet frames of every protocol (linux/if_ether.h).
ETH_P_ALL = 0x0003
#: The bit of CAP_NET_ADMIN in a set of capabilities (linux/capability.h).
NET_ADMIN_BIT = 12
STATUS = Path("/proc/self/status")
VERSION_TIMEOUT_S = 3
VERSION_LENGTH = 80


def find_capabilities() -> tuple[str, ...]:
    """Which of "net_raw" and "net_admin" this process really has."""
    held = {"net_raw": _opens_packet_socket(), "net_admin": has_net_admin(STATUS.read_text())}
    return tuple(name for name, has_it in held.items() if has_it)


def has_net_admin(status: str) -> bool:
    """Whether CAP_NET_ADMIN is in the effective set of a /proc/<pid>/status (proc(5))."""
    effective = next(
        (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0"
    )
    return bool(int(effective, 16) >> NET_ADMIN_BIT & 1)


def _opens_packet_socket() -> bool:
    try:
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    except PermissionError:
        return False
    probe.close()
    return True


def find_interfaces() -> tuple[str, ...]:
    """Names of the network interfaces."""
    return tuple(name for _, name in socket.if_nameindex())


def find_programs(catalog: Catalog, pool: str = "") -> list[str]:
    """Programs that operations call and that are here; with a pool, only those it may call."""
    domain = "network" if pool == Pool.CAPTURE else pool
    named = {
        program
        for tool in catalog.tools.values()
        if not domain or tool.domain == domain
        for operation in tool.operations.values()
        for program in operation.needs.programs
    }
    return [name for name in sorted(named) if shutil.which(name, path=SEARCH_PATH)]


def ask_versions(names: Iterable[str]) -> dict[str, str]:
    """The first line that each program says of its version; some take a second to say it."""
    return {
        name: _ask_version(path) for name in names if (path := shutil.which(name, path=SEARCH_PATH))
    }


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

"""A network namespace with one cable to each server: what a worker's cut-off looks like.

The servers listen on loopback only, so a relay of ours hands each cable's traffic on.
"""

import itertools
import os
import socket
import subprocess
import threading
import time
from contextlib import AbstractContextManager, suppress
from ipaddress import IPv4Network
from pathlib import Path

_CHUNK = 65536
#: Kept for tests of networks (RFC 2544): 32,768 cables with four addresses each.
_RANGE = IPv4Network("198.18.0.0/15")
_PROCESSES, _ISLANDS, _CABLES = 4096, 4, 2
_numbers = itertools.count()


class Relay:
    """Hands TCP connections of one address on to a port of loopback."""

    def __init__(self, address: str, port: int) -> None:
        self._port = port
        self._listener = socket.create_server((address, port))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it with its connections."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # either side went
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Island(AbstractContextManager["Island"]):
    """`with Island(6379, 5432) as island: island.cut(6379)`; gone with its last process."""

    def __init__(self, *ports: int) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        _wait_for_namespace(self._holder.pid)
        self.enter = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")
        _run(*self.enter, "ip", "link", "set", "lo", "up")
        self._number = os.getpid() % _PROCESSES, next(_numbers) % _ISLANDS
        self._cables: dict[int, str] = {}
        self._relays = [self._connect(place, port) for place, port in enumerate(ports)]

    def __exit__(self, *_exc: object) -> None:
        for relay in self._relays:
            relay.close()
        for cable in self._cables.values():
            _run("ip", "link", "del", cable)
        self._holder.kill()
        self._holder.wait()

    def address(self, port: int) -> str:
        """Where the server of that port is reached from inside."""
        return str(self._network(list(self._cables).index(port))[1])

    def cut(self, port: int) -> None:
        """Pull the cable to this server; nobody is told."""
        _run("ip", "link", "set", self._cables[port], "down")

    def mend(self, port: int) -> None:
        """Put it in again."""
        _run("ip", "link", "set", self._cables[port], "up")

    def _network(self, place: int) -> IPv4Network:
        """Two addresses for one cable, which no other island of any process has."""
        process, island = self._number
        cable = (process * _ISLANDS + island) * _CABLES + place
        return IPv4Network((int(_RANGE[0]) + 4 * cable, 30))

    def _connect(self, place: int, port: int) -> Relay:
        process, island = self._number
        near, far = f"isl{process}n{island}x{place}", f"to{place}"
        self._cables[port] = near
        pid = str(self._holder.pid)
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", pid)
        _run("ip", "addr", "add", f"{self.address(port)}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        inside = f"{self._network(place)[2]}/30"
        _run(*self.enter, "ip", "addr", "add", inside, "dev", far)
        _run(*self.enter, "ip", "link", "set", far, "up")
        return Relay(self.address(port), port)


def _wait_for_namespace(pid: int) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        assert time.monotonic() < deadline, "no network namespace"
        time.sleep(0.01)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)

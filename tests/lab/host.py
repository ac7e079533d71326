"""Hosts with a real systemd and a real sshd, in namespaces that end with the test (Linux, root).

A host boots in half a second from an overlay over one shared tree (`root_tree`). It is reached
over a cable (veth) of its own, from 198.18.N.1 here to 198.18.N.2 there; it sees nothing else.
"""

import os
import shutil
import socket
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.step import Credential, Secret, Target
from tests.lab.claims import RUN, Claim, claim
from tests.lab.control_groups import end_group, in_group
from tests.lab.root_tree import CACHE, cache_lock, host_tree
from tests.lab.waiting import wait_until

BOOT = Path(__file__).with_name("boot-host.sh")
MAX_HOSTS = 250
BOOT_S = 30
END_S = 10


@dataclass
class Host:
    """A running host and what a client needs to log in to it."""

    name: str
    address: str
    #: The public host key, as an asset's `connection.host_key` has it.
    host_key: str
    folder: Path
    process: subprocess.Popen[bytes]
    _claim: Claim

    @property
    def number(self) -> int:
        """Its own on this machine while it runs."""
        return self._claim.number

    @property
    def target(self) -> Target:
        return Target(
            name=self.name,
            asset_id=self.number,
            address=self.address,
            connection="ssh",
            options={"host_key": self.host_key},
        )

    @property
    def asset(self) -> dict[str, Any]:
        """The parameters of asset-create."""
        return {
            "hostname": self.name,
            "ip_address": self.address,
            "os": "debian 12",
            "connection": {"type": "ssh", "host_key": self.host_key},
        }

    def credential(self, username: str = "ops", **members: Any) -> Credential:
        """The lab's key for `ops` (sudo with PASSWORD), `deploy` (without), `guest`, `root`."""
        key = Secret(user_key().read_text())
        return Credential(f"lab-{username}", username, **{"private_key": key, **members})

    @property
    def log(self) -> str:
        """What its boot said."""
        return (self.folder / "console.log").read_text()

    def path(self, inside: str) -> Path:
        """A file of the host, to plant or to read; absolute links in it lead astray."""
        return Path(f"/proc/{self._init()}/root/{inside.lstrip('/')}")

    def run(self, *argv: str, check: bool = True) -> str:
        """The output of a command that runs there as root, past sshd."""
        enter = ["nsenter", f"--target={self._init()}", "--all", "--root", "--wd"]
        done = subprocess.run(
            [*enter, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """Pull the plug; everything that it was is gone afterwards."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
            self._claim.release()

    def wait_until_up(self) -> None:
        """Until sshd answers and everybody may log in (before that, pam_nologin lets in root)."""
        wait_until(self._answers, lambda: f"{self.name} did not boot: {self.log}", BOOT_S)
        state = self.run("timeout", str(BOOT_S), "systemctl", "is-system-running", "--wait")
        assert state == "running\n", f"{self.name} is {state}: {self.log}"

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"{self.name} ended: {self.log}"
        try:
            with socket.create_connection((self.address, 22), 0.5) as client:
                return client.recv(4) == b"SSH-"
        except OSError:
            return False

    def _init(self) -> int:
        """The pid here of the host's own pid 1."""
        pid = self.process.pid
        for _ in ("nspawn", "init"):
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return pid


class Hosts(AbstractContextManager["Hosts"]):
    """`with Hosts() as hosts: web, db = hosts.start("web-01", "db-01")`."""

    def __init__(self) -> None:
        self.running: list[Host] = []

    def start(self, *names: str) -> list[Host]:
        """Boot hosts side by side."""
        started = []
        for name in names:
            started.append(_boot(name))
            self.running.append(started[-1])
        for host in started:
            host.wait_until_up()
        return started

    def __exit__(self, *_exc: object) -> None:
        while self.running:
            self.running.pop().stop()


def user_key() -> Path:
    """The private key that opens every host; its public half lies beside it."""
    path = CACHE / "user_key"
    with cache_lock("user_key"):
        if not path.exists():
            _make_key(path)
    return path


def _boot(name: str) -> Host:
    tree, key = host_tree(), user_key()
    number = claim("host", MAX_HOSTS, _sweep)
    folder = _folder(number.number)
    seed = folder / "seed"
    _plant(seed, name, key.with_suffix(".pub"))
    net = f"198.18.{number.number}"
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL"]
    argv += ["--propagation=private", *in_group(_link(number.number))]
    argv += ["sh", str(BOOT), str(os.getpid()), name, _link(number.number)]
    argv += [f"{net}.2/30", f"{net}.1/30", str(tree), str(seed)]
    with (folder / "console.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    host_key = " ".join((seed / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])
    return Host(name, f"{net}.2", host_key, folder, process, number)


def _plant(seed: Path, name: str, public_key: Path) -> None:
    """What makes this host differ from the tree."""
    ssh = seed / "etc/ssh"
    ssh.mkdir(parents=True)
    (seed / "etc/hostname").write_text(f"{name}\n")
    (seed / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n")
    shutil.copy(public_key, ssh / "authorized_keys")
    _make_key(ssh / "ssh_host_ed25519_key")


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _link(number: int) -> str:
    """The name of our end of the cable, and of the host's control groups."""
    return f"opslab{number}"


def _folder(number: int) -> Path:
    return RUN / f"files-of-host-{number}"


def _sweep(number: int) -> None:
    """End what still runs of a host, and see its cable gone."""
    end_group(_link(number))
    cable = Path(f"/sys/class/net/{_link(number)}")
    wait_until(lambda: not cable.exists(), f"{cable.name} is still there", END_S)
    shutil.rmtree(_folder(number), ignore_errors=True)

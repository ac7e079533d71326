"""A Docker engine of our own: one at a time on a machine, its images kept for the next (root).

dockerd, containerd and all containers live in a pid and a mount namespace that end with the run.
What dockerd changes of the machine's network is written down before and put back after, also
after a run that was killed: the next start does it.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.claims import RUN, claim, exclusive
from tests.lab.control_groups import end_group, in_group
from tests.lab.root_tree import CACHE, slim_tree
from tests.lab.waiting import wait_until

#: Of the engine's bridge and of its containers' control groups.
NAME = "opslab-engine"
NETWORK = "198.19.1.1/24"
BASE_IMAGE = "debian:bookworm-slim"
START_S = 60
STOP_S = 30
#: What dockerd switches on; the second exists once a bridge does.
SWITCHES = tuple(
    Path("/proc/sys/net") / name for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables")
)
#: Of a bridge that `docker network create` makes.
BRIDGE = re.compile(r"br-[0-9a-f]{12}")
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    #: The value of DOCKER_HOST.
    url: str

    def docker(self, *words: str) -> str:
        """What `docker WORDS` prints; raises AssertionError where it fails."""
        argv = ["docker", "--host", self.url, *words]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def clear(self) -> None:
        """Remove what tests made, except for images: their layers make the next build quick."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("network", "prune", "--force")
        if volumes := self.docker("volume", "ls", "--quiet").split():
            self.docker("volume", "rm", "--force", *volumes)


@contextmanager
def run_engine() -> Iterator[Engine]:
    """An engine that knows `debian:bookworm-slim`; waits while another process has one."""
    tree = slim_tree()
    with exclusive("engine"):
        ours = claim("engine", 1, lambda _number: _undo())
        try:
            _remember()
            process = _start()
            try:
                yield _prepare(process, tree)
            finally:
                _stop(process)
        finally:
            ours.release()


def another_runs() -> bool:
    """Whether somebody else's engine has rules in this machine's packet filter."""
    with exclusive("engine"):
        return not _note().exists() and ":DOCKER " in _rules("filter")


def _folder() -> Path:
    return RUN / "engine"


def _note() -> Path:
    return RUN / "before-engine.json"


def _log() -> Path:
    return CACHE / "engine.log"


def _start() -> subprocess.Popen[bytes]:
    _run("ip", "link", "add", NAME, "type", "bridge")
    _run("ip", "address", "add", NETWORK, "dev", NAME)
    _run("ip", "link", "set", NAME, "up")
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    argv += ["--propagation=private", *in_group(f"{NAME}-daemon"), "dockerd"]
    argv += [f"--data-root={CACHE / 'engine'}", f"--exec-root={_folder()}", f"--host={_url()}"]
    argv += [f"--pidfile={_folder() / 'pid'}", f"--bridge={NAME}", "--ip=127.0.0.1"]
    argv += [f"--cgroup-parent=/{NAME}"]
    with _log().open("wb") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _url() -> str:
    return f"unix://{_folder() / 'docker.sock'}"


def _prepare(process: subprocess.Popen[bytes], tree: Path) -> Engine:
    engine = Engine(_url())
    wait_until(lambda: process.poll() is not None or _answers(engine), _log().read_text, START_S)
    assert process.poll() is None, f"dockerd ended: {_log().read_text()}"
    engine.clear()  # what a killed run left in the data that are kept
    tag = f"opslab:{tree.name}"
    if not engine.docker("image", "ls", "--quiet", tag):
        _import(engine, tree, tag)
    engine.docker("tag", tag, BASE_IMAGE)
    return engine


def _answers(engine: Engine) -> bool:
    if not (_folder() / "docker.sock").exists():
        return False
    argv = ["docker", "--host", engine.url, "version"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _import(engine: Engine, tree: Path, tag: str) -> None:
    """Make the tree an image that trusts whom this machine trusts."""
    shutil.copy(Path("/") / CERTIFICATES, tree / CERTIFICATES)
    changes = ['CMD ["/bin/bash"]', f"ENV PATH={SEARCHED}"]
    changes += [f"ENV {name}=/{CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
    argv = ["docker", "--host", engine.url, "import"]
    argv += [word for change in changes for word in ("--change", change)]
    tar = ["tar", "-C", str(tree), "-c", "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as archive:
        subprocess.run([*argv, "-", tag], stdin=archive.stdout, check=True, capture_output=True)
    assert archive.returncode == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        Engine(_url()).clear()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        _run("kill", *children)
    try:
        process.wait(STOP_S)
    finally:
        process.kill()
        process.wait()


def _remember() -> None:
    """Write down what `_undo` puts back."""
    before = {
        "rules": {table: _rules(table) for table in ("filter", "nat")},
        "switches": {str(path): path.read_text() for path in SWITCHES if path.exists()},
        "bridges": _bridges(),
    }
    _note().write_text(json.dumps(before))


def _undo() -> None:
    for name in (f"{NAME}-daemon", NAME):
        end_group(name)
    shutil.rmtree(_folder(), ignore_errors=True)
    if not _note().exists():
        return
    before = json.loads(_note().read_text())
    for bridge in {*_bridges(), NAME} - set(before["bridges"]):
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
    for rules in before["rules"].values():
        subprocess.run(["iptables-restore"], input=rules, text=True, check=True)
    for path, value in before["switches"].items():
        Path(path).write_text(value)
    _note().unlink()


def _rules(table: str) -> str:
    return _run("iptables-save", "--table", table)


def _bridges() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir() if BRIDGE.fullmatch(path.name)]


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

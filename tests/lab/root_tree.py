"""Root trees of Debian, made once by debootstrap and kept in `.venv/lab` (root).

Standard library only: `make test-system` runs this file before anything is installed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Everything of the lab that outlives a run; `make clean` removes it.
CACHE = Path(__file__).parents[2] / ".venv" / "lab"
SUITE = "bookworm"
#: In clear text on purpose: these hosts are reachable from this machine alone.
PASSWORD = "lab-password"

#: What the hosts of the lab have beside Debian's minimum.
HOST_PACKAGES = (
    *("acl", "at", "ca-certificates", "cron", "curl", "dbus", "iproute2", "kmod"),
    *("libpam-systemd", "logrotate", "openssh-server", "procps", "psmisc", "sudo"),
    *("systemd", "systemd-sysv"),
)

#: Three people with one password: `ops` may use sudo with it, `deploy` without, `guest` not.
HOST_SETUP = f"""
set -eu
for user in ops deploy guest; do
    useradd --create-home --shell /bin/bash "$user"
    echo "$user:{PASSWORD}" | chpasswd
done
echo 'ops ALL=(ALL:ALL) ALL' >/etc/sudoers.d/lab
echo 'deploy ALL=(ALL:ALL) NOPASSWD: ALL' >>/etc/sudoers.d/lab
chmod 0440 /etc/sudoers.d/lab
printf '%s\\n' 'MaxStartups 100:30:200' 'HostKey /etc/ssh/ssh_host_ed25519_key' \\
    'AuthorizedKeysFile /etc/ssh/authorized_keys' >/etc/ssh/sshd_config.d/lab.conf
systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer getty@tty1.service
rm -f /etc/hostname /etc/ssh/ssh_host_* /var/cache/apt/archives/*.deb
: >/etc/machine-id
"""


def host_tree() -> Path:
    """The tree of all hosts."""
    return _make_tree("host", HOST_PACKAGES, HOST_SETUP)


def slim_tree() -> Path:
    """Debian's minimum with certificates, as the image `debian:bookworm-slim` has it."""
    return _make_tree("slim", ["ca-certificates"], "rm -f /var/cache/apt/archives/*.deb")


@contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """Hold one part of the cache; other processes wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_tree(name: str, packages: Sequence[str], setup: str) -> Path:
    """The tree with these packages after `setup`, a script; made when it is not there (40 s)."""
    key = hashlib.sha256(" ".join([SUITE, *packages, setup]).encode()).hexdigest()[:12]
    tree = CACHE / f"{name}-{key}"
    with cache_lock("trees"):
        if not tree.exists():
            print(f"making the root tree of {name}, once: most of a minute ...", flush=True)
            new = tree.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)  # of a run that was ended in the middle
            _bootstrap(new, packages, setup)
            new.rename(tree)
    return tree


def _bootstrap(tree: Path, packages: Sequence[str], setup: str) -> None:
    archives = CACHE / "debs"
    archives.mkdir(exist_ok=True)
    options = ["--variant=minbase", f"--cache-dir={archives}", f"--include={','.join(packages)}"]
    _run(["debootstrap", *options, SUITE, str(tree)])
    _run(["chroot", str(tree), "sh", "-c", setup])


def _run(argv: Sequence[str]) -> None:
    joined = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False, **joined)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"{argv[0]} failed with status {done.returncode}:\n{tail}")


if __name__ == "__main__":
    if os.geteuid() == 0 and shutil.which("debootstrap"):
        for make in (host_tree, slim_tree):
            print(f"root tree: {make()}")
    else:
        print("no root tree without root and debootstrap: tests that boot hosts are skipped")

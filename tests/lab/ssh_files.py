"""An ssh_config and a known_hosts for hosts of the lab: for `ssh -F`, and to be imported."""

from collections.abc import Iterable
from pathlib import Path

from tests.lab.host import Host

ENTRY = """Host {host.name}
    HostName {host.address}
    User ops
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known}
"""


def write(folder: Path, hosts: Iterable[Host], key: Path) -> Path:
    """Write both; gives the path of the ssh_config."""
    hosts = list(hosts)
    known, config = folder / "known_hosts", folder / "ssh_config"
    known.write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
    config.write_text("".join(ENTRY.format(host=host, key=key, known=known) for host in hosts))
    return config

"""A host behind a real sshd on loopback, in the inventory of an arena."""

from pathlib import Path

from sqlalchemy.orm import Session

from app.store.inventory import create_asset
from tests.faults.arena import Arena
from tests.faults.process import FAR
from tests.lab.sshd import Sshd, start_sshd

SSHD = "/usr/sbin/sshd"


def reach_far_host(arena: Arena) -> Sshd:
    """Its server, started when it is first asked for and kept until the arena's end."""
    if arena.far is None:
        arena.far = start_sshd(arena.folder / "sshd", SSHD)
        arena.kept.callback(arena.far.stop)
        _enter(arena, arena.far)
    return arena.far


def processes_of(world: Path, tag: str) -> list[int]:
    """Processes whose command line names this world and this tag, wherever they were started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:  # it ended
            continue
        if str(world).encode() in line and tag.encode() in line:
            found.append(int(folder.name))
    return found


def _enter(arena: Arena, server: Sshd) -> None:
    connection = {"type": "ssh", "port": server.port, "host_key": server.host_key}
    with Session(arena.farm.parts.engine) as session, session.begin():
        session.info.update(tenant="default", actor="test", execution_id=None, step_id=None)
        create_asset(
            session, {"hostname": FAR, "ip_address": "127.0.0.1", "connection": connection}
        )
    arena.farm.parts.vault.put_credential("default", f"{FAR}-login", server.credential, FAR)

"""A real DNS server (BIND) on loopback with zones of the test's own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.admin.servers import answers, find_free_port
from tests.lab.daemon import run_daemon

CONFIG = """
options {{
  directory "{folder}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  dnssec-validation no;
  pid-file none;
  session-keyfile none;
  managed-keys-directory "{folder}";
}};
controls {{ }};
"""
ZONE = 'zone "{name}" {{ type primary; file "{file}"; }};\n'
#: What every zone begins with; a name server inside of the zone would need an address there.
HEAD = "$TTL 300\n@ IN SOA ns.invalid. admin.invalid. 7 3600 600 86400 60\n  IN NS ns.invalid.\n"


@contextmanager
def run_dns(folder: Path, program: str, zones: Mapping[str, str | None]) -> Iterator[int]:
    """Gives the port. Zones are names and records: `{"lab.example": "web IN A 192.0.2.10\\n"}`.

    A zone whose records are None has no file: the server cannot answer for it.
    """
    port = find_free_port()
    config = CONFIG.format(folder=folder, port=port)
    for name, records in zones.items():
        config += ZONE.format(name=name, file=f"{name}.zone")
        if records is not None:
            (folder / f"{name}.zone").write_text(HEAD + records)
    (folder / "named.conf").write_text(config)
    argv = [program, "-g", "-n", "1", "-c", str(folder / "named.conf")]
    with run_daemon(argv, folder / "named.log", lambda: answers(port)):
        yield port

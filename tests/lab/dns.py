"""A real DNS server (BIND) on loopback with zones of the test's own."""

import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from app.admin.servers import answers, find_free_port

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


class DnsServer(AbstractContextManager["DnsServer"]):
    """`with DnsServer(folder, named, {"lab.example": "web IN A 192.0.2.10\\n"}) as dns`.

    A zone whose records are None is configured, but has no file: the server cannot answer for it.
    """

    def __init__(self, folder: Path, program: str, zones: dict[str, str | None]) -> None:
        self.port = find_free_port()
        self._folder = folder
        self._program = program
        config = CONFIG.format(folder=folder, port=self.port)
        for name, records in zones.items():
            config += ZONE.format(name=name, file=f"{name}.zone")
            if records is not None:
                (folder / f"{name}.zone").write_text(HEAD + records)
        (folder / "named.conf").write_text(config)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def __enter__(self) -> Self:
        argv = [self._program, "-g", "-n", "1", "-c", str(self._folder / "named.conf")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise RuntimeError(f"named does not answer: {self.log}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.wait(10)

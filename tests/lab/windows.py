"""A Windows host of the tests: the WinRM double, and answers planted by tool and operation."""

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Self

from app.powershell import frame_script
from app.step import Credential, Target
from tests.lab.certificates import make_certificates
from tests.lab.wsman import Planted, WsmanDouble
from tests.lab.wsman_login import Login
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters


class WindowsHost(AbstractContextManager["WindowsHost"]):
    """`with WindowsHost(folder) as host`: reached over TLS with a basic login.

    `tools` is a folder with tool files of the test's own.
    """

    def __init__(self, folder: Path, tools: Path | None = None) -> None:
        self._catalog = load_catalog(str(tools or ""))
        certificates = make_certificates(folder)
        login = Login("basic", "operator", "Pa55-w0rd of the lab")
        self.double = WsmanDouble(login, tls=certificates.server_context())
        self._authority = certificates.authority.read_text()

    @property
    def target(self) -> Target:
        target = self.double.target
        return replace(target, options={**target.options, "ca": self._authority})

    @property
    def credential(self) -> Credential:
        return self.double.credential

    def plant(self, tool, operation, given, rows=None, *, error=None, **members):
        """What an operation with these parameters gets: rows, or a line of the frame's error.

        `error` is "Category: Id: message", as `app.powershell` writes it; `members` are those of
        `Planted`.
        """
        wanted = self._catalog.operation(self._catalog.find(tool), operation)
        values, faults = check_parameters(wanted, given)
        assert faults == []
        script = frame_script(wanted.powershell)
        if error is not None:
            pieces, code = (("stderr", f"{error}\r\n".encode()),), 1
        else:
            text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
            pieces, code = (("stdout", f"{text}\r\n".encode()),), 0
        self.double.planted.append(Planted(script, values, pieces, code, **members))

    def __enter__(self) -> Self:
        self.double.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.double.__exit__(*exc)
        assert not self.double.shells, "a shell was left open"

"""A double of a Windows host's WinRM: the wire is real, PowerShell is a table of planted answers.

It speaks WS-Management over HTTP or TLS with basic and NTLM logins (sealed messages over HTTP), the
seven actions of a shell and its faults. It proves what reaches a host and what is made of its
answers, never that a script is right on Windows.
"""

import base64
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from app.step import Credential, Secret, Target
from tests.lab.wsman_http import Answer, Misbehave, WsmanServer
from tests.lab.wsman_login import Login

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
NAMES = {"s": SOAP, "a": ADDRESSING, "w": WSMAN, "rsp": SHELL}

TIMED_OUT = 2150858793
NO_SUCH_SHELL = 2150858843
TOO_MANY_SHELLS = 2150859174
ACCESS_DENIED = 5
ABORTED = 995

_ENCODED = re.compile(r"(?i)^powershell\.exe .*-encodedcommand ([A-Za-z0-9+/=]+)$")


@dataclass(frozen=True)
class Planted:
    """What one script with these parameters answers: pieces of output, each in a Receive."""

    script: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    #: ("stdout" | "stderr", bytes)
    pieces: tuple[tuple[str, bytes], ...] = ()
    exit_code: int = 0
    #: The output after the first piece, and the end, come once this is set (or it is terminated).
    gate: threading.Event | None = None
    #: Called when the script has its parameters.
    begun: Callable[[], object] = lambda: None

    def asks(self, script: str, parameters: Mapping[str, object]) -> bool:
        return (self.script, self.parameters) == (script, parameters)


@dataclass(frozen=True)
class Arrived:
    """A script that a client had run."""

    line: str
    script: str
    parameters: Mapping[str, object]


@dataclass
class _Command:
    line: str
    given: bytearray = field(default_factory=bytearray)
    left: list[tuple[str, bytes]] = field(default_factory=list)
    planted: Planted | None = None
    terminated: threading.Event = field(default_factory=threading.Event)
    said_something: bool = False


@dataclass
class _Shell:
    options: dict[str, str]
    commands: dict[str, _Command] = field(default_factory=dict)


class WsmanDouble(AbstractContextManager["WsmanDouble"]):
    """`with WsmanDouble(login, planted) as host`: `host.target`, `host.arrived`, `host.shells`."""

    def __init__(
        self,
        login: Login,
        planted: tuple[Planted, ...] = (),
        tls: ssl.SSLContext | None = None,
        max_shells: int = 5,
    ) -> None:
        self.login = login
        #: Of several for the same script and parameters each answers once, the last one always.
        self.planted = list(planted)
        self.tls = tls
        self.max_shells = max_shells
        #: Every script that got its parameters, in order.
        self.arrived: list[Arrived] = []
        #: The last word of each action, in order: "Create", "Command", ...
        self.actions: list[str] = []
        self.shells: dict[str, _Shell] = {}
        #: Options of every shell that was opened.
        self.opened: list[dict[str, str]] = []
        #: What the next requests of an action get instead of an answer.
        self.instead: dict[str, list[Answer]] = {}
        self.lock = threading.RLock()
        self.ended = threading.Event()
        self._server = WsmanServer(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port

    @property
    def target(self) -> Target:
        """The host as a step sees it, without what it takes to trust its certificate."""
        options = {"scheme": "https" if self.tls else "http", "transport": self.login.transport}
        return Target(
            name="win-lab",
            asset_id=1,
            address="127.0.0.1",
            connection="winrm",
            port=self.port,
            os="windows",
            options=options,
        )

    @property
    def credential(self) -> Credential:
        return Credential("win-login", self.login.user, password=Secret(self.login.password))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.ended.set()
        for shell in list(self.shells.values()):
            for command in shell.commands.values():
                command.terminated.set()
        self._server.shutdown()
        self._server.cut()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: ET.Element) -> tuple[int, bytes]:
        """(status, body) for one envelope; raises Misbehave for what is no answer."""
        action = _text(request, "a:Action").rpartition("/")[2]
        with self.lock:
            self.actions.append(action)
            instead = self.instead.get(action)
            other = instead.pop(0) if instead else None
        if other is not None and other.fault is None:
            raise Misbehave(other)
        try:
            return 200, _envelope(request, self._act(action, request, other))
        except _Fault as fault:
            return 500, _envelope(request, fault.body())

    def _act(self, action: str, request: ET.Element, other: Answer | None) -> str:
        if other is not None:
            raise _Fault(other.fault)
        return getattr(self, f"_{action.lower()}")(request)

    def _create(self, request):
        with self.lock:
            if len(self.shells) >= self.max_shells:
                raise _Fault(TOO_MANY_SHELLS)
            options = {o.get("Name"): o.text for o in request.iterfind(".//w:Option", NAMES)}
            options["IdleTimeOut"] = request.findtext(".//rsp:IdleTimeOut", "", NAMES)
            key = str(uuid.uuid4()).upper()
            self.shells[key] = _Shell(options)
            self.opened.append(options)
        selector = f'<w:SelectorSet><w:Selector Name="ShellId">{key}</w:Selector></w:SelectorSet>'
        return f"<rsp:Shell><rsp:ShellId>{key}</rsp:ShellId></rsp:Shell>{selector}"

    def _command(self, request):
        shell = self._find(request)
        key = str(uuid.uuid4()).upper()
        shell.commands[key] = _Command(_text(request, ".//rsp:Command"))
        return f"<rsp:CommandResponse><rsp:CommandId>{key}</rsp:CommandId></rsp:CommandResponse>"

    def _send(self, request):
        stream = request.find(".//rsp:Stream", NAMES)
        command = self._find(request).commands[stream.get("CommandId")]
        command.given += base64.b64decode(stream.text or "")
        if stream.get("End") == "true":
            self._run(command)
        return "<rsp:SendResponse/>"

    def _run(self, command: _Command) -> None:
        """Look the script up; one that nobody planted fails as a script would."""
        script = base64.b64decode(_ENCODED.match(command.line)[1]).decode("utf-16-le")
        parameters = json.loads(base64.b64decode(bytes(command.given).strip()))
        with self.lock:
            self.arrived.append(Arrived(command.line, script, parameters))
        meant = [each for each in self.planted if each.asks(script, parameters)]
        if meant:
            command.planted, command.left = meant[0], list(meant[0].pieces)
            meant[0].begun()
            if len(meant) > 1:
                self.planted.remove(meant[0])
            return
        said = f"NotPlanted: nobody planted this script with {parameters}\r\n".encode()
        command.planted = Planted(script, parameters, exit_code=1)
        command.left = [("stderr", said)]

    def _receive(self, request):
        desired = request.find(".//rsp:DesiredStream", NAMES)
        command = self._find(request).commands[desired.get("CommandId")]
        if not self._ready(command, _seconds(_text(request, ".//w:OperationTimeout"))):
            raise _Fault(ABORTED if command.terminated.is_set() else TIMED_OUT)
        name, data = command.left.pop(0) if command.left else ("stdout", b"")
        command.said_something = True
        key, text = desired.get("CommandId"), base64.b64encode(data).decode()
        stream = f'<rsp:Stream Name="{name}" CommandId="{key}">{text}</rsp:Stream>'
        gate = command.planted.gate
        if command.left or (gate is not None and not gate.is_set()):
            state = f'<rsp:CommandState CommandId="{key}" State="{SHELL}/CommandState/Running"/>'
        else:
            ends = "".join(
                f'<rsp:Stream Name="{each}" CommandId="{key}" End="true"/>'
                for each in ("stdout", "stderr")
            )
            code = f"<rsp:ExitCode>{command.planted.exit_code % 2**32}</rsp:ExitCode>"
            state = f'{ends}<rsp:CommandState CommandId="{key}" State="{SHELL}/CommandState/Done">'
            state += f"{code}</rsp:CommandState>"
        return f"<rsp:ReceiveResponse>{stream}{state}</rsp:ReceiveResponse>"

    def _ready(self, command: _Command, wait_s: float) -> bool:
        """Whether there is output or the end, after as long as the client wants to wait."""
        if command.planted is None:  # PowerShell waits for its input
            command.terminated.wait(wait_s)
            return False
        gate = command.planted.gate
        if gate is None or (command.left and not command.said_something):
            return not command.terminated.is_set()
        return _either(gate, command.terminated, wait_s)

    def _signal(self, request):
        signal = request.find(".//rsp:Signal", NAMES)
        command = self._find(request).commands[signal.get("CommandId")]
        if _text(signal, "rsp:Code").endswith("/terminate"):
            command.terminated.set()
        return "<rsp:SignalResponse/>"

    def _delete(self, request):
        self._find(request)
        with self.lock:
            shell = self.shells.pop(_text(request, ".//w:Selector"))
        for command in shell.commands.values():
            command.terminated.set()
        return ""

    def _find(self, request) -> _Shell:
        with self.lock:
            shell = self.shells.get(_text(request, ".//w:Selector"))
        if shell is None:
            raise _Fault(NO_SUCH_SHELL)
        return shell


class _Fault(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def body(self) -> str:
        return (
            "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:InternalError"
            "</s:Value></s:Subcode></s:Code><s:Reason><s:Text>the host says no</s:Text></s:Reason>"
            f'<s:Detail><f:WSManFault xmlns:f="{FAULT}" Code="{self.code}" Machine="win-lab"/>'
            "</s:Detail></s:Fault>"
        )


def _envelope(request, body: str) -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())
    related = escape(_text(request, "a:MessageID"))
    return (
        f"<s:Envelope {spaces}><s:Header><a:Action>{escape(_text(request, 'a:Action'))}Response"
        f"</a:Action><a:RelatesTo>{related}</a:RelatesTo></s:Header><s:Body>{body}</s:Body>"
        "</s:Envelope>"
    ).encode()


def _text(element, path: str) -> str:
    return element.findtext(path if path.startswith((".", "rsp")) else f".//{path}", "", NAMES)


def _seconds(duration: str) -> float:
    return float(duration.removeprefix("PT").removesuffix("S"))


def _either(first: threading.Event, other: threading.Event, wait_s: float) -> bool:
    """Whether `first` is set before `other` is, and within the time."""
    for _ in range(int(wait_s / 0.02)):
        if other.is_set() or first.wait(0.02):
            break
    return first.is_set() and not other.is_set()

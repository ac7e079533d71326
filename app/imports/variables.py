"""What Ansible's variables of a host mean for an asset (pure).

Source: https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.asset import is_address
from app.imports.findings import Bad, Findings, check_host, check_port, is_secret
from tool_catalog.names import did_you_mean, suggest

#: Stands for a value that ansible-vault encrypted.
VAULT = object()
VAULT_HEADER = "$ANSIBLE_VAULT"

_ADDRESS = ("ansible_host", "ansible_ssh_host")
_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_KEY_FILE = ("ansible_private_key_file", "ansible_ssh_private_key_file")
_CONNECTION = "ansible_connection"
#: Variable to an option of `connection`, and what its values mean there.
_WINRM: Mapping[str, tuple[str, Mapping[str, str | bool]]] = {
    "ansible_winrm_scheme": ("scheme", {"http": "http", "https": "https"}),
    "ansible_winrm_transport": ("transport", {"ntlm": "ntlm", "basic": "basic"}),
    "ansible_winrm_server_cert_validation": ("verify_tls", {"ignore": False, "validate": True}),
}
_READ = (*_ADDRESS, *_PORT, *_USER, _CONNECTION, *_WINRM)
_LOCAL = "local"
_TYPES: Mapping[str, str] = {
    "ssh": "ssh",
    "smart": "ssh",
    "paramiko": "ssh",
    "paramiko_ssh": "ssh",
    "network_cli": "ssh",
    "winrm": "winrm",
    "psrp": "winrm",
    "httpapi": "http",
}
_ADD_LOGIN = "'opsfarm credentials add NAME --asset SELECTOR --user USER'"


@dataclass(frozen=True, slots=True)
class Given:
    """A variable's value and its line."""

    value: Any
    line: int


def read_variables(
    name: str, line: int, given: Mapping[str, Given], findings: Findings
) -> dict[str, Any] | None:
    """The fields of an asset; None where a fault was noted, or where it needs no asset."""
    noted = len(findings.faults)
    kept = {key: each for key, each in given.items() if _may_keep(key, each, findings)}
    if _CONNECTION in kept and kept[_CONNECTION].value == _LOCAL:
        findings.note(line, f"{name[:80]} is left out: `targets: local` means the worker's host")
        return None
    fields: dict[str, Any] = {}
    connection: dict[str, Any] = {}
    for read in (_read_name, _read_address, _read_port, _read_user, _read_type, _read_winrm):
        with findings.noting():
            read(_Host(name, line, kept), fields, connection)
    others = {key: each.value for key, each in kept.items() if key not in _READ}
    fields |= {"connection": connection} if connection else {}
    fields |= {"metadata": _without_null(others)} if others else {}
    return None if len(findings.faults) > noted else fields


def holds_vault(value: Any) -> bool:  # noqa: ANN401  # any value of a file
    """Whether anything in a value was encrypted."""
    if isinstance(value, Mapping):
        return "__ansible_vault" in value or any(map(holds_vault, value.values()))
    if isinstance(value, list):
        return any(map(holds_vault, value))
    return value is VAULT or (isinstance(value, str) and value.lstrip().startswith(VAULT_HEADER))


def holds_template(value: Any) -> bool:  # noqa: ANN401  # any value of a file
    """Whether anything in a value is a template of Jinja."""
    if isinstance(value, Mapping):
        return any(map(holds_template, value.values()))
    if isinstance(value, list):
        return any(map(holds_template, value))
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _without_null(value: Any) -> Any:  # noqa: ANN401  # any value of a file, same shape back
    """In a change of the inventory null would mean: take it away."""
    if isinstance(value, Mapping):
        return {str(k): _without_null(each) for k, each in value.items() if each is not None}
    return value


@dataclass(frozen=True, slots=True)
class _Host:
    name: str
    line: int
    given: Mapping[str, Given]

    def find(self, *names: str) -> Given | None:
        return next((self.given[name] for name in names if name in self.given), None)


def _may_keep(name: str, given: Given, findings: Findings) -> bool:
    """Whether a variable is for the inventory; notes what is not, faults what must be known."""
    if name in _READ:
        with findings.noting():
            _check_readable(name, given)
            return True
        return False
    reason = _left_out(name, given.value)
    if reason:
        findings.note(given.line, f"{name[:80]} {reason}")
    return not reason


def _check_readable(name: str, given: Given) -> None:
    """Where and how to connect must stand in the file as it is; raises Bad."""
    if holds_vault(given.value):
        message = f"{name} is encrypted with ansible-vault, and says where or how to connect"
        raise Bad(given.line, "vault", message, hint="write the value itself")
    if holds_template(given.value):
        message = f"{name} is a template, which only Ansible can fill"
        hint = "write the value itself, or import what 'ansible-inventory --list' prints"
        raise Bad(given.line, "template", message, hint=hint)
    if not isinstance(given.value, str | int):
        raise Bad(given.line, "bad_value", f"{name} must be a text or a number")


def _left_out(name: str, value: Any) -> str:  # noqa: ANN401  # any value of a file
    """Why a variable is not imported; empty for one that is."""
    if name in _KEY_FILE:
        return f"is left out; {_ADD_LOGIN[:-1]} --private-key FILE' keeps the key itself"
    if holds_vault(value):
        return (
            "is left out: it is encrypted with ansible-vault; give the value itself to "
            f"{_ADD_LOGIN} if it is a login, else to 'opsfarm secrets set NAME'"
        )
    if is_secret(name, value):
        return f"is left out: it would lie open in the inventory; {_ADD_LOGIN} keeps a login sealed"
    if name.startswith("ansible_"):
        return "is left out: it steers Ansible, not opsfarm"
    if holds_template(value):
        return "is left out: it is a template, which only Ansible can fill"
    return ""


def _read_name(host: _Host, _fields: dict[str, Any], _connection: dict[str, Any]) -> None:
    if is_address(host.name.strip("[]")):
        message = f"{host.name} is an address, and an asset needs a name"
        hint = f"write one before it, e.g. web-01 ansible_host={host.name}"
        raise Bad(host.line, "bad_value", message, hint=hint)


def _read_address(host: _Host, fields: dict[str, Any], connection: dict[str, Any]) -> None:
    given = host.find(*_ADDRESS)
    if given is None:
        return
    text = str(given.value)
    if is_address(text):
        fields["ip_address"] = text
    else:
        connection["address"] = check_host(text, given.line)


def _read_port(host: _Host, _fields: dict[str, Any], connection: dict[str, Any]) -> None:
    given = host.find(*_PORT)
    if given is not None:
        connection["port"] = check_port(str(given.value), given.line)


def _read_user(host: _Host, _fields: dict[str, Any], connection: dict[str, Any]) -> None:
    given = host.find(*_USER)
    if given is not None:
        connection["user"] = str(given.value)


def _read_type(host: _Host, _fields: dict[str, Any], connection: dict[str, Any]) -> None:
    given = host.find(_CONNECTION)
    if given is None:
        return
    word = str(given.value).rpartition(".")[2]  # ansible.netcommon.network_cli
    if word not in _TYPES:
        near = did_you_mean(suggest(word, _TYPES))
        message = f"{_CONNECTION} {str(given.value)[:40]!r} has no runner{near}"
        raise Bad(given.line, "bad_value", message, hint=f"there are {', '.join(sorted(_TYPES))}")
    connection["type"] = _TYPES[word]


def _read_winrm(host: _Host, _fields: dict[str, Any], connection: dict[str, Any]) -> None:
    """Options of WinRM by their names here; they mean nothing to hosts reached otherwise."""
    if connection.get("type") != "winrm":
        return
    for name, (option, meanings) in _WINRM.items():
        given = host.find(name)
        if given is None:
            continue
        if given.value not in meanings:
            message = f"{name} {str(given.value)[:40]!r} is not served"
            raise Bad(given.line, "bad_value", message, hint=f"there are {', '.join(meanings)}")
        connection[option] = meanings[str(given.value)]

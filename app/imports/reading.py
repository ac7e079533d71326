"""Reads a file of assets, whatever its format (pure)."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath

from app.imports.ansible_ini import read_ini
from app.imports.ansible_yaml import read_yaml
from app.imports.csv_table import read_csv
from app.imports.findings import MAX_CHARS, Findings
from app.imports.groups import GROUP_TAG
from app.imports.ssh_config import read_ssh_config
from app.imports.variables import VAULT_HEADER

FORMATS = ("ansible", "csv", "ssh-config")
_YAML_SUFFIXES = (".yaml", ".yml", ".json")
_SSH = re.compile(r"(?:host|match|include)\s", re.IGNORECASE)
_YAML = re.compile(r"---|\{|[\w.-]+:\s*(?:#.*)?$")

_READERS: Mapping[str, Callable[[str, Findings], None]] = {
    "ini": read_ini,
    "yaml": read_yaml,
    "csv": read_csv,
    "ssh-config": read_ssh_config,
}


def read_assets(content: bytes, name: str, format_: str | None = None) -> Findings:
    """What a file gives; `name` and its text tell the format that is not given.

    A name without assets is a fault, too: nothing would come of it.
    """
    findings = Findings()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        findings.fault(line, "malformed", "the text is not UTF-8")
        return findings
    if _is_unreadable(text, findings):
        return findings
    kind = _kind(text, name, format_)
    findings.owned_tags = GROUP_TAG if kind in {"ini", "yaml"} else None
    _READERS[kind](text, findings)
    if not (findings.drafts or findings.faults):
        findings.fault(1, "no_assets", f"no asset in it, read as {format_ or kind}")
    return findings


def _is_unreadable(text: str, findings: Findings) -> bool:
    if len(text) > MAX_CHARS:
        findings.fault(1, "too_large", f"larger than {MAX_CHARS} characters; import it in parts")
    elif text.lstrip().startswith(VAULT_HEADER):
        hint = "'ansible-vault view FILE | opsfarm assets import -' reads it without writing it"
        findings.fault(1, "vault", "the whole file is encrypted with ansible-vault", hint=hint)
    elif "\0" in text:
        findings.fault(text[: text.index("\0")].count("\n") + 1, "malformed", "NUL is no text")
    return bool(findings.faults)


def _kind(text: str, name: str, format_: str | None) -> str:
    """Which reader serves."""
    if format_ in {"csv", "ssh-config"}:
        return format_
    suffix = PurePath(name).suffix.lower()
    first = _first_line(text)
    if format_ is None and suffix == ".csv":
        return "csv"
    if format_ is None and _SSH.match(first):
        return "ssh-config"
    return "yaml" if suffix in _YAML_SUFFIXES or _YAML.match(first) else "ini"


def _first_line(text: str) -> str:
    """The first that is neither empty nor a comment."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(("#", ";"))), "")

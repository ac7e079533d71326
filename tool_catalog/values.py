"""What each parameter type accepts, and how its values are checked."""

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from tool_catalog import addresses, scalars
from tool_catalog.model import Parameter, ParameterType
from tool_catalog.scalars import MAX_INTEGER, BadValue, kind_of, plain

MAX_ITEMS = 1000
MAX_OBJECT_DEPTH = 20

_ANY_TEXT = Parameter(type=ParameterType.TEXT)
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_PROGRAM = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]*")


def check_value(parameter: Parameter, value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """The normalised value; raises BadValue saying what is wrong."""
    return _CHECKS[parameter.type](parameter, value)


def check_program(argv: list[str]) -> None:
    """The first item of a whole command line: a program's name or an absolute path."""
    if not argv:
        raise BadValue("out_of_range", "needs at least a program's name")
    program = argv[0]
    if not _PROGRAM.fullmatch(posixpath.basename(program)):
        raise BadValue("bad_format", "must begin with a program's name", place="[0]")
    if "/" in program and program != posixpath.normpath(program):
        raise BadValue("bad_format", "needs the program's plain absolute path", place="[0]")
    if "/" in program and not program.startswith("/"):
        raise BadValue("bad_format", "needs a program's name or its absolute path", place="[0]")


def describe(parameter: Parameter) -> str:
    """What is allowed, in words: for faults and for the reference."""
    kind = parameter.type
    if kind is ParameterType.CHOICE:
        return "one of " + ", ".join(parameter.choices)
    words = _WORDS.get(kind, kind.value)
    if kind is ParameterType.LIST:
        words = f"list of {parameter.of or 'string'}"
    if kind is ParameterType.ARTIFACT and parameter.of:
        words = f"{{$artifact: id}} of a {parameter.of}"
    if parameter.pattern:
        words += f" matching {parameter.pattern}"
    return words + _describe_bounds(parameter)


def _describe_bounds(parameter: Parameter) -> str:
    low, high = (plain(bound) for bound in (parameter.min, parameter.max))
    if low and high:
        return f", {low} to {high}"
    if low:
        return f", at least {low}"
    return f", at most {high}" if high else ""


def _read_list(parameter: Parameter, value: Any) -> list[Any]:  # noqa: ANN401  # any JSON value
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) > (parameter.max or MAX_ITEMS):
        longest = plain(parameter.max or MAX_ITEMS)
        raise BadValue("out_of_range", f"has {len(items)} items; at most {longest}")
    if len(items) < (parameter.min or 0):
        raise BadValue("out_of_range", f"needs at least {plain(parameter.min)} items")
    item = item_of(parameter)
    checked = []
    for number, each in enumerate(items):
        try:
            checked.append(check_value(item, each))
        except BadValue as fault:
            fault.place = f"[{number}]{fault.place}"
            raise
    return checked


def item_of(parameter: Parameter) -> Parameter:
    """The parameter that each item of a list must satisfy."""
    return Parameter(
        type=ParameterType(parameter.of or "string"),
        pattern=parameter.pattern,
        choices=parameter.choices,
    )


def _read_object(_parameter: Parameter, value: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping):
        raise BadValue("wrong_type", f"must be an object, not {kind_of(value)}")
    _check_member(value, depth=0)
    return dict(value)


def _check_member(value: Any, *, depth: int) -> None:  # noqa: ANN401  # any JSON value
    if depth > MAX_OBJECT_DEPTH:
        raise BadValue("out_of_range", f"is nested deeper than {MAX_OBJECT_DEPTH} levels")
    if isinstance(value, str):
        scalars.read_text(_ANY_TEXT, value)
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str):
                raise BadValue("wrong_type", f"has a key that is {kind_of(key)}, not text")
            _check_member(key, depth=depth)
            _check_member(member, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_member(member, depth=depth + 1)


def _read_asset(parameter: Parameter, value: Any) -> str | int:  # noqa: ANN401  # any JSON value
    if isinstance(value, Mapping):
        value = value.get("id", value.get("hostname"))
    if isinstance(value, str) and value.isdecimal():
        value = scalars.read_integer(_ANY_TEXT, value)
    if type(value) is int and 1 <= value <= MAX_INTEGER:
        return value
    if not isinstance(value, str):
        raise BadValue("wrong_type", "must be an asset's name or id")
    return addresses.read_host(parameter, value)


def _read_credential(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    name = scalars.read_line(value, parameter)
    if not _REFERENCE.fullmatch(name):
        raise BadValue("bad_format", "must name a login by letters, digits and . _ : -")
    return name


def _read_secret(_parameter: Parameter, value: Any) -> dict[str, str]:  # noqa: ANN401  # any JSON value
    return _read_reference("$secret", value, "keep it with `opsfarm secrets set NAME`")


def _read_artifact(_parameter: Parameter, value: Any) -> dict[str, str]:  # noqa: ANN401  # any JSON value
    return _read_reference("$artifact", value, "a step that made one shows its id")


def _read_reference(key: str, value: Any, hint: str) -> dict[str, str]:  # noqa: ANN401  # any JSON value
    name = value.get(key) if isinstance(value, Mapping) and len(value) == 1 else None
    if not isinstance(name, str):
        raise BadValue("wrong_type", f"must be {{{key}: NAME}}, not the value itself", hint=hint)
    if not _REFERENCE.fullmatch(name):
        raise BadValue("bad_format", f"{key} must name one by letters, digits and . _ : -")
    return {key: name}


_CHECKS: Mapping[ParameterType, Callable[[Parameter, Any], Any]] = {
    ParameterType.STRING: scalars.read_string,
    ParameterType.WORD: scalars.read_word,
    ParameterType.TEXT: scalars.read_text,
    ParameterType.INTEGER: scalars.read_integer,
    ParameterType.NUMBER: scalars.read_number,
    ParameterType.BOOLEAN: scalars.read_boolean,
    ParameterType.CHOICE: scalars.read_choice,
    ParameterType.LIST: _read_list,
    ParameterType.OBJECT: _read_object,
    ParameterType.PATH: scalars.read_path,
    ParameterType.HOSTNAME: addresses.read_hostname,
    ParameterType.IP: addresses.read_ip,
    ParameterType.CIDR: addresses.read_cidr,
    ParameterType.HOST: addresses.read_host,
    ParameterType.PORT: addresses.read_port,
    ParameterType.PORT_RANGE: addresses.read_port_range,
    ParameterType.DURATION: scalars.read_duration,
    ParameterType.URL: addresses.read_url,
    ParameterType.EMAIL: addresses.read_email,
    ParameterType.INTERFACE: addresses.read_interface,
    ParameterType.BPF: addresses.read_bpf,
    ParameterType.ASSET: _read_asset,
    ParameterType.CREDENTIAL: _read_credential,
    ParameterType.SECRET: _read_secret,
    ParameterType.ARTIFACT: _read_artifact,
}

_WORDS: Mapping[ParameterType, str] = {
    ParameterType.WORD: "word of letters, digits and . _ : + @ / -",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.PATH: "absolute path",
    ParameterType.HOSTNAME: "host name",
    ParameterType.IP: "IP address",
    ParameterType.CIDR: "network, such as 192.0.2.0/24",
    ParameterType.HOST: "host name or IP address",
    ParameterType.PORT: "port, 1 to 65535",
    ParameterType.PORT_RANGE: "ports, such as 22,80,8000-8100",
    ParameterType.DURATION: "duration, such as 30s or 5m",
    ParameterType.URL: "http or https URL",
    ParameterType.EMAIL: "e-mail address",
    ParameterType.INTERFACE: "network interface",
    ParameterType.BPF: "Berkeley packet filter, at most 1024 characters",
    ParameterType.ASSET: "asset's name or id",
    ParameterType.CREDENTIAL: "name of a login of the target",
    ParameterType.SECRET: "{$secret: name}",
    ParameterType.ARTIFACT: "{$artifact: id}",
}

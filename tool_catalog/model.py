"""The shape of a tool file: frozen data, checked when it is loaded."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from queues import Domain


class CatalogError(Exception):
    """A tool file that cannot be trusted; the text names file, key and what is wrong."""


class Effect(StrEnum):
    """What an operation does to the world."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


class Repeat(StrEnum):
    """What may follow an unknown outcome (ARCHITECTURE.md)."""

    READ = "read"
    TRANSACTIONAL = "transactional"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    PROBE = "probe"
    NEVER = "never"


class Reason(StrEnum):
    """Why a step ended as it did; one list for tools, ledger, API and CLI."""

    EXIT_CODE = "exit_code"
    UNREACHABLE = "unreachable"
    AUTH_FAILED = "auth_failed"
    HOST_KEY_CHANGED = "host_key_changed"
    TIMEOUT = "timeout"
    QUEUE_TIMEOUT = "queue_timeout"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INVALID_PARAMETER = "invalid_parameter"
    MISSING_PROGRAM = "missing_program"
    NO_PRIVILEGE = "no_privilege"
    INVALID_OUTPUT = "invalid_output"
    NOT_VERIFIED = "not_verified"
    NO_TARGETS = "no_targets"
    EXPRESSION = "expression"
    CHECK_FAILED = "check_failed"
    REFUSED_BY_POLICY = "refused_by_policy"
    REFUSED_BY_DEVICE = "refused_by_device"
    WORKER_LOST = "worker_lost"
    LATE_RESULT = "late_result"
    RESOLVED = "resolved"
    NOT_APPROVED = "not_approved"
    CANNOT_UNDO = "cannot_undo"
    STOPPED = "stopped"
    INTERNAL = "internal"


class ParameterType(StrEnum):
    """The types that a parameter may have; `tool_catalog.params` checks values against them."""

    STRING = "string"
    WORD = "word"
    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    LIST = "list"
    OBJECT = "object"
    PATH = "path"
    HOSTNAME = "hostname"
    IP = "ip"
    CIDR = "cidr"
    HOST = "host"
    PORT = "port"
    PORT_RANGE = "port_range"
    DURATION = "duration"
    URL = "url"
    EMAIL = "email"
    INTERFACE = "interface"
    BPF = "bpf"
    ASSET = "asset"
    CREDENTIAL = "credential"
    SECRET = "secret"  # noqa: S105  # the name of a type
    ARTIFACT = "artifact"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


#: A number that was written as one: "30" in quotes is refused.
StrictNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Parameter(_Frozen):
    """One named value that an operation takes."""

    type: ParameterType
    summary: str = ""
    required: StrictBool = False
    default: Any = None
    example: Any = None
    #: Bounds of a number, of a duration in seconds, of a text's characters, of a list's items.
    min: StrictNumber | None = None
    max: StrictNumber | None = None
    #: Whole-value regular expression (`re.fullmatch`) of a string.
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    #: The item type of a list, or the kind of an artifact.
    of: str | None = None
    aliases: tuple[str, ...] = ()


class Needs(_Frozen):
    """What a worker must have for an operation."""

    programs: tuple[str, ...] = ()
    capabilities: tuple[Literal["net_raw", "net_admin"], ...] = ()
    #: The parameter that names the network interface.
    interface: str | None = None
    #: The only connection of a target that a Python operation can use.
    connection: Literal["local", "ssh", "winrm", "http"] | None = None


class ErrorRule(_Frozen):
    """Text in a tool's answer that stands for a reason."""

    match: str
    where: Literal["stderr", "stdout", "body"] = Field(default="stderr", alias="in")
    reason: Reason
    #: What the operator reads; `{name}` takes a parameter or a named group of `match`.
    say: str


class Output(_Frozen):
    """How a tool's answer becomes data."""

    parser: str = "text"
    #: Name to type; a tool file may write `{type: ..., from: ...}` for the type.
    fields: Mapping[str, str] = Field(default_factory=dict)
    #: Name to where the value stands in a row, where that is another name or a path ("a.b").
    sources: Mapping[str, str] = Field(default_factory=dict)
    #: The expression of the `regex` parser; named groups become fields.
    pattern: str | None = None
    #: The kind of artifact that standard output is (then `parser` is not used).
    artifact: str | None = None
    #: The parameter that caps the artifact's size in bytes.
    max_bytes: str | None = None
    #: An expression over standard error whose named groups join the output.
    stderr: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_fields(cls, given: Any) -> Any:  # noqa: ANN401  # as it was read
        """`{type: ..., from: ...}` becomes an entry of `fields` and one of `sources`."""
        if not isinstance(given, Mapping) or not isinstance(given.get("fields"), Mapping):
            return given
        fields, sources = dict(given["fields"]), {}
        for name, kind in given["fields"].items():
            if isinstance(kind, Mapping) and kind.keys() == {"type", "from"}:
                fields[name], sources[name] = kind["type"], kind["from"]
        return {**given, "fields": fields, "sources": sources} if sources else given


class Rule(_Frozen):
    """A condition over several parameters."""

    exactly_one: tuple[str, ...] = ()
    at_least_one: tuple[str, ...] = ()
    at_most_one: tuple[str, ...] = ()
    #: Parameter to the parameters it needs beside it.
    requires: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)


class HttpRequest(_Frozen):
    """An operation that is one HTTP request; address and login come from the target."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
    path: str
    query: Mapping[str, Any] = Field(default_factory=dict)
    headers: Mapping[str, str] = Field(default_factory=dict)
    json_body: Any = Field(default=None, alias="json")
    form: Mapping[str, Any] | None = None
    body: str | None = None
    ok: tuple[int, ...] = (200,)


class Verify(_Frozen):
    """A read that proves an effect."""

    operation: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    until: str
    within_s: Annotated[StrictNumber, Field(gt=0, le=3600)] = 30


class Undo(_Frozen):
    """The operation that reverses this one."""

    operation: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    if_: str | None = Field(default=None, alias="if")


class Example(_Frozen):
    """A call that is also a test and a snippet of the docs."""

    summary: str = ""
    parameters: Mapping[str, Any] = Field(default_factory=dict)


#: One item of `argv`; it disappears when the parameter that it names is absent.
#: "text {p}": one argument, `{p}` replaced, whatever the value holds.
#: {flag: -i, if: p}: `-i` when p is true.
#: {option: --depth, value: p}: two arguments; one when the option ends in "=".
#: {option: -x, each: p}: the same for each item of a list.
#: {value: p}: the value as one argument.
#: {operands: p}: `--` and then the value, or each item of a list.
#: {program: p}: each item of a list as one argument, as it is; the first names a program.
ArgvItem = str | Mapping[str, str]
Outcome = Literal["ok", "empty", "partial", "failed"]


class Operation(_Frozen):
    """One thing that a tool does. Exactly one of argv, powershell, http, python."""

    name: str
    summary: str
    effect: Effect
    at: Literal["target", "worker"] = "target"
    #: Own parameters and the shared ones that it takes, by name.
    parameters: Mapping[str, Parameter] = Field(default_factory=dict)
    argv: tuple[ArgvItem, ...] | None = None
    stdin: str | None = None
    env: Mapping[str, str] = Field(default_factory=dict)
    powershell: str | None = None
    http: HttpRequest | None = None
    #: `module:function` under `tasks/operations/`.
    python: str | None = None
    destroy_if: tuple[Mapping[str, Any], ...] = ()
    sensitive: StrictBool = False
    root: Literal["never", "needed", "maybe"] = "never"
    needs: Needs = Needs()
    precheck: tuple[ArgvItem, ...] | None = None
    #: A read of the same tool, run before arm and again after success.
    before: str | None = None
    #: Whether something changed, as an expression; else `before` is compared, else it did.
    changed_if: str | None = None
    verify: Verify | None = None
    repeat: Repeat
    undo: Undo | None = None
    timeout_s: Annotated[StrictNumber, Field(gt=0)] = 60
    #: The parameter that holds how long to run, in seconds; that end is success.
    run_for: str | None = None
    stop_signal: Literal["INT", "TERM"] = "TERM"
    exit_codes: Mapping[int, Outcome] = Field(default={0: "ok"})
    errors: tuple[ErrorRule, ...] = ()
    output: Output = Output()
    rules: tuple[Rule, ...] = ()
    rate_limit: str | None = None
    examples: tuple[Example, ...]


class Tool(_Frozen):
    """A catalogue entry: one YAML file."""

    name: str
    summary: str
    domain: Domain
    #: Its place under `tool_catalog/tools/`, e.g. "network/scan"; empty for a site's own.
    folder: str
    default: str | None = None
    operations: Mapping[str, Operation]
    #: SHA-256 of the file, hex: part of what an approval covers.
    digest: str

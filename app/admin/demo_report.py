"""What the demo's plan really did, looked up where it did it, and told to people."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import click
from sqlalchemy import text

from app.admin.state import FarmFile
from app.cli.output import print_table
from app.store.db import make_engine


@dataclass(frozen=True, slots=True)
class Seen:
    """The execution as the farm tells it, and what arrived outside of it."""

    execution: Mapping[str, Any]
    hostname: str
    greeting: str
    greeting_port: int
    packet_port: int
    mails: Sequence[EmailMessage]
    bodies: Sequence[str]
    why_no_capture: str
    #: The inventory's row of `hostname`, read by SQL; None when there is none.
    asset: Mapping[str, Any] | None

    @property
    def execution_id(self) -> str:
        """Ours, as mail and webhook must name it."""
        return str(self.execution["execution_id"])

    def output_of(self, key: str) -> Any:  # noqa: ANN401  # the tool's own output
        """What a step gave; an empty mapping when it gave nothing."""
        outputs = (s.get("output") for s in self.execution["steps"] if s["id"] == key)
        return next(outputs, None) or {}


def read_asset(database_url: str, hostname: str) -> dict[str, Any] | None:
    """The asset as the database holds it, past every layer of ours."""
    engine = make_engine(database_url, pool_size=1, name="opsfarm demo")
    query = text(
        "select id, hostname, host(ip_address) as ip_address, type, environment, tags"
        " from assets where hostname = :hostname"
    )
    try:
        with engine.connect() as connection:
            row = connection.execute(query, {"hostname": hostname}).mappings().one_or_none()
    finally:
        engine.dispose()
    return dict(row) if row is not None else None


def find_failures(seen: Seen) -> list[str]:
    """What was promised and is not there, in words; empty when all is."""
    checks: dict[str, Callable[[Seen], bool]] = {
        "the plan did not succeed": lambda s: s.execution["state"] == "succeeded",
        "the created asset is not in the database": _asset_is_there,
        "no mail with this execution's id arrived": lambda s: bool(_mails_of(s)),
        "no webhook with this execution's id arrived": lambda s: bool(_bodies_of(s)),
        "the probe did not see the port that the demo opened": _port_was_seen,
        "the capture holds no packet that the demo sent": _packet_was_seen,
    }
    return [words for words, passed in checks.items() if not passed(seen)]


def _asset_is_there(seen: Seen) -> bool:
    created = seen.output_of("create")
    return seen.asset is not None and seen.asset["id"] == created.get("id")


def _mails_of(seen: Seen) -> list[EmailMessage]:
    return [mail for mail in seen.mails if seen.execution_id in str(mail["Subject"])]


def _bodies_of(seen: Seen) -> list[str]:
    return [body for body in seen.bodies if _execution_in(body) == seen.execution_id]


def _execution_in(body: str) -> str:
    try:
        return str(json.loads(body)["execution"])
    except (ValueError, KeyError, TypeError):
        return ""


def _port_was_seen(seen: Seen) -> bool:
    output = seen.output_of("probe")
    return bool(
        output
        and output["port"] == seen.greeting_port
        and output["state"] == "open"
        and output["banner"] == seen.greeting
    )


def _packet_was_seen(seen: Seen) -> bool:
    """In the capture's text form tcpdump writes the port behind the address: 127.0.0.1.PORT."""
    return bool(seen.why_no_capture) or f"127.0.0.1.{seen.packet_port}" in str(
        seen.output_of("packets")
    )


def show(
    seen: Seen, farm: FarmFile | None, times: Mapping[str, float], failures: Sequence[str]
) -> None:
    """Everything that arrived, where to look further in a farm that stays, what is missing."""
    _title(f"Plan {seen.execution['state']}: execution {seen.execution_id}")
    print_table(
        ["step", "state", "what it says"],
        [[step["id"], step["state"], step["summary"]] for step in seen.execution["steps"]],
    )
    _title("What arrived")
    for line in _arrivals(seen):
        click.echo(f"  {line}")
    if farm is not None:
        _title("Where to look")
        for line in _directions(seen, farm):
            click.echo(f"  {line}")
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items())
    click.echo(f"\nTook: {spent}")
    for failure in failures:
        click.echo(f"FAILED: {failure}")


def _title(words: str) -> None:
    click.echo(f"\n{words}")


def _arrivals(seen: Seen) -> list[str]:
    asset = json.dumps(seen.asset, default=str) if seen.asset else "none"
    probe = seen.output_of("probe")
    lines = [f"asset, by SQL    {asset}"]
    lines += [f"mail             to {mail['To']}: {mail['Subject']}" for mail in _mails_of(seen)]
    lines += [f"webhook          {body}" for body in _bodies_of(seen)]
    if probe:
        lines.append(
            f"port             {probe['port']} is {probe['state']} and says {probe['banner']!r}"
        )
    if seen.why_no_capture:
        lines.append(f"packets          not captured: {seen.why_no_capture}")
    else:
        packets = str(seen.output_of("packets")).strip().splitlines()
        lines += [f"packet           {line}" for line in packets]
    return lines


def _directions(seen: Seen, farm: FarmFile) -> list[str]:
    ports = ", ".join(f"{name} {port}" for name, port in farm.ports.items())
    return [
        f"API               {farm.api_url}/openapi.json  (see docs/http-api.md)",
        f"Flower            {farm.flower_url}",
        f"ports             {ports}",
        f"this execution    .venv/bin/opsfarm executions show {seen.execution_id[:13]}",
        "a tool            .venv/bin/opsfarm run df",
        "the farm          .venv/bin/opsfarm status | logs | down",
    ]

"""nmap's XML (`nmap -oX -`), read element by element: a scan that was cut short still counts."""

from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element
from xml.etree.ElementTree import ParseError as XmlError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from tasks.parsers.base import ParseError, cut
from tool_catalog.model import Output

_SERVICE = {"service": "name", "product": "product", "version": "version"}


def parse_nmap(text: str, output: Output) -> dict[str, Any]:  # noqa: ARG001  # fixed shape
    """`{hosts: [{address, mac, hostname, state, ports: [...]}], up, down, total, complete}`.

    A port is `{port, protocol, state, service, product, version}`. `complete` is False where the
    XML ends early; then the totals are counted.
    """
    hosts: list[dict[str, Any]] = []
    totals: dict[str, Any] = {}
    try:
        for _, element in iterparse(BytesIO(text.encode())):
            if element.tag == "host":
                hosts.append(_host(element))
                element.clear()
            elif element.tag == "runstats":
                totals = _totals(element)
    except DefusedXmlException as error:
        raise ParseError(f"this XML is not nmap's ({error}): {cut(text)}") from None
    except XmlError as error:
        if "<nmaprun" not in text:
            raise ParseError(f"this is not XML ({error}): {cut(text)}") from None
    if not totals:
        up = sum(host["state"] == "up" for host in hosts)
        totals = {"up": up, "down": len(hosts) - up, "total": len(hosts), "complete": False}
    return {"hosts": hosts, **totals}


def _totals(runstats: Element) -> dict[str, Any]:
    finished, counted = runstats.find("finished"), runstats.find("hosts")
    if finished is not None and finished.get("exit") == "error":
        raise ParseError(f"nmap stopped: {cut(finished.get('errormsg') or 'no reason given')}")
    counts = {} if counted is None else counted.attrib
    numbers = {name: int(counts.get(name, 0)) for name in ("up", "down", "total")}
    return {**numbers, "complete": True}


def _host(host: Element) -> dict[str, Any]:
    addresses = {a.get("addrtype"): a.get("addr") for a in host.iterfind("address")}
    status, name = host.find("status"), host.find("hostnames/hostname")
    return {
        "address": addresses.get("ipv4") or addresses.get("ipv6"),
        "mac": addresses.get("mac"),
        "hostname": None if name is None else name.get("name"),
        "state": "unknown" if status is None else status.get("state"),
        "ports": [_port(port) for port in host.iterfind("ports/port")],
    }


def _port(port: Element) -> dict[str, Any]:
    state, service = port.find("state"), port.find("service")
    told = {} if service is None else service.attrib
    return {
        "port": int(port.get("portid", 0)),
        "protocol": port.get("protocol"),
        "state": None if state is None else state.get("state"),
        **{field: told.get(name) for field, name in _SERVICE.items()},
    }

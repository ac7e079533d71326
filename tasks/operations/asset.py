"""The five asset tools: each is one function over the transaction that finishes its step."""

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from app.asset import OBJECT_FIELDS
from app.errors import Conflict, NotFound, StepError, UserError
from app.selector_text import SelectorError
from app.step import State, StepResult
from app.store.inventory import (
    create_asset,
    delete_asset,
    list_assets,
    update_asset,
)
from tool_catalog.model import Reason

_DEFAULT_LIMIT = 100
_FIELDS = ("ip_address", "type", "status", "environment", "criticality", "os", *OBJECT_FIELDS)
_FILTERS = ("type", "status", "environment", "criticality", "os", "tags")


def create(session: Session, parameters: Mapping[str, Any]) -> StepResult:
    """Add an asset; a taken host name is a conflict and nothing is written."""
    with _step_errors():
        asset = create_asset(session, _pick(parameters, ("hostname", *_FIELDS)))
    return _done(f"created asset {asset['id']} {asset['hostname']}", asset, changed=True)


def query(session: Session, parameters: Mapping[str, Any]) -> StepResult:
    """Find assets; one that is named (id, host name or single address) must exist."""
    where = _pick(parameters, ("id", "hostname", *_FILTERS))
    if "ip" in parameters:
        where["ip_address"] = _plain_address(parameters["ip"])
    limit = int(parameters.get("limit", _DEFAULT_LIMIT))
    with _step_errors():
        page = list_assets(session, where, words=parameters.get("text"), limit=limit)
    named = [f"{key} {where[key]}" for key in ("id", "hostname") if key in where]
    if "ip_address" in where and "/" not in where["ip_address"]:
        named.append(f"address {where['ip_address']}")
    if named and not page.assets:
        raise StepError(Reason.NOT_FOUND, f"no asset with {' and '.join(named)}{_beside(where)}")
    output = {"assets": page.assets, "count": len(page.assets), "total": page.total}
    return _done(_count(len(page.assets), page.total), output, changed=False)


def list_all(session: Session, parameters: Mapping[str, Any]) -> StepResult:
    """One page of the assets that fit, ordered by id, and how many there are."""
    limit = int(parameters.get("limit", _DEFAULT_LIMIT))
    offset = int(parameters.get("offset", 0))
    with _step_errors():
        page = list_assets(session, _pick(parameters, _FILTERS), limit=limit, offset=offset)
    output = {"assets": page.assets, "count": len(page.assets), "total": page.total}
    output |= {"limit": limit, "offset": offset}
    return _done(_count(len(page.assets), page.total), output, changed=False)


def update(session: Session, parameters: Mapping[str, Any]) -> StepResult:
    """Change only what was given; what moved is told with before and after."""
    values = _pick(parameters, _FIELDS)
    if "new_hostname" in parameters:
        values["hostname"] = parameters["new_hostname"]
    cleared = set(parameters.get("clear", ()))
    if both := sorted(cleared & values.keys()):
        raise StepError(Reason.INVALID_PARAMETER, f"{both[0]} is both given and cleared")
    if not values and not cleared:
        raise StepError(Reason.INVALID_PARAMETER, "nothing to change: give a field, or clear one")
    values |= {name: {} if name in OBJECT_FIELDS else None for name in cleared}
    replaced = {
        name for name in ("tags", "metadata") if parameters.get(f"{name}_mode") == "replace"
    }
    with _step_errors():
        asset, moved = update_asset(
            session, _name(parameters), values, replace=frozenset(replaced | cleared)
        )
    fields = ", ".join(sorted(moved)) or "nothing: it was so already"
    summary = f"changed asset {asset['id']} {asset['hostname']}: {fields}"
    return _done(summary, {"asset": asset, "changes": moved}, changed=bool(moved))


def delete(session: Session, parameters: Mapping[str, Any]) -> StepResult:
    """Remove an asset with its credentials; what it was is the output."""
    if parameters.get("confirm") is not True:
        raise StepError(Reason.INVALID_PARAMETER, "deleting needs confirm: true")
    with _step_errors():
        asset = delete_asset(session, _name(parameters))
    return _done(f"deleted asset {asset['id']} {asset['hostname']}", asset, changed=True)


def _pick(parameters: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: parameters[name] for name in names if parameters.get(name) is not None}


def _name(parameters: Mapping[str, Any]) -> str:
    given = [parameters[key] for key in ("id", "hostname") if parameters.get(key) is not None]
    if len(given) != 1:
        raise StepError(Reason.INVALID_PARAMETER, "name the asset by exactly one of id, hostname")
    return str(given[0])


def _plain_address(text: str) -> str:
    """A network of one as its address: it names one asset."""
    network = ipaddress.ip_network(text)
    return str(network.network_address if network.num_addresses == 1 else network)


def _beside(where: Mapping[str, Any]) -> str:
    others = sorted(where.keys() - {"id", "hostname", "ip_address"})
    return f" and the {', '.join(others)} asked for" if others else ""


def _count(shown: int, total: int) -> str:
    assets = "1 asset" if total == 1 else f"{total} assets"
    return assets if shown == total else f"{shown} of {assets}"


def _done(summary: str, output: Mapping[str, Any], *, changed: bool) -> StepResult:
    return StepResult(State.SUCCEEDED, summary, output=output, changed=changed)


@contextmanager
def _step_errors() -> Iterator[None]:
    """The inventory's errors as reasons of a failed step."""
    try:
        yield
    except NotFound as error:
        raise StepError(Reason.NOT_FOUND, _words(error)) from None
    except Conflict as error:
        raise StepError(Reason.CONFLICT, _words(error)) from None
    except (UserError, SelectorError) as error:
        raise StepError(Reason.INVALID_PARAMETER, str(error)) from None


def _words(error: UserError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message

"""The inventory as a whole: files of assets come in, words for a shell's completion go out."""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Operator, PartsOfFarm, Viewer
from app.approval_policy import ApprovalRule, find_plain_need
from app.asset import RESERVED_NAMES, check_values, normalise_hostname
from app.errors import Fault, Forbidden, Malformed
from app.imports.difference import Difference
from app.imports.findings import MAX_ASSETS
from app.store.inventory_import import compare_assets, import_assets
from app.store.inventory_words import read_words
from tool_catalog.model import Effect

router = APIRouter(prefix="/assets", tags=["assets"])

#: What a body may have here: 10,000 assets with everything that is known of them.
MAX_IMPORT_BYTES = 16 * 1024 * 1024
MAX_WORDS = 1000
#: Assets that a refusal names.
_NAMED = 3


class AssetIn(BaseModel):
    """An asset, by its host name, with the fields that are to be compared."""

    model_config = ConfigDict(extra="forbid")

    hostname: str
    fields: dict[str, Any] = {}


class ImportIn(BaseModel):
    """Assets of one file; without `apply` only the difference is told."""

    model_config = ConfigDict(extra="forbid")

    assets: list[AssetIn] = Field(min_length=1, max_length=MAX_ASSETS)
    #: Tags that begin so, and that the file does not give an asset, are taken away from it.
    owned_tags: str | None = Field(default=None, min_length=1, max_length=64)
    apply: bool = False


@router.post("/import", status_code=HTTPStatus.OK)
def import_file(given: ImportIn, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """What the file would change, asset by asset; with `apply` it is changed, all or nothing."""
    drafts = _check_drafts(given.assets)
    asked = (parts.engine, principal, drafts, given.owned_tags)
    permit = partial(_permit, rules=parts.rules.policy.approval)
    found = import_assets(*asked, permit) if given.apply else compare_assets(*asked)
    return found.as_json() | {"applied": given.apply}


@router.get("/words")
def list_words(
    principal: Viewer,
    parts: PartsOfFarm,
    prefix: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_WORDS)] = 200,
) -> dict[str, Any]:
    """Host names that begin with `prefix`, and the values of fields and tags in use."""
    return read_words(parts.engine, principal.tenant, prefix, limit)


def _permit(found: Difference, rules: Sequence[ApprovalRule]) -> None:
    """Refuse what the policy wants somebody's yes for where a step does it; raises Forbidden."""
    for tool, names in (("asset-create", found.new), ("asset-update", found.changed)):
        if names and find_plain_need(tool, Effect.CHANGE, rules) is not None:
            raise Forbidden(
                f"{tool} needs an approval here, and an import waits for none: "
                + ", ".join([*list(names)[:_NAMED], *(["..."] if len(names) > _NAMED else [])]),
                hint=f"submit steps of {tool}, or leave these out of the file",
            )


def _check_drafts(given: list[AssetIn]) -> dict[str, dict[str, Any]]:
    """Host name to fields in their one spelling; raises Malformed with every fault."""
    drafts: dict[str, dict[str, Any]] = {}
    faults = []
    for place, asset in enumerate(given):
        try:
            hostname = _free_name(asset, drafts)
            drafts[hostname] = check_values(asset.fields)
        except ValueError as error:
            path = f"assets[{place}]"
            faults.append(Fault(path=path, code="bad_value", message=str(error)))
    if faults:
        raise Malformed("the assets cannot be taken in", faults=faults)
    return drafts


def _free_name(asset: AssetIn, drafts: Mapping[str, Any]) -> str:
    """The asset's host name; ValueError where it cannot be one, or is taken."""
    hostname = normalise_hostname(asset.hostname)
    if hostname in RESERVED_NAMES:
        raise ValueError(f"{hostname} means the worker's own host; choose another name")
    if hostname in drafts:
        raise ValueError(f"{hostname} stands here twice")
    if "hostname" in asset.fields:
        raise ValueError(f"{hostname}: an import gives no asset another name")
    return hostname

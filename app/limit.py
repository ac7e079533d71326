"""The limit of a plan: a selector outside of which no step acts (pure)."""

from app.faults import Faults
from app.selector import parse_selector
from app.selector_text import SelectorError
from app.surroundings import Limit, Surroundings


def find_limit(text: str | None, surroundings: Surroundings, faults: Faults) -> Limit | None:
    """The assets that a limit means; None for no limit, or after noting a fault at `limit`."""
    if text is None:
        return None
    try:
        selection = surroundings.select(parse_selector(text))
    except SelectorError as error:
        faults.add("limit", "bad_selector", str(error), given=text, hint="--limit web-01,web-02")
        return None
    hint = "'opsfarm assets list' shows them"
    for name in selection.unknown:
        message = f"the limit names no asset {name!r} of the inventory"
        faults.add("limit", "unknown_asset", message, given=name, hint=hint)
    if selection.unknown:
        return None
    if not selection.targets:
        faults.add("limit", "no_targets", "the limit matches no asset", given=text, hint=hint)
        return None
    ids = frozenset(target.asset_id for target in selection.targets if target.asset_id is not None)
    return Limit(text, ids)

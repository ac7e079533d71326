"""Which assets the names of a selector stand for, and which names stand for none."""

from collections.abc import Iterable, Iterator

from app.selector import Selector
from app.step import LOCAL
from app.store.models import Asset


def all_names(selector: Selector) -> Iterator[str]:
    """Every name in a selector, also those that it leaves out."""
    yield from selector.names
    for part in (*selector.any_of, *selector.exclude):
        yield from all_names(part)


def means_local(selector: Selector) -> bool:
    """Whether the worker's own host is meant."""
    named = LOCAL.name in selector.names or any(map(means_local, selector.any_of))
    return named and not any(LOCAL.name in part.names for part in selector.exclude)


def _fits_name(asset: Asset, name: str) -> bool:
    return name in {str(asset.id), asset.ip_address, asset.hostname}


def unknown_names(names: Iterable[str], assets: list[Asset]) -> Iterator[str]:
    """Names without an asset, and addresses that several share."""
    for name in names:
        fitting = [asset.hostname for asset in assets if _fits_name(asset, name)]
        if len(fitting) > 1:
            yield f"{name} ({', '.join(fitting)})"
        elif not fitting and name != LOCAL.name:
            yield name


def in_order(assets: list[Asset], names: list[str]) -> list[Asset]:
    """Assets as named, then the others by host name."""
    places = {name: place for place, name in reversed(list(enumerate(names)))}

    def place(asset: Asset) -> tuple[int, str]:
        keys = (str(asset.id), asset.ip_address or "", asset.hostname)
        return min(places.get(key, len(names)) for key in keys), asset.hostname

    return sorted(assets, key=place)

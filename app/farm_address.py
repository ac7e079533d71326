"""Finding the farm: its address and a key, from arguments, the environment or a state folder."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.config import PROJECT, Settings, read_settings
from app.errors import FarmUnreachable, Unauthenticated

FARM_FILE = "farm.json"
KEY_FILE = "admin.key"
_KEY_HINT = "set OPSFARM_API_KEY; 'opsfarm principals add NAME' makes a key"
_NO_FARM = "no farm is running here; start one with 'opsfarm up'"


@dataclass(frozen=True, slots=True)
class FarmAddress:
    """Where a farm listens and the key to show it; the key is not part of the repr."""

    url: str
    key: str = field(repr=False)


def find_farm(
    url: str | None = None, key: str | None = None, state_dir: Path | None = None
) -> FarmAddress:
    """Arguments first, then OPSFARM_API_URL and _API_KEY(_FILE), then the nearest state folder.

    Raises FarmUnreachable when there is no farm, Unauthenticated when there is no key.
    """
    settings = read_settings()
    url = url or (None if state_dir else settings.api_url)
    key = key or settings.api_key.get_secret_value()
    if not key and settings.api_key_file is not None:
        key = _read_key_file(settings.api_key_file)
    if url and key:
        return FarmAddress(url.rstrip("/"), key)
    folder = find_state_folder(settings, state_dir)
    if folder is None and not url:
        raise FarmUnreachable(_NO_FARM)
    found_url = url or _read_url(folder)
    return FarmAddress(found_url.rstrip("/"), key or _read_key(folder))


def find_state_folder(settings: Settings, state_dir: Path | None = None) -> Path | None:
    """The folder of a farm that was started: the named one, else searched upwards, else ours."""
    return next((folder for folder in _folders(settings, state_dir) if _is_farm(folder)), None)


def _folders(settings: Settings, state_dir: Path | None) -> Iterator[Path]:
    if state_dir is not None:
        yield state_dir
        return
    if "state_dir" in settings.model_fields_set:
        yield settings.state_dir
        return
    here = Path.cwd()
    for parent in (here, *here.parents, PROJECT):
        yield parent / settings.state_dir


def _is_farm(folder: Path) -> bool:
    return os.access(folder / FARM_FILE, os.R_OK)


def _read_url(folder: Path | None) -> str:
    if folder is None:
        raise FarmUnreachable(_NO_FARM)
    try:
        farm = json.loads((folder / FARM_FILE).read_text())
        return str(farm["api_url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FarmUnreachable(
            f"{folder / FARM_FILE} cannot be read ({type(error).__name__}); "
            "'opsfarm up' writes it anew"
        ) from error


def _read_key(folder: Path | None) -> str:
    if folder is None:
        raise Unauthenticated("no API key for this farm", hint=_KEY_HINT)
    return _read_key_file(folder / KEY_FILE)


def _read_key_file(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Unauthenticated(
            f"the farm's key in {path} cannot be read: {error.strerror}", hint=_KEY_HINT
        ) from error

"""What a file would change in the inventory, asset by asset and field by field (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.asset import OBJECT_FIELDS

#: What says that something was not there, or will not be.
ABSENT = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Between drafts and the assets that there are."""

    #: Host name to fields.
    new: Mapping[str, Mapping[str, Any]]
    #: Host name to {"connection.port": {"before": 22, "after": 2222}}.
    changed: Mapping[str, Mapping[str, Mapping[str, Any]]]
    unchanged: Sequence[str]
    #: In the inventory only: an import leaves them alone.
    not_in_file: Sequence[str]

    def patches(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each changed asset with what must be merged into it (RFC 7396: null removes)."""
        for hostname, changes in self.changed.items():
            patch: dict[str, Any] = {}
            for path, change in changes.items():
                field, _, member = path.partition(".")
                if member:
                    merged = _merge_patch(change["before"], change["after"])
                    patch.setdefault(field, {})[member] = merged
                else:
                    patch[field] = change["after"]
            yield hostname, patch

    def as_json(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "new": {name: dict(fields) for name, fields in self.new.items()},
            "changed": {name: dict(changes) for name, changes in self.changed.items()},
            "unchanged": list(self.unchanged),
            "not_in_file": list(self.not_in_file),
        }


def _merge_patch(before: Any, after: Any) -> Any:  # noqa: ANN401  # any JSON value
    """What turns `before` into `after` when it is merged in: members that go become null."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    gone = dict.fromkeys(before.keys() - after.keys())
    return gone | {name: _merge_patch(before.get(name), value) for name, value in after.items()}


def compare(
    drafts: Mapping[str, Mapping[str, Any]],
    assets: Mapping[str, Mapping[str, Any]],
    owned_tags: str | None = None,
) -> Difference:
    """Host names to fields, against host names to assets as the inventory gives them.

    What a draft does not speak of stays; but tags that begin with `owned_tags` and that the
    draft has not are taken away.
    """
    changed: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    unchanged: list[str] = []
    for hostname, fields in drafts.items():
        if hostname in assets:
            changes = dict(_changes(fields, assets[hostname], owned_tags))
            if changes:
                changed[hostname] = changes
            else:
                unchanged.append(hostname)
    return Difference(
        new={name: fields for name, fields in drafts.items() if name not in assets},
        changed=changed,
        unchanged=unchanged,
        not_in_file=sorted(assets.keys() - drafts.keys()),
    )


def _changes(
    fields: Mapping[str, Any], asset: Mapping[str, Any], owned_tags: str | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, after in _members(fields):
        before = _find(asset, path)
        if before != after or type(before) is not type(after):
            yield path, {"before": before, "after": after}
    tags = fields.get("tags", {})
    for name, before in asset["tags"].items() if owned_tags else ():
        if name.startswith(str(owned_tags)) and name not in tags:
            yield f"tags.{name}", {"before": before, "after": ABSENT}


def _members(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Plain fields, and each member of those that hold an object."""
    for name, value in fields.items():
        if name in OBJECT_FIELDS:
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _find(asset: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401  # any JSON value
    field, _, member = path.partition(".")
    return asset[field].get(member) if member else asset.get(field)

"""Words that the inventory knows, for whoever completes a half-typed one."""

from typing import Any

from sqlalchemy import Engine, func, select, true

from app.store.db import guard_unavailable, make_sessions
from app.store.models import Asset

#: Fields whose values are a site's own, and few.
_FIELDS = {"environment": Asset.environment, "os": Asset.os}


def read_words(engine: Engine, tenant: str, prefix: str, limit: int) -> dict[str, Any]:
    """{hostnames: [...], fields: {environment: [...]}, tags: {role: [...]}}, each list limited."""
    mine = Asset.tenant == tenant
    names = select(Asset.hostname).where(mine, Asset.hostname.startswith(prefix, autoescape=True))
    tag = func.jsonb_each_text(Asset.tags).table_valued("key", "value").lateral("tag")
    pairs = select(tag.c.key, tag.c.value).select_from(Asset).join(tag, true()).where(mine)
    tags: dict[str, list[str]] = {}
    with guard_unavailable(), make_sessions(engine)() as session:
        for key, value in session.execute(pairs.distinct().order_by("key", "value").limit(limit)):
            tags.setdefault(key, []).append(value)
        fields = {
            name: list(
                session.scalars(
                    select(column).where(mine, column.is_not(None)).distinct().limit(limit)
                )
            )
            for name, column in _FIELDS.items()
        }
        hostnames = list(session.scalars(names.order_by(Asset.hostname).limit(limit)))
    return {"hostnames": hostnames, "fields": fields, "tags": tags}

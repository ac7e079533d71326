"""Asking: what of some checked steps needs a yes, bound to what there is now."""

from collections.abc import Sequence

from app.approvals import asking_assets, bind_steps, make_ask
from app.parts import Parts
from app.plan import Ask, CheckedStep


def ask_for(
    steps: Sequence[CheckedStep], wish_s: float | None, tenant: str, parts: Parts
) -> tuple[tuple[CheckedStep, ...], Ask | None]:
    """The steps bound to their tools' files and their credentials, and one question for them all.

    `wish_s` is how long the plan wants it to stay open; never longer than the farm says.
    """
    assets = asking_assets(steps)
    logins = parts.vault.logins(tenant, assets) if assets else {}
    most_s = parts.rules.approval_timeout_s
    bound = bind_steps(steps, parts.catalog, logins)
    open_s = most_s if wish_s is None else min(wish_s, most_s)
    return bound, make_ask(bound, parts.catalog, logins, open_s)

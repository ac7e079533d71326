"""Checks, before a step runs, that its targets' logins can be whom it runs as (pure)."""

from collections.abc import Sequence

from app.errors import StepError
from app.privilege import find_user
from app.step import Target
from app.surroundings import Draft, Scene

_NAMED = 3


def check_logins(draft: Draft, targets: Sequence[Target], scene: Scene) -> None:
    """Note a fault where there is no way to become the step's user; one for each kind of it."""
    run_as = draft.step.run_as
    if not targets or (run_as is None and draft.operation.root != "needed"):
        return
    logins = scene.logins([target.asset_id for target in targets if target.asset_id is not None])
    refused: dict[str, list[str]] = {}
    for target in targets:
        login = None if target.asset_id is None else logins.get(target.asset_id)
        try:
            find_user(draft.operation, run_as, target, login)
        except StepError as error:
            refused.setdefault(error.message.replace(target.name, "{}"), []).append(target.name)
    for message, names in refused.items():
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        draft.faults.add(
            "operation" if run_as is None else "run_as",
            "no_privilege",
            message.replace("{}", shown, 1),
            **({} if run_as is None else {"given": run_as}),
            hint="see 'opsfarm credentials list'; 'opsfarm assets test' tries it out",
        )

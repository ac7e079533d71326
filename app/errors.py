"""Every error that opsfarm raises on purpose.

OpsfarmError
├── UserError                 the caller can mend it; has an HTTP status and a hint
│   ├── PlanRejected          faults of a plan, every one at once            (422)
│   ├── Malformed             the request itself cannot be read              (400)
│   ├── Unauthenticated       no key, or one that is not known               (401)
│   ├── Forbidden             a known principal without the right            (403)
│   ├── NotFound              no such execution, tool, asset, ...            (404)
│   ├── Conflict              the present state does not allow it            (409)
│   └── TooLarge              a request body beyond the limit                (413)
├── Unavailable               the ledger cannot be reached                   (503)
├── FarmUnreachable           (client) no farm answers
├── ConfigError               a setting that cannot work
├── ExpressionError           an expression that cannot be read or rendered
├── CannotUndo                a finished step that nothing reverses
├── SealBroken                a stored secret was altered, or its key is not here
└── StepError                 (worker) a step ends failed, with a Reason
    └── Stopped               (worker) a step was stopped on request
tool_catalog.model.CatalogError stands beside it: the catalogue knows nothing of the app.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from tool_catalog.model import Reason


class OpsfarmError(Exception):
    """The root of the tree."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what a caller handed in.

    `path` is a JSON path ("steps[2].parameters.depth"), `step` the 1-based
    position with its tool ("3 (df)"), `given` already cut and masked.
    """

    path: str
    code: str
    message: str
    step: str | None = None
    given: str | None = None
    allowed: str | None = None
    hint: str | None = None
    line: int | None = None
    column: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The wire shape; absent members are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class UserError(OpsfarmError):
    """The caller can mend it. The text says what to do next."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class PlanRejected(UserError):
    """A plan with faults; nothing of it was accepted.

    `plan` names the stored version whose text the faults' lines are in ("nightly@3").
    """

    status = 422
    code = "plan_rejected"

    def __init__(self, faults: Sequence[Fault], plan: str | None = None) -> None:
        count = len(faults)
        name = f"the plan {plan}" if plan else "the plan"
        super().__init__(f"{name} has {count} fault{'s' if count != 1 else ''}")
        self.faults = tuple(faults)
        self.plan = plan


class Malformed(UserError):
    """A request that cannot be read at all."""

    code = "malformed"

    def __init__(
        self, message: str, *, hint: str | None = None, faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.faults = tuple(faults)


class Unauthenticated(UserError):
    """No API key, or one that is not known or was revoked."""

    status = 401
    code = "unauthenticated"


class Forbidden(UserError):
    """A known principal that lacks the right."""

    status = 403
    code = "forbidden"


class NotFound(UserError):
    """Something named does not exist (for this tenant)."""

    status = 404
    code = "not_found"


class Conflict(UserError):
    """The present state does not allow it; the text names that state."""

    status = 409
    code = "conflict"


class TooLarge(UserError):
    """A request body beyond the limit."""

    status = 413
    code = "too_large"


class Unavailable(OpsfarmError):
    """The ledger cannot be reached: nothing was written."""


class FarmUnreachable(OpsfarmError):
    """No farm answers at the address; the text says how to start one."""


class ConfigError(OpsfarmError):
    """A setting that cannot work; the text names it."""


class SealBroken(OpsfarmError):
    """A stored secret that was altered, or was sealed with a key that is not here."""


class ExpressionError(OpsfarmError):
    """An expression that cannot be read or rendered; becomes a fault or a step's reason."""


class CannotUndo(OpsfarmError):
    """A finished step that declares no undo, or whose undo cannot be worked out."""


class StepError(OpsfarmError):
    """A step ends failed. Raised by runners and operations, kept in the ledger as a reason.

    `transient` says that trying again may help; `sent` that the effect may have happened
    (so the outcome is unknown, not failed).
    """

    def __init__(
        self, reason: Reason, message: str, *, transient: bool = False, sent: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.transient = transient
        self.sent = sent


class Stopped(StepError):
    """A step was stopped on request; `verified` says that its end was checked."""

    def __init__(self, message: str, *, verified: bool) -> None:
        super().__init__(Reason.STOPPED, message)
        self.verified = verified

"""Who asks: a principal and its role."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a principal may do; each includes those before it, but for approver beside operator."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody with an API key."""

    id: int
    name: str
    role: Role
    tenant: str = "default"

    @property
    def may_submit(self) -> bool:
        """Operators and admins run plans."""
        return self.role in {Role.OPERATOR, Role.ADMIN}

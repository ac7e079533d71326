"""Whom an operation runs as on its target, and whether there is a way to be that user (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import StepError
from app.step import Target
from tool_catalog.model import Operation, Reason

ROOT = "root"
#: Connections over which a command can run as another user.
_BECOMING = ("local", "ssh")
#: What useradd takes for a name (shadow-utils); nothing that sudo reads as an option or a number.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


class Login(Protocol):
    """What of a credential is not secret."""

    @property
    def name(self) -> str:
        """The credential's own name."""
        ...

    @property
    def username(self) -> str:
        """Who logs in."""
        ...

    @property
    def become(self) -> Mapping[str, Any] | None:
        """{"method": "sudo", "user": whom}; None where there is no way to become anybody."""
        ...


def takes_user(operation: Operation) -> bool:
    """Whether an operation can act as another user: commands can, and Python over SSH."""
    by_ssh = operation.python is not None and operation.needs.connection == "ssh"
    return operation.at == "target" and (operation.argv is not None or by_ssh)


@dataclass(frozen=True, slots=True)
class KnownLogin:
    """A login without its secrets, for who only wants to know what it can do."""

    name: str
    username: str
    become: Mapping[str, Any] | None = None


def show_login(login: Login | None) -> dict[str, Any]:
    """Who logs in, and as whom it may act: {"credential", "user", "become"}, None of no login."""
    if login is None:
        return {"credential": None, "user": None, "become": None}
    become = None if login.become is None else dict(login.become)
    return {"credential": login.name, "user": login.username, "become": become}


def tell_login(shown: Mapping[str, Any]) -> str:
    """A shown login in words: "web-key as deploy, sudo to root"; "none" where there is none."""
    if shown["credential"] is None:
        return "none"
    user = f" as {shown['user']}" if shown.get("user") else ""
    become = shown.get("become")
    way = f", {become['method']} to {become.get('user') or ROOT}" if become else ""
    return f"{shown['credential']}{user}{way}"


def find_user(
    operation: Operation, run_as: str | None, target: Target, login: Login | None
) -> str | None:
    """Whom to become for it: `run_as`, or root where it is needed; None: whoever logs in.

    Raises StepError no_privilege where there is no way. A worker that is not root itself finds
    out on the spot whether it may become somebody on its own host.
    """
    wanted = run_as or (ROOT if operation.root == "needed" else None)
    if wanted is None:
        return None
    if not _USER.fullmatch(wanted):
        raise _refused(f"run_as: {wanted[:80]!r} is no user's name")
    if not takes_user(operation) or target.connection not in _BECOMING:
        if run_as is None:
            return None
        how = target.connection if takes_user(operation) else operation.name
        raise _refused(f"run_as is for commands over ssh or on local, not for {how}")
    if login is not None and login.username == wanted:
        return None
    if login is not None:
        _check_way(login, wanted, target)
    return wanted


def sudo_prefix(user: str, *, asks: bool) -> tuple[str, ...]:
    """What stands before an argv that runs as somebody else; a password comes by stdin."""
    ask = ("-k", "-S", "-p", "") if asks else ("-n",)
    return ("sudo", *ask, "-H", "-u", user, "--")


def _check_way(login: Login, wanted: str, target: Target) -> None:
    if login.become is None:
        raise _refused(
            f"this runs as {wanted}, but credential {login.name} of {target.name} logs in as "
            f"{login.username} and says no way to become another user; enter it again: "
            f"opsfarm credentials add {login.name} --user {login.username} --become sudo"
        )
    most = str(login.become.get("user") or ROOT)
    if most not in {wanted, ROOT}:  # whoever may become root may become anybody
        raise _refused(
            f"this runs as {wanted}, but credential {login.name} of {target.name} "
            f"becomes {most} only"
        )


def _refused(message: str) -> StepError:
    return StepError(Reason.NO_PRIVILEGE, message)

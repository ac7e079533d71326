"""The POSIX side of an SSH run: one quoted command line, found and ended by its marker."""

import shlex
from collections.abc import Mapping

from app.command import Command
from app.errors import StepError
from app.filling import SecretText, reveal
from app.step import Credential, Secret
from tasks.runners.environment import FIXED, MARKER, SEARCH_PATH
from tool_catalog.model import Reason

#: What the remote `timeout` waits beyond our own deadline: it is the backstop, not the rule.
_BACKSTOP_S = 10

_PATH = f"PATH={SEARCH_PATH}"

#: Exit status and words of the wrapper when the program is not there.
MISSING_STATUS = 127
MISSING_WORDS = "opsfarm: program not found"

# $1 marker, $2 seconds, then the program and its arguments. Standard input begins with lines for
# the wrapper: up to "<marker> begin" they are sudo's (a password that nobody asked for must reach
# no program), up to "<marker> end" they are NAME=value of environment that must not be seen in
# `ps`. The wrapper stays, so that a signal's end becomes an exit status; its traps let a stop
# signal reach the program only.
_WRAPPER = f"""
marker=$1 seconds=$2; shift 2
while IFS= read -r line && [ "$line" != "$marker begin" ]; do :; done
while IFS= read -r line && [ "$line" != "$marker end" ]; do export "$line"; done
command -v -- "$1" >/dev/null 2>&1 || {{ echo "{MISSING_WORDS}: $1" >&2; exit {MISSING_STATUS}; }}
trap : INT TERM
if command -v timeout >/dev/null 2>&1; then timeout -k 5 "$seconds" "$@"; else "$@"; fi
exit $?
"""

# Every living process that has the marker in its environment, or is in the session of one that
# has: a child that runs as another user hides its environment, not its session (proc(5)).
_FAMILY = f"""
mark={MARKER}=$1
marked() {{ grep -ls -- "$mark" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }}
fields() {{ {{ read -r line < "/proc/$1/stat"; }} 2>/dev/null && set -- ${{line##*) }} \\
  && state=$1 parent=$2 session=$4; }}
sessions=
for pid in $(marked); do fields "$pid" && sessions="$sessions $session "; done
family() {{
  for stat in /proc/[0-9]*/stat; do
    pid=${{stat#/proc/}}; pid=${{pid%/stat}}
    fields "$pid" || continue
    [ "$state" = Z ] && continue
    case "$sessions" in *" $session "*) echo "$pid"; continue;; esac
  done
  marked
}}
"""

#: Its last line is "gone", "left: <pids>", or "blind" where this host shows no environment.
_STOP = (
    _FAMILY
    + f"""
{MARKER}_LOOK=$1 grep -qs -- "{MARKER}_LOOK=$1" /proc/self/environ || blind=1
for signal in TERM KILL; do
  left=$(family); [ -n "$left" ] && kill -"$signal" $left 2>/dev/null
  tries=0
  while [ -n "$(family)" ] && [ "$tries" -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done
done
left=$(family | sort -un | tr '\\n' ' ')
[ -n "$left" ] && end="left: $left"
[ -n "$blind" ] && end=blind
echo "${{end:-gone}}"
"""
)

#: Sends $2 to the wrapper's own child (`timeout` hands it on, once): the marked process whose
#: parent is marked, and whose parent's parent is not.
_SIGNAL = (
    _FAMILY
    + """
all=" $(marked | tr '\\n' ' ') "
for pid in $all; do
  fields "$pid" || continue
  case "$all" in *" $parent "*) ;; *) continue;; esac
  fields "$parent" || continue
  case "$all" in *" $parent "*) ;; *) kill -"$2" "$pid";; esac
done
"""
)


def command_line(command: Command, credential: Credential, marker: str, seconds_left: float) -> str:
    """What the login shell is given: everything of the caller's is quoted once."""
    plain = {
        name: value for name, value in command.env.items() if not isinstance(value, SecretText)
    }
    env = [f"{name}={value}" for name, value in {**FIXED, **plain, MARKER: marker}.items()]
    seconds = str(int(seconds_left) + _BACKSTOP_S)
    wrapper = ["env", *env, "sh", "-c", _WRAPPER, "opsfarm", marker, seconds, *command.argv]
    return _as_user(wrapper, credential)


def stdin_text(command: Command, credential: Credential, marker: str) -> str:
    """Everything that goes to standard input: sudo's line, the wrapper's lines, the command's."""
    hidden = {n: reveal(v) for n, v in command.env.items() if isinstance(v, SecretText)}
    _refuse_newlines(hidden)
    exports = "".join(f"{name}={value}\n" for name, value in hidden.items())
    own = "" if command.stdin is None else reveal(command.stdin)
    return f"{sudo_line(credential)}{marker} begin\n{exports}{marker} end\n{own}"


def stop_line(credential: Credential, marker: str) -> str:
    """What finds and ends the processes of a marker."""
    return _as_user(["env", _PATH, "sh", "-c", _STOP, "opsfarm", marker], credential)


def signal_line(credential: Credential, marker: str, name: str) -> str:
    """What sends one signal to the program of a marker."""
    return _as_user(["env", _PATH, "sh", "-c", _SIGNAL, "opsfarm", marker, name], credential)


def _as_user(argv: list[str], credential: Credential) -> str:
    if credential.become is None:
        # Nothing of the login's own environment but who it is.
        keep = 'HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME"'
        return f"exec env -i {keep} {shlex.join(argv)}"
    user = str(credential.become.get("user", "root"))
    ask = ["-k", "-S", "-p", ""] if _sudo_password(credential) is not None else ["-n"]
    return "exec " + shlex.join(["sudo", *ask, "-H", "-u", user, "--", *argv])


def sudo_line(credential: Credential) -> str:
    """The password for sudo, where it is asked for: standard input begins with it."""
    password = _sudo_password(credential)
    return "" if credential.become is None or password is None else password.reveal() + "\n"


def _sudo_password(credential: Credential) -> Secret | None:
    """Beside a private key `password` is that key's passphrase: no host is ever told it."""
    if credential.become_password is not None or credential.private_key is not None:
        return credential.become_password
    return credential.password


def _refuse_newlines(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if "\n" in value:
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"the secret in {name} has several lines, which cannot travel in an "
                "environment over SSH; use one of a single line, or stdin",
            )

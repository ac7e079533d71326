"""The POSIX side of an SSH run: one quoted command line, found and ended by its marker."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.command import Command
from app.errors import StepError
from app.filling import SecretText, reveal
from app.privilege import sudo_prefix
from app.step import Credential, Secret
from tasks.runners.environment import FIXED, MARKER, SEARCH_PATH
from tool_catalog.model import Reason

#: What the remote `timeout` waits beyond our own deadline: it is the backstop, not the rule.
_BACKSTOP_S = 10

_PATH = f"PATH={SEARCH_PATH}"

#: Exit status and words of the wrapper when the program is not there.
MISSING_STATUS = 127
MISSING_WORDS = "opsfarm: program not found"

_SUDO_REFUSED = re.compile(
    rb"sudo: (a password is required|no password was provided|\d+ incorrect password|unknown user)"
    rb"|is not in the sudoers file|is not allowed to (execute|run sudo)"
)

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

# Who belongs to a marker: every process that has it in its environment, and whoever is in the
# session, or a child, of one that belongs. A child that runs as another user hides its environment
# (proc(5)), one that was given a new environment has none of ours. `known` holds "<pid>:<start>",
# so that the children of those that ended first are still found.
_FAMILY = f"""
mark={MARKER}=$1
marked() {{ grep -ls -- "$mark" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }}
fields() {{ {{ read -r line < "/proc/$1/stat"; }} 2>/dev/null && set -- ${{line##*) }} \\
  && state=$1 parent=$2 session=$4 && shift 9 && start=${{11}}; }}
known=" "
sessions=" "
add() {{ known="$known$pid:$start "; [ "$session" = 0 ] || sessions="$sessions$session "; }}
look() {{
  for pid in $(marked); do
    fields "$pid" || continue
    case "$known" in *" $pid:$start "*) ;; *) add;; esac
  done
  grown=1
  while [ -n "$grown" ]; do
    grown=
    for stat in /proc/[0-9]*/stat; do
      pid=${{stat#/proc/}}; pid=${{pid%/stat}}
      fields "$pid" || continue
      case "$known" in *" $pid:$start "*) continue;; esac
      case "$known" in *" $parent:"*) ;; *)
        case "$sessions" in *" $session "*) ;; *) continue;; esac;; esac
      add
      grown=1
    done
  done
}}
alive() {{
  for each in $known; do
    pid=${{each%:*}}
    fields "$pid" && [ "$start" = "${{each#*:}}" ] && [ "$state" != Z ] && echo "$pid"
  done
}}
"""

#: Its last line is "gone", "left: <pid>(<name>) ...", or "blind" where this host shows no
#: environment.
_STOP = (
    _FAMILY
    + f"""
{MARKER}_LOOK=$1 grep -qs -- "{MARKER}_LOOK=$1" /proc/self/environ || blind=1
for signal in TERM KILL; do
  tries=0
  while look; left=$(alive); [ -n "$left" ] && [ "$tries" -lt 12 ]; do
    [ "$tries" = 0 ] && told=" "
    for pid in $left; do
      case "$told" in *" $pid "*) ;; *) told="$told$pid "; kill -"$signal" "$pid" 2>/dev/null;; esac
    done
    sleep 0.05
    [ "$tries" -gt 3 ] && sleep 0.05
    tries=$((tries + 1))
  done
done
names=
for pid in $left; do
  name=
  {{ read -r name < "/proc/$pid/comm"; }} 2>/dev/null
  names="$names $pid($name)"
done
[ -n "$names" ] && end="left:$names"
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


@dataclass(frozen=True, slots=True)
class Become:
    """Whom to become by sudo, None for nobody else, and the password that sudo is told."""

    user: str | None = None
    password: Secret | None = None

    @property
    def line(self) -> str:
        """What standard input begins with: the password, where sudo asks for one."""
        return "" if self.user is None or self.password is None else self.password.reveal() + "\n"

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The argv that runs another as that user."""
        if self.user is None:
            return list(argv)
        return [*sudo_prefix(self.user, asks=self.password is not None), *argv]

    def command_line(self, argv: Sequence[str]) -> str:
        """What a login shell is given: everything of the caller's is quoted once."""
        if self.user is None:
            # Nothing of the login's own environment but who it is.
            keep = 'HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME"'
            return f"exec env -i {keep} {shlex.join(argv)}"
        return f"exec {shlex.join(self.argv(argv))}"


def become_by(user: str | None, credential: Credential) -> Become:
    """Become a user with what a credential holds."""
    if credential.become_password is not None or credential.private_key is not None:
        # Beside a private key `password` is that key's passphrase: no host is ever told it.
        return Become(user, credential.become_password)
    return Become(user, credential.password)


def wrap(command: Command, marker: str, seconds_left: float) -> list[str]:
    """The argv of a command with its environment, in the wrapper that finds and ends it."""
    plain = {
        name: value for name, value in command.env.items() if not isinstance(value, SecretText)
    }
    env = [f"{name}={value}" for name, value in {**FIXED, **plain, MARKER: marker}.items()]
    seconds = str(int(seconds_left) + _BACKSTOP_S)
    return ["env", *env, "sh", "-c", _WRAPPER, "opsfarm", marker, seconds, *command.argv]


def stdin_text(command: Command, become: Become, marker: str) -> str:
    """Everything that goes to standard input: sudo's line, the wrapper's lines, the command's."""
    hidden = {n: reveal(v) for n, v in command.env.items() if isinstance(v, SecretText)}
    _refuse_newlines(hidden)
    exports = "".join(f"{name}={value}\n" for name, value in hidden.items())
    own = "" if command.stdin is None else reveal(command.stdin)
    return f"{become.line}{marker} begin\n{exports}{marker} end\n{own}"


def stop_argv(marker: str) -> list[str]:
    """What finds and ends the processes of a marker."""
    return ["env", _PATH, "sh", "-c", _STOP, "opsfarm", marker]


def read_stop(said: str) -> str:
    """What may remain, from the last line of `stop_argv`; empty when nothing does."""
    last = said.splitlines()[-1].strip() if said else ""
    if last == "gone":
        return ""
    if last.startswith("left:"):
        return f"there is still {last.removeprefix('left:').strip()}"
    if last == "blind":
        return "the host shows no environment of processes, so nobody could look"
    return "the host did not say that it ended"


def signal_argv(marker: str, name: str) -> list[str]:
    """What sends one signal to the program of a marker."""
    return ["env", _PATH, "sh", "-c", _SIGNAL, "opsfarm", marker, name]


def is_refused(stderr: bytes) -> bool:
    """Whether sudo said that it would not run the command."""
    return _SUDO_REFUSED.search(stderr) is not None


def _refuse_newlines(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if "\n" in value:
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"the secret in {name} has several lines, which cannot travel in an "
                "environment over SSH; use one of a single line, or stdin",
            )

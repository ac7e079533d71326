"""`opsfarm completion`: the script that makes a shell complete commands and names.

The scripts are our own where click's would break a word: bash takes one apart at `=`, fish's loses
what stands behind a comma, and zsh's puts a blank behind `key=`.
"""

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from app.cli.output import examples

_BASH = """\
%(complete_func)s() {
    local type value line="${COMP_LINE:0:COMP_POINT}" piece="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD="$piece" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=@] ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response open opened closed shown
    local type key help
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for type key help in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                [[ $help == _ ]] && help= || help="  -- $help"
                if [[ $key == *[=@] ]]; then
                    open+=("$key") opened+=("$key$help")
                else
                    closed+=("$key") shown+=("$key$help")
                fi ;;
        esac
    done
    (( $#open )) && compadd -U -l -V open -S '' -d opened -a open
    (( $#closed )) && compadd -U -l -V closed -d shown -a closed
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -lx %(complete_var)s fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for completion in (%(prog_name)s 2>/dev/null)
        set -l parts (string split -m 1 "," -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Bash(BashComplete):
    """Goes by the line up to the cursor."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is typed, and that one, as the shell would hand them on."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """What replaces the piece that bash calls the current word: behind the last = or :."""
        typed = self.get_completion_args()[1]
        piece = os.environ["COMP_CWORD"].lstrip("=:")
        kept = typed[: len(typed) - len(piece)] if typed.endswith(piece) else ""
        return f"{item.type},{str(item.value).removeprefix(kept)}"


class Zsh(ZshComplete):
    """Values are taken as they are, whatever their help."""

    source_template = _ZSH

    def format_completion(self, item: CompletionItem) -> str:
        """Three lines for each: type, value, help."""
        help_ = " ".join((item.help or "_").split())
        return f"{item.type}\n{item.value}\n{help_}"


class Fish(FishComplete):
    """A value may hold commas."""

    source_template = _FISH


for _shell, _class in (("bash", Bash), ("zsh", Zsh), ("fish", Fish)):
    add_completion_class(_class, _shell)


@click.command(
    epilog=examples(
        "opsfarm completion bash > ~/.local/share/bash-completion/completions/opsfarm",
        "opsfarm completion zsh > ~/.zfunc/_opsfarm",
        "opsfarm completion fish > ~/.config/fish/completions/opsfarm.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    root = click.get_current_context().find_root()
    kind: type[ShellComplete] | None = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"no completion for {shell}")
    click.echo(kind(root.command, {}, "opsfarm", "_OPSFARM_COMPLETE").source())

"""`opsfarm completion`: the script that makes a shell complete commands and names."""

import click
from click.shell_completion import get_completion_class

from app.cli.output import examples


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
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"no completion for {shell}")
    click.echo(kind(root.command, {}, "opsfarm", "_OPSFARM_COMPLETE").source())

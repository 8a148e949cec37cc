"""`bongsu completion`: the script by which a shell completes bongsu's commands, options and names."""

import click

from bongsu.cli.lazy import COMPLETE_ENV

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "bongsu"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes commands, options, and the names of the data folder: sites, units,
    nodes, boards, profiles, ports.

    \b
    Examples:
      bongsu completion bash > ~/.local/share/bash-completion/completions/bongsu
      bongsu completion zsh > ~/.zfunc/_bongsu       (with ~/.zfunc in fpath, before compinit)
      bongsu completion fish > ~/.config/fish/completions/bongsu.fish
    """
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None
    root = click.get_current_context().find_root().command
    click.echo(maker(root, {}, PROGRAM, COMPLETE_ENV).source())

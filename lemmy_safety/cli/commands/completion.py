"""``lemmy-safety completion``: the script that makes a shell complete our options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash  lemmy-safety completion bash > ~/.local/share/bash-completion/completions/lemmy-safety
    zsh   lemmy-safety completion zsh > "${fpath[1]}/_lemmy-safety"
    fish  lemmy-safety completion fish > ~/.config/fish/completions/lemmy-safety.fish
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this command needs it

    maker = get_completion_class(shell)
    if maker is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    script = maker(ctx.find_root().command, {}, "lemmy-safety", "_LEMMY_SAFETY_COMPLETE")
    # source() would start the shell to ask for its version; the template alone is the same text.
    click.echo(script.source_template % script.source_vars())

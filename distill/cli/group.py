"""The list of commands: in the order of work, under headings, and the nearest one for a name that
is mistyped."""

import difflib
from collections.abc import Mapping, Sequence

import click

_NEAREST = 0.6
"""Least similarity, from 0 to 1, of a name that is suggested."""


class CommandGroup(click.Group):
    """A group of commands that lists them by `headings`, each with the names of its commands in the
    order in which they are used."""

    headings: Mapping[str, Sequence[str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands as the help shows them: heading by heading, then those under none."""
        listed = [name for names in self.headings.values() for name in names]
        return listed + [name for name in self.commands if name not in listed]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading with its commands. The first sentence of each is written whole, over
        several lines where it is long."""
        for heading, names in self.headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name, _read_purpose(self.commands[name])) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is refused with the nearest known ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as fault:
            near = _find_nearest(args[0], self.list_commands(ctx))
            if not near:
                raise
            named = " or ".join(map(repr, near))
            raise click.UsageError(f"{fault.message} Did you mean {named}?", ctx) from fault


def _read_purpose(command: click.Command) -> str:
    return command.get_short_help_str(limit=1000)


def _find_nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the commands whose name, or one of whose words, is most like a mistyped one:
    `train-judge` and `train-student` for `trian`."""
    words: dict[str, list[str]] = {command: [command] for command in known}
    for command in known:
        for word in command.split("-"):
            if command not in words.setdefault(word, []):
                words[word].append(command)
    near = difflib.get_close_matches(name.lower(), words, n=1, cutoff=_NEAREST)
    return words[near[0]] if near else []

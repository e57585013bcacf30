"""`--quiet` and `--verbose`, which every command takes, and what the terminal shows of the log."""

import logging
import sys
from typing import TextIO

import click

from distill.runtime.progress import show_progress
from distill.runtime.run_log import show_in_terminal


class Verbosity:
    """The amount that this process prints; set once by the command line."""

    verbose = False


class _TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the moment, which is above progress' live line while it shows."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure_logging() -> None:
    """Show distill's own messages as plain lines on stderr, and warnings alone of the libraries.
    The run's log file gets everything, whatever is shown."""
    handler = _TerminalHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(show_in_terminal)
    handler.set_name("terminal")
    handler.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    logging.getLogger("distill").setLevel(logging.DEBUG)


def add_verbosity_options(command: click.Command) -> None:
    """Add `--quiet` and `--verbose` to a command."""
    command.params += [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Show no progress and no messages but warnings, errors and the result.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_set_verbose,
            help="Show details, the libraries' messages, and where in the code an error arose.",
        ),
    ]


def _set_quiet(context: click.Context, option: click.Parameter, chosen: bool) -> None:
    if chosen:
        show_progress(quiet=True)
        _show_from(logging.WARNING)


def _set_verbose(context: click.Context, option: click.Parameter, chosen: bool) -> None:
    if chosen:
        Verbosity.verbose = True
        logging.getLogger().setLevel(logging.INFO)
        _show_from(logging.DEBUG)


def _show_from(level: int) -> None:
    for handler in logging.getLogger().handlers:
        if handler.get_name() == "terminal":
            handler.setLevel(level)

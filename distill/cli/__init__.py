"""The command line: each command parses, calls one function of `distill.api`, and prints."""

import io
import os
import sys
import traceback
from typing import NoReturn

import click
from rich.console import Console

from distill import __version__
from distill.cli.before import check, init
from distill.cli.evaluation import compare, evaluate
from distill.cli.export_search import export, search
from distill.cli.group import CommandGroup
from distill.cli.judge import judge
from distill.cli.recipes import copy, explain, recipes
from distill.cli.runs import ablate, doctor, inspect, report, run
from distill.cli.stages import (
    corpus,
    estimate,
    generate,
    relabel,
    score_teacher,
    train_judge,
    train_student,
)
from distill.cli.verbosity import Verbosity, add_verbosity_options, configure_logging
from distill.errors import EngineFailure, UserError
from distill.files.atomic import explain_full_disk, explain_os_error
from distill.runtime.garbage import skip_collection_at_exit
from distill.runtime.interrupt import end_soon_after_sigterm


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="distill")
def cli() -> None:
    """Distil a small embedding model for your corpus.

    \b
    An LLM writes queries for your passages and judges which passages answer them.
    A small student model learns from these examples and is compared with its teacher.
      distill init docs/        write a first recipe for a folder of texts
      distill check docs.yaml   look for what would end its run
      distill run docs.yaml     run all its stages
    Each stage is also a command. A command continues where an earlier one stopped.
    """


CommandGroup.headings = {
    "From a corpus to a student": [
        "init",
        "check",
        "estimate",
        "run",
        "report",
        "search",
        "export",
    ],
    "Single stages, in their order": [
        "corpus",
        "generate",
        "relabel",
        "train-judge",
        "score-teacher",
        "train-student",
    ],
    "Measure and look closer": ["evaluate", "compare", "judge", "ablate", "inspect"],
    "Recipes and this machine": ["recipes", "explain", "doctor"],
}

for command in (
    init,
    check,
    estimate,
    run,
    report,
    search,
    export,
    corpus,
    generate,
    relabel,
    train_judge,
    score_teacher,
    train_student,
    evaluate,
    compare,
    judge,
    ablate,
    inspect,
    recipes,
    explain,
    doctor,
):
    add_verbosity_options(command)
    cli.add_command(command)
add_verbosity_options(cli)
add_verbosity_options(copy)


def main() -> None:
    """Run the command line; bad input ends with exit code 2 and an engine that failed with 3, both
    without a traceback."""
    # Each stage shows its own progress; the libraries' bars for what takes a second would hide it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    _escape_unencodable()
    configure_logging()
    skip_collection_at_exit()
    end_soon_after_sigterm()
    try:
        # click returns the code of a command that ended by `Context.exit`.
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as fault:
        fault.show()
        sys.exit(2)
    except UserError as fault:
        _end(fault)
    except EngineFailure as fault:
        _stop(fault)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nStopped. Finished work is kept: the same command continues.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # of `distill inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as fault:
        if (failure := _explain_memory(fault)) is not None:
            _stop(failure)
        explained = explain_full_disk(fault)
        if explained is None and isinstance(fault, OSError) and fault.filename:
            explained = explain_os_error(fault)
        if explained is None:
            raise
        _end(explained)


def _end(fault: UserError) -> NoReturn:
    if Verbosity.verbose:
        traceback.print_exc()
    Console(stderr=True, soft_wrap=True).print(f"Error: {fault}", markup=False, highlight=False)
    sys.exit(2)


def _stop(failure: EngineFailure) -> NoReturn:
    if Verbosity.verbose:
        traceback.print_exc()
    message = f"Stopped: {failure}\nFinished work is kept: the same command continues."
    Console(stderr=True, soft_wrap=True).print(message, markup=False, highlight=False)
    sys.exit(3)


def _explain_memory(fault: Exception) -> EngineFailure | None:
    if "torch" not in sys.modules:
        return None
    from distill.runtime.out_of_memory import explain_memory  # imports torch

    return explain_memory(fault)


def _escape_unencodable() -> None:
    """Show characters that the terminal's encoding lacks as escapes: a passage in Chinese must not
    end a command whose output is Latin-1, nor must a path that is no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

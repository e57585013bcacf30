"""A first recipe for a corpus, from what the corpus, the machine and the models are."""

import re
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

import yaml

from distill.corpus.held_out import JUDGED
from distill.errors import UserError
from distill.files.read import describe_search
from distill.recipe import Recipe
from distill.start.available import Available, find_available
from distill.start.choice.setting import Setting
from distill.start.choose import PASSAGE_TOKENS, choose_settings
from distill.start.guess import RunGuess, guess_run
from distill.start.survey import CorpusSurvey, survey_corpus
from distill.start.write import format_recipe

_LONGEST_NAME = 60
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")


class Proposal(NamedTuple):
    """A recipe's text, and what it was chosen by."""

    name: str
    text: str
    settings: list[Setting]
    corpus: CorpusSurvey
    available: Available
    guess: RunGuess

    @property
    def is_judged(self) -> bool:
        """Whether the LLM judges how students answer, which a person can then verify."""
        return any(one.key == "evaluate.tasks" and JUDGED in one.value for one in self.settings)


def propose_recipe(path: Path, name: str | None = None, address: str | None = None) -> Proposal:
    """Look at a corpus and at this machine, and propose a recipe. Nothing is written, and no model
    is loaded.

    Args:
        path: a file or folder of texts or rows; its last part may hold wildcards.
        name: the run's name; by default made from the path's.
        address: of the object store that `path` was copied from, which the recipe names then.

    Raises:
        UserError: if the path holds nothing that can be read.
    """
    if not path.exists() and not has_magic(path.name):
        raise UserError(
            str(path), f"no such file or folder{describe_search(path)}", "name the corpus' path"
        )
    corpus = survey_corpus(path, PASSAGE_TOKENS)
    available = find_available(corpus.language)
    name = name or name_run(path)
    settings = choose_settings(name, corpus, available)
    if address is not None:
        settings = [s._replace(value=address) if s.key == "corpus.path" else s for s in settings]
    by_key = {setting.key: setting.value for setting in settings}
    guess = guess_run(by_key, corpus, available)
    text = format_recipe(settings, corpus, guess)
    Recipe.model_validate(yaml.safe_load(text))  # what is written can be run
    return Proposal(name, text, settings, corpus, available, guess)


def name_run(path: Path) -> str:
    """Make a run's name from a path: `My Docs.jsonl.gz` becomes `my-docs`; with wildcards from its
    folder."""
    path = path.parent if has_magic(path.name) and not path.exists() else path
    whole = path.resolve().name.lower()
    stem = whole.partition(".")[0] if path.is_file() else whole
    return _NOT_IN_NAMES.sub("-", stem).strip("-._")[:_LONGEST_NAME] or "corpus"

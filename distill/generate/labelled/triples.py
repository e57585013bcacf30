"""Labelled sets as training examples: a text, another of its label and one of another label, with
a unique id behind all three, so that whatever else is in the batch is told apart by its id and
never a false negative (Gecko, section 4); and a premise, what it entails and what contradicts it.
"""

import functools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from distill.corpus.readers.csv_files import has_open_quote
from distill.corpus.readers.jsonl import hash_file
from distill.errors import UserError
from distill.files.read import parse_path
from distill.generate.examples import (
    find_clean_examples,
    list_decontamination,
    make_example,
    reject_contaminated,
    reject_degenerate,
    summarize_decontamination,
)
from distill.generate.labelled.rows import read_labelled
from distill.recipe import Generate, LabelledSet
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, Row
from distill.tasks.decontaminate import Decontaminator, EvaluationSet
from distill.text.normalize import normalize_text

_NAME = "examples-labelled"
_NLI_LABELS: Mapping[str, str] = {
    "entailment": "entailment",
    "0": "entailment",
    "neutral": "neutral",
    "1": "neutral",
    "contradiction": "contradiction",
    "2": "contradiction",
    "-1": "undecided",
    "-": "undecided",
}
"""As words, and as SNLI and MNLI number them."""
_HEX_DIGITS = 8


class Triple(NamedTuple):
    """A training example of a labelled set. `row` is the number of the row that the query, or what
    it entails, comes from."""

    row: int
    query: str
    positive: str
    negative: str


class LabelledTriples(Protocol):
    """A labelled set that was read. `unpaired` counts texts without a positive of their own, and
    premises without a positive and a negative."""

    @property
    def unpaired(self) -> int:
        """The number of texts without a partner to make a positive of."""
        ...

    def draw(self, draw: random.Random) -> Iterator[Triple]:
        """Draw at most one triple for each text or premise, in random order."""
        ...


def make_labelled(
    run: Run, generate: Generate, seed: int, folder: Path, evaluated: Sequence[EvaluationSet]
) -> Stage:
    """Make the stage `examples-labelled`: triples of each set of `generate.labelled`, drawn by the
    recipe's seed; a shard a set. What teaches nothing, or holds an evaluation query, is counted and
    kept in the side table.

    Args:
        folder: of the recipe, which the files of the sets are named relative to.
        evaluated: what the recipe evaluates on.

    Raises:
        UserError: naming file and row, for a set that cannot be read or has too few labels; the
            run's folder is then as it was.
    """
    filters, sets = generate.filters, generate.labelled
    files = [folder / parse_path(of_set.path) for of_set in sets]
    read = [_READERS[of_set.kind](file, of_set) for file, of_set in zip(files, sets, strict=True)]
    settings = fingerprint(generate, seed, folder, evaluated)
    known = functools.cache(
        lambda: Decontaminator(evaluated, filters.decontaminate_words) if evaluated else None
    )
    stage = find_clean_examples(run, _NAME, settings, [], evaluated, known)
    stage = stage or run.open_stage(_NAME, settings)
    if not stage.complete:
        stage.map_shards(
            EXAMPLES,
            range(len(sets)),
            lambda number: _make_shard(number, read[number], sets[number], seed, known()),
            unit="sets",
        )
        stage.finish(**summarize_decontamination(stage, known(), filters.decontaminate_words))
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no example is left: {stage.manifest['counts']}",
            "give labelled sets with more texts of each label",
        )
    return stage


def fingerprint(
    generate: Generate, seed: int, folder: Path, evaluated: Sequence[EvaluationSet]
) -> dict[str, Any]:
    """Collect the settings that change which triples are made. A set is known by its content."""
    return {
        "version": 1,
        "sets": [
            of_set.model_dump(exclude={"path"}) | _identify_file(folder / parse_path(of_set.path))
            for of_set in generate.labelled
        ],
        "seed": seed,
        **list_decontamination(generate.filters, evaluated),
    }


def _identify_file(file: Path) -> dict[str, str]:
    mark = {"open_quotes": "letters"} if has_open_quote(file) else {}
    return {"sha256": hash_file(file), **mark}


# --- classification -------------------------------------------------------------------------------


@dataclass
class TextsByLabel:
    """The distinct texts of each label, with their rows' numbers."""

    labels: list[list[tuple[int, str]]]

    @property
    def unpaired(self) -> int:
        """The number of labels with a single text."""
        return sum(len(texts) == 1 for texts in self.labels)

    def draw(self, draw: random.Random) -> Iterator[Triple]:
        """Draw triples: the negative's label is drawn uniformly, whatever its size."""
        places = [
            (label, place)
            for label, texts in enumerate(self.labels)
            for place in range(len(texts))
            if len(texts) > 1
        ]
        draw.shuffle(places)
        for label, place in places:
            texts = self.labels[label]
            row, query = texts[place]
            positive = texts[_draw_another(place, len(texts), draw)]
            negative = draw.choice(self.labels[_draw_another(label, len(self.labels), draw)])
            yield Triple(row, query, positive[1], negative[1])


def read_classification(file: Path, settings: LabelledSet) -> TextsByLabel:
    """Read a set of texts with labels.

    Raises:
        UserError: if the file cannot be read, or has only one label.
    """
    labels: dict[str, dict[str, tuple[int, str]]] = defaultdict(dict)
    columns = (settings.text_column, settings.label_column)
    for row, (text, label) in read_labelled(file, columns):
        labels[label].setdefault(normalize_text(text), (row, text))
    if len(labels) < 2:
        raise UserError(
            str(file),
            f"column {settings.label_column!r} holds no other label than "
            f"{', '.join(map(repr, labels)) or '(it has no row)'}",
            "a hard negative has another label: give at least two, or name another label_column",
        )
    return TextsByLabel([list(texts.values()) for texts in labels.values()])


def _draw_another(place: int, count: int, draw: random.Random) -> int:
    """Return a place from 0 to count - 1, but not this one."""
    other = draw.randrange(count - 1)
    return other + (other >= place)


# --- natural language inference -------------------------------------------------------------------


@dataclass
class Hypotheses:
    """The hypotheses of one premise: those that it entails, with their row numbers, and those that
    contradict it."""

    entailed: list[tuple[int, str]] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)


@dataclass
class Premises:
    """The premises that have hypotheses of both kinds."""

    premises: list[tuple[str, Hypotheses]]
    unpaired: int

    def draw(self, draw: random.Random) -> Iterator[Triple]:
        """Draw a triple for each premise, in random order: premise, an entailed and a contradicted
        text."""
        for premise, of_premise in draw.sample(self.premises, len(self.premises)):
            row, entailed = draw.choice(of_premise.entailed)
            yield Triple(row, premise, entailed, draw.choice(of_premise.contradicted))


def read_nli(file: Path, settings: LabelledSet) -> Premises:
    """Read a set of premises and hypotheses with the labels entailment, neutral and contradiction,
    in words or as 0, 1 and 2; rows without a verdict (-1 or -) are passed over.

    Raises:
        UserError: if the file cannot be read, a label is another, or no premise has hypotheses of
            both kinds.
    """
    premises: dict[str, Hypotheses] = defaultdict(Hypotheses)
    columns = (settings.premise_column, settings.hypothesis_column, settings.label_column)
    for row, (premise, hypothesis, label) in read_labelled(file, columns):
        verdict = _NLI_LABELS.get(label.lower())
        if verdict is None:
            raise UserError(
                f"{file}, row {row}",
                f"the label {label!r} is none of {', '.join(_NLI_LABELS)}",
                "fix the row, or name another label_column",
            )
        if verdict == "entailment":
            premises[premise].entailed.append((row, hypothesis))
        elif verdict == "contradiction":
            premises[premise].contradicted.append(hypothesis)
    both = [(premise, of) for premise, of in premises.items() if of.entailed and of.contradicted]
    if not both:
        raise UserError(
            str(file),
            "no premise has both a hypothesis that it entails and one that contradicts it",
            "give both for a premise; the premise must read the same in both rows",
        )
    return Premises(both, len(premises) - len(both))


_READERS: Mapping[str, Callable[[Path, LabelledSet], LabelledTriples]] = {
    "classification": read_classification,
    "nli": read_nli,
}


# --- examples -------------------------------------------------------------------------------------


def _make_shard(
    number: int,
    triples: LabelledTriples,
    settings: LabelledSet,
    seed: int,
    known: Decontaminator | None,
) -> ShardResult:
    """Return at most `examples` examples of one set."""
    shard = ShardResult([])
    if triples.unpaired:
        shard.counts["without a counterpart"] = triples.unpaired
    for triple in triples.draw(random.Random(f"{seed}|labelled|{number}")):
        if len(shard.rows) == settings.examples:
            break
        example = make_example(
            f"labelled~{number}~{triple.row}",
            settings.task,
            settings.kind,
            triple.query,
            triple.positive,
            [triple.negative],
        )
        reason = reject_degenerate(example) or reject_contaminated(example, known)
        if reason is not None:
            shard.counts[f"dropped: {reason}"] += 1
            shard.dropped.append(
                {"item_id": example["query_id"], "reason": reason, "text": triple.query}
            )
            continue
        shard.counts["kept"] += 1
        shard.rows.append(example)
    if settings.kind == "classification":
        shard.rows = _add_ids(shard.rows, number, seed)
    return shard


def _add_ids(rows: Sequence[Row], number: int, seed: int) -> list[Row]:
    """Return the examples with an id behind each one's three texts that no other example of this
    set has. It begins with the set's number, so no other set's has it either."""
    draw = random.Random(f"{seed}|ids|{number}")
    ids = draw.sample(range(16**_HEX_DIGITS), len(rows))
    return [
        _add_id(row, f"{number}-{id_:0{_HEX_DIGITS}x}") for row, id_ in zip(rows, ids, strict=True)
    ]


def _add_id(row: Row, id_: str) -> Row:
    return row | {
        "query": f"{row['query']} {id_}",
        "positive": f"{row['positive']} {id_}",
        "negatives": [f"{text} {id_}" for text in row["negatives"]],
    }

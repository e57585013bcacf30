"""What is trained on: examples, and plain texts to align, as datasets whose `label` column numbers
the texts. The numbers say which texts are the same, and where the teacher's vectors lie."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasets import Dataset

from distill.corpus.split import sentences
from distill.recipe import Align, Recipe
from distill.student.build import query_prompt
from distill.tables import Row, passage_text

MIN_WORDS = 4
"""Shorter sentences are headings and debris of the splitting."""


@dataclass(frozen=True)
class Mixture:
    """`datasets`: "examples-N" (columns query, positive, negative_1 to negative_N, label), a
    dataset a number of negatives, and "texts" (text, label). `queries`, `passages` and `others`
    are the texts by id as a teacher reads them, numbered from the first query to the last of the
    others."""

    datasets: dict[str, Dataset]
    queries: dict[str, str]
    passages: dict[str, str]
    others: dict[str, str]

    @property
    def examples(self) -> int:
        return sum(len(d) for name, d in self.datasets.items() if name != "texts")

    @property
    def texts(self) -> int:
        return len(self.datasets["texts"]) if "texts" in self.datasets else 0


def make_mixture(recipe: Recipe, examples: Sequence[Row], passages: Sequence[Row]) -> Mixture:
    """The datasets of a recipe. The same text on the same side has one number."""
    corpus = {row["passage_id"]: passage_text(row) for row in passages}
    aligned = recipe.train.objective.align > 0
    plain = draw_texts(recipe.train.align, recipe.seed, passages) if aligned else []
    queries = list(dict.fromkeys(row["query"] for row in examples))
    documents = [text for row in examples for text in (row["positive"], *row["negatives"])]
    known = set(corpus.values())
    others = [text for text in dict.fromkeys([*documents, *plain]) if text not in known]
    query_number = {text: number for number, text in enumerate(queries)}
    document_number: dict[str, int] = {}
    for number, text in enumerate([*corpus.values(), *others], start=len(queries)):
        document_number.setdefault(text, number)

    datasets = _example_datasets(recipe, examples, query_number, document_number)
    if plain:
        datasets["texts"] = _text_dataset(recipe, plain, document_number)
    return Mixture(
        datasets,
        {f"query-{i}": text for i, text in enumerate(queries)},
        corpus,
        {f"text-{i}": text for i, text in enumerate(others)},
    )


def draw_texts(align: Align, seed: int, passages: Sequence[Row]) -> list[str]:
    """So many passages and so many sentences of them, each text once, drawn by seed."""
    whole = list(dict.fromkeys(passage_text(row) for row in passages))
    taken = set(whole)
    found = dict.fromkeys(s for row in passages for s in sentences(row["text"]))
    parts = [s for s in found if len(s.split()) >= MIN_WORDS and s not in taken]
    return [
        *_draw(whole, align.passages, f"{seed}|passages to align"),
        *_draw(parts, align.sentences, f"{seed}|sentences to align"),
    ]


def _draw(texts: list[str], count: int, seed: str) -> list[str]:
    return random.Random(seed).sample(texts, min(count, len(texts)))


def _example_datasets(
    recipe: Recipe, examples: Iterable[Row], query_number: dict[str, int], number: dict[str, int]
) -> dict[str, Dataset]:
    """Examples by their number of negatives, since a batch has as many of each column."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in examples:
        groups[len(row["negatives"])].append(row)
    prompt = recipe.student.document_prompt
    datasets = {}
    for count, rows in sorted(groups.items()):
        texts = [[row["positive"], *row["negatives"]] for row in rows]
        columns: dict[str, list[str] | list[list[int]]] = {
            "query": [query_prompt(recipe.student, row["task"]) + row["query"] for row in rows]
        }
        for place in range(count + 1):
            name = f"negative_{place}" if place else "positive"
            columns[name] = [prompt + of_row[place] for of_row in texts]
        columns["label"] = [
            [query_number[row["query"]], *(number[text] for text in of_row)]
            for row, of_row in zip(rows, texts, strict=True)
        ]
        datasets[f"examples-{count}"] = Dataset.from_dict(columns)
    return datasets


def _text_dataset(recipe: Recipe, texts: list[str], number: dict[str, int]) -> Dataset:
    prompt = recipe.student.document_prompt
    return Dataset.from_dict(
        {"text": [prompt + text for text in texts], "label": [[number[text]] for text in texts]}
    )

"""Queries held out of training for validation: split by passage, so that none leaks."""

import hashlib
import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distill.errors import UserError
from distill.recipe import Student, Train
from distill.recipe.sections.train import Validation
from distill.store.passages import PassageReader
from distill.store.tables import EXAMPLES, Reader, Row, join_passage
from distill.text.digests import KnownTexts
from distill.train.data.sources import TrainingInputs


@dataclass(frozen=True)
class HeldOut:
    """The held-out share of the positive passages, with their queries.

    A query is held out if both its positive and the passage that it was written from are; it is
    trained on if neither is. A query with one of both, or with the text of a held-out query, is in
    neither set. So no held-out passage is a positive in training. It may be another query's hard
    negative there, which does not help to find it.
    """

    passages: frozenset[str]
    """Ids of the held-out passages."""
    texts: Container[str]
    """Their texts, since titles and other sources give them other ids."""
    query_texts: Container[str]
    """The texts of all held-out queries."""
    queries: list[Row]
    """The held-out queries that validation runs."""
    documents: dict[str, str]
    """The documents that validation searches, by id."""

    def is_allowed(self, row: Row) -> bool:
        """Return whether an example may be trained on."""
        return not (
            row["positive_id"] in self.passages
            or row["seed_id"] in self.passages
            or row["positive"] in self.texts
            or row["query"] in self.query_texts
        )


def hold_out(train: Train, student: Student, seed: int, inputs: TrainingInputs) -> HeldOut | None:
    """Choose the held-out queries; None where the recipe holds nothing out.

    Raises:
        UserError: if no query is left, held out or to train on.
    """
    rule = train.validation
    if rule.share == 0:
        return None
    rows = Reader(EXAMPLES, *(stage.folder for stage in inputs.examples))
    draw = random.Random(f"{seed}|validation")
    positives = list(dict.fromkeys(row["positive_id"] for row in rows))
    if student.route == "query":
        ids, held = _hold_out_in_every_round(rule.share, seed, inputs, rows)
    else:
        ids = frozenset(draw.sample(positives, max(1, round(rule.share * len(positives)))))
        held = [
            n
            for n, row in enumerate(rows)
            if row["positive_id"] in ids and _get_seed_id(row) in ids
        ]
    if not held or ids >= set(positives):
        raise UserError(
            f"train.validation.share {rule.share}",
            f"holds out {len(ids)} of {len(positives)} positive passages, {len(held)} queries",
            "choose another share, or generate more queries",
        )
    queries = rows.read_rows(draw.sample(held, min(rule.queries, len(held))))
    texts = KnownTexts(row["positive"] for row in rows if row["positive_id"] in ids)
    all_held = set(held)
    query_texts = KnownTexts(row["query"] for n, row in enumerate(rows) if n in all_held)
    documents = _draw_documents(rule, rows, queries, inputs, draw)
    return HeldOut(ids, texts, query_texts, queries, documents)


def _hold_out_in_every_round(
    share: float, seed: int, inputs: TrainingInputs, rows: Iterable[Row]
) -> tuple[frozenset[str], list[int]]:
    """Hold out for a query encoder, which trains on in later rounds of relabelling: each passage,
    and each query that was written from none, by a number drawn from itself and the seed, so that
    nothing that one round has trained on is held out in another. The positives of its held-out
    queries are passages of the corpus, whose vectors it searches.

    Returns:
        The ids of the passages, and the numbers of the queries' rows.
    """

    def is_drawn(name: str) -> bool:
        digest = hashlib.sha256(f"{seed}|validation|{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < share

    ids = set[str]()
    for row in rows:
        ids.update(id_ for id_ in (row["positive_id"], row["seed_id"]) if id_ and is_drawn(id_))
    held = [
        (number, row["positive_id"])
        for number, row in enumerate(rows)
        if (
            row["positive_id"] in ids and row["seed_id"] in ids
            if row["seed_id"]
            else is_drawn(row["query"])
        )
    ]
    if inputs.passages is None:
        return frozenset(ids), []
    inside = PassageReader(inputs.passages.folder).find_known_numbers({id_ for _, id_ in held})
    return frozenset(ids), [number for number, id_ in held if id_ in inside]


def _get_seed_id(row: Row) -> str:
    """Return the passage that a query was written from; its positive, where the texts are of no
    corpus."""
    return str(row["seed_id"] or row["positive_id"])


def _draw_documents(
    rule: Validation,
    rows: Reader,
    queries: Sequence[Row],
    inputs: TrainingInputs,
    draw: random.Random,
) -> dict[str, str]:
    """Draw the positives, and others drawn from the corpus (without one, from the examples'
    texts)."""
    needed = {row["positive_id"]: row["positive"] for row in queries}
    most = max(0, rule.passages - len(needed))
    if inputs.passages is None:
        others = [id_ for id_ in _list_document_ids(rows) if id_ not in needed]
        chosen = draw.sample(others, min(len(others), most))
        texts = _read_documents(rows, set(chosen))
        return needed | {id_: texts[id_] for id_ in chosen}
    reader = PassageReader(inputs.passages.folder)
    left_out = sorted(reader.find_known_numbers(needed).values())
    count = len(reader) - len(left_out)
    numbers = np.asarray(draw.sample(range(count), min(count, most)), np.int64)
    for number in left_out:  # drawn among the passages without these
        numbers[numbers >= number] += 1
    rows_of_others = reader.read_rows(numbers.tolist())
    return needed | {row["passage_id"]: join_passage(row) for row in rows_of_others}


def _list_document_ids(rows: Iterable[Row]) -> list[str]:
    """List the ids of all documents: first the positives, then the negatives."""
    ids = dict.fromkeys(row["positive_id"] for row in rows)
    ids |= dict.fromkeys(id_ for row in rows for id_ in row["negative_ids"])
    return list(ids)


def _read_documents(rows: Iterable[Row], ids: Container[str]) -> dict[str, str]:
    """Read the texts of some documents; the last one of an id counts, and a negative before a
    positive."""
    texts = {row["positive_id"]: row["positive"] for row in rows if row["positive_id"] in ids}
    for row in rows:
        each = zip(row["negative_ids"], row["negatives"], strict=True)
        texts |= {id_: text for id_, text in each if id_ in ids}
    return texts

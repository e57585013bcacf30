"""The stage `known-item`: a retrieval task of the run's own, as a BEIR folder. Each query is taken
out of a held-out document, and what is left of the document is the answer, searched for among all
passages."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from distill.corpus.held_out import KNOWN_ITEM, SECTION_PASSAGES
from distill.errors import UserError
from distill.generate.filters.duplicates import QueryDeduplicator, make_ordinal
from distill.generate.free.draw import digest_sentence
from distill.generate.known_item.items import (
    LEAST_ITEMS,
    KnownItem,
    group_by_document,
    list_sentence_spans,
    take_sentence,
    take_title,
)
from distill.recipe import Corpus, KnownItemSearch
from distill.store.passages import PassageReader, draw_passages
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, Row, read_rows
from distill.tasks.beir_folder import write_beir_folder
from distill.text.normalize import normalize_words

_NEAR = 0.7
"""Jaccard similarity of two titles (character shingles) from which neither names its document."""
_VERSION = 1


class KnownItemTask(NamedTuple):
    """The passages that are searched, the items to find among them, and counts."""

    passages: list[Row]
    items: list[KnownItem]
    counts: Mapping[str, int]


def make_known_item_task(
    run: Run,
    known_item: KnownItemSearch,
    corpus: Corpus,
    seed: int,
    passages: Stage,
    held_out: Stage,
) -> Stage:
    """Take at most `evaluate.known_item.queries` queries out of held-out documents, and write
    corpus.jsonl, queries.jsonl and qrels/test.tsv.

    The query is the document's title; where that will not do, one of its sentences. Titles that
    stand more than once or nearly so, and sentences that stand elsewhere too, are left out. Other
    documents keep their titles, so that the search is no easier than in use.

    Raises:
        UserError: if fewer than 30 documents give a query; the run's folder is then as it was.
    """
    stage, task = run.open_prepared(
        KNOWN_ITEM,
        fingerprint(known_item, seed),
        [passages, held_out],
        lambda: collect_task(known_item, corpus, seed, passages, held_out),
    )
    if task is None:
        return stage
    queries = {f"q-{item.document}": item for item in task.items}
    write_beir_folder(
        stage.folder,
        (
            {"_id": row["passage_id"], "title": row["title"], "text": row["text"]}
            for row in task.passages
        ),
        ({"_id": id_, "text": item.query, "kind": item.kind} for id_, item in queries.items()),
        {(id_, answer): 1 for id_, item in queries.items() for answer in item.answers},
    )
    stage.finish(rows=len(task.items), counts=dict(task.counts))
    return stage


def fingerprint(known_item: KnownItemSearch, seed: int) -> dict[str, Any]:
    """Collect the settings that change which queries are taken; how a corpus is held out is in the
    fingerprints of its passages."""
    return {"seed": seed, "version": _VERSION, **known_item.list_fingerprinted()}


def collect_task(
    known_item: KnownItemSearch, corpus: Corpus, seed: int, passages: Stage, held_out: Stage
) -> KnownItemTask:
    """Choose the queries, and the passages that are searched.

    Raises:
        UserError: if there are too few queries.
    """
    own = list(read_rows(PASSAGES, held_out.folder))
    room = max(0, known_item.passages - len(own))
    others = draw_passages(PassageReader(passages.folder), room, seed)
    by_section = corpus.hold_out_by == "section"
    documents = dict(group_by_document(own, SECTION_PASSAGES if by_section else None))
    by_document = _take_items(seed, documents, others)
    if len(by_document) < LEAST_ITEMS:
        raise UserError(
            f"task {KNOWN_ITEM}",
            f"{len(by_document)} of {len(documents)} held-out documents give a query, and it takes "
            f"{LEAST_ITEMS}: a title of 3 words or more that no other document has, or a sentence, "
            "and 20 words of text beside it",
            "raise corpus.held_out, give more documents, or take the task out of evaluate.tasks "
            "and hold nothing out, corpus.held_out: 0 (labelled questions, evaluate.tasks: "
            "[questions.csv], say more)",
        )
    chosen = sorted(by_document)
    if len(chosen) > known_item.queries:
        chosen = sorted(random.Random(seed).sample(chosen, known_item.queries))
    items = [by_document[name] for name in documents if name in set(chosen)]
    left = {item.document: item.passages for item in items}
    searched = [row for name, rows in documents.items() for row in left.get(name, rows)]
    kinds = Counter(f"by {item.kind}" for item in items)
    counts = {
        "held-out documents": len(documents),
        "without a query": len(documents) - len(by_document),
        "searched passages": len(searched) + len(others),
        **kinds,
    }
    return KnownItemTask(searched + others, items, counts)


def _take_items(
    seed: int, documents: Mapping[str, list[Row]], others: Sequence[Row]
) -> dict[str, KnownItem]:
    """Take a query out of each document that has one."""
    with_title = take_titles(documents, others)
    rest = {name: rows for name, rows in documents.items() if name not in with_title}
    return with_title | take_sentences(seed, rest, documents, others)


def take_titles(documents: Mapping[str, list[Row]], others: Sequence[Row]) -> dict[str, KnownItem]:
    """Take the title out of each document that has one of its own, that no other is like.

    Args:
        others: passages of further documents.
    """
    by_title = {name: take_title(name, rows) for name, rows in documents.items()}
    titled = {name: item for name, item in by_title.items() if item is not None}
    other_titles = [rows[0]["title"] for _, rows in group_by_document(others)]
    alike = _find_titles_alike(titled, other_titles, documents)
    return {name: item for name, item in titled.items() if name not in alike}


def take_sentences(
    seed: int,
    asking: Mapping[str, list[Row]],
    documents: Mapping[str, list[Row]],
    others: Sequence[Row],
) -> dict[str, KnownItem]:
    """Take a sentence that stands nowhere else out of each of the `asking` documents, which are
    among `documents`."""
    items = {}
    rows_of_asking = [row for rows in asking.values() for row in rows]
    times = _count_sentences(rows_of_asking, documents, others)
    for name, rows in asking.items():
        item = take_sentence(name, rows, seed, lambda text: times[digest_sentence(text)] == 1)
        if item is not None:
            items[name] = item
    return items


def _find_titles_alike(
    titled: Mapping[str, KnownItem],
    other_titles: Iterable[str],
    documents: Mapping[str, list[Row]],
) -> set[str]:
    """Find the documents whose title another document has too, or nearly."""
    known = list(dict.fromkeys(filter(None, map(normalize_words, other_titles))))
    times = Counter(normalize_words(rows[0]["title"]) for rows in documents.values())
    alike = {name for name, item in titled.items() if times[normalize_words(item.query)] > 1}
    rest = {name: item.query for name, item in titled.items() if name not in alike}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "titles.sqlite"
        alike |= _find_repeats(file, known, rest)
        # Of two held-out titles that are alike, the first was not found: in the other order it is.
        alike |= _find_repeats(file, [], dict(reversed(rest.items())))
    return alike


def _find_repeats(file: Path, known: Sequence[str], titles: Mapping[str, str]) -> set[str]:
    repeats = set()
    with QueryDeduplicator(file, True, _NEAR) as seen:
        for place, title in enumerate(known):
            seen.add(title, make_ordinal(0, place))
        for place, (name, title) in enumerate(titles.items()):
            own = make_ordinal(1, place)
            if seen.find_reason(title, own) is not None:
                repeats.add(name)
            seen.add(title, own)
    return repeats


def _count_sentences(
    asking: Iterable[Row], documents: Mapping[str, list[Row]], others: Iterable[Row]
) -> Counter[int]:
    """Count how often each sentence that may ask stands in all passages, by its digest."""
    wanted = set(_digest_sentences(asking))
    every = [row for rows in documents.values() for row in rows]
    times = Counter[int]()
    for rows in (every, others):
        times.update(digest for digest in _digest_sentences(rows) if digest in wanted)
    return times


def _digest_sentences(rows: Iterable[Row]) -> Iterable[int]:
    for row in rows:
        for start, end in list_sentence_spans(row["text"]):
            yield digest_sentence(" ".join(row["text"][start:end].split()))

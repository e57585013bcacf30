"""Gathering on disk keeps and leaves out what a list in memory does, in the same order."""

import json
import random

import pytest
from helpers.passages import make_passages
from helpers.query_rows import make_filter_recipe

from distill.corpus import passages, spool
from distill.corpus.gather import PassageDeduplicator, gather_passages
from distill.corpus.readers.rows import CorpusSource, Document, SkippedRow
from distill.errors import UserError
from distill.store.run import Run
from distill.store.tables import DROPPED, read_shard


def draw_documents(count):
    """Short texts, some of them twice, and rows without a text."""
    draw = random.Random(1)
    words = ["swifts", "sleep", "Sleep", "on", "the", "wing"]
    for number in range(count):
        text = " ".join(draw.choices(words, k=draw.randint(1, 4)))
        row = SkippedRow(f"row {number}", f"d{number}", "no text")
        yield row if draw.random() < 0.1 else Document(f"d{number}", "", text, "here")


def source_of(documents):
    return CorpusSource("notes.txt", {}, lambda: iter(documents))


def gather_in_memory(documents, min_words):
    kept, dropped, seen = [], [], PassageDeduplicator()
    for one in documents:
        if isinstance(one, SkippedRow):
            dropped.append((one.id, one.reason, ""))
        elif len(one.text.split()) < min_words:
            dropped.append((one.id, "short", one.text))
        elif not seen.is_new(one.title, one.text):
            dropped.append((one.id, "duplicate", one.text))
        else:
            kept.append((one.id, one.text))
    return kept, dropped


@pytest.mark.parametrize("batch", [1, 3, 4096])
@pytest.mark.parametrize("limit", [None, 17])
def test_gathered_and_dropped_passages_are_those_of_gathering_in_memory(
    tmp_path, monkeypatch, batch, limit
):
    monkeypatch.setattr(spool, "_BATCH", batch)
    documents = list(draw_documents(300))
    given = make_filter_recipe(corpus={"source": "jsonl", "min_words": 2, "limit": limit})
    gathered = gather_passages(source_of(documents), given.corpus, given.seed, tmp_path)
    kept, dropped = gather_in_memory(documents, 2)
    if limit is not None:
        drawn = random.Random(given.seed).sample(range(len(kept)), limit)
        kept = [kept[place] for place in sorted(drawn)]
    assert [(row["passage_id"], row["text"]) for row in gathered.kept[:]] == kept
    assert gathered.kept[5:9] == gathered.kept[:][5:9]
    assert [tuple(row.values()) for row in gathered.dropped.read(0, None)] == dropped
    assert gathered.counts["kept"] == len(kept) == len(gathered.kept)
    reasons = [reason for _, reason, _ in dropped]
    assert min(gathered.counts[f"dropped {r}"] for r in set(reasons)) > 0
    assert all(gathered.counts[f"dropped {r}"] == reasons.count(r) for r in set(reasons))
    assert list(tmp_path.iterdir()) == []


def test_id_that_two_passages_have_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "hash", lambda id_: 7, raising=False)  # all alike
    texts = {"a": "Swifts sleep.", "b": "Bees dance.", "c": "Owls hunt at night."}
    documents = [Document(id_, "", text, "here") for id_, text in texts.items()]
    given = make_filter_recipe(corpus={"source": "jsonl", "min_words": 0})
    assert len(gather_passages(source_of(documents), given.corpus, given.seed, tmp_path).kept) == 3
    documents.append(Document("b", "", "Another text.", "here"))
    with pytest.raises(UserError, match="the id 'b' belongs to a document and to a piece"):
        gather_passages(source_of(documents), given.corpus, given.seed, tmp_path)


@pytest.mark.parametrize("limit", [None, 17])
def test_dropped_passages_lie_beside_the_shards_in_the_order_of_the_corpus(
    tmp_path, monkeypatch, limit
):
    rows = [
        {"_id": one.id, "text": "" if isinstance(one, SkippedRow) else one.text}
        for one in draw_documents(300)
    ]
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = make_filter_recipe(
        corpus={"source": "jsonl", "path": str(file), "min_words": 2, "limit": limit}
    )

    def list_dropped(name):
        with Run(tmp_path / name) as run:
            stage = make_passages(run, given.corpus, given.seed)
        return [read_shard(DROPPED, path) for path in stage.list_dropped()]

    (whole,) = list_dropped("one shard")
    monkeypatch.setattr(passages, "_SHARD", 4)
    parts = list_dropped("several")
    assert len(parts) > 3
    assert [row for part in parts for row in part] == whole

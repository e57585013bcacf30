"""The stages that bring text in: the `passages` table, and the held-out retrieval task."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from distill.corpus.docstrings import source as docstrings
from distill.corpus.gather import GatheredPassages, gather_passages
from distill.corpus.held_out import (
    HELD_OUT_PASSAGES,
    JUDGED,
    holds_documents_out,
    list_hold_out_settings,
)
from distill.corpus.input import find_input
from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.beir import open_beir
from distill.corpus.readers.jsonl import open_jsonl
from distill.corpus.readers.parquet import open_parquet
from distill.corpus.readers.rows import (
    Columns,
    CorpusSource,
)
from distill.corpus.token_counts import list_length_settings
from distill.errors import UserError
from distill.recipe import Corpus
from distill.store.integrity import find_stage_damage
from distill.store.run import Run
from distill.store.shards import list_shards, read_shard_number
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PASSAGES, commit_bytes, read_shard

T = TypeVar("T")

_SHARD = 10_000
"""Passages a shard."""


_RULES = 2
"""Raised whenever other passages are made of the same text. 2: words and sentences of all scripts,
titles count as words."""


def make_passages(run: Run, corpus: Corpus, seed: int) -> Stage:
    """Make the corpus as passages: split by sentence to `corpus.max_tokens`, without exact
    duplicates and texts below `corpus.min_words`, at most `corpus.limit` of them, and without those
    of held-out documents.

    A passage of a split text is called ID#0, ID#1, ...; one of a whole text keeps its ID. What is
    left out is counted, and kept in the `dropped` side table of the first shard.

    Raises:
        UserError: for a corpus that cannot be read, is malformed, or of which nothing is left;
            the run's folder is then as it was.
    """
    return make_split_passages(run, corpus, seed, ()).passages


class SplitPassages(NamedTuple):
    """The passages to train on, and those of the documents that `corpus.held_out` holds out, None
    where nothing needs them."""

    passages: Stage
    held_out: Stage | None


def make_split_passages(
    run: Run, corpus: Corpus, seed: int, tasks: Collection[str]
) -> SplitPassages:
    """Make the stages `passages`, as `make_passages` does, and `passages-held-out` beside it.

    Args:
        tasks: `evaluate.tasks`, some of which ask for held-out passages.

    Raises:
        UserError: as `make_passages`, and where no document or every document is held out.
    """
    source = open_source(corpus, seed)
    prepare = functools.cache(lambda: gather_passages(source, corpus, seed, run.folder))
    settings: dict[str, Any] = {
        "source": source.identity,
        **list_length_settings(corpus),
    }
    if corpus.limit is not None:
        settings |= {"limit": corpus.limit, "seed": seed}
    if holds_documents_out(corpus):
        settings |= list_hold_out_settings(corpus, seed)
    if source.titles_are_prose and not _is_made_alike(run, settings, prepare):
        settings["rules"] = _RULES
    stage, passages = _prepare(run, "passages", settings, prepare)
    if passages is not None:
        _write_passages(stage, passages)
    if not corpus.held_out_share:
        return SplitPassages(stage, None)
    if corpus.source != "docstrings":
        return SplitPassages(stage, _make_held_out_passages(run, settings, prepare))
    if JUDGED not in tasks:
        return SplitPassages(stage, None)
    return SplitPassages(stage, _make_held_out_docstrings(run, corpus, seed, settings))


def _make_held_out_passages(
    run: Run, settings: Mapping[str, Any], prepare: Callable[[], GatheredPassages]
) -> Stage:
    stage, passages = _prepare(run, HELD_OUT_PASSAGES, settings, prepare)
    if passages is not None:
        out = passages.held_out
        _write_passages(stage, GatheredPassages(out, out, Counter(kept=len(out))))
    return stage


def _make_held_out_docstrings(
    run: Run, corpus: Corpus, seed: int, settings: Mapping[str, Any]
) -> Stage:
    source = docstrings.open_held_out_docstrings(corpus, seed)
    stage, passages = _prepare(
        run, HELD_OUT_PASSAGES, settings, lambda: gather_passages(source, corpus, seed, run.folder)
    )
    if passages is not None:
        _write_passages(stage, passages)
    return stage


def _write_passages(stage: Stage, passages: GatheredPassages) -> None:
    chunks = list(range(0, len(passages.kept), _SHARD))

    def make_shard(start: int) -> ShardResult:
        rows = passages.kept[start : start + _SHARD]
        return ShardResult(rows) if start else ShardResult(rows, passages.counts, passages.dropped)

    stage.map_shards(
        PASSAGES, chunks, make_shard, lambda s: min(_SHARD, len(passages.kept) - s), "passages"
    )
    stage.finish()


def make_held_out(run: Run, corpus: Corpus, seed: int) -> Stage | None:
    """Make the held-out docstrings as a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv):
    the one-line summary asks, the rest of the docstring, without a title, answers. None where
    nothing is held out.

    Raises:
        UserError: if no held-out object gives a query and an answer.
    """
    if corpus.source != "docstrings" or not corpus.held_out_share:
        return None
    settings = {
        "source": docstrings.identify_docstrings(corpus, seed),
        **list_length_settings(corpus),
    }
    stage, found = _prepare(run, "held-out", settings, lambda: _make_held_out_pairs(corpus, seed))
    if found is not None:
        pairs, counts = found
        _write_beir(stage.folder, pairs)
        stage.finish(rows=len(pairs), counts=dict(counts))
    return stage


def open_source(corpus: Corpus, seed: int) -> CorpusSource:
    """Open the corpus that the section names; where `path` is not given, its `dataset` is read.

    Args:
        seed: of the recipe, which draws the docstrings that are held out.

    Raises:
        UserError: if neither is given, or what is given does not exist.
    """
    if corpus.source == "docstrings":
        return docstrings.open_docstrings(corpus, seed)
    columns = Columns(corpus.id_column, corpus.title_column, corpus.text_column)
    if corpus.dataset is not None and (corpus.path is None or corpus.source == "dataset"):
        from distill.corpus.readers.dataset import open_dataset

        return open_dataset(corpus.dataset, corpus.config, corpus.split, columns)
    if corpus.path is None or corpus.source == "dataset":
        key = "corpus.dataset" if corpus.source == "dataset" else "corpus.path"
        raise UserError(
            "the recipe",
            f"corpus.source is {corpus.source}, but {key} is not set",
            f"set {key}; a path with a variable such as ${{DISTILL_DATA}} needs the variable",
        )
    path = find_input(corpus.path)
    if corpus.source == "auto":
        return open_auto(path, columns, corpus.unreadable == "skip")
    if corpus.source == "beir":
        return open_beir(path)
    return open_jsonl(path, columns) if corpus.source == "jsonl" else open_parquet(path, columns)


def _prepare(
    run: Run, name: str, settings: Mapping[str, Any], prepare: Callable[[], T]
) -> tuple[Stage, T | None]:
    """Return the stage, and its content unless it is complete. The content is read before the stage
    is begun, so that bad input leaves the folder as it was and can be fixed without
    --overwrite."""
    content = None if run.is_complete(name, settings) else prepare()
    stage = run.open_stage(name, settings)
    if stage.complete:
        return stage, None
    return stage, prepare() if content is None else content


def _is_made_alike(
    run: Run, settings: Mapping[str, Any], prepare: Callable[[], GatheredPassages]
) -> bool:
    """Return whether passages stand here from before there were these rules, and are the same by
    them, as those of most English corpora are: then what was made of them is still right.

    Shards that are damaged or missing say nothing: they are made again, and where that gives other
    bytes the stage sets aside what was made from them.
    """
    stage = run.find_stage("passages", settings)
    if stage is None:
        return False
    kept, damage = prepare().kept, find_stage_damage(stage)
    starts = range(0, len(kept), _SHARD)
    whole = {read_shard_number(p): p for p in list_shards(stage.folder) if p.name not in damage}
    damaged = {read_shard_number(Path(name)) for name in damage}
    if stage.complete and (whole.keys() | damaged) - {-1} != set(range(len(starts))):
        return False
    return all(
        number < len(starts)
        and read_shard(PASSAGES, path) == kept[starts[number] : starts[number] + _SHARD]
        for number, path in whole.items()
    )


def _make_held_out_pairs(
    corpus: Corpus, seed: int
) -> tuple[list[docstrings.QueryDocument], Counter[str]]:
    pairs, counts = docstrings.make_held_out_pairs(corpus, seed)
    if not pairs:
        raise UserError(
            "the recipe",
            f"no held-out docstring has both a summary and a text ({dict(counts)})",
            "raise corpus.held_out, or name more corpus.packages",
        )
    return pairs, counts


def _write_beir(folder: Path, pairs: list[docstrings.QueryDocument]) -> None:
    corpus = [{"_id": pair.name, "title": "", "text": pair.document} for pair in pairs]
    queries = [{"_id": f"q-{pair.name}", "text": pair.query} for pair in pairs]
    judged = [f"q-{pair.name}\t{pair.name}\t1" for pair in pairs]
    (folder / "qrels").mkdir(exist_ok=True)
    commit_bytes(
        folder / "corpus.jsonl", _join_lines(json.dumps(r, ensure_ascii=False) for r in corpus)
    )
    commit_bytes(
        folder / "queries.jsonl", _join_lines(json.dumps(r, ensure_ascii=False) for r in queries)
    )
    commit_bytes(
        folder / "qrels" / "test.tsv", _join_lines(["query-id\tcorpus-id\tscore", *judged])
    )


def _join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()

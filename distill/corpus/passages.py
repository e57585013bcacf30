"""The stages `passages` and `passages-held-out`, which bring text in."""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
from distill.store.tables import PASSAGES, read_shard
from distill.workers.device import ExecutionNotes

_SHARD = 10_000
"""Passages a shard."""


_RULES = 2
"""Raised whenever other passages are made of the same text. 2: words and sentences of all scripts,
titles count as words."""


class SplitPassages(NamedTuple):
    """The passages to train on, and those of the documents that `corpus.held_out` holds out, None
    where nothing needs them."""

    passages: Stage
    held_out: Stage | None


def make_split_passages(
    run: Run, corpus: Corpus, seed: int, tasks: Collection[str]
) -> SplitPassages:
    """Make the corpus as passages: split by sentence to `corpus.max_tokens`, without exact
    duplicates and texts below `corpus.min_words`, at most `corpus.limit` of them, and without those
    of held-out documents, which are the stage `passages-held-out` beside it.

    A passage of a split text is called ID#0, ID#1, ...; one of a whole text keeps its ID. What is
    left out is counted, and kept in the `dropped` side tables of the shards, in the corpus' order.

    Args:
        tasks: `evaluate.tasks`, some of which ask for held-out passages.

    Raises:
        UserError: for a corpus that cannot be read, is malformed, or of which nothing is left, and
            where no document or every document is held out; the run's folder is then as it was.
    """
    source = open_source(corpus, seed)
    prepare = functools.cache(
        lambda: gather_passages(source, corpus, seed, run.folder, run.workers)
    )
    settings = fingerprint(corpus, seed, source)
    earlier = {key: value for key, value in settings.items() if key != "rules"}
    if source.titles_are_prose and _is_made_alike(run, earlier, prepare):
        settings = earlier
    stage, passages = run.open_prepared("passages", settings, [], prepare)
    if passages is not None:
        _write_passages(stage, passages)
    if not corpus.held_out_share:
        return SplitPassages(stage, None)
    if corpus.source != "docstrings":
        return SplitPassages(stage, _make_held_out_passages(run, settings, prepare))
    if JUDGED not in tasks:
        return SplitPassages(stage, None)
    return SplitPassages(stage, _make_held_out_docstrings(run, corpus, seed, settings))


def fingerprint(corpus: Corpus, seed: int, source: CorpusSource) -> dict[str, Any]:
    """Collect the settings that change which passages are made, of the training documents and of
    those that are held out."""
    settings: dict[str, Any] = {"source": source.identity, **list_length_settings(corpus)}
    if corpus.limit is not None:
        settings |= {"limit": corpus.limit, "seed": seed}
    if holds_documents_out(corpus):
        settings |= list_hold_out_settings(corpus, seed)
    return settings | {"rules": _RULES} if source.titles_are_prose else settings


def _make_held_out_passages(
    run: Run, settings: Mapping[str, Any], prepare: Callable[[], GatheredPassages]
) -> Stage:
    stage, passages = run.open_prepared(HELD_OUT_PASSAGES, settings, [], prepare)
    if passages is not None:
        out = passages.held_out
        _write_passages(stage, GatheredPassages(out, out, Counter(kept=len(out))))
    return stage


def _make_held_out_docstrings(
    run: Run, corpus: Corpus, seed: int, settings: Mapping[str, Any]
) -> Stage:
    source = docstrings.open_held_out_docstrings(corpus, seed)
    stage, passages = run.open_prepared(
        HELD_OUT_PASSAGES, settings, [], lambda: gather_passages(source, corpus, seed, run.folder)
    )
    if passages is not None:
        _write_passages(stage, passages)
    return stage


def _write_passages(stage: Stage, passages: GatheredPassages) -> None:
    manifest = stage.metadata_dir / "manifest.json"
    notes = ExecutionNotes(manifest, f"stage {stage.name}", stage.folder, stage.workers)
    notes.add(passages.execution)
    chunks = list(range(0, len(passages.kept), _SHARD))

    def make_shard(start: int) -> ShardResult:
        kept, stop = passages.kept, start + _SHARD
        counts = Counter() if start else passages.counts
        if passages.dropped is None:
            return ShardResult(kept[start:stop], counts)
        first = kept.get_number(start) if start else 0
        dropped = passages.dropped.read(first or 0, kept.get_number(stop))
        return ShardResult(kept[start:stop], counts, dropped)

    stage.map_shards(
        PASSAGES, chunks, make_shard, lambda s: min(_SHARD, len(passages.kept) - s), "passages"
    )
    stage.finish()


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

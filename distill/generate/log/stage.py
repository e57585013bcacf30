"""The stage `parsed-log`: what users really asked, read from a log. The rows have the columns of
`parsed`, but no seed passage: `seed_id` is empty, for nobody knows yet which passage answers.
Filters, relabelling and training take them beside generated queries; `task_type` is `log`."""

import logging
import math
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from distill.corpus.readers.csv_files import has_open_quote
from distill.corpus.readers.jsonl import hash_file
from distill.errors import UserError
from distill.files.read import parse_path
from distill.generate.log.personal_data import identify_masking
from distill.generate.log.read import LoggedQueries, read_log
from distill.recipe import QueryLog, Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import NO_LLM, PARSED, Row

LOG_TYPE = "log"
SPARE = 1.5
"""Queries held out for each one that `evaluate.judged` wants, since some are dropped."""
_log = logging.getLogger(__name__)
_NAME = "parsed-log"
_HELD_OUT = "parsed-log-held-out"
_SHARD = 10_000
"""Queries a shard."""
_EARLIER = {"version": 2}
"""Stands for the rules of masking in fingerprints of earlier versions."""


class LogSettings(NamedTuple):
    """The settings of reading a log: the section `generate.log`, the number of judged queries for
    which some are held out of training (None: none are), the recipe's seed, and the folder that the
    log's path is relative to."""

    log: QueryLog
    judged: int | None
    seed: int
    folder: Path

    @classmethod
    def select(cls, recipe: Recipe) -> "LogSettings":
        """Select them of a recipe."""
        judged = recipe.evaluate.judged.queries if recipe.holds_out_log else None
        return cls(recipe.generate.log, judged, recipe.seed, recipe.folder)

    @property
    def file(self) -> Path:
        """The log."""
        return self.folder / parse_path(str(self.log.path))


def make_log_queries(run: Run, settings: LogSettings, min_relevance: float | None) -> Stage:
    """Read the different queries of `generate.log.path`; of more than `generate.log.queries`, so
    many are drawn by seed.

    Args:
        min_relevance: `relabel.min_relevance`, which alone leaves out a query without an answer.

    Raises:
        UserError: if the log cannot be read or holds no different queries, before the stage is
            begun.
    """
    marked = fingerprint(settings.log, settings.file, settings.seed) | _mark_held_out(settings)
    if _is_masked_alike(run, settings, marked | _EARLIER):
        marked |= _EARLIER
    read = None if run.is_complete(_NAME, marked) else select_log_queries(settings)
    stage = run.open_stage(_NAME, marked)
    if not stage.complete:
        read = read or select_log_queries(settings)
        numbered, counts = list(enumerate(read.queries)), read.counts

        def make_shard(some: list[tuple[int, str]]) -> ShardResult:
            rows = [_make_row(number, query, settings.log.task) for number, query in some]
            return ShardResult(rows, counts if some[0][0] == 0 else Counter())

        items = [numbered[i : i + _SHARD] for i in range(0, len(numbered), _SHARD)]
        stage.map_shards(PARSED, items, make_shard, size=len, unit="queries")
        stage.finish()
    if min_relevance is None:
        _log.warning(
            "%s: relabel.min_relevance is not set, so that a query which no passage answers is "
            "trained on all the same; set it, with rc or graded among relabel.rankers",
            _NAME,
        )
    return stage


def make_held_out_log_queries(run: Run, settings: LogSettings) -> Stage:
    """Read the queries of the log that are held out of training, for the task `judged`.

    Raises:
        UserError: if the log cannot be read, or holds too few different queries.
    """
    file, task = settings.file, settings.log.task
    marked = fingerprint(settings.log, file, settings.seed) | _mark_held_out(settings)
    stage = run.open_stage(_HELD_OUT, marked)
    if stage.complete:
        return stage
    _, held_out = _split_log(settings)
    if not held_out:
        raise UserError(
            str(file), "holds too few different queries to hold some out", "give a longer log"
        )

    def make_shard(_: int) -> ShardResult:
        rows = [_make_row(number, query, task) for number, query in enumerate(held_out)]
        return ShardResult(rows, Counter())

    stage.map_shards(PARSED, [0], make_shard, unit="steps")
    stage.finish()
    return stage


def _mark_held_out(settings: LogSettings) -> dict[str, object]:
    """Collect what changes which queries are held out of training; nothing where none are."""
    if settings.judged is None:
        return {}
    return {"held_out": settings.judged, "seed": settings.seed}


def fingerprint(settings: QueryLog, file: Path, seed: int) -> dict[str, object]:
    """Collect the settings that change which queries are read; a log is known by its content, and
    what is taken for personal data by its patterns."""
    return {
        **settings.list_fingerprinted({"path"}),
        "sha256": hash_file(file) if file.is_file() else None,
        **({"open_quotes": "letters"} if file.is_file() and has_open_quote(file) else {}),
        "seed": seed if settings.queries is not None else None,
        "version": 1 if settings.personal_data == "keep" else identify_masking(),
    }


def _is_masked_alike(run: Run, settings: LogSettings, earlier: dict[str, object]) -> bool:
    """Return whether an earlier version, whose fingerprint did not include the rules of masking,
    read the same queries as these rules give. Its stage, and what was made from it, then stay
    valid."""
    if settings.log.personal_data == "keep" or not run.is_complete(_NAME, earlier):
        return False
    stage = run.find_stage(_NAME, earlier)
    before = [row["query"] for row in stage.read_rows(PARSED)] if stage is not None else None
    return before == select_log_queries(settings).queries


def select_log_queries(settings: LogSettings) -> LoggedQueries:
    """Read the log without the queries that are held out, and draw `generate.log.queries` of the
    others, where there are more.

    Raises:
        UserError: as `read_log`.
    """
    read, _ = _split_log(settings)
    most = settings.log.queries
    if most is not None and most < len(read.queries):
        draw = random.Random(f"{settings.seed}|log")
        chosen = sorted(draw.sample(range(len(read.queries)), most))
        read.counts["dropped: over generate.log.queries"] = len(read.queries) - most
        read.queries = [read.queries[number] for number in chosen]
    return read


def _split_log(settings: LogSettings) -> tuple[LoggedQueries, list[str]]:
    """Read the log, and take the queries that are held out of training from it: at most half."""
    read = read_log(settings.file, settings.log)
    if settings.judged is None:
        return read, []
    wanted = math.ceil(SPARE * settings.judged)
    places = range(len(read.queries))
    draw = random.Random(f"{settings.seed}|log held out")
    chosen = set(draw.sample(places, min(wanted, len(places) // 2)))
    held_out = [read.queries[place] for place in sorted(chosen)]
    read.queries = [read.queries[place] for place in places if place not in chosen]
    read.counts["held out for evaluation"] = len(held_out)
    return read, held_out


def _make_row(number: int, query: str, task: str) -> Row:
    return {
        "query_id": f"~log-{number}",
        "seed_id": "",
        "sample": number,
        "draw": 0,
        "task": task,
        "task_type": LOG_TYPE,
        "query": query,
        "persona": None,
        "language": None,
        "llm": NO_LLM,
    }

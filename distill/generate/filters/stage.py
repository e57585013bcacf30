"""The stage `queries`: of what was parsed, the queries that pass the recipe's filters, the best
draw of each."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distill.errors import UserError
from distill.generate.filters.apply import (
    DrawScreen,
    ScreenedDraws,
    choose_best,
    make_retrieval_filters,
    make_row_filters,
)
from distill.generate.filters.best_of import (
    CandidateOrder,
    make_contrast_order,
    make_likelihood_order,
    order_by_rank,
)
from distill.generate.filters.candidate import GeneratedQuery, attach_passages
from distill.generate.filters.decontaminate import (
    CONTAMINATED_SEEDS,
    OVERLAPPING_SEEDS,
    SEED_PASSAGES,
    mark_contaminated,
)
from distill.generate.filters.duplicates import QueryDeduplicator, make_bands, make_ordinal
from distill.generate.filters.round_trip import DrawBatch, SeedSearch
from distill.llm.lazy import LazyLLM
from distill.llm.load import identify_llm as llm_identity
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM
from distill.llm.tokenization import fingerprint_tokenization
from distill.recipe import Filters, Generate, LanguageModel, Recipe, Relabel, Retriever
from distill.retrieve.corpus_index import identify_retriever as retriever_identity
from distill.retrieve.dense.part_work import QueryBatches
from distill.retrieve.dense.search_cache import RetrieverQueries
from distill.retrieve.index import QUERIES_AT_ONCE
from distill.retrieve.retriever import find_depth
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards, read_shard_number
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PARSED, QUERIES, count_rows_by_shard, read_shard
from distill.tasks.clean_stage import find_change_of_rows, find_clean_stage
from distill.tasks.decontaminate import (
    REASONS,
    RULE,
    Decontaminator,
    EvaluationSet,
    count_overlaps,
)
from distill.workers.protocol import HERE, OpenWork, WorkerNeeds

_NAME = "queries"
_SHARDS_AT_ONCE = 16
"""Shards for whose draws the vectors of the corpus are gone through once: those of 64 prompts, as
they are by default, would take half as long again one by one. An LLM that compares draws is the
slower part, and what it did is kept shard by shard."""


class FilterSettings(NamedTuple):
    """The settings of the filters: the section `generate`, the language model that may compare
    draws, the retriever, the section `relabel`, which says how deep to search and how likelihood is
    asked, and the folder that prompts are named relative to."""

    generate: Generate
    llm: LanguageModel
    retriever: Retriever
    relabel: Relabel
    folder: Path

    @classmethod
    def select(cls, recipe: Recipe) -> "FilterSettings":
        """Select them of a recipe."""
        return cls(recipe.generate, recipe.llm, recipe.retriever, recipe.relabel, recipe.folder)


def make_queries(
    run: Run,
    filtering: FilterSettings,
    passages: Stage,
    sources: Sequence[Stage],
    llm: LazyLLM,
    sets: list[EvaluationSet],
) -> Stage:
    """Filter the queries of some stages (tables of parsed queries), one after the other and shard
    by shard. What is left out is counted by its reason and kept in the side table. `llm` is called
    only if draws are still to be compared by it.

    Args:
        sets: what the recipe evaluates on.

    Raises:
        UserError: if a filter cannot work (a language is unknown, the engine gives no
            log-probabilities), before the stage is begun; if no query is left.
    """
    prompt = _find_prompt(filtering)
    settings, inputs = fingerprint(filtering, prompt, sets), [passages, *sources]
    # A complete stage needs neither models nor, where it was checked before, evaluation texts.
    length = filtering.generate.filters.decontaminate_words
    stage = _find_unchanged(run, length, settings, inputs, sets)
    if stage is None:
        stage = _make(run, filtering, settings, inputs, sets, prompt, llm)
    _require_some(stage)
    return stage


def _find_unchanged(
    run: Run,
    length: int,
    settings: dict[str, Any],
    inputs: list[Stage],
    sets: list[EvaluationSet],
) -> Stage | None:
    """Find the complete stage of other evaluation tasks, where the present ones change nothing in
    it."""
    passages, *sources = inputs
    known = functools.cache(lambda: Decontaminator(sets, length) if sets else None)

    def find_change(stage: Stage) -> str | None:
        return find_change_of_rows(
            stage, sets, known(), length, lambda against: _count_hits(stage, passages, against)
        )

    def describe() -> dict[str, Any]:
        against, marked = known(), ShardResult([])
        if against is None:
            return {}
        corpus, counts = PassageReader(passages.folder), Counter[str]()
        for path in (path for source in sources for path in list_shards(source.folder)):
            draws = attach_passages(read_shard(PARSED, path), corpus)
            mark_contaminated(draws, against, marked)
            counts.update(marked.counts)
        before = Stage(_NAME, run.folder / _NAME, "").sum_counts()
        return _summarize(Counter({**before, **counts}), against, length)

    return find_clean_stage(run, _NAME, settings, inputs, find_change, describe)


def _count_hits(stage: Stage, passages: Stage, known: Decontaminator) -> int:
    """Count the number of queries that hold words of an evaluation query, or whose seed passages
    do."""
    corpus, hits = PassageReader(passages.folder), 0
    for path in list_shards(stage.folder):
        rows = read_shard(QUERIES, path)
        seeds = corpus.read_texts({row["seed_id"] for row in rows} - {""})
        contaminated = {id_ for id_, text in seeds.items() if known.overlaps(text)}
        hits += sum(row["seed_id"] in contaminated or known.overlaps(row["query"]) for row in rows)
    return hits


def _make(
    run: Run,
    filtering: FilterSettings,
    settings: dict[str, Any],
    inputs: list[Stage],
    sets: list[EvaluationSet],
    prompt: Prompt | None,
    llm: LazyLLM,
) -> Stage:
    passages, *sources = inputs
    filters, retriever = filtering.generate.filters, filtering.retriever
    known = Decontaminator(sets, filters.decontaminate_words) if sets else None
    if prompt is None and _needs_retriever(filtering.generate):
        llm.make_room_for(retriever)
    if prompt is not None:
        run.workers.dismiss_all()  # this process opens the LLM, perhaps where they hold it
    engine = llm() if prompt is not None else None
    depth, words = _choose_depth(filtering), filtering.generate.max_passage_words
    keeps = find_depth(retriever, filtering.relabel.top_k) if "dense" in retriever.sources else 0
    make_row_filters(filters)  # refuse an unknown language before all else
    search = (
        SeedSearch(run, retriever, passages, depth, keeps, filters.round_trip_by)
        if _needs_retriever(filtering.generate)
        else None
    )
    order: CandidateOrder = order_by_rank
    if engine is not None and prompt is not None:
        order = make_likelihood_order(engine, prompt, words)
        if filtering.generate.best_by == "contrast":
            corpus = PassageReader(passages.folder)
            order = make_contrast_order(engine, prompt, words, corpus)
    stage = run.open_stage(_NAME, settings, inputs)
    if stage.complete:
        return stage
    counts = [n for of in sources for n in count_rows_by_shard(of.folder, list_shards(of.folder))]
    file = stage.metadata_dir / "seen.sqlite"
    together = _choose_together(search, counts)
    # What the process that writes need not do; by itself it does it for the best draws alone.
    near = None if run.workers.local else filters.near_duplicates
    opens = partial(_open_seeded, filters, passages, sources, known)
    batches = QueryBatches(opens, len(counts), together, lambda number: counts[number])
    with (
        search.prepare(stage, batches) if search is not None else nullcontext(),
        QueryDeduplicator(file, filters.exact_duplicates, filters.near_duplicates) as seen,
    ):
        _restore_seen(stage, seen)

        def settle(number: int, screened: ScreenedDraws) -> ShardResult:
            if search is not None:
                search.keep_searches(screened.searches)
            # A query is a duplicate of those before it.
            return choose_best(screened, number, order, seen)

        used = stage.map_on_workers(
            QUERIES,
            range(len(counts)),
            partial(_open_screen, filters, passages, sources, known, search, engine, near),
            _choose_needs(search, engine),
            size=lambda number: counts[number],
            unit="draws",
            together=together,
            settle=settle,
            key="generate.shard_size",
        )
    if engine is not None and not run.workers.local:
        llm.make_room()  # workers open theirs next, perhaps on this GPU
    figures = _summarize(stage.sum_counts(), known, filters.decontaminate_words)
    stage.finish(tokens=used, **figures)
    return stage


def _open_draws(passages: Stage, sources: Sequence[Stage]) -> Callable[[int], list[GeneratedQuery]]:
    """Open the draws of all shards, which are read by the shard's number."""
    paths = [path for source in sources for path in list_shards(source.folder)]
    corpus = PassageReader(passages.folder)
    return lambda number: attach_passages(read_shard(PARSED, paths[number]), corpus)


def _open_seeded(
    filters: Filters, passages: Stage, sources: Sequence[Stage], known: Decontaminator | None
) -> Callable[[int], RetrieverQueries]:
    """Open the queries whose seed passages are searched for: those that pass the filters before."""
    read = _open_draws(passages, sources)
    screen = DrawScreen(make_row_filters(filters), known, None, [])

    def read_queries(number: int) -> RetrieverQueries:
        passing = screen.screen(read(number)).draws
        return DrawBatch([draw for draw in passing if draw.has_seed], number).make_queries()

    return read_queries


@contextmanager
def _open_screen(
    filters: Filters,
    passages: Stage,
    sources: Sequence[Stage],
    known: Decontaminator | None,
    search: SeedSearch | None,
    engine: LLM | None,
    near: float | None,
) -> Iterator[OpenWork[int, ScreenedDraws]]:
    """Open the screening of draws.

    Args:
        engine: compares the draws that pass, by their passages, in this process.
        near: similarity of near-duplicates, for which this process makes the queries' bands.
    """
    read = _open_draws(passages, sources)
    screen = DrawScreen(make_row_filters(filters), known, search, make_retrieval_filters(filters))

    def screen_shards(numbers: Sequence[int]) -> list[ScreenedDraws]:
        # All rows of a seed passage lie in one shard: a query's draws can be compared there.
        screened = screen({number: read(number) for number in numbers})
        if engine is None:
            for draw in (draw for of in screened for draw in of.draws):
                draw.passage = {}  # which would travel for nothing
                draw.bands = None if near is None else make_bands(draw.query, near)
        return screened

    yield OpenWork(screen_shards, (lambda: engine.tokens) if engine else None)


def _choose_needs(search: SeedSearch | None, engine: LLM | None) -> WorkerNeeds:
    if engine is not None:
        return HERE
    return WorkerNeeds() if search is None else search.needs


def _choose_together(search: SeedSearch | None, counts: Sequence[int]) -> int:
    """Choose how many shards, of so many draws, are searched at once: more where a pass through the
    corpus is long."""
    at_once = QUERIES_AT_ONCE if search is None else search.queries_at_once
    if at_once == QUERIES_AT_ONCE:
        return _SHARDS_AT_ONCE
    return max(1, at_once * len(counts) // max(1, sum(counts)))


def _restore_seen(stage: Stage, seen: QueryDeduplicator) -> None:
    """Remember what the shards that stand already hold."""
    for path in list_shards(stage.folder):
        for place, row in enumerate(read_shard(QUERIES, path)):
            seen.add(row["query"], make_ordinal(read_shard_number(path), place))
        seen.flush()


def _get_best_by(generate: Generate) -> str | None:
    return generate.best_by if generate.best_of > 1 else None


def _needs_retriever(generate: Generate) -> bool:
    filters = generate.filters
    filtered = filters.round_trip is not None or filters.min_similarity is not None
    return filtered or _get_best_by(generate) in ("round_trip", "contrast")


def _choose_depth(filtering: FilterSettings) -> int:
    """Return how far down a seed passage is looked for: as far as the filter asks, else as far as
    relabelling will look; for a contrast at least to another passage."""
    depth = filtering.generate.filters.round_trip or filtering.relabel.top_k
    return max(2, depth) if _get_best_by(filtering.generate) == "contrast" else depth


def _find_prompt(filtering: FilterSettings) -> Prompt | None:
    """Return the query likelihood's prompt, where draws are compared by it."""
    if _get_best_by(filtering.generate) not in ("ql", "contrast"):
        return None
    return load_prompt(filtering.relabel.prompt_ql, filtering.folder, parts=2)


def fingerprint(
    filtering: FilterSettings, prompt: Prompt | None, sets: list[EvaluationSet]
) -> dict[str, Any]:
    """Collect the settings that change which queries pass the filters."""
    generate, filters = filtering.generate, filtering.generate.filters
    apart = {"decontaminate", "decontaminate_words", "round_trip_by"}
    settings: dict[str, Any] = {
        "version": 1,
        "filters": filters.model_dump(exclude=apart),
        "best_by": _get_best_by(generate),
    }
    if filters.max_copied is not None and generate.free_methods:
        settings["copies"] = "written"  # earlier, what was taken from passages was dropped as well
    if sets:
        settings["decontaminate"] = {known.name: known.revision for known in sets}
        settings["decontaminate_words"] = filters.decontaminate_words
        settings["decontaminate_rule"] = RULE
    if prompt is not None:
        settings["ql"] = {
            "prompt": prompt.source,
            "llm": llm_identity(filtering.llm),
            "max_passage_words": generate.max_passage_words,
            **fingerprint_tokenization(filtering.llm, prompt),
        }
    if _needs_retriever(filtering.generate):
        embeds = filters.round_trip_by == "dense"
        settings["retriever"] = {
            **retriever_identity(filtering.retriever, embeds),
            "depth": _choose_depth(filtering),
        }
    return settings


def _summarize(counts: Counter[str], known: Decontaminator | None, length: int) -> dict[str, Any]:
    """Return what decontamination found, over all shards."""
    if known is None:
        return {}
    summary = count_overlaps(known, length, sum(counts[f"dropped: {reason}"] for reason in REASONS))
    of_seeds = {
        name: counts[name] for name in (SEED_PASSAGES, CONTAMINATED_SEEDS, OVERLAPPING_SEEDS)
    }
    return {"decontamination": summary | of_seeds}


def _require_some(stage: Stage) -> None:
    if stage.manifest["rows"]:
        return
    counts = stage.manifest["counts"]
    listed = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    raise UserError(
        str(stage.folder),
        f"no query is left ({listed or 'none was parsed'})",
        "read `distill inspect RUN queries/dropped`; then loosen generate.filters, or change the "
        "prompt or llm.model, and run again with --overwrite stale",
    )

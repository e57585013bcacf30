"""Rows, a run whose stages `passages` and `parsed` stand, and recipes, from a few words."""

from collections.abc import Sequence
from pathlib import Path

from distill.generate.filters.candidate import GeneratedQuery
from distill.generate.filters.stage import FilterSettings, make_queries
from distill.llm.lazy import LazyLLM
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import PARSED, PASSAGES, Row, Table, read_shard
from distill.tasks.decontaminate import list_evaluation_sets
from helpers.passages import write_shard


def make_passage(id_: str, text: str, title: str = "") -> Row:
    return {"passage_id": id_, "title": title, "text": text, "source": "test"}


def make_parsed_row(
    seed: str, query: str, sample: int = 0, draw: int | None = None, language: str | None = None
) -> Row:
    number = "" if draw is None else f".{draw}"
    return {
        "query_id": f"{seed}~{sample}{number}",
        "seed_id": seed,
        "sample": sample,
        "draw": draw or 0,
        "task": "Given a question, find the passage that answers it.",
        "task_type": "search",
        "query": query,
        "persona": "a nurse",
        "language": language,
        "llm": "writer",
    }


def make_generated_query(
    query: str, text: str = "Swifts sleep in flight.", language: str | None = None
) -> GeneratedQuery:
    return GeneratedQuery(
        make_parsed_row("p", query, language=language), make_passage("p", text), 0
    )


def prepare_parsed(
    run: Run, passages: Sequence[list[Row]], rows: Sequence[list[Row]]
) -> tuple[Stage, Stage]:
    """The two stages; a list is a shard."""
    return _write_stage(run, "passages", PASSAGES, passages), _write_stage(
        run, "parsed", PARSED, rows
    )


def _write_stage(run: Run, name: str, table: Table, shards: Sequence[list[Row]]) -> Stage:
    stage = run.open_stage(name, {"shards": len(shards)})
    if not stage.complete:
        for number, rows in enumerate(shards):
            write_shard(table, stage.folder / f"part-{number:05d}.parquet", rows)
        stage.finish(rows=sum(map(len, shards)))
    return stage


def make_filter_recipe(folder: Path = Path("."), **sections: object) -> Recipe:
    made = Recipe.model_validate({"name": "filters", **sections})
    made._folder = folder
    return made


def filter_queries(
    run: Run,
    recipe: Recipe,
    passages: Stage,
    sources: Sequence[Stage],
    llm: LazyLLM,
    held_out: Stage | None = None,
) -> Stage:
    """Make the stage `queries` of a recipe without a corpus of its own."""
    filters = recipe.generate.filters
    sets = list_evaluation_sets(recipe.evaluate, filters, None, recipe.seed, held_out)
    return make_queries(run, FilterSettings.select(recipe), passages, sources, llm, sets)


def refuse_llm() -> None:
    raise AssertionError("the LLM was asked for")


def read_dropped(stage: Stage) -> list[tuple[str, str, str]]:
    """(item, reason, text) of the side table, in order."""
    from distill.store.tables import DROPPED

    return [
        (row["item_id"], row["reason"], row["text"])
        for path in sorted(stage.metadata_dir.glob("dropped-*.parquet"))
        for row in read_shard(DROPPED, path)
    ]


def read_tables(stage: Stage) -> dict[str, bytes]:
    """Every committed file of a stage, byte for byte."""
    paths = [*stage.folder.glob("*.parquet"), *stage.metadata_dir.glob("*.parquet")]
    return {path.name: path.read_bytes() for path in sorted(paths)}

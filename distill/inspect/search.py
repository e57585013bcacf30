"""A query over a run's corpus, answered by student and teacher side by side."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from distill.errors import UserError
from distill.files.read import is_text
from distill.recipe import Recipe, load_recipe
from distill.runtime.garbage import pause_garbage_collection
from distill.runtime.progress import show_activity
from distill.store.passages import PassageReader
from distill.store.tables import Row
from distill.text.sanitize import sanitize_for_terminal

_BEGINNING = 160
"""Characters of a passage on the screen."""


@dataclass(frozen=True)
class SearchHit:
    """A passage that a search found. `similarity` is the cosine, from -1 to 1; of a hybrid the
    weighted sum of both scores in standard deviations."""

    row: int
    passage: Row
    similarity: float


@dataclass(frozen=True)
class SearchResults:
    """The hits for one query by model (`student` first) or hybrid (`student + bm25`), each list
    best first."""

    query: str
    hits: dict[str, list[SearchHit]]
    hybrid: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return query and hits as JSON has them."""
        return {
            "query": self.query,
            "hits": {
                name: [
                    {
                        "passage_id": hit.passage["passage_id"],
                        "title": hit.passage["title"],
                        "text": hit.passage["text"],
                        "similarity": round(hit.similarity, 6),
                    }
                    for hit in hits
                ]
                for name, hits in self.hits.items()
            },
        }

    @property
    def shared(self) -> set[int]:
        """The passages that every model found; none where there is one model."""
        rows = [{hit.row for hit in hits} for hits in self.hits.values()]
        return set.intersection(*rows) if len(rows) > 1 else set()


def search_run(folder: Path, query: str, k: int = 5, hybrid: bool = False) -> SearchResults:
    """Find the k best passages of one query; see `search_each`."""
    recipe = _load_searched_recipe(folder)
    _check_query(query)
    with closing(_search(folder, recipe, [query], k, hybrid)) as results:
        return next(results)


def search_each(
    folder: Path, queries: Iterable[str], k: int = 5, hybrid: bool = False
) -> Iterator[SearchResults]:
    """Find the k best passages of each query by exact search, held-out documents among them, for
    the student and for the teacher where the recipe names one. The models are loaded once, before
    the first query is taken. The passages' vectors come from the run's store, or are embedded into
    it.

    Args:
        hybrid: whether each model is fused with BM25, as evaluation does it.

    Raises:
        UserError: if the folder is no run, or it has no passages or no student yet; if a query is
            empty.
    """
    yield from _search(folder, _load_searched_recipe(folder), queries, k, hybrid)


def _search(
    folder: Path, recipe: Recipe, queries: Iterable[str], k: int, hybrid: bool
) -> Generator[SearchResults]:
    with show_activity("loading the models"), pause_garbage_collection():
        from distill.evaluate.models.run_models import RunModelSettings, load_run_models
        from distill.evaluate.passage_search import (
            PassageSearch,
            open_searched_stages,
            open_to_read,
        )
        from distill.evaluate.summary import name_hybrid

        settings = RunModelSettings.select(recipe)
        models = load_run_models(settings, {"student": folder / "student"})
    with open_to_read(folder) as run:
        task, bm25 = recipe.student.default_task, recipe.retriever.bm25
        search = PassageSearch(run, task, bm25, open_searched_stages(folder))
        rank = search.rank_by_both if hybrid else search.rank_by_vectors
        for query in queries:
            _check_query(query)
            ranked = {
                name_hybrid(role) if hybrid else role: rank(model, query, k)
                for role, model in models.items()
            }
            hits = {name: _read_hits(search.passages, rows) for name, rows in ranked.items()}
            yield SearchResults(query, hits, hybrid)


def _load_searched_recipe(folder: Path) -> Recipe:
    if not (folder / "recipe.yaml").is_file():
        raise UserError(str(folder), "is not a run", "name a folder that `distill run` has written")
    recipe = load_recipe(folder / "recipe.yaml")
    if not (folder / "passages" / ".stage" / "manifest.json").is_file():
        raise UserError(
            str(folder), "has no corpus to search", "give the recipe one, with `corpus.path`"
        )
    if not (folder / "student" / "modules.json").is_file():
        if {of.parent.parent.name for of in folder.glob("*/.stage/manifest.json")} == {"passages"}:
            raise UserError(
                str(folder),
                "has passages alone, and no student that could search them",
                "write a recipe with `distill init PATH` of the corpus, then `distill run`",
            )
        raise UserError(
            str(folder), "has no student yet", f"train it: distill train-student --run {folder}"
        )
    return recipe


def _check_query(query: str) -> None:
    if not query.strip():
        raise UserError("the query", "is empty", "write what you look for")
    if not is_text(query):
        raise UserError("the query", "holds half a surrogate pair or a NUL", "write it as UTF-8")


def _read_hits(reader: PassageReader, ranked: list[tuple[int, float]]) -> list[SearchHit]:
    passages = reader.read_rows([row for row, _ in ranked])
    return [
        SearchHit(row, passage, score)
        for (row, score), passage in zip(ranked, passages, strict=True)
    ]


def render_results(answers: SearchResults) -> Table:
    """Render the results, a column a model; what every model found is marked with a star."""
    view = Table(
        title=Text(sanitize_for_terminal(answers.query)),
        caption=_write_caption(answers),
        expand=True,
    )
    view.add_column("", justify="right")
    for name in answers.hits:
        view.add_column(name, ratio=1)
    shared, digits = answers.shared, 4 if answers.hybrid else 3
    for rank, hits in enumerate(zip(*answers.hits.values(), strict=True), start=1):
        view.add_row(
            str(rank),
            *(_format_hit(hit, hit.row in shared, digits) for hit in hits),
            end_section=True,
        )
    return view


def _write_caption(answers: SearchResults) -> str | None:
    if len(answers.hits) < 2:
        return "the recipe names no teacher"
    count = len(next(iter(answers.hits.values())))
    return f"* found by both: {len(answers.shared)} of {count}"


def _format_hit(hit: SearchHit, shared: bool, digits: int) -> Text:
    """Format a hit, whose passage is a document's text and may hold anything: never markup of the
    screen."""
    title = " ".join(sanitize_for_terminal(hit.passage["title"]).split())
    text = " ".join(sanitize_for_terminal(hit.passage["text"]).split())
    beginning = text if len(text) <= _BEGINNING else text[: _BEGINNING - 1] + "…"
    score = f"{'* ' if shared else ''}{hit.similarity:.{digits}f}"
    head = f"{score}  {title or hit.passage['passage_id']}"
    return Text.assemble((head, "bold green" if shared else "bold"), "\n", beginning)

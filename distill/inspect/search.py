"""A query over a run's corpus, answered by student and teacher side by side."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from distill.errors import UserError
from distill.files.read import is_text
from distill.recipe import load_recipe
from distill.store.local_name import name_model
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import Row
from distill.text.format import Side
from distill.text.sanitize import sanitize_for_terminal

if TYPE_CHECKING:
    from distill.embed.encoder import Encoder
    from distill.evaluate.models.eval_model import EvalModel

_BEGINNING = 160
"""Characters of a passage on the screen."""


@dataclass(frozen=True)
class SearchHit:
    """`similarity` is the cosine, from -1 to 1."""

    row: int
    passage: Row
    similarity: float


@dataclass(frozen=True)
class SearchResults:
    """By model, `student` first, each best first."""

    query: str
    hits: dict[str, list[SearchHit]]

    @property
    def shared(self) -> set[int]:
        """The passages that every model found; none where there is one model."""
        found = [{hit.row for hit in hits} for hits in self.hits.values()]
        return set.intersection(*found) if len(found) > 1 else set()


def search_run(folder: Path, query: str, k: int = 5) -> SearchResults:
    """The k nearest passages by exact search, for the student and for the teacher where the recipe
    names one. The corpus' vectors come from the run's store, or are embedded into it.

    Raises:
        UserError: if the folder is no run, or it has no passages or no student yet.
    """
    if not (folder / "recipe.yaml").is_file():
        raise UserError(str(folder), "is not a run", "name a folder that `distill run` has written")
    recipe = load_recipe(folder / "recipe.yaml")
    if not (folder / "passages" / ".stage" / "manifest.json").is_file():
        raise UserError(
            str(folder), "has no corpus to search", "give the recipe one, with `corpus.path`"
        )
    if not (folder / "student" / "modules.json").is_file():
        raise UserError(
            str(folder), "has no student yet", f"train it: distill train-student --run {folder}"
        )
    if not query.strip():
        raise UserError("the query", "is empty", "write what you look for")
    if not is_text(query):
        raise UserError("the query", "holds half a surrogate pair or a NUL", "write it as UTF-8")
    task = recipe.student.default_task
    from distill.evaluate.models.run_models import load_run_models

    models = load_run_models(recipe, {"student": folder / "student"})
    hits = {
        role: _search(
            folder, make_encoder(model), make_encoder(model.documents or model), query, task, k
        )
        for role, model in models.items()
    }
    return SearchResults(query, hits)


def render_results(answers: SearchResults) -> Table:
    """A column a model; what every model found is marked with a star."""
    view = Table(
        title=Text(sanitize_for_terminal(answers.query)),
        caption=_write_caption(answers),
        expand=True,
    )
    view.add_column("", justify="right")
    for name in answers.hits:
        view.add_column(name, ratio=1)
    shared = answers.shared
    for rank, hits in enumerate(zip(*answers.hits.values(), strict=True), start=1):
        view.add_row(
            str(rank), *(_format_hit(hit, hit.row in shared) for hit in hits), end_section=True
        )
    return view


def _write_caption(answers: SearchResults) -> str | None:
    if len(answers.hits) < 2:
        return "the recipe names no teacher"
    found = len(next(iter(answers.hits.values())))
    return f"* found by both: {len(answers.shared)} of {found}"


def _format_hit(hit: SearchHit, shared: bool) -> Text:
    """The passage is a document's text and may hold anything: never markup of the screen."""
    title = " ".join(sanitize_for_terminal(hit.passage["title"]).split())
    text = " ".join(sanitize_for_terminal(hit.passage["text"]).split())
    beginning = text if len(text) <= _BEGINNING else text[: _BEGINNING - 1] + "…"
    head = f"{'* ' if shared else ''}{hit.similarity:.3f}  {title or hit.passage['passage_id']}"
    return Text.assemble((head, "bold green" if shared else "bold"), "\n", beginning)


def make_encoder(model: "EvalModel") -> "Encoder":
    """Make the encoder of a run's model. Its identity is as the retriever's, whose vectors of the
    passages serve where it is the same model."""
    from distill.embed.encoder import Encoder

    wording, named = model.prompts.wording, model.prompts.named
    identity: dict[str, str | int] = {
        "model": name_model(model.reference),
        "revision": model.revision,
        "max_tokens": model.max_tokens or "all",
        **model.departures,
    }
    if model.model is not None:
        return Encoder(model.embedder, wording, identity, model.reference)
    # A server's prompts are part of its identity, and no part of the texts that are stored. The
    # query's template is not part of it: it changes queries alone, and those are not stored.
    identity |= {f"{side}_prompt": named.get(side, "") for side in ("query", "document")}
    identity |= model.fields
    plain = dataclasses.replace(wording, document="")
    prompts: dict[Side, str] = {"document": wording.document}
    return Encoder(model.embedder, plain, identity, model.reference, server_prompts=prompts)


@contextmanager
def _open_vectors(folder: Path) -> Iterator[Run]:
    """The run; of one that cannot be written, a passing folder that has its vectors and takes up
    what is not among them."""
    if os.access(folder, os.W_OK):
        with Run(folder) as run:
            yield run
        return
    with TemporaryDirectory() as passing, Run(Path(passing)) as run:
        vectors = run.folder / "vectors"
        vectors.mkdir()
        for store in folder.glob("vectors/*"):
            (vectors / store.name).symlink_to(store.resolve())
        yield run


def _search(
    folder: Path, encoder: "Encoder", documents: "Encoder", query: str, task: str, k: int
) -> list[SearchHit]:
    """Search the run's passages, which `documents` embeds. A model that is instructed gets the
    student's default task: a search has no task of its own."""
    from distill.retrieve.corpus_index import corpus_vectors
    from distill.retrieve.exact import ExactIndex

    passages = open_stage(folder / "passages")
    with _open_vectors(folder) as run:
        store = corpus_vectors(run, documents, passages)
    vectors = encoder.encode([query], "query", [task])
    scores, rows = ExactIndex(store.vectors).search(vectors, k)
    numbers = rows[0].tolist()
    found = PassageReader(passages.folder).read_rows(numbers)
    return [
        SearchHit(number, passage, float(score))
        for number, passage, score in zip(numbers, found, scores[0], strict=True)
    ]

"""A mixture of rankers teaches both routes over candidates of dense search and BM25, without an
LLM."""

import pytest
from helpers.query_side_recipe import load_query_route
from helpers.written_files import read_files

from distill.files.atomic import read_json
from distill.pipeline.job import Job
from distill.store.run import Run
from distill.store.tables import LABELS

LEARNT = "{retriever: 1, bm25: 1, seed: 0.5}"
BOTH = (
    "student.route=both",
    "train.objective={kl: 1.0}",
    f"train.kl={{scores: {LEARNT}, candidates: all, max_candidates: 5, temperature: 0.5}}",
)
QUERY = (f"train.corpus_softmax={{scores: {LEARNT}, temperature: 0.5}}",)


@pytest.mark.parametrize(("sets", "most"), [(BOTH, 5), (QUERY, 9)], ids=["both", "query"])
def test_mixture_is_learnt_over_the_union_of_candidates(
    tmp_path, recipe_file, encoder_folder, sets, most
):
    recipe = load_query_route(recipe_file, encoder_folder, *sets)

    def train(folder):
        with Run(folder) as run:
            _, _, student = Job(run, recipe).train_student()
        return student.folder

    student = train(tmp_path / "run")
    with Run(tmp_path / "run") as run:
        labels = Job(run, recipe).relabel().labels.read_rows(LABELS)
    lengths = {row["query_id"]: 0 for row in labels}
    for row in labels:
        lengths[row["query_id"]] += 1
    assert max(lengths.values()) > 5  # more than one source finds
    (told,) = read_json(student / "training.json")["stages"]
    soft = told["soft_labels"]
    expected = sum(min(length, most) for length in lengths.values()) / len(lengths)
    assert soft["candidates"] == pytest.approx(expected, abs=1e-3)
    assert soft["lists"] == len(lengths)
    assert 1 < soft["effective_candidates"] < soft["candidates"]
    assert read_files(train(tmp_path / "again")) == read_files(student)

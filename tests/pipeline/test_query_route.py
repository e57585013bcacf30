"""A query encoder in the teacher's space, adapted to a corpus without an LLM: the whole path."""

import json
import shutil
from pathlib import Path

import mteb
import numpy as np
import pytest
import yaml
from helpers.killed_training import Killed
from helpers.mteb_calls import score_as_mteb
from helpers.plain_process import run_plainly
from helpers.query_side_recipe import TEXTS, load_query_route
from helpers.written_files import read_files
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from distill.embed.open_model import open_model
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.export.export import export_model
from distill.export.search_index import export_index
from distill.files.atomic import read_json
from distill.inspect.search import search_run
from distill.llm.lazy import LazyLLM
from distill.models.sentence_transformer import load_sentence_model
from distill.pipeline.job import Job
from distill.recipe import EmbedderConfig, Recipe, load_recipe, override
from distill.retrieve.dense.dense_search import open_dense_search
from distill.retrieve.dense.search_cache import RetrieverQueries
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import PASSAGES, QUERIES, join_passage
from distill.student.saving import save_beside
from distill.tasks import load_task
from distill.train.loop.callbacks import CheckpointCallback
from distill.train.query_route import join_routes, save_query_route
from distill.train.settings import TrainingSettings


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder) -> Recipe:
    return load_query_route(recipe_file, encoder_folder)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    folder = tmp_path_factory.mktemp("query-route") / "run"
    with Run(folder) as run:
        job = Job(run, recipe)
        job.llm = LazyLLM(_refuse_llm, served=True)
        job.evaluate()
    return folder


def _refuse_llm():
    raise AssertionError("an LLM was opened")


def test_queries_are_the_students_and_documents_the_teachers(run_folder, encoder_folder):
    student = SentenceTransformer(str(run_folder / "student"))
    teacher = SentenceTransformer(str(encoder_folder))
    np.testing.assert_allclose(
        student.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-6
    )
    assert np.abs(student.encode_query(TEXTS) - teacher.encode_query(TEXTS)).max() > 1e-3


def test_training_lowers_the_cross_entropy_and_encodes_queries_alone(run_folder):
    curve = read_json(run_folder / "student" / "training.json")["curve"]
    assert curve[-1]["corpus_softmax"] < curve[0]["corpus_softmax"]
    assert curve[0]["loss"] == pytest.approx(curve[0]["corpus_softmax"], abs=1e-3)


def test_validations_measure_queries_beside_the_frozen_documents(run_folder):
    looks = read_json(run_folder / "student" / "training.json")["looks"]
    assert len(looks) > 1
    names = {"query_uniformity", "query_effective_rank", "document_alignment"}
    assert all(line.keys() - {"step", "epoch"} == names for line in looks)
    # The untrained student is the teacher: distances on the unit sphere.
    assert 0 < looks[0]["document_alignment"] < 2


def test_evaluation_searches_the_teachers_documents_with_the_students_queries(run_folder):
    summary = read_json(run_folder / "summary.json")
    models = summary["models"]
    assert summary["verdict"]["advice"] != "base"
    # The untrained query encoder is the teacher itself.
    assert models["base"]["score"] == pytest.approx(models["teacher"]["score"], abs=1e-4)
    assert models["student"]["parameters"] == models["teacher"]["parameters"]


def test_teacher_is_in_memory_once_in_an_evaluation(run_folder):
    """It is the document route of the saved student, too."""
    settings = RunModelSettings.select(load_recipe(run_folder / "recipe.yaml"))
    models = load_run_models(settings, {"student": run_folder / "student"})
    held = {
        role: sum(weight.numel() for weight in of.model.parameters()) for role, of in models.items()
    }
    assert held["student"] == models["student"].parameters
    assert held["teacher"] == models["teacher"].parameters
    assert models["student"].documents is models["teacher"]


def test_teacher_is_in_memory_once_in_a_later_round(run_folder, tmp_path):
    """Whose retriever is the query encoder of the round before."""
    shutil.copytree(run_folder, tmp_path / "run")
    recipe = load_recipe(run_folder / "recipe.yaml")
    settings = {"model": str(run_folder / "student"), "query_template": "{query}"}
    retriever = recipe.retriever.model_copy(update=settings)
    with Run(tmp_path / "run") as run:
        passages = open_stage(run.folder / "passages")
        search = open_dense_search(run, retriever, passages, recipe.teacher)
        route = search._encoders.searching.embedder.model[0].sub_modules
        assert sum(weight.numel() for weight in route["query"].parameters())
        assert not sum(weight.numel() for weight in route["document"].parameters())
        [found] = search.search([RetrieverQueries(["a queue of threads"], ["x"])], 3)
        assert (np.diff(found.scores) <= 0).all()


def test_narrow_student_scores_as_truncated_queries_over_truncated_documents(
    run_folder, recipe, tmp_path
):
    """A teacher's Matryoshka widths stay usable."""
    shutil.copytree(run_folder, tmp_path / "run")
    narrow = override(recipe, {"evaluate.widths": [16]})
    with Run(tmp_path / "run") as run:
        Job(run, narrow).evaluate()
    models = read_json(tmp_path / "run" / "summary.json")["models"]
    truncated = SentenceTransformer(str(run_folder / "student"), truncate_dim=16)
    task = load_task("mine", Path(recipe.evaluate.task_data))
    wrapped = mteb.models.SentenceTransformerEncoderWrapper(truncated)
    scores = score_as_mteb(wrapped, task)["test"][0]
    assert models["student@16"]["score"] == pytest.approx(scores["ndcg_at_10"], abs=1e-4)
    assert models["student@16"]["score"] != models["student"]["score"]


def test_run_with_the_student_as_teacher_embeds_no_passage_again(
    run_folder, recipe_file, encoder_folder, tmp_path
):
    """A small student is aligned with an adapted query encoder: the corpus has the vectors of the
    retriever, which is the document route."""
    recipe = load_recipe(
        recipe_file,
        [
            "generate={methods: [sentences], free: {queries: 20}, filters: {decontaminate: false}}",
            f"retriever={{model: {encoder_folder}, max_tokens: 32, device: cpu}}",
            f"retriever.vectors_from={run_folder}",
            "relabel={top_k: 4, rankers: [retriever, bm25], positive: seed, negative_count: 0}",
            f"teacher={{model: {run_folder / 'student'}, max_tokens: 32, device: cpu}}",
            "train={batch_size: 8, max_steps: 2, device: cpu, objective: {align: 1.0}}",
        ],
    )
    with Run(tmp_path / "run") as run:
        corpus, _, _ = Job(run, recipe).train_student()
    ids = [row["passage_id"] for row in corpus.passages.read_rows(PASSAGES)]
    stores = [read_json(path) for path in (tmp_path / "run" / "vectors").glob("*/ids.json")]
    assert stores.count(ids) == 1
    assert len(stores) > 1  # the teacher's, of the queries


def test_search_embeds_no_document_anew(run_folder):
    before = sorted(path.name for path in (run_folder / "vectors").iterdir())
    found = search_run(run_folder, "what pumps blood", 3)
    assert set(found.hits) == {"student", "teacher"}
    assert sorted(path.name for path in (run_folder / "vectors").iterdir()) == before


def test_export_writes_both_routes(run_folder, tmp_path):
    export_model(str(run_folder), tmp_path / "out", ["sentence-transformers"], force=True)
    exported, student = (
        SentenceTransformer(str(folder)) for folder in (tmp_path / "out", run_folder / "student")
    )
    np.testing.assert_allclose(
        exported.encode_document(TEXTS), student.encode_document(TEXTS), atol=1e-5
    )
    np.testing.assert_allclose(exported.encode_query(TEXTS), student.encode_query(TEXTS), atol=1e-5)


def test_exported_index_has_the_query_route_alone_and_finds_what_search_finds(run_folder, tmp_path):
    out = tmp_path / "index"
    before = sorted(path.name for path in (run_folder / "vectors").iterdir())
    export_index(str(run_folder), out, force=True)
    assert sorted(path.name for path in (run_folder / "vectors").iterdir()) == before
    assert not list((out / "query_encoder").glob("document_*"))
    readme = (out / "README.md").read_text()
    lines = readme.partition("```python\n")[2].partition("```")[0]
    queries = ["what pumps blood", "a river of ice", "zebra"]
    script = f"{lines}\nprint('found', json.dumps([search(query) for query in {queries!r}]))"
    alone = f"import sys; sys.modules['distill'] = None\n{script}"
    found = run_plainly(alone, out).partition("found ")[2]
    expected = [search_run(run_folder, query, 10, hybrid=True) for query in queries]
    for ours, theirs in zip(json.loads(found), expected, strict=True):
        hits = theirs.hits["student + bm25"]
        assert [id_ for id_, _ in ours] == [hit.passage["passage_id"] for hit in hits]
        totals = [hit.similarity for hit in hits]
        assert [total for _, total in ours] == pytest.approx(totals, abs=1e-5)


@pytest.mark.bad_input("export", "an index of a query encoder without its vectors", "refused")
def test_index_without_the_teachers_vectors_is_refused(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("vectors"))
    with pytest.raises(UserError, match="has no vectors of the passages by"):
        export_index(str(tmp_path / "run"), tmp_path / "out", force=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.bad_input("export", "an index of a query encoder with another teacher", "refused")
def test_index_with_another_teacher_is_refused(run_folder, tmp_path, teacher_folder):
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["teacher"]["model"] = str(teacher_folder)
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(UserError, match="another teacher than the recipe names now"):
        export_index(str(tmp_path / "run"), tmp_path / "out")


def test_saved_folder_embeds_as_in_its_run(run_folder, recipe):
    by_path = load_eval_model(run_folder / "student", device="cpu")
    in_run = load_run_models(RunModelSettings.select(recipe), {"student": run_folder / "student"})[
        "student"
    ]
    for side, model in (("query", in_run), ("document", in_run.documents)):
        np.testing.assert_allclose(by_path.encode(TEXTS, side), model.encode(TEXTS, side))


def test_documents_are_written_as_a_teacher_with_a_place_for_titles_reads_them(
    tmp_path, encoder_folder
):
    teacher = SentenceTransformer(str(encoder_folder))
    template = "title: {title} | text: {text}"
    teacher.prompts = {
        "query": "",
        "document": "title: none | text: ",
        "document_template": template,
    }
    teacher.save_pretrained(str(tmp_path / "teacher"))
    documents = open_model(str(tmp_path / "teacher"), EmbedderConfig(device="cpu"))
    routed = join_routes(SentenceTransformer(str(encoder_folder)), documents)
    routed.save_pretrained(str(tmp_path / "routed"))
    reloaded = open_model(str(tmp_path / "routed"), EmbedderConfig(device="cpu"))
    for title in ("", "Organs"):
        written = (m.wording.write_document(TEXTS[0], title) for m in (documents, reloaded))
        assert len(set(written)) == 1
    np.testing.assert_allclose(
        reloaded.model.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-6
    )


@pytest.mark.bad_input("model", "a document route that another program loads otherwise", "refused")
def test_decoder_as_document_route_is_compared_after_saving(
    tmp_path, recipe_file, encoder_folder, llm_folder, monkeypatch
):
    body = Transformer(str(llm_folder))
    pooling = Pooling(body.get_embedding_dimension(), "mean")
    folder = tmp_path / "decoder"
    SentenceTransformer(modules=[body, pooling], device="cpu").save_pretrained(str(folder))
    decoder = f"{{model: {folder}, bidirectional: true, device: cpu, max_tokens: 32}}"
    recipe = load_query_route(recipe_file, encoder_folder, f"teacher={decoder}")
    with Run(tmp_path / "run") as run:
        stage = run.open_stage("student", {})
        settings = TrainingSettings.select(recipe)
        saved = save_query_route(stage, settings, SentenceTransformer(str(encoder_folder)))
        routed = SentenceTransformer(str(saved))
        teacher = open_model(str(folder), recipe.teacher).model
        np.testing.assert_allclose(routed.encode_document(TEXTS), teacher.encode(TEXTS), atol=1e-5)

        def save_causal(stage, model):
            part = save_beside(stage, model)
            for path in part.glob("document_*Transformer/config.json"):
                config = read_json(path)
                path.write_text(json.dumps(config | {"is_causal": True}))
            return part

        monkeypatch.setattr("distill.train.query_route.save_beside", save_causal)
        with pytest.raises(UserError, match=r"as document route .* gives other vectors"):
            save_query_route(stage, settings, SentenceTransformer(str(encoder_folder)))


def test_limit_of_tokens_does_not_lengthen_the_shorter_route(tmp_path, encoder_folder):
    queries = SentenceTransformer(str(encoder_folder))
    queries.max_seq_length = 8
    documents = open_model(str(encoder_folder), EmbedderConfig(device="cpu", max_tokens=32))
    join_routes(queries, documents).save_pretrained(str(tmp_path / "routed"))
    opened = open_model(str(tmp_path / "routed"), EmbedderConfig(device="cpu", max_tokens=16))
    routes = opened.model[0].sub_modules
    assert [routes[side][0].max_seq_length for side in ("query", "document")] == [8, 16]


@pytest.mark.bad_input("export", "a query encoder worse than its base", "the teacher is advised")
def test_teacher_is_advised_in_the_place_of_a_query_encoder_that_is_worse(
    run_folder, recipe, tmp_path, monkeypatch
):
    worse = {"kind": "worse", "difference": -0.1, "low": -0.2, "high": -0.05}
    monkeypatch.setattr("distill.export.export.compare_with_base", lambda summary: worse)
    with pytest.raises(UserError, match="embed queries with the teacher instead") as refusal:
        export_model(str(run_folder), tmp_path / "out", ["sentence-transformers"])
    assert str(recipe.teacher.model) in str(refusal.value)


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_killed_and_resumed_it_ends_with_the_undisturbed_bytes(
    tmp_path, recipe, run_folder, monkeypatch, step
):
    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == step:
                raise Killed

    with Run(tmp_path / "run") as run, monkeypatch.context() as patch:
        patch.setattr("distill.train.loop.trainer.CheckpointCallback", Fatal)
        with pytest.raises(Killed):
            Job(run, recipe).train_student()
    with Run(tmp_path / "run") as run:
        Job(run, recipe).train_student()
    assert read_files(tmp_path / "run" / "student") == read_files(run_folder / "student")


def test_encoder_of_another_width_is_projected_into_the_teachers_space(
    tmp_path, recipe_file, encoder_folder, teacher_folder
):
    recipe = load_query_route(
        recipe_file,
        teacher_folder,
        f"student.encoder={encoder_folder}",
        "student.layers=[0, 2]",
        "student.dimensions=48",
        "train.corpus_softmax={documents: 4, sample: 16}",
    )
    with Run(tmp_path / "run") as run:
        Job(run, recipe).train_student()
    student = SentenceTransformer(str(tmp_path / "run" / "student"))
    assert student.encode_query(TEXTS).shape == student.encode_document(TEXTS).shape == (2, 48)


@pytest.fixture(scope="module")
def fitted_run(tmp_path_factory, recipe_file, encoder_folder, teacher_folder) -> Path:
    """An evaluated run whose training hardly moves the weights behind the fitted layer."""
    recipe = load_query_route(
        recipe_file,
        teacher_folder,
        f"student.encoder={encoder_folder}",
        "student.layers=[0, 2]",
        "student.dimensions=48",
        "student.projection=fitted",
        "train.learning_rate=1e-7",
    )
    folder = tmp_path_factory.mktemp("fitted") / "run"
    with Run(folder) as run:
        Job(run, recipe).evaluate()
    return folder


def test_fitted_layer_begins_near_the_teacher(fitted_run):
    """Another model's vectors of the passages, through the fitted layer, are like the teacher's;
    through the random one they are not."""
    student = SentenceTransformer(str(fitted_run / "student"))
    rows = open_stage(fitted_run / "passages").read_rows(PASSAGES)
    texts = [join_passage(row) for row in rows]
    fitted = student.encode_query(texts)
    teacher = student.encode_document(texts)
    random = load_sentence_model(fitted_run / "base", "cpu").encode_query(texts)
    cosine, at_random = (float((of * teacher).sum(axis=1).mean()) for of in (fitted, random))
    assert cosine > 0.9
    assert cosine > at_random + 0.3


def test_fitted_layer_is_the_base_that_the_student_is_compared_with(fitted_run):
    """A student that training hardly moved is level with its base. The layer of `RUN/base` is
    random, and would be worse than anything."""
    summary = read_json(fitted_run / "summary.json")
    assert summary["models"]["base"]["model"].endswith("fitted")
    assert summary["verdict"]["comparisons"]["base"]["difference"] == pytest.approx(0, abs=1e-3)
    before, after = (
        load_sentence_model(fitted_run / name, "cpu").encode_query(TEXTS)
        for name in ("fitted", "student")
    )
    assert np.allclose(before, after, atol=1e-3)


def test_queries_of_every_kind_are_in_the_table(run_folder):
    kinds = {row["task_type"] for row in open_stage(run_folder / "queries").read_rows(QUERIES)}
    assert kinds == {"sentences", "keywords"}

"""Query encoders over a teacher's documents that are refused, or advised against."""

import pytest
import torch
from helpers.fake_server import MODEL, serve
from helpers.query_side_recipe import TEXTS, load_query_route
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.files.atomic import read_json
from distill.pipeline.job import Job
from distill.store.run import Run
from distill.train.query_route import join_routes


@pytest.mark.bad_input("recipe", "a fitted layer without a width or a query route", "named")
@pytest.mark.parametrize(
    "sets",
    [
        ["student.dimensions=null"],
        ["student.dimensions=48", "train.interpolation=0.5"],
        ["student.dimensions=48", "student.route=both", "train.objective={infonce: 1.0}"],
    ],
)
def test_fitted_layer_wants_a_width_and_a_query_route(recipe_file, encoder_folder, sets):
    with pytest.raises(UserError, match=r"student\.projection fitted: set"):
        load_query_route(recipe_file, encoder_folder, "student.projection=fitted", *sets)


@pytest.mark.bad_input(
    "server", "an embedding server that changes its model after the corpus was embedded", "refused"
)
def test_server_that_changes_its_model_before_training_is_refused(
    tmp_path, recipe_file, encoder_folder
):
    models = [SentenceTransformer(str(encoder_folder))]

    def embeds(path, body):
        vectors = models[-1].encode(body["input"]).tolist()
        data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        return {"object": "list", "model": MODEL, "data": data}

    with serve(embeds) as server, Run(tmp_path / "run") as run:
        served = f"model: {MODEL}, base_url: {server.url}, max_tokens: 32"
        recipe = load_query_route(
            recipe_file,
            encoder_folder,
            f"teacher={{{served}}}",
            f"retriever={{{served}, sources: [dense, bm25], merge: union}}",
        )
        Job(run, recipe).relabel()
        other = SentenceTransformer(str(encoder_folder))
        torch.nn.init.normal_(other[0].auto_model.embeddings.word_embeddings.weight)
        models.append(other)
        with pytest.raises(UserError, match=r"has a cosine of .* with the one that") as refusal:
            Job(run, recipe).train_student()
        assert "changed its model since the corpus was embedded" in refusal.value.remedy
        assert not (run.folder / "student" / "modules.json").exists()
        models.pop()
        Job(run, recipe).train_student()
        assert (run.folder / "student" / "modules.json").is_file()


def test_teacher_behind_a_server_leaves_the_query_side_alone(tmp_path, recipe_file, encoder_folder):
    encoder = SentenceTransformer(str(encoder_folder))

    def embeds(path, body):
        vectors = encoder.encode(body["input"]).tolist()
        data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        return {"object": "list", "model": MODEL, "data": data}

    with serve(embeds) as server:
        served = f"model: {MODEL}, base_url: {server.url}, max_tokens: 32"
        recipe = load_query_route(
            recipe_file,
            encoder_folder,
            f"teacher={{{served}}}",
            f"retriever={{{served}, sources: [dense, bm25], merge: union}}",
        )
        with Run(tmp_path / "run") as run:
            Job(run, recipe).evaluate()
    folder = tmp_path / "run" / "student"
    student = SentenceTransformer(str(folder))
    assert student.encode_query(TEXTS).shape == (2, 32)
    with pytest.raises(ValueError, match="document"):
        student.encode_document(TEXTS)
    readme = (folder / "README.md").read_text()
    assert f"`{MODEL}`, which is behind a server and not in this folder: `encode" in readme
    # The server embeds the documents: the time of one query alone is measured.
    for role in ("student", "base"):
        figures = read_json(tmp_path / "run" / "summary.json")["models"][role]
        assert figures["score"] > 0
        assert figures["latency_ms"] > 0
        assert (figures["texts_per_second"], figures["speed_rounds"]) == (None, [])


@pytest.mark.bad_input("model", "a query encoder alone, asked to embed documents", "named")
def test_query_encoder_alone_that_is_to_embed_documents_is_named(tmp_path, encoder_folder):
    queries = SentenceTransformer(str(encoder_folder))
    join_routes(queries, None).save_pretrained(str(tmp_path / "alone"))
    model = load_eval_model(tmp_path / "alone", device="cpu")
    assert model.encode(TEXTS, "query").shape == (2, 32)
    with pytest.raises(UserError, match="embeds queries alone"):
        model.encode(TEXTS, "document")


@pytest.mark.bad_input("recipe", "a query encoder of another width", "named with the width to set")
def test_width_that_is_not_the_teachers_is_refused(
    tmp_path, recipe_file, encoder_folder, teacher_folder
):
    recipe = load_query_route(recipe_file, teacher_folder, f"student.encoder={encoder_folder}")
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match=r"student\.dimensions: 48"):
        Job(run, recipe).train_student()
    assert not (tmp_path / "run" / "student" / "modules.json").exists()


@pytest.mark.bad_input("recipe", "a query route with what does not go with it", "named")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.route=both", "set student.route: query"),
        ("train.objective={infonce: 1.0}", "corpus_softmax: 1.0"),
        ("train.objective={corpus_softmax: 1.0, infonce: 1.0}", "no other term"),
        ("teacher.model=null", "needs teacher.model"),
        ("train.widths=[32, 8]", "train.widths: take it out"),
        ("relabel.rankers=[retriever]", "add bm25 to relabel.rankers"),
    ],
)
def test_query_route_that_cannot_be_trained_is_refused(
    recipe_file, encoder_folder, setting, message
):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        load_query_route(recipe_file, encoder_folder, setting)

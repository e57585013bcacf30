"""A document without a title has one vector in training, rounds, search and evaluation, also where
its prompt is left out of the pooling."""

import numpy as np
import pytest
from helpers.mteb_calls import encode_as_mteb
from helpers.student_bases import make_base, make_student_recipe

from distill.embed.open_embedder import identify_embedder, load_encoder
from distill.embed.open_model import UNTITLED_MARK
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.passage_search import make_encoder
from distill.evaluate.stage import fingerprint
from distill.recipe import EmbedderConfig
from distill.student.writing import StudentTexts
from distill.train.loop.diagnostics import embed

pytest.importorskip("mteb")

DOCUMENTS = ["Bees dance.", "Salt lowers the freezing point of water, hence salted roads.", "Owls."]
TITLES = ["", "Salt", ""]
TITLED = {"document_template": "title of text:{title}\n{text}"}
SETTINGS = EmbedderConfig(device="cpu")


@pytest.fixture(params=[True, False], ids=["pooled", "left out"])
def student(request, tmp_path, encoder_folder):
    """The settings of a student with titles, and its folder."""
    settings = TITLED | {"pool_prompt": request.param}
    folder = make_base(tmp_path / "run", encoder_folder, **settings).folder
    return make_student_recipe(encoder_folder, **settings), folder


def test_document_has_one_vector_everywhere(student, tmp_path):
    recipe, folder = student
    encoder = load_encoder(str(folder), SETTINGS)
    written = StudentTexts(recipe.student).format
    rows = list(zip(DOCUMENTS, TITLES, strict=True))
    of_training = embed(encoder.embedder.model, [written.write_document(*row) for row in rows])
    model = load_eval_model(folder, settings=SETTINGS)
    for of_run in (encoder, make_encoder(model)):
        whole = [of_run.wording.write_document(*row) for row in rows]
        of_search = of_run.encode_prompted(whole, "document")
        np.testing.assert_allclose(of_search, of_training, atol=1e-5)
    for place in (None, tmp_path / "vectors"):
        asked = wrap_for_mteb(model, place)
        found = encode_as_mteb(asked, DOCUMENTS, side="document", titles=TITLES)
        np.testing.assert_allclose(found, of_training, atol=1e-5)
    alone = encoder.embedder.model.encode_document(DOCUMENTS[0])  # by sentence-transformers
    np.testing.assert_allclose(alone, of_training[0], atol=1e-5)


def test_vectors_of_earlier_versions_are_not_found_where_they_differ(student):
    recipe, folder = student
    mark = {} if recipe.student.pool_prompt else UNTITLED_MARK
    identity = identify_embedder(SETTINGS, str(folder))
    encoder = load_encoder(str(folder), SETTINGS)
    model = load_eval_model(folder, settings=SETTINGS)
    for found in (
        identity,
        encoder.identity,
        encoder.embedder.describe_identity("", "document"),
        make_encoder(model).identity,
        model.experiment,
        fingerprint(recipe, [], {}),
    ):
        assert {key: found[key] for key in UNTITLED_MARK if key in found} == mark

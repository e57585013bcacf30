"""The untrained student: which layers, which width, which prompts, and the same bytes twice."""

import copy
import os
import stat

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS, make_tiny_encoder
from helpers.training_by_hand import make_recipe, train_in
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from distill.errors import UserError
from distill.export.export import export_model
from distill.store.run import Run
from distill.student.build import build_base
from distill.student.layers import resize_layers


def bert(layers: int = 4) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
    )
    return BertModel(config).eval()


def test_chosen_layers_are_the_encoders_own_in_order():
    whole = bert()
    cut = copy.deepcopy(whole)
    resize_layers(cut, [0, 3])
    assert cut.config.num_hidden_layers == 2
    for kept, original in zip(cut.encoder.layer, [0, 3], strict=True):
        for name, weight in kept.state_dict().items():
            assert torch.equal(weight, whole.encoder.layer[original].state_dict()[name])
    tokens = torch.tensor([[1, 2, 3]])
    assert cut(tokens).last_hidden_state.shape == (1, 3, 16)
    assert not torch.equal(cut(tokens).last_hidden_state, whole(tokens).last_hidden_state)


def test_student_of_all_layers_is_unchanged():
    whole = bert()
    same = copy.deepcopy(whole)
    resize_layers(same, range(4))
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(same(tokens).last_hidden_state, whole(tokens).last_hidden_state)


def test_layers_of_another_architecture_are_found():
    config = DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_layers=3, n_heads=2)
    encoder = DistilBertModel(config)
    resize_layers(encoder, [1])
    assert len(encoder.transformer.layer) == encoder.config.num_hidden_layers == 1


@pytest.mark.bad_input("student", "layers or widths that the encoder has not", "refused by name")
@pytest.mark.parametrize("layers", [[0, 4], [-1], [1, 0], [0, 0], []])
def test_choice_that_is_not_there_is_refused_by_name(layers):
    with pytest.raises(UserError, match=r"student\.layers.*") as caught:
        resize_layers(bert(), layers)
    assert "4" in caught.value.remedy


def base(folder, recipe):
    with Run(folder) as run:
        return build_base(run, recipe.student, recipe.seed)


def test_weights_are_readable_by_other_users(tmp_path, encoder_folder):
    with Run(tmp_path) as run:
        recipe = make_recipe(encoder_folder)
        folder = build_base(run, recipe.student, recipe.seed).folder
    modes = {path.name: path.stat().st_mode for path in folder.glob("*.*")}
    assert modes["model.safetensors"] == modes["config.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_model_files_of_a_run_and_of_an_export_have_the_mode_that_the_umask_says(
    tmp_path, encoder_folder, umask, mode
):
    """A server that runs as another user is to read them, where the person's umask lets it."""
    before = os.umask(umask)
    try:
        student = train_in(tmp_path / "run", make_recipe(encoder_folder))
        export_model(str(student.folder), tmp_path / "out", ["sentence-transformers"])
    finally:
        os.umask(before)
    for folder in (tmp_path / "run" / "base", student.folder, tmp_path / "out"):
        files = [
            path for path in folder.rglob("*") if path.is_file() and ".stage" not in path.parts
        ]
        assert "model.safetensors" in {path.name for path in files}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}, folder


def test_base_loads_by_itself_and_carries_its_prompts(tmp_path, encoder_folder):
    template = "task: {task} | query: {query}"
    student = {
        "layers": [0, 2],
        "dimensions": 8,
        "max_tokens": 24,
        "query_template": template,
        "default_task": "Find it.",
        "document_prompt": "text: ",
    }
    stage = base(tmp_path / "run", make_recipe(encoder_folder, student=student))
    model = SentenceTransformer(str(stage.folder))
    assert model.prompts == {
        "query": "task: Find it. | query: ",
        "document": "text: ",
        "query_template": "task: {task} | query: {query}",
    }
    assert model.max_seq_length == 24
    assert model[0].auto_model.config.num_hidden_layers == 2
    vectors = model.encode_query(TEXTS)
    assert vectors.shape == (len(TEXTS), 8)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    rendered = template.format(task="Find it.", query=TEXTS[0])
    assert np.allclose(vectors[0], model.encode(rendered), atol=1e-6)
    figures = stage.manifest["figures"]
    assert figures["dimensions"] == 8
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    assert (figures["attention"], figures["pooling"]) == ("bidirectional", "mean")
    assert figures["vocabulary"] == figures["vocabulary_before"] == len(model.tokenizer)


def test_student_of_all_layers_without_dimensions_is_the_encoder_itself(tmp_path, encoder_folder):
    stage = base(tmp_path / "run", make_recipe(encoder_folder))
    ours, theirs = SentenceTransformer(str(stage.folder)), SentenceTransformer(str(encoder_folder))
    assert np.array_equal(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert ours.prompts == {"query": "", "document": ""}


def test_same_recipe_gives_the_same_bytes_and_float32_safetensors(tmp_path, encoder_folder):
    recipe = make_recipe(encoder_folder, student={"layers": [0, 2], "dimensions": 8})
    folders = [base(tmp_path / name, recipe).folder for name in "ab"]
    files = [
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in folders
    ]
    for found in files:
        found.pop(".stage/manifest.json")  # it holds the seconds
    assert files[0] == files[1]
    weights = list(folders[0].rglob("*.safetensors"))
    assert len(weights) == 2
    for path in weights:
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_tensor(name).dtype for name in tensors.keys()} == {torch.float32}  # noqa: SIM118
    assert not [p for p in folders[0].rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_plain_encoder_without_pooling_will_do(tmp_path):
    make_tiny_encoder(tmp_path / "encoder")
    stage = base(tmp_path / "run", make_recipe(tmp_path / "encoder-plain"))
    assert SentenceTransformer(str(stage.folder)).encode(TEXTS).shape == (len(TEXTS), 32)


def test_layer_that_is_not_there_leaves_no_stage_behind(tmp_path, encoder_folder):
    with pytest.raises(UserError, match="no layer 7: the encoder has 3 layers"):
        base(tmp_path / "run", make_recipe(encoder_folder, student={"layers": [0, 7]}))
    assert not (tmp_path / "run" / "base").exists()


@pytest.mark.bad_input("models", "a student from what is no encoder", "refused")
def test_student_of_a_folder_that_is_no_encoder_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"student\.encoder"):
        base(tmp_path / "run", make_recipe(tmp_path / "model"))


@pytest.mark.bad_input(
    "model", "modules.json is a list of nothing, a mapping or torn", "refused by name"
)
@pytest.mark.parametrize("content", ["[]", "{}", "[1]", "[{", "[" * 10_000])
def test_encoder_whose_list_of_modules_is_none_is_refused(tmp_path, content):
    folder = make_tiny_encoder(tmp_path / "encoder")
    (folder / "modules.json").write_text(content)
    recipe = make_recipe(folder)
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="is not a text encoder"):
        build_base(run, recipe.student, recipe.seed)

"""An export is used by people who have nothing of distill: their three ways in, as the card tells
them, in processes of their own."""

import fcntl
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.plain_process import run_plainly
from helpers.student_bases import make_base
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import add_own_code, make_tiny_encoder
from sentence_transformers import SentenceTransformer

import distill
from distill.errors import UserError
from distill.export.export import _choose_task, export_model, write_beside
from distill.export.graph import open_graph
from distill.export.model_source import ExportSource
from distill.files.atomic import read_json, write_json
from distill.recipe import Recipe
from distill.store import integrity
from distill.store.run import Run

SAVE = "\nimport numpy\nnumpy.savez('{name}.npz', queries=queries, passages=passages)\n"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run_folder):
    out = tmp_path_factory.mktemp("exports") / "bees-small"
    files = export_model(str(run_folder), out)
    return out, files


@pytest.fixture(scope="module")
def card(exported) -> str:
    return (exported[0] / "README.md").read_text()


def snippets(card) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.fixture(scope="module")
def vectors(exported, card):
    """What each snippet of the card computes where it is pasted into a fresh Python."""
    folder = exported[0].parent
    found = []
    for number, snippet in enumerate(snippets(card)):
        run_plainly(snippet + SAVE.format(name=number), folder)
        found.append(dict(np.load(folder / f"{number}.npz")))
    return found


@pytest.mark.slow
def test_model_card_snippets_run_and_agree(vectors):
    ours, plain, graph = vectors
    for side, shape in (("queries", (1, 24)), ("passages", (2, 24))):
        assert ours[side].shape == plain[side].shape == graph[side].shape == shape
        np.testing.assert_allclose(np.linalg.norm(graph[side], axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(plain[side], ours[side], atol=1e-5)
        np.testing.assert_allclose(graph[side], ours[side], atol=1e-5)


def test_int8_graph_is_used_like_the_float_one(exported, card, vectors, monkeypatch):
    monkeypatch.chdir(exported[0].parent)
    found: dict = {}
    exec(snippets(card)[2].replace("embedding.onnx", "embedding_int8.onnx"), found)
    assert (found["passages"] * vectors[0]["passages"]).sum(axis=1).min() > 0.9


def test_onnx_graph_equals_the_model_for_every_length_and_batch(exported, run_folder, texts):
    out, _ = exported
    model = SentenceTransformer(str(run_folder / "student"), device="cpu")
    graph = open_graph(out / "onnx" / "embedding.onnx", model)
    for size in (1, 3, 8):
        for ours, theirs in (
            (graph.encode_query, model.encode_query),
            (graph.encode_document, model.encode_document),
        ):
            side = "query" if theirs == model.encode_query else "document"
            found = ours(texts[side], batch_size=size)
            np.testing.assert_allclose(found, theirs(texts[side], batch_size=size), atol=1e-5)


def test_export_states_size_and_parity_of_each_format(exported):
    out, files = exported
    assert list(files) == ["sentence-transformers", "onnx", "int8"]
    for file in files.values():
        assert file.bytes == (out / file.path).stat().st_size
    assert files["int8"].bytes < files["onnx"].bytes
    assert files["onnx"].parity.cosine_min >= 0.999
    parity = files["int8"].parity
    assert (parity.task, parity.metric) == ("mine", "ndcg_at_10")
    assert parity.loss == pytest.approx(1 - parity.score / parity.score_of_model)
    assert parity.loss <= 0.01


def test_model_card_states_what_the_run_knows(card, exported, run_folder):
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["base_model"] == "someone/encoder"
    assert head["library_name"] == "sentence-transformers"
    result = head["model-index"][0]["results"][0]
    assert result["metrics"][0] == {"type": "ndcg_at_10", "value": 0.4321}
    assert result["dataset"] == {"name": "mine", "type": "unknown", "revision": "local-1"}
    for told in (
        "notes.jsonl, 5 passages",
        "Generated queries: 1, written by writer",
        "| corpus | notes.jsonl | not stated |",
        "| LLM | writer | not stated |",
        "| teacher | teacher | not stated |",
        '- query: `"tides follow: "`',
        f"| int8: {exported[1]['int8'].quantization} | `onnx/embedding_int8.onnx` |",
        "| task | metric | base | student | teacher | BM25 | student + BM25 |",
        "| mine | nDCG@10 | 0.2500 | 0.4321 | 0.5000 | 0.3000 | 0.4500 |",
        "keeps 86.4% of its teacher",
        "up to 64 tokens",
    ):
        assert told in card
    assert str(run_folder) not in card  # where it was made is nobody's affair
    assert "secret-place" not in card


def test_model_card_says_how_to_cite_as_the_citation_file_does(card):
    told = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    (author,) = told["authors"]
    cited = f"{author['name']}: *{told['title']}*, version {told['version']}."
    assert cited in card


def test_model_card_in_the_runs_folder_links_its_report(run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "report.html").write_text("<!doctype html>")
    for out in (run / "exports" / "plain", tmp_path / "elsewhere"):
        export_model(str(run), out, ["sentence-transformers"])
    inside, elsewhere = (
        (out / "README.md").read_text()
        for out in (run / "exports" / "plain", tmp_path / "elsewhere")
    )
    assert "[the run's report](../../report.html)" in inside
    assert "report" not in elsewhere.partition("## Scores")[2]


def test_export_of_a_student_inside_a_run_uses_that_run(run_folder, tmp_path):
    export_model(str(run_folder / "student"), tmp_path / "out", ["sentence-transformers"])
    assert "notes.jsonl, 5 passages" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "onnx").exists()


def test_model_card_without_a_run_states_what_is_unknown(model_folder, tmp_path):
    files = export_model(str(model_folder), tmp_path / "out", ["int8"])
    assert files["int8"].parity.task is None
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| model | {model_folder.name} | not stated |" in card
    assert str(model_folder.parent) not in card
    assert "without the run that trained it" in card
    assert "base_model" not in card
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "onnx",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert len(snippets(card)) == 1


def test_transformers_snippet_has_an_activation_of_the_projection(
    tmp_path, encoder_folder, make_projected, monkeypatch
):
    bent = make_projected(tmp_path / "bent", encoder_folder, bent=True)
    export_model(str(bent), tmp_path / "out", ["sentence-transformers"])
    ours, plain = snippets((tmp_path / "out" / "README.md").read_text())
    assert "tanh" in plain
    monkeypatch.chdir(tmp_path)
    found: list[dict] = [{}, {}]
    exec(ours, found[0])
    exec(plain, found[1])
    np.testing.assert_allclose(found[0]["passages"], found[1]["passages"], atol=1e-5)


@pytest.mark.bad_input("path", "an export into a folder that is there", "refused, nothing written")
def test_export_does_not_write_over_a_folder_that_is_there(model_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_model(str(model_folder), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.mark.bad_input("two writers", "two exports into one folder", "the second is refused")
def test_second_export_into_the_same_folder_is_refused(tmp_path):
    with write_beside(tmp_path / "out") as part:
        (part / "README.md").write_text("of the first")
        refused = pytest.raises(UserError, match="another process is writing it")
        with refused, write_beside(tmp_path / "out"):
            pass
    assert (tmp_path / "out" / "README.md").read_text() == "of the first"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]


@pytest.mark.bad_input(
    "two writers", "an export beside one that waited for a third", "refused, nothing written"
)
def test_export_is_refused_beside_one_that_opened_the_lock_of_an_earlier_one(tmp_path):
    with write_beside(tmp_path / "first" / "out"):
        waiting = (tmp_path / "first" / ".out.lock").open("rb+")
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused = pytest.raises(UserError, match="another process is writing it")
        with refused, write_beside(tmp_path / "first" / "out"):
            pass


@pytest.mark.bad_input("models", "export of a run without a student", "refused, the command told")
def test_export_of_a_run_without_a_student_names_the_remedy(run_folder, tmp_path):
    shutil.copy(run_folder / "recipe.yaml", tmp_path)
    with pytest.raises(UserError, match=r"has no student yet(.|\n)*distill train-student --run"):
        export_model(str(tmp_path), tmp_path / "out")


def test_export_of_a_run_with_an_adapter_names_the_remedy(run_folder, tmp_path):
    shutil.copy(run_folder / "recipe.yaml", tmp_path)
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"is an adapter(.|\n)*student.lora.save=merged"):
        export_model(str(tmp_path), tmp_path / "out")


def test_model_card_tells_machine_and_time_and_why_no_carbon(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    book = tmp_path / "run" / "student" / ".stage" / "manifest.json"
    machine = {"processor": "a CPU", "cores": 2, "memory_gib": 8, "system": "Linux", "gpus": []}
    write_json(book, read_json(book) | {"seconds": 1200.0, "machine": machine})
    export_model(str(tmp_path / "run"), tmp_path / "out", ["sentence-transformers"])
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("- Trained in 20 min on ")]
    assert "a CPU" in line
    assert "Carbon is not stated" in line


def test_model_card_leaves_out_scores_of_an_earlier_student(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    book = tmp_path / "run" / "student" / ".stage" / "manifest.json"
    write_json(book, read_json(book) | {"fingerprint": "trained-again"})
    export_model(str(tmp_path / "run"), tmp_path / "out", ["sentence-transformers"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "It was not evaluated." in card
    assert "model-index" not in card


def test_run_is_written_on_beside_a_killed_export_inside_it(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    with write_beside(tmp_path / "run" / "export") as part:
        (part / "README.md").write_text("half")
        with Run(tmp_path / "run"):
            assert part.is_dir()
        assert not part.match(".*.part")


def test_licence_unknown_to_the_hub_is_other(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "model")
    head = "license: other\nlicense_name: own-1.0"
    (tmp_path / "model" / "README.md").write_text(f"---\n{head}\n---\n")
    export_model(str(tmp_path / "model"), tmp_path / "out", ["sentence-transformers"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert head in card.split("---\n")[1]
    assert "| own-1.0 |" in card


def test_model_card_keeps_a_prompt_of_two_lines_on_one(model_folder, tmp_path):
    model = SentenceTransformer(str(model_folder), device="cpu")
    model.prompts = {"query": "Instruct: find bees\nQuery: ", "document": ""}
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    export_model(str(tmp_path / "model"), tmp_path / "out", ["sentence-transformers"])
    told = '- query: `"Instruct: find bees\\nQuery: "`\n- document: none'
    assert told in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.bad_input("command line", "an export format that is not known", "refused")
def test_unknown_format_is_named(model_folder, tmp_path):
    with pytest.raises(UserError, match="'tensorrt' is no format"):
        export_model(str(model_folder), tmp_path / "out", ["onnx", "tensorrt"])


def test_prompts_left_out_of_the_pooling_do_not_fit_a_graph(model_folder, tmp_path):
    model = SentenceTransformer(str(model_folder), device="cpu")
    model[1].include_prompt = False
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(UserError, match="leaves its prompts out"):
        export_model(str(tmp_path / "model"), tmp_path / "out")
    export_model(str(tmp_path / "model"), tmp_path / "out", ["sentence-transformers"])
    assert len(snippets((tmp_path / "out" / "README.md").read_text())) == 1


@pytest.mark.slow
def test_module_of_distills_is_used_without_trusting_any_code(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    latent = {"pooling": "latent", "latent": {"latents": 6, "heads": 3}}
    base = make_base(tmp_path / "run", tmp_path / "decoder", **latent).folder
    export_model(str(base), tmp_path / "out", ["sentence-transformers"])
    [snippet] = snippets((tmp_path / "out" / "README.md").read_text())
    assert "trust_remote_code" not in snippet
    run_plainly(snippet + SAVE.format(name="latent"), tmp_path)
    assert np.load(tmp_path / "latent.npz")["passages"].shape == (2, 32)


def test_onnx_graph_that_was_opened_saves_as_its_file(exported, model_folder, tmp_path):
    graph = exported[0] / "onnx" / "embedding.onnx"
    model = SentenceTransformer(str(model_folder), device="cpu")
    open_graph(graph, model)[0].save(str(tmp_path / "copy.onnx"))
    assert (tmp_path / "copy.onnx").read_bytes() == graph.read_bytes()


@pytest.mark.bad_input(
    "models", "an export of a model saved with truncate_dim", "vectors of that width in every form"
)
def test_model_of_cut_vectors_is_exported_with_that_width(model_folder, tmp_path, monkeypatch):
    model = SentenceTransformer(str(model_folder), device="cpu", truncate_dim=8)
    model.save_pretrained(str(tmp_path / "cut"), create_model_card=False)
    forms = ["sentence-transformers", "onnx"]
    files = export_model(str(tmp_path / "cut"), tmp_path / "out", forms)
    assert files["onnx"].parity.cosine_min > 0.999
    monkeypatch.chdir(tmp_path)
    found: list[dict] = []
    for snippet in snippets((tmp_path / "out" / "README.md").read_text()):
        found.append({})
        exec(snippet, found[-1])
    assert [one["passages"].shape for one in found] == [(2, 8)] * 3
    for one in found[1:]:
        np.testing.assert_allclose(one["passages"], found[0]["passages"], atol=1e-5)


@pytest.mark.parametrize("cut", [False, True], ids=["changed", "cut short"])
@pytest.mark.bad_input("damage", "an export of a student that was changed or cut short", "refused")
def test_student_that_was_damaged_is_not_exported(model_folder, tmp_path, monkeypatch, cut):
    with Run(tmp_path / "run") as run:
        student = run.open_stage("student", {})
        shutil.copytree(model_folder, student.folder, dirs_exist_ok=True)
        student.finish()
    (tmp_path / "run" / "recipe.yaml").write_text("name: bees\n")
    weights = tmp_path / "run" / "student" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2] if cut else data[:-1] + b"?")
    monkeypatch.setattr(integrity, "_verified", set())  # as in the next process
    weights_named = r"model\.safetensors(.|\n)*finds and makes it again"
    with pytest.raises(UserError, match=weights_named):
        export_model(str(tmp_path / "run"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", [True, False])
@pytest.mark.bad_input("model", "export of a model with code of its own", "refused, never run")
def test_model_with_code_of_its_own_is_not_exported(tmp_path, module):
    folder = make_tiny_encoder(tmp_path / "coded")
    name = add_own_code(folder, module)
    with pytest.raises(UserError, match="which is never run") as caught:
        export_model(str(folder), tmp_path / "out")
    assert name in str(caught.value)
    assert "trust_remote_code" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_exported_file_is_evaluated_as_it_is(exported, run_folder, tmp_path):
    out, files = exported
    settings = {"tasks": ["mine"], "task_data": run_folder / "tasks", "out": tmp_path}
    whole = distill.evaluate(str(out), **settings)[0]
    graph = distill.evaluate(str(out / "onnx" / "embedding.onnx"), **settings)[0]
    assert graph.score == pytest.approx(whole.score, abs=1e-4)
    small = distill.evaluate(str(out / "onnx" / "embedding_int8.onnx"), **settings)[0]
    assert small.score == pytest.approx(files["int8"].parity.score, abs=0.01)
    names = {path.parent for path in (tmp_path / "results").rglob("mine.json")}
    assert len(names) == 3, "each has results of its own"


@pytest.mark.bad_input("export", "an exported file without its model beside it", "refused")
def test_graph_alone_is_not_evaluated(tmp_path, run_folder):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "embedding.onnx").write_bytes(b"graph")
    file = str(tmp_path / "onnx" / "embedding.onnx")
    with pytest.raises(UserError, match="has no sentence-transformers model beside it"):
        distill.evaluate(file, ["mine"], task_data=run_folder / "tasks", out=tmp_path / "out")


@pytest.mark.parametrize("name", ["judged", "known-item"])
def test_int8_is_held_against_a_task_of_the_runs_own(run_folder, tmp_path, name):
    shutil.copytree(run_folder / "tasks" / "mine", tmp_path / name)
    recipe = Recipe.model_validate({"name": "own", "evaluate": {"tasks": ["mine"]}})
    recipe.evaluate.tasks = [name]
    task = _choose_task(ExportSource("student", tmp_path, tmp_path, recipe), None, None)
    assert task.metadata.name == name

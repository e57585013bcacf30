"""Each script of benchmarks/ runs, as a user would call it, at its smallest size: the commands that
stand beside the figures of benchmarks/RESULTS.md keep working."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.benchmark_scripts import ROOT, run_as_main, run_lines, run_script
from helpers.fresh_process import run_function
from helpers.small_collections import write_small_data

STAGES = ["corpus", "embed", "search", "candidates", "judge", "labels", "examples"]
FIGURES = {"name", "unit", "ours", "peer", "ratio"}


@pytest.fixture(scope="session")
def tiny_sets(recipe_file, writer_folder, encoder_folder, teacher_folder) -> list[str]:
    """The tiny models in the place of a recipe's."""
    settings = [
        f"llm.model={writer_folder}",
        f"generate.prompt={recipe_file.parent / 'short.jinja'}",
        "generate.filters.round_trip=null",
        f"retriever.model={encoder_folder}",
        "retriever.max_tokens=32",
        f"student.encoder={encoder_folder}",
        "student.layers=[0,2]",
        "student.max_tokens=32",
    ]
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def small_collections(data_folder, tmp_path_factory) -> Path:
    return write_small_data(data_folder, tmp_path_factory.mktemp("small"))


@pytest.fixture
def small_data(small_collections, monkeypatch) -> None:
    """Few documents and queries as the collections that scripts read."""
    monkeypatch.setenv("DISTILL_DATA", str(small_collections))


pytestmark = pytest.mark.slow


def test_every_script_has_a_smoke_run():
    files = (ROOT / "benchmarks").glob("*.py")
    scripts = {path.stem for path in files if "__main__" in path.read_text()}
    assert {name for name in scripts if name not in Path(__file__).read_text()} == set()


def test_score(llm_folder):
    assert run_script("score", "--quick", "--model", str(llm_folder)).keys() >= FIGURES


def test_relabel(small_data):
    figures = run_script("relabel", "--smoke")
    assert figures["largest_difference"] < 0.01
    assert figures.keys() >= {"ours", "peer", "fused", "ratio", "same_ranking"}


def test_search():
    figures = run_script("search", "--sizes", "2000", "--turns", "1")
    assert figures.keys() >= FIGURES
    assert figures["by_size"][0]["same_as_peer"]["exact"] == 1.0


def test_serve(small_data):
    figures = run_script("serve", "--smoke")
    assert figures.keys() >= FIGURES | {"cosine_int8_to_float", "batch_1"}


def test_baselines(small_data, encoder_folder, tmp_path):
    words = ("--quick", "--teacher", str(encoder_folder), "--base", str(encoder_folder))
    figures = run_script("baselines", *words, "--out", str(tmp_path))
    assert figures.keys() >= FIGURES
    assert list(figures["systems"]) == ["base", "teacher", "bm25", "base + bm25", "teacher + bm25"]
    (tmp_path / "cacm-student").symlink_to(encoder_folder)
    of_corpus = ("--student", str(tmp_path / "{corpus}-student"))
    figures = run_script("baselines", *words, *of_corpus, "--out", str(tmp_path))
    assert figures["systems"]["student"] == figures["systems"]["teacher"]


def test_coverage(small_data, tmp_path):
    few = ("--corpora", "xquad-en", "--queries", "30", "--repetitions", "5", "--no-llm")
    figures = run_script("coverage", "--cache", str(tmp_path), *few)
    assert figures.keys() >= {"name", "unit", "corpus", "differences", "judges"}


def test_gpu(llm_folder, encoder_folder):
    """Every figure but vLLM's, which is left out where vLLM is not installed."""
    words = ("--device", "cpu", "--quick")
    models = ("--llm", str(llm_folder), "--encoder", str(encoder_folder))
    done = run_function(run_as_main, "gpu", *words, *models, PYTHONPATH=str(ROOT))
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f for f in figures if "error" in f] == []
    names = {figure["name"].partition(",")[0] for figure in figures}
    assert names >= {"search", "encoder", "relabel", "batch-tokens", "generate", "train-lora"}
    assert {"train-full", "vllm"} <= names
    assert all(figure["same_rows"] for figure in figures if figure["name"] == "search")


def test_evaluate(small_data, encoder_folder):
    figures = run_script(
        "evaluate", "--rounds", "1", "--tasks", "cacm", "--model", str(encoder_folder)
    )
    assert figures.keys() >= FIGURES
    assert figures["score_difference"] < 1e-5


@pytest.fixture(scope="session")
def static_run(small_collections, encoder_folder, tmp_path_factory) -> Path:
    """A small run of worth.py with a static query encoder."""
    root = tmp_path_factory.mktemp("static")
    encoder = shutil.copytree(encoder_folder, root / "encoder")
    name_modules_as_before(encoder)
    words = ["cacm", "--static", "--root", str(root), "--name", "static"]
    models = ("retriever.model", "teacher.model", "student.encoder")
    for setting in (
        *(f"{key}={encoder}" for key in models),
        *(f"{key}.max_tokens=32" for key in ("retriever", "teacher", "student")),
        "corpus.limit=60",
        "generate.free.queries=64",
        "relabel.top_k=10",
    ):
        words += ["--set", setting]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_DATA", str(small_collections))
        assert run_script("worth", *words)["query_speed"]["ratio"] >= 0
    return root / "cacm-static-13"


def name_modules_as_before(model: Path) -> None:
    """Save a model as sentence-transformers 5 did, which pyNIFE needs."""
    modules = json.loads((model / "modules.json").read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    width = json.loads((model / "config.json").read_text())["hidden_size"]
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 32},
        "tokenizer_config.json": tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"},
        "1_Pooling/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_mean_tokens": True,
        },
    }
    for name, content in files.items():
        (model / name).write_text(json.dumps(content))


def test_static_speed(static_run):
    figures = run_script("static_speed", str(static_run), "--queries", "64", "--turns", "1")
    assert figures.keys() >= FIGURES
    roles = {"teacher", "sentence-transformers", "tokenizer", "lines"}
    assert figures["batch"].keys() == figures["single"].keys() == roles


def test_worth_of_static_encoders(static_run):
    summary = run_script("worth", "--summary", "--root", str(static_run.parent))
    assert summary["static"].keys() == {"cacm"}
    assert summary["static_at_teacher_of_six"] in ([], ["cacm"])


def test_nife(small_data, static_run):
    """`adapt_peers --peer pynife` calls nife.py."""
    if "NIFE_PYTHON" not in os.environ:
        pytest.skip("needs pyNIFE in an environment of its own (NIFE_PYTHON, see nife.py)")
    figures = run_script("adapt_peers", str(static_run), "--peer", "pynife", "--epochs", "1")
    assert figures.keys() >= FIGURES | {"ours_minus_peer", "peer_steps"}


def test_worth(small_data, encoder_folder, writer_folder, recipe_file, tmp_path):
    models = ("retriever.model", "teacher.model", "student.encoder")
    settings = [f"{key}={encoder_folder}" for key in models]
    settings += [f"{key}.max_tokens=32" for key in ("retriever", "teacher", "student")]
    settings += ["corpus.limit=60", "generate.free.queries=64", "relabel.top_k=10"]
    words = [word for setting in settings for word in ("--set", setting)]
    added = run_script("worth", "cacm", "--name", "added", "--root", str(tmp_path), *words)
    assert added["scores"].keys() >= {"student", "teacher", "bm25", "student + bm25"}
    alone = ("--alone", "--name", "small", "--root", str(tmp_path), *words)
    figures = run_script("worth", "cacm", *alone)
    assert added["ours"] != figures["ours"]
    assert figures.keys() >= FIGURES | {"scores", "student_minus_teacher", "training_seconds"}
    beside = run_script("ablations", "--against", "small", "--root", str(tmp_path))
    difference = added["ours"] - figures["ours"]
    assert beside["difference"] == pytest.approx(difference, abs=1e-4)
    assert beside["low"] <= beside["difference"] <= beside["high"]
    for both in run_lines("hybrid", "cacm", "--name", "small", "--root", str(tmp_path)):
        assert both.keys() >= FIGURES | {"ours_minus_peer", "weights"}
    arm = [
        f"llm.model={writer_folder}",
        f"generate.prompt={recipe_file.parent / 'short.jinja'}",
        "generate.filters={}",
        "generate.passages=24",
        "generate.max_new_tokens=40",
    ]
    words = ["--arm", "ql", "--adapted", "small", "--name", "tiny", "--root", str(tmp_path)]
    words += [word for setting in arm for word in ("--set", setting)]
    on_top = run_script("worth", "cacm", *words)
    assert on_top.keys() >= FIGURES | {"arm", "student_minus_adapted"}
    assert on_top["peer"] == pytest.approx(figures["ours"], abs=1e-4), "it goes on from there"
    summary = run_script("worth", "--summary", "--root", str(tmp_path))
    assert summary["corpora"] == []
    assert summary["static_at_teacher_of_six"] == []
    assert summary["llm_above_adapted_of_six"] == {}, "a variation is no arm"
    judge = ("--corpora", "cacm", "--errors", "0.3", "--steps", "2", "--adapted", "small")
    figures = run_script("judge_accuracy", *judge, "--root", str(tmp_path))
    assert figures.keys() >= FIGURES | {"learns_from_labels", "judge_minus_free", "judgements"}
    assert figures["scores"].keys() == {"teacher", "adapted", "free", "mixed-0.3", "judge-0.3"}
    run = str(tmp_path / "cacm-small-13")
    for peer in ("contrast", "alignment"):
        figures = run_script("adapt_peers", run, "--peer", peer, "--seconds", "1")
        assert figures.keys() >= FIGURES | {"ours_minus_peer", "peer_steps"}


def test_corpus_softmax():
    figures = run_script("corpus_softmax", "--quick", "--steps", "2")
    assert figures.keys() >= FIGURES
    assert figures["ours"].keys() == {"steps_per_second", "peak_mib", "peak_own_mib"}


def test_agreement(small_data, encoder_folder, tmp_path):
    words = ("--corpora", "cacm", "--teacher", str(encoder_folder), "--out", str(tmp_path))
    figures = run_script("agreement", "--quick", *words)
    assert figures.keys() >= FIGURES | {"models"}
    assert figures["stand-ins"].keys() == {"known-item", "stated judge"}


def test_memory():
    assert run_script("memory", "--sizes", "600").keys() >= {"peak_mib", "ratio_of_peaks"}


def test_memory_relabel():
    figures = run_script("memory_relabel", "--sizes", "60", "--passages", "400")
    assert figures.keys() >= {"peak_mib", "ratio_of_time_a_pair"}


def test_scale():
    *lines, texts, sizes = run_lines("scale", "--sizes", "600")
    assert texts["name"] == "scale: texts"
    assert texts["cpu_seconds"][0] >= 0
    assert sizes["name"] == "scale: bytes a row"
    assert sizes["vectors"] > 4 * 384
    assert [line["name"] for line in lines] == [f"scale: {name}" for name in STAGES]
    assert all(line["peak_mib"] > line["anonymous_mib"] > [0] for line in lines)
    assert all(line["growth"] > 0 for line in lines)


def test_scale_of_texts_alone():
    (texts,) = run_lines("scale", "--sizes", "600", "--texts")
    assert texts["passages"] == [600]


def test_scale_of_a_search_by_parts():
    lines = run_lines("scale", "--sizes", "600", "--parts", "3")
    assert [line["name"] for line in lines] == [
        "scale: queries by parts",
        "scale: candidates by parts",
    ]
    assert all(line["ratio"] > 0 for line in lines)


def test_memory_train(small_data):
    assert run_script("memory_train", "--batches", "4,8").keys() >= FIGURES


def test_train(small_data):
    assert run_script("train", "--smoke").keys() >= FIGURES | {"held_out_loss"}


def test_rerank(small_data, llm_folder, encoder_folder, tmp_path):
    models = ("--llm", str(llm_folder), "--retriever", str(encoder_folder))
    few = ("--queries", "2", "--words", "20", "--keep", str(tmp_path))
    figures = run_script("rerank", *models, *few)
    assert figures.keys() >= {"ndcg_at_10", "pairs_per_second"}


def test_judge(small_data, llm_folder, encoder_folder, tmp_path):
    models = ("--llm", str(llm_folder), "--encoder", str(encoder_folder), "--layers", "[0]")
    few = ("--queries", "24", "--judged", "20", "--top-k", "2", "--epochs", "1")
    figures = run_script("judge", *models, *few, "--run", str(tmp_path / "run"))
    assert figures.keys() >= {"ndcg_at_10", "pairs_per_second", "judge_minus_llm"}


def test_generation(small_data, tiny_sets, tmp_path):
    few = ("--corpus", "cacm", "--passages", "24", "--root", str(tmp_path), "--arms", "fret")
    figures = run_script("generation", *few, *tiny_sets)
    assert figures.keys() >= {"arm", "base", "students", "well_formed"}


def test_students(small_data, tiny_sets, teacher_folder, tmp_path):
    more = [
        f"teacher.model={teacher_folder}",
        "teacher.max_tokens=32",
        "corpus.limit=60",
        "generate.passages=24",
        "generate.max_new_tokens=40",
        "evaluate.tasks=[STSBenchmark]",
    ]
    words = [word for setting in more for word in ("--set", setting)]
    figures = run_script("students", "--run", str(tmp_path), "--rows", "30", *tiny_sets, *words)
    assert figures.keys() >= FIGURES


def test_recipe(recipe_file, whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run", symlinks=True)
    assert run_script("recipe", str(recipe_file), "--run", str(run)).keys() >= FIGURES


@pytest.mark.parametrize("engine", ["transformers", "http"])
def test_generate(engine):
    assert run_script("generate", "--engine", engine, "--smoke").keys() >= FIGURES


def test_cluster():
    pytest.importorskip("ray", reason="needs the extra ray")
    done = run_function(
        run_as_main, "cluster", "--shards", "6", "--waits", "12", PYTHONPATH=str(ROOT)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Ray's own words about the node that is killed stand between them.
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["name"].partition(": ")[2] for line in lines] == [
        "driver cpu",
        "worker ready",
        "one worker",
        "waiting work",
        "node lost",
    ]


def test_read_corpus():
    texts, rows = run_lines("read_corpus", "--files", "4", "--rows", "20", "--turns", "1")
    assert texts.keys() == {"name", "passages", "here"}
    assert texts["passages"] == 80
    assert rows.keys() == {"name", "read", "cut", "here", "rest", "share_of_cutting"}


def test_local_work():
    assert run_script("local_work", "--shards", "4", "--turns", "2").keys() >= FIGURES


def test_object_store():
    pytest.importorskip("obstore", reason="needs the extra store (obstore)")
    for module in ("moto", "flask", "flask_cors"):
        pytest.importorskip(module, reason="needs moto's server, which speaks S3 (extra dev)")
    assert run_script("object_store", "--shards", "20").keys() >= FIGURES

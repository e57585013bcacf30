"""One model on tasks: scores, prompts, results on disk, resume."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import MINILM
from sentence_transformers import SentenceTransformer
from tiny import TEXTS

from distill.evaluate.contender import as_mteb_model, mteb_name, open_contender
from distill.evaluate.evaluate import evaluate_model, load_data, score_tasks
from distill.evaluate.tasks import load_task
from distill.models import revision

mteb = pytest.importorskip("mteb")


@pytest.fixture
def tasks(task_data):
    return [load_task("SciFact", task_data), load_task("mine", task_data)]


@pytest.fixture
def no_encoding(monkeypatch):
    """From here on, encoding anything fails."""

    def switch_off():
        def refuse(*args, **kwargs):
            raise AssertionError("encoded")

        monkeypatch.setattr(SentenceTransformer, "encode", refuse)

    return switch_off


@pytest.mark.parametrize("side", ["query", "document"])
def test_prompts_of_the_model_are_applied(prompted_folder, side):
    import datasets
    from mteb.types import PromptType
    from torch.utils.data import DataLoader

    contender = open_contender(prompted_folder)
    ours = as_mteb_model(contender).encode(
        DataLoader(datasets.Dataset.from_dict({"text": TEXTS}), batch_size=4),
        task_metadata=mteb.get_task("SciFact").metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=PromptType(side),
        show_progress_bar=False,
    )
    model = SentenceTransformer(str(prompted_folder))
    encode = model.encode_query if side == "query" else model.encode_document
    assert np.array_equal(ours, encode(TEXTS))
    assert not np.allclose(ours, model.encode(TEXTS), atol=1e-2)


def test_scores_are_those_of_the_models_own_vectors(prompted_folder, tasks, tmp_path):
    model = SentenceTransformer(str(prompted_folder))
    queries = [" ".join(text.split()[:4]) for text in TEXTS]
    similar = model.encode_query(queries) @ model.encode_document(TEXTS).T
    ranks = [int((row > row[i]).sum()) + 1 for i, row in enumerate(similar)]
    # One relevant document: nDCG@10 is 1 / log2(rank + 1).
    gains = [1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks]

    (score, _) = evaluate_model(prompted_folder, tasks, tmp_path)

    assert score.by_query == pytest.approx(
        {f"test/default/q{i}": gain for i, gain in enumerate(gains)}
    )
    assert score.score == pytest.approx(np.mean(gains), abs=1e-5)
    assert 0.3 < score.score < 1, "the collection tells models apart"


def test_results_load_back_with_name_and_revision(prompted_folder, tasks, tmp_path):
    scores = evaluate_model(prompted_folder, tasks, tmp_path)
    (loaded,) = mteb.ResultCache(tmp_path).load_results().model_results
    name = f"distill/{prompted_folder.parent.name}-student"
    assert (loaded.model_name, loaded.model_revision) == (name, revision(str(prompted_folder)))
    assert loaded.model_meta.n_parameters == open_contender(prompted_folder).parameters
    assert {r.task_name: r.get_score() for r in loaded.task_results} == {
        s.task: s.score for s in scores
    }
    by_task = {result.task_name: result for result in loaded.task_results}
    assert by_task["mine"].dataset_revision == tasks[1].metadata.revision


def test_what_is_there_is_not_computed_again(prompted_folder, tasks, tmp_path, no_encoding):
    first = evaluate_model(prompted_folder, tasks, tmp_path)
    no_encoding()
    assert evaluate_model(prompted_folder, tasks, tmp_path) == first


def test_other_data_is_computed_again(prompted_folder, task_data, tmp_path, no_encoding):
    evaluate_model(prompted_folder, [load_task("mine", task_data)], tmp_path)
    corpus = task_data / "mine" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("heart", "liver"), encoding="utf-8")
    no_encoding()
    with pytest.raises(AssertionError, match="encoded"):
        evaluate_model(prompted_folder, [load_task("mine", task_data)], tmp_path)


def test_a_result_cut_off_in_writing_is_computed_again(prompted_folder, tasks, tmp_path):
    first = evaluate_model(prompted_folder, tasks, tmp_path)
    for path in tmp_path.glob("queries/**/SciFact.json"):
        path.unlink()
    for path in tmp_path.glob("results/**/SciFact.json"):
        path.write_text(path.read_text()[:100])
    assert evaluate_model(prompted_folder, tasks, tmp_path) == first


def test_fewer_tokens_are_another_experiment(prompted_folder, tasks, tmp_path):
    whole = evaluate_model(prompted_folder, tasks, tmp_path)
    assert evaluate_model(prompted_folder, tasks, tmp_path, max_tokens=64) == whole
    shortened = evaluate_model(prompted_folder, tasks, tmp_path, max_tokens=12)
    assert shortened != whole
    assert evaluate_model(prompted_folder, tasks, tmp_path) == whole
    assert list(tmp_path.glob("results/*/*/experiments/max_tokens_12/SciFact.json"))


def test_a_log_gets_one_line_a_task(prompted_folder, tasks, tmp_path, capfd):
    contender = open_contender(prompted_folder)
    capfd.readouterr()
    score_tasks(contender, tasks, tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert "student on SciFact: ndcg_at_10 0." in lines[0]


def test_the_hub_out_of_reach_names_the_way_without(monkeypatch):
    from distill.errors import UserError

    def unreachable(self, **kwargs):
        raise ConnectionError("no route")

    task = load_task("SciFact")
    monkeypatch.setattr(type(task), "load_data", unreachable)
    with pytest.raises(UserError, match="--task-data a folder that holds SciFact/"):
        load_data(task)


def test_names_have_mtebs_form(tmp_path):
    folder = tmp_path / "demo" / "student"
    folder.mkdir(parents=True)
    assert mteb_name(str(folder)) == "distill/demo-student"
    assert mteb_name("intfloat/e5-small-v2@abc") == "intfloat/e5-small-v2"
    assert mteb_name("wheel:pack==1.0/inside/model#sha256=00") == "wheel/pack-model"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_minilm_on_scifact_is_as_published(data_folder, tmp_path):
    task = load_task("SciFact", Path(data_folder) / "mteb")
    (score,) = evaluate_model(MINILM, [task], tmp_path)
    assert score.score == pytest.approx(0.6451, abs=0.001)
    assert len(score.by_query) == 300

"""Variants of a recipe side by side, on tiny models."""

import json

import pytest
import yaml
from click.testing import CliRunner
from helpers.fresh_process import run_distill

import distill.pipeline.ablation
from distill.cli import cli
from distill.errors import UserError
from distill.evaluate.score import TaskScore
from distill.recipe import load_recipe, override
from distill.recipe.packaged import get_packaged_folder


def test_each_arm_is_compared_with_the_first_and_trained_once(recipe_file, tmp_path, monkeypatch):
    settings = yaml.safe_load(recipe_file.read_text())
    settings["ablation"] = {
        "seeds": [0, 1],
        "arms": {"p_N": {}, "no negative": {"relabel.negative_count": 0}},
    }
    file = recipe_file.with_name("ablation.yaml")
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    words = ["ablate", str(file), "--run", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    lines = (tmp_path / "run" / "ablation.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")][2:]
    arms = ["p_N", "no negative", "base, untrained"]
    hybrids = [f"{arm} + BM25" for arm in arms]
    assert [row[0].strip("| ") for row in rows] == [*arms, "BM25", *hybrids]
    assert len(rows[4][2].split(", ")) == 2  # a hybrid of each seed
    assert rows[0][4].strip() == ""
    assert " to " in rows[1][5]
    assert 0 < float(rows[1][6].strip(" |")) <= 1
    assert "| arm | nDCG@10 |" in (tmp_path / "run" / "ablation.md").read_text()
    assert len(rows[0][2].split(", ")) == 2
    # A second call finds every student's scores.
    monkeypatch.setattr(distill.pipeline.ablation, "Job", None)
    again = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert again.stdout == done.stdout
    # Not of other data.
    monkeypatch.setattr(distill.pipeline.ablation, "describe_task", lambda task: "another")
    with pytest.raises(TypeError, match="not callable"):
        CliRunner().invoke(cli, words, catch_exceptions=False)


@pytest.mark.bad_input("ablation", "an arm with an unknown key", "refused by name")
def test_arm_with_an_unknown_key_is_refused_by_name(recipe_file):
    recipe = load_recipe(recipe_file)
    with pytest.raises(UserError, match=r"relabel\.negatves.*unknown key"):
        override(recipe, {"relabel.negatves": "lowest"})


@pytest.mark.bad_input("ablation", "a recipe without arms", "refused, with how to name them")
def test_recipe_without_arms_says_how_to_name_them(recipe_file, tmp_path):
    done = CliRunner().invoke(cli, ["ablate", str(recipe_file), "--run", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    assert "ablation: {arms:" in done.exception.remedy


@pytest.mark.bad_input("ablation", "arms measured on other queries", "refused before training")
@pytest.mark.parametrize(
    ("tasks", "arm", "key"),
    [
        (["SciFact"], {"evaluate.tasks": ["NFCorpus"]}, "evaluate.tasks"),
        (["SciFact"], {"evaluate.task_data": "elsewhere"}, "evaluate.task_data"),
        (["known-item"], {"corpus.held_out": 0.3}, "corpus"),
        (["known-item"], {"seed": 4}, "seed"),
    ],
)
def test_arm_that_is_measured_on_other_queries_is_refused_before_training(
    recipe_file, tmp_path, tasks, arm, key
):
    done = ablate_on(tasks, arm, recipe_file, tmp_path)
    assert done.returncode == 2
    assert f"ablation.arms: other: sets {key}, so that" in " ".join(done.stderr.split())
    assert not (tmp_path / "run" / "passages").exists()


@pytest.mark.bad_input("ablation", "the task `judged`", "refused before training")
def test_ablation_on_the_judged_pool_is_refused_before_training(recipe_file, tmp_path):
    done = ablate_on(["known-item", "judged"], {"train.epochs": 2}, recipe_file, tmp_path)
    assert done.returncode == 2
    assert "take judged out of evaluate.tasks" in " ".join(done.stderr.split())
    assert not (tmp_path / "run" / "passages").exists()


@pytest.mark.bad_input("ablation", "arms whose labelled ids name other documents", "refused")
def test_arm_whose_labelled_ids_name_other_documents_is_refused(tmp_path):
    write_documents(tmp_path / "one.jsonl", "text")
    write_documents(tmp_path / "two.jsonl", "other text")
    (tmp_path / "asked.csv").write_text("question,doc_id\nhow to reset,d3\n")
    (tmp_path / "own.csv").write_text("question,passage\nhow to reset,press the button\n")
    for task, of_path, is_alike in (
        ("asked.csv", {"corpus.path": str(tmp_path / "two.jsonl")}, False),
        ("asked.csv", {"corpus.max_tokens": 64}, True),
        ("own.csv", {"corpus.path": str(tmp_path / "two.jsonl")}, True),
    ):
        recipe = load_recipe(
            None,
            [
                "name=labelled",
                f"corpus={{source: auto, path: {tmp_path / 'one.jsonl'}}}",
                f"evaluate.tasks=[{tmp_path / task}]",
            ],
        )
        check = distill.pipeline.ablation._check_documents_alike
        data = distill.pipeline.ablation._describe_named_tasks(recipe)
        arms = {"other": override(recipe, of_path)}
        if is_alike:
            check(recipe, arms, data)
        else:
            with pytest.raises(UserError, match=r"sets corpus, so that the ids"):
                check(recipe, arms, data)


def write_documents(file, word):
    rows = [{"_id": f"d{n}", "text": f"{word} number {n}"} for n in range(5)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def ablate_on(tasks, arm, recipe_file, tmp_path):
    """Run `distill ablate` on these tasks with one arm beside the recipe's own."""
    settings = yaml.safe_load(recipe_file.read_text())
    settings["corpus"]["held_out"] = 0.5
    settings["evaluate"] = {"tasks": tasks}
    settings["ablation"] = {"arms": {"plain": {}, "other": arm}}
    del settings["generate"]["prompt"]
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return run_distill("ablate", str(file), "--run", str(tmp_path / "run"))


@pytest.mark.parametrize(
    "file", sorted((get_packaged_folder() / "ablations").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_arm_of_the_packaged_ablations_is_a_valid_recipe(file):
    recipe = load_recipe(file)
    for keys in recipe.ablation.arms.values():
        override(recipe, keys)


def score_of(value: float) -> TaskScore:
    return TaskScore("task", "Retrieval", "ndcg_at_10", value, {"test/default/q1": value})


@pytest.mark.bad_input("damage", "an arm's scores: torn, a digit changed", "computed again")
@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0.5", "0.9", 1),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: '{"student": [{"score": 1}], "base": []}',
        lambda text: '{"student": 3, "base": null}',
        lambda text: "\x00" * 40,
    ],
)
def test_damaged_scores_of_an_arm_are_set_aside(tmp_path, caplog, harm):
    path = tmp_path / "ablation" / "mark.json"
    both = {"student": [score_of(0.5)], "base": [score_of(0.25)]}
    distill.pipeline.ablation._keep_scores(path, "mark", both)
    assert distill.pipeline.ablation._read_scores(path) == both
    path.write_text(harm(path.read_text()))
    assert distill.pipeline.ablation._read_scores(path) is None
    assert "mark.json is damaged" in caplog.text
    assert not path.exists()
    assert (tmp_path / "ablation" / "damaged" / "mark.json").is_file()


def test_arms_with_different_bases_have_a_row_for_each_base():
    small, large = (
        [{"student": [score_of(of_base + 0.1)], "base": [score_of(of_base)]}]
        for of_base in (0.25, 0.5)
    )
    arms = {"small": small, "small again": small, "large": large}
    rows = {row.name: row.by_seed for row in distill.pipeline.ablation._make_rows(arms)}
    assert [*rows] == [*arms, "base of small, untrained", "base of large, untrained"]
    assert rows["base of small, untrained"] == [0.25]
    assert rows["base of large, untrained"] == [0.5]


def test_arms_with_different_bm25_have_a_row_for_each():
    scores = {"student": [score_of(0.5)], "base": [score_of(0.25)]}
    plain, stemmed = ([scores | {"bm25": [score_of(of_bm25)]}] for of_bm25 in (0.25, 0.5))
    arms = {"plain": plain, "plain again": plain, "stemmed": stemmed}
    rows = {row.name: row.by_seed for row in distill.pipeline.ablation._make_rows(arms)}
    assert rows["BM25 of plain"] == [0.25]
    assert rows["BM25 of stemmed"] == [0.5]
    assert "BM25" not in rows


def test_scores_of_an_arm_from_before_have_no_checksum(tmp_path):
    path = tmp_path / "mark.json"
    both = {"student": [score_of(0.5)], "base": []}
    distill.pipeline.ablation._keep_scores(path, "mark", both)
    kept = json.loads(path.read_text())
    del kept["sha256"]
    path.write_text(json.dumps(kept))
    assert distill.pipeline.ablation._read_scores(path) == both
    # Nor have they BM25.
    rows = distill.pipeline.ablation._make_rows({"arm": [both]})
    assert [row.name for row in rows] == ["arm", "base, untrained"]

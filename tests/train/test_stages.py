"""Training stages one after the other, validation, and which weights are the student."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers.killed_training import train_and_die
from helpers.training_by_hand import make_example_rows, make_recipe, train_in, write_inputs
from helpers.written_files import read_files
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from train.data.test_soft_labels import label, write

from distill.errors import UserError
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.tables import LABELS, PASSAGES, join_passage
from distill.student.build import build_base
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student

STAGES = [
    {"name": "titles", "mixture": [{"path": "titles"}], "epochs": 1, "batch_size": 6},
    {
        "name": "align",
        "objective": {"align": 1.0},
        "learning_rate": 1e-3,
    },
    {"name": "both", "objective": {"infonce": 1.0, "align": 1.0}, "embedding_learning_rate": 1e-2},
]


def curves(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text())


@pytest.fixture(scope="module")
def staged(encoder_folder, teacher_folder) -> Recipe:
    """Three training stages; the student is the mean of its best two looks at it."""
    train = {
        "stages": STAGES,
        "epochs": 2,
        "align": {"passages": 6, "batch_size": 3},
        "checkpoint_steps": 3,
        "validation": {"share": 0.3, "every": 2},
        "keep": "best",
        "soup": 2,
    }
    student = {"dimensions": 16}
    return make_recipe(encoder_folder, teacher_folder, train=train, student=student)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, staged) -> tuple[Path, dict[str, bytes]]:
    folder = train_in(tmp_path_factory.mktemp("staged") / "run", staged).folder
    return folder, read_files(folder)


def test_each_stage_has_its_data_its_objective_and_its_part_of_the_curve(whole):
    told = curves(whole[0])
    assert [stage["name"] for stage in told["stages"]] == ["titles", "align", "both"]
    titles, align, both = told["stages"]
    assert titles["examples"] == 9  # of 12, of which 3 are held out
    assert (align["examples"], align["texts"]) == (6, 6)
    assert titles["cosine_to_teacher_before"] is None
    assert align["cosine_to_teacher_after"] > align["cosine_to_teacher_before"]
    assert both["cosine_to_teacher_before"] == pytest.approx(
        align["cosine_to_teacher_after"], abs=2e-4
    )  # the projection goes on as well
    steps = [line["step"] for line in told["curve"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == both["last_step"] == sum(stage["steps"] for stage in told["stages"])
    terms = {
        line["step"]: set(line) & {"infonce", "align", "align_texts"} for line in told["curve"]
    }
    assert terms[1] == {"infonce"}
    assert terms[titles["last_step"] + 1] <= {"align", "align_texts"}
    assert "infonce" in set().union(*(terms[s] for s in steps if s > align["last_step"]))


def test_student_is_looked_at_before_and_on_the_way(whole):
    looks = curves(whole[0])["looks"]
    assert looks[0]["step"] == 0
    assert {"ndcg@10", "uniformity", "alignment", "effective_rank"} <= set(looks[-1])
    manifest = json.loads((whole[0] / ".stage" / "manifest.json").read_text())
    assert manifest["figures"]["before"] == {
        name: looks[0][name] for name in manifest["figures"]["after"]
    }


def test_best_are_kept(whole):
    told = curves(whole[0])
    first = told["stages"][0]
    looks = [line for line in told["looks"] if 0 < line["step"] <= first["steps"]]
    best = sorted(looks, key=lambda line: -line["ndcg@10"])[:2]
    assert first["kept_steps"] == sorted(line["step"] for line in best)


@pytest.mark.parametrize(
    ("when", "step"),
    [
        ("step", 1),
        ("save", 3),  # the second stage's checkpoint; the first has none at its step 3
        ("step", 5),
        ("move", 2),
    ],
)
def test_killed_in_any_stage_it_ends_with_the_undisturbed_bytes(
    tmp_path, staged, whole, when, step
):
    train_and_die(tmp_path / "run", staged, when, step)
    assert read_files(train_in(tmp_path / "run", staged).folder) == whole[1]


def test_stages_are_trained_in_bfloat16_too(tmp_path, encoder_folder, teacher_folder):
    """What a stage ends with is looked at in float32, whether or not the run was interrupted."""
    train = {"dtype": "bfloat16", "objective": {"align": 1.0}, "learning_rate": 1e-2}
    train |= {"stages": [{"name": "one"}, {"name": "two"}]}
    recipe = make_recipe(encoder_folder, teacher_folder, train=train)
    whole = read_files(train_in(tmp_path / "whole", recipe).folder)
    train_and_die(tmp_path / "run", recipe, "move", 0)
    done = tmp_path / "run" / "student" / ".stage" / "training" / "1-two"
    shutil.rmtree(done)
    stage = train_in(tmp_path / "run", recipe)
    assert read_files(stage.folder) == whole


def test_titles_that_are_not_there_are_missed_before_the_first_stage(
    tmp_path, encoder_folder, monkeypatch
):
    monkeypatch.setattr("distill.train.data.sources._has_title", lambda row: False)
    monkeypatch.setattr("distill.train.stage._train", None)
    train = {"stages": [{"name": "one"}, {"name": "two", "mixture": [{"path": "titles"}]}]}
    with pytest.raises(UserError, match="no passage that has a title"):
        train_in(tmp_path / "run", make_recipe(encoder_folder, train=train))


def test_stage_that_is_done_is_not_trained_again(tmp_path, staged, whole, monkeypatch):
    train_and_die(tmp_path / "run", staged, "move", 0)
    monkeypatch.setattr("distill.train.training_stage.fit", None)
    assert read_files(train_in(tmp_path / "run", staged).folder) == whole[1]


def test_soup_of_the_last_is_their_mean(tmp_path, encoder_folder):
    train = {"epochs": 2, "learning_rate": 1e-3, "validation": {"every": 1}}
    runs = {}
    for soup in (1, 2):
        recipe = make_recipe(encoder_folder, train=train | {"soup": soup})
        stage = train_in(tmp_path / f"soup-{soup}", recipe)
        runs[soup] = load_file(stage.folder / "model.safetensors")
    steps = curves(tmp_path / "soup-2" / "student")["stages"][0]["kept_steps"]
    last = curves(tmp_path / "soup-1" / "student")["stages"][0]["last_step"]
    assert steps == [last - 1, last]
    assert any(not torch.equal(runs[1][name], runs[2][name]) for name in runs[1])


@pytest.mark.parametrize("student", [{}, {"lora": {"rank": 2}}], ids=["all", "lora"])
def test_student_interpolated_with_nothing_of_its_training_is_its_base(
    tmp_path, encoder_folder, student
):
    """Of several stages, the end is interpolated with what was there before the first one."""
    train = {
        "learning_rate": 1e-2,
        "interpolation": 0.0,
        "stages": [{"name": "one"}, {"name": "two"}],
    }
    recipe = make_recipe(encoder_folder, train=train, student=student)
    folder = train_in(tmp_path / "run", recipe).folder
    weights = (load_file(tmp_path / "run" / of / "model.safetensors") for of in ("base", "student"))
    base, trained = weights
    assert base.keys() == trained.keys()
    assert all(torch.equal(base[name], trained[name]) for name in base)
    assert curves(folder)["curve"]


def test_soft_labels_of_the_llm_are_learnt(tmp_path, encoder_folder, caplog):
    """The hard negative is the better one, says the LLM."""
    rows = [row for row in make_example_rows() if row["negatives"]]
    labels = [
        label(row["query_id"], passage, score)
        for row in rows
        for passage, score in ((row["positive_id"], -2.0), (row["negative_ids"][0], -1.0))
    ]
    train = {
        "objective": {"kl": 1.0},
        "kl": {"scores": "ql", "temperature": 0.1},
        "epochs": 30,
        "learning_rate": 1e-3,
    }
    recipe = make_recipe(encoder_folder, train=train, relabel={"ql_per_token": True})
    with Run(tmp_path / "run") as run:
        passages, examples = write_inputs(run, rows)
        judged = write(run, LABELS, "labels", [labels])
        base = build_base(run, recipe.student, recipe.seed)
        with pytest.raises(UserError, match="scores 'ql'"):
            train_student(run, TrainingSettings.select(recipe), passages, [examples], base)
        stage = train_student(
            run, TrainingSettings.select(recipe), passages, [examples], base, judged
        )
    assert set(stage.manifest["inputs"]) == {"passages", "examples", "base", "labels"}
    model = SentenceTransformer(str(stage.folder))
    queries = model.encode_query([row["query"] for row in rows])
    good = model.encode_document([row["negatives"][0] for row in rows])
    bad = model.encode_document([row["positive"] for row in rows])
    assert ((queries * good).sum(1) > (queries * bad).sum(1)).all()
    (told,) = curves(stage.folder)["stages"]
    assert told["soft_labels"]["lists"] == len(rows)
    assert told["soft_labels"]["top_probability"] > 0.99
    assert "the soft labels are hard" in caplog.text
    assert told["steps_by_source"] == {"examples": told["steps"]}


def test_judged_candidate_that_was_not_chosen_is_learnt_and_no_contrast(tmp_path, encoder_folder):
    """Beside a contrast in which the third candidate has no part, it becomes the nearest."""
    rows = [row for row in make_example_rows() if row["negatives"]]
    third = {row["query_id"]: f"p{(n + 9) % 12}" for n, row in enumerate(rows)}
    labels = [
        label(row["query_id"], passage, score)
        for row in rows
        for passage, score in (
            (row["positive_id"], -3.0),
            (row["negative_ids"][0], -3.0),
            (third[row["query_id"]], -1.0),
        )
    ]
    train = {
        "objective": {"kl": 1.0, "infonce": 0.01},
        "kl": {"scores": "ql", "temperature": 0.3, "candidates": "all"},
        "epochs": 40,
        "learning_rate": 1e-3,
    }
    recipe = make_recipe(encoder_folder, train=train, relabel={"ql_per_token": True})
    with Run(tmp_path / "run") as run:
        passages, examples = write_inputs(run, rows)
        judged = write(run, LABELS, "labels", [labels])
        base = build_base(run, recipe.student, recipe.seed)
        stage = train_student(
            run, TrainingSettings.select(recipe), passages, [examples], base, judged
        )
    model = SentenceTransformer(str(stage.folder))
    texts = {row["passage_id"]: join_passage(row) for row in passages.read_rows(PASSAGES)}
    queries = model.encode_query([row["query"] for row in rows])
    wanted = model.encode_document([texts[third[row["query_id"]]] for row in rows])
    positives = model.encode_document([row["positive"] for row in rows])
    assert ((queries * wanted).sum(1) > (queries * positives).sum(1)).all()


def test_relevance_that_a_judge_found_is_all_learnt(tmp_path, encoder_folder, caplog):
    """Two positives of each query become nearer than what was judged to be none. The seed, which
    lost its place and was judged irrelevant, is no negative."""
    rows = [row | {"seed_id": "p11"} for row in make_example_rows() if row["negatives"]]
    other = {row["query_id"]: f"p{(n + 9) % 11}" for n, row in enumerate(rows)}
    labels = [
        label(row["query_id"], passage, None) | {"rc": score}
        for row in rows
        for passage, score in (
            (row["positive_id"], 2.0),
            (row["negative_ids"][0], -2.0),
            (other[row["query_id"]], 1.0),
            ("p11", -3.0),
        )
    ]
    train = {
        "objective": {"multi_positive": 1.0},
        "multi_positive": {"temperature": 0.2},
        "no_in_batch_negatives": "all",
        "epochs": 30,
        "learning_rate": 1e-3,
    }
    recipe = make_recipe(encoder_folder, train=train, relabel={"rankers": ["rc"]})
    with Run(tmp_path / "run") as run, caplog.at_level("INFO"):
        passages, examples = write_inputs(run, rows)
        judged = write(run, LABELS, "labels", [labels])
        base = build_base(run, recipe.student, recipe.seed)
        stage = train_student(
            run, TrainingSettings.select(recipe), passages, [examples], base, judged
        )
    (told,) = curves(stage.folder)["stages"]
    assert told["relations"] == {
        "lists": len(rows),
        "positives": 2.0,
        "negatives": 1.0,
        "unknown": 1.0,
    }
    assert "of the candidates of a query 2.00 are positives" in caplog.text
    model = SentenceTransformer(str(stage.folder))
    texts = {row["passage_id"]: join_passage(row) for row in passages.read_rows(PASSAGES)}
    queries = model.encode_query([row["query"] for row in rows])
    none = model.encode_document([row["negatives"][0] for row in rows])
    for ids in ([row["positive_id"] for row in rows], other.values()):
        found = model.encode_document([texts[id_] for id_ in ids])
        assert ((queries * found).sum(1) > (queries * none).sum(1)).all()


def test_steps_are_reported_by_source(tmp_path, encoder_folder, teacher_folder):
    train = {
        "objective": {"infonce": 1.0, "align": 1.0},
        "align": {"passages": 8, "batch_size": 4},
        "mixture": [{"path": "examples"}, {"path": "titles"}],
        "epochs": 2,
    }
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, teacher_folder, train=train))
    (told,) = curves(stage.folder)["stages"]
    steps = told["steps_by_source"]
    assert steps["texts to align"] == 2 * 2
    assert sum(steps.values()) == pytest.approx(told["steps"], abs=0.2)
    assert set(steps) == {"examples", "titles", "texts to align"}


def test_speed_settings_do_not_change_the_student(tmp_path, encoder_folder):
    plain = train_in(tmp_path / "run", make_recipe(encoder_folder))
    train = {"gradient_checkpointing": True, "mini_batch_tokens": 64}
    slower = make_recipe(encoder_folder, train=train)
    assert train_in(tmp_path / "run", slower).fingerprint == plain.fingerprint
    again = train_in(tmp_path / "again", slower)
    ours, theirs = (load_file(s.folder / "model.safetensors") for s in (plain, again))
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], atol=2e-3), name


@pytest.mark.parametrize("off", [["search"], "all"])
def test_types_of_task_without_in_batch_negatives_have_their_own_alone(
    tmp_path, encoder_folder, off
):
    """A query without a hard negative then has nothing to be told from: its loss is 0."""
    alone = [row for row in make_example_rows() if not row["negatives"]]
    rows = [*alone, make_example_rows()[1]]
    train = {"no_in_batch_negatives": off, "epochs": 1}
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, train=train), rows)
    one, other = sorted(line["infonce"] for line in curves(stage.folder)["curve"])
    assert one == pytest.approx(0, abs=1e-6)
    assert other > 0.01


@pytest.mark.parametrize("save", ["merged", "adapter"])
def test_adapter_is_trained_resumed_and_saved(tmp_path, encoder_folder, save):
    student = {"lora": {"rank": 4, "save": save}, "pool_prompt": False}
    stages = [{"name": "one"}, {"name": "two", "soup": 2}]
    train = {"stages": stages, "checkpoint_steps": 2, "learning_rate": 1e-2}
    recipe = make_recipe(encoder_folder, student=student, train=train)
    whole = read_files(train_in(tmp_path / "whole", recipe).folder)
    train_and_die(tmp_path / "run", recipe, "step", 3)
    stage = train_in(tmp_path / "run", recipe)
    assert ("adapter_model.safetensors" in whole) == (save == "adapter")
    model, base = (
        SentenceTransformer(str(folder)) for folder in (stage.folder, tmp_path / "run" / "base")
    )
    other = SentenceTransformer(str(tmp_path / "whole" / "student"))
    texts = [row["query"] for row in make_example_rows()]
    assert (model.encode(texts) == other.encode(texts)).all()
    assert abs(model.encode(texts) - base.encode(texts)).max() > 1e-3


@pytest.mark.bad_input(
    "installation", "a tracker that is not installed", "refused, the extra named"
)
@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_tracker_that_is_not_installed_is_named(tmp_path, encoder_folder):
    recipe = make_recipe(encoder_folder, train={"trackers": ["wandb"]})
    with pytest.raises(UserError, match=r"wandb.*not installed"):
        train_in(tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "student").exists()

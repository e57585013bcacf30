"""`distill check` of soft labels that cannot be had, or that a cascade leaves unknown."""

import pytest

from distill.errors import UserError
from distill.pipeline.job import Job
from distill.recipe import load_recipe
from distill.start.check import check_recipe
from distill.store.run import Run

LEARNS = ["train.objective={infonce: 1.0, kl: 1.0}", "train.kl={scores: rc}"]
CASCADE = ["relabel.top_k=12", "relabel.cascade={by: [ql], keep: 4}"]


@pytest.mark.bad_input(
    "recipe", "soft labels that a cascade leaves unknown", "a notice of `distill check`"
)
@pytest.mark.parametrize(
    ("sets", "is_warned"),
    [
        ([], True),
        (["relabel.negatives=hardest"], False),
        (["train.kl={scores: rc, candidates: all}"], False),
        (["train.kl={scores: ql_sum}"], False),
        (["train.objective={margin_mse: 1.0}", "train.margin_mse={scores: rc}"], True),
        (["relabel.cascade={by: []}"], False),
        (["relabel.negative_count=9"], False),
    ],
)
def test_soft_labels_that_a_cascade_leaves_unknown_are_a_notice(
    recipe_file, tmp_path, sets, is_warned
):
    recipe = load_recipe(recipe_file, [*LEARNS, *CASCADE, *sets])
    notices = check_recipe(recipe, tmp_path / "run", models=False).notices
    assert any("rc: relabel.cascade leaves it unknown" in said for said in notices) == is_warned


@pytest.mark.bad_input(
    "recipe", "soft labels that nobody can give", "refused before anything is spent"
)
@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (
            ["train.objective={kl: 1.0, margin_mse: 1.0}", "train.kl={scores: rc}"],
            r"name different scores \(rc, teacher\)",
        ),
        (["train.objective={kl: 1.0, cosent: 1.0}"], "those of somebody else"),
        (["train.objective={kl: 1.0}", "teacher.model=null"], "the recipe names none"),
        (
            ["train.objective={kl: 1.0}", "train.kl={scores: rc}", "generate.methods=[brainstorm]"],
            "no queries over passages to relabel",
        ),
    ],
)
def test_soft_labels_that_cannot_be_had_are_refused_before_anything_is_spent(
    recipe_file, tmp_path, sets, says
):
    """By `distill check`, and by a run that was not checked: no corpus is read for it."""
    recipe = load_recipe(recipe_file, sets)
    faults = check_recipe(recipe, tmp_path / "run", models=False).faults
    with pytest.raises(UserError, match=says) as refusal, Run(tmp_path / "run") as run:
        Job(run, recipe).relabel()
    assert str(refusal.value) in [str(fault) for fault in faults]
    assert not list((tmp_path / "run").glob("*/.stage"))

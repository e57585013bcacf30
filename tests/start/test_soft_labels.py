"""`distill check` of soft labels that a cascade leaves unknown."""

import pytest

from distill.recipe import load_recipe
from distill.start.check import check_recipe

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

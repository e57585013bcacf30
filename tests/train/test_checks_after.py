"""What is said of a curve: noise is no rise, and what is refused is not lost."""

from pathlib import Path

import numpy as np
import pytest
from helpers.training_by_hand import make_recipe, train_in

from distill.errors import UserError
from distill.recipe import Train
from distill.train import training_stage
from distill.train.checks import describe_unrelated_spaces
from distill.train.checks_after import TrainingCheck, check_loss_curve
from distill.train.loop.trainer import _make_arguments

FELL = [{"ndcg@10": 0.5}, {"ndcg@10": 0.6}, {"ndcg@10": 0.4}]
ROSE = [{"ndcg@10": 0.5}, {"ndcg@10": 0.4}, {"ndcg@10": 0.6}]


def curve(losses) -> list[dict[str, float]]:
    return [{"step": n, "loss": float(loss)} for n, loss in enumerate(losses)]


def slope(rise: float) -> list[dict[str, float]]:
    return curve(1 + rise * k / 60 + 0.1 * (k % 3) for k in range(60))


def test_loss_that_falls_stays_or_is_too_short_to_tell_is_neither_refused_nor_warned_of():
    for losses in (slope(0), slope(-1), curve(range(49)), curve([1.0] * 60)):
        assert check_loss_curve(losses, ROSE, best=False) is None


def test_steep_rise_is_refused():
    verdict = check_loss_curve(slope(1), [], best=False)
    assert verdict is not None
    assert verdict.refuse
    assert "the loss rose from 1.1" in verdict.what


def test_slight_rise_is_warned_of_and_refused_only_if_the_validation_fell_too():
    slight = slope(0.2)
    assert check_loss_curve(slight, [], best=False).refuse is False
    assert check_loss_curve(slight, ROSE, best=False).refuse is False
    fell = check_loss_curve(slight, FELL, best=False)
    assert fell.refuse
    assert "nDCG@10 fell from 0.5000 to 0.4000" in fell.what
    assert check_loss_curve(slight, FELL, best=True).refuse is False


@pytest.mark.parametrize("lines", [50, 100, 300])
def test_loss_that_only_varies_is_seldom_warned_of_and_all_but_never_refused(lines):
    draw = np.random.default_rng(lines)
    verdicts = [
        check_loss_curve(curve(2 + draw.normal(size=lines)), [], False) for _ in range(2000)
    ]
    assert np.mean([verdict is not None for verdict in verdicts]) < 0.02
    assert sum(verdict.refuse for verdict in verdicts if verdict) <= 1


def test_refused_training_is_kept_and_the_same_command_goes_on_with_it(
    tmp_path, encoder_folder, monkeypatch, caplog
):
    recipe = make_recipe(encoder_folder)
    expected = train_in(tmp_path / "calm", recipe).folder / "model.safetensors"
    monkeypatch.setattr(
        training_stage, "check_loss_curve", lambda *_: TrainingCheck("the loss rose", True)
    )
    with pytest.raises(UserError, match=r"the loss rose(.|\n)*run the same command again"):
        train_in(tmp_path / "run", recipe)
    monkeypatch.setattr(training_stage, "fit", None)  # nothing is trained again
    student = train_in(tmp_path / "run", recipe)
    assert (student.folder / "model.safetensors").read_bytes() == expected.read_bytes()
    assert "the loss rose" in caplog.text


def test_training_may_lie_in_a_short_path(monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    train = Train(device="cpu", trackers=["tensorboard"])
    args = _make_arguments(train, 1, Path("/w"), None, "mine", {})
    assert args.run_name == "mine"


@pytest.mark.parametrize(
    ("cosine", "has_projection", "told"),
    [(-0.01, False, True), (0.5, False, False), (-0.01, True, False), (None, False, False)],
)
def test_spaces_without_anything_in_common_are_reported(cosine, has_projection, told):
    said = describe_unrelated_spaces(cosine, has_projection)
    assert (said is not None) == told
    assert said is None or "mean cosine -0.01" in said

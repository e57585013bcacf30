"""Where the curve goes besides training.json."""

import json

import pytest
from helpers.training_by_hand import make_recipe, train_in

events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_tensorboard_has_the_curve_and_what_was_seen(tmp_path, encoder_folder):
    train = {"trackers": ["tensorboard"], "validation": {"every": 2}, "epochs": 2}
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, train=train))
    told = json.loads((stage.folder / "training.json").read_text())
    read = events.EventAccumulator(str(stage.metadata_dir / "tensorboard" / "0-train"))
    read.Reload()
    for where, tag in (("curve", "loss"), ("looks", "uniformity")):
        found = {event.step: event.value for event in read.Scalars(f"train/{tag}")}
        assert found == pytest.approx({line["step"]: line[tag] for line in told[where]})

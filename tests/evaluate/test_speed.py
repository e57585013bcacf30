"""Texts a second, and the time of one text."""

from itertools import count
from types import SimpleNamespace

import pytest
from helpers.tiny_models import TEXTS, make_tiny_encoder

from distill.evaluate import speed
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.speed import measure_speed


def test_models_take_turns_on_the_same_texts():
    calls = []

    def noting(name):
        return lambda texts, side: calls.append(
            (name, len(texts) if side == "document" else texts[0])
        )

    models = {name: noting(name) for name in ("a", "b")}
    texts = [f"text {i}" for i in range(40)]
    assert measure_speed(models, texts, rounds=2).keys() == {"a", "b"}
    warm = [("a", 32), ("a", "text 0"), ("b", 32), ("b", "text 0")]
    together = [("a", 40), ("b", 40), ("a", 40), ("b", 40)]
    singly = [(name, text) for text in texts for name in ("a", "b")]
    assert calls == [*warm, *together, *singly]


def test_rate_and_time_of_one_text_are_medians(monkeypatch):
    """By a clock on which a call takes 10 ms, a text 1 ms more, and the second round twice that."""
    now, calls = [0.0], count(1)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def encode(texts, side):
        number = next(calls)
        seconds = 0.010 + 0.001 * len(texts)
        now[0] += 2 * seconds if number == 4 else seconds  # after two calls that do not count

    measured = measure_speed({"m": encode}, TEXTS)["m"]
    together = len(TEXTS) / (0.010 + 0.001 * len(TEXTS))
    assert measured.texts_per_second == pytest.approx(together)
    assert measured.rounds == pytest.approx([together, together / 2, together])
    assert measured.latency_ms == pytest.approx(11.0)
    assert measured.latency_quartiles == pytest.approx([11.0, 11.0])


def test_real_model_has_a_rate_and_a_size(tmp_path):
    eval_model = load_eval_model(make_tiny_encoder(tmp_path / "m"))
    measured = measure_speed({"m": eval_model.encode}, TEXTS)["m"]
    assert measured.texts_per_second > 0
    assert len(measured.rounds) == 3
    assert min(measured.rounds) <= measured.texts_per_second <= max(measured.rounds)
    first, third = measured.latency_quartiles
    assert 0 < first <= measured.latency_ms <= third
    assert eval_model.dimensions == 32
    weights = next(eval_model.folder.rglob("model.safetensors")).stat().st_size
    assert 4 * eval_model.parameters <= weights < eval_model.bytes_on_disk
    before = eval_model.bytes_on_disk
    (eval_model.folder / ".stage").mkdir()
    (eval_model.folder / ".stage" / "manifest.json").write_text("{}")
    assert eval_model.bytes_on_disk == before


def test_model_of_queries_alone_has_the_time_of_one_text_and_no_rate():
    sides = []
    models = {"queries": lambda texts, side: sides.append(side), "both": lambda texts, side: None}
    speeds = measure_speed(models, TEXTS[:4], queries_alone=["queries"])
    assert set(sides) == {"query"}
    assert speeds["queries"].texts_per_second is None
    assert speeds["queries"].latency_ms > 0
    assert speeds["both"].texts_per_second > 0

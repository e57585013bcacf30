"""Texts a second, and the time of one text."""

from helpers.tiny_models import TEXTS, make_tiny_encoder

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


def test_real_model_has_a_rate_and_a_size(tmp_path):
    eval_model = load_eval_model(make_tiny_encoder(tmp_path / "m"))
    speed = measure_speed({"m": eval_model.encode}, TEXTS)["m"]
    assert speed.texts_per_second > 0
    # One text takes longer than its share of a batch.
    assert speed.latency_ms > 1000 / speed.texts_per_second
    assert len(speed.rounds) == 3
    assert min(speed.rounds) <= speed.texts_per_second <= max(speed.rounds)
    first, third = speed.latency_quartiles
    assert 0 < first <= speed.latency_ms <= third
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

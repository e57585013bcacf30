"""Texts a second, and the time of one text."""

from tiny import TEXTS, tiny_encoder

from distill.evaluate.contender import open_contender
from distill.evaluate.speed import measure_speed


class Recorder:
    """Stands in for a model, and notes when it is asked."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def encode_document(self, texts, **kwargs):
        self.calls.append((self.name, len(texts)))

    def encode_query(self, texts, **kwargs):
        self.calls.append((self.name, texts[0]))


def test_models_take_turns_on_the_same_texts():
    calls = []
    models = {name: Recorder(name, calls) for name in ("a", "b")}
    texts = [f"text {i}" for i in range(40)]
    assert measure_speed(models, texts, rounds=2, batch_size=8).keys() == {"a", "b"}
    warm = [("a", 8), ("a", "text 0"), ("b", 8), ("b", "text 0")]
    together = [("a", 40), ("b", 40), ("a", 40), ("b", 40)]
    singly = [(name, text) for text in texts for name in ("a", "b")]
    assert calls == [*warm, *together, *singly]


def test_a_real_model_has_a_rate_and_a_size(tmp_path):
    contender = open_contender(tiny_encoder(tmp_path / "m"))
    speed = measure_speed({"m": contender.model}, TEXTS)["m"]
    assert speed.texts_per_second > 0
    # One text takes longer than its share of a batch.
    assert speed.latency_ms > 1000 / speed.texts_per_second
    assert contender.dimensions == 32
    weights = next(contender.folder.rglob("model.safetensors")).stat().st_size
    assert 4 * contender.parameters <= weights < contender.bytes_on_disk
    before = contender.bytes_on_disk
    (contender.folder / ".stage").mkdir()
    (contender.folder / ".stage" / "manifest.json").write_text("{}")
    assert contender.bytes_on_disk == before

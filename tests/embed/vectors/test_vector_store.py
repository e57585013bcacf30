"""Vectors on disk: resumed equals undisturbed, and nothing is computed twice."""

import numpy as np
import pytest

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import load_encoder
from distill.embed.vectors import chunks
from distill.embed.vectors import vector_store as store
from distill.embed.vectors.vector_store import embed
from distill.errors import UserError
from distill.recipe import EmbedderConfig

TEXTS = [f"Tides follow the moon, {n} times a day, and bees dance." for n in range(10)]
IDS = [f"p{n}" for n in range(10)]


@pytest.fixture
def encoder(encoder_folder, monkeypatch) -> Encoder:
    monkeypatch.setattr(store, "CHUNK", 4)
    return load_encoder(
        str(encoder_folder), EmbedderConfig(max_tokens=32, device="cpu", batch_tokens=64)
    )


class Dies:
    """An encoder that fails after so many chunks, as a killed process would."""

    def __init__(self, encoder: Encoder, chunks: int) -> None:
        self.identity, self.dimensions = encoder.identity, encoder.dimensions
        self.wording = encoder.wording
        self._encoder, self._left = encoder, chunks

    def encode_prompted(self, texts, side):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._encoder.encode_prompted(texts, side)


def test_vector_store_resumed_equals_undisturbed(tmp_path, encoder):
    whole = embed(tmp_path / "whole", encoder, "document", IDS, TEXTS, "embed")
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "cut", Dies(encoder, 2), "document", IDS, TEXTS, "embed")
    resumed = embed(tmp_path / "cut", Dies(encoder, 1), "document", IDS, TEXTS, "embed")
    assert resumed.ids == whole.ids == IDS
    assert np.array_equal(resumed.vectors, whole.vectors)


def test_vector_store_never_embeds_a_text_twice(tmp_path, encoder):
    first = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    again = embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "embed")
    assert np.array_equal(first.vectors, again.vectors)


def test_vector_store_depends_on_side_and_text(tmp_path, encoder):
    embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    embed(tmp_path, encoder, "query", IDS, TEXTS, "embed")
    embed(tmp_path, encoder, "document", IDS, [*TEXTS[:-1], "another"], "embed")
    assert len(list(tmp_path.iterdir())) == 3


class Narrow:
    """The same model's name, behind which there is now another one, of half the width."""

    def __init__(self, encoder: Encoder) -> None:
        self.identity, self.reference = encoder.identity, encoder.reference
        self.wording, self.dimensions = encoder.wording, encoder.dimensions // 2


@pytest.mark.bad_input("server", "the same name, another number of dimensions", "refused; kept")
def test_vectors_of_another_width_are_refused_and_those_there_stay(tmp_path, encoder):
    first = embed(tmp_path, encoder, "document", IDS, TEXTS, "a")
    for _ in range(2):
        with pytest.raises(UserError, match=r"dimensions(.|\n)*one model under this name"):
            embed(tmp_path, Narrow(encoder), "document", IDS, TEXTS, "a")
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]
    again = embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "a")
    assert np.array_equal(again.vectors, first.vectors)


@pytest.mark.parametrize("killed_at", [0, 1, 2])
def test_store_is_whole_after_a_kill_before_the_count_of_rows_is_written(
    tmp_path, encoder, monkeypatch, killed_at
):
    """The chunk is committed by its checksum; it is not computed again, and it counts."""
    write, left = store.write_json, [killed_at]

    def write_or_end(path, value):
        if path.name == "done.json" and value["rows"]:
            if not left[0]:
                raise MemoryError
            left[0] -= 1
        write(path, value)

    of = ("document", IDS, TEXTS, "embed")
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", write_or_end)
        with pytest.raises(MemoryError):
            embed(tmp_path, encoder, *of)
    chunks._verified.clear()
    embed(tmp_path, Dies(encoder, 3 - killed_at - 1), *of)
    assert store.is_stored(tmp_path, encoder, *of[:3])


def test_float16_is_a_store_of_its_own_and_takes_half(tmp_path, encoder):
    whole = embed(tmp_path / "32", encoder, "document", IDS, TEXTS, "embed")
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "16", Dies(encoder, 2), "document", IDS, TEXTS, "embed", "float16")
    half = embed(tmp_path / "16", Dies(encoder, 1), "document", IDS, TEXTS, "embed", "float16")
    assert half.vectors.dtype == np.float16
    assert np.array_equal(half.vectors, whole.vectors.astype(np.float16))
    assert half.folder.name != whole.folder.name


def test_vector_store_holds_the_models_own_vectors(tmp_path, encoder):
    vectors = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed").vectors
    expected = encoder.embedder.model.encode_document(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def _spoil(folder, how):
    path = next(folder.glob("*/vectors.npy"))
    data = bytearray(path.read_bytes())
    if how == "zeros":
        data[-4 * 32 * 4 :] = bytes(4 * 32 * 4)
    elif how == "a flipped bit":
        data[-5] ^= 4
    elif how == "a truncated end":
        data = data[:-100]
    elif how == "a damaged head":
        data[3] ^= 255
    path.write_bytes(data)
    chunks._verified.clear()


HOWS = ["zeros", "a flipped bit", "a truncated end", "a damaged head"]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how, marks=pytest.mark.bad_input("damage", f"vectors: {how}", "computed again")
        )
        for how in HOWS
    ],
)
def test_damaged_vectors_are_computed_again_and_never_used(tmp_path, encoder, how, caplog):
    whole = np.array(embed(tmp_path, encoder, "document", IDS, TEXTS, "embed").vectors)
    _spoil(tmp_path, how)
    again = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    assert np.array_equal(again.vectors, whole)
    assert "computed again" in caplog.text
    chunks._verified.clear()
    embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "embed")


def test_vectors_of_before_get_checksums_and_are_held_to_sense(tmp_path, encoder):
    whole = np.array(embed(tmp_path, encoder, "document", IDS, TEXTS, "embed").vectors)
    next(tmp_path.glob("*/checksums.txt")).unlink()
    chunks._verified.clear()
    embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "embed")
    assert next(tmp_path.glob("*/checksums.txt")).exists()
    next(tmp_path.glob("*/checksums.txt")).unlink()
    _spoil(tmp_path, "zeros")
    again = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    assert np.array_equal(again.vectors, whole)


def test_damaged_vectors_of_before_stay_damaged_until_they_are_computed_again(tmp_path, encoder):
    """Where the process that found them is killed before it has computed any."""
    whole = np.array(embed(tmp_path, encoder, "document", IDS, TEXTS, "embed").vectors)
    (file,) = tmp_path.glob("*/vectors.npy")
    (file.parent / "checksums.txt").unlink()
    data = file.read_bytes()
    file.write_bytes(data[:128] + bytes(200) + data[328:])
    chunks._verified.clear()
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "embed")
    chunks._verified.clear()
    again = embed(tmp_path, Dies(encoder, 1), "document", IDS, TEXTS, "embed")
    assert np.array_equal(again.vectors, whole)


def test_damage_that_could_not_be_mended_is_seen_again(tmp_path, encoder):
    whole = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    expected = np.array(whole.vectors)
    vectors = np.load(whole.folder / "vectors.npy", mmap_mode="r+")
    vectors[5] = 0
    vectors.flush()
    chunks._verified.clear()
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, Dies(encoder, 0), "document", IDS, TEXTS, "embed")
    again = embed(tmp_path, encoder, "document", IDS, TEXTS, "embed")
    assert np.array_equal(again.vectors, expected)

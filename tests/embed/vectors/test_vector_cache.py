"""Vectors on disk: each text's own, once, whatever happens in between."""

import numpy as np
import pytest

from distill.embed.vectors.vector_cache import VectorCache, hash_texts

IDENTITY = {"model": "m", "prompt": "ask: "}
TEXTS = [f"text {n}" for n in range(20)]
VECTORS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DIGESTS = hash_texts(TEXTS)


@pytest.fixture
def cache(tmp_path):
    cache = VectorCache(tmp_path, IDENTITY, 3)
    cache.add(DIGESTS[:8], VECTORS[:8])
    cache.add(DIGESTS[8:12], VECTORS[8:12])
    return cache


def reopened(cache):
    return VectorCache(cache.folder.parent, IDENTITY, 3)


def test_texts_row_comes_back_in_any_order_and_after_reopening(cache):
    for held in (cache, reopened(cache)):
        assert len(held) == 12
        for rows in ([3, 11, 0, 3], range(12), [7], []):
            wanted = np.array(list(rows), int)
            assert np.array_equal(held.take(DIGESTS[wanted]), VECTORS[wanted])


def test_absent_texts_of_a_vector_cache_are_named_once_in_their_order(cache):
    asked = DIGESTS[[15, 2, 13, 15, 11, 13]]
    assert cache.find_absent(asked).tolist() == [0, 2]
    with pytest.raises(KeyError):
        cache.take(asked)


def test_rows_in_a_row_are_mapped_and_the_file_is_not_written_through_them(cache):
    rows = cache.take(DIGESTS[2:10])
    assert not rows.flags.owndata
    rows[:] = 0
    assert np.array_equal(reopened(cache).take(DIGESTS[2:10]), VECTORS[2:10])


@pytest.mark.parametrize(
    ("vectors", "digests"),
    [(b"", b"\0\0\0"), (b"\0" * 5, b""), (b"\0" * 24, b""), (b"", b"\0" * 16), (b"\0" * 30, b"\0")],
    ids=["digest cut", "vector cut", "no digests", "no vectors", "both cut"],
)
def test_half_written_vectors_of_a_killed_process_are_cut_off(cache, vectors, digests):
    for name, tail in (("vectors.bin", vectors), ("digests.bin", digests)):
        with (cache.folder / name).open("ab") as file:
            file.write(tail)
    after = reopened(cache)
    assert len(after) == 12
    after.add(DIGESTS[12:], VECTORS[12:])
    assert np.array_equal(reopened(cache).take(DIGESTS), VECTORS)


def test_vector_caches_of_one_folder_see_each_others_rows(cache):
    other = reopened(cache)
    other.add(DIGESTS[12:15], VECTORS[12:15])
    assert cache.find_absent(DIGESTS).tolist() == [15, 16, 17, 18, 19]
    cache.add(DIGESTS[14:], VECTORS[14:])  # one of them twice: the first stays
    assert np.array_equal(other.take(DIGESTS[:15]), VECTORS[:15])
    assert np.array_equal(reopened(cache).take(DIGESTS), VECTORS)


def test_another_prompt_is_another_cache(cache):
    other = VectorCache(cache.folder.parent, IDENTITY | {"prompt": ""}, 3)
    assert len(other) == 0
    assert other.folder != cache.folder


def overwrite(file, place: int, data: bytes) -> None:
    changed = bytearray(file.read_bytes())
    changed[place : place + len(data)] = data
    file.write_bytes(changed)


@pytest.mark.parametrize(
    ("name", "place", "data", "lost"),
    [
        ("vectors.bin", 3 * 12, b"\xff", [3]),
        ("vectors.bin", 5 * 12, bytes(24), [5, 6]),
        ("digests.bin", 7 * 8, bytes(8), [7]),
        ("sums.bin", 9 * 8, b"\x01" * 8, [9]),
    ],
    ids=["flipped", "zeros", "digest", "checksum"],
)
@pytest.mark.bad_input("damage", "an evaluation's vectors changed", "computed again, said")
def test_row_that_was_changed_is_absent_and_added_again(cache, name, place, data, lost, caplog):
    overwrite(cache.folder / name, place, data)
    after = reopened(cache)
    assert after.find_absent(DIGESTS[:12]).tolist() == lost
    assert f"{len(lost)} of its 12 vectors are damaged" in caplog.text
    after.add(DIGESTS[lost], VECTORS[lost])
    caplog.clear()
    again = reopened(cache)
    assert np.array_equal(again.take(DIGESTS[:12]), VECTORS[:12])
    assert not caplog.text


@pytest.mark.parametrize("name", ["vectors.bin", "sums.bin", "digests.bin"])
def test_file_that_was_cut_loses_the_rows_beyond(cache, name):
    file = cache.folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 + 1])
    after = reopened(cache)
    absent = after.find_absent(DIGESTS)
    after.add(DIGESTS[absent], VECTORS[absent])
    assert np.array_equal(reopened(cache).take(DIGESTS), VECTORS)


def test_rows_of_before_there_were_checksums_go_on_unless_they_can_be_no_vectors(cache, caplog):
    (cache.folder / "sums.bin").unlink()
    overwrite(cache.folder / "vectors.bin", 2 * 12, bytes(12))
    overwrite(cache.folder / "vectors.bin", 4 * 12, np.float32(np.nan).tobytes())
    assert reopened(cache).find_absent(DIGESTS[:12]).tolist() == [2, 4]
    overwrite(cache.folder / "vectors.bin", 6 * 12, b"\x01")  # by now it has a checksum
    assert reopened(cache).find_absent(DIGESTS[:12]).tolist() == [2, 4, 6]

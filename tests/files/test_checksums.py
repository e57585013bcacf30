"""Checksums: what is missing, cut short or changed is named."""

import pytest

from distill.errors import UserError
from distill.files.checksums import (
    discard_if_damaged,
    find_damage_beside,
    find_damaged_files,
    has_checksums,
    write_checksums,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("one", "two", "deep/three"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    write_checksums(tmp_path)
    return tmp_path


def test_files_as_they_were_written_are_well(folder):
    assert has_checksums(folder)
    assert find_damaged_files(folder) == {}


def test_missing_cut_and_changed_files_are_named(folder):
    (folder / "one").unlink()
    (folder / "two").write_bytes(b"tw")
    data = bytearray((folder / "deep/three").read_bytes())
    data[7] ^= 1
    (folder / "deep/three").write_bytes(data)
    damage = find_damaged_files(folder)
    assert damage.keys() == {"one", "two", "deep/three"}
    assert "missing" in damage["one"]
    assert "2 bytes, 300 were written" in damage["two"]
    assert "checksum" in damage["deep/three"]


@pytest.mark.parametrize("content", ["", "[]", '{"one": 3}', '{"one": {"bytes": 1}}', "{"])
def test_torn_checksums_are_an_error_with_a_remedy(folder, content):
    (folder / ".checksums.json").write_text(content)
    with pytest.raises(UserError, match=r"checksums\.json(.|\n)*remedy: delete"):
        find_damaged_files(folder)


def test_derived_folder_with_torn_checksums_is_made_again(folder):
    (folder / ".checksums.json").write_text("{")
    discard_if_damaged(folder)
    assert not folder.exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"bytes": 300}'])
def test_file_whose_record_is_torn_counts_as_damaged(folder, content):
    (folder / "one.json").write_text(content)
    assert "checksum" in find_damage_beside(folder / "one", folder / "one.json")

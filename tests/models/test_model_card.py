"""The head of a model's card, which may hold anything, and that of a GGUF file."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from distill.models.model_card import find_licence, read_card


def card(folder, data):
    (folder / "README.md").write_bytes(data.encode() if isinstance(data, str) else data)
    return read_card(folder)


def test_head_is_read(tmp_path):
    assert read_card(tmp_path) == {}
    assert card(tmp_path, "---\nlicense: mit\ntags: [a]\n---\n# A\n---\n")["license"] == "mit"
    assert card(tmp_path, "---\r\nlicense: mit\r\n---\r\n# A") == {"license": "mit"}
    assert card(tmp_path, "# No head\n---\nlicense: mit\n---\n") == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            data, id=name, marks=pytest.mark.bad_input("model card", name, "says nothing, at once")
        )
        for name, data in [
            ("aliases within themselves", "---\na: &a [*a]\n---\n"),
            ("1,000 levels", f"---\na: {'[' * 1000}\n---\n"),
            ("no YAML", "---\na: [\n---\n"),
            ("a list", "---\n- a\n---\n"),
            ("a key twice", "---\na: 1\na: 2\n---\n"),
            ("Latin-1", b"---\na: \xe9\n---\n"),
            ("a head that does not end", "---\na: 1\n"),
        ]
    ],
)
def test_card_that_cannot_be_read_says_nothing(tmp_path, data):
    assert card(tmp_path, data) == {}


def write_gguf(path: Path, licence: str | None) -> Path:
    """A GGUF file with a vocabulary before the licence."""
    writer = GGUFWriter(str(path), "llama")
    writer.add_token_list([f"token {number}" for number in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_context_length(64)
    if licence is not None:
        writer.add_license(licence)
    writer.add_tensor("output.weight", np.ones((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_licence_of_a_gguf_file_is_read_behind_its_vocabulary(tmp_path):
    file = write_gguf(tmp_path / "m.gguf", "apache-2.0")
    assert str(GGUFReader(file).fields["general.license"].contents()) == "apache-2.0"
    assert find_licence(str(file)) == "apache-2.0"
    assert find_licence(str(write_gguf(tmp_path / "other.gguf", None))) is None


@pytest.mark.bad_input("damage", "a GGUF file that ends or lies", "states no licence, at once")
def test_damaged_gguf_file_states_no_licence(tmp_path):
    whole = write_gguf(tmp_path / "m.gguf", "apache-2.0").read_bytes()
    file = tmp_path / "damaged.gguf"
    for length in (0, 3, 8, 20, 40, 400):
        file.write_bytes(whole[:length])
        assert find_licence(str(file)) is None
    for place in (8, 16, 24, 32, 80, 100):
        file.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        assert find_licence(str(file)) in (None, "apache-2.0")

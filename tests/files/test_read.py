"""Files that others wrote: each way in which one can be wrong ends in an error with its place."""

import json
import os

import pytest

from distill.errors import UserError
from distill.files.read import expect, parse_json, read_text
from distill.files.read_yaml import find_in_yaml, parse_yaml


def wrong(kind, input_, text, says, outcome=None):
    """A parameter with its row in the table of bad input."""
    mark = pytest.mark.bad_input(kind, input_, outcome or f"refused: {says}")
    return pytest.param(text, says, id=input_, marks=mark)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(12)
)
MERGES = "a: &a {x: 1}\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join(['*' + chr(97 + i)] * 9)}]}}"
    for i in range(12)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        wrong("YAML", "a month 13: 2024-13-01", "a: 1\nd: 2024-13-01", "'2024-13-01' is no"),
        wrong("YAML", "!!int abc", "a: !!int abc", "'abc' is no int"),
        wrong("YAML", "!!int of nothing", "a: !!int ''", "'' is no int"),
        wrong("YAML", "!!bool abc", "a: !!bool abc", "'abc' is no bool"),
        wrong("YAML", "!!timestamp abc", "a: !!timestamp abc", "'abc' is no timestamp"),
        wrong("YAML", "an integer of 5,000 digits", "a: " + "9" * 5000, "5000 characters"),
        wrong("YAML", "an integer of 30 digits", "a: " + "9" * 30, "beyond 64 bits"),
        wrong("YAML", "base 60 of 500 places", "a: 1" + ":1" * 500, "1001 characters"),
        wrong("YAML", "a list within itself", "a: &a [*a]", "within what it refers to"),
        wrong("YAML", "a mapping within itself", "a: &a {b: *a}", "within what it refers to"),
        wrong("YAML", "1,000 levels of lists", "[" * 1000 + "]" * 1000, "deeper than 100 levels"),
        wrong("YAML", "100,000 brackets", "[" * 100_000, "deeper than 100 levels"),
        wrong("YAML", "1,000 levels of mappings", "{a: " * 1000, "deeper than 100 levels"),
        wrong("YAML", "aliases of aliases of aliases", BOMB, "aliases stand for more than 100,000"),
        wrong("YAML", "the same by merged keys", MERGES, "aliases stand for more than 100,000"),
        wrong("YAML", "an alias of nothing", "a: *b", "undefined alias 'b'"),
        wrong("YAML", "a key twice", "a: 1\nb: 2\na: 3", "the key 'a' stands in row 1 already"),
        wrong("YAML", "a number as key", "1: a", "the key '1' is no text; quote it"),
        wrong("YAML", "no as key", "no: a", "the key 'no' is no text; quote it"),
        wrong("YAML", "a list as key", "[1]: a", "the key is no text"),
        wrong("YAML", "a mapping as key", "{a: 1}: a", "the key is no text"),
        wrong("YAML", "!!python/object", "a: !!python/object:os.system x", "is not known here"),
        wrong("YAML", "a tag of its own", "a: !mine x", "the tag '!mine' is not known here"),
        wrong("YAML", "a bell character", "a: \x07", "special characters are not allowed"),
        wrong("YAML", "a tab as indentation", "a:\n\t- b", "cannot start any token"),
        wrong(
            "YAML", "a quote that is not closed", 'a: "b', "while scanning a quoted scalar|found"
        ),
        wrong("YAML", "two documents", "a: 1\n--- \nb: 2", "another document"),
        wrong("YAML", "not a number: .nan", "a: {b: .nan}", "a.b is no finite number"),
        wrong("YAML", "infinity: .inf", "a: [1, -.inf]", "a.1 is no finite number"),
        wrong("YAML", "half a surrogate pair", 'a: "\\ud800"', "half a surrogate pair"),
        wrong("YAML", "a NUL, escaped", 'a: "\\0"', "or a NUL"),
    ],
)
def test_yaml_that_is_refused(text, says):
    with pytest.raises(UserError, match=says) as fault:
        parse_yaml(text, "mine.yaml")
    assert fault.value.where.startswith("mine.yaml")


def test_yaml_names_the_row_of_the_fault():
    with pytest.raises(UserError) as fault:
        parse_yaml("a: 1\nb:\n  c: !!int x\n", "mine.yaml")
    assert fault.value.where == "mine.yaml, row 3"


def test_yaml_as_people_write_it_is_read():
    text = "a: &x {b: 1, c: [true, null, 2e-4, 1.5, 2024-02-03]}\nd: {<<: *x, b: 2}\n'1': ü\n"
    read = parse_yaml(text, "mine.yaml")
    assert read["d"]["b"] == 2
    assert read["d"]["c"] == read["a"]["c"]
    assert read["1"] == "ü"
    assert parse_yaml("", "mine.yaml") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        wrong("JSON", "1,000 levels", "[" * 1000 + "]" * 1000, "deeper than 100 levels"),
        wrong("JSON", "a million brackets", "[" * 10**6, "deeper than 100 levels"),
        wrong("JSON", "an integer of 5,000 digits", "9" * 5000, "thousands of digits"),
        wrong("JSON", "an integer of 30 digits", "9" * 30, "beyond 64 bits"),
        wrong("JSON", "1e999", '{"a": 1e999}', "a is no finite number"),
        wrong("JSON", "NaN", '{"a": [NaN]}', "a.0 is no finite number"),
        wrong("JSON", "Infinity", "[-Infinity]", "0 is no finite number"),
        wrong("JSON", "a key twice", '{"a": 1, "a": 2}', "has the key 'a' twice"),
        wrong("JSON", "half a surrogate pair", '{"a": "\\ud800"}', "half a surrogate pair"),
        wrong("JSON", "half a surrogate pair as key", '{"\\ud800": 1}', "half a surrogate pair"),
        wrong("JSON", "a NUL, escaped", '["\\u0000"]', "or a NUL"),
        wrong("JSON", "a comma too many", '{"a": 1,\n"b": 2,}', "property name"),
        wrong("JSON", "nothing", "", "Expecting value"),
    ],
)
def test_json_that_is_refused(text, says):
    with pytest.raises(UserError, match=says) as fault:
        parse_json(text, "mine.json", "mend it")
    assert fault.value.where.startswith("mine.json")


def test_rows_are_held_to_their_form_alone():
    row = parse_json('{"a": NaN, "b": "\\ud800", "c": 99999999999999999999}', "row", "x", False)
    assert row["b"] == "\ud800"
    with pytest.raises(UserError, match="deeper"):
        parse_json('{"a": ' + "[" * 500 + "]" * 500 + "}", "row", "x", False)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        wrong("encoding", "Latin-1", "a: 1\nb: é".encode("latin1"), "is not UTF-8"),
        wrong("encoding", "UTF-16", "a: 1".encode("utf-16"), "is UTF-16"),
        wrong("encoding", "UTF-16 without a mark", "a: 1".encode("utf-16-le"), "a NUL byte"),
        wrong("encoding", "UTF-32", "a: 1".encode("utf-32"), "is UTF-32"),
        wrong("encoding", "a NUL byte", b"a: 1\nb: \0", "holds a NUL byte"),
        wrong("encoding", "a program", b"\x7fELF\xd0\n\0", "row 2: holds a NUL byte"),
        wrong("encoding", "gzip", b"\x1f\x8b\x08rest", "compressed"),
        wrong("encoding", "bzip2", b"BZh91AY", "compressed"),
        wrong("encoding", "xz", b"\xfd7zXZ\0", "compressed"),
        wrong("encoding", "zstd", b"\x28\xb5\x2f\xfd", "compressed"),
        wrong("encoding", "zip", b"PK\x03\x04", "zip archive"),
        wrong("encoding", "Parquet as text", b"PAR1....", "Parquet"),
        wrong("encoding", "PDF as text", b"%PDF-1.7", "PDF"),
    ],
)
def test_bytes_that_are_refused(tmp_path, data, says):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match=says) as fault:
        read_text(tmp_path / "file", "mend it")
    assert str(tmp_path / "file") in fault.value.where


def test_row_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"a\nb\nc\xe9\n")
    with pytest.raises(UserError, match="row 3"):
        read_text(tmp_path / "file")


def test_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "file").write_bytes("\ufeffa: ü".encode())
    assert read_text(tmp_path / "file") == "a: ü"


@pytest.mark.bad_input("path", "a folder where a file is expected", "refused: is a folder")
def test_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "gone", marks=pytest.mark.bad_input("path", "no such file", "refused by name")
        ),
        pytest.param(
            "n" * 300,
            marks=pytest.mark.bad_input("path", "a name of 300 characters", "refused by name"),
        ),
        pytest.param(
            "a\0b", marks=pytest.mark.bad_input("path", "a NUL in a path", "refused, shown as \\0")
        ),
        pytest.param(
            "a\ud800b",
            marks=pytest.mark.bad_input("path", "half a surrogate pair in a path", "refused"),
        ),
    ],
)
def test_path_that_names_no_file(tmp_path, name):
    with pytest.raises(UserError) as fault:
        read_text(tmp_path / name)
    str(fault.value).encode()


@pytest.mark.bad_input("path", "a pipe where a file is expected", "refused: no such file")
def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="no such file"):
        read_text(tmp_path / "pipe")


def test_value_is_found_where_it_is_written():
    text = "name: x\ngenerate:\n  languages:\n  - en\n  - no\n"
    assert find_in_yaml(text, ("generate", "languages", 1)) == (5, "no")
    assert find_in_yaml(text, ("generate", "languages", 7)) == (4, None)
    assert find_in_yaml(text, ("train",)) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [([], "is a list, not a mapping"), (None, "is empty, not a"), (5, "is a number \\(5\\), not")],
)
def test_json_of_another_shape_is_described_in_words(value, says):
    with pytest.raises(UserError, match=says):
        expect(value, dict, "here", "mend it")


def test_values_written_by_json_are_read():
    value = {"a": [1, 2.5, None, True, "ü\n"], "b": {"c": {}}, "big": 2**63 - 1}
    assert parse_json(json.dumps(value, indent=1), "here", "x") == value

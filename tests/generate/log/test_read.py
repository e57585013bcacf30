"""What users asked, from logs of several forms."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import UserError
from distill.generate.log.personal_data import mask_personal_data
from distill.generate.log.read import EMPTY, PERSONAL, RARE, REPEATED, read_log
from distill.recipe import QueryLog

ASKED = ["How do bees tell?", "bee  dance", "how do bees tell?", "", "glaciers flow"]
USUAL = QueryLog()


def write(folder, name):
    file = folder / name
    if name.startswith("rows.parquet"):
        pq.write_table(pa.table({"query": ASKED, "user": [1, 2, 3, 4, 5]}), file)
    elif name.startswith("rows.jsonl"):
        file.write_text("\n".join(json.dumps({"query": text}) for text in ASKED))
    elif name.startswith("rows.csv"):
        file.write_text("user,query\n" + "".join(f"1,{text}\n" for text in ASKED))
    else:
        data = "\n".join(ASKED).encode()
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


@pytest.mark.parametrize(
    "name", ["asked.txt", "asked.log.gz", "rows.csv", "rows.jsonl", "rows.parquet"]
)
def test_logs_of_every_form_give_the_same_queries(tmp_path, name):
    read = read_log(write(tmp_path, name), USUAL)
    assert read.queries == ["How do bees tell?", "bee dance", "glaciers flow"]
    assert read.counts[REPEATED] == 1
    assert (read.counts["read"], read.counts[EMPTY]) == (5, 1)


def test_rare_queries_are_left_out(tmp_path):
    file = tmp_path / "asked.txt"
    file.write_text("a b\na b\nc d\nc d\ne f\n")
    read = read_log(file, QueryLog(min_count=2))
    assert (read.queries, read.counts[RARE]) == (["a b", "c d"], 1)


def test_personal_data_is_kept_masked_or_dropped(tmp_path):
    file = tmp_path / "asked.txt"
    file.write_text("mail of jo@example.org\nbee dance\nglaciers flow\n")
    first = {
        rule: read_log(file, QueryLog(personal_data=rule)).queries[0]
        for rule in ("keep", "mask", "drop")
    }
    assert first == {
        "keep": "mail of jo@example.org",
        "mask": "mail of [email]",
        "drop": "bee dance",
    }
    assert read_log(file, QueryLog(personal_data="drop")).counts[PERSONAL] == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call +49 (0)30 123456 today", "call [number] today"),
        ("card 4111 1111 1111 1111", "card [number]"),
        ("ping 192.168.0.17", "ping [ip]"),
        ("ping fe80::1ff:fe23:4567:890a", "ping [ip]"),
        ("jo.doe+x@mail.example.co.uk?", "[email]?"),
        ("windows 11 in 2026, version 3.11.4", "windows 11 in 2026, version 3.11.4"),
        ("RFC 2822 and sha256", "RFC 2822 and sha256"),
        ("error 0x80070005", "error 0x80070005"),
        ("ping 10.0.0.1:80", "ping [ip]:80"),
        ("10.0.0.1: refused", "[ip]: refused"),
        ("o'brien@example.org", "[email]"),
        ("mail user@[192.0.2.1] bounced", "mail [email] bounced"),
        ("user@[IPv6:2001:db8::1], user@192.0.2.1", "[email], [email]"),
        ("a list @[1] and x@[y]", "a list @[1] and x@[y]"),
        ("invoice No.123456", "invoice No.[number]"),
        ("customer A123456789", "customer A[number]"),
        ("DE89370400440532013000", "DE[number]"),
        ("4111 - 1111 - 1111 - 1111", "[number]"),
        ("4111\u20131111\u20131111\u20131111", "[number]"),
    ],
)
def test_personal_data_of_a_log_are_masked(text, masked):
    assert mask_personal_data(text) == masked


@pytest.mark.bad_input("query log", "one query repeated", "refused, with remedy")
@pytest.mark.bad_input("query log", "empty lines alone", "refused, with remedy")
def test_log_of_one_query_is_refused(tmp_path):
    file = tmp_path / "asked.txt"
    file.write_text("bee dance\nBee  dance\n" * 5)
    with pytest.raises(
        UserError, match=r"one query alone, 'bee dance' \(10 read\)\n.*query_column"
    ):
        read_log(file, USUAL)
    file.write_text("\n\n")
    with pytest.raises(UserError, match="holds no query"):
        read_log(file, USUAL)


@pytest.mark.bad_input("query log", "no query asked min_count times", "refused, with remedy")
def test_log_without_frequent_queries_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"asked 9 times \(3 different\)\n.*min_count"):
        read_log(write(tmp_path, "asked.txt"), QueryLog(min_count=9))


@pytest.mark.bad_input("query log", "no column of queries, or a named one", "columns listed")
def test_columns_that_are_not_there_are_listed(tmp_path):
    file = tmp_path / "asked.csv"
    file.write_text("words,user\nbee dance,1\n")
    with pytest.raises(UserError, match=r"known to hold queries; .*\['words', 'user'\]"):
        read_log(file, USUAL)
    with pytest.raises(UserError, match=r"no column 'qry'; its columns are \['words', 'user'\]"):
        read_log(file, QueryLog(query_column="qry"))


@pytest.mark.bad_input("query log", "lines that are not UTF-8", "refused, rows named")
@pytest.mark.bad_input("query log", "no such file", "refused, with remedy")
def test_lines_that_are_no_text_are_named(tmp_path):
    file = tmp_path / "asked.txt"
    file.write_bytes(b"bee dance\ncaf\xe9\n")
    with pytest.raises(UserError, match=r"row 2.*not UTF-8"):
        read_log(file, USUAL)
    with pytest.raises(UserError, match=r"no such file.*\n.*generate.log.path"):
        read_log(tmp_path / "none.txt", USUAL)

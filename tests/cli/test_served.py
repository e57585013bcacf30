"""`distill evaluate` of a model that a server embeds with, in ways of its own."""

import json
import random

import pytest
from click.testing import CliRunner
from helpers.fake_server import MODEL, reply_with_error, serve

from distill.cli import cli
from distill.errors import UserError

TEXTS = [f"about thing {n} and more words" for n in range(20)]


def vector_of(text):
    draw = random.Random(text)
    return [draw.gauss(0, 1) for _ in range(6)]


def embeds(path, body):
    return {"data": [{"embedding": vector_of(text)} for text in body["input"]]}


@pytest.fixture
def server():
    with serve(embeds) as server:
        yield server


@pytest.fixture
def evaluate(tmp_path, server):
    data = tmp_path / "data" / "mine"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    queries = [{"_id": f"q{i}", "text": text[:14]} for i, text in enumerate(TEXTS)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(20))
    (data / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")

    def run(*words):
        asked = ["--tasks", "mine", "--task-data", data.parent, "--out", tmp_path / "out"]
        command = ["evaluate", MODEL, *asked, "--base-url", server.url, *words]
        return CliRunner().invoke(cli, [str(word) for word in command])

    return run


def test_server_settings_are_given_on_the_command_line(evaluate, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdefgh")
    server.rule = lambda body: (
        None if "input_type" in body and len(body["input"]) <= 10 else reply_with_error(400, "no")
    )
    settings = (
        "query_extra_body={input_type: query}",
        "document_extra_body={input_type: passage}",
        "batch_texts=10",
        "api_key_header=api-key",
    )
    done = evaluate(*(word for setting in settings for word in ("--embedder", setting)))
    assert done.exit_code == 0
    sent = {(seen.body["input_type"], len(seen.body["input"])) for seen in server.seen}
    assert sent == {("passage", 1), ("passage", 10), ("query", 10)}
    headers = [{name.lower(): value for name, value in s.headers.items()} for s in server.seen]
    assert {of["api-key"] for of in headers} == {"sk-abcdefgh"}


def test_parameter_that_a_server_requires_is_named_by_the_option_that_sends_it(evaluate, server):
    server.rule = lambda body: reply_with_error(400, "'input_type' parameter is required")
    fault = evaluate().exception
    assert isinstance(fault, UserError)
    assert "'input_type' parameter is required" in fault.what
    assert "--embedder query_extra_body" in fault.remedy


@pytest.mark.parametrize(
    ("setting", "said"),
    [("batch_texts=-3", "batch_texts"), ("extra_body=7", "extra_body"), ("retries=x", "retries")],
)
@pytest.mark.bad_input("server", "--embedder with a value that is none", "refused by its key")
def test_value_that_is_none_is_refused(evaluate, setting, said):
    fault = evaluate("--embedder", setting).exception
    assert isinstance(fault, UserError)
    assert said in str(fault)

"""Servers that embed in ways of their own: each text gets its vector all the same, or the server's
way is named at once."""

import base64
import random
import struct

import pytest
from helpers.endpoint_encoder import (
    TEXTS,
    check_vectors,
    open_served_encoder,
    reply_plainly,
    serve_form,
)
from helpers.fake_server import MODEL, reply_with, reply_with_error

from distill.embed.endpoint import client
from distill.embed.endpoint.embedder import EndpointEmbedder
from distill.errors import UserError
from distill.recipe import Retriever
from distill.retrieve.corpus_index import identify_retriever


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.002)


# --- forms of replies -----------------------------------------------------------------------------


def packed(vector):
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def without(*left_out):
    def form(texts):
        items = reply_plainly(texts)
        for item in items:
            if item["index"] in left_out or "all" in left_out:
                del item["index"]
        return items

    return form


def shuffled(form):
    def mixed(texts):
        items = form(texts)
        random.Random(len(items)).shuffle(items)
        return items

    return mixed


FORMS = {
    "no number on the first": without(0),
    "no number on the first, out of order": shuffled(without(0)),
    "no number on one of them": without(2),
    "no numbers at all": without("all"),
    "null for a number": lambda texts: [{**item, "index": None} for item in reply_plainly(texts)],
    "numbers as texts": lambda texts: [
        {**i, "index": str(i["index"])} for i in reply_plainly(texts)
    ],
    "base64": lambda texts: [
        {**item, "embedding": packed(item["embedding"])} for item in reply_plainly(texts)
    ],
    "whole numbers": lambda texts: [
        {**item, "embedding": [*item["embedding"][:4], item["embedding"][4]]}
        for item in reply_plainly(texts)
    ],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_vectors_are_read_in_the_forms_that_servers_have(form):
    with serve_form(form) as server:
        check_vectors(open_served_encoder(server))


def each(change):
    return lambda texts: [change(dict(item)) for item in reply_plainly(texts)]


WRONG = {
    "every number 0": (each(lambda item: item | {"index": 0}), "numbered 0, 0"),
    "numbers from 1": (each(lambda item: item | {"index": item["index"] + 1}), "numbered 1, "),
    "a number twice": (each(lambda i: i | {"index": i["index"] // 2}), "numbered 0, 0, 1"),
    "a number that is none": (each(lambda item: item | {"index": 0.5}), "numbered '0.5'"),
    "one vector too few": (
        lambda texts: reply_plainly(texts)[: max(1, len(texts) - 1)],
        "for 32 texts",
    ),
    "one vector too many": (
        lambda texts: reply_plainly([*texts, "more"])[: 2 * len(texts) - 1],
        "for",
    ),
    "vectors of tokens": (each(lambda i: i | {"embedding": [i["embedding"]]}), "lists of lists"),
    "a null within": (each(lambda item: item | {"embedding": [1.0, None]}), "no number"),
    "a truth within": (each(lambda item: item | {"embedding": [1.0, True]}), "no number"),
    "texts of numbers": (each(lambda item: item | {"embedding": ["1.0"]}), "no number"),
    "broken base64": (each(lambda item: item | {"embedding": "?"}), "neither numbers nor base64"),
    "no vector": (each(lambda item: item | {"embedding": None}), "no list of numbers"),
    "an empty vector": (each(lambda item: item | {"embedding": []}), "no list of numbers"),
    "several widths": (
        each(lambda item: item | {"embedding": [1.0] * (5 + item["index"] % 2)}),
        "of 5 and of 6 numbers",
    ),
}


@pytest.mark.parametrize(("form", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.bad_input("server", "embeddings that are misnumbered, nested, ...", "named at once")
def test_form_that_cannot_be_read_is_named_at_once(form, said):
    with serve_form(form) as server, pytest.raises(UserError, match=said) as caught:
        open_served_encoder(server, concurrency=1, retries=9).encode(TEXTS, "document")
    assert "gave no usable reply" in str(caught.value)
    assert "did not answer" not in str(caught.value)
    assert "retriever.base_url" in caught.value.remedy
    assert len(server.seen) <= 3


@pytest.mark.bad_input("server", "an embedding with a number of 400 digits", "named with the text")
def test_numbers_beyond_any_vector_are_named_with_their_text(server):
    encoder = open_served_encoder(server)
    server.faults.append(reply_with({"data": [{"index": 0, "embedding": [10**400] + [1] * 4}]}))
    with pytest.raises(UserError, match=r"NaN or infinity, for a text .* 'about bees'"):
        encoder.encode(["about bees"], "query")


# --- fields ---------------------------------------------------------------------------------------


REFUSALS = [
    reply_with_error(400, "Unknown parameter: encoding_format"),
    reply_with_error(422, "Extra inputs are not permitted", param="encoding_format"),
    reply_with_error(400, "encoding_format 'float' is not one of ['base64']"),
    reply_with_error(400, "Bad Request"),
    lambda handler, body: handler.reply(
        422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "encoding_format"]}]}
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_form_of_numbers_is_left_out_where_it_is_refused(server, refusal):
    server.rule = lambda body: refusal if "encoding_format" in body else None
    check_vectors(open_served_encoder(server))


def test_fields_of_ones_own_go_along_by_side(server):
    encoder = open_served_encoder(
        server,
        extra_body={"truncate": "END", "input_type": "any"},
        query_extra_body={"input_type": "query"},
        document_extra_body={"input_type": "passage", "late": True},
    )
    encoder.encode(["a"], "query")
    encoder.encode(["b"], "document")
    encoder.embedder.embed(["c"], "", None)
    fields = [{k: v for k, v in s.body.items() if k in ("truncate", "input_type", "late")} for s in
              server.seen]  # fmt: skip
    document = {"truncate": "END", "input_type": "passage", "late": True}
    assert fields == [
        document,
        {"truncate": "END", "input_type": "query"},
        document,
        {"truncate": "END", "input_type": "any", "late": True},
    ]


def test_field_that_is_missing_is_named_with_the_keys_that_send_it(server):
    server.rule = lambda body: (
        None
        if "input_type" in body
        else reply_with_error(400, "'input_type' parameter is required")
    )
    with pytest.raises(UserError, match="input_type") as caught:
        open_served_encoder(server)
    assert "retriever.query_extra_body" in caught.value.remedy
    check_vectors(open_served_encoder(server, document_extra_body={"input_type": "passage"}))


def test_fields_change_what_vectors_are_kept_under(server):
    plain, more = Retriever(), {"query_extra_body": {"input_type": "query"}}
    assert "query_extra_body" not in str(
        identify_retriever(Retriever(base_url=server.url, model=MODEL))
    )
    of = {"model": MODEL, "base_url": server.url}
    assert identify_retriever(Retriever(**of)) != identify_retriever(Retriever(**of, **more))
    assert open_served_encoder(server).identity != open_served_encoder(server, **more).identity
    assert plain.extra_fields == {}
    settings = Retriever(**of, **more)
    embedder = EndpointEmbedder(settings, MODEL)
    assert embedder.describe_identity("", "query") != embedder.describe_identity("", "document")
    assert embedder.describe_identity("", "document") == EndpointEmbedder(
        Retriever(**of), MODEL
    ).describe_identity("", "document")


# --- sizes ----------------------------------------------------------------------------------------


def takes(most, message, code=400):
    return lambda body: reply_with_error(code, message) if len(body["input"]) > most else None


MESSAGES = [
    "batch size is invalid, it should not be larger than 10.",
    "batch size 32 > maximum allowed batch size 10",
    "invalid request: total number of texts must be at most 10",
    "List should have at most 10 items after validation, not 32",
    "'$.input' is invalid: array too long, expected an array with maximum length 10",
    "too many inputs",
    "no",
]


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("code", [400, 413, 422])
@pytest.mark.bad_input("server", "at most 10 texts a request", "divided, and remembered")
def test_server_that_takes_few_texts_is_sent_few(server, caplog, message, code):
    server.rule = takes(10, message, code)
    encoder = open_served_encoder(server, concurrency=1)
    check_vectors(encoder, TEXTS[:32])
    refused = sum(len(seen.body["input"]) > 10 for seen in server.seen)
    assert refused <= 3
    before = len(server.seen)
    check_vectors(encoder, TEXTS[:32])
    assert all(len(seen.body["input"]) <= 10 for seen in server.seen[before:])
    assert len(server.seen) - before <= 5
    assert caplog.text.count("retriever.batch_texts") == 1


def test_server_that_takes_one_text_is_sent_one(server):
    server.rule = takes(1, "only a text, no list of several")
    encoder = open_served_encoder(server, concurrency=1)
    check_vectors(encoder)
    before = len(server.seen)
    check_vectors(encoder)
    assert len(server.seen) - before == len(TEXTS)


def test_batch_texts_is_heeded(server):
    check_vectors(open_served_encoder(server, batch_texts=7))
    assert max(len(seen.body["input"]) for seen in server.seen) == 7
    check_vectors(open_served_encoder(server, batch_texts=40))
    assert max(len(seen.body["input"]) for seen in server.seen) == 40


def test_server_that_takes_few_tokens_a_request_is_sent_shorter_ones(server, caplog):
    """Few long texts, and then many short ones."""
    texts = [f"{n} " + "long " * 100 for n in range(12)] + TEXTS

    def rule(body):
        total = sum(map(len, body["input"])) // 4
        return (
            reply_with_error(400, f"{total} tokens, max allowed tokens a batch 500")
            if total > 500
            else None
        )

    server.rule = rule
    check_vectors(open_served_encoder(server, concurrency=1), texts)
    taken = [seen.body["input"] for seen in server.seen if rule(seen.body) is None]
    assert len(server.seen) - len(taken) < 8
    assert max(map(len, taken)) > 8
    assert "retriever.batch_tokens" in caplog.text

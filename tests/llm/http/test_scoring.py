"""Scores over HTTP equal those of the same model in this process, and are refused where the server
gives nothing to score by."""

import math
from dataclasses import replace

import pytest
from helpers.fake_server import (
    MODEL,
    TinyModel,
    make_completion,
    reply_with,
    reply_with_error,
    serve,
)

from distill.errors import UserError
from distill.llm import ScoreRequest
from distill.llm.http.engine import HTTPEngine
from distill.llm.http.logprobs import (
    read_prompt_logprobs,
    read_top_tokens,
    select_continuation,
    sum_word_logprob,
)
from distill.llm.http.scoring import fetch_first_tokens, probe_first_tokens
from distill.llm.judge import compute_log_odds, parse_grade
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import LanguageModel

REQUESTS = [
    ScoreRequest("Passage: Bees dance.\nQuery:", (" why do bees dance", " moon")),
    ScoreRequest("Passage: Tides follow the moon — twice.\nQuery:", (" what moves the sea?",)),
]
VERDICTS = ScoreRequest(
    "Passage: Bees dance.\nQuery:",
    (" why do bees dance\nRelevant:", " moon\nRelevant:"),
    (" yes", " no"),
)


@pytest.fixture
def make(tmp_path):
    def engine(url: str, **settings) -> HTTPEngine:
        wanted = {"engine": "http", "model": MODEL, "base_url": url, "concurrency": 4, **settings}
        return HTTPEngine(LanguageModel(**wanted), tmp_path / "requests.sqlite", first_wait=0.002)

    return engine


@pytest.fixture(scope="module")
def model(llm_folder) -> TinyModel:
    return TinyModel(llm_folder)


@pytest.fixture(scope="module")
def local(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def refuses(**fields):
    """A server's rule that such a request is not supported."""

    def rule(body):
        if any(field in body and body[field] == value for field, value in fields.items()):
            return reply_with_error(400, f"{', '.join(fields)}: this value is not allowed")
        return None

    return rule


WAYS = {
    "echo": refuses(),
    "echo and one new token": refuses(max_tokens=0),
    "prompt_logprobs": refuses(echo=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_scores_equal_those_of_the_model_itself(make, model, local, way):
    with serve(model) as server:
        server.rule = WAYS[way]
        engine = make(server.url)
        assert engine.can_score
        assert engine.scorer.prompt_method == way
        scores = engine.score(REQUESTS)
    for ours, theirs in zip(scores, local.score(REQUESTS), strict=True):
        assert [s.tokens for s in ours] == [s.tokens for s in theirs]
        assert [s.logprob for s in ours] == pytest.approx([s.logprob for s in theirs], abs=1e-3)


def test_scored_texts_are_not_paid_for_again(make, model):
    with serve(model) as server:
        scores = make(server.url).score(REQUESTS)
        sent = len(server.seen)
        again = make(server.url)
        assert again.score(REQUESTS) == scores
        assert len(server.seen) == sent
        assert again.tokens["cached"] == 3


def test_same_text_cut_elsewhere_is_scored_anew(make, model, local):
    cuts = [
        ScoreRequest("Passage: Bees dance.", ("\nQuery: why do bees",)),
        ScoreRequest("Passage: Bees dance.\nQuery:", (" why do bees",)),
    ]
    with serve(model) as server:
        engine = make(server.url)
        [[longer], [shorter]] = engine.score(cuts)
    assert longer.tokens > shorter.tokens
    assert longer.logprob < shorter.logprob
    assert shorter.logprob == pytest.approx(local.score(cuts)[1][0].logprob, abs=1e-3)


def blankless(model: TinyModel):
    """Token texts as SentencePiece models decode them one by one: without their blanks."""

    def answer(path, body):
        reply = model(path, body)
        given = reply["choices"][0]["logprobs"]
        if given:
            given["tokens"] = [token.strip() for token in given["tokens"]]
        return reply

    return answer


def test_prefix_is_counted_where_token_texts_lack_their_blanks(make, model, local):
    with serve(blankless(model)) as server:
        engine = make(server.url)
        assert engine.can_score
        [first, second] = engine.score(REQUESTS)
    expected = local.score(REQUESTS)
    for ours, theirs in zip([*first, *second], [s for of in expected for s in of], strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)
        assert ours.tokens == theirs.tokens


def test_endings_are_those_of_the_engine_in_this_process(make, model, local):
    with serve(model) as server:
        [ours] = make(server.url).score([VERDICTS])
    [expected] = local.score([VERDICTS])
    for a, b in zip(ours, expected, strict=True):
        assert [a.logprob, *a.endings] == pytest.approx([b.logprob, *b.endings], abs=1e-3)


# --- servers that give less -----------------------------------------------------------------------


@pytest.mark.bad_input("server", "scores of a server without echo", "refused")
def test_endings_alone_take_a_request_each(make, model, local):
    with serve(model) as server:
        engine = make(server.url)
        assert engine.can_score
        server.seen.clear()
        [ours] = engine.score([replace(VERDICTS, endings_only=True)])
        assert len(server.seen) == 4
        [theirs] = local.score([VERDICTS])
        odds = [*map(compute_log_odds, theirs)]
    assert [*map(compute_log_odds, ours)] == pytest.approx(odds, abs=1e-3)


def test_server_that_ignores_echo_cannot_score(make, llm_folder):
    with serve(TinyModel(llm_folder, echo=False)) as server:
        engine = make(server.url)
        assert not engine.can_score
        with pytest.raises(UserError, match=r"no log-probabilities of a prompt's tokens"):
            engine.score(REQUESTS)


@pytest.mark.parametrize(
    "fault",
    [
        reply_with_error(404, "Not Found"),
        reply_with_error(501),
        reply_with_error(500, "only no echo"),
        reply_with_error(400, "no"),
    ],
)
def test_server_that_refuses_to_score_cannot(make, fault):
    with serve() as server:
        server.rule = lambda body: fault if "prompt" in body else None
        assert not make(server.url).can_score


def test_wrong_model_is_not_taken_for_a_server_that_cannot_score(make):
    with serve() as server, pytest.raises(UserError, match="does not serve model 'gpt-0'"):
        _ = make(server.url, model="gpt-0").can_score


def test_verdicts_are_asked_for_by_their_first_token(make, llm_folder):
    with serve(TinyModel(llm_folder, echo=False)) as server:
        engine = make(server.url)
        [scores] = engine.score([VERDICTS])
        asked = [seen.body["prompt"] for seen in server.seen if "echo" not in seen.body]
    assert set(asked[-2:]) == {
        "Passage: Bees dance.\nQuery: why do bees dance\nRelevant:",
        "Passage: Bees dance.\nQuery: moon\nRelevant:",
    }
    assert all(math.isnan(score.logprob) for score in scores)
    assert all("none of yes, no is among" in score.fault for score in scores)  # of 20 tokens


def test_server_that_lists_five_tokens_is_asked_for_five(make, model):
    with serve(model) as server:
        server.rule = lambda body: (
            reply_with_error(400, "logprobs must be at most 5") if body["logprobs"] > 5 else None
        )
        client = make(server.url).client
        fetch_first_tokens(client, ["Is it so:"], str(probe_first_tokens(client, chat=False)))
        assert [seen.body["logprobs"] for seen in server.seen] == [20, 5, 5]


def verdict_server(path, body):
    """Gives first tokens only, in the chat form: yes is likelier where the prompt has bees."""
    if "messages" not in body:
        return make_completion(path, ["x"])
    likely = "Yes" if "bees" in body["messages"][-1]["content"] else "No"
    other = {"Yes": " no", "No": " yes"}[likely]
    listed = [
        {"token": likely, "logprob": -0.5},
        {"token": other, "logprob": -1.5},
        {"token": likely.upper(), "logprob": -2.5},
        {"token": "Maybe", "logprob": -4.0},
    ]
    return make_completion(
        path, [likely], logprobs=[{"content": [{**listed[0], "top_logprobs": listed}]}]
    )


def test_first_token_odds_of_verdicts_in_a_chat(make):
    with serve(verdict_server) as server:
        engine = make(server.url)
        [[of_bees, of_moon]] = engine.score([VERDICTS])
    odds = 1 + 0.1269  # two spellings of the likelier verdict
    assert of_bees.endings[0] - of_bees.endings[1] == pytest.approx(odds, abs=1e-3)
    assert of_moon.endings[0] - of_moon.endings[1] == pytest.approx(-odds, abs=1e-3)


@pytest.mark.bad_input("server", "first tokens without any of the verdicts", "no score, said")
@pytest.mark.parametrize("chat", [True, False])
def test_text_without_a_verdict_among_its_likeliest_tokens_has_no_score(make, chat):
    def reply(path, body):
        if ("messages" in body) is not chat:
            return make_completion(path, ["x"])
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        top = [("**" if "bees" in text else "Yes", -0.1), ("The", -3.0)]
        given = top_of(top) if chat else {"top_logprobs": [dict(top)]}
        return make_completion(path, [top[0][0]], logprobs=[given])

    with serve(reply) as server:
        [[of_bees, of_moon]] = make(server.url).score([VERDICTS])
    assert "none of yes, no is among" in of_bees.fault
    assert of_moon.fault is None
    assert of_moon.endings == pytest.approx((-0.1, -3.0))


def top_of(pairs):
    listed = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    return {"content": [{**listed[0], "top_logprobs": listed}]}


@pytest.mark.bad_input("server", "no log-probabilities at all", "refused")
def test_server_without_any_log_probabilities_says_so(make):
    with serve() as server, pytest.raises(UserError, match="no log-probabilities at all"):
        make(server.url).score([VERDICTS])


def test_text_that_the_server_refuses_has_a_fault_and_the_others_their_scores(make, model):
    with serve(model) as server:
        engine = make(server.url)
        assert engine.can_score
        server.rule = lambda body: (
            reply_with_error(400, "context length") if "moon" in body["prompt"] else None
        )
        [[bees, moon], [tides]] = engine.score(REQUESTS)
    assert "context length" in moon.fault
    assert "context length" in tides.fault
    assert math.isnan(moon.logprob)
    assert bees.logprob < 0
    assert bees.fault is None


def test_empty_continuation_is_refused(make):
    with pytest.raises(UserError, match="empty continuation"):
        make("http://127.0.0.1:9/v1").score([ScoreRequest("A", ("",))])


def test_malformed_reply_of_a_scoring_server_is_asked_again(make, model):
    with serve(model) as server:
        engine = make(server.url)
        assert engine.can_score
        server.faults.append(reply_with(b'{"choices": [{"te'))
        assert len(engine.score(REQUESTS)) == 2


# --- reading replies ------------------------------------------------------------------------------


def test_tokens_that_spell_a_character_together_all_count():
    tokens = [("<s>", None), ("q", -1.0), (" ", -2.0), ("", -3.0), ("é", -4.0), ("t", -5.0)]
    assert select_continuation(tokens, "ét") == [-3.0, -4.0, -5.0]
    assert select_continuation(tokens, " ét") == [-2.0, -3.0, -4.0, -5.0]
    assert select_continuation(tokens, " xy") is None


def test_token_over_the_border_counts_whole():
    assert select_continuation([("A", None), (":\n", -1.0), ("b", -2.0)], "\nb") == [-1.0, -2.0]


def test_first_token_has_no_probability():
    assert select_continuation([("Ab", None), ("c", -2.0)], "bc") is None


def test_prompt_logprobs_as_vllm_writes_them():
    given = [
        None,
        {"17": {"logprob": -1.5, "rank": 4, "decoded_token": " so"}},
        {"9": {"logprob": -0.5, "rank": 1, "decoded_token": " it"}},
    ]
    reply = {"choices": [{"text": "x", "prompt_logprobs": given}]}
    assert read_prompt_logprobs(reply) == [("", None), (" so", -1.5), (" it", -0.5)]


def test_generated_tokens_are_no_part_of_the_prompt():
    given = {"tokens": ["a", " b", " new"], "token_logprobs": [None, -1.0, -2.0]}
    reply = {"choices": [{"text": "a b new", "logprobs": given}], "usage": {"prompt_tokens": 2}}
    assert read_prompt_logprobs(reply) == [("a", None), (" b", -1.0)]


def test_first_tokens_of_a_completion():
    given = {
        "tokens": [" yes"],
        "token_logprobs": [-0.1],
        "top_logprobs": [{" yes": -0.1, "x": -3}],
    }
    assert read_top_tokens({"choices": [{"logprobs": given}]}) == [(" yes", -0.1), ("x", -3)]
    assert read_top_tokens({"choices": [{"logprobs": None}]}) == []


def test_beginnings_of_a_word_count_unless_another_shares_them():
    top = [(" y", -1.0), ("no", -2.0), ("n", -3.0), ("", -0.1), ("yesterday", -0.2)]
    assert sum_word_logprob(top, "yes", {"no"}) == pytest.approx(-1.0)
    assert sum_word_logprob(top, "no", {"yes"}) == pytest.approx(-2.0 + 0.3133, abs=1e-3)
    assert sum_word_logprob(top, "no", {"never"}) == pytest.approx(-2.0)
    assert sum_word_logprob(top, "perhaps") is None


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("7", 7),
        (" 7.5\n", 7.5),
        ("7/10", 7),
        ("I would say 8 out of 10, as it covers 3 of the points.", 8),
        ("On a scale from 0 to 10, relevance: 4", 4),
        ("The passage deserves a 6.", 6),
        ("**Score:** 9", 9),
        ("10", 10),
        ("0", 0),
        ("11", None),
        ("Between 3 and 5", None),
        ("7/100", None),
        ("not relevant", None),
        ("", None),
    ],
)
def test_graded_answers(text, grade):
    assert parse_grade(text) == grade


@pytest.mark.parametrize("value", [math.nan, 3.0, None, "gone"])
@pytest.mark.bad_input(
    "server", "one text's log-probabilities are NaN, positive or gone", "that pair is left out"
)
def test_spoiled_text_costs_no_other_and_is_asked_again_by_the_next_run(make, model, value):
    def answer(path, body):
        reply = model(path, body)
        given = reply["choices"][0]["logprobs"]
        if spoiled and "moon" in body["prompt"] and "Bees" in body["prompt"]:
            if value == "gone":
                reply["choices"][0]["logprobs"] = None
            else:
                given["token_logprobs"][-1] = value
        return reply

    spoiled = [True]
    with serve(answer) as server:
        [[bees, moon], [tides]] = make(server.url).score(REQUESTS)
        assert moon.fault
        assert math.isnan(moon.logprob)
        assert bees.fault is None
        assert tides.fault is None
        sent = len(server.seen)
        spoiled.clear()
        [[again, mended], _] = make(server.url).score(REQUESTS)
        assert len(server.seen) == sent + 1
    assert again == bees
    assert mended.fault is None
    assert mended.logprob < 0

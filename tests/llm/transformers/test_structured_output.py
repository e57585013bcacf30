"""Text of a given form: what is written always has it, whatever the model would rather say."""

import json
import re

import jsonschema
import pytest

from distill.errors import UserError
from distill.llm import Sampling
from distill.llm.transformers.engine import TransformersEngine

FORM = r" [a-z]{3,9}\nQuery: [^\n]{2,12}\n"
SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "maxLength": 12},
        "hard": {"type": "boolean"},
        "words": {"type": "array", "items": {"enum": ["sea", "moon"]}, "maxItems": 3},
    },
    "required": ["query", "hard", "words"],
    "additionalProperties": False,
}
PROMPTS = [f"Passage number {n}: the sea rises and falls.\nTask:" for n in range(6)]


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), "float32", "cpu")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_text_matches_the_regular_expression(engine, temperature):
    sampling = Sampling(80, temperature, regex=FORM)
    for written in engine.generate(PROMPTS, range(6), sampling):
        assert written.finished
        assert re.fullmatch(FORM, written.text)


def test_text_is_json_of_the_schema(engine):
    sampling = Sampling(200, 1.0, json_schema=json.dumps(SCHEMA))
    for written in engine.generate(PROMPTS, range(6), sampling):
        assert written.finished
        jsonschema.validate(json.loads(written.text), SCHEMA)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batched_and_refilled_equals_one_by_one(writer_folder, temperature):
    """With a model that has learnt something: to one that has not, tokens are so nearly alike that
    the rounding of another batch changes their order."""
    sampling = Sampling(60, temperature, regex=FORM)
    engine = TransformersEngine(str(writer_folder), "float32", "cpu")
    narrow = TransformersEngine(str(writer_folder), "float32", "cpu", batch_tokens=40)
    alone = [engine.generate([p], [n], sampling)[0] for n, p in enumerate(PROMPTS)]
    assert narrow.generate(PROMPTS, range(6), sampling) == alone


def test_structured_output_that_runs_out_of_tokens_is_not_finished(engine):
    [written] = engine.generate(PROMPTS[:1], [0], Sampling(5, regex="[a-z]{40}"))
    assert not written.finished
    assert written.fault is None
    assert re.fullmatch("[a-z]+", written.text)


def test_text_may_end_wherever_the_constraint_allows(engine):
    """The model's end token is allowed where the form is complete, and only there."""
    written = engine.generate(PROMPTS, range(6), Sampling(30, 1.5, regex="(yes|no)( indeed)*"))
    finished = [one.text for one in written if one.finished]
    assert len(set(finished)) > 1
    assert all(re.fullmatch("(yes|no)( indeed)*", text) for text in finished)
    longest = [f"{word}{' indeed' * 30}" for word in ("yes", "no")]
    assert all(any(text.startswith(one.text) for text in longest) for one in written)


def test_stop_string_ends_a_constrained_text_early(engine):
    [written] = engine.generate(PROMPTS[:1], [0], Sampling(80, regex=FORM, stop=("\nQuery",)))
    assert written.finished
    assert re.fullmatch(" [a-z]{3,9}", written.text)


@pytest.mark.bad_input("engines", "a regular expression or schema that cannot be used", "refused")
@pytest.mark.parametrize(
    "form", [{"regex": "(unclosed"}, {"json_schema": "{not json"}, {"json_schema": '{"type": 3}'}]
)
def test_constraint_that_cannot_be_used_is_refused(engine, form):
    with pytest.raises(UserError):
        engine.generate(PROMPTS[:1], [0], Sampling(8, **form))

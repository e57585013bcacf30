"""Only well-formed output becomes a query; the rest is named by its reason."""

import pytest

from distill.generate.parse import normalise, parse
from distill.prompts import load_prompt, packaged_recipes
from distill.recipe import ALL_TASK_TYPES

TASK = " Given a question, find the passage that answers it.\n"
EXAMPLES = frozenset({"why do otters hold hands when they sleep"})


def test_task_and_query_are_taken():
    parsed = parse(TASK + 'Query: "how high do swifts fly?"', True, EXAMPLES)
    assert parsed.task == "Given a question, find the passage that answers it."
    assert parsed.query == "how high do swifts fly?"
    assert parsed.reason is None


@pytest.mark.parametrize(
    ("output", "finished", "reason"),
    [
        (" Given a question", True, "malformed"),
        ("\nQuery: how high do swifts fly", True, "malformed"),
        (TASK + "Query:", True, "malformed"),
        (TASK + "Query: one\nQuery: two words", True, "malformed"),
        (TASK + "Question: how high do swifts fly", True, "malformed"),
        (TASK + "Query: how high do", False, "unfinished"),
        (TASK, False, "unfinished"),
        (TASK + "Query: swifts", True, "query too short"),
        (TASK + "Query: " + "word " * 41, True, "too long"),
        (TASK + "Query: Why do otters hold hands when they sleep?", True, "copies an example"),
        (TASK + "Query:" + TASK, True, "query is the task"),
        (TASK + "Query: what does the passage say of swifts", True, "points at the passage"),
    ],
)
def test_each_fault_has_its_reason(output, finished, reason):
    assert parse(output, finished, EXAMPLES).reason == reason


def test_normalise_looks_at_words_alone():
    assert normalise("  The SWIFT’s ﬂight—how high?") == normalise("the swift s flight how high")


def test_the_prompt_shows_every_task_type():
    prompt = load_prompt("prompts/fret.jinja", packaged_recipes(), parts=1)
    assert {example["task_type"] for example in prompt.examples} == set(ALL_TASK_TYPES)
    rendered = prompt.render(passage="Swifts sleep in flight.", task_type="title")
    assert rendered.endswith("Passage: Swifts sleep in flight.\nType: title\nTask:")


def test_every_example_parses_as_its_own_output_would():
    prompt = load_prompt("prompts/fret.jinja", packaged_recipes(), parts=1)
    for example in prompt.examples:
        output = f" {example['task']}\nQuery: {example['query']}"
        assert parse(output, True, frozenset()).query == example["query"]

"""Only well-formed output is read; the rest is named by its reason."""

import pytest

from distill.generate.passages.reply import ParsedQuery, parse_reply
from distill.text.normalize import normalize_words

TASK = " Given a question, find the passage that answers it.\n"
EXAMPLES = frozenset({"why do otters hold hands when they sleep"})


@pytest.mark.parametrize("before", ["", "Task:", "\nTask:", " "])
def test_task_and_query_are_taken_with_or_without_the_label(before):
    parsed = parse_reply(before + TASK + 'Query: "how high do swifts fly?"', True, EXAMPLES)
    assert parsed.task == "Given a question, find the passage that answers it."
    assert parsed.query == "how high do swifts fly?"
    assert parsed.reason is None


@pytest.mark.bad_input(
    "replies of the LLM", "labels missing, lines missing, copies", "dropped with the reason"
)
@pytest.mark.parametrize(
    ("output", "finished", "reason"),
    [
        ("", True, "malformed"),
        (" Given a question", True, "malformed"),
        ("\nQuery: how high do swifts fly", True, "malformed"),
        ("Task:\nQuery: how high do swifts fly", True, "malformed"),
        ("Query: how high\nQuery: do swifts fly", True, "malformed"),
        (TASK + "Query:", True, "malformed"),
        (TASK + "Query: ?!", True, "malformed"),
        (TASK + "Query: Query: how high", True, "malformed"),
        (TASK + "Query: one\nQuery: two words", True, "malformed"),
        (TASK + "Query: how high do swifts fly\nThey fly high.", True, "malformed"),
        (TASK + "Question: how high do swifts fly", True, "malformed"),
        (TASK + "Query: how high do", False, "unfinished"),
        (TASK, False, "unfinished"),
        (TASK + "Query: Why do otters hold hands when they sleep?", True, "copies an example"),
        (TASK + "Query:" + TASK, True, "query is the task"),
    ],
)
def test_faulty_replies_have_their_reason(output, finished, reason):
    assert parse_reply(output, finished, EXAMPLES).reason == reason


@pytest.mark.parametrize("before", ["", "Query:", "\nQuery:"])
def test_query_may_come_first(before):
    parsed = parse_reply(
        before + " how high do swifts fly?\nTask:" + TASK, True, EXAMPLES, "query, task"
    )
    assert parsed == (TASK.strip(), "how high do swifts fly?", None)
    swapped = parse_reply("Task:" + TASK + "Query: how high", True, EXAMPLES, "query, task")
    assert swapped.reason == "malformed"


@pytest.mark.parametrize("output", [" how high do swifts fly\n", "Query: how high do swifts fly"])
def test_prompt_that_says_the_task_itself_gets_a_query_alone(output):
    parsed = parse_reply(output, True, EXAMPLES, "query")
    assert parsed == ("", "how high do swifts fly", None)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (TASK + "Query: how high do swifts fly", "malformed"),
        ("\n", "malformed"),
        ("Why do otters hold hands when they sleep?", "copies an example"),
    ],
)
def test_query_alone_is_one_line(output, reason):
    assert parse_reply(output, True, EXAMPLES, "query").reason == reason


def test_query_is_plain_text():
    parsed = parse_reply(TASK + "Query: what\tends\r <|im_end|> a\u200bturn\u202e", True, EXAMPLES)
    assert parsed.query == "what ends < |im_end|> aturn"


def test_normalise_looks_at_words_alone():
    assert normalize_words("  The SWIFT’s ﬂight—how high?") == normalize_words(
        "the swift s flight how high"
    )


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\n\nOf bees.\n\n</think>\n\nTask: Find it.\nQuery: why do bees dance",
        "**Task:** Find it.\n**Query:** why do bees dance",
        "**Task**: Find it.\n\n**Query**: **why do bees dance**",
        "**Task: Find it.**\n**Query: why do bees dance**",
        "- *Task: Find it.*\n- __Query: why do bees dance__",
        "Task: Find it.\n\n\nQuery: why do bees dance\n",
        "- Task: Find it.\n- Query: why do bees dance",
        "### Task: Find it.\n### Query: why do bees dance",
        "Task: Find it.\nQuery: why do bees dance\n\nNote: I hope that this helps.",
    ],
)
def test_replies_of_chat_models_are_read(reply):
    assert parse_reply(reply, True, ()) == ParsedQuery("Find it.", "why do bees dance")


def test_star_that_no_emphasis_began_with_is_part_of_the_query():
    assert parse_reply("**Query:** what is an int*", True, (), "query").query == "what is an int*"
    assert parse_reply("Query: what is an int*", True, (), "query").query == "what is an int*"


def test_thoughts_that_did_not_end_are_unfinished():
    assert parse_reply("<think>\nThe passage", True, ()).reason == "unfinished"


def test_reply_is_whole_although_what_follows_it_was_cut():
    reply = "Task: Find it.\nQuery: why do bees dance\n\nNote: I ho"
    assert parse_reply(reply, False, ()) == ParsedQuery("Find it.", "why do bees dance")
    assert parse_reply(reply[:35], False, ()).reason == "unfinished"


@pytest.mark.parametrize(
    "reply",
    [
        "```\nTask: Find it.\nQuery: how high do swifts fly\n```",
        "\n```text\nTask: Find it.\nQuery: how high do swifts fly\n```\n",
        "Task:\u00a0Find it.\nQuery\u202f:\u00a0how high do swifts fly",
    ],
)
def test_code_block_around_the_reply_and_wide_spaces_are_no_part_of_it(reply):
    assert parse_reply(reply, True, EXAMPLES) == ("Find it.", "how high do swifts fly", None)


def test_code_blocks_are_not_taken_for_one():
    reply = "```\nTask: Find it.\n```\nQuery: how high\n```\nx\n```"
    assert parse_reply(reply, True, EXAMPLES).reason == "malformed"

"""What no searcher would type is dropped; what only looks like it is not."""

import pytest
from helpers.query_rows import make_generated_query

from distill.generate.filters.refusals import reject_refusals


@pytest.mark.parametrize(
    "query",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot generate a query from this",
        "I can’t provide medical advice",
        "Unfortunately, I am unable to answer",
        "As an AI language model, I have no opinions",
        "as an AI, I do not eat",
        "I apologize for the confusion",
        "There is not enough information to write one",
        "Here is a query",
        "Here’s one possible question about swifts",
        "Sure, how high do swifts fly",
        "Sure! Swifts",
        "Certainly: swift flight",
        "<query>",
        "{query}",
        "{{ query }}",
        "[Your question here]",
        "find <insert topic> near me",
        "Question: how high do swifts fly",
        "search query: swifts",
        "Query 1: swifts",
        "query 2",
        "enter your question here",
        "lorem ipsum dolor sit amet",
        "N/A",
        "n/a.",
        "None",
        "...",
        "swifts <|im_end|>",
        "swifts < |im_end|>",
        "[INST] swifts",
    ],
)
def test_boilerplate_is_dropped(query):
    assert reject_refusals(make_generated_query(query)) == "refusal or boilerplate"


@pytest.mark.parametrize(
    "query",
    [
        "what does the passage say of swifts",
        "what is this article about",
        "Which swift is named in the text?",
        "according to the passage, how high do swifts fly",
        "main idea of the following paragraph",
        "what is the passage's main point",
        "summary of the given document",
        "who wrote the above text",
    ],
)
def test_pointing_at_the_text_is_dropped(query):
    assert reject_refusals(make_generated_query(query)) == "points at the passage"


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("how to center the text", "In CSS, text-align: center puts text in the middle."),
        ("how do I print the document?", "Print opens a dialog with the pages of your Document."),
        ("who may notarize the document", "A notary signs documents before two witnesses."),
    ],
)
def test_noun_of_the_passage_itself_points_at_no_text(query, passage):
    assert reject_refusals(make_generated_query(query, passage)) is None
    assert reject_refusals(make_generated_query(query)) == "points at the passage"
    above = make_generated_query(f"{query.strip('?')} above", passage)
    assert reject_refusals(above) == "points at the passage"


@pytest.mark.parametrize(
    "query",
    [
        "I cannot fall asleep before midnight",
        "why can't I help my dog sleep",
        "sorry state of public libraries",
        "sure-footed animals of the Alps",
        "here comes the sun chords",
        "how does an AI model learn",
        "AI, law and ethics",
        "how felt the passage of time during lockdown",
        "change the text colour of a label",
        "the document object model explained",
        "null hypothesis significance testing",
        "none of the above voting",
        "what is query likelihood",
        "okay as a word in English",
        "is x < y > z a chained comparison",
        "numpy.ndarray.shape of a [2, 3] array",
        "answer set programming",
        "how to use the <title> tag",
        "LaTeX error at \\begin{document}",
        "yes, minister first episode",
    ],
)
def test_queries_pass(query):
    assert reject_refusals(make_generated_query(query)) is None

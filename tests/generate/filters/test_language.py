"""Only a query that is certainly in another language is dropped."""

import pytest
from helpers.query_rows import make_generated_query

from distill.errors import UserError
from distill.generate.filters.language import make_language_filter

GERMAN = "Wie funktioniert ein Kühlschrank?"
ENGLISH = "what is the capital of France"


def test_query_in_another_language_is_dropped():
    assert make_language_filter(["en"])(make_generated_query(GERMAN)) == "another language"
    assert make_language_filter(["de"])(make_generated_query(ENGLISH)) == "another language"
    assert make_language_filter(["fr", "en"])(make_generated_query(GERMAN)) == "another language"


def test_language_filter_passes_allowed_languages():
    assert make_language_filter(["en", "de"])(make_generated_query(GERMAN)) is None
    assert make_language_filter(None)(make_generated_query(GERMAN)) is None


@pytest.mark.parametrize(
    "query", ["heart disease", "HTTP 404", "numpy.linalg.svd shape", "COVID-19 vaccine", "sushi"]
)
def test_language_filter_passes_queries_of_an_uncertain_language(query):
    assert make_language_filter(["en"])(make_generated_query(query)) is None


def test_row_is_held_to_the_language_it_was_written_for():
    assert (
        make_language_filter(None)(make_generated_query(ENGLISH, language="de"))
        == "another language"
    )
    assert (
        make_language_filter(["en"])(make_generated_query(ENGLISH, language="de"))
        == "another language"
    )
    assert make_language_filter(["en"])(make_generated_query(GERMAN, language="de")) is None
    # What cannot be detected cannot be ruled out.
    assert make_language_filter(None)(make_generated_query(GERMAN, language="rmw")) is None


@pytest.mark.bad_input("shape of a recipe", "a filter for a language that is not known", "refused")
def test_unknown_language_is_refused():
    with pytest.raises(UserError, match=r"generate\.filters\.languages: english: cannot"):
        make_language_filter(["en", "english"])


@pytest.mark.slow
def test_real_questions_in_their_own_language_pass(data_folder):
    """XQuAD asks the same in English and German."""
    import json

    for own, other, least in (("en", "de", 0.94), ("de", "en", 0.94)):
        lines = (data_folder / "own" / "xquad" / own / "queries.jsonl").read_text().splitlines()
        draws = [make_generated_query(json.loads(line)["text"]) for line in lines]
        assert len(draws) == 1190
        assert sum(make_language_filter([own])(d) is not None for d in draws) == 0
        assert sum(make_language_filter([other])(d) is not None for d in draws) >= least * len(
            draws
        )

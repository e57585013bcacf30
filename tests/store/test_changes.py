"""What is said of a stage that was made with other settings."""

from distill.store.changes import describe_changes


def changes(stage, before, after, inputs_before=None, inputs=None):
    manifest = {"settings": before, "inputs": inputs_before or {}}
    return describe_changes(stage, manifest, after, inputs or {})


def test_section_key_old_and_new_value():
    said = changes(
        "queries",
        {"filters": {"max_words": 40, "min": 2}},
        {"filters": {"max_words": 30, "min": 2}},
    )
    assert said == "generate.filters.max_words: 40 -> 30"


def test_key_of_a_section_of_its_own_has_no_other_before_it():
    assert changes("generations", {"llm": {"model": "a"}}, {"llm": {"model": "b"}}) == (
        'llm.model: "a" -> "b"'
    )


def test_keys_that_are_new_or_gone():
    assert changes("base", {"layers": [0]}, {"dimensions": 8}) == (
        "student.dimensions: (none) -> 8; student.layers: [0] -> (none)"
    )


def test_inputs_are_named():
    said = changes("labels", {}, {}, {"candidates": "a1"}, {"candidates": "b2"})
    assert said == "what it is made from: candidates"


def test_long_value_is_shown_by_its_beginning():
    said = changes("generations", {"prompt": "a" * 500}, {"prompt": "b" * 500})
    assert len(said) < 200
    assert said.startswith('generate.prompt: "aaaa')


def test_first_of_many_changes_are_shown_and_the_others_counted():
    assert changes("base", {}, {f"k{n:02}": n for n in range(20)}).endswith("; and 12 more")

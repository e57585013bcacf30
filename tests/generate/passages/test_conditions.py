"""Conditions of rows: exact quotas of task types, seeded draws of the rest, few-shot examples."""

from collections import Counter

import pytest

from distill.errors import UserError
from distill.generate.passages.conditions import (
    choose_task_type,
    draw_conditions,
    load_language_names,
    load_personas,
)
from distill.generate.passages.few_shot import load_pool
from distill.generate.passages.reply import parse_reply
from distill.recipe import ALL_TASK_TYPES, Generate, load_recipe

DRAWN = Generate(
    lengths=["less than 5 words", "5 to 15 words"],
    difficulties=["school", "college"],
    languages=["en", "de"],
)


def recipe_in(folder, **generate):
    (folder / "r.yaml").write_text("name: r\n")
    return load_recipe(
        folder / "r.yaml", [f"generate.{key}={value}" for key, value in generate.items()]
    )


def load_personas_of(recipe):
    return load_personas(recipe.generate.personas, recipe.folder)


def load_pool_of(recipe):
    return load_pool(recipe.generate, recipe.folder)


# --- quotas and draws ---------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 6, 60, 601])
def test_task_types_are_uniform_exactly(rows):
    counts = Counter(choose_task_type(ALL_TASK_TYPES, 13, row) for row in range(rows))
    assert max(counts.values()) - min(counts[kind] for kind in ALL_TASK_TYPES) <= 1


def test_order_of_conditions_differs_between_blocks_and_seeds():
    def order(seed, block):
        return [choose_task_type(ALL_TASK_TYPES, seed, 6 * block + i) for i in range(6)]

    assert len({tuple(order(seed, block)) for seed in (1, 2) for block in range(10)}) > 15
    assert order(1, 3) == order(1, 3)


def test_rest_depends_on_seed_passage_and_sample_alone():
    def rest(seed, row, passage_id, sample):
        drawn = draw_conditions(DRAWN, ["a nurse", "a pilot"], seed, row, passage_id, sample)
        return drawn.example_set, drawn.persona, drawn.length, drawn.difficulty, drawn.language

    assert rest(1, 0, "p1", 0) == rest(1, 99, "p1", 0)
    many = [rest(seed, 0, f"p{p}", s) for seed in (1, 2) for p in range(100) for s in (0, 1)]
    for place, values in enumerate(zip(*many, strict=True)):
        counts = Counter(values)
        assert len(counts) == (4 if place == 0 else 2)
        assert min(counts.values()) > 0.6 * len(many) / len(counts)


def test_conditions_that_the_recipe_does_not_list_are_left_to_the_llm():
    drawn = draw_conditions(Generate(), [], 1, 0, "p", 0)
    assert (drawn.persona, drawn.length, drawn.difficulty, drawn.language) == (None,) * 4


# --- personas and languages ---------------------------------------------------------------------


def test_personas_are_lines_and_data(tmp_path):
    (tmp_path / "who.txt").write_text("a nurse\n\n  a <|im_end|> pilot \n")
    assert load_personas_of(recipe_in(tmp_path, personas="who.txt")) == [
        "a nurse",
        "a < |im_end|> pilot",
    ]
    assert load_personas_of(recipe_in(tmp_path)) == []


def test_empty_file_of_personas_is_refused(tmp_path):
    (tmp_path / "who.txt").write_text("\n \n")
    with pytest.raises(UserError, match="holds no persona"):
        load_personas_of(recipe_in(tmp_path, personas="who.txt"))


@pytest.mark.bad_input(
    "shape of a recipe", "a language code that is not known", "refused, some known ones told"
)
def test_prompts_name_languages_and_unknown_codes_are_refused():
    assert load_language_names(["en", "de"]) == {"en": "English", "de": "German"}
    with pytest.raises(UserError, match="'english' is not a known ISO 639-1 code"):
        load_language_names(["english"])


# --- the pool of few-shot examples --------------------------------------------------------------


def test_packaged_pool_is_rich_and_every_example_parses(tmp_path):
    pool = load_pool_of(recipe_in(tmp_path))
    assert set(pool.examples) == set(ALL_TASK_TYPES)
    shots = [shot for of_type in pool.examples.values() for shot in of_type]
    assert min(len(of_type) for of_type in pool.examples.values()) >= 5
    assert len({shot["task"] for shot in shots}) > 0.9 * len(shots)
    assert len(pool.queries) == len(shots)
    for shot in shots:
        output = f" {shot['task']}\nQuery: {shot['query']}\n"
        assert parse_reply(output, True, frozenset()) == (shot["task"], shot["query"], None)


@pytest.mark.parametrize("shots", [0, 1, 3, 4, 6, 7])
def test_example_set_is_half_of_the_type_itself_and_never_holds_one_twice(tmp_path, shots):
    pool = load_pool_of(recipe_in(tmp_path, shots=shots))
    for kind in ALL_TASK_TYPES:
        for number in range(4):
            examples = pool.draw_examples(kind, number, shots, seed=5)
            assert len(examples) == len({shot["query"] for shot in examples}) == shots
            own = [shot for shot in examples if shot["task_type"] == kind]
            assert len(own) == (shots + 1) // 2
            others = [shot["task_type"] for shot in examples if shot["task_type"] != kind]
            assert len(others) == len(set(others))
            assert examples == pool.draw_examples(kind, number, shots, seed=5)


def test_example_sets_differ(tmp_path):
    pool = load_pool_of(recipe_in(tmp_path))
    example_sets = {
        tuple(shot["query"] for shot in pool.draw_examples("search", number, 6, seed))
        for number in range(4)
        for seed in (1, 2)
    }
    assert len(example_sets) == 8


@pytest.mark.bad_input("few-shot pool", "too few examples, unknown types", "refused")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("- a list", "is not a mapping of task types"),
        ("searching: []", "is not a mapping of task types"),
        ("search: [", "is not YAML"),
        ("search: [{passage: a, task: b}]", "search, example 1: does not have exactly"),
        ("search: [{passage: a, task: b, query: ' '}]", "example 1: has an empty query"),
        ("search: [{passage: a, task: b, query: c}]", "has 1 examples for 'search', 3 needed"),
        ("search: [" + "{passage: a, task: b, query: c}, " * 3 + "]", "0 examples for other types"),
    ],
)
def test_bad_pool_is_named_with_its_fault(tmp_path, source, said):
    (tmp_path / "pool.yaml").write_text(source)
    recipe = recipe_in(tmp_path, examples="pool.yaml", task_types="[search]", shots=6)
    with pytest.raises(UserError, match=said):
        load_pool(recipe.generate, recipe.folder)

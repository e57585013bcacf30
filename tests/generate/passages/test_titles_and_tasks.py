"""Titles in the prompt, or none; and the task strings of a recipe, by type."""

import io

import pytest
from helpers.fake_llm import StandInLLM, make_numbered_passages
from helpers.tiny_models import SHORT_PROMPT
from rich.console import Console

from distill.generate.held_out import settle_writing
from distill.generate.passages.generations import fingerprint, make_generations
from distill.generate.passages.method import open_method
from distill.generate.passages.parsed import make_parsed
from distill.generate.passages.plan import GenerationPlan
from distill.generate.settings import WritingSettings
from distill.generate.show_prompt import show_prompt
from distill.recipe import JudgedPool, load_recipe
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import PARSED, PASSAGES

NAME, TEXT = "numpy.dstack", "Stack arrays in sequence depth wise."


def make_writing(*sets: str) -> WritingSettings:
    served = "llm={engine: http, model: stand-in, base_url: 'http://localhost:1/v1'}"
    return WritingSettings.select(load_recipe(None, ["name=r", served, *sets]))


@pytest.fixture
def passages(run):
    """A docstring, and a passage that is a title alone."""
    stage = run.open_stage("passages", {})
    rows = [
        {"passage_id": "a", "title": NAME, "text": TEXT, "source": ""},
        {"passage_id": "b", "title": "Swifts", "text": "", "source": ""},
    ]
    stage.map_shards(PASSAGES, [rows], ShardResult)
    stage.finish()
    return stage


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", "stale") as made:
        yield made


def list_prompts(writing, passages):
    method, plan = open_method(writing), GenerationPlan(writing, passages)
    return [
        method.render_prompt(plan[row].passage, plan[row].conditions, False)
        for row in range(len(plan))
    ]


@pytest.mark.parametrize(
    ("sets", "shown"),
    [
        ([], True),
        (["generate.titles=always"], True),
        (["generate.titles=never"], False),
        (["generate.titles=auto"], True),
        (["generate.titles=auto", "corpus={source: docstrings, packages: [numpy]}"], False),
    ],
)
def test_prompt_shows_a_title_where_it_is_wanted(passages, sets, shown):
    docstring, title_alone = list_prompts(make_writing(*sets), passages)
    assert TEXT in docstring
    assert (NAME in docstring) == shown
    assert "Swifts" in title_alone


def test_custom_prompt_is_given_no_title_either(passages, tmp_path):
    (tmp_path / "own.jinja").write_text("{{ title }}|{{ passage }}")
    (tmp_path / "own.json").write_text('{"type": "object", "properties": {"query": {}}}')
    (tmp_path / "r.yaml").write_text(
        "name: r\ngenerate:\n  methods: [custom]\n  titles: never\n"
        "  custom: {prompt: own.jinja, json_schema: own.json}\n"
    )
    writing = WritingSettings.select(load_recipe(tmp_path / "r.yaml"))
    assert list_prompts(writing, passages)[0] == f"|{TEXT}"


def test_shown_prompt_is_the_one_without_a_title(run, passages):
    console = Console(file=io.StringIO(), width=200)
    show_prompt(run, make_writing("generate.titles=never"), passages, 0, console)
    assert NAME not in console.file.getvalue()
    assert TEXT in console.file.getvalue()


def test_fingerprints_are_as_they_were_unless_prompts_change():
    marks = {}
    for titles in ("always", "auto", "never"):
        writing = make_writing(f"generate.titles={titles}")
        marks[titles] = fingerprint(writing, open_method(writing))
    assert marks["always"] == marks["auto"] != marks["never"]
    assert not {"titles", "tasks"} & marks["always"].keys()


def test_tasks_of_the_recipe_stand_in_place_of_written_ones(run, tmp_path):
    (tmp_path / "short.jinja").write_text(SHORT_PROMPT)
    passages = make_numbered_passages(run)
    own = "Given a web search query, find passages that answer it."
    prompt = f"generate.prompt={tmp_path / 'short.jinja'}"
    sets = [prompt, "generate.task_types=[search, title]", "generate.passages=12"]
    tasks, written = [], set()
    for more in ([], [f"generate.tasks={{search: '{own}'}}"]):
        writing = make_writing(*sets, *more)
        generations = make_generations(run, writing, passages, StandInLLM)
        parsed = make_parsed(run, writing, generations)
        tasks.append([(row["task_type"], row["task"]) for row in parsed.read_rows(PARSED)])
        written.add(generations.fingerprint)
    before, after = tasks
    assert {*before} == {("search", "Find it."), ("title", "Find it.")}
    assert after == [(of, own if of == "search" else task) for of, task in before]
    assert len(written) == 1  # what the LLM wrote is only read again


def test_held_out_queries_keep_the_task_of_their_own_prompt():
    writing = make_writing("generate.tasks={search: 'Find it.'}")
    assert settle_writing(writing, JudgedPool()).generate.tasks == {}

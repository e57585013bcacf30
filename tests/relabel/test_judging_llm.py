"""Another LLM judges candidates than the one that writes the queries."""

import json

import pytest
from helpers.in_memory import InMemoryLLM, make_in_memory_encoder
from helpers.overlap_llm import OverlapLLM

import distill
from distill.api.devices import check_devices
from distill.api.objects import Models, put_models, register_llm
from distill.errors import UserError
from distill.estimate.estimate import estimate
from distill.estimate.prices import Prices
from distill.export.provenance import list_ingredients
from distill.llm.lazy import LazyLLM
from distill.llm.load import uses_chat_template
from distill.pipeline.job import Job
from distill.recipe import JudgedPool, Recipe, load_recipe, override
from distill.report.run_data import read_run_data
from distill.report.sections.lineage import make_lineage
from distill.start.check import check_recipe
from distill.store.run import Run

FREE = {"generate.filters": {"decontaminate": False}, "evaluate.tasks": []}


class NamedLLM(OverlapLLM):
    """Notes when it is opened and closed."""

    def __init__(self, name, version, events):
        super().__init__(version)
        self.name = name
        self.identity = {"model": name, "version": version}
        self.written = 0
        self.events = events

    def generate(self, prompts, seeds, sampling):
        self.written += len(prompts)
        return super().generate(prompts, seeds, sampling)

    def open(self):
        self.events.append(f"open {self.name}")
        return self

    def close(self):
        self.events.append(f"close {self.name}")


@pytest.fixture
def writer():
    return NamedLLM("writer", 1, [])


@pytest.fixture
def make_recipe(recipe_file, writer):
    """Makes the tiny recipe whose candidates this LLM judges."""

    def make(judge: InMemoryLLM | None) -> Recipe:
        named = {} if judge is None else {"relabel.llm": {"model": register_llm(judge)}}
        recipe = override(load_recipe(recipe_file), FREE | named)
        return put_models(recipe, Models(writer, make_in_memory_encoder()))

    return make


def read_manifest(folder, stage):
    return json.loads((folder / stage / ".stage" / "manifest.json").read_text())


def test_writer_writes_and_the_other_llm_judges(make_recipe, writer, tmp_path):
    judge = NamedLLM("judge", 1, [])
    distill.relabel(make_recipe(judge), tmp_path / "run")
    assert writer.written > 0
    assert writer.scored == judge.written == 0
    assert judge.scored > 0
    for stage, name in (("generations", "writer"), ("judgements-ql", "judge")):
        assert name in str(read_manifest(tmp_path / "run", stage)["settings"]["llm"])


def test_writer_is_closed_before_the_judge_opens(make_recipe, tmp_path):
    events = []
    writer, judge = NamedLLM("writer", 1, events), NamedLLM("judge", 1, events)
    with Run(tmp_path / "run") as run:
        job = Job(run, make_recipe(judge))
        job.llm, job.judging_llm = LazyLLM(writer.open), LazyLLM(judge.open)
        job.relabel()
    assert events == ["open writer", "close writer", "open judge", "close judge"]


def test_judgements_of_each_llm_are_kept_apart(make_recipe, writer, tmp_path):
    folder, one, other = tmp_path / "run", NamedLLM("one", 1, []), NamedLLM("other", 1, [])
    distill.relabel(make_recipe(one), folder)
    distill.relabel(make_recipe(other), folder, overwrite="stale")
    assert one.scored == other.scored > 0
    distill.relabel(make_recipe(one), folder, overwrite="stale")
    assert one.scored == other.scored
    written = writer.written
    distill.relabel(make_recipe(None), folder, overwrite="stale")
    assert writer.written == written
    assert writer.scored == one.scored


@pytest.mark.bad_input("LLM", "chat of a judging LLM without a template", "refused by its own key")
def test_judging_llm_without_a_chat_template_is_refused_by_its_own_key(recipe_file):
    """Whoever changed the writer's key would have all queries written anew."""
    sets = ["relabel.llm={model: judge, prompt_format: chat}"]
    recipe = load_recipe(recipe_file, sets)
    judge = OverlapLLM()
    judge.has_chat = False
    with pytest.raises(UserError, match=r"set relabel\.llm\.prompt_format to completion"):
        uses_chat_template(recipe.judging_llm, judge)
    pool = JudgedPool(llm={"model": "pool"})
    assert pool.llm.name_key("dtype") == "evaluate.judged.llm.dtype"
    assert recipe.llm.name_key("dtype") == "llm.dtype"


def test_same_llm_named_twice_continues_the_run_of_one(recipe_file, writer_folder, tmp_path):
    recipe = override(load_recipe(recipe_file), FREE)
    both = override(recipe, {"relabel.llm": recipe.llm.model_dump()})
    with Run(tmp_path / "run") as run:
        job = Job(run, both)
        assert job.judging_llm is job.llm


def test_missing_judging_llm_is_named_before_a_run(recipe_file, tmp_path):
    recipe = override(load_recipe(recipe_file), FREE | {"relabel.llm": {"model": "./no-llm"}})
    assert any("no-llm" in str(fault) for fault in check_recipe(recipe, tmp_path / "run").faults)
    unused = override(recipe, {"relabel.rankers": ["retriever"]})
    assert not check_recipe(unused, tmp_path / "run").faults


def test_small_judging_llm_is_warned_of_by_its_key(recipe_file, tmp_path):
    small = {"engine": "http", "base_url": "http://localhost:1/v1", "model": "tiny-135M"}
    settings = FREE | {"relabel.llm": small, "relabel.rankers": ["rc", "retriever"]}
    checked = check_recipe(override(load_recipe(recipe_file), settings), tmp_path / "run")
    told = "\n".join(checked.notices)
    assert "relabel.llm.model: has 135 million parameters" in told
    assert "verdicts of an LLM of 135 million parameters" in told


def test_device_of_the_judging_llm_is_checked_where_it_is_used(recipe_file):
    settings = FREE | {"relabel.llm": {"model": "judge", "device": "cuda:77"}}
    recipe = override(load_recipe(recipe_file), settings)
    check_devices(recipe, "generate")
    with pytest.raises(UserError, match=r"relabel\.llm\.device"):
        check_devices(recipe, "relabel")


def test_estimate_measures_and_prices_each_llm_by_itself(make_recipe, writer, tmp_path):
    events = []
    judge = NamedLLM("judge", 1, events)
    recipe = make_recipe(judge)
    prices = tmp_path / "prices.yaml"
    models = {recipe.llm.model: {"input": 1, "output": 1}}
    models[recipe.judging_llm.model] = {"input": 1000, "output": 1000}
    prices.write_text(json.dumps({"currency": "USD", "models": models}))
    with Run(tmp_path / "run") as run:
        estimated = estimate(
            run, recipe, lambda: writer, 2, Prices(prices), judging_llm=lambda: judge
        )
    lines = {line.stage: line for line in estimated.lines}
    assert writer.scored == judge.written == 0
    assert judge.scored > 0
    cost = {name: lines[name].cost.high for name in ("generations", "judgements-ql")}
    tokens = {name: lines[name].prompt_tokens.high + lines[name].new_tokens.high for name in cost}
    assert cost["generations"] == pytest.approx(tokens["generations"] / 1e6)
    assert cost["judgements-ql"] == pytest.approx(tokens["judgements-ql"] / 1e3)


def test_card_and_report_name_both_llms(recipe_file, writer_folder, llm_folder, tmp_path):
    recipe = override(load_recipe(recipe_file), FREE | {"relabel.llm": {"model": str(llm_folder)}})
    named = {part.role: part.name for part in list_ingredients(recipe)}
    assert named["LLM"] == writer_folder.name
    assert named["judging LLM"] == llm_folder.name
    distill.relabel(recipe, tmp_path / "run")
    models = make_lineage(read_run_data(tmp_path / "run")).models
    cells = {row[0].text: row[1] for row in models.rows}
    assert cells["LLM"].text == str(writer_folder)
    assert cells["judging LLM"].text == str(llm_folder)

"""An estimate is held against what the run then does."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fake_server import MODEL, serve
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.estimate.amounts import Amount, Estimate, StageEstimate
from distill.estimate.estimate import estimate
from distill.estimate.prices import Prices
from distill.files.atomic import read_json
from distill.generate.passages.generations import make_generations
from distill.generate.settings import WritingSettings
from distill.llm.load import load_llm
from distill.llm.protocol import LLM, Completion
from distill.pipeline.job import Job
from distill.recipe import Recipe, load_recipe
from distill.relabel.rankers.listwise import make_windows
from distill.store.run import Run

KEPT = ["generate.filters={decontaminate: false}"]
"""The tiny corpus holds the tiny task's queries."""
PROMPTS = 24
PASSAGES = 36


def of(found: Estimate, stage: str) -> StageEstimate:
    return next(line for line in found.lines if line.stage == stage)


def engine(recipe: Recipe, folder: Path) -> Callable[[], LLM]:
    return lambda: load_llm(recipe.llm, folder / "requests.sqlite")


def none_loaded() -> LLM:
    raise AssertionError("an LLM was loaded")


def estimated(recipe: Recipe, folder: Path, sample: int, prices: Prices | None = None) -> Estimate:
    with Run(folder) as run:
        return estimate(run, recipe, engine(recipe, folder), sample, prices)


@pytest.fixture(scope="module")
def found(recipe_file, tmp_path_factory) -> Estimate:
    """Measured on all the prompts that there are."""
    recipe = load_recipe(recipe_file, KEPT)
    return estimated(recipe, tmp_path_factory.mktemp("estimate") / "run", PROMPTS)


@pytest.fixture(scope="module")
def counted(recipe_file, tmp_path_factory) -> Estimate:
    """Measured on two prompts, for what a sample does not change."""
    recipe = load_recipe(recipe_file, KEPT)
    return estimated(recipe, tmp_path_factory.mktemp("counted") / "run", 2)


@pytest.fixture(scope="module")
def done(whole_run) -> Path:
    return whole_run


def manifest(folder: Path, stage: str) -> dict:
    return read_json(folder / stage / ".stage" / "manifest.json")


@pytest.mark.slow
def test_whole_as_sample_gives_the_very_tokens_of_the_run(found, done):
    tokens = manifest(done, "generations")["figures"]["tokens"]
    line = of(found, "generations")
    assert line.amount == Amount(PROMPTS, PROMPTS)
    assert line.prompt_tokens.low == pytest.approx(tokens["prompt"])
    assert line.new_tokens.low == pytest.approx(tokens["new"], rel=0.05)
    assert line.seconds.low > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["parsed", "queries", "candidates", "judgements-ql", "judgements-rc", "examples"]
)
def test_run_stays_within_the_bounds(found, done, stage):
    amount = of(found, stage).amount
    assert amount.low <= manifest(done, stage)["rows"] <= amount.high


@pytest.mark.slow
def test_training_stays_within_the_bounds(found, done):
    figures = manifest(done, "student")["figures"]
    assert figures["steps"] <= of(found, "student").amount.high
    assert f"≤ {PROMPTS} examples" in of(found, "student").note


@pytest.mark.slow
def test_judgements_are_measured_pair_by_pair(found, done):
    line = of(found, "judgements-ql")
    pairs = manifest(done, "judgements-ql")["rows"]
    of_run = manifest(done, "judgements-ql")["figures"]["tokens"]["prompt"] / pairs
    assert line.prompt_tokens.high / line.amount.high == pytest.approx(of_run, rel=0.2)
    assert line.seconds.high > 0


def test_evaluation_counts_the_offline_texts_for_three_models(counted):
    assert of(counted, "evaluation").amount == Amount(3 * (PASSAGES - 3 + len(TEXTS)), 99 + 36)


def test_estimate_without_a_sample_loads_nothing(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    with Run(tmp_path) as run:
        counted = estimate(run, recipe, none_loaded, sample=0)
    line = of(counted, "generations")
    assert line.new_tokens.low == PROMPTS * recipe.generate.max_new_tokens / 2
    assert line.prompt_tokens.low > PROMPTS * 10
    assert line.seconds == Amount(0.0, None)
    assert any("Nothing was measured" in said for said in counted.basis)
    assert of(counted, "judgements-rc").prompt_tokens.high > 0


def test_estimate_writes_the_corpus_alone(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    with Run(tmp_path) as run:
        estimate(run, recipe, none_loaded, sample=0)
    assert {path.name for path in tmp_path.iterdir()} <= {"passages", ".lock"}


def test_vectors_of_a_retriever_that_teaches_count_once(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["relabel.rankers=[retriever]"])
    apart = estimated(recipe, tmp_path, 0)
    recipe.teacher = recipe.teacher.model_copy(update={"model": recipe.retriever.model})
    same = estimated(recipe, tmp_path, 0)
    difference = of(apart, "teacher vectors").amount.high - of(same, "teacher vectors").amount.high
    assert difference == of(apart, "passages").amount.high


def test_draws_compared_by_likelihood_are_counted(recipe_file, tmp_path):
    sets = ["generate.best_of=3", "generate.best_by=ql"]
    found = estimated(load_recipe(recipe_file, sets), tmp_path, 0)
    line = of(found, "queries")
    assert line.amount.high == PROMPTS
    assert line.prompt_tokens.high > 3 * PROMPTS * 10
    assert of(found, "generations").amount.high == 3 * PROMPTS


def test_draws_compared_by_contrast_take_two_judgements_each_and_a_search(recipe_file, tmp_path):
    by_ql, by_contrast = (
        of(
            estimated(
                load_recipe(recipe_file, ["generate.best_of=3", f"generate.best_by={by}"]),
                tmp_path / by,
                0,
            ),
            "queries",
        )
        for by in ("ql", "contrast")
    )
    assert by_contrast.prompt_tokens.high == pytest.approx(2 * by_ql.prompt_tokens.high)
    assert "embeds" in by_contrast.note
    assert "by contrast" in by_contrast.note


def test_filters_that_retrieve_embed_the_corpus(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["generate.filters={round_trip: 3}"])
    found = estimated(recipe, tmp_path, 2)
    assert "passages" in of(found, "queries").note
    assert "passages" not in of(found, "candidates").note
    assert of(found, "queries").seconds.low > 0


def test_brainstormed_and_labelled_examples_are_bounded(recipe_file, tmp_path):
    sets = [
        "generate.methods=[brainstorm, labelled]",
        "generate.brainstorm={examples: 50, calls: 3, languages: [English, German]}",
        "generate.labelled=[{path: a.tsv, task: t, examples: 7}]",
    ]
    recipe = load_recipe(recipe_file, sets)
    with Run(tmp_path) as run:
        found = estimate(run, recipe, none_loaded, sample=0)
    assert of(found, "brainstorm-tasks").amount == Amount(12, 12)
    assert of(found, "brainstorm-generations").amount == Amount(50, 50)
    assert of(found, "brainstorm-generations").new_tokens.high == 50 * 512
    assert of(found, "examples-brainstorm").amount.high == 50
    assert of(found, "examples-labelled").amount.high == 7
    assert "≤ 57 examples" in of(found, "student").note
    assert not [line for line in found.lines if line.stage in ("generations", "candidates")]


def test_recipe_without_prompts_is_told_of_no_llm(recipe_file, tmp_path):
    sets = [
        "generate.methods=[labelled]",
        "generate.labelled=[{path: a.tsv, task: t, examples: 7}]",
        "relabel.rankers=[retriever]",
    ]
    with Run(tmp_path) as run:
        found = estimate(run, load_recipe(recipe_file, sets), none_loaded, sample=2)
    assert not [line for line in found.basis if "LLM's tokens" in line]


@pytest.mark.bad_input("command line", "a negative sample", "refused")
def test_negative_sample_is_refused(recipe_file, tmp_path):
    with pytest.raises(UserError, match="--sample"):
        estimated(load_recipe(recipe_file), tmp_path, -1)


# --- a server, which costs ------------------------------------------------------------------------


def served(recipe_file: Path, url: str) -> Recipe:
    recipe = load_recipe(recipe_file, ["relabel.rankers=[retriever]", "generate.constrain=false"])
    settings = {"engine": "http", "model": MODEL, "base_url": url}
    return recipe.model_copy(update={"llm": recipe.llm.model_copy(update=settings)})


def test_run_does_not_pay_again_for_the_sample(recipe_file, tmp_path):
    with serve() as server:
        recipe = served(recipe_file, server.url)
        estimated(recipe, tmp_path, 6)
        asked = len(server.seen)
        assert asked == 6
        again = estimated(recipe, tmp_path, 6)
        assert len(server.seen) == asked
        assert of(again, "generations").seconds == Amount(0.0, None)
        assert of(again, "generations").new_tokens.low > 0
        with Run(tmp_path) as run:
            passages = Job(run, recipe).make_corpus().passages
            writing = WritingSettings.select(recipe)
            make_generations(run, writing, passages, engine(recipe, tmp_path))
        assert len(server.seen) == PROMPTS


def test_cost_by_the_users_prices(recipe_file, tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(f"currency: EUR\nmodels:\n  {MODEL}: {{input: 2, output: 10}}\n")
    with serve() as server:
        recipe = served(recipe_file, server.url)
        found = estimated(recipe, tmp_path / "run", 6, Prices(file))
    line = of(found, "generations")
    expected = (2 * line.prompt_tokens.low + 10 * line.new_tokens.low) / 1e6
    assert line.new_tokens.low == 3 * PROMPTS
    assert math.isclose(line.cost.low, expected)
    assert found.total.cost == line.cost
    assert found.currency == "EUR"


class Mute:
    """A server that gives no log-probability of anything."""

    name, can_score, can_compare_verdicts = "mute", False, False
    supports_regex = supports_schema = has_chat = False

    def __init__(self):
        self.tokens = {"prompt": 1, "shared": 0, "new": 0}

    def generate(self, prompts, seeds, sampling):
        self.tokens["prompt"] += 100 * len(prompts)
        self.tokens["new"] += 2 * len(prompts)
        return [Completion(" 7\n", True) for _ in prompts]


def test_server_without_likelihoods_is_said_before(recipe_file, tmp_path):
    with Run(tmp_path) as run:
        found = estimate(run, load_recipe(recipe_file), Mute, sample=2)
    assert "no log-probabilities" in of(found, "judgements-ql").note


@pytest.mark.parametrize("ranker", ["rc", "graded", "listwise"])
def test_server_without_likelihoods_can_judge_in_words(recipe_file, tmp_path, ranker):
    """As the run does: in grades, or by sorting lists."""
    mute = Mute()
    recipe = load_recipe(recipe_file, [f"relabel.rankers=[{ranker}, retriever]"])
    with Run(tmp_path) as run:
        found = estimate(run, recipe, lambda: mute, sample=2)
    line = of(found, f"judgements-{ranker}")
    prompts = line.amount.high
    if ranker == "listwise":
        of_a_query = 1 + min(recipe.relabel.top_k, PASSAGES - 1)
        prompts *= len(make_windows(of_a_query, recipe.relabel.listwise_window)) / of_a_query
    assert line.prompt_tokens.high == pytest.approx(100 * prompts)
    assert line.new_tokens.high == pytest.approx(2 * prompts)
    assert line.seconds.high is not None


def test_lists_are_counted_where_nothing_is_measured(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["relabel.rankers=[listwise, retriever]"])
    line = of(estimated(recipe, tmp_path, 0), "judgements-listwise")
    assert line.prompt_tokens.high > line.amount.high > 0


def test_bm25_judges_without_the_llm(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["relabel.rankers=[bm25, retriever]"])
    line = of(estimated(recipe, tmp_path, 0), "judgements-bm25")
    assert line.amount.high > 0
    assert (line.prompt_tokens, line.cost, line.note) == (None, None, "no LLM")


JUDGED = ["corpus.held_out=0.3", "evaluate.tasks=[judged]", "evaluate.judged={queries: 6}"]


@pytest.mark.parametrize("sample", [0, 2])
def test_judged_calls_are_counted(recipe_file, tmp_path, sample):
    recipe = load_recipe(recipe_file, JUDGED)
    mute = Mute()
    with Run(tmp_path) as run:
        found = estimate(run, recipe, lambda: mute, sample)
    line = of(found, "judged")
    held_out = manifest(tmp_path, "passages-held-out")["rows"]
    assert of(found, "generations-held-out").amount == Amount(9, 9)
    assert line.amount.high == 6 * min(of(found, "passages").amount.high + held_out, 70)
    assert line.prompt_tokens.high >= line.amount.high
    assert (line.seconds.high is None) == (sample == 0)
    texts = of(found, "passages").amount.high + held_out + 6
    assert of(found, "evaluation").amount.high == 3 * texts
    order = [line.stage for line in found.lines]
    assert order.index("generations-held-out") < order.index("candidates")  # as a run does them
    assert order[-2:] == ["judged", "evaluation"]


def test_judge_llm_of_its_own_is_counted_and_not_asked(recipe_file, tmp_path):
    judge = "evaluate.judged={queries: 6, llm: {model: someone/else-7B}}"
    recipe = load_recipe(recipe_file, [*JUDGED, judge])
    mute = Mute()
    with Run(tmp_path) as run:
        found = estimate(run, recipe, lambda: mute, sample=2)
    for stage in ("generations-held-out", "judged"):
        assert "counted by words" in of(found, stage).note
        assert of(found, stage).prompt_tokens.high > 0
        assert of(found, stage).seconds.high is None


def test_every_round_is_in_the_estimate(recipe_file, tmp_path):
    once = estimated(load_recipe(recipe_file), tmp_path / "once", 0)
    recipe = load_recipe(recipe_file, ["relabel.rounds=2"])
    twice = estimated(recipe, tmp_path / "twice", 0)
    of_a_round = {"candidates", "judgements-ql", "labels", "examples", "student"}
    added = {line.stage for line in twice.lines} - {line.stage for line in once.lines}
    assert {f"round-1/{stage}" for stage in of_a_round} <= added
    assert twice.total.prompt_tokens.high > once.total.prompt_tokens.high


def test_added_static_encoder_is_trained_once_after_all_rounds(recipe_file, tmp_path):
    recipe = load_recipe(
        recipe_file,
        [
            "relabel.rounds=2",
            "relabel.rankers=[retriever, bm25]",
            "student={route: query, encoder: x, add_static: {epochs: 7}}",
            "teacher.model=x",
            "train={objective: {corpus_softmax: 1.0}, max_steps: 3, batch_size: 2}",
        ],
    )
    stages = [line.stage for line in estimated(recipe, tmp_path, 0).lines]
    assert stages.count("round-static/student") == 1
    assert stages.index("round-static/student") == stages.index("student") - 1
    made = estimated(recipe, tmp_path, 0)
    assert of(made, "student").amount.high == 3
    assert of(made, "round-static/student").amount.high > 3


def test_no_later_round_of_a_query_encoder_embeds_the_corpus(recipe_file, tmp_path):
    recipe = load_recipe(
        recipe_file,
        [
            "relabel.rounds=2",
            "relabel.rankers=[retriever, bm25]",
            "student={route: query, encoder: x}",
            "teacher.model=x",
            "train={objective: {corpus_softmax: 1.0}}",
        ],
    )
    made = estimated(recipe, tmp_path, 0)
    assert "passages and" in of(made, "round-1/candidates").note
    assert "passages" not in of(made, "candidates").note

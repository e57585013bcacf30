"""Every key that generation, relabelling, the teacher and the evaluation read is in the fingerprint
of the stage that reads it, or of one of its inputs, or is declared to change speed alone."""

import json

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.in_memory import InMemoryLLM
from helpers.passages import make_passages
from helpers.query_rows import filter_queries
from helpers.recipe_keys import StageChain
from helpers.tiny_models import make_tiny_cross_encoder
from helpers.training_by_hand import make_example_rows, write_inputs

from distill.api.objects import Models, put_models
from distill.evaluate.stage import evaluate_run
from distill.generate.brainstorm.generations import write_examples
from distill.generate.brainstorm.task_lists import write_tasks
from distill.generate.brainstorm.tasks import select_tasks
from distill.generate.labelled.triples import make_labelled
from distill.generate.passages.generations import make_generations
from distill.generate.passages.parsed import make_parsed
from distill.generate.settings import WritingSettings
from distill.llm import Completion
from distill.recipe import Recipe, load_recipe
from distill.recipe.load import override
from distill.recipe.sections.embedder import PERFORMANCE_KEYS as OF_EMBEDDER
from distill.recipe.sections.llm import PERFORMANCE_KEYS as OF_LLM
from distill.relabel.candidates import make_candidates
from distill.relabel.cascade import make_survivors
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.bm25 import make_bm25_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.student.build import build_base
from distill.tasks.decontaminate import EvaluationSet, list_evaluation_sets
from distill.teacher.scores import make_teacher_scores
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student

PERFORMANCE = {
    *(f"llm.{key}" for key in OF_LLM),
    *(f"{section}.{key}" for section in ("retriever", "teacher") for key in OF_EMBEDDER),
}
TASKS = {
    "evaluate.tasks",
    "evaluate.benchmarks",
    "evaluate.task_data",
    "generate.filters.decontaminate",
    "generate.filters.decontaminate_words",
}
"""Keys that decide nothing where the recipe evaluates on no task."""
RESOLVED = {
    f"{section}.{key}"
    for section in ("retriever", "teacher")
    for key in ("known_as", "bidirectional", "append_eos")
}
"""Fingerprints hold what these keys change in a model: nothing in an encoder without prompts."""
OF_INDEX = {f"retriever.{key}" for key in ("index_device", "index_gpus", "index_rows", "effort")}
"""Where search is exact, they change nothing."""
OF_KEPT_SEARCHES = {"relabel.top_k", "retriever.sources", "retriever.merge"}
"""They tell how many hits of a search are kept for the candidates: the queries are the same."""
OF_EVALUATION = {
    "evaluate.accept_versions",
    "generate.filters.decontaminate",
    "generate.filters.decontaminate_words",
}
"""The first refuses or accepts published results; the others are of a count beside the scores,
which is made where unlabelled passages are learnt from."""
USES_BM25 = {"corpus.path", "generate.methods", "retriever.sources", "relabel.rankers"}
"""They tell whether BM25 makes the examples: its settings are then in the student's fingerprint."""


def list_sets(recipe: Recipe) -> list[EvaluationSet]:
    """List what a recipe evaluates on, none of which is of its own corpus."""
    filters = recipe.generate.filters
    return list_evaluation_sets(recipe.evaluate, filters, None, recipe.seed, None)


@pytest.mark.slow
def test_fingerprints_of_generation_hold_every_key_that_it_reads(run, recipe_file, open_llm):
    settings = {
        "generate.samples": 2,
        "generate.best_of": 2,
        "generate.best_by": "ql",
        "generate.lengths": ["short", "long"],
        "generate.min_passage_words": 3,
        "generate.filters": {"round_trip": 3, "near_duplicates": 0.9, "max_copied": 0.9},
        "retriever.sources": ["dense", "bm25"],
        "evaluate.tasks": [],
    }
    chain, select = StageChain(override(load_recipe(recipe_file), settings)), WritingSettings.select
    passages = make_passages(run, chain.recipe.corpus, chain.recipe.seed)
    generations, missing = chain.make(
        "generations",
        lambda of: make_generations(run, WritingSettings.select(of), passages, open_llm(of)),
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
    parsed, missing = chain.make("parsed", lambda of: make_parsed(run, select(of), generations))
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
    _, missing = chain.make(
        "queries", lambda of: filter_queries(run, of, passages, [parsed], open_llm(of))
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX | TASKS | OF_KEPT_SEARCHES


class JSONWriter(InMemoryLLM):
    """Writes as the packaged schema of the method custom asks for."""

    def generate(self, prompts, seeds, sampling):
        same = {"reader": "a beekeeper", "task": "Find the passage."}
        replies = (same | {"query": f"where bees dance {seed}"} for seed in seeds)
        return [Completion(json.dumps(reply), True) for reply in replies]


def test_fingerprints_of_a_custom_method_hold_every_key_that_it_reads(run):
    example = "prompts/custom-example"
    files = {"prompt": f"{example}.jinja", "json_schema": f"{example}.schema.json"}
    settings = {
        "generate.methods": ["custom"],
        "generate.custom": files | {"task": "task"},
        "generate.languages": ["en", "de"],
        "generate.passages": 4,
    }
    recipe, llm = override(Recipe(name="tiny"), settings), JSONWriter()
    chain, select = StageChain(put_models(recipe, Models(llm=llm))), WritingSettings.select
    passages = make_numbered_passages(run)
    generations, missing = chain.make(
        "generations", lambda of: make_generations(run, select(of), passages, lambda: llm)
    )
    assert missing <= PERFORMANCE | {"llm.engine"}  # an LLM that is an object has none
    parsed, missing = chain.make("parsed", lambda of: make_parsed(run, select(of), generations))
    assert parsed.manifest["counts"] == {"kept": 4}
    assert missing <= PERFORMANCE


@pytest.mark.slow
def test_fingerprints_of_brainstorming_hold_every_key_that_it_reads(run, recipe_file, open_llm):
    settings = {
        "generate.methods": ["brainstorm"],
        "generate.brainstorm": {
            "groups": ["short-long", "sts"],
            "calls": 1,
            "tasks_per_call": 2,
            "examples": 3,
            "shares": {"sts": 2.0},
            "max_new_tokens": 8,
        },
        "evaluate.tasks": [],
    }
    chain, select = StageChain(override(load_recipe(recipe_file), settings)), WritingSettings.select
    lists, missing = chain.make(
        "brainstorm-tasks", lambda of: write_tasks(run, select(of), open_llm(of))
    )
    # Whether titles are shown is settled for all that writes; brainstorming shows no passage.
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX | {"generate.titles"}
    tasks, missing = chain.make(
        "tasks",
        lambda of: select_tasks(run, of.generate.brainstorm, of.retriever, lists, open_llm(of)),
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
    _, missing = chain.make(
        "brainstorm-generations",
        lambda of: write_examples(run, select(of), tasks, open_llm(of)),
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX | {"generate.titles"}


def test_fingerprint_of_labelled_examples_holds_every_key_that_they_read(run, tmp_path):
    rows = [f"bees {i} dance\tbees" for i in range(4)] + [
        f"wires {i} glow\twires" for i in range(4)
    ]
    (tmp_path / "labelled.tsv").write_text("\n".join(["text\tlabel", *rows]))
    labelled = {"path": str(tmp_path / "labelled.tsv"), "task": "Find the kind."}
    recipe = Recipe.model_validate(
        {"name": "tiny", "generate": {"methods": ["labelled"], "labelled": [labelled]}}
    )
    _, missing = StageChain(recipe).make(
        "examples-labelled",
        lambda of: make_labelled(run, of.generate, of.seed, of.folder, list_sets(of)),
    )
    # A set is known by its content, and without evaluation tasks nothing is decontaminated.
    assert missing <= TASKS | {"generate.labelled.path"}


@pytest.mark.slow
def test_fingerprints_of_relabelling_hold_every_key_that_it_reads(
    run, recipe_file, open_llm, tmp_path, monkeypatch
):
    # The cross-encoder's weights are random, by which it would be refused.
    monkeypatch.setattr("distill.relabel.judgements.check_reranker", lambda *_: None)
    settings = {
        "relabel.rankers": ["ql", "rc", "graded", "bm25", "cross_encoder", "retriever"],
        "relabel.cross_encoder": str(make_tiny_cross_encoder(tmp_path / "cross-encoder")),
        "relabel.cascade": {"by": ["bm25", "retriever"], "keep": 3},
        "relabel.weights": {"ql": 2.0},
        "relabel.ql_per_token": True,
        "relabel.seed_margin": "auto",
        "relabel.positive": "margin",
        "relabel.negatives": "sampled",
        "relabel.more_positives": 5.0,
        "relabel.confirmed_exempt": True,
        "relabel.max_negative_share": 0.99,
        "retriever.sources": ["dense", "bm25"],
        "retriever.query_template": "{task} {query}",
    }
    chain = StageChain(override(load_recipe(recipe_file), settings))
    recipe, llm, judged = chain.recipe, open_llm(chain.recipe), run.folder / "judged.sqlite"
    passages = make_passages(run, recipe.corpus, recipe.seed)
    writing = WritingSettings.select(recipe)
    parsed = make_parsed(run, writing, make_generations(run, writing, passages, llm))
    queries = filter_queries(run, recipe, passages, [parsed], llm)
    candidates, missing = chain.make(
        "candidates", lambda of: make_candidates(run, of.retriever, of.relabel, passages, queries)
    )
    # Of the rankers, only whether a stemmer is needed.
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX | {"relabel.rankers"}
    bm25, missing = chain.make(
        "judgements-bm25",
        lambda of: make_bm25_judgements(
            run, of.retriever.bm25, of.relabel.shard_size, passages, queries, candidates
        ),
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
    survivors, missing = chain.make(
        "candidates-survivors",
        lambda of: make_survivors(run, of.relabel, queries, candidates, {"bm25": bm25}),
    )
    # The cascade's rankers alone judge here, and a block is how many queries are read together.
    read_together = {"relabel.rankers", "relabel.block"}
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX | read_together
    judgements = {"bm25": (bm25, candidates)}
    for name in ("ql", "rc", "graded", "cross_encoder"):
        stage, missing = chain.make(
            f"judgements-{name}",
            lambda of, name=name: make_judgements(
                run,
                RankerSettings.select(of),
                name,
                passages,
                queries,
                survivors,
                open_llm(of),
                judged,
            ),
        )
        assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
        judgements[name] = (stage, survivors)
    labels, missing = chain.make(
        "labels", lambda of: make_labels(run, of.relabel, queries, candidates, judgements)
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX
    _, missing = chain.make(
        "examples",
        lambda of: make_examples(run, of.relabel, of.seed, passages, queries, labels, candidates),
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_INDEX


@pytest.mark.slow
def test_fingerprints_of_teacher_scores_and_evaluation_hold_every_key_that_they_read(
    run, recipe_file
):
    settings = {
        "corpus.limit": 12,
        "teacher.combine": "concatenate",
        "evaluate.widths": [16],
        "evaluate.precisions": ["int8"],
        "student.query_template": "{task} {query}",
        "train.objective": {"infonce": 1.0},
    }
    chain = StageChain(override(load_recipe(recipe_file), settings))
    passages, examples = write_inputs(run, make_example_rows())
    _, missing = chain.make(
        "teacher-scores", lambda of: make_teacher_scores(run, of.teacher, [examples])
    )
    assert missing <= PERFORMANCE | RESOLVED
    base = build_base(run, chain.recipe.student, chain.recipe.seed)
    student, _ = chain.make(
        "student",
        lambda of: train_student(run, TrainingSettings.select(of), passages, [examples], base),
    )
    _, missing = chain.make(
        "evaluation", lambda of: evaluate_run(run, of, base, student, None, passages)
    )
    assert missing <= PERFORMANCE | RESOLVED | OF_EVALUATION | USES_BM25

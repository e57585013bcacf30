"""Every key that a corpus, queries without an LLM, the tasks of a run's own and what is checked by
them read is in the fingerprint of the stage that reads it, or of one of its inputs, or is declared
to change nothing."""

import json
from pathlib import Path

import pytest
from helpers.overlap_llm import OverlapLLM
from helpers.recipe_keys import StageChain
from helpers.task_folders import write_beir
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder
from pipeline.test_weigh_rankers import write_documents
from recipe.test_fingerprint_completeness_of_data import (
    OF_INDEX,
    PERFORMANCE,
    RESOLVED,
    filter_queries,
)
from recipe.test_fingerprints_stay import EVALUATED

from distill.api.objects import Models, put_models
from distill.corpus.docstrings.held_out import make_held_out
from distill.corpus.passages import make_split_passages
from distill.evaluate.judged.pool import PoolInputs, PoolSettings, make_judged_pool
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.rerank import evaluate_judge
from distill.generate.brainstorm.examples import select_examples
from distill.generate.brainstorm.schemas import EXAMPLE_SCHEMAS
from distill.generate.free.stage import make_free_queries
from distill.generate.held_out import make_held_out_queries
from distill.generate.known_item.stage import make_known_item_task
from distill.generate.log.stage import LogSettings, make_held_out_log_queries, make_log_queries
from distill.generate.settings import WritingSettings
from distill.pipeline.weigh_rankers import check_rankers
from distill.recipe import Recipe, load_recipe, override
from distill.relabel.candidates import make_candidates
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.store.stage import ShardResult
from distill.store.tables import BRAINSTORM, Row
from distill.student.build import build_base

COLUMNS = {"corpus.id_column", "corpus.title_column", "corpus.text_column"}
SPLIT = {"evaluate.tasks", "corpus.dataset", "corpus.unreadable"}
"""The first tells whether held-out docstrings are made as passages, too; a dataset is not read
where there is a path, and in files that can all be read none is skipped."""
SETTLED = {
    f"generate.{key}"
    for key in (
        *("methods", "prompt", "examples", "shots", "example_sets", "task_types"),
        *("passages", "samples", "best_of", "personas", "tasks"),
    )
}
"""Held-out queries are written with other values of these keys, those of `evaluate.judged`."""
CHECKED_PLAINLY = {"relabel.cascade.by", "relabel.seed_margin", "relabel.weights"}
"""The check of rankers has each judge every candidate, and takes its scores as they are."""
EQUAL = PERFORMANCE | RESOLVED | OF_INDEX


def chain_of(settings: dict[str, object], recipe: Recipe | None = None) -> StageChain:
    return StageChain(override(recipe or Recipe(name="tiny"), settings))


def write_texts(folder: Path) -> Path:
    for number, text in enumerate(TEXTS):
        file = folder / "texts" / f"{number}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# Title {number}\n\n{text} {text}\n")
    return folder / "texts"


@pytest.mark.parametrize("form", ["jsonl", "auto", "texts", "beir"])
def test_fingerprint_of_passages_holds_every_key_that_they_read(
    run, tmp_path, form, encoder_folder
):
    settings = {
        "corpus.held_out": 0.3,
        "corpus.hold_out_by": "section",
        "corpus.limit": 60,
        "corpus.tokenizer": str(encoder_folder),
        "corpus.source": "auto" if form == "texts" else form,
    }
    place = {
        "jsonl": lambda: write_documents(tmp_path / "docs.jsonl", 80),
        "auto": lambda: write_documents(tmp_path / "docs.jsonl", 80),
        "texts": lambda: write_texts(tmp_path),
        "beir": lambda: write_beir(tmp_path / "task"),
    }[form]()
    chain = chain_of({**settings, "corpus.path": str(place)})
    _, missing = chain.make(
        "passages", lambda of: make_split_passages(run, of.corpus, of.seed, of.evaluate.tasks)
    )
    # Texts and BEIR folders have no columns.
    unread = COLUMNS if form in ("texts", "beir") else set()
    assert missing <= unread | SPLIT


def test_fingerprints_of_held_out_docstrings_hold_every_key_that_they_read(run):
    settings = {
        "corpus.source": "docstrings",
        "corpus.packages": ["click"],
        "corpus.held_out": 0.5,
        "evaluate.tasks": ["judged", "held-out"],
    }
    chain = chain_of(settings)
    _, missing = chain.make(
        "passages-held-out",
        lambda of: make_split_passages(run, of.corpus, of.seed, of.evaluate.tasks),
    )
    assert missing <= SPLIT
    chain = chain_of(settings)
    _, missing = chain.make("held-out", lambda of: make_held_out(run, of.corpus, of.seed))
    assert missing == set()


def test_fingerprint_of_known_items_holds_every_key_that_they_read(run, tmp_path):
    corpus = write_documents(tmp_path / "docs.jsonl", 80)
    settings = {"corpus.path": str(corpus), "corpus.held_out": 0.5, "corpus.max_tokens": 40}
    chain = chain_of(settings)
    split, _ = chain.make(
        "passages", lambda of: make_split_passages(run, of.corpus, of.seed, of.evaluate.tasks)
    )
    _, missing = chain.make(
        "known-item",
        lambda of: make_known_item_task(
            run, of.evaluate.known_item, of.corpus, of.seed, split.passages, split.held_out
        ),
    )
    assert missing == set()


def test_fingerprint_of_free_queries_holds_every_key_that_they_read(run, tmp_path):
    corpus = write_documents(tmp_path / "docs.jsonl", 40)
    methods = ["sentences", "titles", "keywords"]
    settings = {"generate.methods": methods, "generate.free.shares": {"titles": 0.5}}
    chain = chain_of({**settings, "corpus.path": str(corpus)})
    passages = make_split_passages(run, chain.recipe.corpus, chain.recipe.seed, []).passages
    _, missing = chain.make(
        "parsed-free", lambda of: make_free_queries(run, of.generate, of.seed, passages)
    )
    assert missing == set()


def test_fingerprints_of_a_log_hold_every_key_that_they_read(run, tmp_path):
    rows = [{"query": f"where does river {n} end", "n": n} for n in range(40)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *rows]))
    settings = {
        "corpus.held_out": 0.2,
        "generate.methods": ["log"],
        "generate.log.path": str(log),
        "generate.log.queries": 10,
        "generate.log.personal_data": "mask",
        "generate.log.min_count": 2,
        "evaluate.tasks": ["judged"],
        "evaluate.judged.source": "log",
        "evaluate.judged.queries": 4,
        "relabel.rankers": ["rc"],
    }
    for name, make in {
        "parsed-log": lambda of: make_log_queries(run, LogSettings.select(of), None),
        "parsed-log-held-out": lambda of: make_held_out_log_queries(run, LogSettings.select(of)),
    }.items():
        _, missing = chain_of(settings).make(name, make)
        assert missing == set()


@pytest.mark.slow
def test_fingerprints_of_judged_queries_and_their_pool_hold_every_key_that_they_read(
    run, tmp_path, encoder_folder
):
    pytest.importorskip("mteb")
    corpus = write_documents(tmp_path / "docs.jsonl", 40)
    settings = {
        "corpus.path": str(corpus),
        "corpus.held_out": 0.5,
        "student.encoder": str(encoder_folder),
        "evaluate.tasks": ["judged"],
        "evaluate.judged.queries": 8,
        "evaluate.judged.depth": 3,
        "evaluate.judged.passages": 30,
    }
    llm = OverlapLLM()
    chain = StageChain(put_models(chain_of(settings).recipe, Models(llm=llm)))
    split, _ = chain.make(
        "passages", lambda of: make_split_passages(run, of.corpus, of.seed, of.evaluate.tasks)
    )
    queries, missing = chain.make(
        "queries-held-out",
        lambda of: make_held_out_queries(
            run,
            of.evaluate.judged,
            WritingSettings.select(of),
            None,
            split.held_out,
            None,
            lambda: llm,
        ),
        within=["generations-held-out", "parsed-held-out"],
    )
    assert missing <= EQUAL | SETTLED | {"llm.engine"}  # an LLM that is an object has none
    base = build_base(run, chain.recipe.student, chain.recipe.seed)
    models = load_run_models(RunModelSettings.select(chain.recipe), {"base": base.folder}, run)
    _, missing = chain.make(
        "judged",
        lambda of: make_judged_pool(
            run,
            PoolSettings.select(of),
            PoolInputs(split.passages, split.held_out, queries),
            lambda: models,
            lambda: llm,
            run.folder / "evaluated",
        ),
    )
    assert missing <= EQUAL


def test_fingerprint_of_listwise_judgements_holds_every_key_that_they_read(
    run, recipe_file, open_llm
):
    settings = {"relabel.rankers": ["listwise", "retriever"], "generate.methods": ["sentences"]}
    chain = chain_of(settings, load_recipe(recipe_file))
    recipe = chain.recipe
    passages = make_split_passages(run, recipe.corpus, recipe.seed, []).passages
    free = make_free_queries(run, recipe.generate, recipe.seed, passages)
    queries = filter_queries(run, recipe, passages, [free], open_llm(recipe))
    candidates, _ = chain.make(
        "candidates", lambda of: make_candidates(run, of.retriever, of.relabel, passages, queries)
    )
    judged = run.folder / "judged.sqlite"
    _, missing = chain.make(
        "judgements-listwise",
        lambda of: make_list_judgements(
            run, RankerSettings.select(of), passages, queries, candidates, open_llm(of), judged
        ),
    )
    assert missing <= EQUAL | {"relabel.block"}  # how many queries are read together


@pytest.mark.slow
def test_fingerprint_of_the_check_of_rankers_holds_every_key_that_it_reads(
    run, tmp_path, recipe_file, open_llm
):
    corpus = write_documents(tmp_path / "docs.jsonl", 80)
    settings = {
        "corpus.path": str(corpus),
        "relabel.rankers": ["retriever", "bm25", "ql", "rc"],
        "relabel.weights": "auto",
        "relabel.check.queries": 30,
        "relabel.check.top_k": 3,
    }
    chain = chain_of(settings, load_recipe(recipe_file))
    passages, _ = chain.make(
        "passages", lambda of: make_split_passages(run, of.corpus, of.seed, []).passages
    )
    judged = run.folder / "judged.sqlite"
    _, missing = chain.make(
        "ranker-check",
        lambda of: check_rankers(run, of, passages, open_llm(of), judged),
        within=[
            *("passages", "queries", "candidates"),
            *("judgements-bm25", "judgements-ql", "judgements-rc", "labels"),
        ],
    )
    # One source is searched, and nothing is fused.
    assert missing <= EQUAL | CHECKED_PLAINLY | {"retriever.fusion_k", "retriever.merge"}


@pytest.mark.slow
def test_fingerprint_of_the_judges_evaluation_holds_every_key_that_it_reads(
    run, tmp_path, recipe_file
):
    pytest.importorskip("mteb")
    chain = chain_of({"judge.depth": 3}, load_recipe(recipe_file))
    judge = run.open_stage("judge", {})
    make_tiny_cross_encoder(judge.folder)
    judge.finish()
    _, missing = chain.make("judge-evaluation", lambda of: evaluate_judge(run, of, judge))
    # They tell which passages a labelled file may name; a task is known by its content.
    assert missing <= EQUAL | {"corpus.path", "generate.methods", "seed"}


def test_fingerprint_of_brainstormed_examples_holds_every_key_that_they_read(run):
    settings = {"generate.brainstorm.groups": ["sts"]}
    chain = chain_of({**settings, "generate.methods": ["brainstorm"]})
    written = run.open_stage("brainstorm-generations", {})
    rows = [write_reply(number, text) for number, text in enumerate(TEXTS)]
    written.map_shards(BRAINSTORM, [rows], ShardResult)
    written.finish()
    _, missing = chain.make(
        "examples-brainstorm",
        lambda of: select_examples(run, of.generate, of.folder, written, EVALUATED),
    )
    # The groups' prompts, which no example may copy, are those by which it was written.
    assert missing == {"generate.brainstorm.groups", "generate.brainstorm.prompts"}


def write_reply(number: int, text: str) -> Row:
    """An example as an LLM writes it for a symmetric group."""
    form = EXAMPLE_SCHEMAS["sts"]
    values = {form.query: f"{text} {number}", form.positive: text, form.negative: f"No {text}"}
    return {
        "item_id": f"brainstorm~{number}",
        "task_type": "sts",
        "task": form.task,
        "placeholders": "{}",
        "output": json.dumps({key: value for key, value in values.items() if key}),
        "finished": True,
        "fault": None,
        "llm": "scripted",
    }

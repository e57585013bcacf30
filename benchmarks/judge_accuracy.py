"""How good must a judge be? What judgements of query-passage pairs add to a query encoder that was
adapted for free, as a function of how often the judge errs.

This learns from labels. It is an upper bound and no way to train: a simulated judge answers by the
true judgments of half of the labelled queries, and says the opposite with a stated probability; no
LLM errs so evenly. Nothing of it is in the product, and no other figure uses it.

Half of the labelled queries are a log, texts alone (SciFact: its split `train`). Each query's 20
candidates, by similarity and BM25, are judged yes or no, and the adapted query encoder of
`benchmarks/worth.py CORPUS` trains on them from where it is, all by distill's own stages: documents
keep their vectors, softmax over the corpus. Measured is nDCG@10 of the other half of the queries,
then the halves change places (SciFact: its split `test`, once). Targets:

- free: similarity and BM25 of the candidates, no judge;
- mixed: the judge's log-odds, three times standardised, with that same target;
- judge: its log-odds alone, the logarithm of how often it is right against how often it errs.

A query for which the judge says yes to nothing is not learnt from (relabel.min_relevance 0). Prints
one JSON line a corpus, and one of all together. A run that was stopped continues.

    DISTILL_DATA=... python benchmarks/worth.py cacm --alone  # and the others
    python benchmarks/judge_accuracy.py --corpora cacm,vaswani,SciFact
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal, NamedTuple

import click
from worth import FOLDERS, FREE_TARGET, share_vectors

import distill
from distill.corpus.readers.beir import BeirDataset, read_beir
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.statistics.label_draw import draw_uniform
from distill.evaluate.statistics.significance import compare_scores
from distill.files.atomic import read_json, write_json
from distill.llm import Completion, Score, ScoreRequest
from distill.llm.protocol import Sampling
from distill.recipe import Recipe
from distill.store.tables import LABELS, PASSAGES, QUERIES, join_passage, read_rows
from distill.tasks import load_task
from distill.text.sanitize import sanitize_for_prompt

WORDS = 300
PROMPT = "{{ passage }}\n=== continuation ===\n {{ query }}\n{{ verdict }}\n"
"""The simulated judge reads passage and query, and no instruction."""
MIXED = {"rc": 3.0} | FREE_TARGET

Target = Literal["free", "mixed", "judge"]


class Arm(NamedTuple):
    """What is trained on, and how often the judge errs; a free target has none."""

    target: Target
    error: float | None = None

    @property
    def name(self) -> str:
        return self.target if self.error is None else f"{self.target}-{self.error:g}"


@dataclass
class SimulatedJudge:
    """An object in the place of an LLM that says yes or no by true judgments, and the opposite with
    the probability `error`: always the same for the same pair, and wherever a judge errs, one that
    errs more often does so too.

    Args:
        queries: id by text, as a prompt has it.
        passages: likewise.
        relevant: pairs of query and passage.
    """

    error: float
    queries: Mapping[str, str]
    passages: Mapping[str, str]
    relevant: frozenset[tuple[str, str]]
    name = "simulated"
    can_score = can_compare_verdicts = True
    supports_regex = supports_schema = has_chat = False

    def __post_init__(self) -> None:
        self.tokens: dict[str, int] = {}
        self.identity: Mapping[str, str | int] = {
            "name": "simulated judge",
            "error": f"{self.error:g}",
        }

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        return [
            [self._judge(request.prefix, of) for of in request.continuations]
            for request in requests
        ]

    def _judge(self, passage: str, query: str) -> Score:
        pair = self.queries[query.strip()], self.passages[passage]
        errs = draw_uniform(0, *pair) < self.error
        wrong = max(self.error, 0.001)
        says_yes = (pair in self.relevant) != errs
        yes, no = (1 - wrong, wrong) if says_yes else (wrong, 1 - wrong)
        return Score(math.nan, 1, (math.log(yes), math.log(no)))

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        raise NotImplementedError("the simulated judge writes nothing")

    def close(self) -> None:
        """Nothing is held."""


class Half(NamedTuple):
    """Queries to learn from, with their true judgments, and ids of those that are measured."""

    name: str
    learnt: BeirDataset
    measured: frozenset[str]


@click.command()
@click.option("--corpora", default="cacm,vaswani,SciFact", show_default=True)
@click.option("--errors", default="0,0.05,0.1,0.2,0.3", show_default=True)
@click.option("--steps", default=25, show_default=True, help="Of training, about.")
@click.option("--seed", default=13, show_default=True, help="Of the adapted run.")
@click.option("--adapted", default="alone", show_default=True, help="Its variation in worth.py.")
@click.option("--root", default=Path("artifacts/worth"), type=click.Path(path_type=Path))
def main(corpora: str, errors: str, steps: int, seed: int, adapted: str, root: Path) -> None:
    if "DISTILL_DATA" not in os.environ:
        raise click.UsageError("set DISTILL_DATA to the folder of the collections")
    rates = [float(rate) for rate in errors.split(",")]
    arms = [Arm("free"), *(Arm(target, rate) for rate in rates for target in ("mixed", "judge"))]
    by_corpus = {}
    for corpus in corpora.split(","):
        run = root.resolve() / f"{corpus}-{adapted}-{seed}"
        by_corpus[corpus] = scores, judged = measure(corpus, run, arms, steps)
        print(json.dumps({"corpus": corpus, **sum_up([scores], arms), **judged}), flush=True)
    if len(by_corpus) > 1:
        pooled = sum_up([scores for scores, _ in by_corpus.values()], arms)
        print(json.dumps({"corpus": "all", "corpora": [*by_corpus], **pooled}))


def measure(
    corpus: str, adapted: Path, arms: Sequence[Arm], steps: int
) -> tuple[dict[str, TaskScore], dict[str, Any]]:
    """Train and score every arm on every half.

    Returns:
        The scores by arm, `teacher` and `adapted` among them, each query's by a model that has not
        learnt from it; and what is known of the judgements.
    """
    parent, task_name = FOLDERS[corpus]
    data = Path(os.environ["DISTILL_DATA"]) / parent
    task = load_task(task_name, data)
    seed = adapted.name.rpartition("-")[2]
    results = adapted.parent / f"{corpus}-judged-{seed}"
    share_vectors(adapted.parent / f"{corpus}-vectors", results)

    def score(role: str, recipe: Recipe, student: Path) -> TaskScore:
        model = load_run_models(RunModelSettings.select(recipe), {"student": student})[role]
        return score_tasks(model, [task], results / "evaluated")[0]

    recipe = distill.load_recipe(adapted / "recipe.yaml")
    whole = {
        "teacher": score("teacher", recipe, adapted / "student"),
        "adapted": score("student", recipe, adapted / "student"),
    }
    by_item: dict[str, dict[str, float]] = {name: {} for name in (*whole, *(a.name for a in arms))}
    judged: dict[str, list[dict[str, float]]] = {}
    for half in split_queries(data / task_name):
        run = results.with_name(f"{results.name}-{half.name}")
        share_vectors(adapted.parent / f"{corpus}-vectors", run)
        for arm in arms:
            file = results / f"{half.name}-{arm.name}.json"
            if not file.exists():
                trained = train_arm(adapted, run, half, arm, steps)
                figures = describe_judgements(run, half) if arm.error is not None else {}
                scored = score("student", trained, run / "student")
                write_json(file, {"by_item": scored.by_item, **figures})
            kept = read_json(file)
            by_item[arm.name] |= select_items(kept.pop("by_item"), half.measured)
            judged.setdefault(arm.name, []).append(kept)
        for role, scored in whole.items():
            by_item[role] |= select_items(scored.by_item, half.measured)
    scores = {
        arm: replace(whole["teacher"], score=mean(of.values()), by_item=of)
        for arm, of in by_item.items()
    }
    return scores, {"judgements": average_judgements(judged, arms)}


def split_queries(folder: Path) -> Iterator[Half]:
    """Yield what is learnt from and measured: a split of its own, or each half of the queries."""
    test = read_beir(folder, "test")
    if (folder / "qrels/train.tsv").is_file():
        yield Half("train", read_beir(folder, "train"), frozenset(test.queries))
        return
    drawn = sorted(test.queries, key=lambda query: draw_uniform(0, "half", query))
    for number in (0, 1):
        ids = frozenset(drawn[number::2])
        queries = {id_: text for id_, text in test.queries.items() if id_ in ids}
        learnt = test._replace(queries=queries)
        yield Half(f"half-{number + 1}", learnt, frozenset(drawn) - ids)


def train_arm(adapted: Path, run: Path, half: Half, arm: Arm, steps: int) -> Recipe:
    """Let distill read the half as a log, have candidates judged, and train on."""
    queries = {id_: " ".join(text.split()) for id_, text in half.learnt.queries.items()}
    log, prompt = run / "log.txt", run / "judge.jinja"
    log.write_text("".join(f"{text}\n" for text in queries.values()))
    prompt.write_text(PROMPT)
    batch = 16 if len(queries) < 200 else 32
    settings = {
        "student.encoder": str(adapted / "student/query_0_Transformer"),
        "generate.methods": ["log"],
        "generate.log.path": str(log),
        "generate.filters": {"max_words": 1000},
        "retriever.merge": "fusion",
        "relabel.top_k": 20,
        "relabel.rankers": ["retriever", "bm25"],
        "relabel.positive": "first",
        "train.batch_size": batch,
        "train.epochs": steps * batch / len(queries),
        "train.embedding_learning_rate": None,
        "train.corpus_softmax.scores": FREE_TARGET,
        "train.corpus_softmax.temperature": 1.0,
        "evaluate.tasks": [],
    }
    if arm.error is None:
        recipe = distill.load_recipe(adapted / "recipe.yaml", settings)
        distill.train_student(recipe, run, "stale")
        return recipe
    settings |= {
        "relabel.rankers": ["rc", "retriever", "bm25"],
        "relabel.prompt_rc": str(prompt),
        "relabel.max_passage_words": WORDS,
        "relabel.min_relevance": 0.0,
        "train.corpus_softmax.scores": MIXED if arm.target == "mixed" else "rc",
    }
    recipe = distill.load_recipe(adapted / "recipe.yaml", settings)
    distill.read_corpus(recipe, run, "stale")
    judge = SimulatedJudge(
        arm.error,
        {sanitize_for_prompt(text): id_ for id_, text in queries.items()},
        {
            sanitize_for_prompt(join_passage(row), WORDS): row["passage_id"]
            for row in read_rows(PASSAGES, run / "passages")
        },
        find_relevant(half.learnt),
    )
    distill.train_student(recipe, run, "stale", llm=judge)
    return recipe


def find_relevant(learnt: BeirDataset) -> frozenset[tuple[str, str]]:
    """Find the pairs of query and passage that people judged relevant."""
    return frozenset(
        (query, passage)
        for query in learnt.queries
        for passage, grade in learnt.qrels[query].items()
        if grade > 0
    )


def describe_judgements(run: Path, half: Half) -> dict[str, float]:
    """Count the pairs judged, those the judge said yes to, and those it was right to."""
    ids = {sanitize_for_prompt(text): id_ for id_, text in half.learnt.queries.items()}
    texts = {row["query_id"]: row["query"] for row in read_rows(QUERIES, run / "queries")}
    relevant = find_relevant(half.learnt)
    pairs = [
        ((ids[texts[row["query_id"]]], row["passage_id"]) in relevant, row["rc"] > 0)
        for row in read_rows(LABELS, run / "labels")
    ]
    return {
        "pairs": len(pairs),
        "relevant": sum(true for true, _ in pairs),
        "yes": sum(yes for _, yes in pairs),
        "right_yes": sum(true and yes for true, yes in pairs),
    }


def average_judgements(
    judged: Mapping[str, Sequence[Mapping[str, float]]], arms: Sequence[Arm]
) -> dict[str, Any]:
    """By error: the pairs, those relevant, and the share of the judge's yes that is right."""
    by_error = {}
    for arm in arms:
        if arm.error is not None:
            total = {
                key: sum(of[key] for of in judged[arm.name])
                for key in ("pairs", "relevant", "yes", "right_yes")
            }
            share = round(total["right_yes"] / max(total["yes"], 1), 3)
            by_error[f"{arm.error:g}"] = {**total, "right_of_yes": share}
    return by_error


def select_items(by_item: Mapping[str, float], queries: frozenset[str]) -> dict[str, float]:
    """Select the scores of these queries; items are named split/subset/query."""
    return {item: of for item, of in by_item.items() if item.split("/", 2)[2] in queries}


def sum_up(by_corpus: Sequence[Mapping[str, TaskScore]], arms: Sequence[Arm]) -> dict[str, Any]:
    """The mean score of each arm, and the paired differences of each judge from the free target and
    from the adapted encoder, by target and error."""

    def subtract(ours: str, theirs: str) -> dict[str, Any]:
        pair = ([of[ours] for of in by_corpus], [of[theirs] for of in by_corpus])
        found = compare_scores(*pair)["overall"]
        return {key: found[key] for key in ("difference", "low", "high", "p", "items")}

    means = {name: round(mean(of[name].score for of in by_corpus), 4) for name in by_corpus[0]}
    judges = [arm for arm in arms if arm.error is not None]
    above = {arm.name: subtract(arm.name, "free") for arm in judges}
    best = max(judges, key=lambda arm: means[arm.name]).name
    return {
        "name": "a simulated judge on top of the free adaptation",
        "learns_from_labels": True,
        "unit": "nDCG@10",
        "ours": means[best],
        "ours_is": best,
        "peer": means["free"],
        "peer_is": "the same queries with the free target",
        "ratio": round(means[best] / means["free"], 4),
        "scores": means,
        "adapted_minus_teacher": subtract("adapted", "teacher"),
        "free_minus_adapted": subtract("free", "adapted"),
        "judge_minus_free": above,
        "judge_minus_adapted": {arm.name: subtract(arm.name, "adapted") for arm in judges},
        "above_free": [name for name, of in above.items() if of["low"] > 0],
        "below_free": [name for name, of in above.items() if of["high"] < 0],
    }


if __name__ == "__main__":
    main()

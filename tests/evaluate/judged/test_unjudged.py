"""Systems that rank passages outside the judged pool: what nobody knows decides nothing."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.judged_runs import QUERIES, RANKINGS, is_answer, write_judged_run

import distill
from distill.cli import cli
from distill.cli.verdict import exit_on_verdict
from distill.evaluate.judged.results import check_judge
from distill.evaluate.judged.sheet import open_sheet
from distill.evaluate.judged.unjudged import compute_dcg_reach, compute_ndcg_reach
from distill.export.export import refuse_worse_student
from distill.report.markdown.report import write_report

NEW = RANKINGS | {"student": {query: [f"new-{query}"] for query in QUERIES}}
"""The student of this run was trained after the pool was made."""


def judge(run: Path, count: int) -> None:
    distill.judge(
        run, lambda _, pair: "yes" if is_answer((pair.query_id, pair.passage_id)) else "no",
        pairs=count,
    )  # fmt: skip


def simulate_run(folder: Path, outside: float, seed: int) -> tuple[Path, float]:
    """A run of two systems that are equally good on 100 queries, a hundred verdicts of a person on
    it, and the true difference on these queries; `outside` is the share of the student's first ten
    passages that the pool lacks."""
    rng = np.random.default_rng(seed)
    rankings = {
        role: {f"q{n}": [f"{role}-{n}-{rank}" for rank in range(10)] for n in range(100)}
        for role in ("student", "base")
    }
    truth = {
        (query, passage): bool(rng.random() < 0.4)
        for of in rankings.values()
        for query, found in of.items()
        for passage in found
    }
    pool = {
        pair: float(rng.uniform(0.5, 1) if truth[pair] else rng.uniform(0, 0.6))
        for pair in truth
        if pair[1].startswith("base") or rng.random() >= outside
    }
    run = write_judged_run(folder, rankings, pool)
    sheet = open_sheet(run)
    for pair in sheet.pairs[:100]:
        of = (pair.query_id, pair.passage_id)
        sheet.verdicts[of] = "yes" if truth[of] else "no"
    sheet.save()
    discounts = 1 / np.log2(np.arange(10) + 2)
    sums = {
        role: sum(
            discount * truth[query, passage]
            for query, found in of.items()
            for discount, passage in zip(discounts, found, strict=True)
        )
        for role, of in rankings.items()
    }
    return run, (sums["student"] - sums["base"]) / 100


def test_interval_holds_with_passages_outside_the_pool_and_the_student_is_never_worse(tmp_path):
    held = 0
    for seed in range(12):
        run, truth = simulate_run(tmp_path / str(seed), 0.3, seed)
        of = check_judge(run)["differences"]["student - base"]
        assert of["high"] > 0
        held += of["low"] <= truth <= of["high"]
    assert held == 12


def test_interval_is_as_it_was_where_all_is_judged(tmp_path):
    run, _ = simulate_run(tmp_path / "run", 0.0, 1)
    of = check_judge(run)["differences"]["student - base"]
    assert of["high"] - of["difference"] == pytest.approx(of["difference"] - of["low"], abs=1e-5)
    assert check_judge(run)["unjudged"] == check_judge(run)["ndcg_reach"] == {}


def test_verdict_of_an_llm_is_unclear_where_unjudged_passages_could_turn_it(tmp_path):
    run = write_judged_run(tmp_path / "run", NEW)
    summary = distill.open_run(run).summary
    assert summary["verdict"]["kind"] == "unclear"
    assert summary["verdict"]["comparisons"]["base"]["low"] < 0
    assert summary["verdict"]["comparisons"]["base"]["detectable"] is None
    assert summary["judge_check"]["unjudged"] == {"student": 1.0}
    exit_on_verdict(summary, "worse")
    refuse_worse_student(run, None)


def test_verdict_of_a_person_is_unclear_where_unjudged_passages_could_turn_it(tmp_path):
    """The person's answers are all what the teacher has first."""
    run = write_judged_run(tmp_path / "run", NEW)
    judge(run, 60)
    verdict = distill.open_run(run).summary["verdict"]
    assert verdict["rests_on"] == {"judged": "llm and person"}
    assert verdict["comparisons"]["teacher"]["kind"] == "unclear"


def test_report_names_the_unjudged_shares_and_the_remedy(tmp_path):
    hybrid = {query: [f"answer-{query}", f"new-{query}"] for query in QUERIES}
    run = write_judged_run(tmp_path / "run", NEW | {"student + bm25": hybrid})
    write_report(run)
    words = " ".join((run / "report.md").read_text("utf-8").split())
    assert "50.0% (student + BM25) to 100.0% (student) are not in the pool" in words
    assert "move the run's folder judged away and repeat" in words
    assert "a pool that holds all that is ranked, and more queries, would tell" in words


def test_terminal_names_the_unjudged_share(tmp_path):
    run = write_judged_run(tmp_path / "run", NEW)
    done = CliRunner().invoke(cli, ["judge", str(run)], input="y\nq\n")
    assert "100.0% (student) are not in the pool" in " ".join(done.stdout.split())


def test_unjudged_passage_of_both_systems_counts_by_the_difference_of_its_discounts():
    rankings = {"one": {"q": ["a", "b"]}, "other": {"q": ["c", "a"]}}
    of = compute_dcg_reach(rankings, {("q", "b"), ("q", "c")}, ["q"], ("one", "other"))
    assert of == {"below": 0, "above": pytest.approx(1 - 1 / np.log2(3))}
    of = compute_dcg_reach(rankings, {("q", "a")}, ["q"], ("one", "other"))
    assert of == {"below": 1, "above": pytest.approx(1 / np.log2(3))}


def compute_ndcg(ranking: list[str], grades: dict[str, int]) -> float:
    def sum_gains(of: list[int]) -> float:
        return float(sum(grade / np.log2(rank + 2) for rank, grade in enumerate(of)))

    ideal = sum_gains(sorted(grades.values(), reverse=True))
    return sum_gains([grades[passage] for passage in ranking]) / ideal if ideal else 0.0


@pytest.mark.parametrize("seed", range(10))
def test_ndcg_of_any_judgment_lies_within_the_bounds(seed):
    rng = np.random.default_rng(seed)
    passages = ["a", "b", "c", "d", "e", "f"]
    one, other = (list(rng.permutation(passages)[:4]) for _ in range(2))
    unjudged = [*rng.permutation(sorted({*one, *other}))[:3]]
    known = {p: int(rng.integers(0, 4)) for p in passages if p not in unjudged}
    of = compute_ndcg_reach(
        {"one": {"q": one}, "other": {"q": other}},
        {("q", passage): grade for passage, grade in known.items()},
        3,
        ["q"],
        ("one", "other"),
    )

    def compute_difference(grades: tuple[int, ...]) -> float:
        judged = known | dict(zip(unjudged, grades, strict=True))
        return compute_ndcg(one, judged) - compute_ndcg(other, judged)

    now = compute_difference((0, 0, 0))
    each = [compute_difference(grades) for grades in itertools.product(range(4), repeat=3)]
    assert now - of["below"] <= min(each) + 1e-9
    assert max(each) - 1e-9 <= now + of["above"]

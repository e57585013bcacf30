"""The results on the judged pool, in words."""

from pathlib import Path

from distill.corpus.held_out import are_sections_held_out
from distill.evaluate.judged.results import JudgedResults, read_results
from distill.evaluate.statistics.prediction_powered import DEPTH
from distill.evaluate.summary import format_role
from distill.report.known_item import SECTIONS_ALONE


def describe_judged_run(run_folder: Path) -> str:
    """Describe the judged pool of a run as `describe_judged` does; empty where it has none."""
    results = read_results(run_folder)
    if results is None:
        return ""
    rest = f" {SECTIONS_ALONE}" if are_sections_held_out(run_folder) else ""
    return describe_judged(results) + rest


def describe_judged(results: JudgedResults) -> str:
    """Describe the judged pool's figures, and how far they can be trusted."""
    parts = [_describe_pool(results), _describe_unjudged(results), _describe_trust(results)]
    return " ".join(filter(None, parts))


def _describe_unjudged(results: JudgedResults) -> str:
    """Describe the passages that nobody judged, and how they come to be judged; empty where all
    are."""
    if not results.unjudged:
        return ""
    shares = sorted((share, name) for name, share in results.unjudged.items())
    (least, one), (most, other) = shares[0], shares[-1]
    share = f"{least:.1%} ({format_role(one)})"
    if len(shares) > 1:
        share += f" to {most:.1%} ({format_role(other)})"
    depth = f"set evaluate.judged.depth, which is {results.depth}, to {DEPTH}, "
    return (
        f"Of a system's first {DEPTH} passages {share} are not in the pool, and nobody has judged "
        "them: scores count them as irrelevant, and the verdict's intervals reach as far as they "
        f"could be worth. To have the LLM judge them too, {depth * (results.depth < DEPTH)}move "
        "the run's folder judged away and repeat `distill run`; a person's verdicts stay with the "
        "old pool."
    )


def _describe_pool(results: JudgedResults) -> str:
    judged = f"of which {_shorten_name(results.judge)} judged {results.pairs} passages"
    shown = [
        f"{format_role(name)} {of.seed_recall:.2f} (MRR {of.seed_mrr:.2f})"
        for name, of in results.systems.items()
        if of.seed_recall is not None and of.seed_mrr is not None
    ]
    if not shown:
        return f"On {results.queries} queries that were held out of the log, {judged}."
    return (
        f"On {results.queries} queries for held-out documents, {judged}, the passage that a query "
        f"was written for is among the first 10: {', '.join(shown)}."
    )


def _shorten_name(judge: str) -> str:
    """Return the file's name of a model out of a wheel, whose reference has a checksum and fills
    two lines; any other as it is."""
    return judge.partition("#")[0].rpartition("/")[2] if judge.startswith("wheel:") else judge


def _describe_trust(results: JudgedResults) -> str:
    if results.reference is None:
        return "There is neither teacher nor base to compare the student with."
    gap = results.systems["student"].dcg - results.systems[results.reference].dcg
    by_llm = (
        f"By the LLM's scores student minus {results.reference} is {gap:+.3f} DCG@10 (a relevant "
        "passage at the first place counts 1)"
    )
    if results.difference is None:
        seen = (
            "no person has judged its pairs"
            if not results.verdicts
            else f"a person has judged {results.verdicts} of its pairs, and an interval needs 10"
        )
        return f"{by_llm}. The judge is UNVERIFIED: {seen}; `distill judge RUN` shows 50 of them."
    of = results.difference
    other = results.reference
    verdict = (
        f"these verdicts do not tell student and {other} apart"
        if of.low <= 0 <= of.high
        else f"the student is {'better' if of.low > 0 else 'worse'} than the {other}"
    )
    return (
        f"{by_llm}; with {of.verdicts} verdicts of a person, who agrees with the LLM on "
        f"{results.agreement:.0%} of them, it is {of.difference:+.3f}, 95 % interval {of.low:+.3f} "
        f"to {of.high:+.3f}, which holds however badly the LLM judges: {verdict}."
    )

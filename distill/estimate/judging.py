"""What the judgement of one pair of a passage and a query takes of an LLM."""

from collections.abc import Sequence

from distill.estimate.figures import NOTHING, Amount
from distill.estimate.given import Given
from distill.estimate.measure import Clock, Each, Sample, counted
from distill.generate.fret import open_method
from distill.prompts import Prompt, as_data, load_prompt
from distill.relabel.judge import VERDICTS, judge_ql, judge_rc
from distill.tables import passage_text

_FIRST_WORDS = 10
"""Of a passage, in the place of a query where none was written."""


def judged(given: Given, ranker: str, sample: Sample, queries_a_passage: int) -> Each | None:
    """What one of the run's pairs takes, measured on the sample's passages and queries; None where
    the engine cannot judge. A server is asked for each passage with its own query alone, which the
    run is likely to ask for too.

    Args:
        ranker: ql or rc.
        queries_a_passage: of so many the passage's tokens are computed once.
    """
    recipe = given.recipe
    name = recipe.relabel.prompt_ql if ranker == "ql" else recipe.relabel.prompt_rc
    prompt = load_prompt(name, recipe.folder, parts=2)
    words = recipe.generate.max_passage_words
    passages = [as_data(passage_text(one.passage), words) for one in sample.asked]
    queries = _queries(given, sample) or [as_data(text, _FIRST_WORDS) for text in passages]
    if not given.sample:
        return _counted(prompt, ranker, passages, queries)
    engine = given.llm()
    if not engine.can_score:
        return None
    several = 1 if recipe.llm.engine == "http" else min(queries_a_passage, len(queries))
    requests = [
        (passage, [queries[(number + i) % len(queries)] for i in range(several)])
        for number, passage in enumerate(passages)
    ]
    clock = Clock(engine)
    (judge_ql if ranker == "ql" else judge_rc)(engine, prompt, requests)
    return clock.each(several * len(passages)) or _counted(prompt, ranker, passages, queries)


def _queries(given: Given, sample: Sample) -> list[str]:
    """Those of the sample's replies that are in form."""
    method = open_method(given.recipe)
    parsed = [method.parse(one.text, one.finished) for one in sample.written]
    return [one.query for one in parsed if one.reason is None]


def _counted(prompt: Prompt, ranker: str, passages: Sequence[str], queries: Sequence[str]) -> Each:
    """Words alone. A verdict's likelihood needs the pair twice, with yes and with no."""
    verdicts = VERDICTS if ranker == "rc" else ("",)
    texts = [
        prompt.render(passage=passage) + prompt.render(1, query=query, verdict=verdict)
        for passage, query in zip(passages, [*queries] * len(passages), strict=False)
        for verdict in verdicts
    ]
    pair: Amount = counted(texts).times(len(verdicts))
    return Each(pair, NOTHING)

"""What the judgement of one pair of a passage and a query takes of an LLM."""

from collections.abc import Sequence

from distill.estimate.figures import NOTHING, Amount
from distill.estimate.given import Given
from distill.estimate.measure import Clock, Each, Sample, counted
from distill.generate.fret import open_method
from distill.prompts import Prompt, as_data, load_prompt
from distill.relabel.judges import GRADES, VERDICTS, judge_fused, judge_graded, judge_ql, judge_rc
from distill.relabel.rankings import Name
from distill.tables import passage_text

_FIRST_WORDS = 10
"""Of a passage, in the place of a query where none was written."""
_JUDGES = {"ql": judge_ql, "rc": judge_rc, "graded": judge_graded, "fused": judge_fused}
_VERDICTS = {"ql": ("",), "rc": VERDICTS, "graded": GRADES, "fused": ("", *VERDICTS)}
_PROMPTS = {"fused": "rc"}


def judged(given: Given, name: Name, sample: Sample, queries_a_passage: int) -> Each | None:
    """What one of the run's pairs takes, measured on the sample's passages and queries; None where
    the engine cannot judge. A server is asked for each passage with its own query alone, which the
    run is likely to ask for too.

    Args:
        name: a pass that judges by log-probabilities.
        queries_a_passage: of so many the passage's tokens are computed once.
    """
    recipe = given.recipe
    file = getattr(recipe.relabel, f"prompt_{_PROMPTS.get(name, name)}")
    prompt = load_prompt(file, recipe.folder, parts=2)
    words = recipe.generate.max_passage_words
    passages = [as_data(passage_text(one.passage), words) for one in sample.asked]
    queries = _queries(given, sample) or [as_data(text, _FIRST_WORDS) for text in passages]
    if not given.sample:
        return _counted(prompt, name, passages, queries)
    engine = given.llm()
    if not engine.can_score:
        return None
    several = 1 if recipe.llm.engine == "http" else min(queries_a_passage, len(queries))
    requests = [
        (passage, [queries[(number + i) % len(queries)] for i in range(several)])
        for number, passage in enumerate(passages)
    ]
    clock = Clock(engine)
    _JUDGES[name](engine, prompt, requests)
    return clock.each(several * len(passages)) or _counted(prompt, name, passages, queries)


def _queries(given: Given, sample: Sample) -> list[str]:
    """Those of the sample's replies that are in form."""
    method = open_method(given.recipe)
    parsed = [method.parse(one.text, one.finished) for one in sample.written]
    return [one.query for one in parsed if one.reason is None]


def _counted(prompt: Prompt, name: Name, passages: Sequence[str], queries: Sequence[str]) -> Each:
    """Words alone. A verdict's likelihood needs the pair again for each verdict."""
    verdicts = _VERDICTS[name]
    texts = [
        prompt.render(passage=passage) + prompt.render(1, query=query, verdict=verdict)
        for passage, query in zip(passages, [*queries] * len(passages), strict=False)
        for verdict in verdicts
    ]
    pair: Amount = counted(texts).times(len(verdicts))
    return Each(pair, NOTHING)

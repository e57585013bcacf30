"""A first recipe where there is a language model that writes and judges."""

from collections.abc import Iterator

from distill.start.available import Available
from distill.start.choice.held_out import QUERIES_IN_PROCESS, choose_to_judge, list_hold_out
from distill.start.choice.models import Encoders, LLMChoice, list_ranking_alone
from distill.start.choice.setting import Setting
from distill.start.choice.stemmer import find_stemmer
from distill.start.survey import CorpusSurvey

_MANY_PASSAGES = 5000
"""Of a corpus that is learnt from once."""


def choose_with_llm(
    corpus: CorpusSurvey, available: Available, llm: LLMChoice, encoders: Encoders
) -> Iterator[Setting]:
    """Choose a recipe in which the LLM writes queries and judges candidates; the student learns
    from both and from the teacher's vectors."""
    measured = choose_to_judge(corpus.whole_documents, corpus.sections)
    if measured is not None:
        yield from list_hold_out(measured)
    yield from llm.settings
    yield from _choose_generation(corpus, llm)
    yield from encoders.list_retriever()
    stemmer = find_stemmer(corpus.language)
    if stemmer is not None:
        why = "BM25, which the student is compared with, takes words by their stems"
        yield Setting("retriever.bm25", {"language": stemmer}, why)
    top_k = max(2, min(20 if llm.is_fast else 8, corpus.passages))
    yield Setting("relabel.top_k", top_k, "candidates a query that the LLM judges")
    if not llm.gives_logprobs:
        why = "what every server can do; ql needs log-probabilities of prompts"
        yield Setting("relabel.rankers", ["rc", "retriever"], why)
    elif encoders.base_url is not None:
        why = "the defaults, and the teacher: its ranking is learnt"
        yield Setting("relabel.rankers", ["ql", "rc", "retriever"], why)
    yield from encoders.list_teacher()
    yield Setting("student.encoder", encoders.student, encoders.student_why)
    if encoders.layers is not None:
        yield Setting("student.layers", encoders.layers, "half of its layers: twice as fast")
    yield from _choose_training(corpus, available, encoders)
    if measured is not None:
        yield from _choose_evaluation(llm)


def _choose_generation(corpus: CorpusSurvey, llm: LLMChoice) -> Iterator[Setting]:
    count = max(1, min(10_000 if llm.is_fast else 200, corpus.passages))
    why = "queries the LLM writes, one a passage; more are better and take longer"
    yield Setting("generate.passages", count, why)
    if not llm.is_fast:
        yield Setting("generate.shard_size", 8, "queries that are lost at most if it is killed")
    if corpus.language not in (None, "en"):
        yield Setting("generate.languages", [corpus.language], "the language of the texts")


def _choose_training(
    corpus: CorpusSurvey, available: Available, encoders: Encoders
) -> Iterator[Setting]:
    on_gpu = available.gpu is not None
    epochs = 1 if corpus.passages >= _MANY_PASSAGES else 3
    yield Setting("train.epochs", epochs, "a small corpus is learnt from several times")
    yield Setting("train.batch_size", 128 if on_gpu else 32, "what fits the machine")
    if on_gpu:
        yield Setting("train.dtype", "auto", "bfloat16, several times as fast as float32 on a GPU")
    if encoders.base_url is not None:
        yield from list_ranking_alone()
        return
    why = "most of the gain comes from the teacher's vectors"
    yield Setting("train.objective", {"infonce": 0.2, "align": 1.0}, why)
    texts = min(corpus.passages, 100_000 if on_gpu else 3000)
    aligned = {"passages": texts, "sentences": 2 * texts}
    yield Setting("train.align", aligned, "texts whose vectors are learnt")


def _choose_evaluation(llm: LLMChoice) -> Iterator[Setting]:
    """Choose the evaluation: the corpus comes without labelled queries: the LLM asks and judges."""
    why = "the LLM asks about held-out documents and judges; add labelled files"
    yield Setting("evaluate.tasks", ["judged"], why)
    if not llm.is_fast:
        why = "queries whose answers are judged: each takes some twenty judgements"
        yield Setting("evaluate.judged", {"queries": QUERIES_IN_PROCESS}, why)

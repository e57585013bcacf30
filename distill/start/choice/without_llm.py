"""A first recipe where there is no language model, by queries from the texts themselves: a query
encoder for the teacher's index, as in the packaged recipe `adapt`; or, where the teacher is behind
a server, a student of its ranking, as in `multilingual-tiny`."""

from collections.abc import Iterator

from distill.corpus.held_out import KNOWN_ITEM
from distill.start.choice.held_out import choose_to_search, list_hold_out
from distill.start.choice.models import Encoders, list_ranking_alone
from distill.start.choice.setting import Setting
from distill.start.choice.stemmer import find_stemmer
from distill.start.survey import CorpusSurvey

_QUERIES = 20_000
_PER_PASSAGE = 8


def choose_without_llm(corpus: CorpusSurvey, encoders: Encoders) -> Iterator[Setting]:
    """Choose a recipe in which the student encodes queries alone, in the teacher's space, and
    learns the teacher's similarity and BM25 together over the whole corpus; or, of a served
    teacher, encodes both and learns which passages it and BM25 put first."""
    measured = choose_to_search(corpus.searchable, corpus.searchable_sections)
    if measured is not None:
        yield from list_hold_out(measured)
    methods = ["sentences", "titles", "keywords"]
    why = "no LLM of a billion parameters was found: queries are taken from the texts themselves"
    yield Setting("generate.methods", methods, why)
    queries = min(_QUERIES, _PER_PASSAGE * 3 * corpus.passages)
    why = "at the most; a larger corpus gives more"
    yield Setting("generate.free", {"queries": queries}, why)
    filters = {"max_words": 50, "near_duplicates": 0.9}
    yield Setting("generate.filters", filters, "sentences are longer than questions")
    yield from encoders.list_retriever()
    if encoders.base_url is None:
        yield from _choose_query_side(corpus, encoders)
    else:
        yield from _choose_ranking(corpus, encoders)
    if measured is not None:
        why = "held-out documents by their titles: a stand-in; add labelled files"
        yield Setting("evaluate.tasks", [KNOWN_ITEM], why)


def _choose_query_side(corpus: CorpusSurvey, encoders: Encoders) -> Iterator[Setting]:
    yield Setting("retriever.sources", ["dense", "bm25"], "what each finds, the other may miss")
    yield Setting("retriever.merge", "union", "candidates of both, not the best of both")
    yield _choose_bm25(corpus)
    relabel = {
        "top_k": max(2, min(100, corpus.passages)),
        "rankers": ["retriever", "bm25"],
        "positive": "seed",
        "negative_count": 0,
    }
    yield Setting("relabel", relabel, "scores of candidates, without a judge")
    yield from encoders.list_teacher()
    yield Setting("student.encoder", encoders.teacher, "the teacher's own, to be adapted")
    why = "queries alone: an index of the teacher's vectors stays as it is"
    yield Setting("student.route", "query", why)
    why = "token vectors of the corpus beside the transformer, which were better than either alone"
    added = {"weight": 0.5, "epochs": 6, "learning_rate": 2.0e-3}
    yield Setting("student.add_static", added, why)
    train = {
        "max_steps": 100,
        "batch_size": 64,
        "mini_batch_tokens": 8192,
        "learning_rate": 3.0e-5,
        "embedding_learning_rate": 1.0e-3,
        "dropout": 0.0,
    }
    for key, value in train.items():
        yield Setting(f"train.{key}", value, "as in the packaged recipe adapt")
    why = "the target: twice the teacher's similarity and once BM25"
    yield Setting("train.bm25_share", 0.333, why)
    yield Setting("train.objective", {"corpus_softmax": 1.0}, "over the whole corpus")
    softmax = {"scores": "hybrid", "temperature": 0.333, "student_temperature": 0.05}
    yield Setting("train.corpus_softmax", softmax, "as in the packaged recipe adapt")


def _choose_ranking(corpus: CorpusSurvey, encoders: Encoders) -> Iterator[Setting]:
    yield _choose_bm25(corpus)
    relabel = {
        "top_k": max(2, min(8, corpus.passages)),
        "rankers": ["retriever", "bm25"],
        "negatives": "hardest",
        "max_negative_share": 0.95,
        "negative_count": 1,
    }
    yield Setting("relabel", relabel, "ranks of both are fused; as in multilingual-tiny")
    yield from encoders.list_teacher()
    yield Setting("student.encoder", encoders.student, encoders.student_why)
    yield Setting("train.batch_size", 32, "what fits the machine")
    yield from list_ranking_alone()


def _choose_bm25(corpus: CorpusSurvey) -> Setting:
    language = find_stemmer(corpus.language)
    bm25 = {"language": language, "k1": 1.2, "b": 0.75}
    why = "words by their stems" if language else "words as they are written"
    return Setting("retriever.bm25", bm25, why)

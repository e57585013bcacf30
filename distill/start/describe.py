"""The findings and choices of `distill init`, in a few lines."""

from collections.abc import Iterator

from distill.start.available import Available
from distill.start.choice.setting import Setting
from distill.start.guess import describe_guess
from distill.start.init import Proposal


def describe_proposal(proposal: Proposal) -> Iterator[str]:
    """Describe the corpus, the machine, the models, and roughly what the run takes."""
    corpus, available = proposal.corpus, proposal.available
    yield (
        f"corpus:  {corpus.form}: {corpus.size}, {corpus.tokens:,} tokens; "
        f"language: {corpus.language or 'several'}"
    )
    if corpus.left_out:
        looked_at = "" if corpus.is_whole else "of what was looked at, "
        yield f"without: {looked_at}{corpus.left_out}"
    yield f"machine: {_describe_machine(available)}"
    yield f"models:  {_describe_models(available)}"
    by_key = {setting.key: setting for setting in proposal.settings}
    if "generate.methods" in by_key:
        yield f"LLM:     none ({by_key['generate.methods'].why})"
    for role, key in (("LLM", "llm.model"), ("teacher", "teacher.model")):
        if key in by_key:
            model = str(by_key[key].value).partition("#")[0]
            yield f"{role + ':':<8} {model} ({by_key[key].why})"
    yield f"test:    {_describe_test(by_key.get('evaluate.tasks'))}"
    yield f"takes:   {describe_guess(proposal.guess)}; `distill estimate` measures it"


def _describe_test(tasks: Setting | None) -> str:
    """Say what the student is measured on, or why there is nothing."""
    if tasks is not None:
        return f"{', '.join(tasks.value)} ({tasks.why})"
    return (
        "none: too few documents to hold some out. With questions and answers of your own: "
        "evaluate.tasks: [questions.csv]"
    )


def _describe_machine(available: Available) -> str:
    gpu = available.gpu or "no GPU"
    if available.gpu_memory:
        gpu += f" with {available.gpu_memory / 2**30:.0f} GiB"
    return f"{available.cores} cores, {available.memory / 2**30:.0f} GiB of memory, {gpu}"


def _describe_models(available: Available) -> str:
    servers = sorted({one.server for one in available.served})
    count = len(available.served)
    served = f"{count} LLMs served ({', '.join(servers)})" if servers else "no LLM served"
    if (embedder := available.served_embedder) is not None:
        served += f"; an embedding model served ({embedder.server})"
    cached = f"{len(available.llms)} LLMs and {len(available.embedders)} embedding models cached"
    hub = (
        "the Hugging Face hub answers" if available.hub else "the Hugging Face hub does not answer"
    )
    return f"{served}; {cached}; {hub}"

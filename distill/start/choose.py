"""The settings of a first recipe, each with the reason for it."""

from collections.abc import Iterator

from distill.corpus.readers.rows import Columns
from distill.start.available import Available
from distill.start.choice.models import choose_encoders, choose_llm
from distill.start.choice.setting import Setting
from distill.start.choice.with_llm import choose_with_llm
from distill.start.choice.without_llm import choose_without_llm
from distill.start.survey import CorpusSurvey

PASSAGE_TOKENS = 256
"""Of a passage: what most small embedding models read well."""


def choose_settings(name: str, corpus: CorpusSurvey, available: Available) -> list[Setting]:
    """Choose the keys of a first recipe that differ from the defaults."""
    llm, encoders = choose_llm(available), choose_encoders(corpus, available)
    chosen = (
        choose_without_llm(corpus, encoders)
        if llm is None
        else choose_with_llm(corpus, available, llm, encoders)
    )
    settings = list(chosen)
    encoder = next(of.value for of in settings if of.key == "student.encoder")
    return [
        Setting("name", name, f"results go to artifacts/{name}"),
        *_choose_corpus_settings(corpus, encoder),
        *settings,
    ]


def _choose_corpus_settings(corpus: CorpusSurvey, encoder: str) -> Iterator[Setting]:
    yield Setting("corpus.source", "auto", f"{corpus.form}; found by the files' names")
    yield Setting("corpus.path", str(corpus.path.resolve()), "where the texts lie")
    for key, column, usual in zip(
        ("id_column", "title_column", "text_column"), corpus.columns, Columns(), strict=True
    ):
        if column != usual:
            yield Setting(f"corpus.{key}", column, "by what its values look like; check it")
    if corpus.language != "en":
        why = "lengths by the student's own tokenizer: estimates are for English"
        yield Setting("corpus.tokenizer", encoder, why)
    if corpus.may_be_unreadable:
        why = "files that cannot be read are left out, listed and counted"
        yield Setting("corpus.unreadable", "skip", why)

"""The stemmer by which BM25 compares words, by the language of the texts."""

from distill.recipe.sections.retriever import Language

_STEMMED: dict[str, Language] = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""Languages that BM25 compares by their stems, by their codes of ISO 639-1."""


def find_stemmer(language: str | None) -> Language | None:
    """Find the stemmer of a language, given by its code of ISO 639-1; None where there is none, or
    the language is not known."""
    return _STEMMED.get(language or "")

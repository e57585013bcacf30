"""Errors cross the border of a process whole."""

import importlib
import inspect
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor

import pytest
from helpers.fresh_process import CONTEXT

import distill
from distill.errors import UserError


def _names(module: str) -> dict[str, object]:
    """A module's, nothing for one that needs a library which is not installed."""
    if module.endswith("__main__"):
        return {}
    try:
        return vars(importlib.import_module(module))
    except ModuleNotFoundError as fault:
        if str(fault.name).startswith("distill"):
            raise
        return {}


def _exceptions() -> list[type[BaseException]]:
    found: dict[str, type[BaseException]] = {}
    for module in pkgutil.walk_packages(distill.__path__, "distill."):
        for value in _names(module.name).values():
            of_ours = inspect.isclass(value) and value.__module__.startswith("distill.")
            if of_ours and issubclass(value, BaseException):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return list(found.values())


def _make(kind: type[BaseException]) -> BaseException:
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    return kind(*(f"a {name}" for name in named))


def test_every_exception_of_the_package_survives_pickle_with_its_fields():
    kinds = _exceptions()
    assert UserError in kinds
    assert len(kinds) >= 8
    for kind in kinds:
        error = _make(kind)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def _refuse() -> None:
    raise UserError("corpus.jsonl, row 3", "has no text", "give it one")


def test_user_error_of_another_process_has_place_and_remedy():
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool, pytest.raises(UserError) as caught:
        pool.submit(_refuse).result()
    assert caught.value.where == "corpus.jsonl, row 3"
    assert caught.value.what == "has no text"
    assert caught.value.remedy == "give it one"


@pytest.mark.bad_input(
    "terminal", "escapes, bells and turned text in what an error quotes", "shown as \\x1b"
)
def test_error_is_printable_whatever_it_quotes():
    error = UserError("a\x1b[2Jb", "says \x07 and \u202eabc\r\nnext", "\udcff\0")
    assert error.where == "a\\x1b[2Jb"
    assert error.what == "says \\x07 and \\u202eabc\\r\nnext"
    assert error.remedy == "\\udcff\\x00"
    str(error).encode()
    assert not set("\x1b\x07\u202e\r\0") & set(str(error))
    assert UserError("文档", "é\tü", "x").what == "é\tü"

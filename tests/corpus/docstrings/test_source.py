"""Public objects of installed packages, as a corpus and as held-out pairs."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from distill.corpus.docstrings import source as docstrings
from distill.corpus.docstrings.introspect import find_public_objects, read_package_versions
from distill.corpus.docstrings.source import is_held_out, make_held_out_pairs
from distill.corpus.readers.rows import CorpusSource
from distill.errors import UserError
from distill.recipe import Recipe


@pytest.fixture(autouse=True)
def _forget() -> None:
    docstrings.load_docstrings.cache_clear()


def recipe(seed: int = 13, **corpus: object) -> Recipe:
    return Recipe.model_validate(
        {"name": "x", "seed": seed, "corpus": {"source": "docstrings"} | corpus}
    )


def test_public_objects_are_documented_once_under_their_shortest_name(tinydocs: str) -> None:
    found, _ = find_public_objects((tinydocs,))
    assert [thing.name for thing in found] == [
        "tinydocs.Shape",
        "tinydocs.Shape.scale",
        "tinydocs.Shape.sides",
        "tinydocs.Shape.square",
        "tinydocs.area",
        "tinydocs.deep.leaf.g",
        "tinydocs.grow",
        "tinydocs.shrink",
    ]
    assert {thing.package for thing in found} == {"tinydocs"}


def test_modules_that_cannot_be_imported_are_counted(tinydocs: str) -> None:
    assert find_public_objects((tinydocs,))[1] == 2


def test_documented_packages_are_not_imported_here_and_print_nothing(
    tinydocs: str, capfd: pytest.CaptureFixture[str]
) -> None:
    find_public_objects((tinydocs,))
    assert tinydocs not in sys.modules
    assert capfd.readouterr() == ("", "")


@pytest.mark.bad_input("corpus", "a package that is not installed", "refused by name")
def test_package_that_is_not_installed() -> None:
    with pytest.raises(UserError, match="'no_such_package' is not installed"):
        find_public_objects(("no_such_package",))


def open_docstrings(wanted: Recipe) -> CorpusSource:
    return docstrings.open_docstrings(wanted.corpus, wanted.seed)


def test_versions_are_those_of_the_distribution(tinydocs: str) -> None:
    assert read_package_versions((tinydocs,)) == {"tinydocs": "2.5"}


def test_package_that_is_installed_meanwhile_is_found(tinydocs: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'later' is not installed"):
        read_package_versions(("later",))
    info = tmp_path / "site" / "later-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("later\n")
    assert read_package_versions(("later",)) == {"later": "1.0"}


_HASHED = """
import hashlib
from distill.corpus.docstrings.source import load_docstrings
print(hashlib.sha256(repr(load_docstrings({packages!r})).encode()).hexdigest())
"""
_STATE = "import scipy.stats, numpy.testing, numpy.f2py\nnumpy.grow = lambda: None\n"


def rows_of_a_fresh_process(packages: tuple[str, ...], before: str = "") -> str:
    code = before + _HASHED.format(packages=packages)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


def test_rows_do_not_depend_on_the_state_of_the_process() -> None:
    assert rows_of_a_fresh_process(("numpy",)) == rows_of_a_fresh_process(("numpy",), _STATE)


def test_corpus_has_prose_under_the_qualified_name(tinydocs: str) -> None:
    rows = {d.id: d for d in open_docstrings(recipe(packages=[tinydocs])).read()}
    grow = rows["tinydocs.grow"]
    assert (grow.title, grow.source) == ("tinydocs.grow", "tinydocs")
    assert grow.text.endswith("for large shapes.")


def test_held_out_objects_are_not_in_the_corpus_and_the_rest_is(tinydocs: str) -> None:
    everything = recipe(packages=[tinydocs])
    half = recipe(packages=[tinydocs], held_out=0.5)
    names = {d.id for d in open_docstrings(everything).read()}
    kept = {d.id for d in open_docstrings(half).read()}
    things, _ = docstrings.load_docstrings((tinydocs,))
    out = {t.name for t in things if is_held_out(t.summary, half.corpus.held_out_share, half.seed)}
    assert kept | out == names
    assert not kept & out
    assert kept
    assert out


def test_objects_with_one_summary_stay_together(tinydocs: str) -> None:
    for seed in range(6):
        half = recipe(seed, packages=[tinydocs], held_out=0.5)
        kept = {d.id for d in open_docstrings(half).read()}
        assert ("tinydocs.grow" in kept) == ("tinydocs.shrink" in kept)


def test_held_out_summary_asks_and_the_rest_answers(tinydocs: str) -> None:
    wanted = recipe(packages=[tinydocs], held_out=0.999)
    pairs, counts = make_held_out_pairs(wanted.corpus, wanted.seed)
    assert [pair.name for pair in pairs] == ["tinydocs.grow"]
    assert pairs[0].query == "Make a given shape larger by one unit on every side."
    assert pairs[0].document.startswith("The new shape has the same centre as the old one,")
    assert counts == {"held out": 8, "dropped short": 6, "dropped duplicate": 1, "kept": 1}


def test_held_out_answer_is_cut_to_the_budget(tinydocs: str) -> None:
    wanted = recipe(packages=[tinydocs], held_out=0.999, max_tokens=40)
    pairs, _ = make_held_out_pairs(wanted.corpus, wanted.seed)
    assert len(pairs[0].document.split()) <= 30


@pytest.mark.slow
def test_real_packages() -> None:
    real = recipe(held_out=0.1)
    kept = list(open_docstrings(real).read())
    pairs, _ = make_held_out_pairs(real.corpus, real.seed)
    assert len(kept) > 7000
    assert len(pairs) > 400
    assert {d.source for d in kept} == set(real.corpus.packages)
    assert not {d.id for d in kept} & {pair.name for pair in pairs}
    assert not [d.id for d in kept if ">>>" in d.text]
    # Whatever a process has imported before, it reads the same.
    rows = repr(docstrings.load_docstrings(tuple(real.corpus.packages)))
    hashed = hashlib.sha256(rows.encode()).hexdigest()
    assert rows_of_a_fresh_process(tuple(real.corpus.packages), _STATE).strip() == hashed

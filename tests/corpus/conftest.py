"""A small package with docstrings, installed for the length of a test."""

import textwrap
from pathlib import Path

import pytest

_FILES = {
    "__init__.py": '''
        """A package."""
        print("a package may print when it is imported")
        from tinydocs.inner import Shape, area as area
        from math import sqrt
        from json import loads

        def grow(shape):
            """Make a given shape larger by one unit on every side.

            The new shape has the same centre as the old one, and its area is computed anew the
            first time that somebody asks for it, which may take a while for large shapes.

            >>> grow(1)
            2
            """

        def shrink(shape):
            """Make a given shape larger by one unit on every side.

            The contrary of growing, although its summary was copied from there by mistake; a shape
            without any side is returned as it was, and no error is raised in such a case at all.
            """

        def _hidden():
            """Nobody should ever read this private text in a corpus of public ones."""
        ''',
    "inner.py": '''
        """Reached as a module and through its package."""
        class _Base:
            def scale(self, factor):
                """Multiply the lengths of all sides by a factor, in place."""

        class Shape(_Base):
            """A plane figure with straight sides and a name."""

            @property
            def sides(self):
                """How many straight sides this figure has, an integer."""

            @classmethod
            def square(cls):
                """Build a figure with four sides of equal length."""

            def _secret(self):
                """Nobody should read this either, for it is private."""

        def area(shape):
            """Compute the area that a given plane figure covers."""

        surface = area

        def also_area(shape):
            """Compute the area   that a given plane
            figure covers."""
        ''',
    "broken.py": "import a_module_that_does_not_exist",
    "exits.py": "raise SystemExit(3)",
    "_private.py": 'def f():\n    """A function of a private module, not to be read."""',
    "deep/__init__.py": "",
    "deep/leaf.py": 'def g():\n    """A function two levels below the package, to be read."""',
    "tests/__init__.py": 'def test_x():\n    """A test whose text is not to be read at all."""',
}


@pytest.fixture
def tinydocs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package's name; found through PYTHONPATH and sys.path, with metadata as installed."""
    site = tmp_path / "site"
    for name, text in _FILES.items():
        file = site / "tinydocs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    info = site / "tiny_docs-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-docs\nVersion: 2.5\n")
    (info / "top_level.txt").write_text("tinydocs\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    return "tinydocs"

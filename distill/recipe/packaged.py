"""The recipes that come with distill: listed, and copied to be edited."""

import difflib
import re
from pathlib import Path

from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.files.read import read_text

_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z])")


def get_packaged_folder() -> Path:
    """Return where the recipes and prompts that come with distill lie: in a checkout, or
    installed."""
    checkout = Path(__file__).parents[2] / "recipes"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "_recipes"


def list_recipes() -> list[tuple[str, str]]:
    """Name and purpose of each packaged recipe. The name is its path without .yaml, such as
    ablations/table3; the purpose is the first sentence of its header comment.

    >>> "adapt" in dict(list_recipes())
    True
    """
    return [(name, _read_purpose(read_text(path))) for name, path in _list_paths().items()]


def copy_recipe(name: str, file: Path | None = None) -> Path:
    """Write a packaged recipe to `file` (default: its own file name, in the working folder).

    >>> copy_recipe("adapt", Path("mine.yaml"))  # doctest: +SKIP
    PosixPath('mine.yaml')

    Raises:
        UserError: if there is no such recipe, or the file exists.
    """
    paths = _list_paths()
    source = paths.get(name.removesuffix(".yaml"))
    if source is None:
        near = difflib.get_close_matches(name[:100], paths, n=1, cutoff=0.0)[0]
        raise UserError(
            f"recipe {name[:100]}",
            f"does not come with distill; the nearest name is {near}",
            "`distill recipes` lists them all",
        )
    target = file or Path(source.name)
    if target.exists() or target.is_symlink():
        raise UserError(
            str(target),
            "exists already, and is not overwritten",
            f"name another file: distill recipes copy {name} FILE",
        )
    if not target.parent.is_dir():
        raise UserError(str(target.parent), "is no folder", "make it, or name another file")
    commit_bytes(target, source.read_bytes())
    return target


def _list_paths() -> dict[str, Path]:
    """Return each packaged recipe by its name, main ones first."""
    folder = get_packaged_folder()
    files = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("ablations/*.yaml"))]
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _read_purpose(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    return _SENTENCE_END.split(" ".join(lines))[0]

"""Prompts are Jinja files in `recipes/prompts/`, or a user's own beside their recipe. A scoring
prompt has two parts: what the engine computes once for a passage, and what continues it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from distill.errors import UserError

CONTINUATION = "=== continuation ===\n"
"""The line that divides a scoring prompt."""

_ENVIRONMENT = SandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def packaged_recipes() -> Path:
    """Where the recipes and prompts that come with distill lie: in a checkout, or installed."""
    checkout = Path(__file__).parent.parent / "recipes"
    return checkout if checkout.is_dir() else Path(__file__).parent / "_recipes"


def find_prompt(name: str, folder: Path) -> Path:
    """The prompt file beside the recipe (`folder`), else among the packaged ones.

    Raises:
        UserError: if neither has it.
    """
    for place in (folder, packaged_recipes()):
        if (place / name).is_file():
            return place / name
    raise UserError(
        str(folder / name),
        "no such prompt",
        "give a path relative to the recipe, such as prompts/fret.jinja",
    )


@dataclass(frozen=True)
class Prompt:
    """A prompt's source (part of fingerprints) and its one or two parts."""

    source: str
    parts: tuple[Template, ...]

    def render(self, part: int = 0, **values: Any) -> str:
        """One part with its values; a prompt ends without white space, as its answer begins with
        it."""
        text = self.parts[part].render(values)
        return text.rstrip() if part == 0 else text.rstrip("\n")

    @property
    def examples(self) -> list[dict[str, str]]:
        """The few-shot examples, where the file sets a list of that name."""
        module = self.parts[0].make_module({"passage": "", "task_type": ""})
        found: list[dict[str, str]] = getattr(module, "examples", [])
        return found


def load_prompt(name: str, folder: Path, parts: int) -> Prompt:
    """Read a prompt file of `parts` parts.

    Raises:
        UserError: if the file is missing, is no Jinja, or has another number of parts.
    """
    path = find_prompt(name, folder)
    source = path.read_text(encoding="utf-8")
    pieces = source.split(CONTINUATION)
    if len(pieces) != parts:
        raise UserError(
            str(path),
            f"has {len(pieces)} parts, {parts} expected",
            f"divide a scoring prompt once, by the line {CONTINUATION.strip()!r}",
        )
    try:
        return Prompt(source, tuple(_ENVIRONMENT.from_string(piece) for piece in pieces))
    except TemplateError as fault:
        raise UserError(str(path), f"is not a Jinja template: {fault}", "mend it") from fault


def first_words(text: str, count: int) -> str:
    """At most `count` words of a passage, so that no prompt outgrows its engine."""
    words = text.split()
    return " ".join(words[:count]) if len(words) > count else " ".join(words)

"""Prompt templates: Jinja files in `recipes/prompts/`, or a user's own beside their recipe.

A scoring prompt has two parts: what the engine computes once for a passage, and what continues it.

Text from a corpus is data, never part of a prompt's structure: it goes through
`sanitize_for_prompt`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment, SecurityError

from distill.errors import UserError
from distill.files.read import describe_search, read_text
from distill.recipe.packaged import get_packaged_folder
from distill.runtime.trial import find_excess

CONTINUATION = "=== continuation ===\n"
"""The line that separates the two parts of a scoring prompt."""

_MAX_COPIES = 10_000
"""A template may repeat a text or list this many times by `*`."""
_MAX_CHARACTERS = 1_000_000
"""The longest prompt; no model reads as much."""


class _NoConstantFolding(CodeGenerator):
    """Compiles without evaluating constant expressions: they are evaluated when the template is
    rendered, where time and memory are limited."""

    def _output_child_to_const(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> str:
        if isinstance(node, nodes.TemplateData):
            return super()._output_child_to_const(node, frame, finalize)
        raise nodes.Impossible


class _LimitedEnvironment(SandboxedEnvironment):
    """Refuses the operators by which a few letters of a template fill a machine's memory."""

    code_generator_class = _NoConstantFolding
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        counts = [side for side in (left, right) if isinstance(side, int)]
        copies = operator == "*" and not numbers and any(n > _MAX_COPIES for n in counts)
        if copies or (operator == "**" and not (numbers and abs(left) < 1e6 and abs(right) < 10)):
            raise SecurityError(f"the operands of {operator} are too large")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _LimitedEnvironment(
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    optimized=False,  # see _NothingComputed
)


_EXPRESSION_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template's own expressions may raise, such as {{ 1 / 0 }}."""


def find_prompt(name: str, folder: Path) -> Path:
    """Find the prompt file beside the recipe (`folder`), else among the packaged ones.

    Raises:
        UserError: if it is in neither place.
    """
    for place in (folder, get_packaged_folder()):
        if (place / name).is_file():
            return place / name
    raise UserError(
        str(folder / name),
        f"no such prompt{describe_search(folder / name)}, and none that comes with distill",
        "give a path relative to the recipe, such as prompts/fret.jinja",
    )


@dataclass(frozen=True)
class Prompt:
    """A prompt's file, its source (part of fingerprints) and its one or two parts.

    Before a part is rendered, rendering is tried with limits of time and memory (see `trial`), and
    tried again whenever the values are more than twice as large as those before."""

    path: Path
    source: str
    parts: tuple[Template, ...]
    tried_sizes: dict[int, int] = field(default_factory=dict, compare=False, repr=False)
    """Part -> the size of the largest values that it was tried with."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _compile, (self.path, self.source)  # templates cannot be sent to a worker

    def render(self, part: int = 0, **values: Any) -> str:
        """Render one part with its values; a prompt ends without white space, as its answer begins
        with it.

        Raises:
            UserError: if the template uses an unknown name, fails otherwise, or takes too much
                time, memory or space.
        """
        self._try(part, values)
        try:
            text = _render(self.parts[part], values)
        except (TemplateError, *_EXPRESSION_ERRORS) as fault:
            raise UserError(
                str(self.path),
                f"cannot be rendered: {fault or type(fault).__name__}",
                f"the names that it may use are: {', '.join(sorted(values))}",
            ) from fault
        return text.rstrip() if part == 0 else text.rstrip("\n")

    def _try(self, part: int, values: Mapping[str, Any]) -> None:
        size = _measure_values(values)
        if part not in self.tried_sizes or size > 2 * self.tried_sizes[part]:
            _refuse_excess(self.path, lambda: _render(self.parts[part], values))
            self.tried_sizes[part] = size

    def read_constant(self, name: str) -> str | None:
        """Read the text of the file's `{% set name = "..." %}`, None where it has none."""
        for node in _ENVIRONMENT.parse(self.source).body:
            if isinstance(node, nodes.Assign) and getattr(node.target, "name", None) == name:
                value = node.node
                return str(value.value) if isinstance(value, nodes.Const) else None
        return None


def load_prompt(name: str, folder: Path, parts: int) -> Prompt:
    """Read a prompt file of `parts` parts.

    Raises:
        UserError: if the file is missing, is not a Jinja template, or has another number of parts.
    """
    path = find_prompt(name, folder)
    source = read_text(path)
    pieces = source.split(CONTINUATION)
    if len(pieces) != parts:
        raise UserError(
            str(path),
            f"has {len(pieces)} parts, {parts} expected",
            f"separate the two parts of a scoring prompt by the line {CONTINUATION.strip()!r}",
        )
    return _compile(path, source)


def _compile(path: Path, source: str) -> Prompt:
    """Compile the parts of a prompt's source.

    Raises:
        UserError: if one is not a Jinja template.
    """
    pieces = source.split(CONTINUATION)
    try:
        return Prompt(path, source, tuple(_ENVIRONMENT.from_string(piece) for piece in pieces))
    except TemplateSyntaxError as fault:
        raise UserError(
            f"{path}, row {_find_row(pieces, source, fault.lineno)}",
            f"is not a Jinja template: {fault.message}",
            "fix the row",
        ) from fault
    except (TemplateError, *_EXPRESSION_ERRORS) as fault:
        raise UserError(str(path), f"is not a Jinja template: {fault}", "fix it") from fault


def _render(template: Template, values: Mapping[str, Any]) -> str:
    """Render a template; raises ValueError if the text becomes longer than any prompt."""
    pieces, length = list[str](), 0
    for piece in template.generate(values):
        pieces.append(piece)
        length += len(piece)
        if length > _MAX_CHARACTERS:
            raise ValueError(f"it becomes longer than {_MAX_CHARACTERS:,} characters")
    return "".join(pieces)


def _refuse_excess(path: Path, work: Callable[[], object]) -> None:
    """Refuse the prompt if `work` takes more time or memory than any prompt needs."""
    excess = find_excess(work)
    if excess is not None:
        raise UserError(
            str(path),
            f"cannot be rendered: it {excess}",
            "remove nested loops, and expressions that repeat, pad or multiply a text",
        )


def _measure_values(value: object) -> int:
    """Measure values: the characters of all texts within, and one for every other value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_measure_values, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_measure_values, value))
    return 1


def _find_row(pieces: list[str], source: str, row: int) -> int:
    """Find the row in the file of a fault in the `row`-th row of its part."""
    for piece in reversed(pieces):
        try:
            _ENVIRONMENT.parse(piece)
        except TemplateSyntaxError:
            return source[: source.rindex(piece)].count("\n") + row
    return row

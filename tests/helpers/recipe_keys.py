"""Which keys of a recipe code reads, and which of them a stage's fingerprint depends on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Annotated, Any, get_args
from unittest import mock

from pydantic import BaseModel, TypeAdapter, ValidationError

from distill.errors import UserError
from distill.recipe import Recipe
from distill.recipe.sections.section import Section
from distill.store.run import Run

Path = tuple[str | int, ...]
VALUES: list[Any] = [True, False, 1, 2, 0.5, 0.25, "cuda", "none", "x{query}", "x{text}", "x/y"]
VALUES += ["http://localhost:8000/v1", {"name": "a"}, {"path": "titles"}, {"rank": 3}]
"""Values to try in the place of a key's own, beside those that its type names."""


@contextmanager
def record_reads() -> Iterator[set[tuple[type, str]]]:
    """Collect each key that is read as an attribute, by its section's class and name."""
    reads: set[tuple[type, str]] = set()
    plain = BaseModel.__getattribute__

    def read(section: Section, name: str) -> Any:
        value = plain(section, name)
        if name in type(section).model_fields and not isinstance(value, Section):
            reads.add((type(section), name))
        return value

    with mock.patch.object(Section, "__getattribute__", read):
        yield reads


def locate_sections(section: Section, path: Path = ()) -> dict[type, Path]:
    """Where in a recipe each class of sections lies; of several in a list, the first."""
    places = {type(section): path}
    for name in type(section).model_fields:
        value = getattr(section, name)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, Section):
            inner = (*path, name) if first is value else (*path, name, 0)
            places |= locate_sections(first, inner)
    return places


def change_key(recipe: Recipe, path: Path, name: str) -> Iterator[Recipe]:
    """Copies of the recipe in which one key has another value of its type."""
    section = _follow(recipe, path)
    value, field = getattr(section, name), type(section).model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, "", *field.metadata])
    tried: set[str] = set()
    for candidate in _list_values(field.annotation, value):
        try:
            other = adapter.validate_python(candidate)
        except ValidationError:
            continue
        if other != value and repr(other) not in tried:
            tried.add(repr(other))
            changed = recipe.model_copy(deep=True)
            setattr(_follow(changed, path), name, other)
            yield changed


def _follow(recipe: Recipe, path: Path) -> Any:
    section: Any = recipe
    for step in path:
        section = section[step] if isinstance(step, int) else getattr(section, step)
    return section


def _list_values(annotation: Any, value: Any) -> Iterator[Any]:
    choices = list(_list_choices(annotation))
    yield from choices
    yield from ({choice: of} for choice in choices if isinstance(choice, str) for of in (2.0, "x"))
    yield from ([], {}, None)
    if isinstance(value, tuple):
        yield tuple(number + 1 for number in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from (value + 1, value / 2)
    if isinstance(value, str):
        yield f"x{value}"
    for one in VALUES:
        yield from (one, [one], {"x": one})


def _list_choices(annotation: Any) -> Iterator[Any]:
    for inner in get_args(annotation):
        if isinstance(inner, str | int | bool):
            yield from (inner, [inner])
        else:
            yield from _list_choices(inner)


class _SettingsSeen(Exception):
    def __init__(self, settings: Any) -> None:
        self.settings = settings


def read_settings(stage: str, make: Callable[[Recipe], Any], recipe: Recipe) -> Any:
    """The settings with which a function opens a stage, of which its fingerprint is made; in their
    place a text where the input is bad or the stage is not opened."""

    def stop_at_stage(plain: Callable[..., Any]) -> Callable[..., Any]:
        def work(run: Run, name: str, settings: Any, *more: Any, **options: Any) -> Any:
            if name == stage:
                raise _SettingsSeen(settings)
            return plain(run, name, settings, *more, **options)

        return work

    with (
        mock.patch.object(Run, "open_stage", stop_at_stage(Run.open_stage)),
        # Asked first where a stage that was made for other evaluation tasks may stay.
        mock.patch.object(Run, "find_complete_but_for", stop_at_stage(Run.find_complete_but_for)),
    ):
        try:
            make(recipe)
        except _SettingsSeen as seen:
            return seen.settings
        except UserError as fault:
            return str(fault)
    return f"the stage {stage} is not opened"


def find_missing_keys(
    stage: str, make: Callable[[Recipe], Any], recipe: Recipe, reads: set[tuple[type, str]]
) -> set[str]:
    """The keys among `reads` that change nothing in the settings of the stage."""
    settings, places = read_settings(stage, make, recipe), locate_sections(recipe)
    assert not isinstance(settings, str), settings
    missing = set()
    for section, name in reads:
        path = places[section]
        changed = change_key(recipe, path, name)
        first = next(changed, None)
        assert first is not None, f"no other value is known for {section.__name__}.{name}"
        if not any(_is_seen(stage, make, one, settings) for one in chain([first], changed)):
            missing.add(name_key(path, name))
    return missing


def _is_seen(stage: str, make: Callable[[Recipe], Any], changed: Recipe, settings: Any) -> bool:
    """Whether the settings of the stage differ; a value that no recipe may have tells nothing."""
    try:
        return bool(read_settings(stage, make, changed) != settings)
    except ValueError:
        return False


def name_key(path: Path, name: str) -> str:
    """A key as a person writes it, without places in lists."""
    return ".".join(str(part) for part in (*path, name) if not isinstance(part, int))


class StageChain:
    """Stages of one recipe, each made from those before it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._earlier: list[tuple[str, Callable[[Recipe], Any]]] = []

    def make(
        self, stage: str, make: Callable[[Recipe], Any], within: Sequence[str] = ()
    ) -> tuple[Any, set[str]]:
        """Make a stage. Returns what `make` does, and the keys that are read and change neither the
        settings of this stage nor of one before it.

        Args:
            within: other stages that `make` makes on the way, in their order.
        """
        with record_reads() as reads:
            made = make(self.recipe)
        self._earlier = [*((name, make) for name in (*within, stage)), *self._earlier]
        places, missing = locate_sections(self.recipe), {"?"}
        # Settings of an embedder that is made from others are no keys of the recipe.
        reads = {read for read in reads if read[0] in places}
        for name, make_again in self._earlier:
            if missing:
                missing = find_missing_keys(name, make_again, self.recipe, reads)
                reads = {read for read in reads if name_key(places[read[0]], read[1]) in missing}
        return made, missing

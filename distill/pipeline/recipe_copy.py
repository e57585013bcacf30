"""The resolved recipe inside its run, with every file that it names, so that a run's folder can be
continued by itself."""

from pathlib import Path

from distill.files.atomic import commit_bytes
from distill.files.read import parse_path
from distill.llm.prompts import find_prompt
from distill.recipe import Recipe, dump_recipe


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `recipe.yaml` and the prompts that it names. What lies outside the recipe's folder gets
    a new name; labelled sets and logs are not copied but named by their whole path."""
    copied = recipe.model_copy(deep=True)
    generate, relabel = copied.generate, copied.relabel
    generate.prompt = _keep(generate.prompt, folder, recipe)
    generate.examples = _keep(generate.examples, folder, recipe)
    if generate.personas is not None:
        generate.personas = _keep(generate.personas, folder, recipe)
    if "custom" in generate.methods:
        generate.custom.prompt = _keep(generate.custom.prompt, folder, recipe)
        generate.custom.json_schema = _keep(generate.custom.json_schema, folder, recipe)
    for judge in ("ql", "rc", "graded", "listwise", "grade"):
        name = f"prompt_{judge}"
        setattr(relabel, name, _keep(getattr(relabel, name), folder, recipe))
    if "brainstorm" in generate.methods:
        from distill.generate.brainstorm import list_brainstorm_prompts

        first, *rest = list_brainstorm_prompts(generate.brainstorm.groups)
        first_copy = _keep(f"{generate.brainstorm.prompts}/{first}", folder, recipe)
        for name in rest:
            _keep(f"{generate.brainstorm.prompts}/{name}", folder, recipe)
        generate.brainstorm.prompts = str(Path(first_copy).parent)
    for labelled in generate.labelled:
        labelled.path = str((recipe.folder / parse_path(labelled.path)).resolve())
    if generate.log.path is not None:
        generate.log.path = str((recipe.folder / parse_path(generate.log.path)).resolve())
    _write(folder / "recipe.yaml", dump_recipe(copied).encode())


def _keep(name: str, folder: Path, recipe: Recipe) -> str:
    """Copy a named file into the run; its name there."""
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    place = name if inside else f"prompts/{Path(name).name}"
    _write(folder / place, find_prompt(name, recipe.folder).read_bytes())
    return place


def _write(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(path, data)

"""Pages of the site that are read from the code or from files of the project's root: a hook of
mkdocs, which makes them while the site is built. Nothing of it is committed.

`python docs/generate.py FOLDER` writes the same pages into a folder."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from distill.cli import cli
from distill.recipe.reference import explain_key
from distill.store.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]


class Key(NamedTuple):
    """What `distill explain` prints of one key."""

    name: str
    facts: dict[str, str]
    description: str

    @property
    def is_section(self) -> bool:
        return "section" in self.facts["type"].split(", or ")[0].split()


def recipe_page() -> str:
    """Every key of a recipe, section by section."""
    lines = [
        "# Recipe keys",
        "",
        "A recipe is a YAML file. `distill explain KEY` prints the same in a terminal; "
        "`distill run --print-resolved RECIPE` prints every key of a recipe with its value.",
        "",
        "Editors with a YAML language server complete keys, show what they mean and mark what is "
        "wrong: `distill explain --json-schema > recipe.schema.json` writes the JSON schema, and "
        "the first line of a recipe names it: "
        "`# yaml-language-server: $schema=recipe.schema.json`. "
        "It knows neither `${NAME}` from the environment in place of a number nor keys' old names, "
        "which `distill check` does.",
        "",
        "## Top level",
        "",
    ]
    top = read_keys("")
    lines += _key_table(top)
    for section in filter(lambda key: key.is_section, top):
        lines += _section(section, 2)
    return "\n".join(lines)


def read_keys(section: str) -> list[Key]:
    """The keys of a section, or of the top level (an empty name)."""
    blocks = explain_key(section).split("\n\n")
    return [_read_key(block) for block in (blocks[1:] if section else blocks)]


def _read_key(block: str) -> Key:
    """One key of what `distill explain` prints: its name, facts indented by four, then the
    description, indented by two."""
    name, *lines = block.splitlines()
    facts: list[str] = []
    description: list[str] = []
    for line in lines:
        if line.startswith("        "):
            facts[-1] += f" {line.strip()}"
        elif line.startswith("    "):
            facts.append(line.strip())
        else:
            description.append(line.strip())
    pairs = (fact.partition(": ") for fact in facts)
    return Key(name, {label: text for label, _, text in pairs}, " ".join(description))


def _section(section: Key, level: int) -> Iterator[str]:
    yield from [f"{'#' * level} {section.name}", "", section.description, ""]
    keys = read_keys(section.name)
    yield from _key_table(keys)
    for inner in keys:
        if inner.is_section:
            yield from _section(inner, level + 1)


def _key_table(keys: list[Key]) -> Iterator[str]:
    """The keys that are no sections themselves."""
    plain = [key for key in keys if not key.is_section]
    if not plain:
        return
    yield from ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in plain:
        allowed = key.facts.get("allowed")
        kind = key.facts["type"] + (f" ({allowed})" if allowed else "")
        default = f"`{key.facts['default']}`" if key.facts["default"] != '""' else "empty"
        cells = [f"`{key.name}`", kind, default, key.description]
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""


def tables_page() -> str:
    """Every table of a run with its columns."""
    lines = [
        "# Tables",
        "",
        "Each stage writes one table: a folder of Parquet shards, in the order of their numbers. "
        'Any Parquet reader opens it, such as `datasets.load_dataset("parquet", '
        'data_dir="artifacts/mine/examples")`.',
        "",
    ]
    for table in TABLES.values():
        lines += [f"## {table.name}", "", f"One row: {table.one_row}.", ""]
        lines += ["| column | type | may be null |", "|---|---|---|"]
        lines += [
            f"| `{field.name}` | {field.type} | {'yes' if field.nullable else 'no'} |"
            for field in table.schema
        ]
        lines.append("")
    return "\n".join(lines)


def commands_page() -> str:
    """The command line's help, command by command."""
    lines = ["# Commands", "", "`distill COMMAND --help` prints the same.", ""]
    for name, command in _commands(cli, "distill"):
        with click.Context(command, info_name=name, max_content_width=88) as context:
            help_text = command.get_help(context)
        lines += [f"## {name}", "", "```text", help_text, "```", ""]
    return "\n".join(lines)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def layers_page() -> str:
    """The layers that .importlinter enforces, from top to bottom."""
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8")
    layers = contract.partition("\nlayers =\n")[2].partition("\ncontainers")[0]
    lines = ["# Layers", "", "| layer | folders of distill/ |", "|---|---|"]
    for number, layer in enumerate(layers.split("\n"), start=1):
        folders = ", ".join(f"`{folder.strip()}`" for folder in layer.split("|"))
        lines.append(f"| {number} | {folders} |")
    lines += ["", "A folder imports only those below it, and none beside it.", ""]
    return "\n".join(lines)


def api_page() -> str:
    """The public names of distill.api; mkdocstrings puts their docstrings in."""
    lines = [
        "# Python API",
        "",
        "Each function stands for a command; `import distill` gives them all, as `distill.run` "
        "and so on. [Python](../guides/python.md) shows how they are used.",
        "",
    ]
    for name in public_names():
        lines += [f"::: distill.api.{name}", ""]
    return "\n".join(lines)


def public_names() -> list[str]:
    """What `distill.api` exports, read without importing it: the site is built without torch."""
    tree = ast.parse((ROOT / "distill" / "api" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise SystemExit("distill/api/__init__.py has no __all__")


def root_page(name: str) -> Callable[[], str]:
    """A Markdown file of the project's root, whose links lead to pages of the site."""

    def page() -> str:
        text = (ROOT / name).read_text(encoding="utf-8")
        return re.sub(r"\]\((?!https?://|#)([^)]+)\)", _site_link, text)

    return page


def _site_link(link: re.Match[str]) -> str:
    """Of docs/x.md: its page; of another page of the root: that; of any other file: its name."""
    target, sign, anchor = link[1].partition("#")
    if target.startswith("docs/") and target.endswith(".md"):
        return f"](../{target.removeprefix('docs/')}{sign}{anchor})"
    known = {"README.md": "../index.md", "CONTRIBUTING.md": "contributing.md"}
    known |= {"CHANGELOG.md": "changelog.md", "benchmarks/RESULTS.md": "benchmarks.md"}
    return f"]({known.get(target, '../index.md')})"


def _cell(text: str) -> str:
    """One cell of a table; outside of code nothing of it is Markdown or HTML."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [re.sub(r"([\[\]*_<])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "reference/recipe.md": recipe_page,
    "reference/tables.md": tables_page,
    "reference/commands.md": commands_page,
    "reference/api.md": api_page,
    "reference/layers.md": layers_page,
    "reference/benchmarks.md": root_page("benchmarks/RESULTS.md"),
    "reference/contributing.md": root_page("CONTRIBUTING.md"),
    "reference/changelog.md": root_page("CHANGELOG.md"),
}
"""Path of each generated page, and what writes it."""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those that mkdocs has read from docs/."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files


def main(folder: Path) -> None:
    for path, page in PAGES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

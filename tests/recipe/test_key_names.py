"""Keys of the recipe that messages and docstrings name are keys of the recipe."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import distill
from distill.recipe import Recipe
from distill.recipe.explain import list_known_keys
from distill.recipe.renamed_keys import RENAMED_KEYS

FOLDER = Path(distill.__file__).parent
KEYS = {*list_known_keys(Recipe), *RENAMED_KEYS}
NAMED = re.compile(
    rf"(?<![\w./-])(?:{'|'.join(Recipe.model_fields)})\.[a-z_]+(?:\.[a-z_]+)*(?![\w/(*-])"
)
OTHERS = re.compile(r"\.(py|json|jsonl|yaml|tsv|csv|md|html|jinja|parquet|safetensors|sqlite|log)$")
"""Names of files."""


def strings(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_every_key_that_a_string_names_is_one():
    unknown = [
        f"{file.relative_to(FOLDER)}:{line}: {name}"
        for file in sorted(FOLDER.rglob("*.py"))
        for line, text in strings(file)
        for name in NAMED.findall(text)
        if name not in KEYS and not OTHERS.search(name)
    ]
    assert not unknown

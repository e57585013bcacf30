"""Code in the pages is true: YAML blocks load as recipes, Python blocks compile and import what is
there, and commands exist with the options that are given to them."""

import ast
import importlib.util
import inspect
import json
import re

import click
import pytest
import yaml

from distill.cli import cli
from distill.recipe.explain import list_known_keys
from distill.recipe.load import Recipe, load_recipe
from distill.recipe.renamed_keys import RENAMED_KEYS

from .markdown import PAGES, PART, ROOT, Block, all_blocks, read_commands

FOREIGN = {
    "elasticsearch",
    "haystack",
    "lancedb",
    "langchain_huggingface",
    "llama_index",
    "opensearchpy",
    "pgvector",
    "psycopg",
    "qdrant_client",
    "terms",  # of an exported index
}
"""Libraries of others that pages show and the tests do not install."""
FILE_ENDINGS = {"html", "json", "jsonl", "md", "py", "tsv", "yaml"}
OTHER_YAML = {"prices.yaml"}
OF_KUBERNETES = {"rayjob.yaml": "RayJob", "job.yaml": "Job", "training.yaml": "PyTorchJob"}
OLD_KEYS = {"relabel.round_trip", "teacher.instruction_template", "evaluate.batch_size"}
"""Keys that the changelog names as gone."""
SHELL = [b for language in ("bash", "sh", "shell") for b in all_blocks(language)]


def place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=place)
def test_yaml_block_is_a_recipe(block, tmp_path):
    values = yaml.safe_load(block.text)
    if block.title in OF_KUBERNETES:
        assert values["kind"] == OF_KUBERNETES[block.title]
        return
    if block.title in OTHER_YAML:
        from distill.estimate.prices import Prices

        file = tmp_path / block.title
        file.write_text(block.text, encoding="utf-8")
        Prices(file)
        return
    if block.title == PART:
        values = {"name": "part", **values}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    assert load_recipe(file).name == values["name"]


@pytest.mark.parametrize("block", all_blocks("python"), ids=place)
def test_python_block_compiles_and_its_imports_exist(block):
    tree = ast.parse(block.text, block.place)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert_module(node.module)
            if node.module.partition(".")[0] not in FOREIGN:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("block", all_blocks("python"), ids=place)
def test_calls_of_the_library_fit_its_functions(block):
    import distill

    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("distill."):
            function = getattr(distill, ast.unparse(node.func).removeprefix("distill."))
            keywords = {keyword.arg: None for keyword in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)


def assert_module(name: str) -> None:
    if name.partition(".")[0] not in FOREIGN:
        assert importlib.util.find_spec(name) is not None, name


def distill_commands() -> list[tuple[str, list[str]]]:
    """Place and words behind `distill` of every command that a page shows."""
    found = []
    for block in SHELL:
        for words in read_commands(block):
            if words[0] == "distill":
                found.append((block.place, words[1:]))
            elif "distill.cli" in words:
                found.append((block.place, words[words.index("distill.cli") + 1 :]))
    return found


@pytest.mark.parametrize(("where", "words"), distill_commands())
def test_command_exists_with_its_options(where, words):
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        inner = command.commands.get(rest[0])
        if inner is None:
            assert command.invoke_without_command or rest[0].startswith("-"), rest[0]
            break
        command, rest = inner, rest[1:]
    assert command is not cli or rest[0].startswith("-"), f"{where}: no command is named"
    arguments, options = parse(command, rest)
    for setting in options.get("sets") or ():
        assert_key(setting.partition("=")[0])
    if command.name == "explain" and isinstance(arguments[0], str):  # else no key is named
        assert_key(arguments[0])


def parse(command: click.Command, words: list[str]) -> tuple[list[str], dict]:
    """What click makes of the words, without running the command."""
    parser = command.make_parser(click.Context(command))
    values, rest, _ = parser.parse_args(list(words))
    assert not rest, f"surplus words {rest}"
    named = [p.name for p in command.params if isinstance(p, click.Argument)]
    return [values[name] for name in named if values.get(name)], values


def assert_key(key: str) -> None:
    known = set(list_known_keys(Recipe))
    assert key in known or any(one.startswith(f"{key}.") for one in known), f"no key {key}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "robustness.md"],  # its table is of bad input
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_key_that_a_page_names_exists(page):
    """What stands in `code` and begins with a section of the recipe is a key, or was one."""
    sections = "|".join(Recipe.model_fields)
    text = page.read_text(encoding="utf-8")
    for key in set(re.findall(rf"`((?:{sections})\.[a-z_.]+)\b", text)):
        is_file = key.rpartition(".")[2] in FILE_ENDINGS
        is_old = page.name == "CHANGELOG.md" and key in OLD_KEYS | RENAMED_KEYS.keys()
        if not is_file and not is_old:
            assert_key(key)


@pytest.mark.parametrize("block", all_blocks("json"), ids=place)
def test_json_block_parses(block):
    assert json.loads(block.text)


def test_pages_show_many_commands_and_recipes():
    assert len(distill_commands()) > 40
    assert len([b for b in all_blocks("yaml") if b.title != PART]) >= 8


@pytest.mark.parametrize("block", SHELL, ids=place)
def test_make_targets_and_files_exist(block):
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in read_commands(block):
        if words[0] == "make":
            for target in (word for word in words[1:] if "=" not in word):
                assert f"\n{target}:" in targets, target
        for word in words:
            if word.startswith(("recipes/", "benchmarks/", "tests/")):
                assert (ROOT / word).exists(), word

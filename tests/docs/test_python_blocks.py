"""Python blocks of the pages are run, in the order of their page, with tiny models in the place of
those that they name. A block that needs a server or a package of others says so in its title."""

import ast
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.tiny_models import make_tiny_cross_encoder

import distill

from .markdown import Block, all_blocks
from .test_blocks import FOREIGN

ELSEWHERE = {"make_corpus.py": "test_tutorials.py runs it"}
"""Files that a reader makes of blocks."""
BLOCKS = [block for block in all_blocks("python") if block.title not in ELSEWHERE]
RUN = [block for block in BLOCKS if not block.title.startswith("needs ")]
VALUES = {
    "BAAI/bge-large-en-v1.5": "teacher",
    "widths=[128]": "widths=[16]",
    'distill.export(run, "exports/mine"': 'distill.export(run, "exports/again"',
}
"""What stands in the place of a model of the hub, a width that the tiny student lacks, and a folder
that stands for other pages."""


def names_foreign(block: Block) -> bool:
    """Whether a block imports a library that the tests do not install."""
    names = set()
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return any(name.partition(".")[0] in FOREIGN for name in names)


def test_block_is_not_run_only_where_it_needs_what_others_make():
    assert [block.place for block in BLOCKS if names_foreign(block) != (block not in RUN)] == []
    assert len(RUN) >= 9


@pytest.fixture(scope="module")
def home(tmp_path_factory, whole_run, recipe_file, teacher_folder) -> Path:
    """A folder with what the pages take to be there: a recipe, runs, exports, a task."""
    pytest.importorskip("mteb")
    pytest.importorskip("onnxruntime")
    home = Path(tmp_path_factory.mktemp("reader"))
    for name in ("mine", "demo"):
        shutil.copytree(whole_run, home / "artifacts" / name, symlinks=True)
    recipe = yaml.safe_load(recipe_file.read_text()) | {"name": "mine"}
    recipe["generate"]["prompt"] = str(recipe_file.parent / "short.jinja")
    (home / "mine.yaml").write_text(yaml.safe_dump(recipe))
    shutil.copytree(recipe_file.parent / "tasks", home / "my_eval")
    shutil.copytree(teacher_folder, home / "teacher")
    make_tiny_cross_encoder(home / "exports" / "reranker")
    formats = ["sentence-transformers", "onnx", "int8"]
    distill.export(home / "artifacts" / "mine", home / "exports" / "mine", formats=formats)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_python_block_runs(block, home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    pattern = "|".join(map(re.escape, VALUES))
    text = re.sub(pattern, lambda found: VALUES[found[0]], block.text)
    exec(compile(text, block.place, "exec"), {})
    assert bool(capsys.readouterr().out) or "print(" not in text

"""Names and sizes that keep the tree readable: one meaning a name, no folder or file too large."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import distill

FOLDER = Path(distill.__file__).parent
MOST_MODULES, MOST_LINES = 12, 400


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(FOLDER.rglob("*.py")):
        yield path.relative_to(FOLDER).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def type_names(tree: ast.Module) -> Iterator[str]:
    """Classes, and aliases of types: capitalised, but no constants."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name


def test_no_type_name_is_defined_twice():
    places = defaultdict(list)
    for path, tree in modules():
        for name in type_names(tree):
            places[name].append(path)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_folders_hold_few_modules():
    counts = Counter(
        path.parent.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.py")
        if path.name != "__init__.py"
    )
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in FOLDER.rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods by name, those of private classes and the hooks of the trainer's
    callbacks (`on_log` and others, described by transformers) left out."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [
                (f"{node.name}.{inner.name}", inner) for inner in node.body if is_function(inner)
            ]
        else:
            methods = [(node.name, node)] if is_function(node) else []
        for name, function in methods:
            if not function.name.startswith(("_", "on_")):
                yield name, function


def is_function(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def is_setter(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(one).endswith(".setter") for one in function.decorator_list)


def test_public_functions_have_docstrings():
    missing = [
        f"{path}:{function.lineno} {name}"
        for path, tree in modules()
        for name, function in public_functions(tree)
        if ast.get_docstring(function) is None and not is_setter(function)
    ]
    assert missing == []


def test_docstrings_begin_with_a_sentence():
    """No docstring begins with `Raises:` or `Args:`, which say nothing of what is done."""
    bare = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (ast.get_docstring(node) or "").startswith(("Raises:", "Args:", "Returns:"))
    ]
    assert bare == []

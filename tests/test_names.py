"""Names and sizes that keep the tree readable: one meaning a name, a verb before each function's
name, no folder or file too large."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import distill

FOLDER = Path(distill.__file__).parent
TESTS = Path(__file__).parent
MOST_MODULES, MOST_LINES, FEWEST_LINES = 12, 400, 30
VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text(encoding="utf-8").split())
"""The verbs that functions and their docstrings begin with."""
PREDICATES = frozenset(
    {
        "are",
        "can",
        "contains",
        "differ",
        "has",
        "holds",
        "is",
        "mentions",
        "must",
        "names",
        "needs",
        "opens",
        "outweighs",
        "overlaps",
        "ranks",
        "repeats",
        "should",
        "supports",
        "takes",
        "uses",
    }
)
"""What a function begins with that returns whether something is so."""
CONVERSIONS = ("from_", "to_")
"""Named as Python libraries name them: `from_dict`, `to_json`."""
NAMED_ELSEWHERE = {
    "main": "the entry point of a program",
    "forward": "torch calls it",
    "on_epoch_begin": "the trainer of transformers calls it",
    "on_log": "the trainer of transformers calls it",
    "on_save": "the trainer of transformers calls it",
    "on_step_end": "the trainer of transformers calls it",
    "on_train_begin": "the trainer of transformers calls it",
    "similarity": "mteb calls it",
    "similarity_pairwise": "mteb calls it",
    "handleError": "logging calls it",
    "_output_child_to_const": "jinja2 calls it",
    "doctor": "the library's function of `distill doctor`",
    "init": "the library's function of `distill init`",
    "table": "`run.table(name)`, public",
}
"""Functions that begin with no verb, and why."""

ONE_IDEA_A_FILE = ("generate/filters/", "train/objectives/")
"""Folders in which a filter, or a loss, has a file of its own, however short: users name them."""
SHORT_FILES = {
    "__main__.py": "`python -m distill`",
    "cli/__main__.py": "`python -m distill.cli`",
    "corpus/input.py": "the corpus stage, `distill init` and commands before a run need it",
    "embed/batches.py": "encoders, cross-encoders and training make batches by it",
    "export/markdown.py": "the model card and the page of an index are rendered by it",
    "export/templates/encode.py": "copied into exports as it is",
    "files/read_sequence.py": "the base of four sequences, in three folders",
    "generate/settings.py": "the sections that methods of generation have in common",
    "models/nv_embed/pooling.py": "one module writes NV-Embed with it, another opens it",
    "pipeline/inner_run.py": "four modules of the pipeline open a run inside a run",
    "recipe/needs.py": "whether a recipe needs an LLM, asked in three folders",
    "report/run_notes.py": "the terminal, the page and the text of a report show the same notes",
    "start/choice/setting.py": "the type that every choice of `distill init` gives",
    "store/shards.py": "the names of shards, known in one place",
    "student/latent_attention.py": "students saved earlier name it in their modules.json",
    "train/settings.py": "the sections that all of training has in common",
}
"""Files of fewer lines, which have more than one user or a name that must stay, and why."""

FRAGMENTS = frozenset({"What", "Of", "By", "From", "Where", "Whether", "How"})
"""Words with which the docstring of a class would be no sentence and no noun phrase."""

NO_SUBJECT = re.compile(
    "test_(an?|the|its?|they|their|them|this|that|these|those|there|nothing|anything|everything"
    "|what|whatever|which|who|whose|how|where|when|why|whether|if|in|at|of|on|by|for|from|as|with"
    "|without|within|beyond|between|beside|behind|before|after|until|under|over|towards|through"
    "|to|so|never|even|once|here)_"
)
"""Names of tests that do not begin with their subject."""


@cache
def modules() -> list[tuple[str, ast.Module]]:
    paths = sorted(FOLDER.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    names = [path.relative_to(FOLDER).as_posix() for path in paths]
    return list(zip(names, map(ast.parse, texts), strict=True))


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
    paths = [*FOLDER.rglob("*.py"), *TESTS.rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_files_are_not_too_short():
    """A function with one user stands beside that user."""
    lengths = {
        path.relative_to(FOLDER).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in FOLDER.rglob("*.py")
        if path.name != "__init__.py"
    }
    short = {name for name, lines in lengths.items() if lines < FEWEST_LINES}
    unnamed = {name for name in short - SHORT_FILES.keys() if not name.startswith(ONE_IDEA_A_FILE)}
    assert unnamed == set(), "put these beside what uses them, or say here why they stay"
    assert SHORT_FILES.keys() - lengths.keys() == set(), "these are gone"


def test_test_names_begin_with_their_subject():
    """`test_judged_pairs_…`, which `pytest -k judged` finds, and not `test_it_…`, `test_the_…` or
    `test_without_…`."""
    named = [
        f"{path.relative_to(TESTS)}: {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if is_function(node) and NO_SUBJECT.match(node.name)
    ]
    assert named == [], "begin these names with what is tested (see this test's docstring)"


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


def test_classes_are_described_by_a_sentence_or_a_noun_phrase():
    """`The counts of a corpus`, and not `What the corpus says`; private classes may do without."""
    classes = [
        (f"{path}:{node.lineno} {node.name}", node.name, ast.get_docstring(node))
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    bare = [place for place, name, text in classes if text is None and not name.startswith("_")]
    fragments = [
        f"{place}: {text}"
        for place, _, text in classes
        if text is not None and text.split()[0].rstrip(",:.;") in FRAGMENTS
    ]
    assert (bare, fragments) == ([], [])


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


def is_attribute(function: ast.FunctionDef) -> bool:
    """Properties, which are named by a noun as other attributes are."""
    return is_setter(function) or any(
        "property" in ast.unparse(one) for one in function.decorator_list
    )


def is_command(function: ast.FunctionDef) -> bool:
    """Commands of the command line: a function has its command's name."""
    ends = (".command", ".group")
    return any(
        isinstance(one, ast.Call) and ast.unparse(one.func).endswith(ends)
        for one in function.decorator_list
    )


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions and methods, those inside others too."""
    return (node for node in ast.walk(tree) if is_function(node) and not is_attribute(node))


def begins_with_verb(function: ast.FunctionDef) -> bool:
    name = function.name
    if name in NAMED_ELSEWHERE or name.startswith(("__", *CONVERSIONS)) or is_command(function):
        return True
    first = name.strip("_").partition("_")[0]
    returns = "" if function.returns is None else ast.unparse(function.returns)
    is_predicate = "bool" in returns or returns.startswith("TypeGuard")
    return first in VERBS or (first in PREDICATES and is_predicate)


def test_functions_begin_with_a_verb():
    """A function says what it does (`read_rows`, not `rows`), or, as `is_empty` or `contains`, what
    it returns whether. A verb that tests/verbs.txt lacks is added there, in its place; a name that
    another library gives goes into NAMED_ELSEWHERE, with who calls it."""
    other = [
        f"{path}:{function.lineno} {function.name}"
        for path, tree in modules()
        for function in functions(tree)
        if not begins_with_verb(function)
    ]
    assert other == [], "begin these functions with a verb (see this test's docstring)"


def find_helpers() -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions that tests share, but for fixtures, which are named by what they give, and for
    the objectives of reference_losses.py, which are named as formulas are."""
    for path in sorted((TESTS / "helpers").glob("*.py")):
        if path.name != "reference_losses.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for function in filter(is_function, tree.body):
                if not any("fixture" in ast.unparse(one) for one in function.decorator_list):
                    yield f"{path.name}:{function.lineno} {function.name}", function


def test_helpers_of_tests_begin_with_a_verb():
    """As the functions of distill do."""
    other = [place for place, function in find_helpers() if not begins_with_verb(function)]
    assert other == [], "begin these functions with a verb (see this test's docstring)"


def test_docstrings_of_functions_begin_with_a_verb():
    """A function's docstring begins with what it does, as a command: `Read`, not `Reads` or `The
    rows`; `Return whether` for a predicate. A verb that tests/verbs.txt lacks is added there."""
    other = [
        f"{path}:{function.lineno} {function.name}: {text.splitlines()[0]}"
        for path, tree in modules()
        for function in functions(tree)
        if (text := ast.get_docstring(function))
        and text.split()[0].rstrip(",:.;").lower() not in VERBS
    ]
    assert other == [], "begin these docstrings with a verb (see this test's docstring)"


def test_list_of_verbs_is_sorted_and_has_no_word_without_use():
    text = Path(__file__).with_name("verbs.txt").read_text(encoding="utf-8").split()
    assert text == sorted(set(text))
    used = set()
    for _, tree in modules():
        for function in functions(tree):
            used.add(function.name.strip("_").partition("_")[0])
            used.add((ast.get_docstring(function) or "-").split()[0].rstrip(",:.;").lower())
    used |= {function.name.strip("_").partition("_")[0] for _, function in find_helpers()}
    assert set(text) - used == set()
    defined = {function.name for _, tree in modules() for function in functions(tree)}
    assert NAMED_ELSEWHERE.keys() - defined == set()

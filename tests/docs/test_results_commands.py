"""Commands in benchmarks/RESULTS.md name files, options and keys that exist."""

import re
import shlex

import pytest
import yaml

from distill.recipe.explain import list_known_keys
from distill.recipe.load import Recipe

from .markdown import ROOT

TEXT = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
CODE = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", TEXT)]
COMMANDS = [code for code in CODE if re.search(r"(^|\s)(python|distill|make)\s", code)]
KEYS = set(list_known_keys(Recipe))


def test_results_have_commands():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_command_names_files_that_exist(command):
    words = shlex.split(command)
    for word in words:
        if re.match(r"(benchmarks|recipes|tests)/", word):
            assert (ROOT / word).exists(), word
    if "make" in words:
        target = words[words.index("make") + 1]
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), target


@pytest.mark.parametrize("command", [c for c in COMMANDS if "benchmarks/" in c])
def test_benchmark_has_the_options(command):
    words = shlex.split(command)
    script = next(word for word in words if word.startswith("benchmarks/"))
    source = (ROOT / script).read_text(encoding="utf-8")
    for option in (word for word in words if word.startswith("--")):
        assert f'"{option}"' in source, f"{script} {option}"


def settings() -> list[str]:
    """What stands behind --set in the page."""
    return [s for code in CODE for s in re.findall(r"--set '?([\w.]+)=", code)]


@pytest.mark.parametrize("key", sorted(set(settings())))
def test_key_that_is_set_exists(key):
    assert key in KEYS or any(one.startswith(f"{key}.") for one in KEYS), key


def test_settings_are_yaml():
    for code in CODE:
        for value in re.findall(r"--set '[\w.]+=([^']*)'", code):
            yaml.safe_load(value)

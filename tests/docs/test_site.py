"""The site is whole: every page is in the navigation, every link leads somewhere, and what is
generated covers the code."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from distill.cli import cli
from distill.recipe import Recipe
from distill.recipe.explain import list_known_keys
from distill.store.tables import TABLES

from .markdown import PAGES, ROOT, read_anchors, read_links

DOCS = ROOT / "docs"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """Path below docs/ -> text of each page that the site's build makes."""
    return {path: page() for path, page in load_generator().PAGES.items()}


def pages_in_navigation(entries: list[Any]) -> list[str]:
    names: list[str] = []
    for entry in entries:
        for value in entry.values():
            names += pages_in_navigation(value) if isinstance(value, list) else [value]
    return names


def test_navigation_names_every_page_once(generated):
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = pages_in_navigation(settings["nav"])
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(written | generated.keys())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings(page, generated):
    for link in read_links(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        made = generated.get(str(target.relative_to(DOCS))) if DOCS in target.parents else None
        assert made is not None or target.exists(), f"{page}: {link} leads nowhere"
        if anchor:
            text = target.read_text(encoding="utf-8") if made is None else made
            assert anchor in read_anchors(text), f"{page}: {link} has no such heading"


def test_generated_pages_link_within_the_site(generated):
    for name, text in generated.items():
        for link in read_links(text):
            if link.startswith(("http://", "https://", "#")):
                continue
            target = ((DOCS / name).parent / link.partition("#")[0]).resolve()
            known = str(target.relative_to(DOCS)) in generated
            assert known or target.exists(), f"{name}: {link}"


def test_recipe_reference_has_every_key(generated):
    text = generated["reference/recipe.md"]
    headings = {line.lstrip("# ") for line in text.splitlines() if line.startswith("#")}
    for key in list_known_keys(Recipe):
        assert f"| `{key}` |" in text or key in headings, key


def test_recipe_reference_describes_every_key(generated):
    rows = [line.replace("\\|", "") for line in generated["reference/recipe.md"].splitlines()]
    for row in rows:
        if row.startswith("| `"):
            key, kind, default, meaning = (cell.strip() for cell in row.strip("|").split("|"))
            assert kind, key
            assert default, key
            assert len(meaning) > 15, key


def test_table_reference_has_every_column(generated):
    text = generated["reference/tables.md"]
    for table in TABLES.values():
        section = text.partition(f"\n## {table.name}\n")[2].partition("\n## ")[0]
        for column in table.columns:
            assert f"| `{column}` |" in section, f"{table.name}.{column}"


def test_command_reference_has_every_command(generated):
    for name in cli.commands:
        assert f"\n## distill {name}\n" in generated["reference/commands.md"]


def test_api_reference_has_every_public_name(generated):
    import distill.api

    for name in distill.api.__all__:
        assert f"\n::: distill.api.{name}\n" in generated["reference/api.md"]


def test_layers_are_those_that_are_enforced(generated):
    folders = {p.name for p in (ROOT / "distill").iterdir() if (p / "__init__.py").is_file()}
    for name in folders:
        assert f"`{name}`" in generated["reference/layers.md"], name


def test_architecture_names_every_folder():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    folders = {p.name for p in (ROOT / "distill").iterdir() if (p / "__init__.py").is_file()}
    described = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert described - {"errors.py"} == folders


def test_readme_is_short_and_shows_the_report():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size < 200_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_project_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:distill|tests|recipes|benchmarks|docs)/[\w./-]+)`", text))
    for name in named:
        assert (ROOT / name).exists(), f"{page}: {name}"


def test_images_that_pages_show_are_there():
    shown = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in read_links(page.read_text(encoding="utf-8"))
        if link.endswith((".png", ".svg"))
    }
    assert shown == set((DOCS / "images").iterdir())


def test_citation_and_package_say_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]


def test_docs_extra_asks_for_no_other_versions():
    """What the site's build imports of distill has the bounds that distill has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    known = {*project["dependencies"], *extras["dev"]}
    assert {one for one in extras["docs"] if "mkdocs" not in one} <= known


def test_dockerfile_copies_what_is_there():
    copied = [
        name
        for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    ]
    assert copied
    for name in copied:
        assert (Path(ROOT) / name).exists(), name


def test_messages_that_the_page_on_trouble_explains_are_those_of_the_code():
    page = (DOCS / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "distill").rglob("*.py"))
    headings = re.findall(r"^\*\*(`.+?)\*\*", page, flags=re.MULTILINE)
    assert len(headings) > 8
    for heading in headings:
        for message in re.findall(r"`([^`]+)`", heading):
            for part in message.split(" ... "):
                assert part in code, part

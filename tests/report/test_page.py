"""The page in headless Chromium: it renders, tabs, tables and theme work, it asks for nothing."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distill.report.html import write_html

playwright = pytest.importorskip(
    "playwright.sync_api", reason="NOT TESTED: the page in a browser; pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: the page in a browser; install chromium"
)


@dataclass
class Opened:
    """A page, what its console said, and every address that it asked for."""

    page: "playwright.Page"
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def shown(self) -> list[str]:
        return self.page.eval_on_selector_all(
            "main > section", "all => all.filter(s => s.checkVisibility()).map(s => s.id)"
        )

    def colour(self) -> str:
        return self.page.evaluate("getComputedStyle(document.body).backgroundColor")

    def first_cells(self, caption: str) -> list[str]:
        table = self.page.locator("table", has=self.page.locator(f'caption:text("{caption}")'))
        return table.locator("tbody tr > :first-child").evaluate_all(
            "all => all.map(cell => cell.firstChild.textContent.trim())"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as runner:
        chromium = runner.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    contexts = []

    def opened(file: Path, **options) -> Opened:
        context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
        contexts.append(context)
        one = Opened(context.new_page())
        one.page.on("console", lambda message: one.said.append(message.text))
        one.page.on("pageerror", lambda fault: one.said.append(str(fault)))
        one.page.on("dialog", lambda dialog: one.said.append(dialog.message))

        def route(route, request) -> None:
            one.asked.append(request.url)
            route.continue_() if request.url == file.as_uri() else route.abort()

        context.route("**/*", route)
        one.page.goto(file.as_uri())
        return one

    yield opened
    for context in contexts:
        context.close()


def test_page_renders_in_silence_and_requests_nothing(open_page, page_file):
    opened = open_page(page_file)
    assert opened.page.title() == "bees: report of distill"
    assert opened.said == []
    assert opened.asked == [page_file.as_uri()]


def test_hostile_text_does_nothing(open_page, hostile_file):
    opened = open_page(hostile_file)
    for tab in ("losses", "training", "funnel", "relabelling", "lineage"):
        opened.page.click(f"#tab-{tab}")
    assert opened.said == []
    assert opened.asked == [hostile_file.as_uri()]


def test_tab_is_open_by_click_key_and_address(open_page, page_file):
    opened = open_page(page_file)
    assert opened.shown() == ["results"]
    opened.page.click("#tab-relabelling")
    assert opened.shown() == ["relabelling"]
    opened.page.keyboard.press("ArrowRight")
    assert opened.shown() == ["lineage"]
    opened.page.keyboard.press("ArrowRight")
    assert opened.shown() == ["results"]
    chosen = '[role="tab"][aria-selected="true"]'
    assert opened.page.eval_on_selector(chosen, "tab => tab === document.activeElement")
    opened.page.evaluate("location.hash = '#training'")
    opened.page.wait_for_function("document.querySelector('#training').checkVisibility()")
    assert opened.shown() == ["training"]


def test_tables_sort_by_value_and_by_name(open_page, page_file):
    opened = open_page(page_file)
    caption = "Models side by side"
    heading = opened.page.locator("table", has_text=caption).locator("thead th")
    heading.filter(has_text="on disk").get_by_role("button").click()
    # 139.2 MB before 69.6 MB, and what is not known last.
    assert opened.first_cells(caption)[0] == "teacher"
    assert opened.first_cells(caption)[-1] == "owner/known"
    assert heading.filter(has_text="on disk").get_attribute("aria-sort") == "descending"
    heading.filter(has_text="on disk").get_by_role("button").click()
    assert opened.first_cells(caption)[-2:] == ["teacher", "owner/known"]
    heading.first.get_by_role("button").press("Enter")
    assert opened.first_cells(caption) == sorted(opened.first_cells(caption))
    assert heading.filter(has_text="on disk").get_attribute("aria-sort") is None


def test_theme_follows_the_system_until_it_is_chosen(open_page, page_file):
    light = open_page(page_file, color_scheme="light")
    dark = open_page(page_file, color_scheme="dark")
    colours = light.colour(), dark.colour()
    assert colours[0] != colours[1]
    light.page.click("#theme")
    dark.page.click("#theme")
    assert (dark.colour(), light.colour()) == colours


def test_plots_take_the_themes_colours(open_page, page_file):
    opened = open_page(page_file, color_scheme="light")
    ink = "getComputedStyle(document.querySelector('svg text')).fill"
    before = opened.page.evaluate(ink)
    assert before == opened.page.evaluate("getComputedStyle(document.body).color")
    opened.page.click("#theme")
    assert opened.page.evaluate(ink) != before


def test_print_shows_every_section_in_light_colours(open_page, page_file):
    opened = open_page(page_file, color_scheme="dark")
    dark = opened.page.evaluate("getComputedStyle(document.body).color")
    assert not opened.page.is_visible("text=Contents")
    opened.page.emulate_media(media="print")
    assert opened.page.is_visible("text=Contents")
    entries = opened.page.locator(".contents a")
    assert entries.evaluate_all("all => all.map(a => a.hash.slice(1))") == opened.shown()
    assert len(opened.shown()) == 6
    assert opened.page.evaluate("getComputedStyle(document.body).color") != dark
    assert not opened.page.is_visible("#tabs")


def test_recipe_is_left_out_of_print_and_the_page_says_where_it_is(open_page, page_file):
    opened = open_page(page_file)
    opened.page.click("#tab-lineage")
    opened.page.click("text=Recipe, every key with its value")
    assert opened.page.is_visible("#lineage pre")
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not opened.page.is_visible("#lineage pre")
    assert opened.page.is_visible("text=The recipe is in the run's recipe.yaml")


def test_printing_unfolds_and_folds_again(open_page, page_file):
    opened = open_page(page_file)
    folded = "document.querySelectorAll('details:not([open])').length"
    before = opened.page.evaluate(folded)
    assert before > 0
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate(folded) == 0
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate(folded) == before


def test_page_is_no_wider_than_a_telephone_but_for_tables_and_plots(open_page, page_file):
    opened = open_page(page_file)
    opened.page.set_viewport_size({"width": 360, "height": 800})
    for tab in ("results", "losses", "training", "funnel", "relabelling", "lineage"):
        opened.page.click(f"#tab-{tab}")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360, tab


def test_models_side_by_side_need_no_scrolling_on_a_large_screen(open_page, run_folder, tmp_path):
    """With three measures beside the score, as retrieval has them, and the spread of speed."""
    folder = shutil.copytree(run_folder, tmp_path / "bees")
    for file in (folder / "summary.json", folder / "evaluation" / "summary.json"):
        if file.exists():
            summary = json.loads(file.read_text())
            values = dict.fromkeys(("recall_at_10", "recall_at_100", "mrr_at_10"), 0.6789)
            for model in summary["models"].values():
                model["measures"] = dict.fromkeys(model["tasks"], values)
                model |= {"speed_rounds": [98.7, 1234.5], "latency_quartiles": [8.1, 12.3]}
            file.write_text(json.dumps(summary))
    opened = open_page(write_html(folder))
    box = opened.page.locator('.scroll[aria-label="Models side by side"]')
    assert box.locator("thead th").count() > 9
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 0


def test_page_is_complete_without_scripts(open_page, page_file):
    opened = open_page(page_file, java_script_enabled=False)
    for section in ("results", "losses", "training", "funnel", "relabelling", "lineage"):
        assert opened.page.is_visible(f"#{section}")
    assert not opened.page.is_visible("#theme")

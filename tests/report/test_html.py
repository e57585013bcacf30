"""What stands on the page for what stands in a run."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.fresh_process import CONTEXT
from helpers.ray_work import PATIENCE
from helpers.report_runs import DECONTAMINATION, HOSTILE, make_summary, write_run

import distill
from distill.cli.runs import report
from distill.errors import UserError
from distill.evaluate.summary import write_summary
from distill.files.atomic import write_json
from distill.report.html import write_html
from distill.report.markdown.report import write_report
from distill.report.run_data import put_before_first
from distill.runtime.versions import find_commit
from distill.store.run import Run


class Page(HTMLParser):
    """The elements with their attributes; the text of every section, white space aside."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self._section = ""
        self.feed(html)
        self.sections = {name: " ".join(text.split()) for name, text in self.sections.items()}

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"]
            self.sections[self._section] = ""

    def handle_endtag(self, tag):
        self._section = "" if tag == "section" else self._section

    def handle_data(self, data):
        self.sections[self._section] += f" {data}"


def page_of(file) -> Page:
    return Page(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(page_file) -> Page:
    return page_of(page_file)


def test_verdict_stands_before_every_section(page):
    assert list(page.sections)[1:] == [
        "results",
        "losses",
        "training",
        "funnel",
        "relabelling",
        "lineage",
    ]
    assert "84.6% of the teacher kept" in page.sections[""].replace(
        "of the teacher kept 84.6%", "84.6% of the teacher kept"
    )


def test_task_has_its_scores_and_its_differences_with_interval_p_and_counts(page):
    assert (
        "mine Retrieval nDCG@10 0.3000 0.4000 0.5000 "
        "−0.1000 −0.1200 to −0.0800 0.020 30 / 5 / 15 "
        "+0.1000 +0.0800 to +0.1200 0.020 30 / 5 / 15"
    ) in page.sections["results"]


def test_task_without_single_items_says_that_it_has_no_interval(page):
    assert "pairs STS Spearman 0.6000 0.7000 0.8000 −0.1000 – +0.1000 –" in page.sections["results"]
    assert "no values of single items: pairs." in page.sections["results"]


def test_models_are_in_the_order_of_a_table_with_variants_and_published_scores(page):
    told = page.sections["results"].split("Models side by side")[-1]
    order = [
        "base model",
        "student distill/student",
        "student int8",
        "teacher owner/",
        "owner/known",
    ]
    places = [told.index(role) for role in order]
    assert places == sorted(places)
    assert "owner/known published, mteb 1.34 0.6000 92.3% – – 384 – – –" in told
    assert "student int8 variant of student 0.5400 83.1% 17.4M 69.6 MB" in told


def test_categories_are_averaged_over_categories(page):
    assert "student 0.4000 0.7000 0.5500" in page.sections["results"].split("Means by category")[-1]


def test_funnel_tells_what_each_step_dropped(page):
    told = page.sections["funnel"]
    assert "80 80.0% dropped: unfinished 15, malformed 5" in told
    assert "60 75.0% dropped: round trip 20" in told
    assert "not checked against any evaluation set" in told


def test_decontamination_is_reported_in_words(tmp_path):
    found = DECONTAMINATION
    with Run(tmp_path) as run:
        run.open_stage("queries", {}).finish(rows=60, decontamination=found)
        short = {key: n for key, n in found.items() if "seed" not in key}
        run.open_stage("examples-brainstorm", {}).finish(rows=3, decontamination=short)
        run.open_stage("examples-labelled", {}).finish(rows=3)
    told = page_of(write_html(tmp_path)).sections["funnel"]
    assert "312 evaluation queries of SciFact, held-out, by runs of 8 words" in told
    assert "5 dropped. Of 90 seed passages 3 hold words of an evaluation query" in told
    assert "Brainstormed examples were checked against 312 evaluation queries" in told
    assert "Examples of labelled sets were not checked" in told


def test_relabelling_is_reported_with_all_changes(page):
    told = page.sections["relabelling"]
    assert "another passage than the seed for 15.2 % of".replace(" %", "%") in told
    assert "ql 0.500 0.750 0.625" in told
    assert "fewer negatives than asked 4" in told
    assert "ql 1,000 200 20.0" in told
    for number in range(9):
        assert f"why do bees dance {number}" in told
    assert "fusion 3, ql 3, rc –, retriever 2" in told


def test_training_has_a_panel_for_the_loss_each_term_and_what_was_looked_at(page):
    assert "steps 20" in page.sections["training"]
    plots = [of["aria-label"] for tag, of in page.elements if tag == "svg"]
    for told in ("loss from 1 to 0.05", "infonce from 0.9 to 0.045", "ndcg at 10 from 0 to 0.2"):
        assert f"By step of training: {told}." in plots


def test_training_tells_what_was_before_first(tmp_path):
    kept = {
        "cosine_to_teacher_after": 0.9,
        "cosine_to_teacher_before": 0.1,
        "steps": 20,
        "x_after": 1,
    }
    assert put_before_first(kept) == [
        "cosine_to_teacher_before",
        "cosine_to_teacher_after",
        "steps",
        "x_after",
    ]
    with Run(tmp_path / "run") as run:
        run.open_stage("student", {}).finish(seconds=1.0, **kept)
    for written in (write_html(tmp_path / "run"), write_report(tmp_path / "run")):
        text = written.read_text()
        assert 0 < text.index("cosine to teacher before") < text.index("cosine to teacher after")


def test_footer_names_the_commit_of_a_checkout(page_file):
    commit = find_commit()
    assert (commit is not None) == (Path(distill.__file__).parents[1] / ".git").exists()
    named = f"Written by distill {distill.__version__}" + (
        f" (commit {commit})." if commit else "."
    )
    assert named in page_file.read_text()


def test_lineage_has_revisions_licences_seconds_and_tokens(page):
    told = page.sections["lineage"]
    assert "LLM owner/llm c0ffee not stated" in told
    assert "teacher, as evaluated owner/teacher revision of owner/teacher mit" in told
    assert "generations 100 12.5 5,700" in told
    assert "took 2 min 22 s" in told
    assert "name: bees llm: model: owner/llm" in told


def test_page_asks_for_nothing_outside_it(page):
    links = ("src", "href", "xlink:href")
    named = [value for _, of in page.elements for key, value in of.items() if key in links]
    assert named
    assert all(value.startswith(("#", "data:")) for value in named)
    policy = next(of["content"] for t, of in page.elements if "http-equiv" in of)
    assert "default-src 'none'" in policy


def test_every_table_and_plot_can_be_read_without_seeing_them(page):
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert all(of.get("scope") for tag, of in page.elements if tag == "th")
    plots = [of for tag, of in page.elements if tag == "svg"]
    # Differences; three costs; a loss, a term and a validation; a ranker's scores.
    assert len(plots) == 8
    assert all(of["aria-label"] and of["role"] == "img" for of in plots)
    assert ("html", {"lang": "en"}) in page.elements


def test_no_id_is_used_twice(page):
    ids = [of["id"] for _, of in page.elements if "id" in of]
    assert len(ids) == len(set(ids))


def test_hostile_text_stays_text(hostile_file):
    html = hostile_file.read_text(encoding="utf-8")
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any(key.startswith("on") for _, of in page.elements for key in of)
    assert "<script>alert(1)</script>" in page.sections["relabelling"]
    assert "{{ 7 * 7 }}" in page.sections["relabelling"]
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_hostile_models_name_stays_text_in_the_plots(tmp_path):
    folder = write_run(tmp_path / "bees")
    changed = make_summary()
    changed["models"][HOSTILE + "$x"] = changed["models"]["base"] | {"model": HOSTILE}
    changed["tasks"][HOSTILE] = changed["tasks"]["mine"]
    for of in changed["differences"].values():
        of["tasks"][HOSTILE] = of["tasks"]["mine"]
    changed["differences"][f"student - {HOSTILE}$x"] = changed["differences"]["student - base"]
    write_summary(folder / "evaluation" / "summary.json", changed)
    tags = [tag for tag, _ in page_of(write_html(folder)).elements]
    assert tags.count("script") == 1


def test_recipe_is_not_printed_and_a_line_says_where_it_is(page_file):
    html = page_file.read_text(encoding="utf-8")
    folded = re.search(r'<details class="([^"]*)">\s*<summary>Recipe, every key', html)
    assert "screen-only" in folded[1].split()
    assert re.search(r"@media print {[^@]*\.screen-only[^{]*{ display: none; }", html)
    assert re.search(r'class="[^"]*print-only[^"]*">The recipe is in the run', html)


def test_same_run_gives_the_same_bytes(run_folder, page_file, tmp_path):
    again = write_html(run_folder, tmp_path / "made" / "again.html")
    assert again.read_bytes() == page_file.read_bytes()


def test_html_report_of_an_unfinished_run_says_which_stages_are_missing(tmp_path):
    with Run(tmp_path) as run:
        run.open_stage("passages", {}).finish(rows=3, counts={"kept": 3})
    told = page_of(write_html(tmp_path)).sections
    assert "The run is not evaluated yet." in told[""]
    assert "not evaluated yet" in told["results"]
    assert "not evaluated yet" in told["losses"]
    assert "No student has been trained" in told["training"]
    assert "Nothing has been generated" in told["funnel"]
    assert "has not relabelled" in told["relabelling"]
    assert "passages 3" in told["lineage"]


def test_incomplete_stage_is_reported_and_counts_for_nothing(tmp_path):
    with Run(tmp_path) as run:
        passages = run.open_stage("passages", {})
        passages.finish(rows=3, counts={"kept": 3})
        run.open_stage("queries", {}, [passages])
    told = page_of(write_html(tmp_path)).sections
    assert "queries not complete" in told["lineage"]
    assert "Nothing has been generated" in told["funnel"]


def test_verdict_on_another_student_is_not_reported(tmp_path):
    folder = write_run(tmp_path / "bees")
    with Run(folder, "stale") as run:
        run.open_stage("student", {"seed": 1}).finish(seconds=1.0)
    told = page_of(write_html(folder)).sections
    assert "made anew since the run was evaluated" in told[""]
    assert "0.4000" not in told["results"]


def _hold(folder, held, release) -> None:
    with Run(folder):
        held.set()
        release.wait(PATIENCE)


@pytest.fixture
def written_run(tmp_path):
    """A run's folder that another process is writing."""
    folder = write_run(tmp_path / "bees")
    held, release = CONTEXT.Event(), CONTEXT.Event()
    process = CONTEXT.Process(target=_hold, args=(folder, held, release))
    process.start()
    assert held.wait(PATIENCE)
    yield folder
    release.set()
    process.join()


@pytest.mark.bad_input("two writers", "a report into a run that is being written", "refused")
def test_page_goes_elsewhere_beside_a_process_that_writes_the_run(written_run, tmp_path):
    before = sorted(written_run.rglob("*"))
    with pytest.raises(UserError, match="another process is writing this run"):
        write_html(written_run)
    with pytest.raises(UserError, match="another process is writing this run"):
        write_report(written_run)
    assert page_of(write_html(written_run, tmp_path / "page.html")).sections["results"]
    assert sorted(written_run.rglob("*")) == before


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stage of a run"):
        write_html(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.bad_input("damage", "a summary of another version", "refused")
def test_summary_of_another_version_is_refused(tmp_path):
    folder = write_run(tmp_path / "bees")
    write_json(folder / "evaluation" / "summary.json", {"student": {"ndcg_at_10": 0.4}})
    with pytest.raises(UserError, match="another version"):
        write_html(folder)


def test_command_says_where_the_page_is(run_folder, tmp_path):
    out = tmp_path / "page.html"
    result = CliRunner().invoke(report, [str(run_folder), "--out", str(out)])
    assert result.exit_code == 0
    assert result.stdout == f"report: {out}\n"
    assert out.is_file()


def test_long_tables_are_folded(tmp_path):
    folder = write_run(tmp_path / "bees")
    curve = [{"step": step, "loss": 1 / step} for step in range(1, 60)]
    write_json(folder / "student" / "training.json", {"curve": curve})
    html = write_html(folder).read_text(encoding="utf-8")
    assert re.search(r"<summary>What was logged \(59 rows\)</summary>", html)

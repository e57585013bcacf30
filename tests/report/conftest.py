"""A whole run's folder, and the page that is written of it."""

from pathlib import Path

import pytest
from helpers.report_runs import write_run

from distill.report.html import write_html


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "bees")


@pytest.fixture(scope="session")
def page_file(run_folder) -> Path:
    return write_html(run_folder)


@pytest.fixture(scope="session")
def hostile_file(tmp_path_factory) -> Path:
    """The page of a run whose corpus and recipe attack it."""
    return write_html(write_run(tmp_path_factory.mktemp("hostile") / "bees", hostile=True))

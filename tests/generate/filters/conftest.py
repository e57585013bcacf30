"""The stage of filters on shards of parsed rows."""

import pytest
from helpers.filter_queries import PASSAGES
from helpers.query_rows import (
    filter_queries,
    prepare_parsed,
    refuse_llm,
)

from distill.llm.lazy import LazyLLM
from distill.store.run import Run
from distill.store.stage import Stage
from distill.workers.local import LOCAL


@pytest.fixture
def run(tmp_path):
    """A run whose stages are made anew for other settings."""
    with Run(tmp_path / "run", "stale") as made:
        yield made


@pytest.fixture
def make(tmp_path):
    """Runs the stage on shards of parsed rows; a run's name tells runs apart."""

    def work(
        rows, settings, llm=refuse_llm, held_out=None, name="run", overwrite="never", workers=LOCAL
    ) -> Stage:
        with Run(tmp_path / name, overwrite, workers) as run:
            stages = prepare_parsed(run, [PASSAGES[:5], PASSAGES[5:]], rows)
            return filter_queries(
                run, settings, stages[0], stages[1:], LazyLLM(llm, served=True), held_out
            )

    return work

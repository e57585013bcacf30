"""What a run takes on the disk, and in how many files, as it is estimated and as it is."""

import json

import pytest
from helpers.tiny_models import TEXTS

from distill.corpus.passages import make_split_passages
from distill.estimate.amounts import Amount, make_bounded_amount, make_exact_amount
from distill.estimate.estimate import estimate
from distill.estimate.render import to_json
from distill.estimate.storage import (
    compute_row_bytes,
    compute_vector_bytes,
    count_pair_shards,
    count_shards,
    measure_passages,
)
from distill.recipe import Relabel, load_recipe
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards


def none_loaded():
    raise AssertionError("an LLM was loaded")


def test_passages_take_what_is_estimated_before_their_lookup_is_made(tmp_path):
    texts = [f"{TEXTS[i % len(TEXTS)]} {i} {TEXTS[i * 7 % len(TEXTS)]}" for i in range(11_000)]
    corpus = tmp_path / "corpus.jsonl"
    rows = [json.dumps({"_id": f"p{i}", "text": text}) for i, text in enumerate(texts)]
    corpus.write_text("\n".join(rows))
    recipe = load_recipe(None, ["name=mine", "corpus.source=jsonl", f"corpus.path={corpus}"])
    with Run(tmp_path / "run") as run:
        passages = make_split_passages(run, recipe.corpus, recipe.seed, []).passages
    found = measure_passages(passages)
    table = sum(path.stat().st_size for path in list_shards(passages.folder))
    assert found.table * 11_000 == pytest.approx(table)
    PassageReader(passages.folder).read_texts({"p1"})
    (lookup,) = passages.metadata_dir.glob("lookup-*")
    made = sum(path.stat().st_size for path in lookup.iterdir())
    assert found.lookup * 11_000 == pytest.approx(made, rel=0.1)


@pytest.mark.slow
def test_run_has_the_shards_that_were_estimated(recipe_file, whole_run, tmp_path):
    recipe = load_recipe(recipe_file, ["generate.filters={decontaminate: false}"])
    with Run(tmp_path / "run") as run:
        found = estimate(run, recipe, none_loaded, sample=0)
    by_stage = {line.stage: line for line in found.lines}
    for stage in ("passages", "generations", "parsed", "queries", "candidates", "judgements-ql"):
        shards = by_stage[stage].shards
        assert shards.low <= len(list_shards(whole_run / stage)) <= shards.high
    for stage in ("passages", "generations", "parsed", "queries"):
        assert by_stage[stage].shards.high == len(list_shards(whole_run / stage))
    assert by_stage["labels"].disk.high > by_stage["labels"].disk.low == 0
    assert "student" not in {line.stage for line in found.lines if line.disk or line.shards}
    json_of = {line["stage"]: line for line in to_json(found)["stages"]}
    assert json_of["candidates"]["disk"][1] is None, "the width of the vectors is not known"
    assert json_of["candidates"]["shards"] == [0, by_stage["candidates"].shards.high]


def test_rows_are_counted_in_whole_shards():
    rule = Relabel(shard_size=10, block=30)
    assert count_shards(make_exact_amount(21), 10) == Amount(3, 3)
    assert count_shards(make_bounded_amount(20), 10) == Amount(0, 2)
    # Three blocks of at most 30 queries with 15 pairs each: 45 shards, 45, and 23.
    found = count_pair_shards(make_bounded_amount(75), make_bounded_amount(75 * 15), rule)
    assert 113 <= found.high <= 115


def test_examples_hold_their_passages_and_vectors_their_numbers():
    without = compute_row_bytes("examples")
    assert compute_row_bytes("examples", passage_bytes=300, negatives=2) == without + 900
    assert compute_vector_bytes(384) - compute_vector_bytes(384, "float16") == 768

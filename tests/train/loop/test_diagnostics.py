"""What is seen of a student: against loops, and on vectors whose figures are known."""

import math
import random

import pytest
import torch
from helpers.passages import write_shard
from helpers.tiny_models import TEXTS
from helpers.training_by_hand import make_example_rows, make_recipe
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from distill.store.tables import EXAMPLES, Reader
from distill.student.writing import StudentTexts
from distill.train.data.held_out import HeldOut
from distill.train.loop.diagnostics import (
    Diagnostics,
    draw_sample,
    embed_queries,
    measure_effective_rank,
    measure_ndcg,
    measure_uniformity,
)


def test_uniformity_is_the_mean_potential_of_pairs():
    vectors = normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    pairs = [(i, j) for i in range(9) for j in range(i)]
    potential = [math.exp(-2 * float((vectors[i] - vectors[j]).norm()) ** 2) for i, j in pairs]
    assert measure_uniformity(vectors) == pytest.approx(
        math.log(sum(potential) / len(pairs)), abs=1e-5
    )
    assert measure_uniformity(vectors[:1].expand(5, -1)) == pytest.approx(0, abs=1e-6)


def test_effective_rank_counts_the_dimensions_in_use():
    assert measure_effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-4)
    assert measure_effective_rank(torch.eye(6)[:3]) == pytest.approx(3, rel=1e-4)
    assert measure_effective_rank(torch.ones(6, 4)) == pytest.approx(1, rel=1e-3)


def test_ndcg_is_of_the_positives_rank(encoder_folder):
    recipe = make_recipe(encoder_folder, student={"query_template": "ask: {task} {query}"})
    writer = StudentTexts(recipe.student)
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    rows = make_example_rows()[:4]
    documents = {f"p{i}": f"Text {i} {text}" for i, text in enumerate(TEXTS)}
    held_out = HeldOut(frozenset(), frozenset(), frozenset(), rows, documents)
    queries = model.encode([f"ask: {row['task']} {row['query']}" for row in rows])
    assert torch.allclose(embed_queries(writer, model, rows), torch.from_numpy(queries), atol=1e-5)
    order = (-(queries @ model.encode(list(documents.values())).T)).argsort(axis=1).tolist()
    ranks = [1 + order[n].index(n) for n in range(4)]
    gains = [1 / math.log2(1 + rank) if rank <= 10 else 0 for rank in ranks]
    assert measure_ndcg(writer, model, held_out) == pytest.approx(sum(gains) / 4, abs=1e-5)


def test_query_encoder_is_measured_beside_the_vectors_that_it_searches(encoder_folder):
    writer = StudentTexts(make_recipe(encoder_folder).student)
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    rows = make_example_rows()[:4]
    queries = embed_queries(writer, model, rows)
    documents = {row["positive_id"]: -queries[n].numpy() for n, row in enumerate(rows[:3])}
    figures = Diagnostics(writer, rows, None, documents).compute(model)
    assert figures == {
        "query_uniformity": round(measure_uniformity(queries), 4),
        "query_effective_rank": round(measure_effective_rank(queries), 4),
        "document_alignment": 4.0,  # squared distance of a vector and its opposite
    }
    assert "document_alignment" not in Diagnostics(writer, rows, None, {}).compute(model)


def test_sample_is_of_distinct_positives_and_the_seeds(tmp_path):
    rows = [row | {"query_id": f"q{n}"} for n, row in enumerate(make_example_rows() * 3)]
    for number, start in enumerate(range(0, len(rows), 10)):
        write_shard(EXAMPLES, tmp_path / f"part-{number:05}.parquet", rows[start : start + 10])
    sample = draw_sample(Reader(EXAMPLES, tmp_path), 1)
    last_of_each = list({row["positive"]: row["query_id"] for row in rows}.values())
    expected = random.Random("1|sight").sample(last_of_each, len(last_of_each))
    assert [row["query_id"] for row in sample] == expected

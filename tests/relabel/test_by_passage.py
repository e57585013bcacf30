"""How candidates are divided into shards and blocks."""

import pytest

from distill.relabel.by_passage import read_shard_queries


@pytest.mark.parametrize("shard_size", [1, 3, 4, 7, 8])
def test_queries_of_all_shards_are_the_queries_once_and_in_order(shard_size):
    queries = [{"query_id": f"q{n}"} for n in range(7)]
    count = -(-len(queries) // shard_size)
    parts = [read_shard_queries(queries, shard, shard_size) for shard in range(count)]
    assert [row for part in parts for row in part] == queries
    assert all(len(part) == shard_size for part in parts[:-1])

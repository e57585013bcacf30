"""A stand-in for an LLM, where our own machinery is what is tested, and passages for it."""

from distill.llm.protocol import Completion
from distill.store.stage import ShardResult
from distill.store.tables import PASSAGES
from helpers.tiny_models import TEXTS


class StandInLLM:
    """Writes at once, in FRet's form, a query for each seed."""

    name = "stand-in"
    can_score = False
    supports_regex = supports_schema = False
    has_chat = False

    def __init__(self):
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}

    def generate(self, prompts, seeds, sampling):
        return [Completion(f" Find it.\nQuery: words {seed}", True) for seed in seeds]


def make_numbered_passages(run, count=24, shard=10, text=lambda i: TEXTS[i % len(TEXTS)]):
    """A stage of passages p0, p1, ..., made shard by shard."""
    stage = run.open_stage("passages", {"count": count})

    def work(places):
        keys = ("passage_id", "title", "text", "source")
        return ShardResult(
            [dict(zip(keys, (f"p{i}", "", text(i), ""), strict=True)) for i in places]
        )

    items = [range(i, min(i + shard, count)) for i in range(0, count, shard)]
    stage.map_shards(PASSAGES, items, work)
    stage.finish()
    return stage

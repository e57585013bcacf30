"""A model behind a server that thinks before it answers, and spends the tokens of its replies on
that: `vllm serve Qwen/Qwen3-8B` with the recipe's defaults."""

from contextlib import closing

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.fake_server import MODEL, Body, make_completion, serve
from helpers.tiny_models import SHORT_PROMPT

from distill.errors import UserError
from distill.generate.passages.generations import make_generations
from distill.generate.settings import WritingSettings
from distill.llm.http.engine import HTTPEngine
from distill.recipe import load_recipe
from distill.store.run import Run

ANSWER = "Task: Find a fact.\nQuery: how do bees dance"


def answer_in_the_text(path: str, body: Body) -> Body:
    """As vLLM does without --reasoning-parser."""
    if body.get("chat_template_kwargs") == {"enable_thinking": False}:
        return make_completion(path, [ANSWER])
    return make_completion(path, ["<think>\nOkay, the user wants"], end="length")


def answer_beside_the_text(path: str, body: Body) -> Body:
    """As vLLM does with --reasoning-parser qwen3."""
    reply = answer_in_the_text(path, body)
    message = reply["choices"][0]["message"]
    if message["content"] != ANSWER:
        message |= {"content": None, "reasoning": "Okay, the user wants"}
    return reply


def write(folder, url: str, *sets: str) -> dict[str, int]:
    (folder / "short.jinja").write_text(SHORT_PROMPT)
    (folder / "r.yaml").write_text("name: r\n")
    base = [
        f"llm={{engine: http, model: {MODEL}, base_url: '{url}', retries: 0}}",
        "generate.prompt=short.jinja",
        "generate.passages=60",
        "generate.shard_size=16",
    ]
    writing = WritingSettings.select(load_recipe(folder / "r.yaml", [*base, *sets]))
    replies = folder / "requests.sqlite"
    with Run(folder / "run", "stale") as run, closing(HTTPEngine(writing.llm, replies)) as engine:
        passages = make_numbered_passages(run, 60)
        return make_generations(run, writing, passages, lambda: engine).manifest["counts"]


@pytest.mark.bad_input(
    "server", "a model that thinks until its tokens end, in all its first replies", "refused"
)
@pytest.mark.parametrize("answer", [answer_in_the_text, answer_beside_the_text])
def test_thinking_that_leaves_no_room_for_an_answer_ends_the_job(tmp_path, answer):
    with serve(answer) as server:
        with pytest.raises(UserError, match="thinks before it answers, and none of 60") as fault:
            write(tmp_path, server.url)
        assert "generate.max_new_tokens" in fault.value.remedy
        off = 'llm.extra_body={"chat_template_kwargs": {"enable_thinking": false}}'
        for part in off.split("=", 1):
            assert part in fault.value.remedy
        assert write(tmp_path, server.url, off) == {"written": 60}

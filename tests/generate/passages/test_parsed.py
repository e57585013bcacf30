"""What is read from the generations, and what is left aside."""

import re
from collections import Counter

import pytest
from helpers.fake_llm import StandInLLM, make_numbered_passages
from helpers.tiny_models import SHORT_PROMPT

from distill.errors import UserError
from distill.generate.passages.generations import make_generations
from distill.generate.passages.parsed import make_parsed
from distill.generate.settings import WritingSettings
from distill.llm.protocol import Completion
from distill.recipe import load_recipe
from distill.store.run import Run
from distill.store.tables import DROPPED, GENERATIONS, PARSED, read_shard


@pytest.fixture
def writing(tmp_path):
    (tmp_path / "short.jinja").write_text(SHORT_PROMPT)
    (tmp_path / "r.yaml").write_text("name: r\n")
    base = [
        "llm={engine: http, model: stand-in, base_url: 'http://localhost:1/v1'}",
        "generate.prompt=short.jinja",
        "generate.passages=10",
        "generate.shard_size=8",
    ]
    return lambda *sets: WritingSettings.select(load_recipe(tmp_path / "r.yaml", [*base, *sets]))


class Scripted(StandInLLM):
    """Says in turn what an LLM may say."""

    REPLIES = (
        Completion(" Find it.\nQuery: how do bees dance", True),
        Completion(" Find it.\nQuery: how do", False),
        Completion("I cannot.", True),
        Completion("", False, "content filter"),
    )

    def generate(self, prompts, seeds, sampling):
        return [self.REPLIES[i % 4] for i in range(len(prompts))]


@pytest.mark.bad_input(
    "replies of the LLM", "replies that cannot be read", "kept aside with the reason"
)
def test_unreadable_replies_are_dropped_with_their_reason(writing, tmp_path):
    with Run(tmp_path / "run") as run:
        generations = make_generations(run, writing(), make_numbered_passages(run), Scripted)
        assert generations.manifest["counts"] == {"refused": 2, "unfinished": 3, "written": 10}
        parsed = make_parsed(run, writing(), generations)
        rows = parsed.read_rows(PARSED)
        dropped = [
            row
            for path in sorted(parsed.metadata_dir.glob("dropped-*"))
            for row in read_shard(DROPPED, path)
        ]
    assert [row["query_id"] for row in rows] == [f"{row['seed_id']}~0" for row in rows]
    assert Counter(row["reason"] for row in dropped) == {
        "unfinished": 3,
        "malformed": 2,
        "refused by the server": 2,
    }
    assert {row["text"] for row in dropped if "server" in row["reason"]} == {"content filter"}
    assert len(rows) + len(dropped) == 10


def test_half_a_surrogate_pair_in_a_reply_can_be_kept(writing, tmp_path):
    class Cut(StandInLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion(" Find it.\nQuery: smiling \ud83d", True) for _ in prompts]

    with Run(tmp_path / "run") as run:
        generations = make_generations(run, writing(), make_numbered_passages(run), Cut)
        assert {row["output"] for row in generations.read_rows(GENERATIONS)} == {
            " Find it.\nQuery: smiling ?"
        }


def test_draws_have_ids_of_their_own(writing, tmp_path):
    with Run(tmp_path / "run") as run:
        asked = writing("generate.best_of=3")
        generations = make_generations(run, asked, make_numbered_passages(run), StandInLLM)
        rows = make_parsed(run, asked, generations).read_rows(PARSED)
    assert [row["query_id"] for row in rows] == [
        f"{row['seed_id']}~{row['sample']}.{row['draw']}" for row in rows
    ]
    assert len({row["query_id"] for row in rows}) == 30


@pytest.mark.parametrize(
    ("written", "said", "remedy"),
    [
        (Completion("", False, fault="401 of a kind"), "first refusal: 401 of a kind", "llm.model"),
        (
            Completion("Let me think", False),
            "unfinished",
            "generate.max_new_tokens.*llm.extra_body",
        ),
    ],
)
def test_error_of_no_readable_reply_says_what_the_server_said_and_what_helps(
    writing, tmp_path, written, said, remedy
):
    class Refusing(StandInLLM):
        def generate(self, prompts, seeds, sampling):
            return [written for _ in prompts]

    with Run(tmp_path / "run") as run:
        generations = make_generations(run, writing(), make_numbered_passages(run), Refusing)
        with pytest.raises(UserError, match=said) as caught:
            make_parsed(run, writing(), generations)
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.bad_input("replies of the LLM", "no reply can be read", "refused with the counts")
def test_unreadable_replies_alone_are_an_error_each_time(writing, tmp_path):
    class Mute(StandInLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion("", True) for _ in prompts]

    with Run(tmp_path / "run") as run:
        generations = make_generations(run, writing(), make_numbered_passages(run), Mute)
        for _ in range(2):
            with pytest.raises(UserError, match=r"well formed \(dropped: malformed 10\)") as fault:
                make_parsed(run, writing(), generations)
            assert "`distill inspect RUN parsed/dropped`" in fault.value.remedy

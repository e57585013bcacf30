"""From passages to what the LLM wrote, and from there to what was read: with a tiny real LLM."""

import io
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from helpers.fake_llm import StandInLLM, make_numbered_passages
from helpers.tiny_models import SHORT_PROMPT
from rich.console import Console

from distill.errors import UserError
from distill.generate.passages.fret import make_reply_regex
from distill.generate.passages.generations import fingerprint, make_generations
from distill.generate.passages.method import open_method
from distill.generate.passages.parsed import make_parsed
from distill.generate.passages.plan import GenerationPlan, sample_seed_rows
from distill.generate.settings import WritingSettings
from distill.generate.show_prompt import show_prompt
from distill.llm.protocol import Completion
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import ALL_TASK_TYPES, load_recipe
from distill.store.run import Run
from distill.store.tables import GENERATIONS, PARSED, read_shard

SMALL = [
    "seed=3",
    "generate.prompt=short.jinja",
    "generate.passages=10",
    "generate.shard_size=8",
    "generate.max_new_tokens=40",
]


@pytest.fixture(scope="module")
def engine(writer_folder):
    return TransformersEngine(str(writer_folder), "float32", "cpu")


@pytest.fixture
def writing(tmp_path, writer_folder):
    (tmp_path / "short.jinja").write_text(SHORT_PROMPT)
    (tmp_path / "r.yaml").write_text("name: r\n")

    def made(*sets):
        return WritingSettings.select(
            load_recipe(tmp_path / "r.yaml", [f"llm.model={writer_folder}", *SMALL, *sets])
        )

    return made


def never():
    raise AssertionError("nothing is left to write")


# --- what is written ----------------------------------------------------------------------------


def test_every_draw_of_every_sample_is_a_row_with_its_conditions(writing, engine, tmp_path):
    asked = writing(
        "generate.samples=3",
        "generate.best_of=2",
        "generate.lengths=[short, long]",
        "generate.languages=[en, de]",
    )
    with Run(tmp_path / "run") as run:
        generations = make_generations(run, asked, make_numbered_passages(run), lambda: engine)
        rows = generations.read_rows(GENERATIONS)
        again = make_generations(run, asked, make_numbered_passages(run), never)
    assert again.manifest["figures"]["tokens"]["new"] > 0
    assert len(rows) == 10 * 3 * 2
    places = [int(row["passage_id"][1:]) for row in rows]
    assert places == sorted(places)
    assert len(set(places)) == 10
    assert set(Counter(row["task_type"] for row in rows).values()) == {10}
    conditions = ("passage_id", "sample", "task_type", "length", "language", "persona")
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert [first["draw"], second["draw"]] == [0, 1]
        assert all(first[key] == second[key] for key in conditions)
    assert sum(a["output"] != b["output"] for a, b in zip(rows[::2], rows[1::2], strict=True)) > 15
    assert {row["language"] for row in rows} == {"en", "de"}


def test_shard_holds_whole_passages(writing, engine, tmp_path):
    with Run(tmp_path / "run") as run:
        asked = writing("generate.samples=3")
        generations = make_generations(run, asked, make_numbered_passages(run), lambda: engine)
        held = [
            {row["passage_id"] for row in read_shard(GENERATIONS, path)}
            for path in sorted(generations.folder.glob("*.parquet"))
        ]
    assert len(held) == 5
    assert all(one.isdisjoint(other) for one, other in pairwise(held))


def test_stopped_and_continued_it_is_the_same_to_the_byte(writing, engine, tmp_path):
    class Killed(BaseException):
        pass

    class Mortal:
        def __init__(self):
            self.calls = 0

        def __getattr__(self, name):
            return getattr(engine, name)

        def generate(self, *args):
            self.calls += 1
            if self.calls == 2:
                raise Killed
            return engine.generate(*args)

    def tables(folder):
        return {p.name: p.read_bytes() for p in (folder / "generations").glob("*.parquet")}

    asked = writing()
    with Run(tmp_path / "whole") as run:
        make_generations(run, asked, make_numbered_passages(run), lambda: engine)
    with Run(tmp_path / "cut") as run, pytest.raises(Killed):
        make_generations(run, asked, make_numbered_passages(run), Mortal)
    assert len(tables(tmp_path / "cut")) == 1
    with Run(tmp_path / "cut") as run:
        make_generations(run, asked, make_numbered_passages(run), lambda: engine)
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")


@pytest.mark.bad_input(
    "engines", "chat form of a model without a template", "refused before the first row"
)
def test_chat_form_is_refused_before_the_first_row(writing, engine, tmp_path):
    assert not engine.has_chat
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="has no chat template"):
        make_generations(
            run, writing("llm.prompt_format=chat"), make_numbered_passages(run), lambda: engine
        )
    assert not list((tmp_path / "run").glob("generations/*.parquet"))


# --- which passages -----------------------------------------------------------------------------


def test_seed_passages_are_drawn_by_seed_without_replacement():
    def drawn(rows, count, seed):
        return sample_seed_rows(np.arange(rows), count, seed).tolist()

    some = drawn(1000, 100, 1)
    assert some == sorted(set(some)) == drawn(1000, 100, 1)
    assert len(some) == 100
    assert some != drawn(1000, 100, 2)
    assert min(some) < 50
    assert max(some) > 950
    assert drawn(5, 100, 1) == [0, 1, 2, 3, 4]
    assert len(drawn(10, 3, -1)) == 3


def test_passages_that_say_little_are_no_seeds(writing, tmp_path):
    with Run(tmp_path / "run") as run:
        passages = make_numbered_passages(run, text=lambda i: "word " * (i + 1))
        plan = GenerationPlan(writing("generate.min_passage_words=17"), passages)
        assert [plan[i].passage["passage_id"] for i in range(8)] == [f"p{i}" for i in range(16, 24)]
        assert len(plan) == 8
        with pytest.raises(UserError, match="no passage has 25 words"):
            GenerationPlan(writing("generate.min_passage_words=25"), passages)


class Counting(StandInLLM):
    calls = 0

    def generate(self, prompts, seeds, sampling):
        self.calls += 1
        return super().generate(prompts, seeds, sampling)


def test_server_is_asked_for_several_shards_in_one_call(writing, tmp_path):
    """Between calls the requests in flight run out."""
    served = "llm={engine: http, model: m, base_url: 'http://localhost:1/v1', concurrency: %d}"
    tables, calls = [], []
    for concurrency in (1, 32):
        llm, settings = Counting(), writing(served % concurrency, "generate.shard_size=2")
        with Run(tmp_path / str(concurrency)) as run:
            made = make_generations(run, settings, make_numbered_passages(run), lambda llm=llm: llm)
        tables.append({path.name: path.read_bytes() for path in made.folder.glob("*.parquet")})
        calls.append(llm.calls)
    assert tables[0] == tables[1]
    assert calls == [2, 1]


class QueryAlone(StandInLLM):
    def generate(self, prompts, seeds, sampling):
        return [Completion(f" words {seed}\n", True) for seed in seeds]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_passages(writing, tmp_path):
    def peak(count):
        with Run(tmp_path / str(count)) as run:
            passages = make_numbered_passages(
                run, count, 100, lambda i: f"{i} " + "words and words " * 20
            )
            asked = writing(f"generate.passages={count}", "generate.shard_size=100")
            tracemalloc.start()
            make_parsed(run, asked, make_generations(run, asked, passages, StandInLLM))
            held = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return held

    peak(100)
    assert peak(2000) < 1.3 * peak(500)


# --- prompts ------------------------------------------------------------------------------------


def test_prompts_of_one_type_and_hand_begin_alike(writing, tmp_path):
    (tmp_path / "who.txt").write_text("a nurse\na pilot\n")
    asked = writing(
        "generate.prompt=prompts/fret.jinja",
        "generate.personas=who.txt",
        "generate.lengths=[short, long]",
        "generate.difficulties=[school, college]",
        "generate.languages=[en, de]",
        "generate.passages=24",
        "generate.samples=8",
        "generate.example_sets=2",
    )
    method = open_method(asked)
    with Run(tmp_path / "run") as run:
        plan = GenerationPlan(asked, make_numbered_passages(run))
        rows = [plan[row] for row in range(len(plan))]
    for chat in (False, True):
        headers = {}
        for row in rows:
            prompt = method.render_prompt(row.passage, row.conditions, chat)
            header, _, rest = prompt.rpartition("\n\nType: ")
            assert header.count("\nQuery: ") == asked.generate.shots
            assert f"\nPassage: {row.passage['text']}\n" in rest
            assert row.conditions.persona in rest
            key = (row.conditions.task_type, row.conditions.example_set)
            assert headers.setdefault(key, header) == header
        assert len(set(headers.values())) == len(headers) == 2 * len(ALL_TASK_TYPES)


def test_fret_prompt_ends_with_the_first_label(writing, tmp_path):
    asked = writing("generate.prompt=prompts/fret.jinja")
    method = open_method(asked)
    with Run(tmp_path / "run") as run:
        row = GenerationPlan(asked, make_numbered_passages(run))[0]
    prompt = method.render_prompt(row.passage, row.conditions, chat=False)
    assert prompt.endswith(f"\nPassage: {row.passage['text']}\nQuery:")
    assert method.render_prompt(row.passage, row.conditions, chat=True).endswith(
        "and nothing else."
    )
    for chat, reply in (
        (False, " a query\nTask: a task it has\n"),
        (True, "Query: a query\nTask: a task"),
    ):
        assert method.parse(reply, True).query == "a query"
        assert method.make_sampling(chat, constrain=True).regex == make_reply_regex(
            "query, task", chat
        )
        assert method.make_sampling(chat, constrain=False).regex is None


def test_naive_prompt_says_the_task_itself(writing, tmp_path):
    asked = writing("generate.prompt=prompts/naive.jinja")
    with Run(tmp_path / "run") as run:
        generations = make_generations(run, asked, make_numbered_passages(run), QueryAlone)
        rows = make_parsed(run, asked, generations).read_rows(PARSED)
    assert len(rows) == 10
    assert {row["task"] for row in rows} == {"Given a query, find the passages that answer it."}


@pytest.mark.bad_input("prompt", "an order that is none", "refused")
def test_prompt_that_says_nonsense_of_its_order_is_refused(writing, tmp_path):
    (tmp_path / "short.jinja").write_text('{% set first = "answer" %}\n{{ passage }}')
    with pytest.raises(UserError, match="sets first to 'answer'"):
        open_method(writing())


def test_prompt_is_shown_with_its_reply_once_there(writing, engine, tmp_path):
    asked = writing("generate.samples=2", "generate.best_of=2")
    with Run(tmp_path / "run") as run:
        passages = make_numbered_passages(run)

        def shown(row):
            console = Console(file=io.StringIO(), width=100)
            show_prompt(run, asked, passages, row, console)
            return console.file.getvalue()

        plan = GenerationPlan(asked, passages)
        before = shown(19)
        assert f"passage_id: {plan[19].passage['passage_id']}\nsample: 1\n" in before
        assert f"task_type: {plan[19].conditions.task_type}" in before
        method = open_method(asked)
        assert method.render_prompt(plan[19].passage, plan[19].conditions, False) in before
        assert "completion form" in before
        assert "chat form" in before
        assert "what the LLM wrote" not in before
        with pytest.raises(UserError, match="there are 20 rows"):
            shown(20)
        rows = make_generations(run, asked, passages, lambda: engine).read_rows(GENERATIONS)
        assert rows[39]["output"].strip() in shown(19)
        assert rows[38]["output"].strip() in shown(19)


# --- fingerprints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "same"),
    [
        (["generate.filters={min_words: 3, round_trip: 5}"], True),
        (["generate.brainstorm.examples=7"], True),
        (["generate.best_by=ql"], True),
        (["generate.methods=[fret, brainstorm]"], True),
        (["llm.batch_tokens=77"], True),
        (["generate.max_passage_words=77"], False),
        (["generate.constrain=false"], False),
        (["generate.temperature=0.1"], False),
        (["generate.shots=2"], False),
        (["generate.languages=[de]"], False),
        (["generate.prompt=prompts/fret.jinja"], False),
        (["generate.personas=who.txt"], False),
        (["generate.examples=pool.yaml", "generate.shots=0"], False),
        (["seed=4"], False),
        (["llm.prompt_format=completion"], False),
    ],
)
def test_fingerprint_holds_only_keys_that_change_the_text(writing, tmp_path, sets, same):
    (tmp_path / "who.txt").write_text("a nurse\n")
    (tmp_path / "pool.yaml").write_text("{}")

    def settings(*sets):
        return fingerprint(writing(*sets), open_method(writing(*sets)))

    assert (settings() == settings(*sets)) == same

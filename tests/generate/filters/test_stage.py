"""The stage `queries`: what is kept, what is dropped and why, however often it is killed."""

import json
import multiprocessing
import os
import signal

import pytest
from helpers.query_rows import (
    filter_queries,
    make_filter_recipe,
    make_parsed_row,
    make_passage,
    prepare_parsed,
    read_dropped,
    read_tables,
    refuse_llm,
)
from helpers.reversed_workers import ReversedWorkers
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.llm.lazy import LazyLLM
from distill.llm.prompts import CONTINUATION
from distill.llm.transformers.engine import TransformersEngine
from distill.relabel.candidates import make_candidates
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import Stage
from distill.store.tables import QUERIES
from distill.workers.local import LOCAL

PASSAGES = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]


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


def kept(stage):
    return [(row["query_id"], row["query"]) for row in stage.read_rows(QUERIES)]


MIXED = [
    [
        make_parsed_row("p0", "which organ moves blood"),
        make_parsed_row("p1", "copper"),
        make_parsed_row("p2", "As an AI language model, I cannot write one"),
        make_parsed_row("p3", "who is told of flowers in the text?"),
        make_parsed_row("p4", "Wann öffnet die Bibliothek an den Wochentagen?"),
    ],
    [
        make_parsed_row("p5", "turns sugar into alcohol"),
        make_parsed_row("p6", "Which ORGAN moves blood?"),
        make_parsed_row("p7", "why do bridges of steel grow in the warm months of summer"),
        make_parsed_row("p8", "why do bridges of steel grow in the warm month of summer"),
    ],
]


def test_dropped_queries_are_counted_and_kept_with_their_reason(make):
    filters = {"languages": ["en"], "max_copied": 0.8, "near_duplicates": 0.8}
    stage = make(MIXED, make_filter_recipe(generate={"filters": filters}))
    assert kept(stage) == [
        ("p0~0", "which organ moves blood"),
        ("p7~0", "why do bridges of steel grow in the warm months of summer"),
    ]
    assert read_dropped(stage) == [
        ("p1~0", "too few words", "copper"),
        ("p2~0", "refusal or boilerplate", MIXED[0][2]["query"]),
        ("p3~0", "points at the passage", MIXED[0][3]["query"]),
        ("p4~0", "another language", MIXED[0][4]["query"]),
        ("p5~0", "copies the passage", "turns sugar into alcohol"),
        ("p6~0", "exact duplicate", "Which ORGAN moves blood?"),
        ("p8~0", "near duplicate", MIXED[1][3]["query"]),
    ]
    counts = stage.manifest["counts"]
    assert counts.pop("kept") == 2
    assert counts == {f"dropped: {reason}": 1 for _, reason, _ in read_dropped(stage)}
    assert len(list(stage.folder.glob("*.parquet"))) == 2


def test_bar_counts_every_draw_within_its_shard(make, monkeypatch):
    counts = []
    monkeypatch.setattr(
        "distill.generate.filters.apply.count_within_shard", lambda count=1: counts.append(count)
    )
    make(MIXED, make_filter_recipe(generate={"filters": {"languages": ["en"]}}))
    assert sum(counts) == sum(map(len, MIXED))
    assert len(counts) > len(MIXED)


def test_queries_are_all_kept_without_filters_but_their_ids_of_draws(make):
    off = {"min_words": 1, "refusals": False, "exact_duplicates": False}
    stage = make(MIXED, make_filter_recipe(generate={"filters": off}))
    assert [row["query_id"] for row in stage.read_rows(QUERIES)] == [f"p{n}~0" for n in range(9)]
    first = stage.read_rows(QUERIES)[0]
    assert first == {key: MIXED[0][0][key] for key in QUERIES.columns}


def test_queries_are_not_embedded_unless_a_filter_asks(make, tmp_path):
    make(MIXED, make_filter_recipe())
    assert not (tmp_path / "run" / "vectors").exists()


def many(shards=6, size=7):
    """Queries of which many repeat one of an earlier shard, exactly or nearly."""
    rows = []
    for shard in range(shards):
        rows.append([])
        for place in range(size):
            about = ["heart", "copper wire", "glacier", "bees"][(3 * shard + place) % 4]
            when = ["", " today", " today?", " in the long cold winter"][(shard + place) % 4]
            seed = f"p{(shard * size + place) % len(PASSAGES)}"
            rows[-1].append(make_parsed_row(seed, f"how does the {about} work{when}", sample=place))
    return rows


BOTH = {"exact_duplicates": True, "near_duplicates": 0.85}


def test_first_of_all_shards_wins(make):
    stage = make(many(), make_filter_recipe(generate={"filters": BOTH}))
    words = [query.casefold().strip("?") for _, query in kept(stage)]
    assert len(words) == len(set(words)) > 4
    flat = [row for shard in many() for row in shard]
    for query_id, query in kept(stage):
        same = [row for row in flat if row["query"].strip("?") == query.strip("?")]
        assert (same[0]["seed_id"], same[0]["sample"]) == (query_id[:-2], int(query_id[-1]))


@pytest.mark.parametrize("death", range(6))
def test_killed_between_insert_and_commit_equals_undisturbed(make, monkeypatch, death):
    settings = make_filter_recipe(generate={"filters": BOTH})
    whole = read_tables(make(many(), settings, name="whole"))
    commit = Stage.commit_shard

    def deadly(self, path, *rest):
        if path.name == f"part-{death:05d}.parquet":
            raise KeyboardInterrupt
        commit(self, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "commit_shard", deadly)
        with pytest.raises(KeyboardInterrupt):
            make(many(), settings, name="killed")
    stage = make(many(), settings, name="killed")
    assert read_tables(stage) == whole
    assert not list(stage.metadata_dir.glob("*sqlite*"))


def _live(folder, deaths):
    """Kills its own process at the first commit of a shard that no life has died at yet."""
    write = Stage.commit_shard

    def deadly(self, path, *rest):
        if self.name == "queries" and not (deaths / path.name).exists():
            (deaths / path.name).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path, *rest)

    Stage.commit_shard = deadly
    with Run(folder) as run:
        stages = prepare_parsed(run, [PASSAGES], many())
        filter_queries(
            run,
            make_filter_recipe(generate={"filters": BOTH}),
            stages[0],
            stages[1:],
            LazyLLM(refuse_llm),
        )


@pytest.mark.slow
def test_kill_9_between_insert_and_commit_equals_undisturbed(make, tmp_path):
    whole = read_tables(make(many(), make_filter_recipe(generate={"filters": BOTH}), name="whole"))
    (tmp_path / "deaths").mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distill.generate.filters"])
    codes = []
    while not codes or codes[-1]:
        process = context.Process(target=_live, args=(tmp_path / "cut", tmp_path / "deaths"))
        process.start()
        process.join()
        codes.append(process.exitcode)
        left = tmp_path / "cut" / "queries" / ".stage" / "seen.sqlite"
        assert left.exists() == bool(codes[-1])
    assert codes == [-signal.SIGKILL] * 6 + [0]
    with Run(tmp_path / "cut") as run:
        stages = prepare_parsed(run, [PASSAGES], many())
        stage = filter_queries(
            run,
            make_filter_recipe(generate={"filters": BOTH}),
            stages[0],
            stages[1:],
            LazyLLM(refuse_llm),
        )
    assert read_tables(stage) == whole


def test_round_trip_embeds_the_corpus_once_for_relabelling_too(make, tmp_path, encoder_folder):
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    asked = [[make_parsed_row(f"p{n}", " ".join(text.split()[:5])) for n, text in enumerate(TEXTS)]]
    filters = {"round_trip": 1, "min_similarity": 0.1}
    settings = make_filter_recipe(
        generate={"filters": filters}, retriever=retriever, relabel={"top_k": 2}
    )
    stage = make(asked, settings)
    reasons = {reason for _, reason, _ in read_dropped(stage)}
    assert reasons == {"round trip"}
    assert 0 < len(kept(stage)) < len(TEXTS)
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [PASSAGES[:5], PASSAGES[5:]], asked)
        before = {path.name for path in (run.folder / "vectors").glob("*/vectors.npy")}
        candidates = make_candidates(run, settings.retriever, settings.relabel, passages, stage)
        after = {path.name for path in (run.folder / "vectors").glob("*/vectors.npy")}
    assert len(before) == 1
    assert after == before
    assert candidates.manifest["counts"]["seed retrieved"] == len(kept(stage))


def test_shards_that_are_searched_at_once_have_the_same_bytes(make, encoder_folder, monkeypatch):
    retriever = {"model": str(encoder_folder), "device": "cpu"}
    filters = {"round_trip": 3, **BOTH}
    settings = make_filter_recipe(generate={"filters": filters}, retriever=retriever)
    at_once = make(many(), settings)
    monkeypatch.setattr("distill.generate.filters.stage._SHARDS_AT_ONCE", 1)
    one_by_one = make(many(), settings, name="one by one")
    assert tables_of(at_once) == tables_of(one_by_one)
    assert {"round trip", "exact duplicate"} <= {reason for _, reason, _ in read_dropped(at_once)}


@pytest.mark.parametrize("round_trip", [None, 3])
def test_filters_give_the_same_on_other_workers_and_in_any_order(make, encoder_folder, round_trip):
    """A duplicate is of what comes before it, whichever shard was screened first."""
    retriever = {"model": str(encoder_folder), "device": "cpu"}
    filters = {"round_trip": round_trip, **BOTH}
    settings = make_filter_recipe(generate={"filters": filters}, retriever=retriever)
    here, others = make(many(), settings), ReversedWorkers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.generate.filters.stage._SHARDS_AT_ONCE", 1)
        there = make(many(), settings, name="there", workers=others)
    assert others.sent[-1] == "queries"
    assert there.manifest["execution"] == {"on": "others"}
    assert len(list_shards(there.folder)) > 2
    assert tables_of(there) == tables_of(here)
    reasons = {reason for _, reason, _ in read_dropped(there)}
    assert "exact duplicate" in reasons
    assert ("round trip" in reasons) == (round_trip is not None)


DRAWS = [
    [
        make_parsed_row("p0", "what pumps blood", 0, 0),
        make_parsed_row("p0", "zq xv jk", 0, 1),
        make_parsed_row("p0", "copper", 0, 2),
        make_parsed_row("p0", "lungs take oxygen", 1, 0),
        make_parsed_row("p0", "the lungs take", 1, 1),
    ],
    [
        make_parsed_row("p1", "what pumps blood", 0, 0),
        make_parsed_row("p1", "zq xv jk", 0, 1),
        make_parsed_row("p1", "bees dance", 0, 2),
    ],
]


def test_likeliest_draw_that_repeats_no_kept_one_is_kept(make, tmp_path, llm_folder):
    (tmp_path / "ql.jinja").write_text(
        f"Passage: {{{{ passage }}}}\nQuery:\n{CONTINUATION} {{{{ query }}}}\n"
    )
    engine = TransformersEngine(str(llm_folder), "float32", "cpu", 512)
    settings = make_filter_recipe(
        tmp_path,
        llm={"model": str(llm_folder)},
        generate={"best_of": 3, "best_by": "ql"},
        relabel={"prompt_ql": "ql.jinja"},
    )
    stage = make(DRAWS, settings, llm=lambda: engine)
    rows = dict(kept(stage))
    assert list(rows) == ["p0~0", "p0~1", "p1~0"]
    reasons = {item: reason for item, reason, _ in read_dropped(stage)}
    assert reasons["p0~0.2"] == "too few words"
    # p0 keeps one of the two that p1 drew as well.
    assert list(reasons.values()).count("not the best draw") >= 3
    taken = next(n for n in (0, 1) if DRAWS[0][n]["query"] == rows["p0~0"])
    assert rows["p1~0"] != rows["p0~0"]
    assert reasons[f"p1~0.{taken}"] in ("exact duplicate", "not the best draw")
    assert stage.manifest["figures"]["tokens"]["prompt"] > 0
    # Complete: the LLM is not asked for again.
    again = make(DRAWS, settings, llm=refuse_llm)
    assert kept(again) == kept(stage)


def test_nearest_draw_is_kept(make, encoder_folder):
    settings = make_filter_recipe(
        generate={"best_of": 3}, retriever={"model": str(encoder_folder), "device": "cpu"}
    )
    stage = make(DRAWS, settings)
    assert [query_id for query_id, _ in kept(stage)] == ["p0~0", "p0~1", "p1~0"]
    assert stage.manifest["counts"]["kept"] == 3


def held_out_stage(run, queries, documents):
    stage = run.open_stage("held-out", {"queries": queries})
    if not stage.complete:
        (stage.folder / "qrels").mkdir()
        for name, texts in (("queries", queries), ("corpus", documents)):
            rows = [{"_id": f"{name}{n}", "text": text} for n, text in enumerate(texts)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (stage.folder / f"{name}.jsonl").write_text(lines)
        judged = "".join(f"queries{n}\tcorpus{n}\t1\n" for n in range(len(queries)))
        (stage.folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
        stage.finish(rows=len(queries))
    return stage


def evaluating(**filters):
    return make_filter_recipe(
        corpus={"source": "docstrings", "held_out": 0.1},
        evaluate={"tasks": ["held-out"]},
        generate={"filters": filters},
    )


EVALUATION = ["a glacier is a slow river of ice", "how do owls look behind"]


def test_decontamination_names_the_queries_that_it_dropped(make, tmp_path):
    with Run(tmp_path / "run") as run:
        held_out = held_out_stage(run, EVALUATION, [TEXTS[0], "an answer of its own"])
    asked = [
        [
            make_parsed_row("p0", "which organ moves blood"),
            make_parsed_row("p0", "How do owls look behind them?", 1),
            make_parsed_row("p2", "what carves valleys"),
            make_parsed_row("p2", "ice that moves", 1),
        ],
        [make_parsed_row("p8", "how far can owls turn")],
    ]
    stage = make(asked, evaluating(), held_out=held_out)
    assert [query_id for query_id, _ in kept(stage)] == ["p0~0", "p8~0"]
    assert read_dropped(stage) == [
        ("p0~1", "holds an evaluation query", "How do owls look behind them?"),
        ("p2~0", "passage holds an evaluation query", "what carves valleys"),
        ("p2~1", "passage holds an evaluation query", "ice that moves"),
    ]
    assert stage.manifest["figures"]["decontamination"] == {
        "tasks": "held-out",
        "run of words": 8,
        "evaluation queries": 2,
        "evaluation queries too short to check": 0,
        "queries dropped": 3,
        "seed passages": 3,
        "seed passages that hold an evaluation query": 1,
        "seed passages that share words with an evaluation document": 1,
    }


ASKED = [
    [
        make_parsed_row("p0", "which organ moves blood"),
        make_parsed_row("p0", "how far can an owl turn", 1),
    ],
    [make_parsed_row("p8", "what looks behind itself")],
]


def evaluate_on(tmp_path, queries):
    """The stage of held-out queries, which is another evaluation task for other queries."""
    with Run(tmp_path / "run", "stale") as run:
        return held_out_stage(run, queries, TEXTS[:2])


def tables_of(stage):
    return [path.read_bytes() for path in sorted(stage.folder.glob("*.parquet"))]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (EVALUATION, ["why do bees dance at noon"]),
        (EVALUATION[:1], EVALUATION),
        (EVALUATION, EVALUATION[:1]),
        (EVALUATION, None),
        (None, EVALUATION),
    ],
)
def test_tasks_that_hit_no_query_change_nothing(make, tmp_path, before, after):
    """Neither the rows nor the fingerprint, which all that is made from the queries hangs on; and
    they are those of a run that had the later tasks from the start."""
    off = evaluating(decontaminate=False)
    made = []
    for queries in (before, after):
        held_out = evaluate_on(tmp_path, queries or ["-"])
        settings = evaluating() if queries else off
        made.append(make(ASKED, settings, held_out=held_out))
    assert made[0] == made[1]
    told = made[1].manifest["figures"].get("decontamination", {})
    assert told.get("evaluation queries") == (len(after) if after else None)
    fresh = make(
        ASKED,
        evaluating() if after else off,
        held_out=evaluate_on(tmp_path, after or ["-"]),
        name="fresh",
    )
    assert tables_of(fresh) == tables_of(made[1])


def test_tasks_are_checked_once(make, tmp_path, monkeypatch):
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    other = evaluate_on(tmp_path, EVALUATION[:1])
    make(ASKED, evaluating(), held_out=other)

    def refuse(*arguments):
        raise AssertionError("the evaluation's texts are read again")

    monkeypatch.setattr("distill.generate.filters.stage.Decontaminator", refuse)
    make(ASKED, evaluating(), held_out=other)


def test_overlap_is_reported_again_when_the_first_tasks_return(make, tmp_path):
    first = evaluate_on(tmp_path, EVALUATION)
    before = make(ASKED, evaluating(), held_out=first).manifest["figures"]
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION[:1]))
    again = make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    assert again.manifest["figures"] == before


def test_task_that_hits_queries_is_refused_with_their_number(make, tmp_path):
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    with pytest.raises(UserError, match="1 of its rows hold words of an evaluation query") as fault:
        make(ASKED, evaluating(), held_out=hit)
    assert "distill compare RUN/student" in fault.value.remedy
    stage = make(ASKED, evaluating(), held_out=hit, overwrite="stale")
    assert [query_id for query_id, _ in kept(stage)] == ["p0~0", "p8~0"]


def test_queries_come_back_without_the_task_that_hit_them(make, tmp_path):
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    make(ASKED, evaluating(), held_out=hit)
    other = evaluate_on(tmp_path, EVALUATION)
    with pytest.raises(UserError, match="1 rows were left out for a task"):
        make(ASKED, evaluating(), held_out=other)
    stage = make(ASKED, evaluating(), held_out=other, overwrite="stale")
    assert len(kept(stage)) == 3


def test_query_of_a_log_is_checked_against_a_task_that_is_added(make, tmp_path):
    asked = [
        [
            make_parsed_row("", "which organ moves blood"),
            make_parsed_row("", "how far can an owl turn", 1),
        ]
    ]
    off = evaluating(decontaminate=False)
    made = make(asked, off, held_out=evaluate_on(tmp_path, EVALUATION))
    assert make(asked, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION)) == made
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    with pytest.raises(UserError, match="1 of its rows hold words of an evaluation query"):
        make(asked, evaluating(), held_out=hit)


def test_task_that_was_added_can_be_removed_again(make, tmp_path):
    """Also where rows were left out for a task that stays."""
    pytest.importorskip("mteb")
    (tmp_path / "more.csv").write_text("question,passage\nwhy do bees dance at noon,They tell.\n")
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    more = evaluating()
    tasks = {"tasks": ["held-out", str(tmp_path / "more.csv")]}
    more = more.model_copy(update={"evaluate": more.evaluate.model_copy(update=tasks)})
    more._folder = tmp_path
    first = make(ASKED, evaluating(), held_out=hit)
    figures = first.manifest["figures"]
    assert len(kept(first)) == 2
    assert make(ASKED, more, held_out=hit) == first
    assert make(ASKED, evaluating(), held_out=hit) == first
    assert first.manifest["figures"] == figures


@pytest.mark.bad_input(
    "replies of the LLM", "no query passes the filters", "refused with the reasons counted"
)
def test_error_of_no_query_left_says_why_each_time(make):
    for _ in range(2):
        with pytest.raises(UserError) as fault:
            make(
                [[make_parsed_row("p0", "copper"), make_parsed_row("p1", "swifts")]],
                make_filter_recipe(),
            )
        assert "no query is left (dropped: too few words 2)" in str(fault.value)
        assert "--overwrite stale" in fault.value.remedy


@pytest.mark.bad_input(
    "shape of a recipe", "a filter that cannot be", "refused, no stage left behind"
)
def test_fault_in_the_recipe_leaves_no_stage_behind(make, tmp_path):
    with pytest.raises(UserError, match="cannot be detected"):
        make(MIXED, make_filter_recipe(generate={"filters": {"languages": ["english"]}}))
    assert not (tmp_path / "run" / "queries").exists()
    make(MIXED, make_filter_recipe())


def test_settings_that_nothing_uses_change_nothing(make):
    first = make(MIXED, make_filter_recipe())
    unused = make_filter_recipe(
        llm={"model": "another/llm"},
        retriever={"model": "another/retriever"},
        generate={"best_by": "ql", "filters": {"decontaminate_words": 5}},
        relabel={"prompt_ql": "another.jinja", "top_k": 7},
    )
    assert make(MIXED, unused).fingerprint == first.fingerprint

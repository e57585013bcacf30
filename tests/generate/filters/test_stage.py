"""The stage `queries`: what is kept, what is dropped and why, however often it is killed."""

import pytest
from helpers.filter_queries import BOTH, PASSAGES, list_kept, make_many_queries, read_shards
from helpers.query_rows import (
    make_filter_recipe,
    make_parsed_row,
    prepare_parsed,
    read_dropped,
    refuse_llm,
)
from helpers.reversed_workers import ReversedWorkers
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.llm.prompts import CONTINUATION
from distill.llm.transformers.engine import TransformersEngine
from distill.relabel.candidates import make_candidates
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.tables import QUERIES

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
    assert list_kept(stage) == [
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


def test_first_of_all_shards_wins(make):
    stage = make(make_many_queries(), make_filter_recipe(generate={"filters": BOTH}))
    words = [query.casefold().strip("?") for _, query in list_kept(stage)]
    assert len(words) == len(set(words)) > 4
    flat = [row for shard in make_many_queries() for row in shard]
    for query_id, query in list_kept(stage):
        same = [row for row in flat if row["query"].strip("?") == query.strip("?")]
        assert (same[0]["seed_id"], same[0]["sample"]) == (query_id[:-2], int(query_id[-1]))


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
    assert 0 < len(list_kept(stage)) < len(TEXTS)
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [PASSAGES[:5], PASSAGES[5:]], asked)
        before = {path.name for path in (run.folder / "vectors").glob("*/vectors.npy")}
        candidates = make_candidates(run, settings.retriever, settings.relabel, passages, stage)
        after = {path.name for path in (run.folder / "vectors").glob("*/vectors.npy")}
    assert len(before) == 1
    assert after == before
    assert candidates.manifest["counts"]["seed retrieved"] == len(list_kept(stage))


def test_shards_that_are_searched_at_once_have_the_same_bytes(make, encoder_folder, monkeypatch):
    retriever = {"model": str(encoder_folder), "device": "cpu"}
    filters = {"round_trip": 3, **BOTH}
    settings = make_filter_recipe(generate={"filters": filters}, retriever=retriever)
    at_once = make(make_many_queries(), settings)
    monkeypatch.setattr("distill.generate.filters.stage._SHARDS_AT_ONCE", 1)
    one_by_one = make(make_many_queries(), settings, name="one by one")
    assert read_shards(at_once) == read_shards(one_by_one)
    assert {"round trip", "exact duplicate"} <= {reason for _, reason, _ in read_dropped(at_once)}


@pytest.mark.parametrize("round_trip", [None, 3])
def test_filters_give_the_same_on_other_workers_and_in_any_order(make, encoder_folder, round_trip):
    """A duplicate is of what comes before it, whichever shard was screened first."""
    retriever = {"model": str(encoder_folder), "device": "cpu"}
    filters = {"round_trip": round_trip, **BOTH}
    settings = make_filter_recipe(generate={"filters": filters}, retriever=retriever)
    here, others = make(make_many_queries(), settings), ReversedWorkers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.generate.filters.stage._SHARDS_AT_ONCE", 1)
        there = make(make_many_queries(), settings, name="there", workers=others)
    assert others.sent[-1] == "queries"
    assert there.manifest["execution"] == {"on": "others"}
    assert len(list_shards(there.folder)) > 2
    assert read_shards(there) == read_shards(here)
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
    rows = dict(list_kept(stage))
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
    assert list_kept(again) == list_kept(stage)


def test_nearest_draw_is_kept(make, encoder_folder):
    settings = make_filter_recipe(
        generate={"best_of": 3}, retriever={"model": str(encoder_folder), "device": "cpu"}
    )
    stage = make(DRAWS, settings)
    assert [query_id for query_id, _ in list_kept(stage)] == ["p0~0", "p0~1", "p1~0"]
    assert stage.manifest["counts"]["kept"] == 3


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

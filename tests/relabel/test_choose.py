"""The choice of positive and negatives."""

import random

import pytest
from helpers.label_rows import OF_TEXTS, make_label, make_query, make_relabel_recipe, prepare_labels

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.recipe import Relabel
from distill.relabel.choose import choose_examples, make_examples
from distill.report.markdown.report import write_report
from distill.store import integrity
from distill.store.run import Run
from distill.store.tables import DROPPED, EXAMPLES, read_shard


def labels(rrf_by_id):
    return [
        make_label(id_, rrf, rank, ql=-float(10 - rank), ql_rank=10 - rank)
        for rank, (id_, rrf) in enumerate(rrf_by_id.items(), start=1)
    ]


ROWS = labels({"a": 0.5, "b": 2.0, "seed": 1.0, "c": 0.2, "d": 0.3})


def made(rows, texts=OF_TEXTS, **rule):
    return choose_examples(rows, "seed", texts, Relabel(**rule), random.Random(1))


def chosen(rows=ROWS, texts=OF_TEXTS, **rule):
    choice = made(rows, texts, **rule)
    assert choice is not None
    return choice.positives[0]["passage_id"], [row["passage_id"] for row in choice.negatives]


def judged(**by_id):
    """Rows in the order of fusion, each with the rc that is named."""
    return [
        make_label(id_, 2.0 - i / 10, i + 1, rc=rc, rc_rank=i + 1 if rc is not None else None)
        for i, (id_, rc) in enumerate(by_id.items())
    ]


def test_first_by_fusion_becomes_positive_and_the_last_negative():
    assert chosen(negative_count=2) == ("b", ["c", "d"])


def test_seed_can_be_kept():
    assert chosen(positive="seed") == ("seed", ["c"])


@pytest.mark.parametrize(("margin", "positive"), [(0.9, "b"), (1.0, "b"), (1.1, "seed")])
def test_first_must_lead_the_seed_by_the_margin(margin, positive):
    assert chosen(positive="margin", positive_margin=margin)[0] == positive


def test_seed_is_never_a_negative():
    rows = labels({"a": 0.5, "b": 2.0, "seed": 0.1})
    assert chosen(rows, negative_count=5) == ("b", ["a"])


def test_range_of_ranks():
    positive, negatives = chosen(negatives="range", negative_range=(2, 3), negative_count=5)
    assert positive == "b"
    assert sorted(negatives) == ["c", "d"]


SIMILAR = {"seed": 0.9, "a": 0.99, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5}
MINING = {"negatives_by": "retriever", "max_negative_share": 0.95, "positive": "seed"}


def mined(**rule):
    """By fusion, the order is the reverse of that by similarity."""
    rows = [
        make_label(id_, rank / 10, rank) | {"similarity": similarity}
        for rank, (id_, similarity) in enumerate(SIMILAR.items(), start=1)
    ]
    return chosen(rows, dict.fromkeys(SIMILAR, "") | {i: i * 3 for i in SIMILAR}, **rule)


def test_hardest_that_are_not_too_similar_are_negatives():
    """TopK-PercPos: the first so many below 0.95 of the positive's similarity, all of them found
    however many were rejected before them."""
    assert mined(**MINING, negatives="hardest", negative_count=3) == ("seed", ["b", "c", "d"])
    by_fusion = MINING | {"negatives_by": "fusion"}
    assert mined(**by_fusion, negatives="hardest", negative_count=2) == ("seed", ["e", "d"])


def test_range_is_counted_after_the_rejections():
    found = mined(**MINING, negatives="range", negative_range=(1, 2), negative_count=2)
    assert (found[0], sorted(found[1])) == ("seed", ["b", "c"])


def test_sampled_negatives_depend_on_the_seed_alone():
    first = chosen(negatives="sampled", negative_count=2)
    assert first == chosen(negatives="sampled", negative_count=2)
    assert first[0] == "b"
    assert set(first[1]) < {"a", "c", "d"}


def test_negatives_fewer_than_asked_stay_fewer():
    assert len(chosen(negatives="sampled", negative_count=50)[1]) == 3


@pytest.mark.parametrize(("rankers", "positive"), [(["retriever", "ql"], "a"), (["ql"], "b")])
def test_first_named_ranker_breaks_ties(rankers, positive):
    rows = labels({"a": 1.0, "b": 1.0, "seed": 0.5, "c": 0.1})
    assert chosen(rows, rankers=rankers)[0] == positive


def test_passage_that_the_first_ranker_of_a_cascade_has_not_judged_loses_ties():
    rows = [
        make_label("a", 1.0, 1),
        make_label("b", 1.0, 2, ql=-1.0, ql_rank=2),
        make_label("seed", 0.5, 3, ql=-0.5, ql_rank=1),
    ]
    assert chosen(rows, rankers=["ql"]) == ("b", ["a"])


# Similarities are 0.9, 0.8, 0.7, 0.6 and 0.5 for a, b, the seed, c and d; b is the positive.


@pytest.mark.parametrize(
    ("rule", "negatives", "counts"),
    [
        ({"max_negative_share": 0.74}, ["d"], [2, 0]),
        ({"max_negative_share": 0.76}, ["c", "d"], [1, 0]),
        ({"negative_margin": 0.25}, ["d"], [0, 2]),
        ({"negative_margin": 0.15}, ["c", "d"], [0, 1]),
        ({"max_negative_share": 0.95, "negative_margin": 0.25}, ["d"], [1, 1]),
    ],
)
def test_negatives_must_be_less_similar_than_the_positive(rule, negatives, counts):
    choice = made(ROWS, negative_count=5, **rule)
    assert [row["passage_id"] for row in choice.negatives] == negatives
    names = ("negatives rejected by max_negative_share", "negatives rejected by negative_margin")
    assert [choice.counts[name] for name in names] == counts


@pytest.mark.parametrize(("similarity", "kept"), [(-0.2, False), (-0.205, False), (-0.22, True)])
def test_share_lies_below_a_positive_of_negative_similarity(similarity, kept):
    rows = [
        make_label("b", 2.0, 1, similarity=-0.2),
        make_label("seed", 1.0, 2, similarity=-0.1),
        make_label("a", 0.5, 3, similarity=similarity),
    ]
    assert (chosen(rows, max_negative_share=0.95)[1] == ["a"]) is kept


def test_negative_that_the_llm_confirms_may_be_similar():
    rows = judged(b=2.0, seed=1.0, a=-0.5, c=0.5, d=None)
    rule = {"rankers": ["rc"], "max_negative_share": 0.1, "negative_count": 5}
    assert chosen(rows, **rule) == ("b", [])
    choice = made(rows, **rule, confirmed_exempt=True)
    assert [row["passage_id"] for row in choice.negatives] == ["a"]
    assert choice.counts["negatives kept as confirmed by the LLM"] == 1
    assert choice.counts["negatives rejected by max_negative_share"] == 2


def test_graded_relevance_below_low_confirms_a_negative():
    rows = [
        make_label("b", 2.0, 1, graded=2.5, graded_rank=1),
        make_label("seed", 1.0, 2, graded=1.5, graded_rank=2),
        make_label("a", 0.5, 3, graded=0.9, graded_rank=3),
        make_label("c", 0.4, 4, graded=1.0, graded_rank=4),
    ]
    rule = {"rankers": ["graded"], "negative_margin": 0.9, "confirmed_exempt": True}
    assert chosen(rows, **rule, negative_count=5) == ("b", ["a"])


def test_near_duplicates_of_the_seed_or_the_positive_are_no_negatives():
    texts = {
        **OF_TEXTS,
        "a": OF_TEXTS["b"].upper(),
        "c": f"Insects. {OF_TEXTS['seed']}",
    }
    choice = made(ROWS, texts, negative_count=5)
    assert [row["passage_id"] for row in choice.negatives] == ["d"]
    assert choice.counts == {
        "near-duplicates of the seed left out": 1,
        "near-duplicates of a positive left out": 1,
    }
    assert chosen(ROWS, texts, negative_count=5, near_duplicates=None) == ("b", ["c", "d", "a"])
    same = {**OF_TEXTS, "c": OF_TEXTS["seed"]}
    assert chosen(ROWS, same, negative_count=5, near_duplicates=None) == ("b", ["d", "a"])


def test_near_duplicate_of_the_seed_may_be_the_positive():
    texts = {**OF_TEXTS, "b": OF_TEXTS["seed"].lower()}
    assert chosen(ROWS, texts) == ("b", ["c"])


def test_query_that_no_candidate_answers_is_none():
    rows = judged(b=0.2, seed=-1.0, a=None)
    assert made(rows, rankers=["rc"], min_relevance=0.3) is None
    assert chosen(rows, rankers=["rc"], min_relevance=0.2)[0] == "b"


def test_positive_reaches_min_relevance_and_no_negative_does():
    """Query likelihood puts first what the LLM says is no answer, and third what it says is one."""
    rows = judged(a=-4.0, b=-1.0, c=2.0, d=0.5)
    rule = Relabel(rankers=["ql", "rc"], min_relevance=0.0, negatives="hardest", negative_count=3)
    choice = choose_examples(rows, "", OF_TEXTS, rule, random.Random(1))
    assert choice.positives[0]["passage_id"] == "c"
    assert [row["passage_id"] for row in choice.negatives] == ["a", "b"]
    assert choice.counts["negatives rejected by min_relevance"] == 1


@pytest.mark.parametrize("positive", ["seed", "margin"])
def test_seed_below_min_relevance_stays_the_positive_where_it_is_kept(positive):
    rows = judged(a=-3.0, seed=-1.0, b=2.0)
    rule = {"rankers": ["rc"], "min_relevance": 0.0, "negative_count": 5, "positive": positive}
    assert chosen(rows, **rule) == ("seed", ["a"])
    assert chosen(rows, **rule | {"positive": "first"}) == ("b", ["a"])


def test_graded_is_the_relevance_only_where_rc_does_not_judge():
    rows = [
        make_label("b", 2.0, 1, rc=-1.0, rc_rank=1, graded=3.0, graded_rank=1),
        make_label("seed", 1.0, 2, graded=2.0, graded_rank=2),
    ]
    assert made(rows, rankers=["rc", "graded"], min_relevance=1.5) is None
    assert made(rows, rankers=["graded"], min_relevance=1.5) is not None


def test_further_candidates_that_answer_are_positives_too_and_no_negatives():
    rows = judged(b=3.0, a=1.0, seed=2.0, c=-1.0, d=None)
    choice = made(rows, rankers=["rc"], more_positives=1.0, negative_count=5)
    assert [row["passage_id"] for row in choice.positives] == ["b", "a", "seed"]
    assert [row["passage_id"] for row in choice.negatives] == ["d", "c"]


# --- the stage ----------------------------------------------------------------------------------


def examples_of(folder, prepared, run, **rule):
    made = make_relabel_recipe(folder, shard_size=2, **rule)
    return make_examples(
        run,
        made.relabel,
        made.seed,
        prepared.passages,
        prepared.queries,
        prepared.labels,
        prepared.candidates,
    )


def three_queries():
    return [make_query("q1"), make_query("q2", "a"), make_query("q3", "b")]


def two_shards_of_labels():
    def of(query_id, **rc_by_id):
        return [
            {**row, "query_id": query_id, "ql": -1.0, "ql_rank": row["rc_rank"]}
            for row in judged(**rc_by_id)
        ]

    first = [*of("q1", b=2.0, seed=1.0, c=-1.0), *of("q2", a=3.0, b=1.5, d=-2.0)]
    return [first, of("q3", b=-1.0, c=-2.0)]


def test_examples_have_texts_scores_and_an_id_for_each_positive(tmp_path):
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, three_queries(), two_shards_of_labels(), missed=1)
        stage = examples_of(
            tmp_path, prepared, run, rankers=["rc"], min_relevance=0.0, more_positives=1.5
        )
    rows = stage.read_rows(EXAMPLES)
    assert [(row["query_id"], row["positive_id"], row["relabelled"]) for row in rows] == [
        ("q1", "b", True),
        ("q2", "a", False),
        ("q2+2", "b", True),
    ]
    assert rows[0]["positive"] == OF_TEXTS["b"]
    assert rows[0]["negative_ids"] == ["c"]
    assert rows[0]["negatives"] == [OF_TEXTS["c"]]
    assert rows[0]["positive_score"] == pytest.approx(0.9)
    assert rows[0]["negative_scores"] == pytest.approx([0.7])
    assert rows[2]["negatives"] == rows[1]["negatives"] == [OF_TEXTS["d"]]
    counts = stage.manifest["counts"]
    assert counts["kept"] == 2
    assert counts["positive changed"] == 1
    assert counts["additional positives"] == 1
    assert counts["dropped: no candidate answers it"] == 1
    (dropped,) = read_shard(DROPPED, stage.metadata_dir / "dropped-part-00001.parquet")
    assert dropped["item_id"] == "q3"
    assert dropped["reason"] == "no candidate answers it"
    assert stage.manifest["figures"]["share_relabelled"] == 0.5
    assert stage.manifest["figures"]["share_seed_not_retrieved"] == pytest.approx(1 / 3, abs=1e-4)
    (change,) = read_json(stage.metadata_dir / "changes.json")
    assert change["query_id"] == "q1"
    assert (change["seed"], change["positive"]) == (OF_TEXTS["seed"], OF_TEXTS["b"])


@pytest.mark.bad_input("damage", "the changes kept for the report", "made again, or refused")
def test_damaged_changes_are_refused_by_the_report_and_made_again(tmp_path):
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
        stage = examples_of(tmp_path, prepared, run)
    path = stage.metadata_dir / "changes.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"q1", b"q7"))
    with pytest.raises(UserError, match="other bytes than were written") as refused:
        write_report(tmp_path / "run")
    assert refused.value.where == str(path)
    integrity._verified.clear()
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
        examples_of(tmp_path, prepared, run)
    assert path.read_bytes() == before
    assert "q1" in write_report(tmp_path / "run").read_text("utf-8")


def test_negatives_fewer_than_asked_are_counted(tmp_path):
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
        stage = examples_of(tmp_path, prepared, run, rankers=["rc"], negative_count=2)
    assert [len(row["negatives"]) for row in stage.read_rows(EXAMPLES)] == [1, 2, 1]
    assert stage.manifest["counts"]["fewer negatives than asked"] == 2


def test_stage_whose_shard_is_lost_ends_with_the_same_bytes(tmp_path):
    files = {}
    for name in ("whole", "lost"):
        with Run(tmp_path / name) as run:
            prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
            stage = examples_of(tmp_path, prepared, run, negatives="sampled")
            if name == "lost":
                (stage.folder / "part-00001.parquet").unlink()
                write_json(
                    stage.metadata_dir / "manifest.json", stage.manifest | {"complete": False}
                )
                examples_of(tmp_path, prepared, run, negatives="sampled")
            paths = [*stage.folder.glob("*.parquet"), stage.metadata_dir / "changes.json"]
            files[name] = {path.name: path.read_bytes() for path in paths}
    assert files["whole"] == files["lost"]
    assert len(files["whole"]) == 3


@pytest.mark.bad_input("replies of the LLM", "no example is left", "refused with the counts")
def test_examples_of_none_left_are_an_error_each_time(tmp_path):
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
        for _ in range(2):
            with pytest.raises(UserError, match="no query is left"):
                examples_of(tmp_path, prepared, run, rankers=["rc"], min_relevance=9.0)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ({"block": 2}, False),
        ({"negative_range": (1, 3)}, False),
        ({"positive_margin": 0.1}, False),
        ({"near_duplicates": None}, True),
        ({"negatives": "range", "negative_range": (1, 3)}, True),
        ({"positive": "margin"}, True),
        ({"negative_margin": 0.1}, True),
    ],
)
def test_fingerprint_holds_what_changes_the_choice(tmp_path, rule, changes):
    marks = []
    for number, of in enumerate(({}, rule)):
        with Run(tmp_path / str(number)) as run:
            prepared = prepare_labels(run, three_queries(), two_shards_of_labels())
            marks.append(examples_of(tmp_path, prepared, run, **of).fingerprint)
    assert (marks[0] != marks[1]) is changes

"""The judgement stages: passage-major in any block gives the same, and nothing is judged twice."""

import sqlite3
from contextlib import closing

import pytest
from helpers.fake_server import MODEL, make_completion, serve
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.llm.http.engine import HTTPEngine
from distill.llm.protocol import Completion
from distill.llm.score_checks import make_unusable_score
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import Recipe
from distill.relabel import judge_lists, judgements
from distill.relabel.by_passage import CandidateLayout, PairBlocks, group_by_passage
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.store.judgement_cache import make_earlier_key
from distill.store.run import Run
from distill.store.tables import JUDGEMENTS

PASSAGES = {f"p{n}": text for n, text in enumerate(TEXTS)}
ASKED = [
    ("why do bees dance", "p3"),
    ("what moves the sea", "p6"),
    ("what are wires made of", "p1"),
    ("which animal looks behind itself", "p8"),
    ("when is the library open", "p4"),
]
FOUND = [["p3", "p6", "p1"], ["p6", "p3"], ["p1", "p3", "-p4"], ["p8", "p3"], ["p4", "p6"]]


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def rankers(llm_folder, **relabel) -> RankerSettings:
    rule = {"rankers": ["ql", "rc"], "shard_size": 2, **relabel}
    llm = {"model": str(llm_folder), "dtype": "float32", "device": "cpu"}
    recipe = Recipe.model_validate({"name": "r", "llm": llm, "relabel": rule})
    return RankerSettings.select(recipe)


def scores(stage):
    return {
        (r["ranker"], r["query_id"], r["passage_id"]): r["score"]
        for r in stage.read_rows(JUDGEMENTS)
    }


def judge(folder, settings, engine, name="ql", found=FOUND, asked=ASKED):
    with Run(folder, "stale") as run:
        passages, queries, candidates = prepare_candidates(
            run, PASSAGES, asked[: len(found)], found, settings.rule.shard_size
        )
        judged = folder / "judgements.sqlite"
        make = make_list_judgements if name == "listwise" else make_judgements
        names = () if name == "listwise" else (name,)
        return make(run, settings, *names, passages, queries, candidates, lambda: engine, judged)


@pytest.mark.parametrize("name", ["ql", "rc", "graded", "fused"])
def test_every_candidate_is_judged_the_same_in_any_block(tmp_path, llm_folder, engine, name):
    one_block = judge(tmp_path / "a", rankers(llm_folder, block=100, shard_size=2), engine, name)
    small = judge(tmp_path / "b", rankers(llm_folder, block=2, shard_size=2), engine, name)
    judges = {"fused": ["ql", "rc"]}.get(name, [name])
    expected = {
        (ranker, f"q{n}", id_.lstrip("-"))
        for ranker in judges
        for n, ids in enumerate(FOUND)
        for id_ in ids
    }
    assert scores(one_block).keys() == scores(small).keys() == expected
    assert scores(small) == pytest.approx(scores(one_block), abs=1e-3)


def test_pairs_of_a_block_are_sorted_by_passage(tmp_path):
    with Run(tmp_path) as run:
        passages, queries, candidates = prepare_candidates(run, PASSAGES, ASKED, FOUND)
        layout = CandidateLayout(candidates, queries_a_block=4, queries_a_shard=2)
        pieces = layout.list_pieces(100)
        assert [(piece.block, piece.stop) for piece in pieces] == [(0, 10), (1, 2)]
        block, pairs = PairBlocks(layout, queries, passages).read_pairs(pieces[0])
        assert group_by_passage(pairs) == [
            ("p1", ["q0", "q2"]),
            ("p3", ["q0", "q1", "q2", "q3"]),
            ("p4", ["q2"]),
            ("p6", ["q0", "q1"]),
            ("p8", ["q3"]),
        ]
        assert block.queries["q3"] == ASKED[3][0]
        assert block.passages["p8"] == PASSAGES["p8"]
        assert [layout.find_block(shard) for shard in range(3)] == [0, 0, 1]


class Unasked:
    """An engine that must not be asked any more."""

    can_score = can_compare_verdicts = True
    supports_regex = has_chat = False

    def __init__(self):
        self.tokens = {"prompt": 0}

    def score(self, *requests):
        raise AssertionError("judged again")

    generate = score


@pytest.mark.parametrize("name", ["ql", "rc", "graded", "listwise"])
def test_judged_pairs_and_lists_are_never_judged_again(tmp_path, llm_folder, engine, name):
    before = judge(tmp_path, rankers(llm_folder, shard_size=2), engine, name)
    whole = scores(before)
    again = judge(tmp_path, rankers(llm_folder, shard_size=5, block=9), Unasked(), name)
    assert scores(again) == whole


@pytest.mark.parametrize("name", ["ql", "rc", "graded", "fused", "listwise"])
@pytest.mark.parametrize("length", [400, 30])
def test_judgements_of_passages_that_a_limit_does_not_cut_are_kept_under_another_limit(
    tmp_path, llm_folder, engine, name, length
):
    before = judge(tmp_path, rankers(llm_folder), engine, name)
    other = rankers(llm_folder, max_passage_words=length)
    again = judge(tmp_path, other, Unasked(), name)
    assert again.fingerprint != before.fingerprint
    assert scores(again) == scores(before)


def test_passage_that_another_limit_cuts_is_judged_anew(tmp_path, llm_folder, engine):
    judge(tmp_path, rankers(llm_folder), engine)
    with pytest.raises(AssertionError, match="judged again"):
        judge(tmp_path, rankers(llm_folder, max_passage_words=5), Unasked())


def test_lists_that_a_window_holds_as_a_whole_are_not_sorted_again_in_a_larger_one(
    tmp_path, llm_folder, engine
):
    before = judge(tmp_path, rankers(llm_folder, listwise_window=4), engine, "listwise")
    larger = rankers(llm_folder, listwise_window=20)
    assert scores(judge(tmp_path, larger, Unasked(), "listwise")) == scores(before)
    smaller = rankers(llm_folder, listwise_window=2)
    with pytest.raises(AssertionError, match="judged again"):
        judge(tmp_path, smaller, Unasked(), "listwise")


@pytest.mark.parametrize("name", ["ql", "fused", "listwise"])
def test_judgements_that_earlier_versions_stored_are_found(tmp_path, llm_folder, engine, name):
    """Their keys held the limit of words and the window."""

    def make_key(mark, *texts):
        return make_earlier_key(mark | ({"window": 10} if "window" in mark else {}), *texts)

    with pytest.MonkeyPatch.context() as patch:
        for module in (judgements, judge_lists):
            patch.setattr(module, "make_judgement_key", make_key)
        before = judge(tmp_path, rankers(llm_folder, shard_size=2), engine, name)
    again = judge(tmp_path, rankers(llm_folder, shard_size=5), Unasked(), name)
    assert scores(again) == scores(before)


def test_judgements_of_more_candidates_cost_only_the_new_ones(tmp_path, llm_folder, engine):
    fewer = [ids[:2] for ids in FOUND]
    first = judge(tmp_path, rankers(llm_folder), engine, found=fewer)
    more = judge(tmp_path, rankers(llm_folder), engine, found=[[*ids, "p9"] for ids in fewer])
    counts = more.manifest["counts"]
    assert counts["pairs"] == 15
    assert counts["judged before"] == 10
    assert scores(more).items() >= scores(first).items()


def test_fused_judgements_are_not_taken_for_those_of_two_prompts(tmp_path, llm_folder, engine):
    settings = rankers(llm_folder, fused=True)
    judge(tmp_path, settings, engine, "fused")
    alone = judge(tmp_path, settings, engine, "rc")
    assert alone.manifest["counts"]["judged before"] == 0


@pytest.mark.bad_input(
    "engines", "likelihood of an engine without any", "refused before the first row"
)
def test_likelihood_of_an_engine_without_any_is_refused_before_the_first_row(tmp_path, llm_folder):
    class Mute(Unasked):
        can_score = can_compare_verdicts = False

    with pytest.raises(UserError, match=r"'ql' needs.*(.|\n)*listwise"):
        judge(tmp_path, rankers(llm_folder), Mute())


class Unsure:
    """An engine that has no usable score for some queries."""

    def __init__(self, engine, spoiled):
        self.engine, self.spoiled = engine, spoiled
        self.tokens, self.can_score, self.can_compare_verdicts = engine.tokens, True, True

    def score(self, requests):
        return [
            [
                make_unusable_score("a log-probability is NaN", len(request.endings))
                if self.spoiled(request.prefix, text)
                else score
                for text, score in zip(request.continuations, of_request, strict=True)
            ]
            for request, of_request in zip(requests, self.engine.score(requests), strict=True)
        ]


@pytest.mark.parametrize("name", ["ql", "fused"])
def test_pair_without_a_usable_score_is_left_out_and_the_job_goes_on(
    tmp_path, llm_folder, engine, name
):
    whole = judge(tmp_path / "whole", rankers(llm_folder), engine, name)
    unsure = Unsure(engine, lambda prefix, text: TEXTS[3] in prefix and "moves the sea" in text)
    stage = judge(tmp_path / "part", rankers(llm_folder), unsure, name)
    rest = {key: score for key, score in scores(whole).items() if key[1:] != ("q1", "p3")}
    assert scores(stage) == pytest.approx(rest, abs=1e-3)
    judges = {"fused": ["ql", "rc"]}.get(name, [name])
    assert stage.manifest["counts"]["without a usable score"] == len(judges)
    again = judge(tmp_path / "part", rankers(llm_folder, block=1), engine, name)
    assert scores(again) == pytest.approx(scores(whole), abs=1e-3)


def test_model_without_any_usable_score_ends_the_job(tmp_path, llm_folder, engine):
    unsure = Unsure(engine, lambda prefix, text: True)
    with pytest.raises(UserError, match="no usable score"):
        judge(tmp_path, rankers(llm_folder, shard_size=100), unsure)


@pytest.mark.parametrize("name", ["ql", "fused"])
def test_remade_judgements_with_as_many_unusable_scores_are_not_refused(
    tmp_path, llm_folder, engine, name
):
    """Whatever can be judged is known by then: those without a score alone are asked for again."""
    unsure = Unsure(engine, lambda prefix, text: TEXTS[3] in prefix)
    before = judge(tmp_path, rankers(llm_folder, shard_size=100), unsure, name)
    asked = []
    watched = Unsure(engine, lambda prefix, text: asked.append(text) or TEXTS[3] in prefix)
    again = judge(tmp_path, rankers(llm_folder, shard_size=90), watched, name)
    assert again.manifest["counts"]["judged before"] == 8
    assert len(asked) == 4
    assert scores(again) == scores(before)


def test_remade_lists_with_as_many_unreadable_replies_are_not_refused(tmp_path, llm_folder):
    class Moderated(Unasked):
        supports_schema = False

        def generate(self, prompts, seeds, sampling):
            refused = Completion("", False, "the server refuses it")
            return [refused if "bees" in p else Completion("[2] > [1]", True) for p in prompts]

    asked = [(f"why do bees dance {n}", "p3") for n in range(4)] + [("what moves the sea", "p6")]
    found = [["p6", "p8"]] * 5
    settings = [rankers(llm_folder, shard_size=100, listwise_window=size) for size in (10, 20)]
    stages = [judge(tmp_path, of, Moderated(), "listwise", found, asked) for of in settings]
    assert [scores(stage) for stage in stages] == [
        {("listwise", "q4", "p6"): -2.0, ("listwise", "q4", "p8"): -1.0}
    ] * 2
    assert stages[1].manifest["counts"]["unreadable replies"] == 4


def think(path, body):
    """As a model that thinks first, on a server without log-probabilities, in too few tokens."""
    reply = make_completion(path, [""], "length")
    reply["choices"][0]["message"] = {"content": None, "reasoning_content": "Okay, 1 passage"}
    return reply


@pytest.mark.parametrize("name", ["rc", "graded", "listwise"])
@pytest.mark.bad_input("server", "a judge that thinks and gives no verdict", "refused; none kept")
def test_model_that_only_thinks_ends_the_job_and_nothing_is_kept(tmp_path, name):
    with serve(think) as server:
        llm = {"engine": "http", "model": MODEL, "base_url": server.url, "prompt_format": "chat"}
        rule = {"rankers": [name], "shard_size": 100}
        recipe = Recipe.model_validate({"name": "r", "llm": llm, "relabel": rule})
        engine = HTTPEngine(recipe.llm, tmp_path / "requests.sqlite")
        with pytest.raises(UserError, match="no usable score for any of") as caught:
            judge(tmp_path, RankerSettings.select(recipe), engine, name)
        engine.close()
    assert "llm.verdict_tokens" in caught.value.remedy
    with closing(sqlite3.connect(tmp_path / "judgements.sqlite")) as kept:
        assert kept.execute("SELECT count(*) FROM judged").fetchall() == [(0,)]


def test_bytes_depend_neither_on_the_order_of_shards_nor_on_kills(tmp_path, llm_folder, engine):
    """A cache that holds half the pairs; then shards whose neighbours' judgements are there too, as
    after a kill, or where another worker was faster."""

    def bytes_of(stage) -> dict[str, bytes]:
        files = sorted(stage.folder.glob("part-*.parquet"))
        return {path.name: path.read_bytes() for path in files}

    settings = rankers(llm_folder, shard_size=3, block=4)
    # q5 asks what q0 asks, of the same passage: the same judgement in two shards
    asked, found = [*ASKED, ASKED[0]], [*FOUND, ["p3", "p8"]]

    def relabelled(folder, missing=()):
        judge(folder, settings, engine, found=[ids[:1] for ids in FOUND])
        stage = judge(folder, settings, engine, found=found, asked=asked)
        for number in missing:
            (stage.folder / f"part-{number:05d}.parquet").unlink()
        if missing:
            write_json(stage.metadata_dir / "manifest.json", stage.manifest | {"complete": False})
            stage = judge(folder, settings, engine, found=found, asked=asked)
        return stage

    undisturbed = relabelled(tmp_path / "undisturbed")
    assert 0 < undisturbed.manifest["counts"]["judged before"] < len(bytes_of(undisturbed)) * 3
    for missing in ([0], [1, 3], [2, 0], range(len(bytes_of(undisturbed)))):
        again = relabelled(tmp_path / f"{list(missing)}", missing)
        assert bytes_of(again) == bytes_of(undisturbed)
        assert again.manifest["counts"] == undisturbed.manifest["counts"]

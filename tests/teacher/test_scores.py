"""The teacher's scores: plain cosines of what sentence-transformers embeds, whatever is killed, and
each text embedded once."""

import json
import shutil
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.embed.encoder import Encoder
from distill.errors import UserError
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult
from distill.store.tables import EXAMPLES, TEACHER_SCORES, read_shard
from distill.teacher import texts as distinct
from distill.teacher.scores import make_teacher_scores
from distill.teacher.texts import DistinctTexts, list_documents, list_queries


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    prompts = {"query": "the sea: ", "document": "the air: "}
    return make_tiny_encoder(tmp_path_factory.mktemp("teacher") / "t", seed=3, prompts=prompts)


def recipe(teacher=None, **more) -> Recipe:
    settings = {"model": teacher and str(teacher), "device": "cpu", "max_tokens": 32, **more}
    return Recipe.model_validate({"name": "tiny", "teacher": settings})


def example(number: int, negatives: int) -> dict:
    """The same texts come again and again, on both sides too."""
    texts = [TEXTS[(number + place) % 5] for place in range(negatives + 1)]
    return {
        "query_id": f"q{number}",
        "task": "Find it.",
        "task_type": "question answering",
        "query": TEXTS[number % 3],
        "seed_id": "p0",
        "positive_id": "p1",
        "positive": texts[0],
        "negative_ids": [f"n{place}" for place in range(negatives)],
        "negatives": texts[1:],
        "positive_score": None,
        "negative_scores": [0.0] * negatives,
        "relabelled": False,
    }


SHARDS = {
    "examples": [[example(0, 2), example(1, 0)], [], [example(2, 1), example(3, 3)]],
    "brainstorm": [[example(4, 1)]],
}


def examples_of(run, names=("examples", "brainstorm")):
    stages = []
    for name in names:
        stage = run.open_stage(name, {})
        stage.map_shards(EXAMPLES, SHARDS[name], lambda rows: ShardResult(list(rows)))
        stage.finish()
        stages.append(stage)
    return stages


def rows_of(stage):
    return [read_shard(TEACHER_SCORES, path) for path in list_shards(stage.folder)]


def flat(lists) -> list:
    return list(chain.from_iterable(lists))


def plain_cosines(folder, row) -> list[float]:
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 32
    query = model.encode_query([row["query"]], normalize_embeddings=True)
    documents = [row["positive"], *row["negatives"]]
    return (model.encode_document(documents, normalize_embeddings=True) @ query[0]).tolist()


def test_scores_are_the_cosines_of_sentence_transformers(tmp_path, prompted):
    with Run(tmp_path) as run:
        stage = make_teacher_scores(run, recipe(prompted).teacher, examples_of(run))
    scored = rows_of(stage)
    wanted = [*SHARDS["examples"], *SHARDS["brainstorm"]]
    assert [[row["query_id"] for row in of_shard] for of_shard in scored] == [
        [row["query_id"] for row in of_shard] for of_shard in wanted
    ]
    for row, of_row in zip(flat(wanted), flat(scored), strict=True):
        found = [of_row["positive_score"], *of_row["negative_scores"]]
        assert found == pytest.approx(plain_cosines(prompted, row), abs=1e-5)
        assert (of_row["teacher"], of_row["scale"]) == (str(prompted), "cosine")
    assert stage.manifest["rows"] == 5


def test_texts_are_embedded_once_a_side(tmp_path, prompted, monkeypatch):
    asked = Counter()
    encode = Encoder.encode_prompted
    monkeypatch.setattr(
        Encoder,
        "encode_prompted",
        lambda self, texts, side: (
            asked.update((side, text) for text in texts) or encode(self, texts, side)
        ),
    )
    monkeypatch.setattr(distinct, "_SHARDS_AT_ONCE", 1)
    with Run(tmp_path) as run:
        stages = examples_of(run)
        stage = make_teacher_scores(run, recipe(prompted).teacher, stages)
        assert set(asked.values()) == {1}
        assert {side for side, _ in asked} == {"query", "document"}
        assert stage.manifest["figures"] == {"queries": 3, "documents": 5}
        # The vectors outlive the scores.
        shutil.rmtree(stage.folder)
        asked.clear()
        make_teacher_scores(run, recipe(prompted).teacher, stages)
    assert not asked


def test_teachers_are_kept_apart_or_concatenated(tmp_path, prompted, teacher_folder):
    def scores(folder, combine):
        with Run(folder) as run:
            settings = recipe(prompted, additional_models=[str(teacher_folder)], combine=combine)
            return flat(rows_of(make_teacher_scores(run, settings.teacher, examples_of(run))))

    apart, together = scores(tmp_path / "a", "apart"), scores(tmp_path / "b", "concatenate")
    names = [str(prompted), str(teacher_folder)]
    assert [row["teacher"] for row in apart] == names * 5
    assert [row["teacher"] for row in together] == [" + ".join(names)] * 5
    for first, second, both in zip(apart[::2], apart[1::2], together, strict=True):
        assert first["query_id"] == second["query_id"] == both["query_id"]
        mean = (first["positive_score"] + second["positive_score"]) / 2
        assert both["positive_score"] == pytest.approx(mean, abs=1e-6)
        of_both = np.mean([first["negative_scores"], second["negative_scores"]], axis=0)
        assert both["negative_scores"] == pytest.approx(of_both.tolist(), abs=1e-6)


def test_killed_anywhere_it_ends_with_the_same_bytes(tmp_path, prompted, monkeypatch):
    monkeypatch.setattr(distinct, "_SHARDS_AT_ONCE", 1)
    with Run(tmp_path / "whole") as run:
        whole = make_teacher_scores(run, recipe(prompted).teacher, examples_of(run))

    encode, calls = Encoder.encode_prompted, iter(range(3))

    def mortal(self, texts, side):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return encode(self, texts, side)

    with Run(tmp_path / "killed") as run:
        monkeypatch.setattr(Encoder, "encode_prompted", mortal)
        with pytest.raises(KeyboardInterrupt):
            make_teacher_scores(run, recipe(prompted).teacher, examples_of(run))
        monkeypatch.setattr(Encoder, "encode_prompted", encode)
        stage = make_teacher_scores(run, recipe(prompted).teacher, examples_of(run))
        # And once more with a shard lost behind its back.
        list_shards(stage.folder)[2].unlink()
        manifest = stage.metadata_dir / "manifest.json"
        manifest.write_text(json.dumps(stage.manifest | {"complete": False}))
        stage = make_teacher_scores(run, recipe(prompted).teacher, examples_of(run))
    assert [p.read_bytes() for p in list_shards(stage.folder)] == [
        p.read_bytes() for p in list_shards(whole.folder)
    ]


def test_settings_that_change_teacher_scores_change_the_fingerprint(
    tmp_path, prompted, teacher_folder
):
    def mark(**settings):
        with Run(tmp_path, overwrite="stale") as run:
            stages = examples_of(run, ["brainstorm"])
            return make_teacher_scores(
                run, recipe(prompted, **settings).teacher, stages
            ).fingerprint

    plain = mark()
    also = [str(teacher_folder)]
    others = [
        mark(max_tokens=8),
        mark(additional_models=also),
        mark(additional_models=also, combine="concatenate"),
    ]
    assert len({plain, *others}) == 4
    assert mark(batch_tokens=64) == plain


@pytest.mark.bad_input("shape of a recipe", "scores without a teacher", "refused")
def test_recipe_that_cannot_be_scored_is_refused(tmp_path, prompted):
    with Run(tmp_path) as run:
        with pytest.raises(UserError, match=r"set teacher\.model"):
            make_teacher_scores(run, recipe().teacher, examples_of(run))
        with pytest.raises(UserError, match=r"teacher\.additional_models"):
            make_teacher_scores(
                run, recipe(prompted, additional_models=[str(prompted)]).teacher, examples_of(run)
            )
        with pytest.raises(UserError, match="no example to score"):
            make_teacher_scores(run, recipe(prompted).teacher, [])


def test_distinct_texts_are_numbered_as_they_first_occur(tmp_path):
    with Run(tmp_path) as run:
        paths = [path for stage in examples_of(run) for path in list_shards(stage.folder)]
    for texts_of in (list_queries, list_documents):
        rows = flat(flat(SHARDS.values()))
        expected = list(dict.fromkeys(texts_of(rows)))
        found = DistinctTexts(paths, texts_of)
        assert [text for part in found.iterate_parts() for text in part] == expected
        assert len(found) == len(expected)
        assert found.find_numbers(expected).tolist() == list(range(len(expected)))
        assert found.find_numbers([]).tolist() == []

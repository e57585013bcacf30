"""Documents of any source that are held out of training."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill.corpus.passages import SplitPassages, make_split_passages
from distill.errors import UserError
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.tables import PASSAGES

SENTENCES = "A glacier is slow ice of mountain {n}. It carves valley {n} as it moves down."


def make_recipe(path: Path, seed: int = 13, **corpus: Any) -> Recipe:
    values = {"path": str(path), "min_words": 4, "max_tokens": 14, "held_out": 0.3} | corpus
    return Recipe.model_validate({"name": "x", "seed": seed, "corpus": values})


def write_rows(folder: Path, count: int = 40) -> Path:
    file = folder / "texts.jsonl"
    rows = [{"_id": f"d{n}", "text": SENTENCES.format(n=n)} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def split_ids(run: Path, recipe: Recipe) -> tuple[list[str], list[str]]:
    with Run(run) as opened:
        passages, held_out = make_split(opened, recipe)
    assert held_out is not None
    kept, out = ([row["passage_id"] for row in s.read_rows(PASSAGES)] for s in (passages, held_out))
    return kept, out


def make_split(run: Run, recipe: Recipe) -> SplitPassages:
    return make_split_passages(run, recipe.corpus, recipe.seed, recipe.evaluate.tasks)


def documents(ids: list[str]) -> set[str]:
    return {id_.partition("#")[0] for id_ in ids}


def test_whole_documents_are_held_out_and_nothing_is_lost(tmp_path: Path) -> None:
    kept, out = split_ids(tmp_path / "run", make_recipe(write_rows(tmp_path)))
    assert len(kept) + len(out) == 80
    assert documents(kept).isdisjoint(documents(out))
    assert 4 <= len(documents(out)) <= 20
    assert all(f"{id_}#{n}" in out for id_ in documents(out) for n in (0, 1))


def test_long_documents_have_runs_of_passages_held_out(tmp_path: Path) -> None:
    file = tmp_path / "books.jsonl"
    books = {f"b{n}": " ".join(SENTENCES.format(n=f"{n}-{m}") for m in range(40)) for n in range(4)}
    rows = [json.dumps({"_id": id_, "text": text}) for id_, text in books.items()]
    file.write_text("\n".join(rows))
    kept, out = split_ids(tmp_path / "run", make_recipe(file, hold_out_by="section"))
    assert documents(kept) & documents(out)
    parts = [{(b, int(n) // 8) for b, _, n in (i.partition("#") for i in of)} for of in (kept, out)]
    assert parts[0].isdisjoint(parts[1])
    assert len(parts[0] | parts[1]) == 60


def test_seed_decides_which_documents_are_held_out(tmp_path: Path) -> None:
    file = write_rows(tmp_path)
    one = split_ids(tmp_path / "one", make_recipe(file))
    assert split_ids(tmp_path / "again", make_recipe(file)) == one
    assert split_ids(tmp_path / "other", make_recipe(file, seed=14)) != one


def test_later_documents_move_no_other_one(tmp_path: Path) -> None:
    before = split_ids(tmp_path / "few", make_recipe(write_rows(tmp_path)))
    after = split_ids(tmp_path / "more", make_recipe(write_rows(tmp_path, 60)))
    assert set(before[1]) <= set(after[1])
    assert set(before[0]) <= set(after[0])


def test_sections_of_a_file_stay_together(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for n in range(30):
        text = f"# First\nThe glacier {n} is ice.\n# Second\nIt carves valley {n} slowly."
        (folder / f"{n}.md").write_text(text)
    kept, out = split_ids(tmp_path / "run", make_recipe(folder, source="auto"))
    files = [{id_.partition(":")[0] for id_ in ids} for ids in (kept, out)]
    assert out
    assert files[0].isdisjoint(files[1])
    assert {f"{name}:{n}" for name in files[1] for n in (0, 1)} == set(out)


def test_stopped_run_writes_the_same_held_out_passages(tmp_path: Path) -> None:
    recipe = make_recipe(write_rows(tmp_path))
    whole = split_ids(tmp_path / "run", recipe)
    folder = tmp_path / "run" / "passages-held-out"
    next(folder.glob("part-*.parquet")).unlink()
    manifest = json.loads((folder / ".stage" / "manifest.json").read_text())
    (folder / ".stage" / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    assert split_ids(tmp_path / "run", recipe) == whole


def test_passages_are_not_held_out_by_default(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        recipe = make_recipe(write_rows(tmp_path), held_out=0)
        assert make_split(run, recipe).held_out is None
    assert not (tmp_path / "run" / "passages-held-out").exists()


@pytest.mark.bad_input("corpus", "duplicates alone, some held out", "duplicates are named")
def test_duplicates_alone_are_named_where_none_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    rows = [{"id": f"d{n}", "text": "Bees dance for the other bees."} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="3 passages are duplicates"):
        make_split(run, make_recipe(path, held_out=0.001))


@pytest.mark.bad_input("corpus", "too small to hold documents out", "refused, nothing written")
@pytest.mark.parametrize(("share", "remedy"), [(0.001, "raise"), (0.999, "lower")])
def test_corpus_too_small_to_hold_out(tmp_path: Path, share: float, remedy: str) -> None:
    recipe = make_recipe(write_rows(tmp_path, 3), held_out=share)
    with (
        Run(tmp_path / "run") as run,
        pytest.raises(UserError, match=f"{remedy} corpus.held_out"),
    ):
        make_split(run, recipe)
    assert not (tmp_path / "run" / "passages").exists()

"""Folders of every category: official copies, tasks of one's own, and what is faulty in them."""

import json

import pytest
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.tasks import (
    choose_document_texts,
    iterate_corpus_texts,
    iterate_query_texts,
    load_task,
)
from distill.tasks.beir_folder import write_beir_folder

mteb = pytest.importorskip("mteb")

KINDS = {
    "retrieval": ("Retrieval", "ndcg_at_10", "SciFact"),
    "reranking": ("Reranking", "map_at_1000", "AskUbuntuDupQuestions"),
    "sts": ("STS", "cosine_spearman", "STSBenchmark"),
    "classification": ("Classification", "accuracy", "Banking77Classification"),
    "clustering": ("Clustering", "v_measure", "RedditClustering.v2"),
    "pairs": ("PairClassification", "max_ap", "SprintDuplicateQuestions"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_folder_tell_its_category_and_metric(kind, every_kind):
    task = load_task(kind, every_kind)
    metadata = task.metadata
    assert (metadata.type, metadata.main_score) == KINDS[kind][:2]
    assert (metadata.name, list(task.eval_splits), task.data_loaded) == (kind, ["test"], True)
    assert metadata.revision.startswith("local-")


@pytest.mark.parametrize("kind", KINDS)
def test_official_name_keeps_its_class_and_has_the_folders_data(kind, every_kind):
    own, name = load_task(kind, every_kind), KINDS[kind][2]
    (every_kind / kind).rename(every_kind / name)
    if kind == "clustering":
        _repeat(every_kind / name / "data.tsv", 25)
    task = load_task(name, every_kind)
    assert type(task) is type(mteb.get_task(name))
    assert task.data_loaded
    assert set(iterate_query_texts(task)) == set(iterate_query_texts(own))
    assert set(iterate_corpus_texts(task)) == set(iterate_corpus_texts(own))
    assert task.metadata.revision != mteb.get_task(name).metadata.revision


@pytest.mark.parametrize("kind", ["reranking", "sts", "classification"])
def test_folder_is_evaluated_on_dev_where_there_is_no_test(kind, every_kind):
    (file,) = (every_kind / kind).glob("test.*")
    file.rename(file.with_stem("dev"))
    assert list(load_task(kind, every_kind).eval_splits) == ["dev"]


@pytest.mark.parametrize("kind", KINDS)
def test_revision_follows_every_file(kind, every_kind):
    revisions = {load_task(kind, every_kind).metadata.revision}
    files = sorted(p for p in (every_kind / kind).rglob("*") if p.is_file())
    for file in files:
        file.write_text(file.read_text() + "\n", encoding="utf-8")
        revisions.add(load_task(kind, every_kind).metadata.revision)
    assert len(revisions) == 1 + len(files)


def test_labels_are_numbered_by_name_or_by_number(every_kind):
    train = every_kind / "classification" / "train.tsv"
    test = train.with_stem("test")

    def numbered(*labels):
        for file in (train, test):
            rows = "".join(f"text {i}\t{label}\n" for i, label in enumerate(labels))
            file.write_text("text\tlabel\n" + rows)
        return list(load_task("classification", every_kind).dataset["default"]["test"]["label"])

    assert numbered("no", "yes", "no") == [0, 1, 0]
    assert numbered("10", "9", "9") == [1, 0, 0]


def test_quotes_are_part_of_a_text(every_kind):
    file = every_kind / "sts" / "test.tsv"
    file.write_text(file.read_text().replace("The heart", '"The heart'), encoding="utf-8")
    first = load_task("sts", every_kind).dataset["default"]["test"]["sentence1"][0]
    assert first == f'"{TEXTS[0]}'


def test_documents_are_spread_over_the_corpus_or_the_texts(every_kind):
    task = load_task("retrieval", every_kind)
    assert choose_document_texts(task, 3) == [TEXTS[0], TEXTS[4], TEXTS[8]]
    assert choose_document_texts(task, 100) == TEXTS
    task = load_task("classification", every_kind)
    assert choose_document_texts(task, 2) == [" ".join(TEXTS[i].split()[:4]) for i in (0, 6)]


def test_texts_of_a_pair_are_both_of_its_sides(every_kind):
    texts = list(iterate_query_texts(load_task("sts", every_kind)))
    assert texts[:4] == [TEXTS[0], TEXTS[0], TEXTS[1], TEXTS[0]]
    assert list(iterate_corpus_texts(load_task("sts", every_kind))) == []


FAULTS = [
    ("clustering", "data.tsv", "label", "group", r"row 1: has no column label"),
    ("sts", "test.tsv", "\t4.75", "\tmuch", r"row 3: has 'much' as score"),
    ("sts", "test.tsv", "\t4.75", "\tnan", r"row 3: has 'nan' as score"),
    ("sts", "test.tsv", "\t4.75", "", r"row 3: has 2 fields where the header has 3"),
    ("classification", "test.tsv", "\tanimal", "\t ", r"row 5: has no label"),
    ("classification", "train.tsv", TEXTS[0], "a\tb", r"row 2: has 3 fields"),
    ("pairs", "pairs.tsv", "\t1", "\tyes", r"row 2: has 'yes' as label"),
    ("pairs", "pairs.tsv", "\t0", "\t1", r"labels all pairs 1"),
    ("reranking", "test.jsonl", '"query": ', '"question": ', r"row 1: has no text as 'query'"),
    ("reranking", "test.jsonl", '"negative": [', '"negative": [3, ', r"row 1: has no list of"),
    ("reranking", "test.jsonl", "{", "", r"row 1: is not JSON"),
]


@pytest.mark.bad_input("task folder", "a row that is broken", "refused with the row")
@pytest.mark.parametrize(("kind", "name", "right", "wrong", "message"), FAULTS)
def test_faulty_row_is_named(kind, name, right, wrong, message, every_kind):
    file = every_kind / kind / name
    file.write_text(file.read_text().replace(right, wrong), encoding="utf-8")
    with pytest.raises(UserError, match=message) as fault:
        load_task(kind, every_kind)
    assert str(file) in str(fault.value)
    assert "remedy: " in str(fault.value)


@pytest.mark.bad_input("task folder", "all scores or labels alike", "refused")
def test_scores_and_labels_that_order_nothing_are_refused(every_kind):
    header = "sentence1\tsentence2\tscore\n"
    (every_kind / "sts" / "test.tsv").write_text(header + "a\tb\t1\nc\td\t1\n")
    with pytest.raises(UserError, match="gives all pairs one score"):
        load_task("sts", every_kind)
    (every_kind / "classification" / "train.tsv").write_text("text\tlabel\na\tx\nb\tx\n")
    with pytest.raises(UserError, match="has one label in all of its rows"):
        load_task("classification", every_kind)
    (every_kind / "clustering" / "data.tsv").write_text("text\tlabel\n")
    with pytest.raises(UserError, match="holds no row"):
        load_task("clustering", every_kind)


@pytest.mark.bad_input("task folder", "a file is missing", "refused by name")
def test_missing_files_are_named(every_kind):
    (every_kind / "classification" / "train.tsv").unlink()
    with pytest.raises(UserError, match=r"has no train\.tsv, which classification reads"):
        load_task("classification", every_kind)
    (every_kind / "sts").rename(every_kind / "Banking77Classification")
    with pytest.raises(UserError, match=r"has no train\.tsv, which Banking77Classification reads"):
        load_task("Banking77Classification", every_kind)


@pytest.mark.bad_input(
    "task folder", "files of no kind of task, or of two", "refused, kinds listed"
)
def test_folder_of_no_kind_or_of_two_is_refused(every_kind):
    (every_kind / "empty").mkdir()
    with pytest.raises(UserError, match=r"no kind of task\n.*data\.tsv \(text, label\)"):
        load_task("empty", every_kind)
    (every_kind / "pairs" / "pairs.tsv").rename(every_kind / "sts" / "pairs.tsv")
    with pytest.raises(UserError, match="files of STS and of PairClassification"):
        load_task("sts", every_kind)


@pytest.mark.bad_input("task folder", "a copy of a task that no folder can hold", "refused")
@pytest.mark.parametrize("name", ["SummEvalSummarization.v2", "STS22"])
def test_tasks_that_no_folder_can_hold_are_refused(name, every_kind):
    (every_kind / name).mkdir()
    with pytest.raises(UserError, match=r"from the hub alone|several languages"):
        load_task(name, every_kind)


def test_mtebs_first_clustering_tasks_need_their_sets(every_kind):
    (every_kind / "clustering").rename(every_kind / "RedditClustering")
    file = every_kind / "RedditClustering" / "data.tsv"
    with pytest.raises(UserError, match="there is no column 'set'"):
        load_task("RedditClustering", every_kind)
    header, *rows = file.read_text().splitlines()
    sets = [f"{row}\t{'ab'[i % 2]}" for i, row in enumerate(rows)]
    file.write_text("\n".join([f"{header}\tset", *sets]) + "\n", encoding="utf-8")
    data = load_task("RedditClustering", every_kind).dataset["default"]["test"]
    assert [len(texts) for texts in data["sentences"]] == [12, 12]
    assert data["sentences"][1][:2] == [TEXTS[1], TEXTS[3]]


@pytest.mark.bad_input("task folder", "a copy that is too small", "refused")
def test_copy_too_small_for_the_share_that_mteb_reads_is_refused(every_kind):
    (every_kind / "clustering").rename(every_kind / "RedditClustering.v2")
    with pytest.raises(
        UserError, match=r"has 24 rows, of which RedditClustering\.v2 reads 4%: none"
    ):
        load_task("RedditClustering.v2", every_kind)


def test_reranking_ids_are_those_of_mtebs_own_conversion(every_kind):
    task = load_task("reranking", every_kind)
    data = task.dataset["default"]["test"]
    row = json.loads((every_kind / "reranking" / "test.jsonl").read_text().splitlines()[3])
    official = mteb.abstasks.AbsTaskReranking._process_example(task, row, "test", 3)
    assert data["queries"]["id"][3] == official["query_id"]
    assert data["top_ranked"][official["query_id"]] == official["doc_ids"]
    texts = dict(zip(data["corpus"]["id"], data["corpus"]["text"], strict=True))
    assert [texts[one] for one in official["doc_ids"]] == official["doc_texts"]
    relevance = [data["relevant_docs"][official["query_id"]][one] for one in official["doc_ids"]]
    assert relevance == official["relevance_scores"]


def _repeat(file, times):
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *rows * times]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("own_text", "own_grade", "is_warned"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_queries_that_are_documents_of_the_corpus_are_warned_of(
    own_text, own_grade, is_warned, tmp_path, caplog
):
    documents = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(TEXTS)]
    queries = [
        {"_id": "d0", "text": TEXTS[0] if own_text else "how?"},
        {"_id": "q", "text": "why?"},
    ]
    grades = {("d0", "d1"): 1, ("d0", "d0"): own_grade, ("q", "d2"): 1}
    write_beir_folder(tmp_path / "mine", documents, queries, grades)
    load_task("mine", tmp_path)
    assert ("1 of 2 queries are documents of the corpus" in caplog.text) == is_warned

"""Labelled sets as people have them, as retrieval tasks."""

import gzip
import hashlib
import json

import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.beir import BeirDataset
from distill.corpus.readers.rows import Columns
from distill.errors import UserError
from distill.recipe import LabelledColumns, Recipe
from distill.tasks import (
    iterate_corpus_texts,
    iterate_query_texts,
    load_task,
    load_tasks,
    open_recipe_tasks,
)
from distill.tasks.labelled import read_labelled

pytest.importorskip("mteb")

USUAL = LabelledColumns()
EXPECTED = BeirDataset(
    {
        "d0": {"title": "Bees", "text": "They dance."},
        "d1": {"title": "Ice", "text": "Slow rivers."},
    },
    {"q0": "How do they tell?", "q1": "What flows?", "q2": "Who moves?"},
    {"q0": {"d0": 1}, "q1": {"d1": 1}, "q2": {"d0": 1, "d1": 1}},
)
PAIRS = [
    ("How do they tell?", "Bees", "They dance."),
    ("What flows?", "Ice", "Slow rivers."),
    ("Who moves?", "Bees", "They dance."),
    ("Who moves?", "Ice", "Slow rivers."),
]


def write_squad(file):
    questions = {}
    for question, title, context in PAIRS:
        questions.setdefault((title, context), []).append({"question": question, "id": "x"})
    articles = [
        {"title": title, "paragraphs": [{"context": context, "qas": asked}]}
        for (title, context), asked in questions.items()
    ]
    articles[0]["paragraphs"][0]["qas"].append({"question": "No?", "is_impossible": True})
    file.write_text(json.dumps({"version": "2.0", "data": articles}))
    return file


def as_sets(data):
    """A task without regard to the order, and so to the numbers, of its queries."""
    asked = {
        data.queries[q]: {data.corpus[d]["text"]: s for d, s in judged.items()}
        for q, judged in data.qrels.items()
    }
    return sorted(map(str, data.corpus.values())), asked


def test_squad_file_is_a_task(tmp_path, caplog):
    data, _ = read_labelled(write_squad(tmp_path / "train.json"), USUAL, None)
    assert as_sets(data) == as_sets(EXPECTED)
    assert "1 questions without an answer are left out" in caplog.text


@pytest.mark.bad_input("labelled file", "SQuAD questions with no answers", "left out, counted")
def test_squad_questions_with_an_empty_list_of_answers_are_left_out(tmp_path, caplog):
    file = tmp_path / "dev.json"
    questions = [
        {"question": "Who moves?", "answers": [{"text": "They", "answer_start": 0}]},
        {"question": "Why?", "answers": []},
    ]
    paragraphs = [{"context": "They dance.", "qas": questions}]
    file.write_text(json.dumps({"data": [{"title": "Bees", "paragraphs": paragraphs}]}))
    data, _ = read_labelled(file, USUAL, None)
    assert data.queries == {"q0": "Who moves?"}
    assert "1 questions without an answer are left out" in caplog.text


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv.gz", "pairs.jsonl", "pairs.json"])
def test_table_of_questions_and_passages_is_a_task(tmp_path, name):
    file = tmp_path / name
    rows = [dict(zip(("question", "title", "context"), pair, strict=True)) for pair in PAIRS]
    if "json" in name:
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) if "jsonl" in name else f"[{', '.join(lines)}]")
    else:
        sign = "\t" if "tsv" in name else ","
        text = "\n".join(sign.join(pair) for pair in [("question", "title", "context"), *PAIRS])
        file.write_bytes(gzip.compress(text.encode()) if ".gz" in name else text.encode())
    assert read_labelled(file, USUAL, None)[0] == EXPECTED


def test_columns_of_a_file_are_said_once(tmp_path, caplog):
    caplog.set_level("INFO")
    file = tmp_path / "questions.csv"
    file.write_text("question,passage\nwho dances,Bees dance.\nwho flies,Swifts fly.\n")
    for _ in range(2):
        read_labelled(file, USUAL, None)
    assert caplog.text.count("columns question=question, passage=passage") == 1


def test_columns_are_named_and_a_row_may_have_several_passages(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"q": "Who moves?", "pos": ["They dance.", "Slow rivers."], "grade": "2.0"}]
    rows += [{"q": "Who moves?", "pos": ["Stones."], "grade": 0}]
    file.write_text("\n".join(map(json.dumps, rows)))
    columns = LabelledColumns(question="q", passage="pos", score="grade")
    data, _ = read_labelled(file, columns, None)
    assert data.qrels == {"q0": {"d0": 2, "d1": 2, "d2": 0}}


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.json"])
def test_column_that_the_first_row_lacks_is_read(tmp_path, name):
    file = tmp_path / name
    first = {"question": "What flows?", "text": "Slow rivers."}
    other = {"question": "Who moves?", "text": "They dance.", "title": "Bees", "score": 3}
    write_rows(file, [first | {"score": 1}, other])
    expected, _ = read_labelled(file, USUAL, None)
    assert expected.qrels == {"q0": {"d0": 1}, "q1": {"d1": 3}}
    assert expected.corpus["d1"]["title"] == "Bees"
    write_rows(file, [first, other])
    with pytest.raises(UserError, match="row 1: has empty as score in 'score'"):
        read_labelled(file, USUAL, None)


def write_rows(file, rows):
    lines = [json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) if file.suffix == ".jsonl" else f"[{', '.join(lines)}]")


def test_column_that_is_none_is_not_read(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("question,text,label,title\nWho moves?,They dance.,relevant,Bees\n")
    columns = LabelledColumns(score="none", title="none")
    data, _ = read_labelled(file, columns, None)
    assert data.qrels == {"q0": {"d0": 1}}
    assert data.corpus == {"d0": {"title": "", "text": "They dance."}}
    file.write_text("question,text,none\nWho moves?,They dance.,4\n")
    assert read_labelled(file, columns.model_copy(update={"title": None}), None)[0].qrels == {
        "q0": {"d0": 4}
    }


@pytest.mark.bad_input("labelled file", "words in a column called label", "refused, with remedy")
def test_words_as_scores_are_refused_with_the_remedy(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("question,text,label\nWho moves?,They dance.,relevant\n")
    with pytest.raises(UserError, match=r"'label'\n.*--columns score=none"):
        read_labelled(file, USUAL, None)


@pytest.mark.bad_input("labelled file", "questions judged 0 throughout", "left out and counted")
def test_questions_without_a_right_answer_are_left_out(tmp_path, caplog):
    file = tmp_path / "pairs.csv"
    rows = ["Who moves?,They dance.,1", "Who moves?,Slow rivers.,0"]
    file.write_text("\n".join(["question,text,score", *rows]))
    read_labelled(file, USUAL, None)
    assert "left out" not in caplog.text
    file.write_text("\n".join(["question,text,score", *rows, "Why?,Stones.,0", "Why?,Ice.,0"]))
    data, _ = read_labelled(file, USUAL, None)
    assert data.queries == {"q0": "Who moves?"}
    assert data.qrels == {"q0": {"d0": 1, "d1": 0}}
    assert len(data.corpus) == 4
    assert "1 of 2 questions are left out: each of their judgements is 0" in caplog.text


def test_results_of_a_task_with_unanswerable_questions_are_not_taken_over(tmp_path):
    """The revision is another one than before such questions were left out."""
    file = tmp_path / "pairs.csv"
    file.write_text("question,text,score\nWho moves?,They dance.,1\n")
    columns = LabelledColumns(question="question", passage="text", score="score")
    assert read_labelled(file, columns, None)[1] == hash_as_before(file, columns)
    file.write_text("question,text,score\nWho moves?,They dance.,1\nWhy?,Ice.,0\n")
    assert read_labelled(file, columns, None)[1] != hash_as_before(file, columns)


@pytest.mark.parametrize(
    ("question", "is_another"), [('"Who moves?', True), ('"Who moves?"', False)]
)
def test_results_of_a_tsv_file_that_is_read_otherwise_are_not_taken_over(
    tmp_path, question, is_another
):
    """A question that began with a quote went on up to the next one, over lines."""
    file = tmp_path / "pairs.tsv"
    file.write_text(f'question\ttext\n{question}\tThey dance.\nWhat "flows"?\tIce.\n')
    columns = LabelledColumns(question="question", passage="text")
    revision = read_labelled(file, columns, None)[1]
    assert (revision != hash_as_before(file, columns)) is is_another


@pytest.mark.bad_input("labelled file", "empty rows that a spreadsheet wrote", "passed over")
def test_empty_rows_of_a_spreadsheet_are_passed_over(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("question,text\nWho moves?,They dance.\n,\n,,\nWhat flows?,Ice.\n,\n")
    data, _ = read_labelled(file, USUAL, None)
    assert list(data.queries.values()) == ["Who moves?", "What flows?"]


def hash_as_before(file, columns):
    content = [hashlib.sha256(file.read_bytes()).hexdigest(), columns.model_dump(), None]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    return f"local-{digest.hexdigest()[:16]}"


def write_ids(folder):
    documents = [{"_id": "a", "text": "They dance."}, {"_id": "b", "text": "Slow rivers."}]
    (folder / "docs.jsonl").write_text("\n".join(map(json.dumps, documents)))
    file = folder / "questions.csv"
    file.write_text("question,doc_id\nWho moves?,a\nWho moves?,b\nWhat flows?,b\nWhy?,zz\n")
    return file


def test_document_ids_are_those_of_the_corpus(tmp_path, caplog):
    file, corpus = write_ids(tmp_path), open_auto(tmp_path / "docs.jsonl", Columns())
    data, _ = read_labelled(file, USUAL, corpus)
    assert (list(data.corpus), data.qrels) == (["a", "b"], {"q0": {"a": 1, "b": 1}, "q1": {"b": 1}})
    assert "1 of 4 judgements name a document that" in caplog.text
    assert "'zz' in row 4" in caplog.text


def test_document_ids_in_a_column_of_passages_are_ids(tmp_path, caplog):
    (tmp_path / "corpus.csv").write_text("id,text\nd1,They dance.\nd2,Slow rivers.\n")
    file = tmp_path / "asked.csv"
    file.write_text("query,document\nWho moves?,d1\nWhat flows?,d2\n")
    task = load_task(str(file))
    assert list(iterate_corpus_texts(task)) == ["They dance.", "Slow rivers."]
    assert "all values of the column 'document' are ids" in caplog.text


def test_document_ids_go_before_short_answers(tmp_path):
    file, corpus = write_ids(tmp_path), open_auto(tmp_path / "docs.jsonl", Columns())
    file.write_text("question,answer,doc_id\nWho moves?,bees,a\nWhat flows?,ice,b\n")
    data, _ = read_labelled(file, USUAL, corpus)
    assert data.qrels == {"q0": {"a": 1}, "q1": {"b": 1}}
    for columns, source in ((LabelledColumns(passage="answer"), corpus), (USUAL, None)):
        data, _ = read_labelled(file, columns, source)
        assert [row["text"] for row in data.corpus.values()] == ["bees", "ice"]


def test_passages_of_another_corpus_are_read_beside_its_ids(tmp_path):
    file, corpus = write_ids(tmp_path), open_auto(tmp_path / "docs.jsonl", Columns())
    file.write_text("question,context,doc_id\nWho moves?,They dance.,x\n")
    data, _ = read_labelled(file, USUAL, corpus)
    assert [row["text"] for row in data.corpus.values()] == ["They dance."]


def test_file_name_stands_for_all_its_sections(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bees.md").write_text("# Bees\nThey dance.\n## Food\nNectar.")
    file = tmp_path / "q.csv"
    file.write_text("question,doc_id\nHow do they tell?,bees.md\nWhat is eaten?,bees.md:1\n")
    data, _ = read_labelled(file, USUAL, open_auto(tmp_path / "docs", Columns()))
    assert data.qrels == {"q0": {"bees.md:0": 1, "bees.md:1": 1}, "q1": {"bees.md:1": 1}}


def open_tasks(recipe):
    asked = recipe.evaluate
    return open_recipe_tasks(asked, recipe.own_corpus, recipe.seed, asked.tasks)


def test_recipe_searches_its_own_corpus_and_leaves_the_folder_alone(tmp_path):
    file = write_ids(tmp_path)
    recipe = Recipe(
        name="x",
        corpus={"path": str(tmp_path / "docs.jsonl")},
        evaluate={"tasks": [str(file)], "columns": {"document": "doc_id"}},
    )
    before = sorted(tmp_path.iterdir())
    (task,) = open_tasks(recipe)
    assert task.metadata.name == "questions"
    assert list(iterate_corpus_texts(task)) == ["They dance.", "Slow rivers."]
    assert list(iterate_query_texts(task)) == ["Who moves?", "What flows?"]
    assert sorted(tmp_path.iterdir()) == before


def test_corpus_beside_the_file_is_searched(tmp_path):
    file = write_ids(tmp_path)
    (tmp_path / "docs.jsonl").rename(tmp_path / "corpus.jsonl")
    assert len(list(iterate_corpus_texts(load_task(str(file))))) == 2


def test_revision_follows_file_columns_and_corpus(tmp_path):
    file = write_ids(tmp_path)
    (tmp_path / "docs.jsonl").rename(tmp_path / "corpus.jsonl")
    revisions = [load_task(str(file)).metadata.revision for _ in range(2)]
    assert revisions[0] == revisions[1]
    with file.open("a") as out:
        out.write("What else?,a\n")
    revisions.append(load_task(str(file)).metadata.revision)
    with (tmp_path / "corpus.jsonl").open("a") as out:
        out.write('\n{"_id": "c", "text": "Stones."}\n')
    revisions.append(load_task(str(file)).metadata.revision)
    assert len(set(revisions)) == 3


@pytest.mark.bad_input("labelled file", "document ids, and no corpus", "refused, with remedy")
def test_ids_without_a_corpus_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no corpus is given\n.*--corpus"):
        load_task(str(write_ids(tmp_path)))


@pytest.mark.bad_input("labelled file", "no id that the corpus has", "refused, ids named")
def test_ids_of_another_corpus_are_refused(tmp_path):
    file = write_ids(tmp_path)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "c", "text": "Stones."}\n')
    with pytest.raises(UserError, match=r"names no document of .*but 'a' in row 1, 'b' in row 2"):
        load_task(str(file))


@pytest.mark.bad_input("labelled file", "a named column that is not there", "columns listed")
@pytest.mark.bad_input("labelled file", "no column of questions or answers", "columns listed")
def test_columns_that_are_not_there_are_listed(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("q,wording\nWho moves?,They dance.\n")
    with pytest.raises(UserError, match=r"passages or document ids; .*\['q', 'wording'\]"):
        read_labelled(file, USUAL, None)
    with pytest.raises(UserError, match=r"no column 'frage'; its columns are \['q', 'wording'\]"):
        read_labelled(file, LabelledColumns(question="frage"), None)
    assert len(read_labelled(file, LabelledColumns(passage="wording"), None)[0].queries) == 1


@pytest.mark.bad_input("labelled file", "rows without question, answer or score", "rows named")
def test_faulty_rows_are_named_together(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"query": "", "text": "a"}, {"query": "b", "text": None}, {"query": "b", "text": []}]
    rows += [{"query": "b", "text": "c", "score": "high"}, {"query": "b", "text": "c", "score": 1}]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"row 1(.|\n)*row 2(.|\n)*row 3(.|\n)*row 4") as fault:
        read_labelled(file, USUAL, None)
    assert "row 5" not in str(fault.value)
    file.write_text(json.dumps({"query": "b", "text": "c", "score": "high"}))
    with pytest.raises(UserError, match=r"row 1.*as score in 'score'"):
        read_labelled(file, USUAL, None)


@pytest.mark.bad_input("labelled file", "a SQuAD file with a broken paragraph", "place named")
def test_broken_squad_file_is_refused(tmp_path):
    file = tmp_path / "dev.json"
    file.write_text(json.dumps({"data": [{"title": "a", "paragraphs": [{"qas": []}]}]}))
    with pytest.raises(UserError, match="article 1, paragraph 1: has no text 'context'"):
        read_labelled(file, USUAL, None)


@pytest.mark.bad_input("labelled file", "two of one name", "refused")
def test_labelled_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="is the name of two tasks"):
        load_tasks(["a/questions.csv", "b/questions.jsonl"])
    with pytest.raises(UserError, match=r"no such file"):
        load_task(str(tmp_path / "questions.csv"))


@pytest.mark.bad_input("labelled file", "the name of a task of the run or of mteb", "refused")
def test_file_with_the_name_of_another_task_is_refused(tmp_path):
    for name in ("held-out", "judged", "SciFact"):
        file = tmp_path / f"{name}.csv"
        file.write_text("question,text\nWho moves?,They dance.\n")
        recipe = Recipe(name="x", evaluate={"tasks": [str(file)]})
        with pytest.raises(UserError, match=f"task {name}: is the name of a file and of a task"):
            open_tasks(recipe)
    (task,) = load_tasks([str(tmp_path / "judged.csv")])  # no run is there that has such a task
    assert task.metadata.name == "judged"


@pytest.mark.bad_input("labelled sets", "the name of a table as an id", "refused, the id named")
def test_name_of_a_table_is_no_id_of_its_numbered_rows(tmp_path):
    (tmp_path / "docs.csv").write_text("id,text\n1,They dance.\n2,Slow rivers.\n")
    (tmp_path / "asked.csv").write_text("query,doc_id\nWhat flows?,docs\n")
    corpus = open_auto(tmp_path / "docs.csv", Columns())
    with pytest.raises(UserError, match="names no document"):
        read_labelled(tmp_path / "asked.csv", USUAL, corpus)

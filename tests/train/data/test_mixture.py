"""What is trained on: who stands in which column, and which texts are the same."""

import torch
from helpers.training_by_hand import make_example_rows, make_passage_rows, make_recipe

from distill.recipe import Align, Student
from distill.store.tables import join_passage
from distill.train.data.mixture import NO_EXAMPLE, make_mixture
from distill.train.data.texts_to_align import draw_texts
from distill.train.rows.examples import ScoredExample


def mixture(folder, rows=None, passages=None, **sections):
    recipe = make_recipe(folder, folder, **sections)
    rows = make_example_rows() if rows is None else rows
    scored = [
        ScoredExample(row, [n + place / 10 for place in range(1 + len(row["negatives"]))])
        for n, row in enumerate(rows)
    ]
    passages = make_passage_rows() if passages is None else passages
    return make_mixture(recipe.student, recipe.train, recipe.seed, scored, passages)


def texts_of(made, passages=()) -> list[str]:
    """All numbered texts; the corpus is among them where a teacher's vectors are learnt."""
    return [*made.queries.values(), *map(join_passage, passages), *made.others.values()]


ALIGNED = {"objective": {"align": 1}}


def written(made, row, column) -> str:
    return "".join(made.student_texts[row[column]])


def test_examples_are_grouped_by_their_number_of_negatives(encoder_folder):
    made = mixture(encoder_folder)
    assert {name: len(d) for name, d in made.datasets.items()} == {
        "examples-0": 3,
        "examples-1": 6,
    }
    assert made.datasets["examples-1"].column_names == ["query", "positive", "negative_1", "label"]
    assert made.examples == 9
    assert made.texts == 0


def test_labels_number_the_texts_as_the_teacher_reads_them(encoder_folder):
    student = {"query_template": "task: {task} | query: {query}", "document_prompt": "text: "}
    train = {"objective": {"align": 1}, "align": {"passages": 3, "sentences": 2}}
    made = mixture(encoder_folder, student=student, train=train)
    texts, rows = texts_of(made, make_passage_rows()), make_example_rows()
    for name in ("examples-0", "examples-1"):
        for row in made.datasets[name]:
            example = rows[row["label"][0]]
            query, positive, *negatives = [texts[number] for number in row["label"][1:]]
            assert query == example["query"]
            assert written(made, row, "query") == f"task: {example['task']} | query: {query}"
            assert positive == example["positive"]
            assert written(made, row, "positive") == f"text: {positive}"
            assert negatives == example["negatives"]
            assert [written(made, row, f"negative_{i + 1}") for i in range(len(negatives))] == [
                f"text: {text}" for text in negatives
            ]
    for row in made.datasets["texts"]:
        number, text = row["label"]
        assert number == NO_EXAMPLE
        assert written(made, row, "text") == f"text: {texts[text]}"
    assert made.texts == 5


def test_sentences_to_align_as_queries_are_numbered_and_written_as_queries(encoder_folder):
    student = {"query_template": "task: {task} | query: {query}", "document_prompt": "text: "}
    align = {"passages": 3, "sentences": 4, "sentences_as": "query"}
    train = {"objective": {"align": 1}, "align": align}
    rows = make_example_rows()
    seed = make_recipe(encoder_folder).seed
    sentence = draw_texts(Align(**align), seed, make_passage_rows()).queries[0]
    rows[0] |= {"query": sentence}  # which an example asks too
    made = mixture(encoder_folder, rows, student=student, train=train)
    texts, task = texts_of(made, make_passage_rows()), "Given a query, find the passages that"
    aligned = {texts[row["label"][1]]: written(made, row, "text") for row in made.datasets["texts"]}
    queries = {text for text in aligned if aligned[text].startswith(f"task: {task}")}
    assert len(aligned) == 7
    assert len(queries) == 4
    assert sentence in queries
    assert queries <= set(made.queries.values())
    assert len(made.queries) == len(set(made.queries.values())) == len(rows) + 3
    assert {aligned[text] for text in aligned.keys() - queries} == {
        f"text: {text}" for text in aligned.keys() - queries
    }
    assert list(made.tasks.values())[-1] == Student().default_task


def test_same_text_has_one_number_on_each_side(encoder_folder):
    rows = make_example_rows()
    rows[1] |= {"query": rows[0]["query"], "positive": rows[0]["positive"]}
    rows[2] |= {"query": rows[0]["positive"]}
    made = mixture(encoder_folder, rows)
    labels = {
        row["label"][0]: row["label"][1:]
        for name in ("examples-0", "examples-1")
        for row in made.datasets[name]
    }
    assert labels[0][:2] == labels[1][:2]
    assert labels[2][0] != labels[0][1]  # the same words, but as a query


def test_texts_that_read_the_same_have_one_number(encoder_folder):
    rows = make_example_rows()
    rows[3] |= {"query": rows[0]["query"].upper(), "positive": f"  {rows[0]['positive']}\n"}
    made = mixture(encoder_folder, rows, train=ALIGNED)
    first, second = (made.datasets["examples-0"][n]["label"] for n in (0, 1))
    assert (first[0], second[0]) == (0, 3)
    assert first[1:] == second[1:]
    assert made.others == {}


class UnreadCorpus:
    def __iter__(self):
        raise AssertionError("the corpus is read")


def test_equal_texts_are_known_without_the_corpus_where_no_teacher_is_learnt_from(encoder_folder):
    rows = make_example_rows()
    rows[3] |= {"query": rows[0]["query"].upper(), "positive": f"  {rows[0]['positive']}\n"}
    made = mixture(encoder_folder, rows, passages=UnreadCorpus())
    first, second = (made.datasets["examples-0"][n]["label"] for n in (0, 1))
    assert first[1:] == second[1:]
    assert set(made.others.values()) <= {
        text for row in rows for text in (row["positive"], *row["negatives"])
    }


def test_documents_from_outside_the_corpus_are_numbered_too(encoder_folder):
    rows = make_example_rows()
    rows[0] |= {"positive": "A text of another collection.", "positive_id": "x1"}
    made = mixture(encoder_folder, rows, train=ALIGNED)
    texts = texts_of(made, make_passage_rows())
    assert list(made.others.values()) == ["A text of another collection."]
    assert texts[made.datasets["examples-0"][0]["label"][2]] == rows[0]["positive"]


def test_documents_without_a_corpus_are_all_others(encoder_folder):
    made = mixture(encoder_folder, passages=[], train={"objective": {"align": 1}})
    assert made.texts == 0
    texts = texts_of(made)
    for name in ("examples-0", "examples-1"):
        for row in made.datasets[name]:
            columns = [c for c in made.datasets[name].column_names if c != "label"]
            assert [texts[n] for n in row["label"][1:]] == [written(made, row, c) for c in columns]


def test_scores_and_task_types_are_found_by_the_examples_number(encoder_folder):
    rows = make_example_rows()
    rows[4]["task_type"] = "classification"
    made = mixture(encoder_folder, rows)
    assert made.scores.take(torch.tensor([4, 1])).tolist() == [
        [4.0, torch.tensor(4.1).item()],
        [1.0, torch.tensor(1.1).item()],
    ]
    assert made.scores.take(torch.tensor([3, 0])).tolist() == [[3.0], [0.0]]
    in_batch = made.mark_in_batch(["classification"])
    assert in_batch.take(torch.tensor([3, 4, 5])).tolist() == [True, False, True]
    assert made.mark_in_batch([]) is None


def test_homogeneous_batches_are_of_datasets_of_one_type_of_task(encoder_folder):
    rows = make_example_rows()
    rows[4]["task_type"] = "classification"
    made = mixture(encoder_folder, rows, train={"batches": "homogeneous"})
    assert {name: len(d) for name, d in made.datasets.items()} == {
        "examples-0-search": 3,
        "examples-1-classification": 1,
        "examples-1-search": 5,
    }


FORMAT = {
    "query_template": "task: {task} | query: {query}",
    "document_template": "title: {title} | text: {text}",
    "symmetric": ["sts"],
}


def test_documents_are_written_with_their_titles_and_symmetric_ones_as_queries(encoder_folder):
    """Of nine examples one is a pair, and one has a text of another collection."""
    rows = make_example_rows()
    rows[1] |= {"task_type": "sts"}
    rows[0] |= {"positive": "A text of another collection."}
    passages = make_passage_rows()
    made = mixture(encoder_folder, rows, passages, student=FORMAT)
    found = {}
    for dataset in made.datasets.values():
        for row in dataset:
            found[row["label"][0]] = [
                written(made, row, column) for column in dataset.column_names if column != "label"
            ]
    assert found[0][1] == "title: none | text: A text of another collection."
    task = rows[1]["task"]
    assert found[1] == [
        f"task: {task} | query: {text}"
        for text in (rows[1]["query"], rows[1]["positive"], *rows[1]["negatives"])
    ]
    assert found[2][1] == f"title: Text 2 | text: {passages[2]['text']}"
    assert found[2][2] == f"title: Text 7 | text: {passages[7]['text']}"

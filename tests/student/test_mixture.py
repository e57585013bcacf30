"""What is trained on: who stands in which column, and which texts are the same."""

from student.byhand import example_rows, make_recipe, passage_rows

from distill.recipe import Align
from distill.student.mixture import draw_texts, make_mixture


def mixture(folder, rows=None, **sections):
    recipe = make_recipe(folder, folder, **sections)
    return make_mixture(recipe, example_rows() if rows is None else rows, passage_rows())


def texts_of(made) -> list[str]:
    return [*made.queries.values(), *made.passages.values(), *made.others.values()]


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
    texts, by_query = texts_of(made), {row["query"]: row for row in example_rows()}
    for name in ("examples-0", "examples-1"):
        for row in made.datasets[name]:
            query, positive, *negatives = [texts[number] for number in row["label"]]
            example = by_query[query]
            assert row["query"] == f"task: {example['task']} | query: {query}"
            assert positive == example["positive"]
            assert row["positive"] == f"text: {positive}"
            assert negatives == example["negatives"]
            assert [row[f"negative_{i + 1}"] for i in range(len(negatives))] == [
                f"text: {text}" for text in negatives
            ]
    for row in made.datasets["texts"]:
        assert row["text"] == f"text: {texts[row['label'][0]]}"
    assert made.texts == 5


def test_the_same_text_has_one_number_on_each_side(encoder_folder):
    rows = example_rows()
    rows[1] |= {"query": rows[0]["query"], "positive": rows[0]["positive"]}
    rows[2] |= {"query": rows[0]["positive"]}
    labels = [
        row["label"]
        for name in ("examples-0", "examples-1")
        for row in mixture(encoder_folder, rows).datasets[name]
    ]
    first, second = labels[0], labels[3]
    assert first[:2] == second[:2]
    assert labels[4][0] != first[1]  # the same words, but as a query


def test_documents_from_outside_the_corpus_are_numbered_too(encoder_folder):
    rows = example_rows()
    rows[0] |= {"positive": "A text of another collection.", "positive_id": "x1"}
    made = mixture(encoder_folder, rows)
    assert list(made.others.values()) == ["A text of another collection."]
    assert texts_of(made)[made.datasets["examples-0"][0]["label"][1]] == rows[0]["positive"]


def test_without_a_corpus_all_documents_are_others(encoder_folder):
    recipe = make_recipe(encoder_folder, encoder_folder, train={"objective": {"align": 1}})
    made = make_mixture(recipe, example_rows(), [])
    assert made.passages == {}
    assert made.texts == 0
    texts = texts_of(made)
    for name in ("examples-0", "examples-1"):
        for row in made.datasets[name]:
            columns = [row[c] for c in made.datasets[name].column_names if c != "label"]
            assert [texts[number] for number in row["label"]] == columns


def test_texts_are_drawn_by_seed_each_once():
    rows = passage_rows()
    rows[0]["text"] = "One sentence of five words. Too short. And one sentence of six words."
    rows[1]["text"] = rows[2]["text"] = "One sentence of five words. Here another of five words."
    align = Align(passages=5, sentences=100)
    drawn = draw_texts(align, 1, rows)
    assert len(drawn) == len(set(drawn))
    assert "Too short." not in drawn
    assert {"One sentence of five words.", "And one sentence of six words."} <= set(drawn)
    assert sum(text.startswith("Text") for text in drawn) == 5
    assert draw_texts(align, 1, rows) == drawn
    assert draw_texts(align, 2, rows) != drawn

"""Texts are read from disk when they are asked for, and numbered as if all were in memory."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
from helpers.training_by_hand import make_example_rows, make_passage_rows, make_recipe

from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import EXAMPLES, LABELS, PASSAGES, Row, join_passage
from distill.student.writing import StudentTexts
from distill.text.format import PromptedText
from distill.text.normalize import normalize_text
from distill.train.data.mixture import Mixture, make_mixture
from distill.train.data.sources import TrainingInputs, read_mixture
from distill.train.rows.examples import ScoredExample

ROWS_A_SHARD = 4


def write_rows() -> list[Row]:
    """Examples with queries and documents that read the same, and one from outside the corpus."""
    rows = [row | {"query_id": f"q{n}"} for n, row in enumerate(make_example_rows() * 2)]
    rows[3] |= {"query": rows[0]["query"].upper(), "positive": f"  {rows[0]['positive']}\n"}
    rows[5] |= {"positive": "A text of another collection.", "positive_id": "x1"}
    rows[6] |= {"query": rows[1]["positive"], "task_type": "classification"}
    return rows


def write_labels(rows: list[Row]) -> Iterator[list[Row]]:
    """Each query with all passages but three, scored by the retriever."""
    empty = dict.fromkeys(LABELS.columns)
    for start in range(0, len(rows), ROWS_A_SHARD):
        yield [
            empty
            | {"query_id": row["query_id"], "passage_id": f"p{n}", "similarity": n / 10}
            | {"retriever_rank": n + 1, "rrf": 0.5}
            for row in rows[start : start + ROWS_A_SHARD]
            for n in range(len(make_passage_rows()) - 3)
        ]


@pytest.fixture
def inputs(tmp_path):
    with Run(tmp_path) as run:
        passages, examples = run.open_stage("passages", {}), run.open_stage("examples", {})
        labels = run.open_stage("labels", {})
        rows = write_rows()
        parts = [rows[i : i + ROWS_A_SHARD] for i in range(0, len(rows), ROWS_A_SHARD)]
        passages.map_shards(
            PASSAGES, [make_passage_rows()[:5], make_passage_rows()[5:]], ShardResult
        )
        examples.map_shards(EXAMPLES, parts, ShardResult)
        labels.map_shards(LABELS, list(write_labels(rows)), ShardResult)
        for stage in (passages, examples, labels):
            stage.finish()
        yield TrainingInputs(run, passages, [examples], labels, None)


class Expected:
    """A mixture's numbers and texts, made with every text in memory."""

    def __init__(
        self, rows: list[ScoredExample], writer: StudentTexts, aligned: bool, groups: Mixture
    ) -> None:
        passages = {row["passage_id"]: join_passage(row) for row in make_passage_rows()}
        self.documents = [
            [one.row["positive"], *one.row["negatives"], *(passages[id_] for id_ in one.others)]
            for one in rows
        ]
        queries: dict[str, str] = {}
        for one in rows:
            queries.setdefault(normalize_text(one.row["query"]), one.row["query"])
        distinct: dict[str, str] = {}
        for text in (text for of_one in self.documents for text in of_one):
            distinct.setdefault(normalize_text(text), text)
        corpus = list(map(normalize_text, passages.values())) if aligned else []
        others = {key: text for key, text in distinct.items() if key not in corpus}
        self.queries, self.others = list(queries.values()), list(others.values())
        keys = [*queries, *corpus, *others]
        behind = {key: n for n, key in reversed(list(enumerate(keys))) if n >= len(queries)}
        self.labels = [
            [
                number,
                list(queries).index(normalize_text(one.row["query"])),
                *(behind[normalize_text(text)] for text in self.documents[number]),
            ]
            for number, one in enumerate(rows)
        ]
        written: dict[PromptedText, int] = defaultdict(lambda: len(written))
        self.columns: dict[str, list[list[int]]] = {}
        for name, dataset in groups.datasets.items():
            if name == "texts":
                continue
            self.columns[name] = [
                [
                    written[writer.write_query(rows[label[0]].row)],
                    *(
                        written[writer.write_document(t, rows[label[0]].row)]
                        for t in self.documents[label[0]]
                    ),
                ]
                for label in dataset["label"]
            ]
        self.student_texts = list(written)


CANDIDATES = {"objective": {"kl": 1}, "kl": {"scores": "retriever", "candidates": "all"}}


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"objective": {"align": 1}, "batches": "homogeneous"},
        CANDIDATES,
        {**CANDIDATES, "objective": {"kl": 1, "align": 1}},
        {"mixture": [{"path": "examples", "weight": 1.5}, {"path": "titles"}]},
    ],
)
@pytest.mark.parametrize("template", ["text: {text}", "title: {title} | text: {text}"])
def test_numbers_and_texts_are_those_of_lists_in_memory(inputs, encoder_folder, train, template):
    student = {
        "document_template": template,
        "query_template": "task: {task} | query: {query}",
        "symmetric": ["classification"],
    }
    recipe = make_recipe(encoder_folder, encoder_folder, student=student, train=train)
    rows = read_mixture(inputs, recipe.train, 1)
    reader = PassageReader(inputs.passages.folder)
    made = make_mixture(recipe.student, recipe.train, 1, rows, reader)
    in_memory = list(rows)
    documents = [text for one in in_memory for text in (one.row["positive"], *one.row["negatives"])]
    documents += map(join_passage, make_passage_rows())
    writer = StudentTexts(recipe.student, make_passage_rows(), documents)
    aligned = recipe.train.objective.needs_teacher_vectors
    expected = Expected(in_memory, writer, aligned, made)
    assert list(made.queries.values()) == expected.queries
    assert next(iter(made.tasks.values())) == in_memory[0].row["task"]
    assert list(made.others.values()) == expected.others
    assert list(made.student_texts) == expected.student_texts
    shuffled = [*range(len(made.student_texts))][::-3]
    assert made.student_texts.read(shuffled) == [expected.student_texts[n] for n in shuffled]
    numbers = []
    for name, columns in expected.columns.items():
        dataset = made.datasets[name]
        names = [column for column in dataset.column_names if column != "label"]
        assert [[row[column] for column in names] for row in dataset] == columns
        assert dataset["label"][:] == [expected.labels[label[0]] for label in dataset["label"]]
        numbers += [label[0] for label in dataset["label"]]
    assert sorted(numbers) == [*range(len(in_memory))]


def test_rows_that_may_not_be_trained_on_change_nothing_of_what_is_drawn(inputs):
    train = make_recipe("x", train={"mixture": [{"path": "examples", "weight": 1.5}]}).train
    every = [one.row["query_id"] for one in read_mixture(inputs, train, 1)]
    some = read_mixture(inputs, train, 1, lambda row: row["query_id"] != "q2")
    assert [one.row["query_id"] for one in some] == [id_ for id_ in every if id_ != "q2"]
    assert "q2" in every

"""The texts of examples and of the corpus as they are written for a student."""

from collections.abc import Container, Iterable

from distill.recipe import Student
from distill.store.tables import Row, passage_text
from distill.text.format import PromptedText


class StudentTexts:
    """Examples hold a passage's title and text as one. Where the student's template has a place for
    the title, it is looked up among the passages by what the two read together; any other text has
    none.

    Args:
        passages: the corpus, as far as there is one; read once, if the template has titles.
        texts: the documents that will be written: only their passages are held in memory.
    """

    def __init__(
        self, student: Student, passages: Iterable[Row] = (), texts: Container[str] = ()
    ) -> None:
        self.format = student.text_format
        self._student = student
        self._passages: dict[str, Row] = {}
        if self.format.has_title:
            named = ((passage_text(row), row) for row in passages)
            self._passages = {text: row for text, row in named if text in texts}

    def query(self, row: Row) -> PromptedText:
        """An example's query, under its task."""
        return self.format.query(row["query"], row["task"])

    def document(self, text: str, row: Row | None = None) -> PromptedText:
        """A document; of an example of a symmetric type of task, it is written as its query is.

        Args:
            row: the example that it belongs to; None for a text of its own.
        """
        if row is not None and row["task_type"] in self._student.symmetric:
            return self.format.query(text, row["task"])
        passage = self._passages.get(text)
        if passage is None:
            return self.format.document(text)
        return self.format.document(passage["text"], passage["title"])

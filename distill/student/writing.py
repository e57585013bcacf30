"""The texts of examples and of the corpus as they are written for a student."""

from collections.abc import Container, Iterable

from distill.recipe import Student
from distill.store.tables import Row, join_passage
from distill.text.digests import digest_text
from distill.text.format import PromptedText


class StudentTexts:
    """The writer of a student's texts. Examples hold a passage's title and text as one. Where the
    student's template has a place for the title, it is looked up among the passages by what the two
    read together; any other text has none.

    Args:
        passages: the corpus, as far as there is one; read once, if the template has titles.
        texts: the documents that will be written. Of their passages a hash is held in memory, and
            how long the title is.
    """

    def __init__(
        self, student: Student, passages: Iterable[Row] = (), texts: Container[str] = ()
    ) -> None:
        self.format = student.text_format
        self._student = student
        self._titles: dict[bytes, int] = {}
        self._parted: dict[bytes, Row] = {}
        if self.format.has_title:
            for row in passages:
                if (text := join_passage(row)) in texts:
                    self._add(digest_text(text), text, row)

    def write_query(self, row: Row) -> PromptedText:
        """Return an example's query, under its task."""
        return self.format.write_query(row["query"], row["task"])

    def write_document(self, text: str, row: Row | None = None) -> PromptedText:
        """Return a document; of an example of a symmetric type of task, it is written as its query
        is.

        Args:
            row: the example that it belongs to; None for a text of its own.
        """
        if row is not None and row["task_type"] in self._student.symmetric:
            return self.format.write_query(text, row["task"])
        digest = digest_text(text) if self.format.has_title else b""
        if digest in self._parted:
            passage = self._parted[digest]
            return self.format.write_document(passage["text"], passage["title"])
        end = self._titles.get(digest, 0)
        return self.format.write_document(text[end + 1 :] if end else text, text[:end])

    def _add(self, digest: bytes, text: str, row: Row) -> None:
        """Note a passage under the hash of its text: how long its title is, or the passage itself
        where title and text cannot be told from what they read together, for white space at their
        ends."""
        title = row["title"]
        self._parted.pop(digest, None)
        self._titles.pop(digest, None)
        if title and text == f"{title} {row['text']}":
            self._titles[digest] = len(title)
        elif title or row["text"] != text:
            self._parted[digest] = row

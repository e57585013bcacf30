"""Read the texts that a task's evaluation uses."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distill.errors import need

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def choose_document_texts(task: "AbsTask", count: int) -> list[str]:
    """Choose `count` documents of a task whose data is loaded, evenly spread over its corpus: title
    and text, as mteb's encoders read them. A task without a corpus gives its texts."""
    corpus: Any = (
        next(_iterate_corpora(task)) if _is_retrieval(task) else list(iterate_query_texts(task))
    )
    step = max(1, len(corpus) // count)
    rows = [corpus[i] for i in range(0, len(corpus), step)][:count]
    return [row if isinstance(row, str) else join_document(row) for row in rows]


def iterate_query_texts(task: "AbsTask") -> Iterator[str]:
    """Yield the queries of a task whose data is loaded, over all its subsets and splits. Where both
    sides are alike, as in STS or classification, they are all of its texts."""
    if _is_retrieval(task):
        for part in _iterate_parts(task):
            yield from (str(row["text"]) for row in part["queries"])
        return
    # mteb's word for the columns that hold what a model reads, which its own data filters use.
    columns = list(task._get_content_columns())
    for part in _iterate_parts(task):
        for row in part:
            for column in columns:
                yield from _flatten(row[column])


def iterate_queries(task: "AbsTask") -> Iterator[tuple[str, str]]:
    """Yield key and text of each query of a retrieval or reranking task whose data is loaded. The
    key is split/subset/id, as in the values of single items."""
    dataset: Any = task.dataset
    for subset in task.hf_subsets:
        for split in task.eval_splits:
            for row in dataset.get(subset, dataset)[split]["queries"]:
                yield f"{split}/{subset}/{row['id']}", str(row["text"])


def iterate_relevant_documents(task: "AbsTask") -> Iterator[tuple[str, list[str]]]:
    """Yield the key of each query, as `iterate_queries`, and the texts of its relevant documents.
    Of a corpus these alone are in memory."""
    dataset: Any = task.dataset
    for subset in task.hf_subsets:
        for split in task.eval_splits:
            part = dataset.get(subset, dataset)[split]
            relevant = {
                query: [document for document, grade in of.items() if grade > 0]
                for query, of in part["relevant_docs"].items()
            }
            wanted = {document for documents in relevant.values() for document in documents}
            rows = ((str(row["id"]), row) for row in part["corpus"])
            texts = {id_: join_document(row) for id_, row in rows if id_ in wanted}
            for query, documents in relevant.items():
                known = [texts[document] for document in documents if document in texts]
                yield f"{split}/{subset}/{query}", known


def iterate_corpus_texts(task: "AbsTask") -> Iterator[str]:
    """Yield the documents of a retrieval or reranking task whose data is loaded, title and text;
    nothing for other categories."""
    if _is_retrieval(task):
        for corpus in _iterate_corpora(task):
            yield from (join_document(row) for row in corpus)


def _is_retrieval(task: "AbsTask") -> bool:
    return isinstance(task, need("mteb.abstasks", "eval").AbsTaskRetrieval)


def _iterate_corpora(task: "AbsTask") -> Iterator[Any]:
    return (part["corpus"] for part in _iterate_parts(task))


def _iterate_parts(task: "AbsTask") -> Iterator[Any]:
    """Yield the data of each evaluated subset and split; mteb leaves the subset out if it is the
    only one."""
    dataset: Any = task.dataset
    subsets = [dataset[name] for name in task.hf_subsets if name in dataset]
    for subset in subsets or [dataset]:
        for split in task.eval_splits:
            yield subset[split]


def join_document(row: Mapping[str, Any]) -> str:
    """Join a document's title and text as mteb's encoders read them."""
    return f"{row.get('title') or ''} {row['text']}".strip()


def _flatten(value: Any) -> Iterator[str]:
    """Flatten the texts of a set that is in one row; a single text stays one."""
    if isinstance(value, str):
        yield value
    else:
        for one in value:
            yield from _flatten(one)

"""A task's name -> a task of mteb: an official one from the hub or from an offline copy, or the
user's own collection under the same metrics. Retrieval so far; each category checks itself."""

import difflib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.beir import Beir, read_beir
from distill.errors import UserError, need

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

OWN_SPLITS = ("test", "validation", "dev")


def load_task(name: str, task_data: Path | None = None) -> "AbsTask":
    """The task called `name`, filled from the folder `task_data/name` where there is one.

    An official mteb task is evaluated on its own split with its own metrics, from the hub or from
    the folder. A folder whose name is no mteb task is the user's own retrieval task, evaluated on
    the first of test, validation and dev that it judges. A folder's task carries the hash of its
    files as dataset revision, so results of other data are never taken for its own.

    Raises:
        UserError: for an unknown name, a category that is not supported, or a faulty folder.
    """
    registry = need("mteb.get_tasks", "eval").TASK_LIST
    official = {task.metadata.name: task for task in registry}
    folder = task_data / name if task_data is not None else None
    if folder is not None and not folder.is_dir():
        folder = None
    if name in official:
        task = official[name]()
        _need_text_retrieval(task)
        return task if folder is None else _fill(task, folder)
    if folder is None:
        raise _unknown(name, list(official), task_data)
    return _fill(_own_task(name, _own_split(folder)), folder)


def document_texts(task: "AbsTask", count: int) -> list[str]:
    """Some `count` documents of a retrieval task, evenly spread over its corpus, as mteb's
    encoders read them: title and text."""
    dataset: Any = task.dataset
    subset = next(iter(dataset.values()))
    corpus = subset[task.eval_splits[0]]["corpus"]
    step = max(1, len(corpus) // count)
    rows = [corpus[i] for i in range(0, len(corpus), step)][:count]
    return [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]


def _need_text_retrieval(task: "AbsTask") -> None:
    base = need("mteb.abstasks", "eval").AbsTaskRetrieval
    category, modalities = task.metadata.type, task.metadata.modalities
    if isinstance(task, base) and category == "Retrieval" and modalities == ["text"]:
        return
    kind = category if modalities == ["text"] else f"{category} over {', '.join(modalities)}"
    parts = getattr(task.metadata, "tasks", None)
    raise UserError(
        f"task {task.metadata.name}",
        f"is a task of the category {kind}, which is not supported yet"
        if parts is None
        else "is an average over several tasks, which is not supported yet",
        "choose text retrieval tasks, for example SciFact, NFCorpus or ArguAna"
        if parts is None
        else f"name its parts: {', '.join(part.metadata.name for part in parts)}",
    )


def _unknown(name: str, official: list[str], task_data: Path | None) -> UserError:
    folders = []
    if task_data is not None and task_data.is_dir():
        folders = sorted(p.name for p in task_data.iterdir() if p.is_dir())
    known = sorted({*folders, *official})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if task_data is None:
        there = "no folder of tasks was given"
    elif not task_data.is_dir():
        there = f"{task_data} does not exist"
    else:
        there = f"{task_data} holds {', '.join(folders) or 'no folder'}"
    return UserError(
        f"task {name}",
        f"is neither a task of mteb nor a folder of yours: {there}",
        f"did you mean {' or '.join(near)}?"
        if near
        else "give the name of an mteb task, or of a folder with corpus.jsonl, queries.jsonl "
        "and qrels/ in the folder of tasks",
    )


def _own_split(folder: Path) -> str:
    for split in OWN_SPLITS:
        if (folder / "qrels" / f"{split}.tsv").is_file():
            return split
    raise UserError(
        str(folder / "qrels"),
        f"has no judgments: none of {', '.join(f'{split}.tsv' for split in OWN_SPLITS)}",
        "write qrels/test.tsv with the columns query-id, corpus-id and score",
    )


def _own_task(name: str, split: str) -> "AbsTask":
    abstasks = need("mteb.abstasks", "eval")
    metadata = need("mteb.abstasks.task_metadata", "eval").TaskMetadata(
        name=name.replace("/", "-"),
        description="A collection of the user's own.",
        type="Retrieval",
        category="t2t",
        # mteb loads by this; the task is filled from its folder before it could.
        dataset={"path": f"own/{name}", "revision": "unread"},
        eval_splits=[split],
        # Undetermined language and script: nothing says which they are.
        eval_langs=["und-Zyyy"],
        main_score="ndcg_at_10",
    )
    own: type[AbsTask] = type("OwnRetrieval", (abstasks.AbsTaskRetrieval,), {"metadata": metadata})
    return own()


def _fill(task: "AbsTask", folder: Path) -> "AbsTask":
    """Give the task the folder's data in the place of `load_data`, which would read the hub."""
    splits = list(task.eval_splits)
    if task.metadata.is_multilingual:
        raise UserError(
            str(folder),
            f"{task.metadata.name} has several languages; an offline copy holds one",
            "move the folder away to read the hub, or name it as a task of your own",
        )
    for split in splits:
        if not (folder / "qrels" / f"{split}.tsv").is_file():
            raise UserError(
                str(folder / "qrels"),
                f"has no {split}.tsv, the split on which {task.metadata.name} is evaluated",
                f"copy the task's {split} judgments there",
            )
    data = {split: _as_mteb(read_beir(folder, split)) for split in splits}
    task.dataset = {"default": data}
    task.data_loaded = True
    source = dict(task.metadata.dataset) | {"revision": _content(folder, splits)}
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task


def _as_mteb(beir: Beir) -> Any:
    datasets = need("datasets", "eval")
    ids, documents = list(beir.corpus), list(beir.corpus.values())
    corpus = {"id": ids} | {key: [d[key] for d in documents] for key in ("title", "text")}
    queries = {"id": list(beir.queries), "text": list(beir.queries.values())}
    return {
        "corpus": datasets.Dataset.from_dict(corpus),
        "queries": datasets.Dataset.from_dict(queries),
        "relevant_docs": {query: dict(judged) for query, judged in beir.qrels.items()},
        "top_ranked": None,
    }


def _content(folder: Path, splits: list[str]) -> str:
    """A revision that changes whenever the bytes of the task's files do."""
    digest = hashlib.sha256()
    names = ["corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in splits)]
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"local-{digest.hexdigest()[:16]}"

"""Models measured and compared on tasks: `evaluate` and `compare`."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distill.api.objects import name_model
from distill.errors import UserError
from distill.files.read import parse_path
from distill.recipe import ALL_TOKENS, BM25, EmbedderConfig, LabelledColumns
from distill.runtime.progress import show_activity

if TYPE_CHECKING:
    from distill.embed.encoder import Encoder
    from distill.evaluate.models.eval_model import EvalModel
    from distill.evaluate.models.quantize import Precision
    from distill.evaluate.score import TaskScore
    from distill.evaluate.summary import Summary
    from distill.recipe.sections.retriever import Language
    from distill.text.format import Side

    ModelOrPath = str | PathLike[str] | Encoder

EmbedderSettings = EmbedderConfig | Mapping[str, Any]
"""Settings of an embedding model, as in a recipe's section `teacher`."""
RESULTS = Path("artifacts/evaluation")
_MOST_TOKENS_SERVED = 8192
"""Of a text that a server embeds, where nothing else is set."""


def read_embedder(settings: EmbedderSettings) -> EmbedderConfig:
    """Check the settings of an embedding model. Without `max_tokens` it reads as much of a text as
    it can, or 8,192 tokens behind a server.

    >>> read_embedder({"query_prompt": "query: ", "device": "cpu"}).query_prompt
    'query: '

    Raises:
        UserError: naming the setting.
    """
    if isinstance(settings, EmbedderConfig):
        return settings
    served = settings.get("base_url") is not None
    default = {"max_tokens": _MOST_TOKENS_SERVED if served else ALL_TOKENS}
    try:
        return EmbedderConfig.model_validate(default | dict(settings))
    except ValidationError as fault:
        what = "; ".join(
            ": ".join([*map(str, error["loc"]), error["msg"].removeprefix("Value error, ")])
            for error in fault.errors()
        )
        raise UserError(
            "the options of the embedder", what, "see the section teacher of a recipe"
        ) from fault


def read_columns(columns: Mapping[str, str]) -> LabelledColumns:
    """Check the names of a labelled set's columns.

    >>> read_columns({"question": "q"}).question
    'q'

    Raises:
        UserError: naming what is unknown.
    """
    for part in columns:
        if part not in LabelledColumns.model_fields:
            known = ", ".join(LabelledColumns.model_fields)
            raise UserError(f"columns {part}={columns[part]}", f"{part} is not known", known)
    return LabelledColumns(**columns)


def evaluate(
    model: "ModelOrPath",
    tasks: Sequence[str] = (),
    *,
    benchmarks: Sequence[str] = (),
    task_data: str | Path | None = None,
    columns: Mapping[str, str] = {},
    corpus: str | Path | None = None,
    out: str | Path = RESULTS,
    embedder: EmbedderSettings = {},  # noqa: B006 (read alone)
    instructions: bool = True,
    prompts: "Mapping[Side, str] | None" = None,
    force_prompts: bool = False,
) -> "list[TaskScore]":
    """Evaluate a model on tasks, with mteb's own classes and metrics: of each task its `score`, the
    95 % `interval` of the score (None where no scores of single items are known), the number of
    `items`, and other `measures` of retrieval.

    >>> (score,) = evaluate("runs/mine/student", ["mine"], task_data="tasks")
    >>> low, high = score.interval
    >>> 0 <= low <= score.score <= high <= 1
    True

    Args:
        model: a hub id, a folder, `wheel:...`, a file of an export such as
            `onnx/embedding_int8.onnx`, or an `Encoder`.
        tasks: names of mteb's tasks, or of folders in `task_data`, or paths of labelled files:
            SQuAD's JSON, or tables of questions with passages or document ids.
        benchmarks: names of mteb's benchmarks, of which all tasks are taken.
        task_data: a folder of offline data, one sub-folder a task.
        columns: which columns of labelled files hold `question`, `passage`, `document`, `title` and
            `score`; those that are not named are found by their usual names.
        corpus: the documents whose ids labelled files name; by default `corpus.*` beside them.
        out: where results go, in mteb's format; what is there is not computed again.
        embedder: the model's settings.
        instructions: whether a model that was trained with instructions is given each task's.
        prompts: what is put before queries and documents, instead of the model's own.
        force_prompts: whether prompts may differ from those of the model's training.

    Raises:
        UserError: if no task is named, a task cannot be read, or the model cannot be used.
    """
    with show_activity("loading the model"):
        from distill.evaluate.models.run_models import check_prompts
        from distill.evaluate.score import score_tasks

        opened = _open_tasks(tasks, benchmarks, task_data, columns, corpus)
        loaded = _load_model(read_embedder(embedder), model, instructions)
        loaded = check_prompts(loaded, prompts or {}, force_prompts)
    return score_tasks(loaded, opened, parse_path(fspath(out)))


def compare(
    student: "ModelOrPath",
    teacher: "ModelOrPath",
    bases: "Sequence[ModelOrPath]" = (),
    *,
    tasks: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    task_data: str | Path | None = None,
    columns: Mapping[str, str] = {},
    corpus: str | Path | None = None,
    out: str | Path = RESULTS,
    widths: Sequence[int] = (),
    precisions: "Sequence[Precision]" = (),
    asymmetric: bool = False,
    published: Iterable[str | Path] = (),
    accept_versions: bool = False,
    teacher_settings: EmbedderSettings = {},  # noqa: B006 (read alone)
    student_settings: EmbedderSettings = {},  # noqa: B006
    instructions: bool = True,
    prompts: "Mapping[Side, str] | None" = None,
    force_prompts: bool = False,
    baselines: bool = True,
    bm25_language: "Language | None" = None,
    margin: float = 0.01,
    speed_texts: int = 256,
) -> "Summary":
    """Compare a student with its teacher, and with any base models, on the same tasks. The summary
    is also written to `OUT/summary.json`.

    >>> summary = compare("runs/mine/student", "BAAI/bge-large-en-v1.5",
    ...     tasks=["SciFact"], widths=[128])  # doctest: +SKIP

    Args:
        widths: Matryoshka widths to which the student's vectors are also cut.
        precisions: coarser number types for the student's vectors: `int8`, `binary`.
        asymmetric: whether the student's queries are also searched over the teacher's documents.
        published: files or folders of others' results in mteb's format.
        accept_versions: whether published results may be of another version of mteb.
        teacher_settings: settings of the teacher.
        student_settings: settings of the student and the base models.
        prompts: what is put before the student's queries and documents, instead of its own.
        baselines: whether BM25 and its hybrids with base, student and teacher are measured too, on
            retrieval tasks.
        bm25_language: the language whose stems BM25 compares on tasks whose language mteb does not
            state, such as one's own; by default words are compared as they are written.
        margin: the difference of scores that does not matter.
        speed_texts: documents on which speed is measured; 0: it is not.

    The other arguments are those of `evaluate`.

    Raises:
        UserError: if no task is named, a task cannot be read, or a model cannot be used.
    """
    with show_activity("loading the models"):
        from distill.evaluate.compare import compare as compare_models
        from distill.evaluate.compare import make_student_variants
        from distill.evaluate.models.published import read_published
        from distill.evaluate.models.run_models import check_prompts
        from distill.evaluate.run_summary import note_known_items
        from distill.evaluate.summary import write_summary

        opened = _open_tasks(tasks, benchmarks, task_data, columns, corpus)
        place = parse_path(fspath(out))
        reference = read_published([Path(path) for path in published], opened, accept_versions)
        own, others = read_embedder(student_settings), read_embedder(teacher_settings)
        loaded = _load_model(own, student, instructions)
        models: dict[str, EvalModel] = {
            "student": check_prompts(loaded, prompts or {}, force_prompts),
            "teacher": _load_model(others, teacher, instructions),
        }
        for number, base in enumerate(bases, start=1):
            role = "base" if number == 1 else f"base-{number}"
            models[role] = _load_model(own, base, instructions)
    variants = make_student_variants(models, widths, precisions, asymmetric)
    summary = compare_models(
        models,
        opened,
        place,
        variants,
        reference,
        speed_texts=speed_texts,
        baselines=BM25(language=bm25_language) if baselines else None,
        margin=margin,
    )
    if task_data is not None:
        queries_alone = models["student"].documents is not None
        note_known_items(summary, parse_path(fspath(task_data)), queries_alone)
    write_summary(place / "summary.json", summary)
    return summary


def _load_model(settings: EmbedderConfig, model: "ModelOrPath", instructions: bool) -> "EvalModel":
    from distill.evaluate.models.eval_model import load_any_model

    name = name_model(model)
    if settings.base_url is None and Path(name).suffix in (".onnx", ".xml"):
        from distill.export.graph import is_graph, load_graph_model

        if is_graph(name):
            return load_graph_model(name, settings, instructions)
    return load_any_model(settings, name, instructions)


def _open_tasks(
    tasks: Sequence[str],
    benchmarks: Sequence[str],
    task_data: str | Path | None,
    columns: Mapping[str, str],
    corpus: str | Path | None,
) -> list[Any]:
    from distill.tasks import load_tasks
    from distill.tasks.labelled_task import make_file_options

    if not tasks and not benchmarks:
        raise UserError(
            "command line", "no task is named", "give --tasks SciFact, or --benchmark NAME"
        )
    data = None if task_data is None else parse_path(fspath(task_data))
    labelled = make_file_options(
        read_columns(columns), None if corpus is None else parse_path(fspath(corpus))
    )
    return load_tasks(list(tasks), list(benchmarks), data, labelled)

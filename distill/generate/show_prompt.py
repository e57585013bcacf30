"""`distill generate --show-prompt ROW`: what exactly the LLM is asked, and what it replied."""

from rich.console import Console
from rich.text import Text

from distill.errors import UserError
from distill.generate.brainstorm.generations import list_example_requests
from distill.generate.brainstorm.task_lists import list_task_requests
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, render_request
from distill.generate.passages import generations
from distill.generate.passages.method import open_method
from distill.generate.passages.plan import GenerationPlan, QueryRequest, derive_llm_seed
from distill.generate.settings import WritingSettings
from distill.llm.prompts import Prompt
from distill.store.run import Run
from distill.store.shards import list_shards, read_shard_number
from distill.store.stage import Stage, fingerprint, open_stage
from distill.store.tables import GENERATIONS, TASKS, Row, read_shard


def show_prompt(
    run: Run, writing: WritingSettings, passages: Stage | None, row: int, console: Console
) -> None:
    """Print the `row`-th prompt (from 0) in both of its forms, its conditions and seeds, and what
    the LLM wrote where that is there already. Loads no LLM. Rows of passages come first, then the
    brainstorm's lists of tasks, then its examples, as far as their tasks are there.

    Raises:
        UserError: if there is no such row.
    """
    generate = writing.generate
    plan = (
        GenerationPlan(writing, passages)
        if passages is not None and generate.writes_queries
        else None
    )
    brainstormed = (
        _list_brainstorm_prompts(run, writing) if "brainstorm" in generate.methods else []
    )
    first = len(plan) if plan is not None else 0
    count = first + len(brainstormed)
    if not 0 <= row < count:
        raise UserError(
            f"--show-prompt {row}",
            f"there are {count} rows" if count else "this recipe asks an LLM nothing yet",
            f"give 0 to {count - 1}" if count else "generate.methods: [fret], or [brainstorm]",
        )
    if plan is not None and passages is not None and row < first:
        _show_of_passage(run, writing, passages, plan, row, console)
    else:
        _show_brainstormed(*brainstormed[row - first], row, console)


def _list_brainstorm_prompts(
    run: Run, writing: WritingSettings
) -> list[tuple[PromptRequest, Prompt]]:
    """List the lists of tasks, then an example of each task that stands in the run: none before the
    lists are written."""
    settings, folder = writing.generate.brainstorm, writing.folder
    groups, lists = settings.groups, list_task_requests(settings)
    of_tasks = load_prompts(settings, folder, "tasks", {request.group for request in lists})
    prompts = [(request, of_tasks[request.group]) for request in lists]
    place = run.folder / "tasks"
    if not (place / ".stage").is_dir() or not open_stage(place).complete:
        return prompts
    rows = open_stage(place).read_rows(TASKS)
    tasks = {g: [row["task"] for row in rows if row["task_type"] == g] for g in groups}
    of_examples = load_prompts(settings, folder, "example", groups)
    return prompts + [
        (request, of_examples[request.group])
        for request in list_example_requests(tasks, settings, writing.seed)
    ]


def _show_brainstormed(request: PromptRequest, prompt: Prompt, row: int, console: Console) -> None:
    facts = {"row": row, "item_id": request.item_id, **request.placeholders}
    console.print(Text("\n".join(f"{k}: {v}" for k, v in facts.items())), soft_wrap=True)
    for name, chat in (("completion", False), ("chat", True)):
        _print_section(f"{name} form", render_request(request, prompt, chat), console)


def _show_of_passage(
    run: Run,
    writing: WritingSettings,
    passages: Stage,
    plan: GenerationPlan,
    row: int,
    console: Console,
) -> None:
    method, of_row = open_method(writing), plan[row]
    console.print(_describe_facts(writing, of_row, row), soft_wrap=True)
    for name, chat in (("completion", False), ("chat", True)):
        _print_section(
            f"{name} form", method.render_prompt(of_row.passage, of_row.conditions, chat), console
        )
        sampling = method.make_sampling(chat, writing.generate.constrain)
        forced = sampling.regex or sampling.json_schema
        if forced:
            _print_section("the reply's form, where the engine can force it", forced, console)
    mark = fingerprint(
        "generations",
        generations.fingerprint(writing, method),
        {passages.name: passages.fingerprint},
    )
    for reply in _read_replies(run, mark, plan, row, writing.generate.samples):
        _print_section(f"what the LLM wrote, draw {reply['draw']}", reply["output"], console)


def _describe_facts(writing: WritingSettings, request: QueryRequest, row: int) -> Text:
    conditions = vars(request.conditions)
    draws = range(writing.generate.best_of)
    facts = {
        "row": row,
        "passage_id": request.passage["passage_id"],
        "sample": request.sample,
        **{name: value for name, value in conditions.items() if value is not None},
        "seeds": ", ".join(str(derive_llm_seed(writing.seed, request, draw)) for draw in draws),
        "llm.prompt_format": writing.llm.prompt_format,
    }
    return Text("\n".join(f"{name}: {value}" for name, value in facts.items()))


def _print_section(title: str, text: str, console: Console) -> None:
    """Print a section; characters that would steer a terminal are shown as a question mark."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    console.print(Text(f"\n--- {title} ---", style="bold"), soft_wrap=True)
    console.print(Text(plain), soft_wrap=True)


def _read_replies(run: Run, mark: str, plan: GenerationPlan, row: int, samples: int) -> list[Row]:
    """Read the replies to a row's prompt, where the stage of this fingerprint has them."""
    folder = run.folder / "generations"
    if not (folder / ".stage").is_dir() or open_stage(folder).fingerprint != mark:
        return []
    place, sample = divmod(row, samples)
    number = place // len(plan.list_shards()[0])
    path = {read_shard_number(path): path for path in list_shards(folder)}.get(number)
    if path is None:
        return []
    passage_id = plan[row].passage["passage_id"]
    return [
        reply
        for reply in read_shard(GENERATIONS, path)
        if reply["passage_id"] == passage_id and reply["sample"] == sample
    ]

"""`distill generate --show-prompt ROW`: what exactly the LLM is asked, and what it replied."""

from rich.console import Console
from rich.text import Text

from distill.errors import UserError
from distill.generate.fret import (
    Asked,
    Method,
    Plan,
    draw_seed,
    generation_settings,
    open_method,
)
from distill.recipe import Recipe
from distill.run import Run, Stage, fingerprint, open_stage
from distill.tables import GENERATIONS, Row, read_shard


def show_prompt(run: Run, recipe: Recipe, passages: Stage, row: int, console: Console) -> None:
    """Print the `row`-th prompt (from 0) in both of its forms, its conditions and seeds, and what
    the LLM wrote where that is there already. Loads no LLM.

    Raises:
        UserError: if there is no such row.
    """
    method, plan = open_method(recipe), Plan(recipe, passages)
    if not 0 <= row < len(plan):
        raise UserError(
            f"--show-prompt {row}", f"there are {len(plan)} rows", f"give 0 to {len(plan) - 1}"
        )
    asked = plan[row]
    console.print(_facts(recipe, asked, row), soft_wrap=True)
    for name, chat in (("completion", False), ("chat", True)):
        _section(f"{name} form", method.prompt(asked.passage, asked.conditions, chat), console)
        sampling = method.sampling(chat, recipe.generate.constrain)
        forced = sampling.regex or sampling.json_schema
        if forced:
            _section("the reply's form, where the engine can force it", forced, console)
    for reply in _replies(run, recipe, method, passages, plan, row):
        _section(f"what the LLM wrote, draw {reply['draw']}", reply["output"], console)


def _facts(recipe: Recipe, asked: Asked, row: int) -> Text:
    conditions = vars(asked.conditions)
    draws = range(recipe.generate.best_of)
    facts = {
        "row": row,
        "passage_id": asked.passage["passage_id"],
        "sample": asked.sample,
        **{name: value for name, value in conditions.items() if value is not None},
        "seeds": ", ".join(str(draw_seed(recipe, asked, draw)) for draw in draws),
        "llm.form": recipe.llm.form,
    }
    return Text("\n".join(f"{name}: {value}" for name, value in facts.items()))


def _section(title: str, text: str, console: Console) -> None:
    """Characters that would steer a terminal are shown as a question mark."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    console.print(Text(f"\n--- {title} ---", style="bold"), soft_wrap=True)
    console.print(Text(plain), soft_wrap=True)


def _replies(
    run: Run, recipe: Recipe, method: Method, passages: Stage, plan: Plan, row: int
) -> list[Row]:
    folder = run.folder / "generations"
    settings = generation_settings(recipe, method)
    mark = fingerprint("generations", settings, {passages.name: passages.fingerprint})
    if not (folder / ".stage").is_dir() or open_stage(folder).fingerprint != mark:
        return []
    place, sample = divmod(row, recipe.generate.samples)
    number = place // len(plan.shards()[0])
    path = folder / f"part-{number:05d}.parquet"
    if not path.exists():
        return []
    passage_id = plan[row].passage["passage_id"]
    return [
        reply
        for reply in read_shard(GENERATIONS, path)
        if reply["passage_id"] == passage_id and reply["sample"] == sample
    ]

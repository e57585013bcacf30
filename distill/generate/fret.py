"""FRet, step one (Gecko, section 3.2): from a passage, a task and a query.

Two stages. `generations` holds what the LLM wrote, word for word, and is never thrown away;
`queries` is what could be parsed from it, each left-out row counted by its reason.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable

from distill.errors import UserError
from distill.generate.parse import normalise, parse
from distill.llm.load import identity
from distill.llm.protocol import LLM, Sampling
from distill.prompts import Prompt, first_words, load_prompt
from distill.recipe import Recipe
from distill.run import Run, Shard, Stage
from distill.tables import GENERATIONS, PASSAGES, QUERIES, Row, read_shard, shards

_STOP = ("\n\n", "\nPassage:")


def make_generations(run: Run, recipe: Recipe, passages: Stage, llm: Callable[[], LLM]) -> Stage:
    """Have the LLM write for `generate.passages` seed passages. `llm` is called only if there is
    something left to write."""
    settings = recipe.generate
    prompt = load_prompt(settings.prompt, recipe.folder, parts=1)
    stage = run.stage("generations", _fingerprinted(recipe, prompt), [passages])
    if stage.complete:
        return stage
    seeds = _draw(passages.rows(PASSAGES), settings.passages, recipe.seed)
    tasks = [(row, sample) for row in seeds for sample in range(settings.samples)]
    size = settings.shard_size
    items = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    engine = llm()
    stage.map_shards(
        GENERATIONS,
        items,
        lambda item: _write(item, recipe, prompt, engine),
        size=len,
        unit="prompts",
    )
    stage.finish(tokens=engine.tokens)
    return stage


def make_queries(run: Run, recipe: Recipe, passages: Stage, generations: Stage) -> Stage:
    """Parse the generations. Exact duplicates (as words) of an earlier query are left out."""
    prompt = load_prompt(recipe.generate.prompt, recipe.folder, parts=1)
    stage = run.stage("queries", {"parser": 1, "prompt": prompt.source}, [generations])
    if stage.complete:
        return stage
    copied = frozenset(normalise(example["query"]) for example in prompt.examples)
    seen: set[str] = set()
    items = [
        _parse_shard(read_shard(GENERATIONS, path), copied, seen)
        for path in shards(generations.folder)
    ]
    stage.map_shards(QUERIES, items, lambda shard: shard, unit="shards")
    stage.finish()
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no generated query was well formed: {stage.manifest['counts']}",
            "read `distill inspect RUN generations`; then change llm.model or generate.prompt",
        )
    return stage


def render(prompt: Prompt, passage: Row, task_type: str, max_words: int) -> str:
    """The prompt for one passage, as the LLM gets it."""
    text = f"{passage['title']}\n{passage['text']}".strip()
    return prompt.render(passage=first_words(text, max_words), task_type=task_type)


def task_type_of(recipe: Recipe, passage_id: str, sample: int) -> str:
    """Drawn uniformly by seed, passage and sample, whatever else is generated beside it."""
    draw = random.Random(f"{recipe.seed}|{passage_id}|{sample}")
    return draw.choice(recipe.generate.task_types)


def _fingerprinted(recipe: Recipe, prompt: Prompt) -> dict[str, object]:
    return {
        **recipe.generate.model_dump(exclude={"prompt"}),
        "prompt": prompt.source,
        "llm": identity(recipe.llm),
        "seed": recipe.seed,
    }


def _draw(rows: list[Row], count: int, seed: int) -> list[Row]:
    """So many passages in corpus order, or all where there are fewer."""
    if count >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), count))
    return [rows[i] for i in chosen]


def _write(item: list[tuple[Row, int]], recipe: Recipe, prompt: Prompt, llm: LLM) -> Shard:
    settings = recipe.generate
    types = [task_type_of(recipe, row["passage_id"], sample) for row, sample in item]
    prompts = [
        render(prompt, row, task_type, settings.max_passage_words)
        for (row, _), task_type in zip(item, types, strict=True)
    ]
    seeds = [_seed(recipe.seed, row["passage_id"], sample) for row, sample in item]
    sampling = Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, _STOP)
    written = llm.generate(prompts, seeds, sampling)
    rows = [
        {
            "passage_id": row["passage_id"],
            "sample": sample,
            "task_type": task_type,
            "persona": None,
            "output": text,
            "finished": finished,
            "llm": llm.name,
        }
        for (row, sample), task_type, (text, finished) in zip(item, types, written, strict=True)
    ]
    return Shard(rows, Counter(written=len(rows)))


def _seed(seed: int, passage_id: str, sample: int) -> int:
    digest = hashlib.sha256(f"{seed}|{passage_id}|{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _parse_shard(rows: list[Row], copied: frozenset[str], seen: set[str]) -> Shard:
    shard = Shard([])
    for row in rows:
        parsed = parse(row["output"], row["finished"], copied)
        reason = parsed.reason
        if reason is None and normalise(parsed.query) in seen:
            reason = "duplicate"
        query_id = f"{row['passage_id']}~{row['sample']}"
        if reason is not None:
            shard.counts[f"dropped: {reason}"] += 1
            shard.dropped.append({"item_id": query_id, "reason": reason, "text": row["output"]})
            continue
        seen.add(normalise(parsed.query))
        shard.counts["kept"] += 1
        shard.rows.append(
            {
                "query_id": query_id,
                "seed_id": row["passage_id"],
                "task": parsed.task,
                "task_type": row["task_type"],
                "query": parsed.query,
                "persona": row["persona"],
                "llm": row["llm"],
            }
        )
    return shard

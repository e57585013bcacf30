"""One query as a person reads it: its candidates by every ranker, and what was chosen of them."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.table import Table as RichTable
from rich.text import Text

from distill.recipe import JUDGES
from distill.store.tables import Row
from distill.text.sanitize import sanitize_for_terminal

_EXCERPT = 160


class QueryView(NamedTuple):
    """A query; its candidates, each with its label where there is one, best first by fusion; the
    examples made of it, its own first; the candidates' texts."""

    query: Row
    candidates: list[Row]
    examples: list[Row]
    texts: dict[str, str]


def list_rankers(view: QueryView) -> list[str]:
    """List those that have ranked any of the candidates, the retriever last."""
    judges = (j for j in JUDGES if any(row.get(f"{j}_rank") for row in view.candidates))
    return [*judges, "retriever"]


def build_candidates_table(view: QueryView) -> RichTable:
    """Build a row for each candidate: role, place and value of the fusion, rank and score by
    ranker."""
    *judges, _ = list_rankers(view)
    named = [judge.replace("_", " ") for judge in judges]
    grid = RichTable("", "RRF", *named, "retriever", "passage", show_lines=True)
    for place, row in enumerate(view.candidates, start=1):
        passage = Text(sanitize_for_terminal(row["passage_id"]), style="bold")
        passage.append(
            "\n" + sanitize_for_terminal(view.texts[row["passage_id"]][:_EXCERPT]), style="not bold"
        )
        grid.add_row(
            "\n".join(_list_roles(row["passage_id"], view)),
            f"{place}\n{row['rrf']:.3f}" if "rrf" in row else "",
            *(_format_rank(row, judge) for judge in judges),
            f"{row['rank'] or 'missed'}\n{row['similarity']:.3f}",
            passage,
        )
    return grid


def describe_orders(view: QueryView) -> Iterator[str]:
    """Describe a line for each ranker: the candidates that it has ranked, best first."""
    if view.candidates[0].get("rrf"):
        yield f"order by RRF: {_join_ids(view.candidates, view)}"
    *judges, _ = list_rankers(view)
    for judge in judges:
        name = f"{judge}_rank"
        ranked = sorted((r for r in view.candidates if r[name]), key=lambda row: row[name])
        yield f"order by {judge.replace('_', ' ')}: {_join_ids(ranked, view)}"
    retrieved = sorted((r for r in view.candidates if r["rank"]), key=lambda row: row["rank"])
    yield f"order by retriever: {_join_ids(retrieved, view)}"


def describe_choice(view: QueryView, scored: list[Row]) -> Iterator[str]:
    """Return whether the positive changed, further positives, and the teachers' scores.

    Args:
        scored: teachers' scores of the query's examples.
    """
    if not view.examples:
        yield "no example: not chosen yet, or dropped (`distill inspect RUN examples/dropped`)"
        return
    own, *further = view.examples
    seed, positive = view.query["seed_id"], own["positive_id"]
    if not seed:
        yield f"positive, of a query without a seed: {_format_ranks(positive, view)}"
    elif seed == positive:
        yield f"positive: the seed {_format_ranks(seed, view)}"
    else:
        before, after = _format_ranks(seed, view), _format_ranks(positive, view)
        yield f"positive CHANGED: from the seed {before} to {after}"
    for example in further:
        place = _format_ranks(example["positive_id"], view)
        yield f"further positive, example {sanitize_for_terminal(example['query_id'])}: {place}"
    by_id = {example["query_id"]: example for example in view.examples}
    for row in scored:
        example = by_id[row["query_id"]]
        negatives = zip(example["negative_ids"], row["negative_scores"], strict=True)
        yield (
            f"teacher {sanitize_for_terminal(row['teacher'])} ({row['scale']}): positive "
            f"{sanitize_for_terminal(example['positive_id'])} {row['positive_score']:.4f}; "
            "negatives "
            + (
                ", ".join(f"{sanitize_for_terminal(id_)} {score:.4f}" for id_, score in negatives)
                or "none"
            )
        )


def list_chosen_passages(view: QueryView) -> Iterator[tuple[str, str]]:
    """List title and id of the passages to be read in full: the seed, and what took its place."""
    seed = view.query["seed_id"]
    if seed:
        yield f"the seed {sanitize_for_terminal(seed)}", seed
    for example in view.examples:
        if example["positive_id"] != seed:
            yield (
                f"the positive {sanitize_for_terminal(example['positive_id'])}",
                example["positive_id"],
            )


def _list_roles(passage_id: str, view: QueryView) -> list[str]:
    roles = ["seed"] if passage_id == view.query["seed_id"] else []
    for number, example in enumerate(view.examples):
        if passage_id == example["positive_id"]:
            roles.append("further\npositive" if number else "positive")
    if any(passage_id in example["negative_ids"] for example in view.examples):
        roles.append("negative")
    return roles


def _format_rank(row: Row, judge: str) -> str:
    rank = row.get(f"{judge}_rank")
    return f"{rank}\n{row[judge]:.2f}" if rank else ""


def _join_ids(rows: list[Row], view: QueryView) -> str:
    seed = view.query["seed_id"]
    ids = (row["passage_id"] for row in rows)
    return " > ".join(
        f"{sanitize_for_terminal(id_)} (seed)" if id_ == seed else sanitize_for_terminal(id_)
        for id_ in ids
    )


def _format_ranks(passage_id: str, view: QueryView) -> str:
    """Return the passage with its rank by every ranker."""
    place = next(i for i, r in enumerate(view.candidates) if r["passage_id"] == passage_id)
    row = view.candidates[place]
    judges = [f"{j.replace('_', ' ')} {row[f'{j}_rank'] or '-'}" for j in list_rankers(view)[:-1]]
    ranks = [f"RRF {place + 1}", *judges, f"retriever {row['rank'] or 'missed'}"]
    return f"{sanitize_for_terminal(passage_id)} ({', '.join(ranks)})"

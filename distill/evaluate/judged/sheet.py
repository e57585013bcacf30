"""The sheet that a person judges of a run's pool: pairs in the order in which they were drawn, and
the verdicts so far. Both lie in the run's folder under the pool's fingerprint, so that verdicts on
a pool that is set aside are kept."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from distill.errors import UserError
from distill.evaluate.judged.collection import PairId, read_json_lines
from distill.evaluate.judged.pool import JUDGEMENTS_FILE, NAME, SystemRankings
from distill.evaluate.statistics.label_draw import (
    combine_weights,
    compute_draw_keys,
    compute_draw_sizes,
    draw_uniform,
)
from distill.evaluate.statistics.prediction_powered import compute_weights
from distill.evaluate.summary import name_difference
from distill.evaluate.verdict import list_pairs
from distill.files.atomic import read_json, write_json
from distill.store.stage import Stage, open_stage
from distill.tasks.beir_folder import write_json_lines

PersonVerdict = Literal["yes", "no", "skip"]
VERDICTS: tuple[PersonVerdict, ...] = get_args(PersonVerdict)
RANKINGS_FILE = "judged-rankings.json"
"""In the stage `evaluation`: what each system ranks first for the held-out queries."""
_ORDER_FILE = "order.jsonl"
_VERDICTS_FILE = "verdicts.jsonl"
_DRAWN_FOR_FILE = "drawn-for.json"
_SEED = 0


class DrawnPair(NamedTuple):
    """A pair in the order of the draw, with what its probability is computed from."""

    query_id: str
    passage_id: str
    size: float
    key: float


@dataclass(frozen=True)
class JudgingSheet:
    """The pairs of a pool in the order in which a person sees them, their texts, the verdicts so
    far, and the names of the differences that the order was drawn for: of others these verdicts
    give no interval. `drawn_for` is None for an order of earlier versions, which is for the student
    and its reference alone. `earlier` are the verdicts on the run's other pools, by `hash_pair`."""

    folder: Path
    pairs: list[DrawnPair]
    queries: Mapping[str, str]
    passages: Mapping[str, str]
    verdicts: dict[PairId, PersonVerdict]
    drawn_for: list[str] | None = None
    earlier: Mapping[str, PersonVerdict] = field(default_factory=dict)

    def save(self) -> None:
        """Write the verdicts, so that nothing is lost when the command is stopped."""
        rows = [
            {
                "query_id": pair[0],
                "passage_id": pair[1],
                "verdict": verdict,
                "texts": self._hash(pair),
            }
            for pair, verdict in self.verdicts.items()
        ]
        write_json_lines(self.folder / _VERDICTS_FILE, rows)

    def recall(self, pair: PairId) -> PersonVerdict | None:
        """Return the verdict on the same query and passage in another pool of the run; None where
        there is none.

        It stands for the person's answer when the order of this pool's own draw comes to the pair,
        and not before: what a pair's chance to be judged is depends on this draw alone, and the
        interval is the one that asking again would give."""
        return self.earlier.get(self._hash(pair))

    def _hash(self, pair: PairId) -> str:
        return hash_pair(self.queries[pair[0]], self.passages[pair[1]])

    def list_open(self, count: int) -> list[DrawnPair]:
        """List the pairs among the first `count` that have no verdict."""
        first = self.pairs[:count]
        return [p for p in first if (p.query_id, p.passage_id) not in self.verdicts]


def open_pool(run_folder: Path) -> Stage:
    """Open a run's judged pool.

    Raises:
        UserError: if the run has none that is complete.
    """
    folder = run_folder / NAME
    if (folder / ".stage" / "manifest.json").is_file():
        pool = open_stage(folder)
        if pool.complete and read_current_rankings(run_folder) is not None:
            return pool
    raise UserError(
        str(run_folder),
        "has no judged pool of an evaluation that is complete",
        "set corpus.held_out: 0.1 and evaluate.tasks: [judged] in its recipe, and `distill run` it",
    )


def read_current_rankings(run_folder: Path) -> SystemRankings | None:
    """Read what each system of the evaluation ranks first; None without such an evaluation."""
    path = run_folder / "evaluation" / RANKINGS_FILE
    rankings: SystemRankings | None = read_json(path) if path.is_file() else None
    return rankings


def open_sheet(run_folder: Path) -> JudgingSheet:
    """Open what a person judges of a run, drawing the order of the pairs the first time.

    Raises:
        UserError: if the run has no judged pool.
    """
    pool = open_pool(run_folder)
    order = _find_folder(run_folder, pool) / _ORDER_FILE
    if not order.is_file():
        order.parent.mkdir(parents=True, exist_ok=True)
        rankings = read_current_rankings(run_folder) or {}
        drawn_for = [name_difference(*pair) for pair in list_pairs(rankings, ())]
        write_json(order.with_name(_DRAWN_FOR_FILE), drawn_for)
        write_json_lines(order, [pair._asdict() for pair in _draw_pairs(run_folder, pool)])
    sheet = _read_sheet(run_folder, pool)
    return replace(sheet, earlier=_read_earlier(sheet.folder))


def hash_pair(query: str, passage: str) -> str:
    """Hash the texts of a pair: its ids may be another pair's in another pool."""
    return hashlib.sha256(json.dumps([query, passage]).encode()).hexdigest()


def _read_earlier(folder: Path) -> dict[str, PersonVerdict]:
    """Read the verdicts on the run's other pools, of a pair the last one. Who skipped a pair is
    asked again."""
    files = (path for path in folder.parent.glob(f"*/{_VERDICTS_FILE}") if path.parent != folder)
    earlier: dict[str, PersonVerdict] = {}
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        for row in read_json_lines(path):
            if "texts" in row and row["verdict"] != "skip":  # earlier versions kept no texts
                earlier[row["texts"]] = row["verdict"]
    return earlier


def find_sheet(run_folder: Path, pool: Stage) -> JudgingSheet | None:
    """Open what a person judges of a run; None where nobody has begun to. Nothing is written."""
    begun = (_find_folder(run_folder, pool) / _ORDER_FILE).is_file()
    return _read_sheet(run_folder, pool) if begun else None


def _find_folder(run_folder: Path, pool: Stage) -> Path:
    """Find the folder of the pool's sheet. A pool that was lost and made again after another
    student has the same fingerprint and other pairs: its verdicts lie in a folder of their own, and
    the earlier ones stay where they are."""
    folder = run_folder / "verdicts" / pool.fingerprint
    pairs = sorted(_read_pairs(pool.folder / JUDGEMENTS_FILE))
    order = folder / _ORDER_FILE
    if not order.is_file() or sorted(_read_pairs(order)) == pairs:
        return folder
    digest = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]
    return folder.with_name(f"{pool.fingerprint}-{digest}")


def _read_pairs(path: Path) -> list[PairId]:
    return [(row["query_id"], row["passage_id"]) for row in read_json_lines(path)]


def _read_sheet(run_folder: Path, pool: Stage) -> JudgingSheet:
    folder = _find_folder(run_folder, pool)
    saved = folder / _VERDICTS_FILE
    rows = read_json_lines(saved) if saved.is_file() else []
    drawn_for = folder / _DRAWN_FOR_FILE
    return JudgingSheet(
        folder,
        [DrawnPair(**row) for row in read_json_lines(folder / _ORDER_FILE)],
        {row["_id"]: row["text"] for row in read_json_lines(pool.folder / "queries.jsonl")},
        {
            row["_id"]: f"{row['title']}\n{row['text']}".strip()
            for row in read_json_lines(pool.folder / "corpus.jsonl")
        },
        {(row["query_id"], row["passage_id"]): row["verdict"] for row in rows},
        read_json(drawn_for) if drawn_for.is_file() else None,
    )


def choose_reference(systems: Sequence[str]) -> str | None:
    """Choose what the student is compared with: its teacher, else the base; None of neither."""
    return next((role for role in ("teacher", "base") if role in systems), None)


def compute_pair_weights(
    rankings: SystemRankings, pairs: Sequence[PairId], one: str, other: str
) -> np.ndarray:
    """Compute (n,) what a pair's relevance adds to the DCG@10 of one system minus the other's."""
    by_query = {
        query: compute_weights(ranking, rankings[other].get(query, []))
        for query, ranking in rankings[one].items()
    }
    return np.array([by_query.get(query, {}).get(passage, 0.0) for query, passage in pairs])


def _draw_pairs(run_folder: Path, pool: Stage) -> list[DrawnPair]:
    """Draw pairs by what they weigh in the student's differences from the other systems of today:
    those that matter most come first, mostly."""
    rankings = read_current_rankings(run_folder) or {}
    pairs = _read_pairs(pool.folder / JUDGEMENTS_FILE)
    others = [system for system in rankings if system != "student"]
    weights = [compute_pair_weights(rankings, pairs, "student", other) for other in others]
    sizes = compute_draw_sizes(combine_weights(weights) if weights else np.zeros(len(pairs)))
    keys = compute_draw_keys(sizes, np.array([draw_uniform(_SEED, *pair) for pair in pairs]))
    order = [int(n) for n in np.argsort(keys)]
    return [DrawnPair(pairs[n][0], pairs[n][1], float(sizes[n]), float(keys[n])) for n in order]

"""What `benchmarks/worth.py --summary` makes of figures that are known."""

import json
from pathlib import Path

import pytest
from helpers.benchmark_scripts import run_lines


def write_line(
    root: Path, corpus: str, gaps: list[float], variant: str = "ql", seed: int = 13, **more: float
) -> None:
    """Write what worth.py keeps of a run whose student is so far above its peer, query by
    query."""
    peer = {f"test/default/q{number}": 0.5 for number in range(len(gaps))}
    ours = {query: 0.5 + gap for query, gap in zip(peer, gaps, strict=True)}
    line = {"name": f"{corpus}-{variant}-{seed}", "corpus": corpus, "variant": variant}
    line |= {"seed": seed, "by_query": {"ours": ours, "peer": peer}} | more
    (root / f"{line['name']}.json").write_text(json.dumps(line))


def sum_up(root: Path) -> tuple[list[dict], dict]:
    *pooled, counted = run_lines("worth", "--summary", "--root", str(root))
    return pooled, counted


def test_pooled_difference_counts_corpora_the_same(tmp_path):
    write_line(tmp_path, "cacm", [0.2, 0.1] * 30)
    write_line(tmp_path, "vaswani", [0.0, -0.1] * 300)
    (pooled,), counted = sum_up(tmp_path)
    assert pooled["name"] == "ql, pooled"
    assert pooled["corpora"] == ["cacm", "vaswani"]
    assert pooled["queries"] == 660
    assert pooled["difference"] == pytest.approx((0.15 - 0.05) / 2)
    # The standard errors of the means are 0.05 / sqrt(60) and 0.05 / sqrt(600).
    error = 0.05 * (1 / 60 + 1 / 600) ** 0.5 / 2
    assert pooled["low"] == pytest.approx(0.05 - 1.96 * error, abs=0.001)
    assert pooled["high"] == pytest.approx(0.05 + 1.96 * error, abs=0.001)
    assert pooled["p"] < 0.001
    assert counted["llm_measured"] == {"ql": ["cacm", "vaswani"]}
    assert counted["llm_above_adapted_of_six"] == {"ql": ["cacm"]}
    assert counted["llm_below_adapted_of_six"] == {"ql": ["vaswani"]}


def test_pooled_difference_of_seeds_is_of_each_query_mean(tmp_path):
    """Each seed's own interval holds 0; the mean of both seeds is the same on every query."""
    swings = [0.3, -0.2] * 20
    write_line(tmp_path, "cacm", swings, "whole", 13)
    write_line(tmp_path, "cacm", [0.1 - gap for gap in swings], "whole", 14)
    write_line(tmp_path, "SciFact", swings, "whole", 13)
    pooled, counted = sum_up(tmp_path)
    assert pooled == []
    assert counted["corpora"] == ["SciFact", "cacm"]
    assert counted["above_teacher_of_six"] == ["cacm"]
    assert counted["below_teacher_of_six"] == []


def test_static_share_is_of_all_seeds(tmp_path):
    write_line(tmp_path, "cacm", [0.0] * 3, "static", 13, ratio=0.99)
    write_line(tmp_path, "cacm", [0.0] * 3, "static", 14, ratio=1.03)
    write_line(tmp_path, "vaswani", [0.0] * 3, "static", 13, ratio=0.97)
    _, counted = sum_up(tmp_path)
    assert counted["static"] == {"cacm": 1.01, "vaswani": 0.97}
    assert counted["static_at_teacher_of_six"] == ["cacm"]

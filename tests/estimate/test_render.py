"""How an estimate reads."""

import json

from rich.console import Console

from distill.estimate.amounts import Amount, Estimate, StageEstimate
from distill.estimate.render import render, to_json

FOUND = Estimate(
    "mine",
    [
        StageEstimate("passages", Amount(5183, 5183), "passages", note="read, 1 s [sic]"),
        StageEstimate(
            "generations",
            Amount(500, 500),
            "prompts",
            prompt_tokens=Amount(330_000, 330_000),
            shared_tokens=Amount(290_000, 290_000),
            new_tokens=Amount(20_000, 20_000),
            seconds=Amount(300, 300),
            cost=Amount(1.25, 1.25),
        ),
        StageEstimate(
            "judgements-ql",
            Amount(0, 10_500),
            "pairs",
            prompt_tokens=Amount(0, 31_500_000),
            seconds=Amount(0, 7500),
            cost=Amount(0, 4.5),
        ),
        StageEstimate("student", Amount(0, 160), "steps", seconds=Amount(0, None)),
        StageEstimate("evaluation", Amount(100, None), "texts", seconds=Amount(12, None)),
    ],
    ["≤: an upper bound."],
    "EUR",
)


def shown() -> list[str]:
    console = Console(width=170, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(FOUND))
    return console.export_text().splitlines()


def row(stage: str) -> str:
    return next(line for line in shown() if line.strip().startswith(stage))


def test_figures_bounds_and_what_is_unknown():
    assert "500 prompts" in row("generations")
    assert "330,000" in row("generations")
    assert "5 min 00 s" in row("generations")
    assert "1.25 EUR" in row("generations")
    assert "≤ 10,500 pairs" in row("judgements-ql")
    assert "≤ 31.5M" in row("judgements-ql")
    assert "≤ 2 h 05 min" in row("judgements-ql")
    assert "?" in row("student")
    assert "≥ 100 texts" in row("evaluation")


def test_total_names_the_stages_whose_time_it_lacks():
    assert "5 min 00 s to 2 h 10 min" in row("total")
    assert "1.25 EUR to 5.75 EUR" in row("total")
    assert "time without student, evaluation" in row("total")


def test_notes_are_shown_word_for_word():
    assert "read, 1 s [sic]" in row("passages")
    assert any("≤: an upper bound." in line for line in shown())


def test_bytes_and_shards_have_columns_where_they_are_estimated():
    stored = StageEstimate(
        "candidates",
        Amount(0, 10_500),
        "pairs",
        disk=Amount(1_536_000, 1_641_000),
        shards=Amount(0, 42),
    )
    unstored = StageEstimate("student", Amount(0, 160), "steps")
    for width, said in ((170, "≤ 42"), (80, "≤ 42 shards")):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(render(Estimate("mine", [stored, unstored], [])))
        text = console.export_text().replace("\N{NO-BREAK SPACE}", " ")
        assert "1.5 MB to 1.6 MB" in text
        assert said in text
    assert "disk" not in "".join(shown())


def test_json_holds_every_bound():
    values = json.loads(json.dumps(to_json(FOUND)))
    by_stage = {line["stage"]: line for line in values["stages"]}
    assert by_stage["judgements-ql"]["seconds"] == [0, 7500]
    assert by_stage["student"]["seconds"] == [0, None]
    assert by_stage["passages"]["cost"] is None
    assert values["total"]["cost"] == [1.25, 5.75]
    assert values["currency"] == "EUR"


def test_no_figure_is_cut_in_a_narrow_terminal():
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(FOUND))
    said = console.export_text()
    words = said.replace("\N{NO-BREAK SPACE}", " ")
    for figure in (
        "500 prompts",
        "330,000",
        "5 min 00 s",
        "1.25 EUR",
        "≤ 10,500 pairs",
        "≤ 2 h 05 min",
        "5 min 00 s to 2 h 10 min",
        "1.25 EUR to 5.75 EUR",
    ):
        assert figure in words
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80

"""A recipe's student against its teacher and its untrained base, in one run: nDCG@10 on the
recipe's tasks, speed measured in turns on the same texts. Prints one JSON line.

    python benchmarks/recipe.py --quick                  the demo
    python benchmarks/recipe.py recipes/scifact.yaml     needs DISTILL_DATA, or the hub
"""

import json
import subprocess
import sys
from pathlib import Path

import click

from distill.files.atomic import read_json
from distill.recipe import load_recipe


@click.command()
@click.argument("recipe", default="recipes/demo.yaml", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="A small share of the recipe: under five minutes.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Continue this run.")
def main(recipe: Path, quick: bool, folder: Path | None) -> None:
    sets = []
    if quick and recipe.stem != "demo":
        raise click.UsageError("--quick is for the demo: other recipes evaluate on whole tasks")
    if quick:
        small = (
            "generate.passages=40",
            "train.align.passages=600",
            "train.align.sentences=1200",
        )
        sets = [word for item in (*small, "corpus.limit=800") for word in ("--set", item)]
    name = load_recipe(recipe).name
    folder = folder or Path("artifacts") / f"benchmark-{name}{'-quick' if quick else ''}"
    command = [sys.executable, "-m", "distill.cli", "run", str(recipe), "--run", str(folder)]
    subprocess.run([*command, *sets], check=True, stdout=sys.stderr)
    summary = read_json(folder / "summary.json")
    roles = ("student", "teacher", "base")
    student, teacher, base = (summary["models"][role] for role in roles)
    differences = summary["differences"]
    print(
        json.dumps(
            {
                "name": name,
                "unit": "nDCG@10",
                "ours": student["score"],
                "peer": teacher["score"],
                "ratio": summary["kept"],
                "base": base["score"],
                "student_minus_base": differences["student - base"]["overall"],
                "student_minus_teacher": differences["student - teacher"]["overall"],
                "speed_ratio": round(student["texts_per_second"] / teacher["texts_per_second"], 2),
                "peer_is": "the teacher",
                "quick": quick,
            }
        )
    )


if __name__ == "__main__":
    main()

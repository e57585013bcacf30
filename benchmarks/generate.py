"""Generation by one of our engines against the engine's own call on the same prompts: same model,
one process, the two taking turns. Prints one JSON line with prompts a second of both.

    python benchmarks/generate.py --engine transformers --quick

`--engine vllm` runs in vLLM's environment (`make env-vllm`).
"""

import importlib
import json

import click


@click.command()
@click.option("--engine", type=click.Choice(["transformers", "vllm", "http"]), required=True)
@click.option("--quick", is_flag=True, help="Fewer prompts and rounds.")
@click.option("--smoke", is_flag=True, help="The smallest size: its figures mean nothing.")
def main(engine: str, quick: bool, smoke: bool) -> None:
    compared = importlib.import_module(f"engines.{engine}")
    print(json.dumps(compared.compare(quick, smoke)))


if __name__ == "__main__":
    main()

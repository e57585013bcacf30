"""`distill generate` and `distill estimate` as a user calls them."""

from pathlib import Path

import pytest
from helpers.fake_server import MODEL, make_completion, reply_with_error, serve
from helpers.fresh_process import run_distill

from distill.store.tables import GENERATIONS, read_rows

KEY = "sk-hush5hush5hush5"


@pytest.fixture
def run(recipe_file, tmp_path) -> Path:
    """A run that has its corpus, and a recipe of its own."""
    done = run_distill("corpus", str(recipe_file), "--run", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--dry-run", "--sample", "0"],
        ["estimate", "--sample", "0"],
        ["generate", "--show-prompt", "0"],
    ],
)
def test_dry_run_estimate_and_show_prompt_generate_nothing_and_keep_the_runs_recipe(run, words):
    before = (run / "recipe.yaml").read_bytes()
    done = run_distill(*words, "--run", str(run), "--set", "generate.samples=2")
    assert done.returncode == 0, done.stderr
    assert (run / "recipe.yaml").read_bytes() == before
    assert not (run / "generations").exists()


def test_dry_run_tells_every_stage_and_its_cost(run, recipe_file, tmp_path):
    prices = tmp_path / "prices.yaml"
    model = next(
        line.split()[-1] for line in recipe_file.read_text().splitlines() if "/writer" in line
    )
    prices.write_text(f"currency: EUR\nmodels:\n  {model}: {{input: 2, output: 10}}\n")
    words = ("--dry-run", "--sample", "0", "--prices", str(prices))
    done = run_distill("generate", "--run", str(run), *words, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    for stage in ("generations", "judgements-ql", "student", "evaluation", "EUR"):
        assert stage in done.stdout


def test_prompt_of_a_row_is_shown(run):
    shown = run_distill("generate", "--run", str(run), "--show-prompt", "3").stdout
    assert "completion form" in shown
    assert "Passage:" in shown
    beyond = run_distill("generate", "--run", str(run), "--show-prompt", "1000")
    assert beyond.returncode == 2
    assert "give 0 to 23" in beyond.stderr


def test_prompts_of_a_brainstorm_are_shown_without_a_corpus(tmp_path):
    sets = ("--set", "generate.methods=[brainstorm]", "--set", "generate.brainstorm.calls=1")
    words = ("generate", "--run", str(tmp_path / "run"), *sets, "--show-prompt")
    shown = run_distill(*words, "0")
    assert shown.returncode == 0, shown.stderr
    assert "item_id: brainstorm~short-long~0" in shown.stdout
    assert "chat form" in shown.stdout


def test_key_of_a_server_is_written_nowhere(recipe_file, tmp_path):
    reply = " Find it.\nQuery: how do bees dance"
    llm = f"{{engine: http, model: {MODEL}, prompt_format: completion, concurrency: 4, "
    llm += "base_url: '%s'}"
    with serve(lambda path, body: make_completion(path, [f"{reply} {KEY}"])) as server:
        server.faults.append(reply_with_error(500, f"the key {KEY} is fine, I am not"))
        words = ("generate", str(recipe_file), "--run", str(tmp_path / "run"))
        sets = ("--set", f"llm={llm % server.url}", "--set", "generate.constrain=false")
        done = run_distill(*words, *sets, OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert server.seen[-1].headers["Authorization"] == f"Bearer {KEY}"
        server.rule = lambda body: reply_with_error(401, f"not the right key: {KEY}")
        again = run_distill(
            *words, *sets, "--set", "seed=5", "--overwrite", "stale", OPENAI_API_KEY=KEY
        )
    assert again.returncode == 2
    assert "OPENAI_API_KEY" in again.stderr
    kept = next((tmp_path / "run" / "superseded").glob("generations-*"))
    assert len(list(read_rows(GENERATIONS, kept))) == 24
    for told in (done, again):
        assert KEY not in told.stdout + told.stderr
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("api_key_variable", "${OPENAI_API_KEY}", "write the name alone"),
        ("extra_body", "{key: '${OPENAI_API_KEY}'}", "reads an environment variable"),
    ],
)
def test_recipe_that_would_put_the_key_into_the_run_is_refused(tmp_path, key, value, said):
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\nllm: {{model: m, {key}: {value!r}}}\n".replace('"', ""))
    done = run_distill("generate", str(file), "--run", str(tmp_path / "run"), OPENAI_API_KEY=KEY)
    assert done.returncode == 2
    assert said in done.stderr
    assert KEY not in done.stderr
    assert not (tmp_path / "run").exists()

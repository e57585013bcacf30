"""The parts of `distill init`: settings that it chooses, and its command beside a fake server."""

from click.testing import CliRunner

from distill.cli import cli
from distill.start.available import Available
from distill.start.choose import choose_settings

SMALL = "wheel:minilm==1/m#sha256=0"
LAPTOP = Available(cores=4, memory=2**34, gpu=None, small_embedder=SMALL)


def choose_settings_for(corpus, available):
    return {s.key: s.value for s in choose_settings("mine", corpus, available)}


def run_init(folder, server, monkeypatch, *models):
    """The output and the recipe of `distill init`, beside a server of these models."""
    server.models = list(models)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    done = CliRunner().invoke(cli, ["init", str(folder), "--out", "it.yaml"])
    assert done.exit_code == 0, done.output
    return done.output, (folder.parent / "it.yaml").read_text()

"""The models of a first recipe: what a server, the cache, the hub and the machine offer."""

import time
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from helpers.fake_server import MODEL, Handler, reply_with_error, serve
from helpers.first_recipes import LAPTOP, SMALL, choose_settings_for, run_init
from helpers.ray_work import PATIENCE
from helpers.tiny_models import TEXTS

from distill.cli import cli
from distill.start.available import _NAMED, Available, CachedModel, ServedName, find_available
from distill.start.guess import describe_guess, guess_run
from distill.start.survey import survey_corpus

pytestmark = pytest.mark.usefixtures("alone")


def test_server_named_by_the_environment_is_used(notes, monkeypatch):
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for number in range(200):
            (notes / f"{number}.txt").write_text(f"Note {number}. {TEXTS[number % 12]}")
        done = CliRunner().invoke(cli, ["init", str(notes), "--out", "it.yaml"])
    values = yaml.safe_load((notes.parent / "it.yaml").read_text())
    assert values["evaluate"]["tasks"] == ["judged"]
    assert values["retriever"]["bm25"] == {"language": "english"}
    assert "distill judge artifacts/my-notes" in done.output
    assert values["llm"] == {"engine": "http", "base_url": server.url, "model": MODEL}


class SlowHandler(Handler):
    def do_GET(self):
        time.sleep(1)
        super().do_GET()


def test_server_named_by_the_environment_may_be_slow(monkeypatch):
    assert _NAMED > 5
    monkeypatch.setattr("distill.start.available._NAMED", PATIENCE)  # on a busy machine
    with serve() as server:
        server.RequestHandlerClass = SlowHandler
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert [one.model for one in find_available("en").served] == [MODEL]


@pytest.mark.bad_input("init", "a server in the environment that does not answer", "named, no key")
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("gpu:8000/v1", "is no address of a server"),
        ("http://127.0.0.1:9/v1", "no server answers there"),
        ("http://me:hidden@gpu/v1", "holds a user or password"),
    ],
)
def test_server_that_does_not_answer_is_named(monkeypatch, caplog, address, why):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert find_available("en").served == []
    assert "OPENAI_BASE_URL: no model there is used: " + why in caplog.text
    assert "hidden" not in caplog.text


def embeds(path, body):
    """Three numbers for each text; only embedding models embed."""
    assert path == "/v1/embeddings"
    data = [{"index": i, "embedding": [1.0, i, 0.5]} for i, _ in enumerate(body["input"])]
    return {"object": "list", "model": body["model"], "data": data}


def test_served_embedding_model_is_the_teacher_and_the_retriever(notes, monkeypatch):
    for number in range(300):
        (notes / f"{number}.txt").write_text(f"Note {number}. {TEXTS[number % 12]}")
    with serve(embeds) as server:
        models = ("bge-reranker-v2-m3", "Qwen2.5-7B-Instruct", "bge-m3")
        output, text = run_init(notes, server, monkeypatch, *models)
        assert [seen.body["model"] for seen in server.seen] == ["bge-m3"]
    values = yaml.safe_load(text)
    assert values["llm"]["model"] == "Qwen2.5-7B-Instruct"
    for section in ("teacher", "retriever"):
        assert (values[section]["model"], values[section]["base_url"]) == ("bge-m3", server.url)
    assert "retriever" in values["relabel"]["rankers"]
    assert values["train"]["objective"] == {"infonce": 1.0}
    assert "align" not in values["train"]
    assert "3 numbers a text" in text
    assert "vectors of another family of models did harm" in text
    assert "an embedding model served (OPENAI_BASE_URL)" in output
    assert "depend on the server" in output
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    assert sum(": " in line for line in lines) < 25


def test_served_embedding_model_without_an_llm_is_learnt_from_by_its_ranking(notes, monkeypatch):
    with serve(embeds) as server:
        _, text = run_init(notes, server, monkeypatch, "nomic-embed-text:latest")
    values = yaml.safe_load(text)
    assert values["generate"]["methods"] == ["sentences", "titles", "keywords"]
    assert values["teacher"]["model"] == values["retriever"]["model"] == "nomic-embed-text:latest"
    assert "route" not in values["student"]
    assert values["relabel"]["rankers"] == ["retriever", "bm25"]
    assert "query_prompt" in text


def test_model_that_embeds_by_its_name_alone_is_no_teacher(notes, monkeypatch):
    """vLLM lists the model of its one task; another task is answered with an error."""
    with serve() as server:
        server.rule = lambda body: reply_with_error(400, "this model does not support embeddings")
        _, text = run_init(notes, server, monkeypatch, "gte-Qwen2-7B-instruct")
    assert "base_url" not in text


@pytest.mark.parametrize(
    ("language", "model", "found"),
    [
        ("en", "all-minilm:l6-v2", True),
        ("de", "all-minilm:l6-v2", False),
        (None, "BAAI/bge-base-en-v1.5", False),
        ("de", "paraphrase-multilingual-MiniLM-L12-v2", True),
        ("zh", "bge-m3", True),
        ("en", "bge-reranker-v2-m3", False),
    ],
)
def test_served_embedding_model_knows_the_texts_language(monkeypatch, language, model, found):
    with serve(embeds) as server:
        server.models = [model]
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert (find_available(language).served_embedder is not None) is found


@pytest.mark.parametrize("served", [[], [ServedName("SmolLM2-135M", "http://x/v1", "vLLM")]])
def test_queries_come_from_the_texts_without_an_llm_of_a_billion_parameters(surveyed, served):
    available = replace(LAPTOP, served=served)
    chosen = choose_settings_for(surveyed, available)
    assert chosen["generate.methods"] == ["sentences", "titles", "keywords"]
    assert chosen["student.route"] == "query"
    assert chosen["retriever.bm25"]["language"] == "english"
    assert not any(key.startswith("llm.") for key in chosen)


def test_verdicts_are_asked_of_a_server_that_may_give_no_log_probabilities(surveyed):
    served = ServedName("llama3.1:8b", "http://localhost:11434/v1", "Ollama")
    available = replace(LAPTOP, served=[served])
    assert choose_settings_for(surveyed, available)["relabel.rankers"] == ["rc", "retriever"]


def test_large_llm_behind_a_server_judges_by_the_defaults(surveyed):
    served = ServedName("Qwen2.5-7B-Instruct", "http://localhost:8000/v1", "vLLM")
    available = replace(LAPTOP, served=[served])
    chosen = choose_settings_for(surveyed, available)
    assert "relabel.rankers" not in chosen
    guess = guess_run(chosen, surveyed, available)
    assert guess.seconds is None
    assert "depend on the server" in describe_guess(guess)


def test_llm_on_a_cpu_judges_fewer_queries(large):
    llm = CachedModel("Qwen/Qwen2.5-1.5B-Instruct", 3 * 10**9)
    chosen = choose_settings_for(large, replace(LAPTOP, llms=[llm]))
    assert chosen["evaluate.judged"]["queries"] < 100


def test_cached_models_are_taken_where_they_fit(surveyed):
    llm = CachedModel("Qwen/Qwen2.5-1.5B-Instruct", 3 * 10**9)
    large = CachedModel("org/large-embedder", 10**10)
    fitting = CachedModel("org/small-embedder", 10**8)
    available = Available(
        cores=4,
        memory=2**34,
        gpu=None,
        llms=[llm],
        embedders=[large, fitting],
        small_embedder=SMALL,
    )
    chosen = choose_settings_for(surveyed, available)
    assert chosen["llm.model"] == llm.repo
    assert chosen["teacher.model"] == fitting.repo


def test_gpu_and_the_hub_give_larger_models(surveyed):
    available = Available(
        cores=16, memory=2**36, gpu="H100", gpu_memory=80 * 2**30, hub=True, small_embedder=SMALL
    )
    chosen = choose_settings_for(surveyed, available)
    assert chosen["llm.model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert chosen["teacher.model"] == "BAAI/bge-large-en-v1.5"
    assert chosen["train.dtype"] == "auto"
    assert "train.dtype" not in choose_settings_for(surveyed, LAPTOP)


@pytest.mark.parametrize(
    ("model", "server", "is_told"),
    [
        ("Qwen/Qwen3-8B", "vLLM", True),
        ("Qwen2.5-7B-Instruct", "vLLM", False),
        ("qwen3:8b", "Ollama", False),
    ],
)
def test_served_model_that_thinks_is_told_not_to(surveyed, model, server, is_told):
    served = ServedName(model, "http://localhost:8000/v1", server)
    chosen = choose_settings_for(surveyed, replace(LAPTOP, served=[served]))
    assert chosen["llm.model"] == model
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert chosen.get("llm.extra_body") == (off if is_told else None)


def test_texts_of_another_language_get_a_multilingual_teacher(tmp_path):
    text = "Der Gletscher ist ein langsamer Fluss aus Eis, der Täler in den Fels schneidet. "
    (tmp_path / "de").mkdir()
    for number in range(3):
        (tmp_path / "de" / f"{number}.txt").write_text(f"{text} Nummer {number}.")
    corpus = survey_corpus(tmp_path / "de", 256)
    assert corpus.language == "de"
    available = replace(LAPTOP, hub=True)
    chosen = choose_settings_for(corpus, available)
    assert "multilingual" in chosen["teacher.model"]
    assert chosen["corpus.tokenizer"] == chosen["student.encoder"]
    machine = replace(available, gpu="H100", gpu_memory=80 * 2**30)
    assert choose_settings_for(corpus, machine)["generate.languages"] == ["de"]

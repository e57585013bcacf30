"""Recipes that are wrong: refused as they are read, with the row and the key."""

import pytest

from distill.errors import UserError
from distill.recipe import load_recipe, override


def wrong(kind, text, says, name=None):
    mark = pytest.mark.bad_input(kind, f"`{name or text}`", f"refused: {says}")
    return pytest.param(text, says, id=name or text, marks=mark)


NUMBER = "number in a recipe"
SHAPE = "shape of a recipe"
TEMPLATE = "template in a recipe"
DEVICE = "device"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        wrong(NUMBER, "relabel: {weights: {ql: .inf}}", "no finite number"),
        wrong(NUMBER, "generate: {temperature: .nan}", "no finite number"),
        wrong(NUMBER, "generate: {temperature: 'nan'}", "finite number, not 'nan'"),
        wrong(NUMBER, "train: {learning_rate: '1e999'}", "finite number"),
        wrong(NUMBER, "train: {learning_rate: 1000}", "less than or equal to 10"),
        wrong(NUMBER, "train: {epochs: -1}", "greater than 0"),
        wrong(NUMBER, "train: {epochs: 1.0e+300}", "less than or equal"),
        wrong(NUMBER, "llm: {timeout: 1.0e+300}", "less than or equal"),
        wrong(NUMBER, "generate: {passages: true}", "true or false stands where a number"),
        wrong(NUMBER, "train: {widths: [64, true]}", "true or false stands where a number"),
        wrong(NUMBER, "relabel: {weights: {ql: true}}", "true or false stands where a number"),
        wrong(NUMBER, "relabel: {min_relevance: false}", "true or false stands where a number"),
        wrong(NUMBER, "train: {stages: [{name: a, epochs: true}]}", "stages, a: epochs: true or"),
        wrong(NUMBER, "generate: {passages: 0}", "greater than 0"),
        wrong(NUMBER, "generate: {passages: 1.5}", "valid integer"),
        wrong(NUMBER, "generate: {passages: '²'}", "valid integer"),
        wrong(NUMBER, "retriever: {index_rows: -1}", "greater than 0"),
        wrong(NUMBER, "retriever: {index_rows: '1" + "0" * 30 + "'}", "beyond 64 bits", "10^30"),
        wrong(NUMBER, "train: {batch_size: 1000000000}", "less than or equal to 1000000"),
        wrong(NUMBER, "student: {dimensions: 1000000000}", "less than or equal to 65536"),
        wrong(NUMBER, "relabel: {top_k: 1000000000}", "less than or equal to 100000"),
        wrong(NUMBER, "llm: {concurrency: 1000000}", "less than or equal to 10000"),
        wrong(
            SHAPE,
            "corpus: {source: jsonl, path: x, held_out: 0.1}\n"
            "evaluate: {tasks: [judged], judged: {source: log}}",
            "set generate.log.path",
            "evaluate: {judged: {source: log}} without a log",
        ),
        wrong(SHAPE, "student: {document_prompt: 5}", "a text is expected; quote it"),
        wrong(NUMBER, "retriever: {index: 'IVF0,Flat'}", "a part of size 0"),
        wrong(NUMBER, "retriever: {index: HNSW00}", "a part of size 0"),
        wrong(
            SHAPE,
            "retriever: {bm25: {language: klingon}}",
            "no stemmer for 'klingon': leave it null",
        ),
        wrong(SHAPE, "llm: {model: ''}", "at least 1 character"),
        wrong(SHAPE, "teacher: {model: ''}", "at least 1 character"),
        wrong(NUMBER, "seed: -1", "greater than or equal to 0"),
        wrong(NUMBER, "seed: 4294967296", "less than 4294967296"),
        wrong(NUMBER, "ablation: {seeds: [-1]}", "ablation.seeds.0"),
        wrong(NUMBER, "evaluate: {widths: [0]}", "evaluate.widths.0"),
        wrong(NUMBER, "student: {layers: [-1]}", "student.layers.0"),
        wrong(NUMBER, "relabel: {weights: {ql: 0, rc: 0}}", "every ranker weighs 0"),
        wrong(SHAPE, "train: {widths: []}", "at least 1 item"),
        wrong(SHAPE, "generate: {task_types: []}", "at least 1 item"),
        wrong(SHAPE, "corpus: {packages: []}", "at least 1 item"),
        wrong(SHAPE, "generate: {lengths: ['']}", "at least 1 character"),
        wrong(SHAPE, "relabel: null", "relabel"),
        wrong(SHAPE, "relabel: [1]", "relabel"),
        wrong(SHAPE, "ablation: {arms: {a: 5}}", "ablation.arms.a"),
        wrong(SHAPE, "generate: {languages: [en, no]}", "row 2.*reads no as false.*quote it: 'no'"),
        wrong(SHAPE, "generate: {languages: [en, off]}", "quote it: 'off'"),
        wrong(SHAPE, "corpus: {split: 2024-01-01}", "as a date.*quote it: '2024-01-01'"),
        wrong(SHAPE, "corpus: {path: 5}", "as a number.*quote it: '5'"),
        wrong(SHAPE, "student: {lora: {rnak: 3}}", "nearest known one is 'student.lora.rank'"),
        wrong(SHAPE, "corpus: {text: body}", "nearest known one is 'corpus.text_column'"),
        wrong(SHAPE, "xyzzy: 3", "unknown key 'xyzzy'(?!;)"),
        wrong(
            SHAPE,
            "generate: {labelled: [{path: a, task: b, labelcolumn: c}]}",
            "'generate.labelled.label_column'",
        ),
        wrong(SHAPE, "\n".join(f"k{i}: 1" for i in range(2000)), "and 1992 more", "2,000 keys"),
        wrong(SHAPE, "corpus: {path: 'ftp://b/docs.jsonl'}", "is an address"),
        wrong(SHAPE, "corpus: {path: 's3://me:sesame@bucket/docs'}", "without credentials"),
        wrong(SHAPE, "store: artifacts/mine", "write s3://BUCKET/PREFIX"),
        wrong(SHAPE, "store: s3://bucket", "is a whole bucket"),
        wrong(SHAPE, "store: s3://bucket/../mine", "an empty part, [.] or [.][.]"),
        wrong(SHAPE, "evaluate: {task_data: 'https://x.org/y'}", "is an address"),
        wrong(SHAPE, "corpus: {dataset: ''}", "at least 1 character"),
        wrong(SHAPE, "name: My Run", "stands in row 1 already"),
        wrong(DEVICE, "llm: {device: toaster}", "'toaster' is no device"),
        wrong(DEVICE, "train: {device: 'cuda:x'}", "'cuda:x' is no device"),
        wrong(DEVICE, "retriever: {device: ''}", "is no device"),
        wrong(TEMPLATE, "retriever: {query_template: '{query.__class__}'}", "is not known; known:"),
        wrong(TEMPLATE, "retriever: {query_template: '{foo} {query}'}", "{foo} is not known"),
        wrong(TEMPLATE, "retriever: {query_template: '{task'}", "a brace is not closed"),
        wrong(TEMPLATE, "retriever: {query_template: '{task}'}", "must hold {query}"),
        wrong(TEMPLATE, "student: {query_template: '{foo}{query}'}", "{foo} is not known"),
        wrong(TEMPLATE, "student: {query_template: '{query}{query}'}", "once, at its end"),
        wrong(TEMPLATE, "teacher: {instruction_template: '{x} {query}'}", "{x} is not known"),
    ],
)
def test_recipe_that_is_refused(tmp_path, text, says):
    file = tmp_path / "r.yaml"
    file.write_text(f"name: mine\n{text}")
    with pytest.raises(UserError, match=says.replace("{", r"\{")) as fault:
        load_recipe(file)
    assert "r.yaml" in fault.value.where


@pytest.mark.bad_input(SHAPE, "a file of questions in the place of a recipe", "refused as such")
def test_file_of_questions_is_no_recipe(tmp_path):
    (tmp_path / "squad.json").write_text('{"version": "1.1", "data": []}')
    with pytest.raises(UserError, match="holds no key of a recipe, but 'version', 'data'") as fault:
        load_recipe(tmp_path / "squad.json")
    assert "evaluate.tasks" in fault.value.remedy


@pytest.mark.bad_input(SHAPE, "a path that is an address with a password", "not repeated")
def test_address_in_the_place_of_a_path_is_not_repeated(tmp_path):
    address = "https://me:hunter2@example.org/docs.jsonl?sig=hunter2"
    (tmp_path / "r.yaml").write_text(f"name: mine\ncorpus: {{path: '{address}'}}")
    with pytest.raises(UserError, match=r"row 2.*is an address") as written:
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(UserError, match="is an address") as given:
        load_recipe(None, ["name=mine", f"corpus.path={address}"])
    assert "hunter2" not in f"{written.value} {given.value}"
    assert given.value.where == "--set corpus.path=https://..."


@pytest.mark.parametrize(
    ("item", "says"),
    [
        wrong("--set", "seed", "not of the form a.b=value"),
        wrong("--set", "=1", "not of the form a.b=value"),
        wrong("--set", "relabel..top_k=1", "not of the form a.b=value"),
        wrong("--set", "seed=true", "true or false"),
        wrong("--set", "relabel.top_k=.nan", "no finite number"),
        wrong("--set", "relabel.top_k=[", "is not YAML"),
        wrong("--set", "relabel.top_k=!!int x", "'x' is no int"),
        wrong("--set", "name.x=1", "'name' is not a section"),
        wrong("--set", "generate.languages=[no]", "quote it: 'no'"),
        wrong("--set", "teacher.query_prompt=query: ", "as a mapping, .* put it in quotes"),
        wrong("--set", "teacher.query_prompt=[query]", "as a list, .* put it in quotes"),
        wrong("--set", "corpus.path=" + "[" * 1000, "deeper than", "1,000 brackets"),
        wrong("--set", "corpus.path=\udcff", "special characters", "a byte that is no UTF-8"),
        wrong("--set", "\udcff=1", "half a surrogate", "a key that is no UTF-8"),
    ],
)
def test_setting_that_is_refused_is_named(item, says):
    with pytest.raises(UserError, match=says) as fault:
        load_recipe(None, ["name=mine", item])
    assert "--set" in fault.value.where


def test_row_of_the_only_fault_is_part_of_its_place(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\nrelabel:\n  top_k: many\n")
    with pytest.raises(UserError) as fault:
        load_recipe(file)
    assert fault.value.where == f"{file}, row 3"


def test_faults_are_reported_at_once_with_their_rows(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\nrelabel:\n  top_k: many\ntrain: {epochs: 0}\n")
    with pytest.raises(UserError, match=r"row 3: relabel\.top_k.*row 4: train\.epochs"):
        load_recipe(file)


def test_fault_in_a_value_of_set_is_not_looked_for_in_the_file(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\nseed: 5\n")
    with pytest.raises(UserError) as fault:
        load_recipe(file, ["seed=-1"])
    assert fault.value.where == "--set seed=-1"


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("trian.epochs=1", "unknown key 'trian'"),
        ("train.kl.scores=ql", "ql"),
        ("train.objective={corpus_softmax: 1}", "no ranker gives such scores"),
    ],
)
def test_setting_that_spoils_a_valid_file_is_named_in_its_place(tmp_path, item, says):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\ntrain: {objective: {kl: 1.0}}\n")
    with pytest.raises(UserError, match=says) as fault:
        load_recipe(file, [item])
    assert fault.value.where == f"--set {item}"
    assert "the file" not in fault.value.what


@pytest.mark.bad_input("recipe", "one of several `--set` that is wrong", "it alone is named")
@pytest.mark.parametrize("file", ["r.yaml", None])
@pytest.mark.parametrize(
    ("wrong", "others"),
    [
        (["evaluate.tasks=[judged]"], ["seed=4", "relabel.top_k=9"]),
        (["relabel.first_round=seed"], ["seed=4", "relabel.rounds=1"]),
        (
            ["train.objective={kl: 1.0}", "train.kl={scores: rc}", "relabel.rankers=[ql]"],
            ["seed=4", "relabel.top_k=9"],
        ),
        (["seed=-1", "relabel.top_k=0"], ["train.epochs=2"]),  # two faults, each named
    ],
)
def test_settings_that_bring_a_fault_are_named_without_the_others(tmp_path, file, wrong, others):
    place = tmp_path / file if file else None
    if place is not None:
        place.write_text("name: mine\n")
    sets = ["name=mine", *others[:1], *wrong, *others[1:]]
    with pytest.raises(UserError) as refusal:
        load_recipe(place, sets)
    said = str(refusal.value)
    assert all(f"--set {item}" in said for item in wrong), said
    assert not any(f"--set {item}" in said for item in [*others, "name=mine"]), said


def test_fault_of_the_file_is_not_blamed_on_settings(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\ntrian: {epochs: 2}\n")
    with pytest.raises(UserError, match="unknown key 'trian'") as fault:
        load_recipe(file, ["seed=5", "trian.epochs=1"])
    assert fault.value.where == f"{file}, row 2"


@pytest.mark.bad_input(
    "environment", "a path in a variable that is no UTF-8", "refused: half a surrogate pair"
)
def test_variable_that_no_text_can_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/a\udcff")
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\ncorpus: {path: '${PLACE}'}")
    with pytest.raises(UserError, match=r"corpus\.path is a text with half a surrogate"):
        load_recipe(file)


@pytest.mark.bad_input("ablation", "a key within one that is no section: seed.x", "refused by name")
def test_arm_that_goes_into_a_number():
    with pytest.raises(UserError, match="'seed' is not a section"):
        override(load_recipe(None, ["name=mine"]), {"seed.x": 1})


def test_numbers_as_texts_are_numbers_still(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNT", "7")
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\ngenerate: {passages: '${COUNT}'}\ntrain: {learning_rate: 2e-4}")
    recipe = load_recipe(file)
    assert recipe.generate.passages == 7
    assert recipe.train.learning_rate == 2e-4

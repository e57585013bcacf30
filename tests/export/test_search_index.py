"""A folder that searches a run's passages without distill: its README's own lines give what
`distill search --hybrid` gives."""

import json
import re
import shutil
import unicodedata

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner
from helpers.label_rows import OF_TEXTS
from helpers.plain_process import run_plainly
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from distill.cli.export_search import export as command
from distill.errors import UserError
from distill.export.search_index import export_index
from distill.files.atomic import read_json, write_json
from distill.inspect.search import search_run
from distill.retrieve.terms import make_term_splitter

QUERIES = ["why do bees dance", "a slow river of ice", "Copper wires, and the MOON", "zebra", "…"]
TEXTS = [
    "Straße FLIEẞT; ﬁne naïve cafe\u0301 x_1 3.5",
    "東京タワーは高い。 北京大学",
    "ภาษาไทย ไม่มีช่องว่าง ភាសាខ្មែរ",
    "می\u200cخواهم ـتطويلـ a\u200bb soft\u00adhyphen ＦＵＬＬ",
    "it's the bees' dancing, running and dances",
    "",
]


def read_lines(folder) -> str:
    """The first block of Python in the folder's README."""
    return re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]


def search_without_distill(folder, queries, k=10, missing=("distill",)):
    """Run the README's lines in a process that cannot import distill."""
    script = (
        f"import sys; sys.modules |= dict.fromkeys({missing!r}); sys.path.insert(0, '.')\n"
        f"{read_lines(folder)}\n"
        f"print('found', json.dumps([search(query, {k}) for query in {queries!r}]))"
    )
    out = run_plainly(script, folder)
    return json.loads(out.partition("found ")[2])


def search_with_distill(run, queries, k=10):
    found = [search_run(run, query, k, hybrid=True).hits["student + bm25"] for query in queries]
    return [[[hit.passage["passage_id"], hit.similarity] for hit in hits] for hits in found]


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "index"
    export_index(str(run_folder), folder)
    return folder


def test_readmes_lines_find_what_search_finds(exported, run_folder):
    found = search_without_distill(exported, QUERIES)
    expected = search_with_distill(run_folder, QUERIES)
    for ours, theirs in zip(found, expected, strict=True):
        assert [id_ for id_, _ in ours] == [id_ for id_, _ in theirs]
        assert [of for _, of in ours] == pytest.approx([of for _, of in theirs], abs=1e-5)


def test_readmes_lines_are_ten_beside_the_imports(exported):
    lines = [line for line in read_lines(exported).splitlines() if line.strip()]
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert len(lines) - len(imports) == 10
    assert not any("distill" in line for line in imports)


def test_index_with_stems_and_half_the_digits(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    recipe = yaml.safe_load((run_folder / "recipe.yaml").read_text())
    recipe["retriever"] = {"bm25": {"language": "english", "k1": 0.9}}
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    folder = tmp_path / "index"
    export_index(str(tmp_path / "run"), folder, "float16")
    assert np.load(folder / "vectors.npy").dtype == np.float16
    assert "PyStemmer" in (folder / "README.md").read_text()
    queries = ["the dancing of bees", "conducting rivers"]
    found = search_without_distill(folder, queries)
    expected = search_with_distill(tmp_path / "run", queries)
    assert [of[0][0] for of in found] == [of[0][0] for of in expected]
    assert [sorted(id_ for id_, _ in of) for of in found] == [sorted(OF_TEXTS)] * 2


def make_static(run_folder, encoder_folder, out, **prompts):
    """The run with a student of token vectors."""
    shutil.copytree(run_folder, out, ignore=lambda _, names: {"model.safetensors"} & {*names})
    torch.manual_seed(3)
    tokenizer = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    modules = [StaticEmbedding(tokenizer, embedding_dim=16), Normalize()]
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(out / "student"), create_model_card=False)
    return out


def test_token_vectors_are_searched_without_sentence_transformers_and_torch(
    run_folder, encoder_folder, tmp_path
):
    run = make_static(run_folder, encoder_folder, tmp_path / "run")
    export_index(str(run), tmp_path / "index")
    absent = ("distill", "torch", "sentence_transformers", "transformers")
    found = search_without_distill(tmp_path / "index", QUERIES, missing=absent)
    for ours, theirs in zip(found, search_with_distill(run, QUERIES), strict=True):
        assert [id_ for id_, _ in ours] == [id_ for id_, _ in theirs]
        assert [of for _, of in ours] == pytest.approx([of for _, of in theirs], abs=1e-5)
    readme = (tmp_path / "index" / "README.md").read_text()
    assert "pip install tokenizers safetensors scipy" in readme
    assert "| `encode.py` |" in readme
    test_readmes_lines_are_ten_beside_the_imports(tmp_path / "index")


def test_token_vectors_behind_a_prompt_are_searched_by_sentence_transformers(
    run_folder, encoder_folder, tmp_path
):
    run = make_static(run_folder, encoder_folder, tmp_path / "run", query="find: ", document="")
    export_index(str(run), tmp_path / "index")
    assert "encode_query(query, normalize_embeddings=True)" in read_lines(tmp_path / "index")
    assert not (tmp_path / "index" / "encode.py").exists()


@pytest.mark.parametrize("language", [None, "english", "arabic"])
def test_terms_are_split_without_distill_as_with_it(exported, tmp_path, language):
    from distill.retrieve.terms import describe_terms

    shutil.copy(exported / "terms.py", tmp_path / "terms.py")
    write_json(tmp_path / "terms.json", describe_terms(language))
    write_json(tmp_path / "texts.json", TEXTS)
    script = (
        "import sys, json; sys.modules['distill'] = None; sys.path.insert(0, '.')\n"
        "from terms import split_terms\n"
        "texts = json.load(open('texts.json', encoding='utf-8'))\n"
        "print(json.dumps([split_terms(text) for text in texts]))"
    )
    own = make_term_splitter(language)
    assert json.loads(run_plainly(script, tmp_path)) == [own(text) for text in TEXTS]
    assert any(unicodedata.category(letter) == "Cf" for text in TEXTS for letter in text)


def test_folder_holds_the_passages_and_no_pickle(exported):
    ids = read_json(exported / "ids.json")
    rows = pq.read_table(exported / "passages.parquet").to_pylist()
    assert {row["passage_id"]: row["text"] for row in rows} == OF_TEXTS
    assert [row["passage_id"] for row in rows] == ids
    vectors = np.load(exported / "vectors.npy", allow_pickle=False)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with np.load(exported / "bm25.npz", allow_pickle=False) as matrix:
        assert matrix["data"].dtype == np.float32
    assert read_json(exported / "fusion.json")["weights"] == {"dense": 0.6, "bm25": 0.4}
    assert read_json(exported / "terms.json")["k1"] == 1.5


@pytest.mark.bad_input("export", "an index of a model that is no run", "refused")
def test_index_wants_a_run(model_folder, tmp_path):
    with pytest.raises(UserError, match="an index holds the passages of a run"):
        export_index(str(model_folder), tmp_path / "out")


@pytest.mark.bad_input("export", "an index of a run without passages", "refused")
def test_index_wants_passages(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("passages"))
    with pytest.raises(UserError, match="has no passages to search"):
        export_index(str(tmp_path / "run"), tmp_path / "out")


@pytest.mark.bad_input("export", "an index whose corpus changed since training", "refused")
def test_index_of_a_corpus_that_changed_wants_force(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "passages" / ".stage" / "manifest.json"
    write_json(path, read_json(path) | {"fingerprint": "0123456789abcdef"})
    with pytest.raises(UserError, match="the corpus has changed since"):
        export_index(str(tmp_path / "run"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_index(str(tmp_path / "run"), tmp_path / "out", force=True)
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.bad_input("command line", "an index together with formats or a push", "refused")
@pytest.mark.parametrize("words", [["--format", "onnx"], ["--push", "me/bees"], ["--task", "mine"]])
def test_index_goes_with_no_option_of_a_models_export(run_folder, tmp_path, words):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        command, [str(run_folder), "--out", str(out), "--index", "float32", *words]
    )
    assert isinstance(done.exception, UserError)
    assert words[0] in str(done.exception)
    assert not out.exists()


def test_command_lists_what_it_wrote(run_folder, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(command, [str(run_folder), "--out", str(out), "--index", "float16"])
    assert done.exit_code == 0, done.output
    for name in ("README.md", "bm25.npz", "query_encoder", "vectors.npy"):
        assert str(out / name) in done.output

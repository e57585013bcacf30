"""`distill export` as typed: what it prints, how it ends, and that nothing leaves the machine."""

import shutil

import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi

from distill.cli.export_search import export as command
from distill.errors import UserError
from distill.export import hub
from distill.files.atomic import read_json, write_json


@pytest.fixture
def uploads(monkeypatch):
    """What would have gone to the hub."""
    found = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, *a, **k: found.append((a, k)))
    monkeypatch.setattr(
        HfApi, "upload_folder", lambda self, **k: found.append(k) or "https://hub/c1"
    )
    return found


def run(*words: str):
    return CliRunner().invoke(command, [*words, "--format", "sentence-transformers"])


def test_export_is_not_pushed_unless_asked(model_folder, tmp_path, uploads):
    done = run(str(model_folder), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "model.safetensors: sentence-transformers" in done.output
    assert "lowest 1.00000" in done.output
    assert uploads == []


@pytest.fixture
def worse_run(tmp_path, run_folder):
    """A run whose evaluation found the student worse than its base."""
    folder = tmp_path / "worse"
    shutil.copytree(run_folder, folder)
    path = folder / "evaluation" / "summary.json"
    gap = {"difference": -0.05, "low": -0.08, "high": -0.02, "items": 50}
    differences = {"student - base": {"overall": gap, "tasks": {}}}
    write_json(path, read_json(path) | {"differences": differences})
    return folder


@pytest.mark.bad_input("export", "a student that is worse than its base", "refused without --force")
def test_student_worse_than_its_base_wants_force(worse_run, tmp_path, uploads):
    out = tmp_path / "out"
    done = run(str(worse_run), "--out", str(out))
    assert isinstance(done.exception, UserError)
    assert "worse than its base model (-0.0500" in str(done.exception)
    assert "--force" in done.exception.remedy
    assert not out.exists()
    assert run(str(worse_run), "--out", str(out), "--force").exit_code == 0
    assert (out / "model.safetensors").is_file()


def test_summary_of_an_older_format_stops_no_export(worse_run, tmp_path):
    path = worse_run / "evaluation" / "summary.json"
    write_json(path, read_json(path) | {"schema": 1})
    done = run(str(worse_run), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.bad_input("hub", "a push without a token", "refused before any work")
def test_push_without_a_token_ends_before_any_work(model_folder, tmp_path, uploads, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    done = run(str(model_folder), "--out", str(tmp_path / "out"), "--push", "me/bees")
    assert isinstance(done.exception, UserError)
    assert "no token" in str(done.exception)
    assert not (tmp_path / "out").exists()
    assert uploads == []


def test_push_uploads_the_folder_under_its_name(model_folder, tmp_path, uploads, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: "hf_secret")
    out = tmp_path / "out"
    done = run(str(model_folder), "--out", str(out), "--push", "me/bees")
    assert done.exit_code == 0, done.output
    assert "hf_secret" not in done.output
    made, sent = uploads
    assert made == (("me/bees",), {"private": True, "exist_ok": True})
    assert sent == {"repo_id": "me/bees", "folder_path": out}
    assert 'SentenceTransformer("me/bees")' in (out / "README.md").read_text()


@pytest.mark.bad_input("hub", "a hub that refuses", "refused, no secret shown")
def test_refusal_of_the_hub_is_reported_without_its_own_words(tmp_path, monkeypatch):
    def refuse(self, *words, **options):
        raise OSError("Authorization: Bearer hf_secret")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match="could not be uploaded") as told:
        hub.push(tmp_path, "me/bees")
    assert "hf_secret" not in str(told.value)


def test_name_that_is_no_hub_id_is_refused(model_folder, tmp_path):
    done = run(str(model_folder), "--out", str(tmp_path / "out"), "--push", "bees")
    assert "is no hub id" in str(done.exception)

"""`distill export` as typed: what it prints, how it ends, and that nothing leaves the machine."""

import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi

from distill.cli.export_search import export as command
from distill.errors import UserError
from distill.export import hub


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


def test_nothing_is_pushed_unless_asked(model_folder, tmp_path, uploads):
    done = run(str(model_folder), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "model.safetensors: sentence-transformers" in done.output
    assert "lowest 1.00000" in done.output
    assert uploads == []


@pytest.mark.bad_input("hub", "a push without a token", "refused before any work")
def test_a_push_without_a_token_ends_before_any_work(model_folder, tmp_path, uploads, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    done = run(str(model_folder), "--out", str(tmp_path / "out"), "--push", "me/bees")
    assert isinstance(done.exception, UserError)
    assert "no token" in str(done.exception)
    assert not (tmp_path / "out").exists()
    assert uploads == []


def test_a_push_uploads_the_folder_under_its_name(model_folder, tmp_path, uploads, monkeypatch):
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
def test_a_hub_that_refuses_is_told_without_its_own_words(tmp_path, monkeypatch):
    def refuse(self, *words, **options):
        raise OSError("Authorization: Bearer hf_secret")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match="could not be uploaded") as told:
        hub.push(tmp_path, "me/bees")
    assert "hf_secret" not in str(told.value)


def test_a_name_that_is_no_hub_id_is_refused(model_folder, tmp_path):
    done = run(str(model_folder), "--out", str(tmp_path / "out"), "--push", "bees")
    assert "is no hub id" in str(done.exception)

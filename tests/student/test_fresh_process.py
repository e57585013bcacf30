"""Every kind of student, saved, has the same vectors in a process that knows nothing of distill."""

import numpy as np
from helpers.student_bases import encode_elsewhere, make_base
from helpers.tiny_architectures import DECODERS, make_tiny_decoder, make_tiny_modernbert
from helpers.tiny_models import TEXTS, make_tiny_encoder

from distill.models.sentence_transformer import load_sentence_model
from distill.recipe.sections.student import Lora
from distill.student.lora import add_lora, finish_lora

PROMPT = {"query_template": "Query:\n{query}", "pool_prompt": False}
LATENT = {"pooling": "latent", "latent": {"latents": 6, "heads": 2}}


def test_students_of_all_architectures_load_in_a_fresh_process(tmp_path):
    bert = make_tiny_encoder(tmp_path / "bert")
    modern = make_tiny_modernbert(tmp_path / "modern", "unigram")
    llama = make_tiny_decoder(tmp_path / "llama")
    students = {
        "bert": (bert, {"layers": [0, 2], "dimensions": 8, "pooling": "cls"}),
        "pruned": (modern, {"vocabulary": "corpus"}),
        "last": (llama, {"attention": "causal", "pooling": "last", "vocabulary": "corpus"}),
        "without-prompt": (llama, PROMPT),
        **{family: (make_tiny_decoder(tmp_path / family, family), {}) for family in DECODERS},
        "latent": (llama, LATENT | PROMPT),  # last: it imports distill
    }
    folders = {
        name: make_base(tmp_path / f"run-{name}", encoder, **student).folder
        for name, (encoder, student) in students.items()
    }
    adapted = load_sentence_model(folders["llama"], "cpu")
    lora = Lora(rank=4, save="adapter")
    add_lora(adapted, lora, seed=1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    finish_lora(adapted, lora)
    folders = {"adapter": tmp_path / "adapter", **folders}
    adapted.save_pretrained(str(folders["adapter"]))

    found = encode_elsewhere(folders, TEXTS, tmp_path, trusted=["latent"])
    for name, folder in folders.items():
        here = adapted if name == "adapter" else load_sentence_model(folder, "cpu")
        assert np.allclose(found[name], here.encode_query(TEXTS), atol=1e-5), name
    assert not np.allclose(found["adapter"], found["llama"], atol=1e-2)

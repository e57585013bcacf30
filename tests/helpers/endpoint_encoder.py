"""An encoder behind a fake server."""

import random

import numpy as np

from distill.recipe import Retriever
from distill.retrieve.corpus_index import open_encoder
from helpers.fake_server import MODEL, serve

TEXTS = [f"text number {n} " + "word " * (n % 7) for n in range(40)]


def draw_vector(text: str) -> list[float]:
    draw = random.Random(text)
    return [draw.gauss(0, 3) for _ in range(5)]


def compute_vectors(texts) -> np.ndarray:
    vectors = np.array([draw_vector(text) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reply_plainly(texts):
    return [{"index": i, "embedding": draw_vector(text)} for i, text in enumerate(texts)]


def serve_form(form):
    return serve(lambda path, body: {"data": form(body["input"])})


def open_served_encoder(server, **settings):
    return open_encoder(Retriever(model=MODEL, base_url=server.url, **settings))


def check_vectors(encoder, texts=TEXTS):
    np.testing.assert_allclose(encoder.encode(texts, "document"), compute_vectors(texts), atol=1e-6)

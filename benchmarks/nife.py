"""pyNIFE's static query encoder of a teacher, by its own code and the settings of its own training
script: the teacher's tokenizer with the corpus' words added, a vector for each token that is the
teacher's of that token alone, and training by cosine at several widths, on documents and then on
queries.

`adapt_peers.py --peer pynife` writes the folder and runs this in an environment of pyNIFE's own,
since it knows neither transformers 5 nor sentence-transformers 6:

    python -m venv nife && nife/bin/pip install pynife==0.1.0 skeletoken==0.2.2 \
      sentence-transformers==5.1.2 transformers==4.57.1
    nife/bin/python benchmarks/nife.py FOLDER

Prints one JSON line: the steps, and the seconds of each part.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from pynife.distillation.infer import _tokenize
from pynife.embedding import TrainableStaticEmbedding
from pynife.initialization import initialize_from_model
from pynife.losses import CosineLoss
from pynife.tokenizer.count_vocabulary import count_tokens_in_dataset
from pynife.tokenizer.expand import expand_tokenizer
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MatryoshkaLoss
from sentence_transformers.models import Normalize, StaticEmbedding
from transformers import PrinterCallback, TrainerCallback

VOCABULARY = 100_000
MIN_SUBWORD_FREQUENCY = 0
"""Its script drops what is rarer than 10, one token at a time: many minutes for 30,000 tokens."""
BATCH = 128
RATES = {"documents": 0.01, "queries": 0.001}
"""Its page says of the second one that it is lower, and not how much."""


class TimeLimit(TrainerCallback):
    """Ends a training at a moment."""

    def __init__(self, end: float) -> None:
        self._end = end

    def on_step_end(self, args, state, control, **_) -> None:  # type: ignore[no-untyped-def]
        control.should_training_stop = time.monotonic() > self._end


def main(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    torch.manual_seed(settings["seed"])
    teacher = SentenceTransformer(settings["teacher"], device="cpu")
    begun = time.monotonic()
    texts = {side: read_texts(folder, side, teacher, settings["max_tokens"]) for side in RATES}
    counts = count_tokens_in_dataset(teacher.tokenizer, [*texts["documents"], *texts["queries"]])
    tokenizer = expand_tokenizer(
        teacher.tokenizer, counts, MIN_SUBWORD_FREQUENCY, VOCABULARY, filter_numbers=False
    )
    counted = time.monotonic()
    weights = initialize_from_model(teacher, tokenizer).numpy()
    static = TrainableStaticEmbedding(tokenizer, weights)
    model = SentenceTransformer(modules=[static, Normalize()], device="cpu")
    trained = time.monotonic()
    steps = {
        side: train(model, folder, side, texts[side], settings, trained + settings["seconds"])
        for side in RATES
    }
    seconds = {"vocabulary": counted - begun, "initialisation": trained - counted}
    seconds["training"] = time.monotonic() - trained
    vectors = static.embedding.weight.detach().numpy()
    saved = SentenceTransformer(
        modules=[StaticEmbedding(static.tokenizer, vectors), Normalize()], device="cpu"
    )
    saved.save_pretrained(str(folder / "model"), create_model_card=False)
    print(json.dumps({"steps": steps, "tokens": len(vectors), "seconds": seconds}))


def read_texts(folder: Path, side: str, teacher: SentenceTransformer, max_tokens: int) -> list[str]:
    """As far as the teacher reads them."""
    texts = json.loads((folder / f"{side}.json").read_text())
    cut: list[str] = []
    for start in range(0, len(texts), 512):
        cut += _tokenize(texts[start : start + 512], teacher.tokenizer, max_tokens)[1]
    return cut


def train(
    model: SentenceTransformer,
    folder: Path,
    side: str,
    texts: list[str],
    settings: dict,
    end: float,
) -> int:
    """Train in place on texts and the teacher's vectors of them. Returns the steps."""
    vectors = np.load(folder / f"{side}.npy")
    data = Dataset.from_dict({"sentence": texts, "label": list(vectors)})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "training"),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=BATCH,
        learning_rate=RATES[side],
        lr_scheduler_type="cosine_warmup_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.10, "num_cycles": 0.5},
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        seed=settings["seed"],
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        loss=MatryoshkaLoss(model, CosineLoss(model), list_widths(vectors.shape[1])),
        callbacks=[TimeLimit(end)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return int(trainer.state.global_step)


def list_widths(whole: int) -> list[int]:
    """16 and its doubles below the whole width, and that."""
    widths = [16]
    while widths[-1] * 2 < whole:
        widths.append(widths[-1] * 2)
    return [*widths, whole]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

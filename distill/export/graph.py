"""Export a whole sentence-transformers model as one ONNX graph: token ids in, unit vectors out.

sentence-transformers' own ONNX export (through optimum) holds the transformer alone; pooling,
projection and length would be left to whoever serves it.
"""

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor, nn

from distill.embed.encoder import Vectors
from distill.embed.open_model import open_model
from distill.errors import UserError, need
from distill.evaluate.models.eval_model import EvalModel, wrap_model
from distill.files.checksums import digest_file
from distill.files.read import parse_path
from distill.recipe import EmbedderConfig

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"
TokenBatch = dict[str, NDArray[np.int64]]
"""`INPUTS`, each (batch, length)."""
_OPSET = 17
_EXAMPLE = ["A text.", "Another text, which is longer, so that the first one has padding."]


class _WholeModel(nn.Module):
    """The modules one after the other, and what sentence-transformers does behind them: vectors cut
    to `truncate_dim`; and unit length also where no module gives it."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        embedding: Tensor = self.model(features)["sentence_embedding"]
        return nn.functional.normalize(embedding[:, : self.model.truncate_dim], dim=1)


def check_exportable(model: SentenceTransformer, reference: str) -> None:
    """Refuse a model that a graph over token ids cannot represent.

    Raises:
        UserError: for a model that is no text transformer with a fast tokenizer, or whose pooling
            leaves the prompt out: a graph does not know where a prompt ends.
    """
    where = f"model {reference!r}"
    alone = "export it with --format sentence-transformers alone"
    tokenizer = getattr(model, "tokenizer", None)
    if not isinstance(model[0], Transformer) or not getattr(tokenizer, "is_fast", False):
        raise UserError(where, "is not a text transformer with a fast tokenizer", alone)
    poolings = [module for module in model if isinstance(module, Pooling)]
    if any(model.prompts.values()) and not all(p.include_prompt for p in poolings):
        raise UserError(where, "leaves its prompts out of the pooling, which ONNX cannot", alone)


def write_graph(model: SentenceTransformer, path: Path) -> None:
    """Trace the model into an ONNX file, with any batch size and any length.

    Inputs `input_ids` and `attention_mask`, (batch, length) int64; output `embedding`,
    (batch, dimensions) float32, of unit length.
    """
    need("onnx", "export")
    batch = model.preprocess(_EXAMPLE)
    example = tuple(batch[name].to(model.device) for name in INPUTS)
    both = {0: "batch", 1: "length"}
    # The exporter that traces: what the newer one writes of such a model (torch 2.13) names a value
    # twice and does not load. It warns of its age, and of each branch that tracing settles; whether
    # they were settled well is what the parity check finds out.
    with warnings.catch_warnings(), _use_eager_attention(model), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _WholeModel(model).eval(),
            example,
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=dict.fromkeys(INPUTS, both) | {OUTPUT: {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def open_graph(
    path: Path, model: SentenceTransformer, threads: int | None = None
) -> SentenceTransformer:
    """Open the graph, of ONNX or of OpenVINO (.xml), as a sentence-transformers model with the same
    prompts and tokenizer, so that it can be evaluated like one."""
    opened = SentenceTransformer(
        modules=[_Graph(path, model, threads)],
        prompts={side: prompt for side, prompt in model.prompts.items() if prompt is not None},
        similarity_fn_name="cosine",
        device="cpu",
    )
    opened.max_seq_length = model.max_seq_length
    return opened


def start_graph(path: Path, threads: int | None = None) -> Callable[[TokenBatch], Vectors]:
    """Load the graph, of ONNX or of OpenVINO (.xml), for the CPU: a function from `INPUTS` to the
    vectors."""
    threads = threads or torch.get_num_threads()
    if path.suffix == ".xml":
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = need("openvino", "openvino").Core().compile_model(path, "CPU", settings)
        return lambda batch: np.array(compiled(batch)[0])
    runtime = need("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    # As distill has OpenMP wait: threads that spin starve whatever shares their cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run([OUTPUT], batch)[0])


def is_graph(reference: str) -> bool:
    """Return whether a model's reference is an exported file, of ONNX or of OpenVINO."""
    path = parse_path(reference)
    return path.suffix in (".onnx", ".xml") and path.is_file()


def load_graph_model(reference: str, settings: EmbedderConfig, instructions: bool) -> EvalModel:
    """Load an exported file, such as `exports/mine/onnx/embedding_int8.onnx`, to be evaluated as it
    is: prompts and tokenizer are those of the sentence-transformers model in its export.

    Raises:
        UserError: if there is none, or a library is missing.
    """
    path = parse_path(reference).resolve()
    folder = path.parent.parent
    if not (folder / "modules.json").is_file():
        raise UserError(
            reference,
            f"has no sentence-transformers model beside it, in {folder}, whose prompts it needs",
            "export with --format sentence-transformers,int8, and name the file there",
        )
    opened = open_model(str(folder), settings)
    check_exportable(opened.model, reference)
    graph = replace(
        opened,
        reference=reference,
        revision=digest_file(path),
        model=open_graph(path, opened.model),
    )
    return wrap_model(graph, settings, instructions, path)


class _Graph(InputModule):
    """A graph as a module; the tokenizer is the model's."""

    def __init__(self, path: Path, model: SentenceTransformer, threads: int | None) -> None:
        super().__init__()
        self.path = path
        self.run = start_graph(path, threads)
        transformer: Any = model[0]
        self.transformer: Any = transformer
        self.tokenizer = transformer.tokenizer
        self.dimensions = int(model.get_embedding_dimension() or 0)

    @property
    def max_seq_length(self) -> int | None:
        length: int | None = self.transformer.max_seq_length
        return length

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        self.transformer.max_seq_length = length

    def get_embedding_dimension(self) -> int:
        return self.dimensions

    def preprocess(self, inputs: Any, prompt: str | None = None, **options: Any) -> dict[str, Any]:
        batch: dict[str, Any] = self.transformer.preprocess(inputs, prompt=prompt, **options)
        return batch

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        fed = {name: features[name].cpu().numpy() for name in INPUTS}
        features["sentence_embedding"] = torch.from_numpy(self.run(fed))
        return features

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        shutil.copy(self.path, output_path)


@contextmanager
def _use_eager_attention(model: SentenceTransformer) -> Iterator[None]:
    """Compute attention as plain products: a fused kernel chooses its path by the example's mask,
    and tracing would fix that choice."""
    transformer: Any = model[0].auto_model
    implementation = transformer.config._attn_implementation
    transformer.set_attn_implementation("eager")
    try:
        yield
    finally:
        transformer.set_attn_implementation(implementation)

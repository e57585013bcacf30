"""Quantise a graph to 8-bit weights: the fastest form that still ranks as the model does."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sentence_transformers import SentenceTransformer

from distill.errors import need
from distill.export.graph import INPUTS, TokenBatch, open_graph, write_graph
from distill.export.parity import (
    Parity,
    TextsBySide,
    add_task_score,
    compare_vectors,
    is_int8_near,
    score_original,
)

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_CALIBRATION_TEXTS = 100
"""Texts from which OpenVINO's quantiser learns the range of activations."""


@dataclass(frozen=True)
class Int8Variant:
    """A way to quantise. `narrowing`: whether products with fewer outputs than inputs are quantised
    too."""

    signed: bool
    narrowing: bool

    def __str__(self) -> str:
        weights = "signed weights" if self.signed else "unsigned weights"
        return weights if self.narrowing else f"{weights}, narrowing products in float"


VARIANTS = (Int8Variant(True, True), Int8Variant(True, False), Int8Variant(False, False))
"""The fastest first. A feed-forward layer's second product is what loses most: what enters it has a
few large values, and one scale must do for all. On x86 without VNNI there is a second loss: two
products are added in 16 bits, where signed weights can overflow.

Measured there on a student of three layers of all-MiniLM-L6-v2 over cacm with 64 tokens (nDCG@10 of
0.3832 in float, texts/s of 271): 0.3786 and 410, 0.3860 and 355, 0.3814 and 315; unsigned
throughout 0.3763 and 346. Earlier on all of that model's layers: weights of 7 bits, which cannot
overflow, lose more than overflowing does; one scale for a whole matrix has a mean cosine of 0.855.
"""


def write_int8(
    model: SentenceTransformer, path: Path, texts: TextsBySide, task: "AbsTask | None"
) -> tuple[Int8Variant, Parity]:
    """Write the first form that is near enough to the model, else the last.

    Raises:
        UserError: if the model scores nothing on the task, so that nothing can be compared.
    """
    return _write_first_near(model, path, texts, task, VARIANTS, quantize_graph)


def _write_first_near(
    model: SentenceTransformer,
    path: Path,
    texts: TextsBySide,
    task: "AbsTask | None",
    forms: Sequence[Int8Variant],
    quantize: Callable[[Path, Path, Int8Variant], None],
) -> tuple[Int8Variant, Parity]:
    """Write the first of some forms that is near enough to the model, else the last.

    Args:
        quantize: writes the graph of the first path, in a form, to the second.
    """
    score = None if task is None else score_original(model, task)
    with TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "float.onnx"
        write_graph(model, whole)
        for form in forms:
            quantize(whole, path, form)
            other = open_graph(path, model)
            parity = compare_vectors(model, other, texts)
            if task is not None and score is not None:
                parity = add_task_score(parity, other, task, score)
            if is_int8_near(parity):
                break
    return form, parity


def quantize_graph(graph: Path, path: Path, form: Int8Variant) -> None:
    """Quantise a graph's weights to 8 bits, with a scale for each output channel; activations are
    quantised dynamically."""
    quantization = need("onnxruntime.quantization", "export")
    kind = quantization.QuantType.QInt8 if form.signed else quantization.QuantType.QUInt8
    with _silence_advice():
        quantization.quantize_dynamic(
            graph,
            path,
            per_channel=True,
            weight_type=kind,
            nodes_to_exclude=[] if form.narrowing else find_narrowing_products(graph),
        )


def write_openvino(
    model: SentenceTransformer, path: Path, texts: TextsBySide, task: "AbsTask | None"
) -> tuple[str, Parity]:
    """Write the model as a graph of OpenVINO with 8-bit weights and activations: `path`, an .xml
    file, and its weights beside it (.bin). Activations have fixed scales, learnt from `texts`, so
    that a text's vector does not depend on what else is in a batch. Where that is not near enough
    to the model, narrowing products stay in float.

    Raises:
        UserError: if the model scores nothing on the task, so that nothing can be compared.
    """
    openvino = need("openvino", "openvino")
    seen = [text for some in texts.values() for text in some][:_CALIBRATION_TEXTS]
    batches = [model.preprocess([text]) for text in seen]
    examples = [{name: batch[name].numpy() for name in INPUTS} for batch in batches]

    def quantize(graph: Path, path: Path, form: Int8Variant) -> None:
        in_float = [] if form.narrowing else find_narrowing_products(graph)
        openvino.save_model(_quantize_openvino(graph, examples, in_float), path)

    form, parity = _write_first_near(model, path, texts, task, VARIANTS[:2], quantize)
    return str(form), parity


def _quantize_openvino(graph: Path, examples: list[TokenBatch], in_float: list[str]) -> Any:
    nncf, openvino = need("nncf", "openvino"), need("openvino", "openvino")
    # Its progress bars would break ours.
    with _silence_advice(), redirect_stdout(StringIO()):
        return nncf.quantize(
            openvino.convert_model(graph),
            nncf.Dataset(examples),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(examples),
            ignored_scope=nncf.IgnoredScope(names=in_float) if in_float else None,
        )


def find_narrowing_products(graph: Path) -> list[str]:
    """List the products whose weights have fewer outputs than inputs."""
    model_graph = need("onnx", "export").load(graph).graph
    shapes = {weight.name: weight.dims for weight in model_graph.initializer}
    products = (n for n in model_graph.node if n.op_type == "MatMul" and n.input[1] in shapes)
    return [n.name for n in products if shapes[n.input[1]][0] > shapes[n.input[1]][-1]]


@contextmanager
def _silence_advice() -> Iterator[None]:
    """Silence the quantiser's advice of a preprocessing step that this graph does not need."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)

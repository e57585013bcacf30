"""What mteb's results say of a contender, so that its own tools read them back."""

from typing import TYPE_CHECKING, Any, get_args

from sentence_transformers import SentenceTransformer

from distill.errors import need
from distill.models.sentence_transformer import text_transformer

if TYPE_CHECKING:
    from mteb.models import ModelMeta

    from distill.evaluate.model import EvalModel


def build_model_meta(contender: "EvalModel") -> "ModelMeta":
    """mteb's ModelMeta. What departs from the model's own settings is an mteb experiment, whose
    results stand apart."""
    meta = need("mteb.models", "eval").ModelMeta
    licences = get_args(need("mteb.types", "eval").Licenses)
    licence = (contender.licence or "").lower()
    precision = contender.form.precision
    known: dict[str, Any] = {
        "name": contender.name,
        "revision": contender.revision,
        "n_parameters": contender.parameters,
        "max_tokens": contender.max_tokens,
        "embed_dim": contender.dimensions,
        # mteb reads back none but those of its list.
        "license": licence if licence in licences else None,
        "use_instructions": contender.prompts.wording.tells_task
        or any(contender.prompts.named.values()),
        "experiment_kwargs": contender.experiment or None,
        "similarity_fn_name": _choose_similarity(contender),
        "framework": ["API"],
    }
    if precision != "float32":
        known["output_dtypes"] = [need("mteb.types", "eval").OutputDType(precision)]
    if contender.model is not None:
        known |= _describe_weights(contender.model)
    return meta.create_empty(overwrites=known)


def _describe_weights(model: SentenceTransformer) -> dict[str, Any]:
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    transformer = text_transformer(model)
    embedding: Any = transformer and transformer.auto_model.get_input_embeddings()
    words = embedding and embedding.weight.numel()
    return {
        "framework": ["Sentence Transformers", "PyTorch"],
        "open_weights": True,
        "n_embedding_parameters": words,
        "memory_usage_mb": round(size / 2**20, 1),
    }


def _choose_similarity(contender: "EvalModel") -> Any:
    """An index computes inner products. None where mteb has no name for the model's function, and
    asks the model itself."""
    function = need("mteb.models.model_meta", "eval").ScoringFunction
    if not contender.form.plain:
        return function.DOT_PRODUCT
    if contender.model is None:
        return function.COSINE
    names = {"cosine": function.COSINE, "dot": function.DOT_PRODUCT}
    return names.get(str(contender.model.similarity_fn_name))

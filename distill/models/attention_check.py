"""Check that an encoder which is declared bidirectional is so, and make a decoder bidirectional.

A decoder turned encoder runs causally where what turns it is not loaded: gte-Qwen2 without its
remote code, EmbeddingGemma on an old transformers. Nothing fails, the vectors are only worse. And a
conversion that lives in the attention mask alone is lost in a batch without padding, whose mask is
skipped (llm2vec, issue 74). So it is tried, not believed.
"""

from typing import NamedTuple

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from distill.errors import UserError
from distill.models.bidirectional import can_see_later_tokens
from distill.models.sentence_transformer import find_text_transformer
from distill.recipe.sections.embedder import EmbedderConfig


class NativeClass(NamedTuple):
    """The properties of the code that a model names which transformers' own class lacks."""

    bidirectional: bool
    append_eos: bool


CODE = {"modeling_qwen.Qwen2Model": NativeClass(bidirectional=True, append_eos=True)}
"""By the class that a configuration's auto_map names, which is never run: gte-Qwen2, gte-Qwen1.5
and stella_en_1.5B_v5. Their class lets all tokens see each other, their tokenizer appends the end
of sequence."""


def find_remote_class(auto_map: object) -> str | None:
    """Return the class that a configuration's auto_map names for the model, as module.Class; None
    if it names none."""
    named = auto_map.get("AutoModel") if isinstance(auto_map, dict) else None
    return str(named).rpartition("--")[2] if named else None


def set_attention(model: SentenceTransformer, reference: str, settings: EmbedderConfig) -> bool:
    """Make a decoder bidirectional in place if the settings, or the code that it names, say so;
    then check it. Returns whether it was changed here.

    Raises:
        UserError: if it does not come to that, or if the model names code that was not run and
            nobody says whether the class in its place attends as that does.
    """
    transformer = find_text_transformer(model)
    if transformer is None:
        return False
    wanted, remote = (
        settings.bidirectional,
        find_remote_class(getattr(transformer.config, "auto_map", None)),
    )
    if wanted is None and remote is not None:
        code = CODE.get(remote)
        wanted = None if code is None else code.bidirectional
        if code is None and not _is_ported(transformer, remote):
            raise _explain_unknown_code(transformer, reference, remote, settings)
    config = transformer.config.get_text_config()
    known = getattr(config, "is_causal", None) is False
    is_changed = bool(wanted) and not is_encoder(config) and not known
    if is_changed:
        config.is_causal = False
    check_bidirectional(model, reference, wanted, settings.name_key("bidirectional"))
    return is_changed


def _is_ported(transformer: Transformer, remote: str) -> bool:
    """Return whether transformers has adopted the class that the model names under the same name. A
    decoder's name says nothing: gte-Qwen2's class is called as Qwen2's is."""
    native = type(transformer.model).__name__
    return remote.rpartition(".")[2] == native and is_encoder(transformer.config.get_text_config())


def _explain_unknown_code(
    transformer: Transformer, reference: str, remote: str, settings: EmbedderConfig
) -> UserError:
    return UserError(
        f"model {reference!r}",
        f"was trained with code of its own ({remote}), which is never run; what ran in its place, "
        f"{type(transformer.model).__name__} of transformers, may compute other vectors",
        f"look in its model card whether its tokens see those behind them, and set "
        f"{settings.name_key('bidirectional')} to true or false; or serve it and set base_url",
    )


def check_bidirectional(
    model: SentenceTransformer,
    reference: str,
    declared: bool | None = None,
    key: str = "retriever.bidirectional",
) -> None:
    """Refuse an encoder whose early tokens do not see the later ones, if it is to be bidirectional:
    because `declared` says so, or where that is None because its configuration does.

    Raises:
        UserError: naming the model, and whether a batch with or without padding is causal.
    """
    transformer = find_text_transformer(model)
    tokenizer = None if transformer is None else transformer.tokenizer
    if transformer is None or tokenizer is None or declared is False:
        return
    if declared is None and not is_declared_bidirectional(transformer.config.get_text_config()):
        return
    model.eval()
    for padded in (False, True):
        if not can_see_later_tokens(transformer, tokenizer, padded):
            raise UserError(
                f"model {reference!r}",
                "is declared bidirectional, but in a batch "
                f"{'with' if padded else 'without'} padding its tokens do not see those behind "
                "them: it runs causally",
                f"set {key} to true, which makes a decoder so (`is_causal` false in its "
                "configuration), or install a transformers that implements its attention; if it "
                "is meant to be causal, set it to false",
            )


def is_declared_bidirectional(config: PretrainedConfig) -> bool:
    """Return whether a configuration says that every token sees every other: explicitly, or because
    models of its type are encoders, trained to fill in masked words."""
    if getattr(config, "is_causal", None) is False:
        return True
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        return True
    return is_encoder(config)


def is_encoder(config: PretrainedConfig) -> bool:
    """Return whether models of this type are trained to fill in masked words."""
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes

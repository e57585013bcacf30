"""Check that texts end as the embedder was trained to read them: in the end of sequence.

Of the models that pool the last token, many declare `add_eos_token` in tokenizer_config.json, which
transformers 5 does not heed, or append the token in a tokenizer of their own, which is not run.
Nothing fails then: the vector is that of the last word.
"""

import logging
from pathlib import Path

from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerBase

from distill.embed.published import PublishedSettings
from distill.errors import UserError
from distill.models.attention_check import CODE, find_remote_class
from distill.models.end_of_sequence import append_eos, has_final_eos
from distill.models.sentence_transformer import find_text_transformer, read_settings
from distill.recipe.sections.embedder import EmbedderConfig

_logger = logging.getLogger(__name__)


def set_end_of_sequence(
    model: SentenceTransformer,
    reference: str,
    settings: EmbedderConfig,
    published: PublishedSettings,
    folder: Path,
) -> bool:
    """Let each text end in the end of sequence where the settings, the tokenizer's configuration
    or what is known of the model say so, in place; and let the tokenizer pad. Returns whether it
    was appended here.

    Raises:
        UserError: if the tokenizer cannot be made to.
    """
    transformer = find_text_transformer(model)
    tokenizer = None if transformer is None else transformer.tokenizer
    if transformer is None or tokenizer is None:
        return False
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    wanted = settings.append_eos
    if wanted is None:
        code = CODE.get(find_remote_class(getattr(transformer.config, "auto_map", None)) or "")
        declared = read_settings(folder, "tokenizer_config.json").get("add_eos_token") is True
        wanted = declared or published.append_eos or (code is not None and code.append_eos)
    if not wanted or has_final_eos(tokenizer):
        return False
    _append(tokenizer, reference, settings)
    return True


def _append(tokenizer: PreTrainedTokenizerBase, reference: str, settings: EmbedderConfig) -> None:
    fault = "texts do not end in it all the same"
    try:
        append_eos(tokenizer)
    except ValueError as error:
        fault = str(error)
    if not has_final_eos(tokenizer):
        raise UserError(
            f"model {reference!r}",
            f"was trained on texts that end in the end of sequence, and {fault}",
            "correct eos_token in its tokenizer_config.json, or set "
            f"{settings.name_key('append_eos')} to false if its texts end without one",
        )
    _logger.info("%s: each text gets the end of sequence that its tokenizer leaves out", reference)

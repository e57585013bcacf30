"""The judge before it is trained."""

from helpers.tiny_models import TEXTS, make_wordpiece_tokenizer
from transformers import RobertaConfig, RobertaModel

from distill.recipe import DistilledJudge
from distill.train.judge.base import JudgeTraining, open_base


def test_roberta_judge_reads_no_more_tokens_than_it_has_positions(tmp_path):
    """Two of the positions in its configuration are never a token's."""
    tokenizer = make_wordpiece_tokenizer()
    tokenizer.model_max_length = 10**9
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = DistilledJudge(encoder=str(tmp_path), max_tokens=256)
    judge = open_base(JudgeTraining(settings, str(tmp_path), ["bm25"], seed=1))
    assert judge.max_seq_length == 64
    judge.predict([(" ".join(TEXTS), " ".join(TEXTS))])

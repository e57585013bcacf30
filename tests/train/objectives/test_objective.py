"""The weighted sum: what it hands each term, how it weighs, what it leaves out."""

import pytest
import torch
from helpers.reference_losses import draw_unit_vectors
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from distill.recipe import InfoNCE, Train
from distill.train.objectives import CombinedLoss, make_projection
from distill.train.objectives.align import compute_alignment
from distill.train.objectives.cosent import compute_cosent
from distill.train.objectives.gor import compute_gor
from distill.train.objectives.infonce import compute_infonce
from distill.train.objectives.kl import compute_kl
from distill.train.objectives.margin_mse import compute_margin_mse
from distill.train.objectives.multi_positive import compute_multi_positive
from distill.train.objectives.teacher.relative_order import compute_relative_order
from distill.train.objectives.teacher.similarity_matrix import compare_similarity_matrices

ROWS = 4
WEIGHTS = {
    "infonce": 1.0,
    "align": 0.5,
    "kl": 2.0,
    "margin_mse": 3.0,
    "multi_positive": 0.6,
    "similarity_matrix": 0.7,
    "relative_order": 0.3,
    "cosent": 0.2,
    "gor": 0.1,
}
TEACHER = draw_unit_vectors(100, 48, seed=3)
SCORES = torch.randn(50, 2, generator=torch.Generator().manual_seed(4))
LABELS = torch.tensor([[10, 0, 30, 31], [11, 1, 32, 33], [12, 2, 30, 34], [13, 0, 35, 36]])
TEXT_LABELS = torch.tensor([[-1, 30], [-1, 41], [-1, 42], [-1, 43]])


@pytest.fixture
def model(encoder_folder) -> SentenceTransformer:
    return SentenceTransformer(str(encoder_folder), device="cpu").eval()


def features(model, columns: int) -> list[dict[str, torch.Tensor]]:
    return [model.preprocess(TEXTS[ROWS * c : ROWS * (c + 1)]) for c in range(columns)]


def vectors(model, columns: int) -> list[torch.Tensor]:
    return [model(of)["sentence_embedding"] for of in features(model, columns)]


def objective(model, weights=WEIGHTS, scores=True, in_batch=None, **train) -> CombinedLoss:
    return CombinedLoss(
        model,
        Train(objective=weights, **train),
        lambda numbers: TEACHER[numbers],
        make_projection(32, 48, seed=1),
        (lambda numbers: SCORES[numbers]) if scores else None,
        in_batch,
    )


def in_columns(labels: torch.Tensor) -> torch.Tensor:
    return TEACHER[labels[:, 1:].T.flatten()]


def test_every_term_is_that_of_the_batch_and_the_loss_their_weighted_sum(model):
    whole = objective(model)
    loss = whole(features(model, 3), LABELS)
    columns, teacher, train = vectors(model, 3), in_columns(LABELS), Train()
    every = torch.cat(columns)
    expected = {
        "infonce": compute_infonce(columns, LABELS[:, 1:], train.infonce, 0.05),
        "align": compute_alignment(whole.projection(every), teacher),
        "kl": compute_kl(columns, SCORES[10:14], train.kl),
        "margin_mse": compute_margin_mse(columns, SCORES[10:14], train.margin_mse),
        "multi_positive": compute_multi_positive(
            columns, LABELS[:, 1:], SCORES[10:14], train.multi_positive
        ),
        "similarity_matrix": compare_similarity_matrices(every, teacher),
        "relative_order": compute_relative_order(every, teacher, int(LABELS[:, 1:].sum())),
        "cosent": compute_cosent(columns, SCORES[10:14, 0]),
        "gor": compute_gor(columns),
    }
    assert whole.terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(whole.terms[name], [term.detach()])
    total = sum(WEIGHTS[name] * term for name, term in expected.items())
    torch.testing.assert_close(loss, total)


@pytest.mark.parametrize("name", WEIGHTS)
def test_term_without_weight_is_left_out(model, name):
    others = {term: weight for term, weight in WEIGHTS.items() if term != name}
    partial = objective(model, others)
    partial(features(model, 3), LABELS)
    assert partial.terms.keys() == others.keys()


def test_plain_texts_have_the_teachers_terms_and_spread_under_names_of_their_own(model):
    whole = objective(model)
    loss = whole(features(model, 1), TEXT_LABELS)
    names = ("align", "similarity_matrix", "relative_order", "gor")
    assert whole.terms.keys() == {f"{name}_texts" for name in names}
    total = sum(WEIGHTS[name] * whole.terms[f"{name}_texts"][0] for name in names)
    torch.testing.assert_close(loss.detach(), total)


def test_batch_with_nothing_to_learn_from_is_no_error(model):
    for weights, columns, labels in (
        ({"infonce": 1.0}, 1, TEXT_LABELS),
        ({"kl": 1.0}, 3, LABELS),
    ):
        nothing = objective(model, weights, scores=False)
        loss = nothing(features(model, columns), labels)
        assert loss.item() == 0
        loss.backward()
        assert not nothing.terms


def test_every_term_but_the_alignment_is_the_mean_over_widths(model):
    weights = {"infonce": 1.0, "kl": 1.0, "gor": 1.0, "similarity_matrix": 1.0, "align": 1.0}
    wide = objective(model, weights)
    wide(features(model, 3), LABELS)
    both = objective(model, weights, widths=[32, 8])
    both(features(model, 3), LABELS)
    columns, train = vectors(model, 3), Train()
    cut = [F.normalize(column[:, :8], dim=-1) for column in columns]
    short = {
        "infonce": compute_infonce(cut, LABELS[:, 1:], train.infonce, 0.05),
        "kl": compute_kl(cut, SCORES[10:14], train.kl),
        "gor": compute_gor(cut),
        "similarity_matrix": compare_similarity_matrices(torch.cat(cut), in_columns(LABELS)),
        "align": wide.terms["align"][0],
    }
    for name, term in short.items():
        mean = (wide.terms[name][0] + term.detach()) / 2
        torch.testing.assert_close(both.terms[name][0], mean)


def test_negatives_in_batch_are_looked_up_by_example(model):
    asked = []

    def in_batch(numbers):
        asked.append(numbers.tolist())
        return numbers != 11

    chosen = objective(model, {"infonce": 1.0}, in_batch=in_batch)
    loss = chosen(features(model, 3), LABELS)
    assert asked == [[10, 11, 12, 13]]
    mask = torch.tensor([True, False, True, True])
    expected = compute_infonce(vectors(model, 3), LABELS[:, 1:], InfoNCE(), 0.05, mask)
    torch.testing.assert_close(loss, expected)


def test_learned_temperature_moves_and_is_kept_with_the_projection(model):
    learned = objective(model, {"infonce": 1.0, "align": 1.0}, infonce={"learn_temperature": True})
    kept = learned.auxiliary.state_dict()
    assert set(kept) == {"projection.weight", "log_temperature"}
    assert kept["log_temperature"].exp().item() == pytest.approx(0.05)
    fixed = objective(model, {"infonce": 1.0, "align": 1.0})
    loss = learned(features(model, 3), LABELS)
    torch.testing.assert_close(loss, fixed(features(model, 3), LABELS))
    optimiser = torch.optim.SGD(learned.parameters(), lr=0.1)
    loss.backward()
    optimiser.step()
    temperature = learned.auxiliary.compute_temperature().item()
    assert temperature != pytest.approx(0.05)
    again = objective(model, {"infonce": 1.0}, infonce={"learn_temperature": True})
    again.auxiliary.load_state_dict(learned.auxiliary.state_dict())
    assert again.auxiliary.compute_temperature().item() == temperature


def test_learned_temperature_that_fell_too_far_can_rise_again(model):
    learned = objective(model, {"infonce": 1.0}, infonce={"learn_temperature": True})
    along = learned.auxiliary
    torch.nn.init.constant_(along.log_temperature, -50.0)
    assert along.compute_temperature().item() == pytest.approx(0.01)
    learned(features(model, 3), LABELS).backward()
    assert along.log_temperature.grad != 0


def test_no_auxiliary_parameters_are_saved_where_objectives_have_none(model):
    plain = CombinedLoss(model, Train(), None, make_projection(32, 32, seed=1))
    assert plain.auxiliary.state_dict() == {}


@pytest.mark.parametrize(("columns", "labels"), [(3, LABELS), (1, TEXT_LABELS)])
def test_mini_batches_give_the_same_loss_and_gradients(model, columns, labels):
    def gradients(**train):
        asked = objective(model, widths=[32, 8], **train)
        model.zero_grad()
        loss = asked(features(model, columns), labels)
        loss.backward()
        return [loss.detach(), *(p.grad for p in asked.parameters())]

    torch.testing.assert_close(gradients(mini_batch_tokens=30), gradients(), rtol=1e-3, atol=1e-5)


def test_loss_is_computed_in_float32_under_bfloat16(model):
    whole = objective(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = whole(features(model, 3), LABELS)
        columns = [column.float() for column in vectors(model, 3)]
    assert loss.dtype == torch.float32
    contrast = compute_infonce(columns, LABELS[:, 1:], InfoNCE(), 0.05)
    torch.testing.assert_close(whole.terms["infonce"], [contrast.detach()])
    projected = compute_alignment(whole.projection(torch.cat(columns)), in_columns(LABELS))
    torch.testing.assert_close(whole.terms["align"], [projected.detach()])


def test_labels_of_another_shape_are_refused(model):
    with pytest.raises(ValueError, match=r"labels: got \(4, 3\), expected \(4, 4\)"):
        objective(model)(features(model, 3), LABELS[:, 1:])

"""Every objective read out of its paper with loops and plain numbers, slow and obvious."""

import math
from itertools import combinations, product

import torch
from torch.nn import functional as F

from distill.recipe import InfoNCE


def draw_unit_vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def draw_columns(rows: int, negatives: int, width: int = 16) -> list[torch.Tensor]:
    return [draw_unit_vectors(rows, width, seed=i) for i in range(2 + negatives)]


def number_texts(rows: int, negatives: int) -> torch.Tensor:
    return torch.arange(rows * (2 + negatives)).reshape(rows, -1)


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def infonce(vectors, numbers, settings: InfoNCE, in_batch=None) -> float:
    """Gecko's equation 3 with all that may be added to it, row by row."""
    queries, *documents = [v.tolist() for v in vectors]
    numbers = numbers.tolist()
    last = len(documents) if settings.hard_negatives == "shared" else 1
    losses = []
    for i, query in enumerate(queries):
        positive = dot(query, documents[0][i])
        below = [positive / settings.temperature]
        for place, negative in enumerate(documents[1:], start=2):
            if numbers[i][place] != numbers[i][1]:
                similarity = dot(query, negative[i])
                if is_too_near(similarity, positive, settings):
                    continue
                weight = settings.hardness * similarity
                below.append(similarity / settings.temperature + weight)
        for j in range(len(queries)):
            if j == i or (in_batch is not None and not in_batch[i]):
                continue
            same_query = numbers[j][0] == numbers[i][0]
            for place in range(1, 1 + last):
                known = numbers[j][place] in numbers[i][1:] or (place == 1 and same_query)
                similarity = dot(query, documents[place - 1][j])
                if not known and not is_too_near(similarity, positive, settings):
                    below.append(similarity / settings.temperature)
            if settings.same_tower and not same_query:
                similarity = dot(query, queries[j])
                if not is_too_near(similarity, positive, settings):
                    below.append(similarity / settings.temperature)
        losses.append(math.log(sum(math.exp(logit) for logit in below)) - below[0])
    return sum(losses) / len(losses)


def multi_positive(vectors, numbers, scores, settings, in_batch=None) -> torch.Tensor:
    """Every positive of a query against every negative, pair by pair; torch keeps the gradient."""
    query, *documents = vectors
    losses = []
    for i in range(len(query)):
        own, positives, negatives = set(), [], []
        for place, document in enumerate(documents):
            number, score = int(numbers[i, place + 1]), float(scores[i, place])
            logit = (query[i] * document[i]).sum() / settings.temperature
            if number in own:
                continue
            own.add(number)
            if place == 0 or score >= settings.relevant:
                positives.append(logit)
            elif score < settings.least_unknown:
                negatives.append(logit)
        for j in range(len(query)):
            open_to_others = in_batch is None or bool(in_batch[i])
            if j == i or not open_to_others or numbers[i, 0] == numbers[j, 0]:
                continue
            for place, document in enumerate(documents):
                if int(numbers[j, place + 1]) not in own:
                    negatives.append((query[i] * document[j]).sum() / settings.temperature)
        if not negatives:
            continue
        if settings.loss == "pairwise":
            pairs = [(n - p).exp() for n in negatives for p in positives]
            losses.append((1 + sum(pairs)).log())
        else:
            below = sum(n.exp() for n in negatives)
            each = [-(p.exp() / (p.exp() + below)).log() for p in positives]
            losses.append(sum(each) / len(each))
    return sum(losses) / len(losses)


def is_too_near(similarity: float, positive: float, settings: InfoNCE) -> bool:
    return settings.margin is not None and similarity > positive + settings.margin


def list_candidates(vectors, scores) -> list[list[tuple[float, float]]]:
    """For each query, (the student's similarity, the score) of each candidate that has one."""
    query, *documents = [v.tolist() for v in vectors]
    return [
        [
            (dot(query[i], documents[place][i]), score)
            for place, score in enumerate(row)
            if not math.isnan(score)
        ]
        for i, row in enumerate(scores.tolist())
    ]


def standardize(scores: list[float]) -> list[float]:
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return [(s - mean) / deviation for s in scores]


def kl(vectors, scores, standardise, temperature, student_temperature) -> float:
    divergences = []
    for pairs in list_candidates(vectors, scores):
        if len(pairs) < 2:
            continue
        soft = [score for _, score in pairs]
        soft = standardize(soft) if standardise else soft
        p = softmax([s / temperature for s in soft])
        q = softmax([similarity / student_temperature for similarity, _ in pairs])
        divergences.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return sum(divergences) / max(len(divergences), 1)


def softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def margin_mse(vectors, scores, scale) -> float:
    """Of full lists."""
    errors = []
    for (positive, top), *negatives in list_candidates(vectors, scores):
        errors += [(positive - s - scale * (top - score)) ** 2 for s, score in negatives]
    return sum(errors) / len(errors)


def similarity_matrix(student, teacher) -> float:
    s, t = student.tolist(), teacher.tolist()
    errors = [
        (cosine(s[i], s[j]) - cosine(t[i], t[j])) ** 2 for i in range(len(s)) for j in range(len(s))
    ]
    return sum(errors) / len(errors)


def relative_order(student, teacher, margin) -> float:
    """Over every pair of pairs."""
    s, t = student.tolist(), teacher.tolist()
    losses = []
    for (i, j), (m, n) in product(combinations(range(len(s)), 2), repeat=2):
        if cosine(t[i], t[j]) > cosine(t[m], t[n]):
            losses.append(max(0.0, cosine(s[m], s[n]) - cosine(s[i], s[j]) + margin))
    return sum(losses) / len(losses)


def cosent(vectors, scores, scale=20.0) -> float:
    first, second = [v.tolist() for v in vectors]
    similarities = [cosine(a, b) for a, b in zip(first, second, strict=True)]
    total = 1.0
    for (high, better), (low, worse) in product(zip(similarities, scores, strict=True), repeat=2):
        if better > worse:
            total += math.exp(scale * (low - high))
    return math.log(total)


def gor(vectors) -> float:
    terms = []
    for column in [v.tolist() for v in vectors]:
        pairs = [cosine(a, b) for a, b in combinations(column, 2)]
        mean = sum(pairs) / len(pairs)
        second = sum(p * p for p in pairs) / len(pairs)
        terms.append(mean**2 + max(0.0, second - 1 / len(column[0])))
    return sum(terms) / len(terms)

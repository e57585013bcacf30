"""The stage `judge`: a small cross-encoder of the corpus, trained on the labels of other rankers.
An LLM's scores used raw teach badly; a reranker trained on them scores wide lists evenly, and a
pair costs it a small part of the LLM's time (arXiv 2601.03211)."""

import dataclasses
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.models.reference import identify_revision
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.retrieve.self_test import LEAST_PAIRS, draw_known_pairs, run_self_test
from distill.runtime import processes
from distill.store.local_name import name_model
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.student.saving import move_into_place, save_beside
from distill.text.sanitize import sanitize_for_prompt
from distill.train.judge.base import JudgeTraining, check_encoder, open_base
from distill.train.judge.card import write_card
from distill.train.judge.fit import fit_judge
from distill.train.judge.lists import TeachingList, read_lists

_log = logging.getLogger(__name__)
PERFORMANCE_KEYS = {"device", "checkpoint_steps"}
"""What does not change what the judge learns, and is no part of a fingerprint."""
_ELSEWHERE = {"top_k", "depth", "rankers", "encoder"}
"""What decides the labels, what evaluation alone reads, and what is named as it is settled."""


def make_judge(
    run: Run, training: JudgeTraining, passages: Stage, queries: Stage, labels: Stage
) -> Stage:
    """Train the judge; a sentence-transformers CrossEncoder, with its loss in `training.json` and a
    model card. A training that was killed continues at its last checkpoint.

    Figures: of lists that it did not learn from, the share of pairs that it orders as its teachers
    do (`pairs_in_order`, 0.5 by chance) and of lists whose first candidate is theirs
    (`same_first`); and how many passages it knows by their own title or sentence.

    Args:
        labels: what the recipe's `judge.rankers` say of the queries' candidates.

    Raises:
        UserError: if there is too little to learn from, the encoder cannot be read, or several
            processes were launched.
    """
    check_encoder(training.judge, training.encoder)
    # Labels of the round that teaches it are named so: the run may have others, which it makes.
    place = labels.folder.relative_to(run.folder).as_posix()
    stage = run.open_stage(
        "judge", fingerprint(training), [dataclasses.replace(labels, name=place)]
    )
    work = stage.metadata_dir / "training"
    if not stage.complete:
        if processes.count_processes() > 1:
            raise UserError(
                "the judge",
                f"is trained by one process, and there are {processes.count_processes()}",
                "run `distill train-judge RECIPE` without a launcher first",
            )
        _train(stage, work, training, passages, queries, labels)
    shutil.rmtree(work, ignore_errors=True)
    return stage


def fingerprint(training: JudgeTraining) -> dict[str, Any]:
    """Collect what changes what the judge learns."""
    return {
        **training.judge.list_fingerprinted(exclude=PERFORMANCE_KEYS | _ELSEWHERE),
        "teachers": training.teachers,
        "encoder": name_model(training.encoder),
        "revision": identify_revision(training.encoder),
        "seed": training.seed,
        "version": 1,
    }


def _train(
    stage: Stage,
    work: Path,
    training: JudgeTraining,
    passages: Stage,
    queries: Stage,
    labels: Stage,
) -> None:
    begun = time.perf_counter()
    judge, lists = training.judge, read_lists(training, queries, labels)
    reader = PassageReader(passages.folder)
    texts = _read_texts(reader, [*lists.learnt, *lists.held_out])
    model = open_base(training)
    if judge.device is not None:
        model.to(judge.device)
    curve = fit_judge(judge, training.seed, model, lists.learnt, texts, work)
    part = save_beside(stage, model)
    trained = CrossEncoderJudge(str(part), judge.max_tokens, judge.device)
    known = run_self_test(trained.judge, draw_known_pairs(reader))
    figures: dict[str, Any] = {
        "lists": len(lists.learnt),
        "steps": int(curve[-1]["step"]),
        "loss_first": curve[0]["loss"],
        "loss_last": curve[-1]["loss"],
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **measure_agreement(trained, lists.held_out, texts),
        "known_pairs": known.pairs,
        "known_pairs_won": known.won,
    }
    if known.pairs >= LEAST_PAIRS and known.at_random:
        _log.warning(
            "the judge has not learnt to rank: of %d passages with their own title or sentence it "
            "scores %d higher than another passage with the same words; give it more queries "
            "(judge.queries), more steps (judge.epochs) or better teachers (judge.rankers)",
            known.pairs,
            known.won,
        )
    write_json(part / "training.json", {"curve": curve})
    write_card(part, training, figures)
    move_into_place(stage, part)
    stage.finish(seconds=time.perf_counter() - begun, rows=len(lists.learnt), **figures)


def measure_agreement(
    judge: CrossEncoderJudge, lists: Sequence[TeachingList], texts: Mapping[str, str]
) -> dict[str, float | int]:
    """Compare the judge's order of whole lists with that of its teachers; nothing without lists."""
    if not lists:
        return {"held_out_lists": 0}
    pairs = [(texts[id_], [of.query]) for of in lists for id_ in of.passage_ids]
    scores = iter(of_passage[0][0] for of_passage in judge.judge(pairs))
    in_order = same_first = compared = 0
    for of in lists:
        own = [next(scores) for _ in of.passage_ids]
        apart = [
            (own[i], own[j])
            for i, j in combinations(range(len(own)), 2)
            if of.targets[i] > of.targets[j]
        ]
        compared += len(apart)
        in_order += sum(better > worse for better, worse in apart)
        same_first += own.index(max(own)) == 0
    return {
        "held_out_lists": len(lists),
        "pairs_in_order": round(in_order / max(1, compared), 4),
        "same_first": round(same_first / len(lists), 4),
    }


def _read_texts(reader: PassageReader, lists: Sequence[TeachingList]) -> dict[str, str]:
    """Read the lists' passages as the ranker cross_encoder reads them."""
    ids = {id_ for of in lists for id_ in of.passage_ids}
    return {id_: sanitize_for_prompt(text) for id_, text in reader.read_texts(ids).items()}

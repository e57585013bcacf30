"""What hangs on the trainer's turns: the sampler's epoch, and when a checkpoint is complete."""

import torch
from accelerate.data_loader import BatchSamplerShard, SkipBatchSampler
from torch.utils.data import ConcatDataset, DataLoader
from transformers import TrainerControl, TrainerState

from distill.train.data.sampler import MixedBatchSampler, NoSharedPositiveSampler
from distill.train.loop.callbacks import CheckpointCallback, EpochCallback


def sampler() -> MixedBatchSampler:
    generator = torch.Generator()
    parts = [NoSharedPositiveSampler(range(40), None, 4, True, generator)]
    return MixedBatchSampler(
        ConcatDataset([range(40)]), 2, batch_samplers=parts, generator=generator, seed=3
    )


def test_resumed_epoch_is_shuffled_as_it_was_in_each_process():
    """As accelerate wraps the sampler where one of two processes resumes in the second epoch."""
    undisturbed, resumed = sampler(), sampler()
    undisturbed.set_epoch(1)
    of_process = list(BatchSamplerShard(undisturbed, num_processes=2, process_index=1))
    wrapped = SkipBatchSampler(BatchSamplerShard(resumed, 2, 1), skip_batches=2)
    loader = DataLoader(range(40), batch_sampler=BatchSamplerShard(resumed, 2, 1))
    state = TrainerState(global_step=len(loader) + 2)
    EpochCallback().on_epoch_begin(None, state, TrainerControl(), train_dataloader=loader)
    assert list(wrapped) == of_process[2:]


def test_checkpoint_is_complete_when_every_process_has_written(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    seen = []
    monkeypatch.setattr(
        "distill.train.loop.callbacks.wait",
        lambda: seen.append((folder / CheckpointCallback.MARKER).exists()),
    )
    CheckpointCallback(tmp_path).on_save(None, TrainerState(global_step=5), TrainerControl())
    assert seen == [False]
    assert (folder / CheckpointCallback.MARKER).exists()

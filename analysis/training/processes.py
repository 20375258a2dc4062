"""One process or several: torchrun sets the rank, DistributedDataParallel averages the gradients."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from analysis.models.device import find_device


@dataclass(frozen=True)
class Processes:
    """This process's place among all: ``rank`` of ``world``, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes, without gradient."""
        if self.world == 1:
            return value.detach()
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.world

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device, under DistributedDataParallel where there are several processes."""
        if self.world == 1:
            return model.to(self.device)
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model.to(self.device), device_ids=ids)


@contextmanager
def processes(device: str) -> Generator[Processes]:
    """Join the group that torchrun started, or be alone. ``device`` is auto, cpu, cuda or cuda:N."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    name = (
        f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        if device in ("auto", "cuda") and torch.cuda.is_available()
        else device
    )
    place = find_device(name)
    if world > 1:
        # The others wait while the first process evaluates, which takes longer than the usual ten minutes.
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=timedelta(hours=3))
    try:
        yield Processes(rank, world, place)
    finally:
        if world > 1:
            distributed.destroy_process_group()

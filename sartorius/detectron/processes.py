"""Where a run computes: one process, one for each GPU, or the processes that torchrun has started."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sartorius.errors import UserError

#: What torchrun tells each process.
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Machines:
    """The GPUs and machines of a run.

    gpus: GPUs of this machine, 0 trains on the CPU. count, rank, url: number of machines, this one's number, and the
    address (`tcp://host:port`, or "auto" on one machine) where they meet. Under torchrun only `gpus` counts.
    """

    gpus: int = 0
    count: int = 1
    rank: int = 0
    url: str = "auto"


def under_torchrun() -> bool:
    """Whether this process is one of several that torchrun has started."""
    return all(name in os.environ for name in _TORCHRUN)


def is_first_process() -> bool:
    """Whether this process writes what a run writes once; before and after the processes have met."""
    return not under_torchrun() or int(os.environ["RANK"]) == 0


def run_on(machines: Machines, work: Callable[..., None], *arguments: object) -> None:
    """Do the work in every process of the run: detectron2's `launch`, or in torchrun's processes.

    Raises UserError if torchrun has started another number of processes than there are GPUs.
    """
    if not under_torchrun():
        launch(work, machines.gpus, machines.count, machines.rank, machines.url, args=arguments)
        return
    with _met(machines.gpus):
        work(*arguments)


@contextmanager
def _met(gpus: int) -> Iterator[None]:
    """Within the context torchrun's processes know each other: over NCCL on GPUs, over gloo on CPUs."""
    here, local = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if gpus not in (0, here):
        raise UserError(
            f"--gpus {gpus}: torchrun has started {here} processes on this machine; give --gpus {here}"
        )
    if gpus:
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if gpus else "gloo")
    rank, before = distributed.get_rank(), comm._LOCAL_PROCESS_GROUP
    try:
        for first in range(0, distributed.get_world_size(), here):
            group = distributed.new_group(list(range(first, first + here)))
            if first <= rank < first + here:
                comm._LOCAL_PROCESS_GROUP = group
        yield
    finally:
        comm._LOCAL_PROCESS_GROUP = before
        distributed.destroy_process_group()


def shared_model(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over the processes of the run; itself when there is one."""
    if comm.get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    devices = [comm.get_local_rank()] if on_gpu else None
    return DistributedDataParallel(model, broadcast_buffers=False, device_ids=devices)


def bare_model(model: nn.Module) -> nn.Module:
    """The model without the wrapper that several processes need."""
    return model.module if isinstance(model, DistributedDataParallel) else model

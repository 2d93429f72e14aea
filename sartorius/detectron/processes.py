"""Where a run computes: one process, one for each GPU, or the processes that torchrun has started."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed, nn
from torch.multiprocessing import ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from sartorius.errors import UserError

#: How long processes wait for each other: the first one validates alone, on a CPU for long.
PATIENCE = timedelta(hours=12)
#: What torchrun tells each process.
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Machines:
    """The GPUs and machines of a run.

    gpus: GPUs of this machine, 0 trains on the CPU. count, rank, url: number of machines, this one's number, and the
    address (`tcp://host:port`, or "auto" on one machine) where they meet. Under torchrun only `gpus` counts.
    Raises UserError for several machines without a GPU or an address, and for one that has a number or an address;
    torchrun does without both.
    """

    gpus: int = 0
    count: int = 1
    rank: int = 0
    url: str = "auto"

    def __post_init__(self) -> None:
        if self.count > 1 and not (self.gpus and self.url.startswith("tcp://") and self.rank < self.count):
            raise UserError(
                f"{self.count} machines need --gpus N, --dist-url tcp://HOST:PORT and --machine-rank below "
                f"{self.count}, got --gpus {self.gpus}, --dist-url {self.url}, --machine-rank {self.rank}; CPUs of "
                "several machines train under torchrun"
            )
        if self.count == 1 and not under_torchrun() and (self.rank, self.url) != (0, "auto"):
            raise UserError(
                f"one machine needs neither --machine-rank nor --dist-url, got --machine-rank {self.rank}, --dist-url "
                f"{self.url}; leave them out, or give --machines N"
            )

    @property
    def processes(self) -> int:
        """How many processes share each step."""
        return int(os.environ["WORLD_SIZE"]) if under_torchrun() else max(self.gpus, 1) * self.count

    @property
    def first(self) -> bool:
        """Whether this process writes what a run writes once; before and after the processes have met."""
        return int(os.environ["RANK"]) == 0 if under_torchrun() else self.rank == 0


def under_torchrun() -> bool:
    """Whether this process is one of several that torchrun has started."""
    return all(name in os.environ for name in _TORCHRUN)


def run_on(machines: Machines, work: Callable[..., None], *arguments: object) -> None:
    """Do the work in every process of the run: detectron2's `launch`, or in torchrun's processes.

    Raises UserError if torchrun has started another number of processes than there are GPUs, or one of them raised it.
    """
    if not under_torchrun():
        try:
            launch(
                work,
                machines.gpus,
                machines.count,
                machines.rank,
                machines.url,
                args=arguments,
                timeout=PATIENCE,
            )
        except ProcessRaisedException as error:  # its text is the process's traceback
            _, told, message = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
            if not told:
                raise
            raise UserError(message.strip()) from None
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
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)
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

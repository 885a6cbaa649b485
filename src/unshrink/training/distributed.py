"""Several processes that train one network: each takes its share of every batch, and they agree on all that follows.

    torchrun --nproc-per-node 2 -m unshrink train configs/irn-x2.toml

All processes go through the same steps with the same random sequences; what differs is the share of the batch, and
that the first process alone writes files.  Whatever a clock or a signal decides goes through ``largest``, so that none
waits for a step that another does not make.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unshrink.errors import ConfigError, UnshrinkError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run as one of them sees it; by default it is the only one.

    Attributes:
        rank: its own number, from 0.
        count: how many there are, on all machines together.
        device: its own device: "cpu", "cuda", "cuda:1", ...
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    def share(self, batch: int, batches: int = 1) -> slice:
        """Which crops of the batches of a step are this process's: as many of each batch.

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        if batch % self.count:
            raise ConfigError(f"data.batch is {batch}: must be a multiple of the {self.count} processes that share it")
        size = batch * batches // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def wrap(self, step: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes in ``backward``."""
        if self.count == 1:
            return step
        ids = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(step, device_ids=ids, gradient_as_bucket_view=True)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Makes each tensor, in place, its mean over the processes."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.count

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over the processes: the same for all."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over the processes: the same for all."""
        total = self._reduce(tuple(values.values()), dist.ReduceOp.SUM)
        return {name: value / self.count for name, value in zip(values, total, strict=True)}

    def spread(self, work: Callable[[T], Any], items: list[T]) -> list[Any]:
        """``[work(item) for item in items]``, for all, of which each process does every ``count``-th."""
        done = [work(item) for item in items[self.rank :: self.count]]
        if self.count == 1:
            return done
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, done)
        return [parts[i % self.count][i // self.count] for i in range(len(items))]

    def merge(self, values: Tensor) -> None:
        """Joins in place what each process has filled in of a tensor of zeros, where no two filled in the same."""
        if self.count > 1:
            for part in values.view(torch.uint8).flatten().split(1 << 28):  # in pieces: a piece is held twice
                dist.all_reduce(part)

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives, or the UnshrinkError that it raises, in the first process: the same for all."""
        if self.count == 1:
            return make()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box = [make(), None]
            except UnshrinkError as error:
                box = [None, error]
        dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def _reduce(self, values: tuple[float, ...], operation: Any) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)  # on the CPU: a device would be waited for
        if self.count > 1:
            dist.all_reduce(tensor, operation)
        return tensor.tolist()


ALONE = Processes()


def held_back(step: nn.Module, held: bool) -> AbstractContextManager[object]:
    """Where gradients of a wrapped step stay in each process if ``held``, to be averaged with those that follow."""
    return step.no_sync() if held and isinstance(step, DistributedDataParallel) else nullcontext()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started, or is alone where it did not.

    Args:
        device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.  Of several processes on a machine,
            each takes the GPU of its own number.

    Raises:
        ConfigError: there is no such device.
    """
    chosen = choose_device(device)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=chosen)
        return
    if chosen == "cuda":
        chosen = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(chosen)
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.startswith("cuda") else "gloo")
    yield Processes(dist.get_rank(), count, chosen)
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def choose_device(device: str) -> str:
    """The device that "auto" stands for, or the one named.  Raises ConfigError if torch cannot use it."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's messages name no remedy, and run over many lines
        reason = str(error).splitlines()[0]
        raise ConfigError(f"run.device = {device!r} cannot be used: {reason}; say cpu, cuda or auto") from None
    return device


def threads(wanted: int) -> int:
    """CPU threads for this process: those wanted, or for 0 its share of this machine's cores."""
    return wanted or max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

"""Several processes that train one supernet: each has an equal share of every batch.

    torchrun --nproc-per-node R -m archrep supernet ...

Whatever is random is drawn for the whole batch in every process, which then keeps its share.
Batch norms see the whole batch, and gradients are averaged over processes before they are clipped,
so a step is that of one process with the whole batch, up to rounding. The first process alone
writes and speaks.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from archrep.errors import ConfigError, RunError
from archrep.supernets.norms import BatchStatistics, SharedStatistics

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one, which may write a checkpoint or read images."""

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process; all of them must be there."""

T = TypeVar("T")
_groups = itertools.count()


class OtherProcessError(RunError):
    """Another process ended, and it is that one which says why."""


class _LostError(RunError):
    """Another process is not there any more; it may have said why."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together; by default this one alone, for which nothing is done.

    Attributes:
        rank: Number of this one.
        count: How many R there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Refuse batches that cannot be shared.

        Raises:
            ConfigError: The processes do not divide the images of a batch.
        """
        if size % self.count:
            raise ConfigError(
                f"`batch_size` must be a multiple of the {self.count} processes. Got {size}."
            )

    def share(self, parts: Any) -> Any:
        """This process's rows of tensors, or of all tensors in lists, tuples and dicts.

        Args:
            parts: Tensors whose first axis is a multiple of the images of a batch, those of an
                image in a row.
        """
        if self.count == 1:
            return parts
        if isinstance(parts, Tensor):
            return parts.chunk(self.count)[self.rank]
        if isinstance(parts, dict):
            return {name: self.share(part) for name, part in parts.items()}
        if isinstance(parts, (tuple, list)):
            own = [self.share(part) for part in parts]
            return own if isinstance(parts, list) else tuple(own)
        raise TypeError(f"Expected tensors, lists, tuples and dicts. Got {type(parts).__name__}.")

    def statistics(self) -> BatchStatistics:
        """What batch norms normalise by: the whole batch."""
        return BatchStatistics() if self.count == 1 else SharedStatistics(self.gather)

    def gather(self, own: Tensor) -> Tensor:
        """`[...]` of every process, `[R, ...]`, which can be differentiated."""
        gathered: Tensor = _Gathered.apply(own, self.rank, self.count)  # type: ignore[no-untyped-call]
        return gathered

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over processes, all in one message."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _sum_(flat).div_(self.count)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_figures(self, figures: dict[str, list[Any]], names: Sequence[str]) -> None:
        """Replace some figures of an epoch, lists of numbers, by their means over processes."""
        own = [torch.tensor(figures[name], dtype=torch.float64) for name in names]
        self.average(own)
        for name, mean in zip(names, own, strict=True):
            figures[name] = mean.tolist()

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, which alone calls it."""
        found = [make() if self.is_first else None]
        if self.count > 1:
            with _others():
                dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        return found[0]  # type: ignore[return-value]

    def meet(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            _sum_(torch.zeros(1))


ALONE = Processes()


def launched() -> Processes:
    """What torchrun says of this process; `ALONE` where it did not start it.

    Raises:
        ConfigError: The environment variables are no numbers, or impossible ones.
    """
    if not all(os.environ.get(name) for name in VARIABLES):
        return ALONE
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise ConfigError(f"$RANK must be a number below $WORLD_SIZE. Got {rank!r} and {count!r}.")
    return Processes(int(rank), int(count))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Processes that torchrun started, as one group while the context lasts; or this one alone.

    An error in one of them ends all: the others raise `OtherProcessError`, unless they meet an
    error of their own, such as the same one, before anyone spoke.

    Args:
        device: As `archrep.devices.resolve_device` has it; on GPUs messages go by NCCL.

    Raises:
        OtherProcessError: Another process ended with an error.
        RunError: The others cannot be reached, or one of them was killed.
        ConfigError: There are fewer GPUs than processes on this machine.
    """
    here = launched()
    if here.count == 1:
        yield here
        return
    if dist.is_initialized():
        raise RunError(
            "A process group of torch.distributed is in use already. Leave it first: training "
            "makes one of its own."
        )
    gpu = device != "cpu" and torch.cuda.is_available()
    with _others():
        store = dist.PrefixStore(  # type: ignore[attr-defined]
            f"archrep/{next(_groups)}", _rendezvous()
        )
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            store=store,
            rank=here.rank,
            world_size=here.count,
            timeout=PATIENCE,
        )
    try:
        if gpu:
            _take_gpu()
        yield here
        here.meet()
    except BaseException as error:
        first = _speaks_first(store)
        if not gpu:  # NCCL would wait for the others; connections close when this process ends
            with suppress(RuntimeError):
                dist.destroy_process_group()
        if first or not isinstance(error, Exception):
            raise
        raise OtherProcessError(
            f"Process {here.rank} of {here.count} ended because another one did, which says why."
        ) from error
    dist.destroy_process_group()


def _take_gpu() -> None:
    """Compute on the GPU of this process's number on its machine."""
    own, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= count:
        raise ConfigError(
            f"Each process needs a GPU of its own, and torch sees {count}. Start {count}: "
            f"`--nproc-per-node {count}`."
        )
    torch.cuda.set_device(own)


@cache
def _rendezvous() -> Any:
    """Where processes find each other; one connection, since it belongs to a fixed port."""
    store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
    return store


def _speaks_first(store: Any) -> bool:
    """Whether no other process has announced an error; later ones find this one's."""
    with suppress(RuntimeError):
        return int(store.add("ended", 1)) == 1
    return False  # the process that held the store is gone, and that one was first


@contextmanager
def _others() -> Iterator[None]:
    """Say what it means that a message did not arrive."""
    try:
        yield
    except RuntimeError as error:  # gloo has no class of its own for this
        reason = (str(error).splitlines() or [""])[0].split("] ", 1)[-1][:120]
        raise _LostError(
            "Another process does not answer; it may have been killed, for want of memory for "
            f"example. A run that began goes on with `--resume`. ({reason})"
        ) from error


def _sum_(tensor: Tensor) -> Tensor:
    """Sum over processes in place, to the same bits in all of them."""
    with _others():
        dist.all_reduce(tensor)
    return tensor


class _Gathered(torch.autograd.Function):
    """Gathers by adding rows that are 0 in all processes but one, so its gradient is a sum too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, count: int) -> Tensor:
        ctx.rank = rank
        rows = own.new_zeros(count, *own.shape)
        rows[rank] = own
        return _sum_(rows)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return _sum_(upstream[0].contiguous().clone())[ctx.rank], None, None

"""Processes that train the chunks of a run, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from archrep.errors import ArchrepError, RunError
from archrep.tabulation.chunks import Job, train_chunk


def run_workers(job: Job, todo: list[int], workers: int, advance: Callable[[int], None]) -> None:
    """Let processes take one chunk after the other until none is left."""
    context = multiprocessing.get_context("spawn")
    taken = context.Value("i", 0)
    running: dict[Any, Any] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, todo, taken, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            running[ours] = process
        while running:
            for connection in wait(list(running)):
                _hear(connection, running, advance)
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def _hear(connection: Any, running: dict[Any, Any], advance: Callable[[int], None]) -> None:
    """Take one message of a worker: cells that it finished, an error, or its end."""
    try:
        message = connection.recv()
    except EOFError:
        process = running.pop(connection)
        process.join()
        if process.exitcode:
            raise RunError(
                f"A worker process ended with code {process.exitcode}. Finished chunks are kept: "
                "go on with `--resume`, with fewer `--workers` if memory ran out."
            ) from None
        return
    if isinstance(message, ArchrepError):
        raise message
    advance(message)


def _work(job: Job, todo: list[int], taken: Any, connection: Connection) -> None:
    """A worker process: train the next chunk of `todo` until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        while True:
            with taken.get_lock():
                place = taken.value
                taken.value += 1
            if place >= len(todo):
                return
            train_chunk(job, todo[place], connection.send)
    except ArchrepError as error:
        connection.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)

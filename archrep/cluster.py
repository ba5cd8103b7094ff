"""Work on a Dask cluster: what a pool of processes does, on other machines.

joblib has a Dask backend of its own, which is asked for the client and no more: it sends an object
that is no array along with every call, and waits forever for a call that killed its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from archrep.errors import ConfigError, RunError

if TYPE_CHECKING:
    from distributed import Client

SECONDS_TO_CONNECT, SECONDS_FOR_WORKERS = 10.0, 60.0

PACKAGES = ("archrep", "torch", "numpy", "scipy")
"""Must be of one version everywhere: another may give other numbers."""


@contextmanager
def connected(address: str | None) -> Iterator[Client | None]:
    """Client of a Dask cluster that has workers.

    Args:
        address: Of the scheduler, `"tcp://host:port"`; `None` for the cluster that
            `joblib.parallel_config(backend="dask")` around the call names, if any.

    Yields:
        The client; `None` where work is not for Dask.

    Raises:
        ConfigError: Dask is not installed.
        RunError: Nothing answers there, or no worker comes within a minute.
    """
    if address is None:
        client = _client_of_joblib()
        if client is not None:
            _wait_for_workers(client)
        yield client
        return
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise ConfigError(
            "`cluster` needs Dask, which is not installed. Run `pip install 'archrep[dask]'`."
        ) from None
    try:
        get_address_host_port(address)  # a client of no address would wait, then fail twice
        client = Client(address, set_as_default=False, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise RunError(
            "`cluster` must be the address of a running Dask scheduler, such as "
            f"tcp://192.168.0.1:8786. Got {address!r}: {_line(error)}"
        ) from None
    with client:
        _wait_for_workers(client)
        yield client


def spread(
    client: Client,
    function: Callable[..., Any],
    shared: Any,
    calls: Iterable[tuple[Any, ...]],
) -> Iterator[Any]:
    """Results of `function(shared, *call)`, in the order in which they come.

    A call whose worker dies is made again on another, by Dask's default up to three times.

    Args:
        client: Of the cluster.
        function: Importable on the workers.
        shared: What all calls need; sent to every worker once.
        calls: The other arguments.

    Raises:
        RunError: The workers have other versions of what decides the result, or cannot read
            `shared`; or the cluster gave up a call, or was lost.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker, as_completed

    try:
        there = client.run(_versions)
        sent = client.scatter(shared, broadcast=True, hash=False)
    except Exception as error:  # Dask passes on an error of a worker as one of no kind
        raise RunError(
            f"The workers of {_address(client)} cannot read the work: {_line(error)}. Files that "
            "it names, such as the table, must be at the same path on every machine, and archrep "
            "and your own modules installed."
        ) from None
    here = _versions()
    for worker, versions in there.items():
        if versions != here:
            raise RunError(
                f"Worker {worker} has {versions}, and this process {here}. Install the same on "
                "every machine; results would not be those of one search."
            )
    waiting = []
    try:
        waiting = [client.submit(function, sent, *call, pure=False) for call in calls]
        for future in as_completed(waiting, loop=client.loop):
            yield future.result()
    except (KilledWorker, CancelledError, OSError) as error:
        raise RunError(
            f"The cluster at {_address(client)} failed ({_line(error)}). What was finished is "
            "kept; go on with `--resume`."
        ) from None
    finally:
        client.cancel(waiting)


def _client_of_joblib() -> Client | None:
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return backend.client if type(backend).__name__ == "DaskDistributedBackend" else None


def _address(client: Client) -> str:
    assert client.scheduler is not None  # it is connected
    return str(client.scheduler.address)


def _wait_for_workers(client: Client) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
    except TimeoutError:
        where = _address(client)
        raise RunError(
            f"The cluster at {where} has no worker after {SECONDS_FOR_WORKERS:.0f} seconds. "
            f"Start some: `dask worker {where} --nthreads 1`."
        ) from None


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

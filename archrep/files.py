"""Writing files so that a reader, or a run that is killed, never meets half of one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from archrep.errors import RunError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, flush it to disk, then rename it into place.

    Raises:
        RunError: The disk is full or the folder cannot be written; what was at `path` is intact.
    """
    # The suffix stays, since some writers choose a format by it.
    token = f"{os.getpid()}-{secrets.token_hex(4)}"  # threads of a process have one number
    temporary = path.with_name(f".{path.stem}.{token}.part{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # safetensors makes its files private
        os.replace(temporary, path)
    except Exception as error:
        if not isinstance(error, (OSError, RuntimeError, SafetensorError)):
            raise
        raise RunError(
            f"Could not write {path}: {_reason(error, path)}. What was there before is intact."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: BaseException, path: Path) -> str:
    """Words of the system; torch and safetensors wrap them in errors of their own, or lose them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if error.__context__ is not None:
        return _reason(error.__context__, path)
    try:
        if shutil.disk_usage(path.parent).free < 64 * 2**20:
            return "the disk is (nearly) full"
    except OSError:
        pass
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises:
        RunError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot make the folder {folder}: {error.strerror}.") from None


def check_writable(path: Path, option: str = "--out") -> None:
    """Refuse, before the work, a file that cannot be written; a missing folder can be made.

    Raises:
        RunError: It is a folder, or in one that cannot be written.
    """
    if path.is_dir():
        raise RunError(f"`{option}` must be a file. {path} is a folder.")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot" if there.is_dir() else "is a file"
        raise RunError(f"`{option}` must be in a folder that can be written. {there} {what}.")


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep a second process out of a run directory, which is made if it does not exist.

    The lock goes with its holder, however that ends.

    Raises:
        RunError: Another process holds it, or the folder cannot be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise RunError(f"Cannot write to the run directory {folder}: {error.strerror}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"Another process is writing {folder}. Wait for it, or pass another `--out`."
            ) from None
        for leftover in folder.glob(".*.part*"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        yield


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Named arrays as an uncompressed `.npz`, atomically."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)


def read_arrays(path: Path, what: str) -> dict[str, np.ndarray]:
    """Content of an `.npz` file; its checksums are tested and nothing in it is executed.

    Raises:
        RunError: It is missing or damaged; the message says `what` was expected.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except FileNotFoundError:
        raise RunError(f"Expected {what} in {path}. There is no such file.") from None
    except Exception as error:  # a damaged header makes numpy and zipfile raise nearly anything
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise RunError(f"Expected {what} in {path}, and it cannot be read: {reason}") from None


def write_json(path: Path, values: Any) -> None:
    """Indented JSON, atomically."""
    text = json.dumps(values, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_json(path: Path, what: str) -> Any:
    """Content of a JSON file.

    Raises:
        RunError: It is missing or damaged; the message says `what` was expected.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"Expected {what} in {path}. There is no such file.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"Expected {what} in {path}, and it cannot be read: {error}") from None

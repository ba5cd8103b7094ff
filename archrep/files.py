"""Writing files so that a reader, or a run that is killed, never meets half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archrep.errors import RunError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, flush it to disk, then rename it into place.

    Raises:
        RunError: The disk is full or the folder cannot be written; what was at `path` is intact.
    """
    # The suffix stays, since some writers choose a format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch and safetensors report a failed write as a RuntimeError of their own.
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise RunError(
            f"Could not write {path}: {reason}. What was there before is intact."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


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

"""What a run found: arrays, and how they were made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from archrep.cells.array import CellArray
from archrep.errors import RunError
from archrep.files import write_atomically


@dataclass(frozen=True, eq=False)
class TabulateResult:
    """M cells, each trained S times for E epochs; accuracies are fractions.

    Attributes:
        cells: What was trained, in the order of all rows.
        valid_accuracy: After each epoch, `[M, S, E]` of float32.
        test_accuracy: After each epoch, `[M, S, E]` of float32.
        train_accuracy: At the end, on training images without shifts, `[M, S]` of float32.
        diverged: Whether outputs became infinite or undefined, `[M, S]`; accuracies from then on
            are those of guessing, one over the number of classes.
        train_seconds: CPU time with all evaluations, `[M, S]` of float32. Networks are trained
            side by side; each is given its share by multiply-adds.
        params: Trainable parameters, those of unused nodes included, `[M]` of int64.
        macs: Multiply-adds of one image, those of unused nodes included, `[M]` of int64.
        info: Configuration, images, versions and machine.
    """

    cells: CellArray
    valid_accuracy: np.ndarray
    test_accuracy: np.ndarray
    train_accuracy: np.ndarray
    diverged: np.ndarray
    train_seconds: np.ndarray
    params: np.ndarray
    macs: np.ndarray
    info: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically.

        Raises:
            RunError: It cannot be written.
        """
        arrays = {
            "ops": self.cells.ops,
            "adjacency_bits": self.cells.adjacency_bits,
            **{name: getattr(self, name) for name in _ARRAYS},
        }
        metadata = {
            "format": "archrep.tabulation",
            "vocabulary": json.dumps(self.cells.vocabulary),
            "info": json.dumps(self.info),
        }
        save_arrays(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> TabulateResult:
        """The result in a file, or in the directory of a finished run.

        Raises:
            RunError: There is none, or it is damaged.
        """
        path = Path(path)
        path = path / RESULT_FILE if path.is_dir() else path
        if not path.is_file():
            raise RunError(f"Expected the result of a run in {path}. There is no such file.")
        arrays, metadata = load_arrays(path)
        try:
            cells = CellArray(
                arrays["ops"], arrays["adjacency_bits"], tuple(json.loads(metadata["vocabulary"]))
            )
            columns = {name: arrays[name] for name in _ARRAYS}
            return cls(cells=cells, **columns, info=json.loads(metadata["info"]))
        except KeyError as error:
            raise RunError(f"{path} is no result of a run: {error} is missing.") from None


RESULT_FILE = "result.safetensors"
_ARRAYS = [
    field.name
    for field in dataclasses.fields(TabulateResult)
    if field.name not in ("cells", "info")
]


def save_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write a safetensors file, atomically."""
    # safetensors writes memory as it lies, so a transposed array would come back in another order.
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, lambda temporary: save_file(whole, temporary, metadata))


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
        RunError: It is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Delete it; the run makes it anew with `--resume`."
        ) from None

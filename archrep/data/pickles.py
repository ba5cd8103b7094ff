"""Python batches of images: pickles of Python 2 or 3, read without running what they name.

The official CIFAR and downsampled ImageNet files are pickles of a dict with `data`, bytes of
planar pixels, and `labels`. Those of CIFAR come from Python 2, whose strings are bytes, so the
reader of benchmark tables (`archrep.tables.importers.unpickle`) does not fit.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from archrep.data.files import first_line
from archrep.errors import DataError

_NUMBERS = {"u1", "i4", "i8", "f4", "f8"}


def read_batch(data: bytes, name: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Planar pixels `[N, P]` of uint8 and labels `[N]` of int64 of a Python batch.

    Args:
        data: The file.
        name: What errors call it.
        labels: Key of the labels, such as `"fine_labels"`.

    Raises:
        DataError: It names anything but arrays of numbers, is damaged, or has other content.
    """
    content = _load(data, name)
    if not isinstance(content, dict) or not {"data", labels} <= set(content):
        raise DataError(f"{name} must be a dict with `data` and `{labels}`. It is no such batch.")
    pixels, classes = (_array(content[key]) for key in ("data", labels))
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise DataError(f"`data` of {name} must be [N, P] of uint8. It is something else.")
    if classes is None or classes.shape != (len(pixels),) or classes.dtype.kind not in "iu":
        raise DataError(
            f"`{labels}` of {name} must be {len(pixels):,} whole numbers, one an image."
        )
    return pixels, classes.astype(np.int64)


def _array(value: Any) -> np.ndarray | None:
    """An array out of a pickle; `None` for what is no array of numbers."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, list) and all(type(item) is int for item in value):
        try:
            return np.array(value, dtype=np.int64)
        except OverflowError:
            return None
    return None


def _load(data: bytes, name: str) -> Any:
    try:
        return _Unpickler(data, name).load()
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{name} asks for more memory than there is.") from None
    except Exception as error:  # a nonsensical pickle makes the interpreter raise almost anything
        raise DataError(
            f"{name} is truncated or not a readable pickle ({first_line(error)})."
        ) from None


def _bytes(value: Any) -> bytes:
    """Bytes as Python 2 stored them, which `encoding="latin1"` turned into text."""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, bytes):
        raise pickle.UnpicklingError("an array must hold bytes")
    return value


class _Frozen(type):
    """Type of the stand-ins: a pickle can set attributes of what it names, so they refuse."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"{cls.__name__} cannot be changed")


class _Dtype(metaclass=_Frozen):
    """Stand-in for `numpy.dtype`."""

    def __init__(self, text: Any, *_: Any) -> None:
        if text not in _NUMBERS:
            raise pickle.UnpicklingError(f"arrays must hold numbers, not {str(text)[:20]!r}")
        self._text, self._order = str(text), "|"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a NumPy type has no such byte order")
        self._order = str(state[1])

    def numpy(self) -> np.dtype:
        return np.dtype(self._order + self._text)


class _Array:
    """Stand-in for an array, which its state fills."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array must hold numbers and have a shape")
        flat = np.frombuffer(_bytes(data), dtype.numpy())
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _Reconstruct(metaclass=_Frozen):
    """Stand-in for the function that makes empty arrays."""

    def __new__(cls, *_: Any) -> Any:
        return _Array()


class _Scalar(metaclass=_Frozen):
    """Stand-in for the function that makes NumPy numbers; makes Python numbers."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        if not isinstance(dtype, _Dtype) or len(_bytes(data)) != dtype.numpy().itemsize:
            raise pickle.UnpicklingError("a NumPy number has the wrong size")
        return np.frombuffer(_bytes(data), dtype.numpy())[0].item()


class _Encode(metaclass=_Frozen):
    """Stand-in for `_codecs.encode`, by which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: Any, encoding: Any = "latin1") -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes must be written as latin1")
        return text.encode("latin1")


class _Ndarray(metaclass=_Frozen):
    """Stand-in for `numpy.ndarray`, which pickles of arrays name as an argument."""


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("_codecs", "encode"): _Encode,
}
"""Everything that a batch may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        raise DataError(
            f"{self._name} names {f'{module}.{name}'[:80]!r}, which no batch of images needs. It "
            "is not an official file, or somebody changed it; nothing was executed."
        )

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(f"{self._name} refers to objects outside of the file; it is no batch.")

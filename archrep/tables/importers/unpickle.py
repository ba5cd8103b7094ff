"""Reading foreign pickles without running what they name.

A pickle is a program: it names functions and calls them. Official benchmark files are pickles of
dicts, lists, numbers, strings and NumPy values; here the few names that these need stand for
functions of ours, and any other name is refused before anything is called. NumPy values are built
from their checked bytes, not by NumPy's own unpickling, which trusts its input.
"""

from __future__ import annotations

import bz2
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from archrep.errors import TableError

MEGABYTE = 2**20
_KINDS = "biuf"  # truth values, integers, floats


def read_pickle(path: Path, limit: int) -> Any:
    """Content of a pickle file, which may be compressed with bzip2.

    Args:
        path: The file; whether it is compressed is seen from its first bytes.
        limit: Bytes to read at most, after decompression.

    Raises:
        TableError: It is damaged, larger than the limit, or names anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            return load_pickle(file, str(path), limit)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}.") from None


def load_pickle(file: IO[bytes], name: str, limit: int) -> Any:
    """Content of an open pickle file; see `read_pickle`.

    Args:
        file: A buffered file at its beginning, which must be able to seek.
        name: What errors call it.
        limit: Bytes to read at most, after decompression.

    Raises:
        TableError: See `read_pickle`.
    """
    compressed = file.read(3) == b"BZh"
    file.seek(0)
    stream = _Limited(bz2.BZ2File(file) if compressed else file, name, limit)
    try:
        content = _Unpickler(stream, name).load()
        while stream.read(MEGABYTE):  # the checksum of compressed data stands at their end
            pass
        return content
    except TableError:
        raise
    except MemoryError:
        raise TableError(f"{name} asks for more memory than there is.") from None
    except RecursionError:
        raise TableError(f"{name} is nested too deeply.") from None
    except (EOFError, OSError) as error:  # what bz2 raises for a damaged or short file
        raise TableError(f"{name} is truncated or damaged ({_words(error)}).") from None
    except Exception as error:
        # Whatever else a nonsensical pickle makes the interpreter raise: UnpicklingError,
        # ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError, ...
        raise TableError(f"{name} is not a readable pickle ({_words(error)}).") from None


class NumpyArray:
    """An array of numbers in a pickle.

    Attributes:
        values: The numbers, read-only; empty until the pickle has given them.
    """

    values: np.ndarray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array must hold numbers")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array must have a shape")
        flat = np.frombuffer(data, dtype.numpy())
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _Frozen(type):
    """Type of the stand-ins: a pickle can set attributes of what it names, so they refuse."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"{cls.__name__} cannot be changed")


class _Dtype(metaclass=_Frozen):
    """Stand-in for `numpy.dtype`: numbers only."""

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or len(text) != 2 or text[0] not in _KINDS:
            raise pickle.UnpicklingError(f"NumPy values must be numbers, not {str(text)[:20]!r}")
        self._text, self._order = text, "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a NumPy type has no such byte order")
        self._order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self._order + self._text)


class _Scalar(metaclass=_Frozen):
    """Stand-in for the function that makes NumPy numbers; makes Python numbers."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> Any:
        kind = dtype.numpy()
        if not isinstance(data, bytes) or len(data) != kind.itemsize:
            raise pickle.UnpicklingError("a NumPy number has the wrong size")
        return np.frombuffer(data, kind)[0].item()


class _Reconstruct(metaclass=_Frozen):
    """Stand-in for the function that makes empty arrays, which their state then fills."""

    def __new__(cls, *_: Any) -> Any:
        return NumpyArray()


class _Ndarray(metaclass=_Frozen):
    """Stand-in for `numpy.ndarray`, which pickles of arrays name as an argument."""


NUMPY: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "scalar"): _Scalar,  # as written by NumPy 2
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
}
"""Names of NumPy that pickles of numbers and arrays need, and what stands for each."""

_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,  # as written by protocols 0 to 2
    ("__builtin__", "frozenset"): frozenset,
    **NUMPY,
}
"""Everything that a pickle may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: _Limited, name: str) -> None:
        super().__init__(file)
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        raise TableError(
            f"{self._name} names {f'{module}.{name}'[:80]!r}, which no benchmark file needs. It is "
            "not an official file, or somebody changed it; nothing was executed."
        )

    def persistent_load(self, pid: Any) -> Any:
        raise TableError(f"{self._name} refers to objects outside of the file; it is no table.")


class _Limited:
    """A stream that ends in an error after so many bytes."""

    def __init__(self, stream: Any, name: str, limit: int) -> None:
        self._stream, self._name = stream, name
        self._limit = self._left = limit

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise TableError(
                f"{self._name} holds more than {self._limit // MEGABYTE:,} MB, far more than an "
                "official file of its kind."
            )

    def read(self, count: int = -1) -> bytes:
        wanted = self._left + 1 if count < 0 else min(count, self._left + 1)
        data = self._stream.read(wanted)
        self._spend(len(data))
        return data

    def readline(self) -> bytes:
        data = self._stream.readline(self._left + 1)
        self._spend(len(data))
        return data

    def peek(self, count: int) -> bytes:
        return self._stream.peek(count)


def _words(error: Exception) -> str:
    """First line of an error; never the data in it at length."""
    lines = str(error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__

"""Makers of files in the official layouts, small for tests and of full size for benchmarks.

The figures are random and on the official grids; cells, hashes, names and keys are real.
"""

from __future__ import annotations

import base64
import bz2
import functools
import json
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from archrep.cells import Space, get_space
from archrep.tables.importers.tfrecord import crc32c, masked

TRAININGS = {
    "cifar10-valid": (10, 25_000, {"x-valid": 25_000, "ori-test": 10_000}),
    "cifar10": (10, 50_000, {"ori-test": 10_000}),
    "cifar100": (100, 50_000, {"x-valid": 5_000, "x-test": 5_000, "ori-test": 10_000}),
    "ImageNet16-120": (120, 151_700, {"x-valid": 3_000, "x-test": 3_000, "ori-test": 6_000}),
}
"""Classes, training images and images of each evaluation, by official training set."""

TOPOLOGY_SEEDS = {
    "12": {"cifar10-valid": (777, 111), "other": (111,)},
    "200": {"other": (777, 888, 999)},
}
SIZE_SEEDS = {"01": {"other": (777,)}, "12": {"other": (777, 888, 999)}, "90": {"other": (777,)}}
HARDWARE = (
    *("edgegpu_latency", "edgegpu_energy", "raspi4_latency", "edgetpu_latency", "pixel3_latency"),
    *("eyeriss_latency", "eyeriss_energy", "eyeriss_arithmetic_intensity"),
    *("fpga_latency", "fpga_energy"),
)


# Record files ------------------------------------------------------------------------------------


def frames(payloads: list[bytes]) -> bytes:
    """Payloads with lengths and checksums around them."""
    lengths = np.array([len(payload) for payload in payloads], np.int64)
    heads = lengths.astype("<u8").tobytes()
    buffer = np.frombuffer(heads + b"".join(payloads), np.uint8)
    rows = np.arange(len(payloads), dtype=np.int64)
    starts = len(heads) + np.concatenate([[0], lengths.cumsum()[:-1]]).astype(np.int64)
    head_crc = masked(crc32c(buffer, 8 * rows, np.full_like(lengths, 8))).tolist()
    data_crc = masked(crc32c(buffer, starts, lengths)).tolist()
    return b"".join(
        struct.pack("<QI", len(payload), head) + payload + struct.pack("<I", data)
        for payload, head, data in zip(payloads, head_crc, data_crc, strict=True)
    )


def write_records(path: Path, payloads: Iterable[bytes]) -> None:
    """A .tfrecord file."""
    with open(path, "wb") as file:
        batch: list[bytes] = []
        for payload in payloads:
            batch.append(payload)
            if len(batch) == 4096:
                file.write(frames(batch))
                batch = []
        if batch:
            file.write(frames(batch))


def evaluation(epoch: float, seconds: float, accuracies: Iterable[float]) -> bytes:
    """A serialised `EvaluationData`."""
    values = (epoch, seconds, *accuracies)
    return b"".join(struct.pack("<Bd", k << 3 | 1, v) for k, v in enumerate(values, 1))


def varint(value: int) -> bytes:
    """A protocol buffer number."""
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def metrics(evaluations: Iterable[bytes], params: int, total: float = 0.0) -> bytes:
    """A serialised `ModelMetrics`."""
    parts = [b"\x0a" + varint(len(part)) + part for part in evaluations]
    return b"".join(parts) + b"\x10" + varint(params) + struct.pack("<Bd", 0x19, total)


def nasbench101_payloads(
    rows: Iterable[int], epochs: Iterable[int] = (108,), runs: int = 3, seed: int = 0
) -> Iterator[bytes]:
    """Records of cells of NAS-Bench-101, in the order of the official files."""
    space, rng = get_space("nasbench101"), np.random.default_rng(seed)
    rows = np.fromiter(rows, np.int64)
    cells = space.enumerate()[rows]
    for cell, params in zip(cells, space.params(cells).tolist(), strict=True):
        key = space.module_hash(cell)
        adjacency = "".join(map(str, cell.adjacency.ravel().tolist()))
        for schedule in epochs:
            for _ in range(runs):
                counts = np.float32(rng.integers(900, 9984, (2, 3)) / 9984).astype(float).tolist()
                seconds = float(np.float32(schedule * (12 + rng.random())))
                message = metrics(
                    [
                        evaluation(0, 0, (0.1, 0.1, 0.1)),
                        evaluation(schedule / 2, seconds / 2, counts[0]),
                        evaluation(schedule, seconds, counts[1]),
                    ],
                    params,
                    seconds,
                )
                encoded = base64.encodebytes(message).decode()
                yield json.dumps([key, schedule, adjacency, ",".join(cell.ops), encoded]).encode()


# NATS-Bench --------------------------------------------------------------------------------------


def trial(
    space: Space, index: int, training: str, epochs: int, seed: int, rng: np.random.Generator
) -> dict[str, Any]:
    """One training as the official files record it."""
    classes, images, splits = TRAININGS[training]
    cells = space.enumerate()[[index]]
    text = space.format(cells[0])
    pixels = 16 if training == "ImageNet16-120" else 32
    # As in the official files, long topology trainings were validated at the end only.
    ends_only = set(splits) - {"ori-test"} if epochs == 200 else set()

    def accuracies(count: int) -> list[float]:
        return (rng.integers(count // 10, count, epochs) / count * 100).tolist()

    keys = {s: [f"{s}@{e}" for e in range(epochs)][-1 if s in ends_only else 0 :] for s in splits}
    evaluated = {k: v for s in splits for k, v in zip(keys[s], accuracies(splits[s]), strict=False)}
    return {
        "name": training,
        "net_state_dict": None,
        "train_acc1es": dict(enumerate(accuracies(images))),
        "train_acc5es": None,
        "train_losses": dict(enumerate(rng.random(epochs).tolist())),
        "train_times": OrderedDict.fromkeys(range(epochs), 7.0 + index % 7),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": text, "class_num": classes},
        "params": np.float64(space.params(cells, classes)[0] / 1e6),
        "flop": float(space.macs(cells, classes, pixels)[0] / 1e6),
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(0.01 + 0.01 * rng.random())],
        "eval_names": list(splits),
        "eval_acc1es": evaluated,
        "eval_times": dict.fromkeys(evaluated, 1.5),
        "eval_losses": {key: float(rng.random()) for key in evaluated},
    }


def nats_record(space: Space, index: int, seed: int = 0) -> dict[str, Any]:
    """Results of one cell by schedule."""
    rng = np.random.default_rng((seed, index))
    record = {}
    for schedule, seeds in (SIZE_SEEDS if space.name == "nats-size" else TOPOLOGY_SEEDS).items():
        results = {
            (training, s): trial(space, index, training, int(schedule), s, rng)
            for training in TRAININGS
            for s in seeds.get(training, seeds["other"])
        }
        record[schedule] = {
            "arch_index": index,
            "arch_str": space.format(space.enumerate()[index]),
            "all_results": results,
            "dataset_seed": {t: sorted(s for d, s in results if d == t) for t in TRAININGS},
            "clear_net_done": True,
        }
    return record


@functools.cache
def nats_meta(space: Space) -> dict[str, Any]:
    """The list of all cells."""
    archs = [space.format(cell) for cell in space.enumerate()]
    return {
        "meta_archs": archs,
        "total_archs": len(archs),
        "arch2infos": None,
        "evaluated_indexes": set(),
    }


def write_nats_folder(folder: Path, space: Space, indices: Iterable[int]) -> Path:
    """A `...-simple` folder."""
    folder.mkdir(parents=True)
    (folder / "meta.pickle.pbz2").write_bytes(_compressed_meta(space))
    for index in indices:
        write_pickle(folder / f"{index:06d}.pickle.pbz2", nats_record(space, index))
    return folder


@functools.cache
def _compressed_meta(space: Space) -> bytes:
    return bz2.compress(pickle.dumps(nats_meta(space), 4))


def whole(space: Space, indices: Iterable[int]) -> dict[str, Any]:
    """Everything in one dict."""
    infos = {index: nats_record(space, index) for index in indices}
    return nats_meta(space) | {"arch2infos": infos, "evaluated_indexes": set(infos)}


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    """A pickle, compressed if its name ends in .pbz2."""
    data = pickle.dumps(content, protocol)
    path.write_bytes(bz2.compress(data) if path.suffix == ".pbz2" else data)
    return path


def write_big_nats_folder(folder: Path, space: Space, cells: int, variants: int = 16) -> Path:
    """A folder of the first cells in minutes: a few records are compressed, the rest renamed ones.

    A bzip2 file may have several streams, so the long parts are compressed once and the parts that
    name the cell again for each.
    """
    folder.mkdir(parents=True)
    (folder / "meta.pickle.pbz2").write_bytes(_compressed_meta(space))
    templates = [_template(space, index) for index in range(variants)]
    for index, text in enumerate(nats_meta(space)["meta_archs"][:cells]):
        named = struct.pack("<BI", 0x4A, index), struct.pack("<BB", 0x8C, len(text)) + text.encode()
        streams = []
        for kind, part in templates[index % variants]:
            streams.append(part if kind is None else bz2.compress(named[kind]))
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(b"".join(streams))
    return folder


def _template(space: Space, index: int) -> list[tuple[int | None, bytes]]:
    """Compressed parts of a record, and in between where number (0) or text (1) of a cell stand."""
    mark, text = 65_432, "?" * 77
    record = nats_record(space, index)
    for result in record.values():
        result["arch_index"], result["arch_str"] = mark, text
        for one in result["all_results"].values():
            one["arch_config"]["arch_str"] = text
    data = _without_frames(pickle.dumps(record, 4))
    marks = {struct.pack("<BH", 0x4D, mark): 0, b"\x8c\x4d" + text.encode(): 1}
    parts = re.split(b"(" + b"|".join(map(re.escape, marks)) + b")", data)
    return [(marks[part], part) if part in marks else (None, bz2.compress(part)) for part in parts]


def _without_frames(data: bytes) -> bytes:
    """A protocol 4 pickle without frames, whose lengths would have to be kept."""
    parts, position = [data[:2]], 2
    while position < len(data):
        if data[position] != 0x95:  # what is too long for a frame stands outside of one
            parts.append(data[position:])
            break
        (length,) = struct.unpack_from("<Q", data, position + 1)
        parts.append(data[position + 9 : position + 9 + length])
        position += 9 + length
    return b"".join(parts)


# NAS-Bench-201 and HW-NAS-Bench ------------------------------------------------------------------


def nasbench201_checkpoint(indices: Iterable[int], old: bool = False) -> dict[str, Any]:
    """The dict in a .pth file; the old release has 12-epoch results of one training set only."""
    space = get_space("nasbench201")
    content = whole(space, indices)
    infos = {}
    for index, record in content["arch2infos"].items():
        less, full = record["12"], record["200"]
        if old:
            less["all_results"] = {
                k: v for k, v in less["all_results"].items() if k[0] == "cifar10-valid"
            }
            for one in full["all_results"].values():
                one["train_times"], one["eval_times"] = None, {}
        infos[index] = {"full": full, "less": less}
    return content | {"arch2infos": infos, "evaluated_indexes": list(infos)}


def hw_nas_bench(arrays: bool = True, seed: int = 0) -> dict[str, Any]:
    """The dict in the HW-NAS-Bench file, its figures in arrays or in lists of NumPy numbers."""
    space, rng = get_space("nasbench201"), np.random.default_rng(seed)
    texts = [space.format(cell) for cell in space.enumerate()]
    part = {}
    for dataset in ("cifar10", "cifar100", "ImageNet16-120"):
        figures = {name: 1 + rng.random(len(texts)) for name in HARDWARE}
        part[dataset] = {
            "config": [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": t} for t in texts],
            **{name: values if arrays else list(values) for name, values in figures.items()},
        }
    return {"nasbench201": part, "fbnet": {"edgegpu_latency": {"Skip_H32": 0.1}}}

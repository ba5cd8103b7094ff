"""Training of supernets against the plain loop of released search code, in one sitting.

Question: how much CPU time does an image cost each, how much of the difference is the data loader
          and how much the network, and what does a step take in memory?
Command:  python benchmarks/supernet_speed.py            (20 minutes, half of a busy core)
          python benchmarks/supernet_speed.py --quick    (a test of all cases, 3 minutes)
          python benchmarks/supernet_speed.py --only "16 px" --repeats 3
          python benchmarks/supernet_speed.py --compile  (what torch.compile gives: many minutes)
          python benchmarks/supernet_speed.py --bfloat16 (what that precision gives: 3 minutes)
          python benchmarks/supernet_speed.py --only-print

Ours keeps images in memory, augments whole batches and trains all seeds of a case as one program.
The plain side, `plain_supernets.py`, has a module an operation, two worker processes a loader,
float32, and one seed at a time. Both crop, flip, and have the same losses, SGD, clipping and Adam.
A mixed step is one of the architecture weights and one of the weights, of a batch each.

Figures are CPU milliseconds an image and seed, on one thread, workers of loaders included; median
of repeats that alternate between the sides, with the smallest and largest. "Network" has batches
made beforehand, "data" makes batches and does nothing with them. Memory is what the peak resident
size of a process of its own is above its resident size before the first step: one
step of all seeds of ours, of one seed of the plain side, loaders left out. Images are noise, since
their cost does not depend on what they show. Writes benchmarks/results/supernet_speed.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import plain_supernets as plain
import torch
from torch import nn

from archrep.data.base import ImageSet
from archrep.devices import environment
from archrep.files import write_json
from archrep.memory import peak_memory_bytes
from archrep.objectives.registry import make_objective
from archrep.searchers.base import Searcher
from archrep.searchers.config import SupernetConfig
from archrep.searchers.registry import get_searcher
from archrep.supernets import mobilenet
from archrep.supernets.base import Mixture

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "supernet_speed.json"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained.

    Attributes:
        space: The supernet of ours.
        searcher: `"single-path"`, or a search by gradient.
        sizes: Channels and cells, or the width.
        pixels: Side of an image.
        batch: Images of a step.
        seeds: How many ours trains as one program.
        steps: Of one measurement, each seed.
        clip: Largest norm of a gradient.
    """

    space: str
    searcher: str
    sizes: dict[str, Any] = field(default_factory=dict)
    pixels: int
    batch: int
    seeds: int = 1
    steps: int = 8
    clip: float | None = None

    @property
    def is_mixed(self) -> bool:
        return self.searcher != "single-path"


_C8_8 = {"space": "nasbench201", "sizes": {"channels": 8, "cells": 1}, "pixels": 8}
_C8_8 |= {"batch": 32, "seeds": 5, "steps": 8}
_C8_16 = _C8_8 | {"pixels": 16, "batch": 64, "seeds": 3, "steps": 4}
_C16_32 = {"space": "nasbench201", "sizes": {"channels": 16, "cells": 5}, "pixels": 32}
_C16_32 |= {"batch": 64, "steps": 2}
_DARTS = {"sizes": {"channels": 8, "cells": 5}, "pixels": 16, "batch": 64, "steps": 1, "clip": 5.0}

CASES = {
    "NB201 path C8 N1 8 px, 5 seeds": Case(searcher="single-path", **_C8_8),
    "NB201 mixed C8 N1 8 px, 5 seeds": Case(searcher="darts", **_C8_8),
    "NB201 path C8 N1 16 px, 3 seeds": Case(searcher="single-path", **_C8_16),
    "NB201 mixed C8 N1 16 px, 3 seeds": Case(searcher="darts", **_C8_16),
    "NB201 path C16 N5 32 px, 1 seed": Case(searcher="single-path", **_C16_32),
    "NB201 mixed C16 N5 32 px, 1 seed": Case(searcher="darts", **_C16_32 | {"steps": 1}),
    "DARTS S0 path C8 L5 16 px, 1 seed": Case(
        space="darts", searcher="single-path", **_DARTS | {"steps": 4}
    ),
    "DARTS S0 mixed C8 L5 16 px, 1 seed": Case(space="darts", searcher="darts", **_DARTS),
    "DARTS S2 mixed C8 L5 16 px, 1 seed": Case(space="darts-s2", searcher="darts", **_DARTS),
    "PC-DARTS K=4 mixed C8 L5 16 px, 1 seed": Case(space="darts", searcher="pc-darts", **_DARTS),
    "MobileNet path x0.25 32 px, 1 seed": Case(
        space="mobilenet", searcher="single-path", sizes={"width": 0.25}, pixels=32, batch=64,
        steps=4,
    ),
}  # fmt: skip


# Both sides --------------------------------------------------------------------------------------


class Ours:
    """A searcher, its images in memory."""

    def __init__(self, case: Case, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        settings = {"warmup_epochs": 0} if case.searcher == "pc-darts" else {}
        config = SupernetConfig(
            space=case.space, objective="supervised", searcher=case.searcher,
            searcher_settings=settings, epochs=1000, batch_size=case.batch, runs=case.seeds,
            clip=case.clip, weight_decay=3e-4, precision=precision, **case.sizes,
        )  # fmt: skip
        pixels, labels = images_of(case, parts=1 + case.is_mixed)
        scaled = pixels / 255
        images = ImageSet(
            "noise", torch.from_numpy(pixels), torch.from_numpy(labels), 10,
            tuple(scaled.mean((0, 2, 3)).tolist()), tuple(scaled.std((0, 2, 3)).tolist()),
        )  # fmt: skip
        objective = make_objective("supervised", {})
        self.searcher: Searcher = get_searcher(case.searcher)(config, images, objective)
        self.from_memory = self.searcher.steps
        made = {use: list(self.from_memory(use, 0)) for use in self.searcher.parts}
        self.made = lambda use, epoch: iter(made[use])
        self.trained = case.seeds * case.steps * case.batch
        self.epoch = 0

    def whole(self) -> None:
        """As a run trains an epoch."""
        self._train(self.from_memory)

    def network(self) -> None:
        """The same with batches made beforehand."""
        self._train(self.made)

    def data(self) -> None:
        """Nothing but batches."""
        self.epoch += 1
        for use in self.searcher.parts:
            for _ in self.from_memory(use, self.epoch):
                pass

    def _train(self, steps: Callable[..., Any]) -> None:
        self.searcher.steps = steps  # type: ignore[method-assign]
        self.searcher.train_epoch(self.epoch)
        self.epoch += 1


class Plain:
    """The plain loop; seeds after each other cost what as many epochs of one do."""

    def __init__(self, case: Case, workers: int = 2) -> None:
        torch.set_num_threads(1)
        network = plain_network(case)
        self.classifier = plain.PlainClassifier(network)
        self.optimizer = plain.plain_sgd(self.classifier)
        self.clip, self.epochs = case.clip, case.seeds
        self.loaders: list[Iterable[Any]] = [
            plain.plain_loader(*images_of(case, parts=1), batch=case.batch, workers=workers, seed=n)
            for n in range(1 + case.is_mixed)
        ]
        self.made = [list(loader) for loader in self.loaders]  # starts the workers
        self.sample = None if case.is_mixed else partial(network.sample, np.random.default_rng(0))
        self.searches = {}
        if case.is_mixed:
            edges = case.searcher == "pc-darts"
            for name, batches in (("whole", self.loaders[1]), ("network", self.made[1])):
                search = plain.AlphaSearch(network.allowed, batches, edges=edges)  # type: ignore
                self.searches[name] = search
        self.trained = case.seeds * case.steps * case.batch

    def whole(self) -> None:
        self._train("whole", self.loaders[0])

    def network(self) -> None:
        self._train("network", self.made[0])

    def data(self) -> None:
        for _ in range(self.epochs):
            for loader in self.loaders:
                for _ in loader:
                    pass

    def _train(self, name: str, batches: Iterable[Any]) -> None:
        for _ in range(self.epochs):
            plain.plain_epoch(
                self.classifier, batches, self.optimizer, sample=self.sample,  # type: ignore
                search=self.searches.get(name), clip=self.clip,
            )  # fmt: skip


def plain_network(case: Case) -> plain.PlainSupernet:
    """The plain supernet of a case."""
    if case.space == "nasbench201":
        return plain.PlainNasBench201(**case.sizes)
    if case.space == "mobilenet":
        return NarrowMobileNet(**case.sizes)
    variant = case.space.partition("-")[2] or "s0"
    partial_channels = 4 if case.searcher == "pc-darts" else 1
    affine = not case.is_mixed
    return plain.PlainDarts(variant, affine=affine, partial=partial_channels, **case.sizes)


class NarrowMobileNet(plain.PlainMobileNet):
    """All channels times a factor, rounded as ours are."""

    def __init__(self, width: float) -> None:
        nn.Module.__init__(self)
        narrow = mobilenet.MobileNetSupernet([0], width=width)
        stem, fixed = len(narrow.stem[0]), narrow.places[0].inputs
        self.widths = [stage.channels for stage in narrow.stages]
        first = plain.InvertedBottleneck(
            stem, fixed, kernel=3, expansion=1, stride=1, residual=False
        )
        self.stem = nn.Sequential(plain.conv_norm_relu6(3, stem, 3, stride=2), first)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                plain.InvertedBottleneck(
                    place.inputs, place.outputs, kernel=kernel, expansion=expansion,
                    stride=place.stride, residual=not place.first,
                )
                for kernel, expansion in plain.MOBILE_CHOICES
            )
            for place in narrow.places
        )  # fmt: skip
        self.head = plain.conv_norm_relu6(narrow.places[-1].outputs, self.widths[-1], 1)


def images_of(case: Case, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise `[N, 3, H, W]` of bytes and as many of each of ten classes, for parts of the images."""
    count = case.steps * case.batch * parts
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(count, 3, case.pixels, case.pixels), dtype=np.uint8)
    return pixels, rng.permutation(np.arange(count) % 10)


# Measuring ---------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """CPU time of this process and of the workers of loaders, which stay alive between epochs."""
    # The clock of another process has a number made of its own, see clock_getcpuclockid(3).
    workers = multiprocessing.active_children()
    return time.process_time() + sum(time.clock_gettime((~w.pid << 3) | 2) for w in workers)


def measure(case: Case, repeats: int) -> dict[str, dict[str, list[float]]]:
    """CPU milliseconds an image and seed by side and part."""
    sides = {"ours": Ours(case), "plain": Plain(case)}
    figures: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    for repeat in range(repeats + 1):  # sides alternate, so that a busy minute hits both
        for part in ("network", "data", "whole") if repeat else ("network", "data"):
            for name, side in sides.items():
                started = cpu_seconds()
                getattr(side, part)()
                spent = 1e3 * (cpu_seconds() - started) / side.trained
                if repeat:  # the first warms up
                    figures[name].setdefault(part, []).append(spent)
    return figures


def measure_memory(label: str, side: str, quick: bool) -> float:
    """Bytes that a step takes at its peak; this is run in a process of its own."""
    torch.set_num_threads(1)
    case = replace(quick_case(CASES[label]) if quick else CASES[label], steps=2)
    trained = Ours(case) if side == "ours" else Plain(replace(case, seeds=1), workers=0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * os.sysconf("SC_PAGE_SIZE")
    trained.network()
    return peak_memory_bytes() - before


def in_process(label: str, side: str, quick: bool) -> float:
    """`measure_memory` in a fresh process."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import supernet_speed as own;"
        f"print(own.measure_memory({label!r}, {side!r}, {quick}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def quick_case(case: Case) -> Case:
    """A case for tests: a step of four images."""
    pixels = 16 if case.space == "mobilenet" else 8
    sizes = {"width": 0.1} if case.space == "mobilenet" else dict(case.sizes)
    if "cells" in sizes:
        sizes |= {"cells": min(3, sizes["cells"])}
    return replace(case, sizes=sizes, pixels=pixels, batch=4, steps=1, seeds=min(2, case.seeds))


def measure_bfloat16(case: Case, repeats: int) -> dict[str, float]:
    """CPU milliseconds an image and seed of our network in both precisions, medians."""
    sides = {name: Ours(case, name) for name in ("float32", "bfloat16")}  # type: ignore[arg-type]
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            started = time.process_time()
            side.network()
            if repeat:  # the first warms up
                times[name].append(1e3 * (time.process_time() - started) / side.trained)
    return {name: statistics.median(own) for name, own in times.items()}


def measure_compile() -> dict[str, float]:
    """CPU milliseconds of a forward and backward pass of a supernet, eager and compiled."""
    case = CASES["NB201 mixed C8 N1 16 px, 3 seeds"]
    own = Ours(case).searcher
    inputs, _ = next(own.steps("train", 0))

    def loss(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        mixture = Mixture(weights, active=own.active())  # type: ignore[attr-defined]
        return own.supernet(inputs, mixture=mixture)[-1].square().mean()

    weights, found = own.probabilities().detach(), {}  # type: ignore[attr-defined]
    sides = {"eager": loss, "compiled": torch.compile(loss)}
    started = time.perf_counter()
    for run in sides.values():
        run(inputs, weights).backward()
    found["compile_seconds"] = time.perf_counter() - started
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(30):
        for name, run in sides.items():
            started = time.process_time()
            run(inputs, weights).backward()
            times[name].append(1e3 * (time.process_time() - started))
    return found | {f"{name}_cpu_ms": statistics.median(own) for name, own in times.items()}


# Command -----------------------------------------------------------------------------------------


def main() -> None:
    """Measure what is asked for, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="cases whose label contains one of these")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile instead")
    parser.add_argument("--bfloat16", action="store_true", help="measure that precision instead")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only-print", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a test: one step of four images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(args.out.read_text()) if args.out.exists() else {"cases": {}}
    if not args.only_print:
        record["environment"] = environment(torch.device("cpu"))
        wanted = [label for label in CASES if not args.only or any(p in label for p in args.only)]
        if args.compile:
            record["compile"], wanted = measure_compile(), []
        repeats = 1 if args.quick else args.repeats
        if args.bfloat16:
            record["bfloat16"] = {
                n: measure_bfloat16(quick_case(CASES[n]) if args.quick else CASES[n], repeats)
                for n in wanted
            }
            wanted = []
        for label in wanted:
            case = quick_case(CASES[label]) if args.quick else CASES[label]
            entry: dict[str, Any] = {"case": asdict(case)}
            entry["cpu_ms"] = measure(case, repeats)
            if case.is_mixed:
                sides = ("ours", "plain")
                entry["step_bytes"] = {s: in_process(label, s, args.quick) for s in sides}
            record["cases"][label] = entry
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, record)
        write_json(args.out, record)
    print_record(record)


def print_record(record: dict[str, Any]) -> None:
    """Table of the record."""
    print(json.dumps(record["environment"]))
    print("| case | part | ours, CPU ms | plain, CPU ms | ratio | MB a step: ours, plain |")
    print("|---|---|---|---|---|---|")
    for label in [label for label in CASES if label in record["cases"]]:
        entry = record["cases"][label]
        ours, theirs = entry["cpu_ms"]["ours"], entry["cpu_ms"]["plain"]
        for part in ours:
            ratio = statistics.median(theirs[part]) / statistics.median(ours[part])
            memory = ""
            if part == "network" and "step_bytes" in entry:
                memory = ", ".join(f"{size / 1e6:.0f}" for size in entry["step_bytes"].values())
            texts = [label, part, spread(ours[part]), spread(theirs[part]), f"{ratio:.2f}", memory]
            print(f"| {' | '.join(texts)} |")
    for label, times in record.get("bfloat16", {}).items():
        ratio = times["float32"] / times["bfloat16"]
        print(f"bfloat16, {label}: {times['bfloat16']:.4f} CPU ms, float32 / bfloat16 {ratio:.2f}")
    if "compile" in record:
        print(f"torch.compile, NB201 mixed C8 N1 16 px, 3 seeds: {json.dumps(record['compile'])}")


def spread(values: list[float]) -> str:
    """Median, with the smallest and the largest."""
    return f"{statistics.median(values):.4f} ({min(values):.4f} .. {max(values):.4f})"


if __name__ == "__main__":
    main()

"""Training and embedding of 10^5, 10^6 and 10^7 DARTS cells as a stream, at constant memory.

Question: does the cost grow linearly with the number of cells, and does memory stay where it is?
Command:  python benchmarks/scaling.py                        (about an hour on two cores)
          python benchmarks/scaling.py --cells 100000 1000000
          python benchmarks/scaling.py --quick                (a test)

Each size is a process of its own: one epoch of training over cells that are drawn as they are
needed, then embedding of the same stream. Writes benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "scaling.json"


def measure(cells: int) -> dict[str, float]:
    """Train on and embed a stream of `cells` DARTS cells, one epoch each."""
    from dataclasses import replace

    from archrep.cells import get_space
    from archrep.embeddings import TrainedEncoder
    from archrep.encoder.config import preset_config
    from archrep.encoder.models import build_model
    from archrep.encoder.train import StreamedCells, train
    from archrep.memory import peak_memory_bytes

    space = get_space("darts")
    config = preset_config("archrep", space)
    config = replace(config, training=replace(config.training, epochs=1))
    model = build_model(config.model, space, 0)
    speed = train(model, StreamedCells(space, cells, seed=0), config)
    after_training = peak_memory_bytes()
    encoder = TrainedEncoder(model, config, space)
    started, count, total = time.process_time(), 0, 0.0
    for chunk in space.stream(cells, seed=0):
        vectors = encoder.embed(chunk)
        count, total = count + len(vectors), total + float(vectors.sum())
    assert count == cells
    assert math.isfinite(total)
    return {
        "cells": cells,
        "train_cpu_seconds": speed["train_cpu_seconds"],
        "train_seconds": speed["train_seconds"],
        "embed_cpu_seconds": time.process_time() - started,
        "peak_memory_after_training_bytes": after_training,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def main() -> None:
    """Measure every size and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--quick", action="store_true", help="2,000 and 4,000 cells")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    import torch

    from archrep.devices import environment
    from archrep.files import write_json

    record: dict = {"environment": environment(torch.device("cpu")), "sizes": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for cells in [2_000, 4_000] if args.quick else args.cells:
        code = (
            f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import scaling;"
            f"print(json.dumps(scaling.measure({cells})))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        record["sizes"].append(figures)
        write_json(args.out, record)
        train, embed = (1e6 * figures[f"{k}_cpu_seconds"] / cells for k in ("train", "embed"))
        print(
            f"{cells:>10,} cells: {train:.1f} CPU-µs a cell in training, {embed:.1f} in embedding, "
            f"peak {figures['peak_memory_bytes'] / 2**20:,.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

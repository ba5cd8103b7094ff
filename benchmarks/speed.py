"""Speed and memory of pre-training against a batch-32 loop of the published preset, in one sitting.

Question: how many graphs a CPU-second does each train, and what does the rest cost?
Command:  python benchmarks/speed.py            (5 minutes on one core)
          python benchmarks/speed.py --quick    (a minute, fewer repeats)

Each measurement is a process of its own with one thread; the median of the repeats is reported,
with the smallest and the largest. Writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "speed.json"


def measure_training(preset: str, space: str, steps: int) -> dict[str, float]:
    """Graphs per CPU-second over `steps` steps after ten to warm up, data already in memory."""
    from dataclasses import replace

    import torch

    from archrep.cells import get_space
    from archrep.encoder.config import preset_config
    from archrep.encoder.models import build_model
    from archrep.encoder.pretrain import load_cells
    from archrep.encoder.train import ListedCells, train
    from archrep.memory import peak_memory_bytes

    torch.set_num_threads(1)
    config = preset_config(preset, space)
    size = config.training.batch_size
    if space == "darts":
        config = replace(config, cells=max(20_000, steps * size))
    started = time.perf_counter()
    cells = load_cells(config)
    model = build_model(config.model, get_space(space), 0)
    setup = time.perf_counter() - started
    rates = {}
    for count in (
        10,
        steps,
    ):  # as many epochs as a run has: the 2020 preset is faster after the first
        epochs = min(config.training.epochs, 8)
        rows = [n % len(cells) for n in range(max(1, count // epochs) * size)]
        short = replace(config, training=replace(config.training, epochs=epochs))
        rates = train(model, ListedCells(cells[rows]), short)
    return {
        "graphs_per_cpu_second": rates["graphs_per_cpu_second"],
        "setup_seconds": setup,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def measure_embedding(space: str) -> dict[str, float]:
    """CPU-seconds to embed a whole space in float32."""
    import torch

    from archrep.cells import get_space
    from archrep.embeddings import TrainedEncoder
    from archrep.encoder.config import preset_config
    from archrep.encoder.models import build_model

    torch.set_num_threads(1)
    config = preset_config("archrep", space)
    encoder = TrainedEncoder(
        build_model(config.model, get_space(space), 0), config, get_space(space)
    )
    cells = get_space(space).enumerate()
    encoder.embed(cells[:4096])
    started = time.process_time()
    encoder.embed(cells)
    seconds = time.process_time() - started
    return {"cpu_seconds": seconds, "graphs_per_cpu_second": len(cells) / seconds}


def measure_enumeration() -> dict[str, float]:
    """CPU-seconds to enumerate NAS-Bench-101, hash it, and draw 600,000 DARTS cells."""
    from archrep.cells import get_space

    figures = {}
    started = time.process_time()
    cells = get_space("nasbench101").enumerate()
    figures["enumerate_nasbench101_cpu_seconds"] = time.process_time() - started
    started = time.process_time()
    cells.colour_hash()
    figures["hash_nasbench101_cpu_seconds"] = time.process_time() - started
    started = time.process_time()
    drawn = sum(len(chunk) for chunk in get_space("darts").stream(600_000, seed=0))
    figures["draw_600000_darts_cpu_seconds"] = time.process_time() - started
    assert drawn == 600_000
    return figures


def measure_start() -> dict[str, float]:
    """Seconds from an empty process to the first step on NAS-Bench-101, and to the help."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST_STEP], check=True)
    first_step = time.perf_counter() - started
    started = time.perf_counter()
    help_command = [sys.executable, "-m", "archrep.cli.main", "--help"]
    subprocess.run(help_command, stdout=subprocess.DEVNULL, check=True)
    return {
        "start_to_first_step_seconds": first_step,
        "help_seconds": time.perf_counter() - started,
    }


FIRST_STEP = """
from archrep.cells import get_space
from archrep.encoder.config import preset_config
from archrep.encoder.models import build_model
from archrep.encoder.pretrain import load_cells
from archrep.encoder.train import ListedCells, split_rows
from archrep.seeding import torch_stream

config = preset_config("archrep", "nasbench101")
cells = load_cells(config)
rows, _ = split_rows(len(cells), config.holdout, config.seed)
model = build_model(config.model, get_space(config.space), config.seed)
batch = next(ListedCells(cells[rows]).batches(0, 0, config))
model.loss(batch, torch_stream(0, "noise"), 0.1).reconstruction.backward()
"""


MEASUREMENTS = {
    "train archrep nasbench101": "measure_training('archrep', 'nasbench101', 120)",
    "train arch2vec-2020 nasbench101": "measure_training('arch2vec-2020', 'nasbench101', 600)",
    "train archrep nasbench201": "measure_training('archrep', 'nasbench201', 120)",
    "train arch2vec-2020 nasbench201": "measure_training('arch2vec-2020', 'nasbench201', 600)",
    "train archrep darts": "measure_training('archrep', 'darts', 120)",
    "train arch2vec-2020 darts": "measure_training('arch2vec-2020', 'darts', 600)",
    "embed nasbench101": "measure_embedding('nasbench101')",
    "enumerate": "measure_enumeration()",
    "start": "measure_start()",
}
"""Each is evaluated in a fresh process."""


def main() -> None:
    """Repeat every measurement in turn, write the record and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    repeats = 1 if args.quick else args.repeats
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in MEASUREMENTS}
    for _ in range(repeats):  # sides alternate, so that a busy minute hits both
        for name, call in MEASUREMENTS.items():
            samples[name].append(in_process(call))
    import torch

    from archrep.devices import environment
    from archrep.files import write_json

    record = {"repeats": repeats, "threads": 1, "environment": environment(torch.device("cpu"))}
    record["measurements"] = {
        name: {key: [s[key] for s in runs] for key in runs[0]} for name, runs in samples.items()
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, record)
    for name, figures in record["measurements"].items():
        for key, values in figures.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"{name:34} {key:38} {middle:>16,.2f}  ({low:,.2f} .. {high:,.2f})")
    for space in ("nasbench101", "nasbench201", "darts"):
        ours, theirs = (
            statistics.median(
                record["measurements"][f"train {preset} {space}"]["graphs_per_cpu_second"]
            )
            for preset in ("archrep", "arch2vec-2020")
        )
        print(f"ratio on {space}: {ours / theirs:.2f}")


def in_process(call: str) -> dict[str, float]:
    """Result of a call of this file in a fresh process with one thread."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import speed;"
        f"print(json.dumps(speed.{call}))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

"""How large the page of a whole space is, and how quick it is in a browser without a GPU.

Question: how many megabytes is the page of all NAS-Bench-101 cells, how soon does it show them, how
          smooth is panning, how long do neighbours take, and how many of them are the same as
          without the rounding of the page?
Command:  python benchmarks/explorer_speed.py --run RUN --table nasbench101 --method tsne
          python benchmarks/explorer_speed.py --only-print
Time:     some 2 minutes, and as long for a map that is not kept yet. Needs selenium, and chromium
          with chromedriver.
Browser:  headless Chromium with WebGL in software (SwiftShader). Frame times are the intervals of
          animation frames while a script drags the map; both drags are of 150 frames.

Without RUN the packaged encoder embeds the space. The record goes to
benchmarks/results/explorer_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archrep import get_space, load_encoder
from archrep.devices import environment
from archrep.embeddings import EmbeddingTable, load_embeddings
from archrep.explorer import gather, write_page
from archrep.explorer.packing import quantise_vectors
from archrep.files import write_json
from archrep.latent_map import cached_map
from archrep.tables.registry import open_recorded

RESULTS = Path(__file__).parent / "results" / "explorer_speed.json"

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip

DRAG = """
const [reach, done] = arguments;
const map = document.getElementById("map");
map.setPointerCapture = () => {};
const touch = (kind, x, y) => map.dispatchEvent(new PointerEvent(kind,
  { clientX: x, clientY: y, pointerId: 1, pointerType: "mouse", bubbles: true }));
const intervals = [];
let last = performance.now();
touch("pointerdown", 450, 300);
function frame() {
  const now = performance.now();
  intervals.push(now - last);
  last = now;
  const turn = intervals.length / 12;
  touch("pointermove", 450 + reach * Math.sin(turn), 300 + 0.5 * reach * Math.sin(1.7 * turn));
  if (intervals.length < 150) requestAnimationFrame(frame);
  else { touch("pointerup", 450, 300); done(intervals.slice(2)); }
}
requestAnimationFrame(frame);
"""
"""Drags the map in loops of so many pixels."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--space", default="nasbench101")
    parser.add_argument("--run", type=Path, help="run of `archrep pretrain`")
    parser.add_argument("--table", help="table of the same space")
    parser.add_argument("--method", default="pca", choices=("pca", "tsne"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", type=Path, help="keep the page here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only-print", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a test: NAS-Bench-201, once")
    args = parser.parse_args()
    if args.quick:
        args.space, args.repeats = "nasbench201", 1
    if not args.only_print:
        write_json(args.out, measure(args))
    show(json.loads(args.out.read_text()))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Build the page, open it several times, and drag it."""
    with tempfile.TemporaryDirectory() as folder:
        page = args.page or Path(folder) / "page.html"
        if args.run is None:
            space = get_space(args.space)
            cells = space.enumerate()
            embeddings = EmbeddingTable(load_encoder(args.space).embed(cells), cells, args.space)
            name = f"packaged encoder of {args.space}"
        else:
            embeddings, name = load_embeddings(args.run)
        begin = time.perf_counter()
        points = cached_map(
            embeddings.embeddings, method=args.method, max_points=10_000, everything=True
        )
        mapped = time.perf_counter()
        table = None if args.table is None else open_recorded(args.table)
        size = write_page(gather(embeddings, points, run=name, table=table), page)
        written = time.perf_counter()
        record = {
            "space": embeddings.space,
            "cells": len(embeddings),
            "run": name,
            "table": args.table,
            "map": points.caption,
            "bytes": size,
            "neighbours_kept": {
                bits: neighbours_kept(embeddings.embeddings, bits) for bits in (8, 10)
            },
            "map_seconds": mapped - begin,
            "page_seconds": written - mapped,
            "load_before": os.getloadavg(),
            "cpus": os.cpu_count(),
        }
        record["visits"] = [visit(page) for _ in range(args.repeats)]
    return record | {"load_after": os.getloadavg(), "environment": environment(torch.device("cpu"))}


def neighbours_kept(vectors: np.ndarray, bits: int, count: int = 300) -> float:
    """Share of the ten that look nearest with so many bits that are among the ten nearest."""
    from scipy.spatial import cKDTree

    if bits == 8:  # what a page stores
        codes, step = quantise_vectors(vectors)
        rounded = codes.T * step
    else:
        low, step = vectors.min(0), np.ptp(vectors, 0) / (2**bits - 1)
        rounded = np.rint((vectors - low) / step) * step
    shares = []
    exact, coarse = cKDTree(vectors), cKDTree(rounded)
    for row in np.random.default_rng(0).choice(len(vectors), count, replace=False):
        furthest = exact.query(vectors[row], 11)[0][-1]  # the cell itself is among them
        near = coarse.query(rounded[row], 12)[1]
        near = near[near != row][:10]  # of equal cells any may stand for another
        distances = np.sqrt(np.square(vectors[near] - vectors[row]).sum(1))
        shares.append(float((distances <= furthest * (1 + 1e-6)).mean()))
    return float(np.mean(shares))


def visit(page: Path) -> dict[str, Any]:
    """Open the page in a new browser and use it."""
    driver, profile = browser()
    try:
        driver.set_script_timeout(120)
        driver.get(page.resolve().as_uri())
        wait(driver, "document.documentElement.dataset.ready")
        found = {
            f"{name.replace('-', '_')}_ms": driver.execute_script(
                f"return performance.getEntriesByName('{name}')[0].startTime"
            )
            for name in ("first-picture", "ready")
        }
        wait(driver, "!explorer.cloud.job && !explorer.cloud.wanted")
        for name, reach in (("small_drag_ms", 90), ("wide_drag_ms", 300)):
            found[name] = driver.execute_async_script(DRAG, reach)
            wait(driver, "!explorer.cloud.job && !explorer.cloud.wanted")
        found["picture_ms"] = driver.execute_script("return explorer.cloud.cost")
        found["neighbours_ms"] = driver.execute_async_script(
            "const done = arguments[0]; const begin = performance.now(); explorer.select(77);"
            "const look = () => explorer.state.neighbours.length ? done(performance.now() - begin)"
            " : setTimeout(look, 1); look();"
        )
        found["browser"] = driver.capabilities["browserVersion"]
        return found
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def browser() -> tuple[Any, str]:
    """A new headless Chromium, and the folder of its profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    profile = tempfile.mkdtemp()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    service = Service(shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service), profile


def wait(driver: Any, expression: str, seconds: float = 120) -> None:
    """Until an expression holds."""
    end = time.monotonic() + seconds
    while not driver.execute_script(f"return {expression}"):
        if time.monotonic() > end:
            raise TimeoutError(f"{expression} did not come true in {seconds} s.")
        time.sleep(0.05)


def show(record: dict[str, Any]) -> None:
    """Print the figures: median over visits, and the worst."""
    visits = record["visits"]
    print(f"{record['cells']:,} cells of {record['space']}, {record['map']}")
    print(
        f"load average {record['load_before'][0]:.1f} before, {record['load_after'][0]:.1f} after"
    )
    print(f"{'size of the page':34} {record['bytes'] / 1e6:8.1f} MB")
    for bits, share in record["neighbours_kept"].items():
        print(f"{f'nearest kept, {bits} bits':34} {100 * share:8.1f} %")
    print(f"{'time to write it':34} {record['page_seconds']:8.1f} s")
    for title, name in (
        ("first whole picture", "first_picture_ms"),
        ("everything can be used", "ready_ms"),
        ("one whole picture later", "picture_ms"),
        ("12 nearest neighbours", "neighbours_ms"),
    ):
        values = [visit[name] for visit in visits]
        print(f"{title:34} {statistics.median(values):8.0f} ms   worst {max(values):.0f}")
    for title, name in (
        ("frame, drag within the margin", "small_drag_ms"),
        ("frame, drag beyond it", "wide_drag_ms"),
    ):
        frames = np.concatenate([visit[name] for visit in visits])
        middle, tail = np.quantile(frames, [0.5, 0.95])
        print(f"{title:34} {middle:8.1f} ms   95 % {tail:.1f}, worst {frames.max():.1f}")


if __name__ == "__main__":
    main()

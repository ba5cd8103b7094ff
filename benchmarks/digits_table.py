"""The card of the table that comes with archrep: spread, noise, agreement with NAS-Bench-201, cost.

Question: does a table of tiny networks on 8 x 8 digits tell cells apart, and like the real one?
Command:  python benchmarks/digits_table.py --data FOLDER       (with nasbench201.parquet)
          python benchmarks/digits_table.py --retrain 8         (trains records again and compares)
Time:     seconds; half a minute on one core for eight records.

The table itself was made by `archrep tables build digits --classes` (see docs/tables.md). Writes
benchmarks/results/digits_table.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from archrep.files import write_json
from archrep.tables import Table, open_table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "digits_table.json"
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def card(table: Table) -> dict[str, object]:
    """Spread, noise of the runs and cost, over the recorded classes."""
    rows = table.recorded
    figures: dict[str, object] = {"recorded": len(rows), "epochs": table.info.epochs}
    for metric in ("valid_accuracy", "test_accuracy", "train_accuracy"):
        values = table.column(metric)[rows]
        figures[f"{metric}_quantiles"] = dict(
            zip(map(str, QUANTILES), np.quantile(values, QUANTILES).tolist(), strict=True)
        )
    runs = np.stack(list(table.runs("valid_accuracy").values()))[:, rows]
    tests = np.stack(list(table.runs("test_accuracy").values()))[:, rows]
    figures["runs"] = len(runs)
    figures["standard_deviation_over_runs_mean"] = float(runs.std(0, ddof=1).mean())
    figures["spearman_of_two_runs"] = spearman(runs[0], runs[1])
    figures["spearman_valid_of_a_run_and_test_of_another"] = spearman(runs[0], tests[1])
    figures["spearman_mean_valid_and_mean_test"] = spearman(runs.mean(0), tests.mean(0))
    params = table.column("params")[rows]
    figures["spearman_with_params"] = spearman(tests.mean(0), params)
    seconds = np.stack(list(table.runs("train_seconds").values()))[:, rows]
    figures["cpu_hours"] = float(seconds.sum() / 3600)
    figures["cpu_seconds_of_a_training_mean"] = float(seconds.mean())
    early = table.column("valid_accuracy", at_epoch=max(1, (table.info.epochs or 1) // 2))[rows]
    figures["spearman_with_half_of_the_epochs"] = spearman(early, runs.mean(0))
    best = table.optimum()
    figures["optimum"] = {
        "valid_accuracy": best.valid_accuracy._asdict(),
        "test_accuracy": best.test_accuracy._asdict() if best.test_accuracy else None,
        "test_of_best_valid": best.test_of_best_valid,
    }
    return figures


def agreement(table: Table, data: Path) -> dict[str, float]:
    """Spearman and Kendall rank correlation of test accuracy with NAS-Bench-201's, all 15,625."""
    from scipy.stats import kendalltau

    from archrep.tables.importers.base import import_file

    (published,) = import_file(data / "nasbench201.parquet")
    other = Table(published)  # type: ignore[arg-type]
    ours = table.column("test_accuracy")
    figures = {}
    for dataset in ("cifar10", "cifar100", "imagenet16-120"):
        theirs = other.column("test_accuracy", dataset=dataset)
        figures[f"spearman_{dataset}"] = spearman(ours, theirs)
        figures[f"kendall_{dataset}"] = float(kendalltau(ours, theirs).statistic)
        good = theirs > np.median(theirs)
        figures[f"spearman_{dataset}_better_half"] = spearman(ours[good], theirs[good])
    return figures


def retrain(table: Table, count: int) -> int:
    """Train records again, one after the other; how many validation curves are the same bits."""
    from archrep.tabulation import TabulateConfig, load_digits
    from archrep.tabulation.images import Batches
    from archrep.tabulation.network import Skeleton
    from archrep.tabulation.training import train_cells

    config, images = TabulateConfig(), load_digits()
    skeleton = Skeleton(config.channels, config.cells_per_stage, images.classes)
    batches = Batches(images, config)
    rows = np.random.default_rng(0).choice(table.recorded, count, replace=False)
    same = 0
    for row in rows.tolist():
        curves = train_cells([table.cells[row]], skeleton, config, batches)
        stored = [
            [
                table.query(row, seed=run, at_epoch=epoch).valid_accuracy
                for epoch in range(1, config.epochs + 1)
            ]
            for run in range(config.seeds)
        ]
        equal = np.allclose(curves.valid_accuracy[0], stored, atol=1e-6)
        same += equal
        print(f"cell {row}: {'the same' if equal else 'another curve'}", flush=True)
    return same


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def main() -> None:
    """Print the card and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nasbench201.parquet")
    parser.add_argument(
        "--retrain", type=int, default=0, metavar="N", help="records to train again"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    table = open_table("digits")
    if not isinstance(table, Table):
        sys.exit("`digits` is not the table that comes with archrep")
    if args.retrain:
        same = retrain(table, args.retrain)
        print(f"{same} of {args.retrain} records came out the same")
        sys.exit(same != args.retrain)
    record: dict[str, object] = {"sha256": table.sha256, "card": card(table)}
    if args.data:
        record["agreement_with_nasbench201"] = agreement(table, args.data)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, record)
    for part in ("card", "agreement_with_nasbench201"):
        for name, value in dict(record.get(part, {})).items():  # type: ignore[call-overload]
            print(f"{name:48} {value}")


if __name__ == "__main__":
    main()

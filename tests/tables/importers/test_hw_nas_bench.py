"""HW-NAS-Bench: units of ours, both ways to store numbers, bad files."""

from __future__ import annotations

import numpy as np
import pytest
from making import hw_nas_bench, write_pickle

from archrep.errors import TableError
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.hw_nas_bench import DATASETS, METRICS, convert, recognise


@pytest.fixture(scope="module")
def content():
    return hw_nas_bench()


@pytest.fixture
def save(tmp_path):
    return lambda content: write_pickle(tmp_path / "HW-NAS-Bench-v1_0.pickle", content)


class TestFigures:
    @pytest.mark.parametrize("arrays", [True, False])
    def test_are_seconds_and_joules_of_every_cell(self, arrays, save):
        content = hw_nas_bench(arrays)
        (table,) = import_file(save(content))
        assert table.info.name == "nasbench201-hardware"
        assert len(table) == 15_625
        assert len(table.columns) == len(DATASETS) * len(METRICS) == 30
        for dataset, theirs in content["nasbench201"].items():
            prefix = dataset.lower().replace("-", "_")
            for ours, name, scale in (
                ("edgegpu_latency_seconds", "edgegpu_latency", 1e-3),
                ("fpga_energy_joules", "fpga_energy", 1e-3),
                ("eyeriss_arithmetic_intensity", "eyeriss_arithmetic_intensity", 1.0),
            ):
                expected = np.array(theirs[name]) * scale
                np.testing.assert_array_equal(table.columns[f"{prefix}_{ours}"].values, expected)

    @pytest.mark.data
    def test_of_the_published_export_come_out_as_in_its_columns(self, save, data_folder):
        """The export is not the official file; its figures are put into the official layout."""
        from pyarrow import parquet

        export = parquet.read_table(data_folder / "nasbench201_hardware.parquet")
        short = dict(zip(DATASETS, ("c10", "c100", "in16"), strict=True))
        units = {"latency": "_latency_ms", "energy": "_energy_mj"}
        content = {"nasbench201": {dataset: {} for dataset in DATASETS}}
        for dataset in DATASETS:
            for metric in METRICS:
                device, _, what = metric.partition("_")
                name = f"{short[dataset]}_{device}{units.get(what, '_' + what)}"
                content["nasbench201"][dataset][metric] = export[name].to_numpy()
        (table,) = convert(save(content), quiet)
        failed = export["c10_edgetpu_latency_ms"].to_numpy() == -1
        column = table.columns["cifar10_edgetpu_latency_seconds"]
        assert (np.isnan(column.values) == failed).all()
        assert column.note == f"{failed.sum():,} cells have no figure: the file says -1."
        first = {
            metric: table.columns[f"cifar10_{metric}"].values[0]
            for metric in ("edgegpu_latency_seconds", "edgegpu_energy_joules", "fpga_energy_joules")
        }
        assert first == pytest.approx(  # the example in the official documentation
            {
                "edgegpu_latency_seconds": 5.807418537139893e-3,
                "edgegpu_energy_joules": 24.226614330768584e-3,
                "fpga_energy_joules": 18.01072e-3,
            }
        )

    def test_lacking_metrics_are_left_out(self, save):
        content = hw_nas_bench()
        for part in content["nasbench201"].values():
            del part["eyeriss_arithmetic_intensity"], part["config"]
        assert len(convert(save(content), quiet)[0].columns) == 27


class TestBadFiles:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ([1.0] * 15_624, "must have 15,625 numbers as fpga_energy of cifar100"),
            ([1.0] * 15_624 + ["1"], "must have 15,625 numbers"),
            ([1.0] * 15_624 + [2**2000], "must have 15,625 numbers"),
            ([1.0] * 15_624 + [float("nan")], "must have 15,625 numbers"),
            ([1.0] * 15_624 + [-2.0], "has -2.0 as fpga_energy of cell 15624 on cifar100"),
            (np.ones((125, 125)), "must have 15,625 numbers"),
            (None, "must have 15,625 numbers"),
        ],
    )
    def test_wrong_numbers(self, bad, message, content, save):
        part = content["nasbench201"]
        changed = {**part, "cifar100": {**part["cifar100"], "fpga_energy": bad}}
        with pytest.raises(TableError, match=message):
            convert(save({"nasbench201": changed}), quiet)

    @pytest.mark.parametrize(
        ("configs", "message"),
        [
            ("reversed", "in the official order"),
            ([], "in the official order"),
            ([1], "have no `arch_str`"),
            (5, "have no `arch_str`"),
        ],
    )
    def test_another_numbering(self, configs, message, content, save):
        part = content["nasbench201"]
        if configs == "reversed":
            configs = part["cifar10"]["config"][::-1]
        changed = {**part, "cifar10": {**part["cifar10"], "config": configs}}
        with pytest.raises(TableError, match=message):
            convert(save({"nasbench201": changed}), quiet)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "must hold a dict"),
            ({"fbnet": {}}, "must hold a dict"),
            ({"nasbench201": {}}, "figures for cifar10"),
            ({"nasbench201": {d: {} for d in DATASETS}}, "has none of the metrics"),
        ],
    )
    def test_files_of_something_else(self, content, message, save):
        with pytest.raises(TableError, match=message):
            convert(save(content), quiet)

    def test_other_names_are_not_recognised(self, tmp_path):
        assert not recognise(tmp_path / "other.pickle")

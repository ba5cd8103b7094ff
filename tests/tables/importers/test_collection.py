"""The Parquet collection: units, grids, published constants, damaged files."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from archrep.cells import NasBench101, NasBench201
from archrep.cells.darts import cell_to_pairs, pairs_to_cell
from archrep.errors import TableError
from archrep.tables.base import Table
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.collection import FILES, IMPORTER

NAMES = {
    "nasbench101.parquet": ["nasbench101"],
    "nasbench101_zero_cost.parquet": ["nasbench101-zero-cost"],
    "nasbench101_energy.parquet": ["nasbench101-energy"],
    "nasbench201.parquet": ["nasbench201"],
    "nasbench201_hardware.parquet": ["nasbench201-hardware"],
    "nasbench201_zero_cost.parquet": ["nasbench201-zero-cost"],
    "nasbench301_archs.parquet": ["nasbench301-archs"],
    "darts_trained.parquet": ["darts-trained", "tiny-darts"],
}
SOURCES = ["antoyang/NAS-Benchmark", "antoyang/NAS-Benchmark", "lyq998/CDP", "lyq998/CDP"]
FIRST_OPS = ("sep_conv_3x3", "sep_conv_5x5", "max_pool_3x3", "none")


def genotype_text(op: str) -> str:
    pairs = [[op, 0], ["skip_connect", 1], ["avg_pool_3x3", 0], ["dil_conv_3x3", 2]]
    pairs += [["dil_conv_5x5", 1], ["skip_connect", 3], [op, 2], ["skip_connect", 0]]
    return json.dumps({"normal": pairs, "reduce": pairs[:2] * 4})


def columns_of(name: str) -> dict[str, list]:
    """A small file of four rows: all figures are 0.5 in our units, but whole numbers 2."""
    cells = NasBench101().enumerate()[[5, 9, 70_000, 423_623]]
    keys = {
        "index": [5, 9, 70_000, 423_623],
        "nb101_index": [5, 9, 70_000, 423_623],
        "arch_index": [0, 6111, 9930, 15_624],
        "adjacency_bits": cells.adjacency_bits.tolist(),
        "ops": cells.ops.tolist(),
        "arch_str": [
            NasBench201().format(NasBench201().enumerate()[n]) for n in (0, 6111, 9930, -1)
        ],
        "genotype": [genotype_text(op) for op in FIRST_OPS],
        "source": SOURCES,
    }
    made: dict[str, list] = {}
    for sheet in FILES[name]:
        made |= {key: keys[key] for key in (*sheet.keys, *(sheet.only or ())[:1])}
        for field in sheet.fields:
            whole = field.grid == 1
            value = (2.0 if whole else 0.5) / field.scale
            made[field.source] = [value] * 4
    if "test_acc_curve" in made:
        made["test_acc_curve"] = [[10.0] * 598 + [50.0, 49.96]] * 4
    return made


@pytest.fixture
def write(tmp_path):
    """Function (name, columns to change): a small file of the collection; `None` leaves one out."""
    import pyarrow as pa
    from pyarrow import parquet

    def write_file(name: str, **changed):
        columns = {k: v for k, v in (columns_of(name) | changed).items() if v is not None}
        parquet.write_table(pa.table(columns), tmp_path / name, compression="zstd")
        return tmp_path / name

    return write_file


def convert(path):
    tables = {table.info.name: table for table in IMPORTER.convert(path, quiet)}
    return next(iter(tables.values())) if len(tables) == 1 else tables


def values(table, name):
    return table.columns[name].values.tolist()


class TestEveryFile:
    @pytest.mark.parametrize("name", sorted(FILES))
    def test_becomes_its_tables_and_survives_storage(self, name, write, tmp_path):
        written = write(name)
        tables = import_file(written)
        assert [table.info.name for table in tables] == NAMES[name]
        for table in tables:
            assert table.info.source
            assert table.info.licence
            assert table.info.citation
            assert hashlib.sha256(written.read_bytes()).hexdigest() in table.info.made_with
            path = tmp_path / f"{table.info.name}.safetensors"
            table.save(path)
            stored = Table.open(path)
            assert stored.columns.keys() == table.columns.keys()
            for column in table.columns.values():
                np.testing.assert_array_equal(stored.columns[column.name].values, column.values)

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_is_known_by_its_name_and_first_bytes(self, name, write, tmp_path):
        path = write(name)
        assert IMPORTER.recognise(path)
        assert IMPORTER.recognise(tmp_path)
        assert not IMPORTER.recognise(path.rename(tmp_path / "other.parquet"))
        path.write_bytes(b"not Parquet")
        assert not IMPORTER.recognise(path)
        assert not IMPORTER.recognise(tmp_path / "nothing.parquet")

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_without_one_of_its_columns_is_refused(self, name, write):
        for column in (FILES[name][0].fields[0].source, FILES[name][0].keys[0]):
            with pytest.raises(TableError, match=f"must have a column {column}. It has") as error:
                convert(write(name, **{column: None}))
            assert name in str(error.value)
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_of_text_in_place_of_numbers_is_refused(self, name, write):
        field = FILES[name][0].fields[0].source
        with pytest.raises(TableError, match=f"Column {field} must hold numbers. Got string"):
            convert(write(name, **{field: ["0.5"] * 4}))

    @pytest.mark.parametrize("name", sorted(FILES))
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
    def test_cut_short_is_refused(self, name, share, write):
        path = write(name)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(TableError, match="cannot be read") as error:
            import_file(path)
        assert "\n" not in str(error.value)

    def test_in_a_folder_all_are_read_with_progress(self, write, tmp_path):
        for name in ("nasbench201.parquet", "darts_trained.parquet"):
            write(name)
        seen: list[tuple[int, int | None]] = []
        tables = import_file(tmp_path, lambda what, done, total: seen.append((done, total)))
        assert [t.info.name for t in tables] == ["nasbench201", "darts-trained", "tiny-darts"]
        assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


class TestUnits:
    def test_percent_kilowatt_hours_milliseconds_and_millijoules(self, write):
        valid = convert(write("nasbench201.parquet", c10v_valid_acc_200ep_s777=[91.6] * 4))
        assert values(valid, "cifar10_valid_accuracy_200ep_s777") == [0.916] * 4
        energy = convert(write("nasbench101_energy.parquet", energy_kwh_4ep=[0.016559] * 4))
        assert values(energy, "cifar10_train_energy_joules_4ep") == [59_612.4] * 4
        changed = {"c10_edgegpu_latency_ms": [5.5] * 4, "c10_edgegpu_energy_mj": [24.5] * 4}
        hardware = convert(write("nasbench201_hardware.parquet", **changed))
        assert values(hardware, "cifar10_edgegpu_latency_seconds") == pytest.approx([0.0055] * 4)
        assert values(hardware, "cifar10_edgegpu_energy_joules") == pytest.approx([0.0245] * 4)

    def test_float32_noise_is_put_back_on_the_grid(self, write):
        noisy = np.float32(91.60666667).item()
        table = convert(write("nasbench201.parquet", c10_test_acc_200ep_mean=[noisy] * 4))
        column = table.columns["cifar10_test_accuracy_200ep_mean"]
        assert column.values.tolist() == [54_964 / 60_000] * 4
        assert column.grid == 60_000
        fraction = np.float32(9290 / 9984).item()
        table = convert(write("nasbench101.parquet", valid_acc_108ep_best=[fraction] * 4))
        assert values(table, "cifar10_valid_accuracy_108ep_max") == [9290 / 9984] * 4

    def test_a_figure_between_counts_is_kept_and_noted(self, write):
        table = convert(write("nasbench201.parquet", c10_test_acc_200ep_mean=[91.6061] * 4))
        column = table.columns["cifar10_test_accuracy_200ep_mean"]
        assert column.values.tolist() == [np.float32(0.916061).item()] * 4
        assert (column.grid, column.note) == (
            0,
            "Not all multiples of 1/60000, so kept as float32.",
        )

    def test_twelve_epochs_cost_twelve_two_hundredths(self, write):
        seconds = {"c10": [2000.0] * 4, "c10v": [1000.0] * 4}
        columns = {f"{prefix}_train_seconds_200ep": s for prefix, s in seconds.items()}
        table = convert(write("nasbench201.parquet", **columns))
        assert values(table, "cifar10_train_seconds_200ep") == [1000.0] * 4  # what a search pays
        assert values(table, "cifar10_retrain_seconds_200ep") == [2000.0] * 4
        assert values(table, "cifar10_retrain_seconds_12ep") == [120.0] * 4

    def test_numbers_that_mean_missing_are_missing(self, write):
        hardware = write("nasbench201_hardware.parquet", c10_edgetpu_latency_ms=[-1.0, 1, 1, 1])
        found = convert(hardware).columns["cifar10_edgetpu_latency_seconds"].values
        assert np.isnan(found).tolist() == [True, False, False, False]
        proxies = write("nasbench201_zero_cost.parquet", c10_zen=[-1e8, 3.0, 2.0, None])
        found = convert(proxies).columns["cifar10_zen"].values
        assert np.isnan(found).tolist() == [True, False, False, True]

    def test_sizes_are_exact_integers(self, write):
        table = convert(write("nasbench201.parquet"))
        cells = NasBench201().enumerate()[[0, 6111, 9930, 15_624]]
        assert values(table, "cifar100_params") == NasBench201().params(cells, 100).tolist()
        assert values(table, "cifar10_recorded_params") == [2] * 4
        for name in ("cifar100_params", "cifar10_macs", "cifar10_recorded_params"):
            assert table.columns[name].values.dtype == np.int32


class TestRows:
    def test_may_stand_in_any_order(self, write):
        columns = columns_of("nasbench201.parquet")
        columns["c10v_valid_acc_200ep_s777"] = [10.0, 20.0, 30.0, 40.0]
        shuffled = {name: [items[k] for k in (2, 0, 3, 1)] for name, items in columns.items()}
        table = convert(write("nasbench201.parquet", **shuffled))
        assert table.rows.tolist() == [0, 6111, 9930, 15_624]
        assert values(table, "cifar10_valid_accuracy_200ep_s777") == [0.1, 0.2, 0.3, 0.4]

    def test_of_unmeasured_cells_are_left_out(self, write):
        columns = columns_of("nasbench101.parquet")
        keys = FILES["nasbench101.parquet"][0].keys
        changed = {k: [None, v[1], None, v[3]] for k, v in columns.items() if k not in keys}
        table = convert(write("nasbench101.parquet", **changed))
        assert table.rows.tolist() == [9, 423_623]
        assert len(table.columns["params"].values) == 2

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (
                [0, None, 9930, 15_624],
                "Column arch_index must hold indices of cells. Row 1 has nan",
            ),
            ([0, 6111.5, 9930, 15_624], "Row 1 has 6111.5"),
            ([0, 6111, 9930, 15_625], r"must lie in 0\.\.15624"),
            ([-1, 6111, 9930, 15_624], r"must lie in 0\.\.15624"),
            ([0, 9930, 9930, 15_624], "ascending indices, none twice"),
        ],
    )
    def test_need_an_index_of_their_own(self, index, message, write):
        with pytest.raises(TableError, match=message):
            convert(write("nasbench201_hardware.parquet", arch_index=index))

    def test_must_name_the_cell_of_their_index(self, write):
        strings = columns_of("nasbench201.parquet")["arch_str"]
        with pytest.raises(TableError, match=r"with arch_index 0 must be \|avg_pool_3x3~0\|"):
            convert(write("nasbench201.parquet", arch_str=[strings[1], *strings[1:]]))
        with pytest.raises(TableError, match="Column arch_str must hold text. Row 2 has None"):
            convert(write("nasbench201.parquet", arch_str=[*strings[:2], None, strings[3]]))
        bits = columns_of("nasbench101.parquet")["adjacency_bits"]
        with pytest.raises(TableError, match="graph with index 9 is not that of the official"):
            convert(write("nasbench101.parquet", adjacency_bits=[bits[0], bits[0], *bits[2:]]))
        with pytest.raises(TableError, match="Column ops must hold 7 codes a row"):
            convert(write("nasbench101.parquet", ops=[[0, 4]] * 4))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sep_conv", "row 1 cannot be read: it is not JSON of two cells"),
            ('{"normal": []}', "row 1 cannot be read: A DARTS cell is written as 8"),
            (genotype_text("conv_7x1"), "row 1 cannot be read: .*conv_7x1"),
            (genotype_text("sep_conv_3x3"), "Rows 0 and 1 have isomorphic cells"),
        ],
    )
    def test_must_hold_different_legal_genotypes(self, text, message, write):
        texts = [genotype_text(op) for op in FIRST_OPS]
        with pytest.raises(TableError, match=message) as error:
            convert(write("nasbench301_archs.parquet", genotype=[texts[0], text, *texts[2:]]))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("wrong", [100.5, -1.0, np.inf])
    def test_must_hold_possible_accuracies(self, wrong, write):
        with pytest.raises(
            TableError, match="must give a valid_accuracy of 0 to 1. Got .* unit of"
        ):
            convert(write("nasbench201.parquet", c10v_valid_acc_200ep_s888=[50.0, wrong, 1.0, 1.0]))

    def test_of_unequal_curves_are_refused(self, write):
        for curve in ([10.0], None):
            curves = [[10.0, 20.0], curve, [10.0], [10.0]]
            with pytest.raises(TableError, match="test_acc_curve must hold lists of one length"):
                convert(write("darts_trained.parquet", test_acc_curve=curves))


class TestDartsTrained:
    def test_last_and_best_epoch_are_told_apart(self, write):
        tables = convert(write("darts_trained.parquet"))
        trained = Table(tables["darts-trained"])
        record = trained.query(0)
        assert (record.test_accuracy, record.metrics) == (0.4996, {"best_test_accuracy": 0.5})
        assert record.valid_accuracy is None
        assert len(tables["tiny-darts"]) == 2

    def test_cells_stay_as_they_were_written(self, write):
        tables = convert(write("darts_trained.parquet"))
        written = json.loads(genotype_text("none"))
        cells = tables["tiny-darts"].cells, tables["tiny-darts"].reduction_cells
        for cell, pairs in zip((part[1] for part in cells), written.values(), strict=True):
            assert cell_to_pairs(cell) == [tuple(pair) for pair in pairs]
            assert cell == pairs_to_cell(pairs)


@pytest.fixture(scope="module")
def real(data_folder):
    """All tables of the collection, by name."""
    return {table.info.name: table for table in import_file(data_folder)}


@pytest.mark.data
class TestPublishedFigures:
    def test_every_table_has_its_published_size(self, real):
        assert {name: len(table) for name, table in real.items()} == {
            "nasbench101": 20_296,
            "nasbench101-zero-cost": 10_531,
            "nasbench101-energy": 4_310,
            "nasbench201": 15_625,
            "nasbench201-hardware": 15_625,
            "nasbench201-zero-cost": 15_625,
            "nasbench301-archs": 12_439,
            "darts-trained": 214,
            "tiny-darts": 100,
        }

    def test_every_accuracy_that_was_measured_is_a_count(self, real):
        off = {
            name
            for table in real.values()
            for name, column in table.columns.items()
            if column.measure.metric.endswith("accuracy") and not column.grid
        }
        assert off == {
            "cifar10_xgb_predicted_accuracy_98ep",
            "cifar10_mlp_predicted_accuracy_98ep",
        }

    @pytest.mark.parametrize(
        ("dataset", "valid", "best_valid", "test", "best_test"),
        [
            ("cifar10", 91.6067, (6111,), 94.3733, (6111, 13_714)),
            ("cifar100", 73.4933, (9930,), 73.5133, (9930,)),
            ("imagenet16-120", 46.7333, (10_676,), 47.3111, (857,)),
        ],
    )
    def test_best_of_nasbench201(self, real, dataset, valid, best_valid, test, best_test):
        best = Table(real["nasbench201"]).optimum(dataset=dataset)
        assert round(100 * best.valid_accuracy.value, 4) == valid
        assert best.valid_accuracy.indices == best_valid
        assert round(100 * best.test_accuracy.value, 4) == test
        assert best.test_accuracy.indices == best_test

    def test_best_validation_cell_of_imagenet_tests_at_46_2(self, real):
        best = Table(real["nasbench201"]).optimum(dataset="imagenet16-120")
        assert best.test_of_best_valid == 0.462

    def test_sizes_of_nasbench201_are_those_of_the_file(self, real, nasbench201_table):
        for prefix, dataset in (
            ("c10", "cifar10"),
            ("c100", "cifar100"),
            ("in16", "imagenet16_120"),
        ):
            for theirs, ours in (("params", "params"), ("flops", "macs")):
                millions = nasbench201_table[f"{prefix}_{theirs}_m"].to_numpy()
                found = real["nasbench201"].columns[f"{dataset}_{ours}"].values
                np.testing.assert_array_equal((found / 1e6).astype(np.float32), millions)

    def test_recorded_parameters_disagree_for_150_cells(self, real):
        columns = real["nasbench201"].columns
        wrong = columns["cifar10_recorded_params"].values != columns["cifar10_params"].values
        assert wrong.sum() == 150

    def test_derived_validation_accuracy_is_what_the_union_leaves(self, real):
        for dataset in ("cifar100", "imagenet16_120"):
            valid, test, union = (
                real["nasbench201"].columns[f"{dataset}_{metric}_accuracy_200ep_s888"].values
                for metric in ("valid", "test", "valtest")
            )
            np.testing.assert_allclose(valid, 2 * union - test, atol=1e-12)

    def test_isomorphic_cells_keep_their_own_measurements(self, real):
        test = real["nasbench201"].columns["cifar10_test_accuracy_200ep_mean"].values
        classes = NasBench201().topology_classes()
        spread = [np.ptp(test[classes == c]) for c in np.unique(classes)[:1000]]
        assert max(spread) > 0.01

    @pytest.mark.parametrize(
        ("dataset", "correlation"),
        [("cifar10", 0.87), ("cifar100", 0.82), ("imagenet16-120", 0.81)],
    )
    def test_twelve_and_two_hundred_epochs_correlate_as_published(self, real, dataset, correlation):
        table = Table(real["nasbench201"])
        short, full = (table.column("test_accuracy", dataset=dataset, epochs=e) for e in (12, 200))
        assert spearmanr(short, full)[0] == pytest.approx(correlation, abs=0.005)

    def test_first_cell_has_the_documented_hardware_figures(self, real):
        columns = real["nasbench201-hardware"].columns
        documented = {
            "edgegpu_latency_seconds": 5.8074e-3,
            "edgegpu_energy_joules": 24.2266e-3,
            "raspi4_latency_seconds": 10.4820e-3,
            "edgetpu_latency_seconds": 0.9572e-3,
            "pixel3_latency_seconds": 3.6058e-3,
            "eyeriss_latency_seconds": 3.6456e-3,
            "eyeriss_energy_joules": 0.6873e-3,
            "fpga_latency_seconds": 2.5730e-3,
            "fpga_energy_joules": 18.0107e-3,
        }
        found = {metric: columns[f"cifar10_{metric}"].values[0] for metric in documented}
        assert found == pytest.approx(documented, abs=5.1e-8)
        edgetpu = columns["cifar10_edgetpu_latency_seconds"].values
        assert np.isnan(edgetpu).sum() == 4_699

    @pytest.mark.parametrize(
        ("proxy", "correlation"),
        [
            ("synflow", 0.78),
            ("nwot", 0.81),
            ("freerea_naswot", 0.79),
            ("freerea_logsynflow", 0.83),
            ("zen", 0.39),
        ],
    )
    def test_proxies_correlate_as_published(self, real, proxy, correlation):
        test = real["nasbench201"].columns["cifar10_test_accuracy_200ep_mean"].values
        values = real["nasbench201-zero-cost"].columns[f"cifar10_{proxy}"].values
        # A proxy that failed ranks last, as in the source.
        worst = np.where(np.isnan(values), -np.inf, values)
        recorded = slice(None) if proxy in ("zen",) or "freerea" in proxy else ~np.isnan(values)
        found = spearmanr(worst[recorded], test[recorded])[0]
        assert found == pytest.approx(correlation, abs=0.0051)

    def test_nasbench101_says_what_it_lacks(self, real):
        table = Table(real["nasbench101"])
        best = table.column("valid_accuracy")
        assert np.isfinite(best).sum() == 20_031
        assert round(float(np.nanmax(best)), 4) == 0.9491
        assert round(float(np.nanmean(best[:20_001])), 4) == 0.9104
        assert any("20,031 of 423,624" in note for note in table.info.notes)
        assert any("optimum" in note for note in table.info.notes)
        assert table.query(0).params == 8_555_530

    def test_nasbench101_trials(self, real):
        table = Table(real["nasbench101"])
        runs = table.runs("valid_accuracy")
        trials = np.stack([runs[k] for k in range(3)])
        known = np.isfinite(trials[0])
        assert known.sum() == 30
        best = table.column("valid_accuracy")[known]
        np.testing.assert_array_equal(best, trials[:, known].max(0))
        assert (best - trials[:, known].mean(0)).mean() == pytest.approx(0.0043, abs=5e-5)
        # Test accuracy and seconds under "max" are those of the same trial.
        chosen = trials[:, known].argmax(0)
        for metric in ("test_accuracy", "train_seconds"):
            by_trial = np.stack([run[known] for run in table.runs(metric).values()])
            expected = by_trial[chosen, np.arange(30)]
            np.testing.assert_array_equal(table.column(metric)[known], expected)

    def test_energy_correlates_with_training_time(self, real):
        energy = Table(real["nasbench101-energy"]).column("train_energy_joules")
        seconds = Table(real["nasbench101"]).column("train_seconds")
        both = np.isfinite(energy) & np.isfinite(seconds)
        assert np.corrcoef(energy[both], seconds[both])[0, 1] == pytest.approx(0.94, abs=0.005)

    def test_darts_accuracies_are_the_published_ones(self, real):
        trained = real["darts-trained"].columns
        curve = trained["cifar10_test_accuracy_600ep_any_curve"].values
        assert curve.shape == (214, 600)
        assert curve[:, -1].mean() == pytest.approx(0.9695, abs=5e-5)
        best = trained["cifar10_best_test_accuracy_600ep_any"].values
        np.testing.assert_array_equal(best, curve.max(1))
        tiny = real["tiny-darts"]
        best = tiny.columns["cifar10_best_test_accuracy_50ep_any"].values
        assert (round(best.min(), 3), round(best.max(), 3)) == (0.779, 0.898)
        assert (tiny.cells.ops == 2).any(1).sum() <= 87
        with_none = (tiny.cells.ops == 2).any(1) | (tiny.reduction_cells.ops == 2).any(1)
        assert with_none.sum() == 87

    def test_nothing_in_the_surrogate_list_is_called_measured(self, real):
        metrics = {c.measure.metric for c in real["nasbench301-archs"].columns.values()}
        assert not metrics & {"valid_accuracy", "test_accuracy", "train_seconds"}
        xgb = real["nasbench301-archs"].columns["cifar10_xgb_predicted_accuracy_98ep"].values
        assert np.isfinite(xgb).sum() == 1_218
        assert np.nanmean(xgb) == pytest.approx(0.9311, abs=5e-5)

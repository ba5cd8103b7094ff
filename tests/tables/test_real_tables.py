"""The published collections through the same door that users take."""

import json

import numpy as np
import pytest

from archrep.cells import Genotype
from archrep.cli.main import main
from archrep.errors import MisleadingFigureWarning, TableError, UnmeasuredError
from archrep.tables import open_table
from archrep.tables.paid import PaidSurrogate

pytestmark = pytest.mark.data

PUBLISHED = {
    # Data set: best validation, best test, test of the best by validation; in percent.
    "cifar10": (91.607, 94.373, 94.373),
    "cifar100": (73.493, 73.513, 73.513),
    "imagenet16-120": (46.733, 47.311, 46.200),
}
BEST_CELLS = {
    "cifar10": ((6111,), (6111, 13714)),
    "cifar100": ((9930,), (9930,)),
    "imagenet16-120": ((10676,), (857,)),
}


@pytest.fixture(scope="module")
def tables(data_folder, tmp_path_factory):
    """Names of the imported tables, in a folder of their own."""
    folder = tmp_path_factory.mktemp("tables")
    files = sorted(data_folder.glob("nasbench*.parquet")) + sorted(data_folder.glob("*.npz"))
    files = [f for f in files if "arch2vec" not in f.name] + [data_folder / "darts_trained.parquet"]
    assert main(["tables", "import", *map(str, files), "--folder", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(tables, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tables))


def test_every_collection_is_imported_and_opens(tables):
    names = {path.stem for path in tables.iterdir()}
    assert names == {
        *("nasbench101", "nasbench101-energy", "nasbench101-zero-cost"),
        *("nasbench201", "nasbench201-hardware", "nasbench201-zero-cost"),
        *("nasbench301", "nasbench301-archs", "darts-trained", "tiny-darts"),
    }
    for name in names:
        assert open_table(name).info.name == name
    sizes = [
        (tables / f"{name}.safetensors").stat().st_size for name in ("nasbench101", "nasbench201")
    ]
    assert sum(sizes) < 25e6


@pytest.mark.parametrize("dataset", sorted(PUBLISHED))
def test_published_ceilings_of_nasbench201_come_from_the_table(dataset):
    best = open_table("nasbench201").optimum(dataset=dataset)
    found = (best.valid_accuracy.value, best.test_accuracy.value, best.test_of_best_valid)
    assert tuple(round(100 * value, 3) for value in found) == PUBLISHED[dataset]
    assert (best.valid_accuracy.indices, best.test_accuracy.indices) == BEST_CELLS[dataset]


def test_a_perfect_search_by_validation_ends_at_the_test_of_the_best_by_validation():
    table = open_table("nasbench201")
    for dataset, (_, _, final) in PUBLISHED.items():
        paid = table.paid(dataset=dataset)
        for row in table.classes[np.arange(0, len(table), 7)].tolist() + list(
            BEST_CELLS[dataset][0]
        ):
            paid.query(row)
        assert round(100 * paid.report()["test_accuracy"], 3) == final


def test_a_search_pays_for_the_training_whose_validation_it_sees():
    table = open_table("nasbench201")
    observation = table.paid().query(6111)
    assert observation.train_seconds == table.query(6111, dataset="cifar10-valid").train_seconds
    assert table.query(6111).metrics["retrain_seconds"] == pytest.approx(
        2 * observation.train_seconds, rel=1e-3
    )


def test_queries_of_nasbench101_say_what_is_not_measured():
    table = open_table("nasbench101")
    assert (len(table), int(table.measured.sum())) == (423_624, 20_031)
    assert table.query(0).seed == "max"
    unmeasured = int(np.flatnonzero(~table.measured)[0])
    with pytest.raises(UnmeasuredError, match="figures of 20,031 of 423,624 cells"):
        table.query(unmeasured)
    with pytest.warns(MisleadingFigureWarning, match="max of its recorded runs"):
        paid = table.paid()
    assert paid.query(0).valid_accuracy == table.query(0).valid_accuracy


def test_runs_of_single_lie_around_the_mean():
    table = open_table("nasbench201")
    mean = table.column("valid_accuracy")
    single = np.array([table.paid(protocol="single", seed=s)._figures(200)[0] for s in range(20)])
    assert np.abs(single.mean(0) - mean).mean() < 0.002
    assert (single != single[0]).any(0).mean() > 0.95


def test_the_surrogate_answers_and_counts_like_a_table(capsys):
    surrogate = open_table("nasbench301")
    known = open_table("nasbench301-archs")
    pair, other = (Genotype(known.cells[n], known.reduction_cells[n]) for n in (0, 1))
    paid = surrogate.paid(max_queries=2)
    assert isinstance(paid, PaidSurrogate)
    assert paid.query(pair).valid_accuracy == surrogate.query(pair).valid_accuracy
    assert paid.query(pair.format()).repeat
    paid.query(other)
    assert (paid.queries, paid.spent) == (2, True)
    assert paid.report()["test_accuracy"] is None
    capsys.readouterr()
    assert main(["query", "nasbench301", pair.format()]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["valid_accuracy"] == pytest.approx(surrogate.query(pair).valid_accuracy)
    assert main(["tables", "top", "nasbench301"]) == 1
    assert "it has no records" in capsys.readouterr().err


def test_trained_genotypes_have_curves():
    table = open_table("darts-trained")
    assert len(table) == 214
    record = table[0]
    early = table.query(0, at_epoch=10).test_accuracy
    assert 0.3 < early < record.test_accuracy < 1


def test_a_truncated_collection_leaves_the_old_table(data_folder, tables, tmp_path, capsys):
    before = (tables / "nasbench201.safetensors").read_bytes()
    cut = tmp_path / "nasbench201.parquet"
    cut.write_bytes((data_folder / "nasbench201.parquet").read_bytes()[:500_000])
    assert main(["tables", "import", str(cut)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tables / "nasbench201.safetensors").read_bytes() == before
    with pytest.raises(TableError):
        open_table(cut.with_suffix(".safetensors"))

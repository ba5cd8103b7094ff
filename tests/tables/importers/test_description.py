import numpy as np
import pytest

from archrep.cells import Darts, Genotype, get_space
from archrep.errors import TableError
from archrep.tables import Table
from archrep.tables.importers.base import import_file
from archrep.tables.importers.description import EXAMPLE

SPACE = get_space("nasbench201")
CELLS = [SPACE.format(SPACE.enumerate()[row]) for row in (6111, 3, 11)]


@pytest.fixture
def folder(tmp_path):
    lines = [
        "arch,acc,hours",
        *(f"{c},{a},{h}" for c, a, h in zip(CELLS, (91.5, 10, ""), (1, 2, 3), strict=True)),
    ]
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "table.toml").write_text(EXAMPLE)
    return tmp_path


def read(folder, old="", new=""):
    path = folder / "table.toml"
    path.write_text(EXAMPLE.replace(old, new) if old else EXAMPLE)
    (data,) = import_file(path)
    return Table(data)


def test_the_example_of_the_docs_is_imported(folder):
    table = read(folder)
    assert table.query(6111).valid_accuracy == pytest.approx(0.915)
    assert table.query(CELLS[1]).valid_accuracy == pytest.approx(0.1)
    assert np.flatnonzero(table.measured).tolist() == [3, 6111]
    assert table.info.source == "our cluster, 2026"


def test_units_are_converted_at_the_door(folder):
    more = 'unit = "percent"\n\n[columns.hours]\nmetric = "train_seconds"\nunit = "hours"'
    table = read(folder, 'unit = "percent"', more)
    assert table.query(6111).train_seconds == 3600


def test_parquet_and_curves_are_read(folder):
    import pyarrow as pa
    from pyarrow import parquet

    rows = {"arch": ["6111", "3"], "acc": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]}
    parquet.write_table(pa.table(rows), folder / "results.parquet")
    (folder / "table.toml").write_text(
        EXAMPLE.replace("results.csv", "results.parquet")
        .replace("percent", "fraction")
        .replace("epochs = 50", "epochs = 3")
    )
    (data,) = import_file(folder / "table.toml")
    assert Table(data).query(3, at_epoch=2).valid_accuracy == 0.5


def test_genotypes_are_read(folder):
    cells = Darts().sample_array(4, seed=0)
    texts = [Genotype(cells[n], cells[n + 2]).format() for n in range(2)]
    lines = ["arch,acc", *(f'"{text}",{n}' for n, text in enumerate(texts))]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    table = read(folder, '"nasbench201"', '"darts"')
    assert table.query(texts[1]).valid_accuracy == 0.01


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name =", "nam =", "`name` is missing. `nam` is unknown"),
        ('space = "nasbench201"', 'space = "chains"', "For a space of your own: `archrep --import"),
        ('cell = "arch"', 'cell = "cells"', "has no column 'cells'. It has arch, acc, hours"),
        ("[columns.acc]", "[columns.accuracy]", "has no column 'accuracy'"),
        ('unit = "percent"', 'unit = "fraction"', "of 91.5: not of 0 to 1. .* is it 'percent'"),
        ('unit = "percent"', "", "must say 'fraction' or 'percent'"),
        ('unit = "percent"', 'unit = "parsec"', "unit` must be one of fraction, percent"),
        ('metric = "valid_accuracy"', "", "`columns.acc.metric` is missing"),
        ("epochs = 50\n\n", "epochs = true\n\n", "`epochs` must be of int. Got True"),
        ("epochs = 50\n\n", "epochs = 90\n\n", "table's default epochs=90"),
        ('name = "my-table"', "name = ", "Expected a description in TOML"),
        ("results.csv", "none.csv", "none.csv cannot be read"),
        ("results.csv", "results.xlsx", "must end in .parquet or .csv"),
        ("[columns.acc]", "[columns.arch]", "must hold numbers"),
    ],
)
def test_a_wrong_description_says_what_is_wrong(folder, old, new, message):
    assert old in EXAMPLE
    with pytest.raises(TableError, match=message):
        read(folder, old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"arch,acc\n{CELLS[0]},1\n6111,2\n", "Rows 1, 2 of .* are the same cell"),
        ("arch,acc\nnonsense,1\n", "Row 1 of .*: A NAS-Bench-201 cell is written as"),
        ("arch,acc\n,1\n", "Row 1 of .* has no 'arch'"),
        ("arch,acc\n", "has no rows"),
        ("", "cannot be read"),
        (f"arch,acc\n{CELLS[0]}\n", "cannot be read"),
        (f"arch,acc\n{CELLS[0]},good\n", "must hold numbers"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(folder, text, message):
    (folder / "results.csv").write_text(text)
    with pytest.raises(TableError, match=message):
        read(folder)


def test_an_unknown_or_missing_file_lists_the_known_kinds(tmp_path):
    with pytest.raises(TableError, match="There is no such file"):
        import_file(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(TableError, match="is of no known kind. Known are: NAS-Bench-101"):
        import_file(tmp_path / "notes.txt")

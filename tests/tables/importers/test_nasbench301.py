"""Official NAS-Bench-301 ensembles are told from other folders and refused in one clear line."""

from __future__ import annotations

import json

import pytest

from archrep.errors import TableError
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.nasbench301 import IMPORTER


@pytest.fixture
def nb_models(tmp_path):
    """The layout of the archive: three ensembles of two members."""
    folder = tmp_path / "nb_models"
    for ensemble, model in (("xgb", "xgb"), ("lgb_runtime", "lgb_time"), ("gnn_gin", "gnn_gin")):
        for member in range(2):
            place = folder / f"{ensemble}_v1.0" / f"ensemble_member_{member}"
            place.mkdir(parents=True)
            # Loading this pickle would end the process.
            (place / "surrogate_model.model").write_bytes(b"cos\n_exit\n(I1\ntR.")
            (place / "model_config.json").write_text(json.dumps({"model": model}))
            (place / "data_config.json").write_text(json.dumps({"seed": 6}))
    return folder


@pytest.mark.parametrize(
    ("inside", "kinds"),
    [
        (".", "gnn_gin, lgb_time, xgb"),
        ("xgb_v1.0", "xgb"),
        ("lgb_runtime_v1.0/ensemble_member_1", "lgb_time"),
        ("gnn_gin_v1.0/ensemble_member_0/surrogate_model.model", "gnn_gin"),
    ],
)
def test_archive_ensemble_member_and_file_are_refused_with_a_reason_and_a_way_on(
    nb_models, inside, kinds
):
    with pytest.raises(TableError) as error:
        import_file(nb_models / inside)
    message = str(error.value)
    assert f"official NAS-Bench-301 ensembles ({kinds})" in message
    assert "pickles, which run code" in message
    assert "Use the table `nasbench301`" in message
    assert "\n" not in message


def test_the_archive_itself_is_refused_by_its_name(tmp_path):
    for name in ("nasbench301_models_v1_0.zip", "nasbench301_models_v0.9.zip"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
        assert IMPORTER.recognise(tmp_path / name)
    with pytest.raises(TableError, match="kind not stated"):
        IMPORTER.convert(tmp_path / "nasbench301_models_v1_0.zip", quiet)


def test_a_damaged_configuration_does_not_hide_the_reason(nb_models):
    for config in nb_models.rglob("model_config.json"):
        config.write_text('{"model": ')
    with pytest.raises(TableError, match="kind not stated.* pickles, which run code"):
        import_file(nb_models)


def test_other_folders_and_files_are_not_recognised(tmp_path, nb_models):
    (tmp_path / "xgb_v1.0").mkdir()
    (tmp_path / "nasbench301_archs.parquet").write_bytes(b"PAR1")
    for path in (tmp_path / "xgb_v1.0", tmp_path / "nasbench301_archs.parquet", tmp_path / "no"):
        assert not IMPORTER.recognise(path)


@pytest.mark.data
def test_the_parquet_collection_is_not_taken_for_ensembles(data_folder):
    assert not IMPORTER.recognise(data_folder)

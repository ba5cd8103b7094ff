"""`archrep doctor`: what is broken is found, explained and told from what is only absent."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from archrep.cli import doctor
from archrep.cli.main import main


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.fixture
def installed(monkeypatch):
    """Pretends that a package of this version and these requirements is installed."""
    version, requires = doctor.importlib.metadata.version, doctor.importlib.metadata.requires

    def pretend(name, number, requirements=()):
        monkeypatch.setattr(
            doctor.importlib.metadata, "version", lambda n: number if n == name else version(n)
        )
        monkeypatch.setattr(
            doctor.importlib.metadata,
            "requires",
            lambda n: list(requirements) if n == name else requires(n),
        )

    return pretend


@pytest.fixture
def broken_module(monkeypatch, tmp_path):
    """A module whose import raises what a mismatched torchvision raises."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(
            "raise RuntimeError('operator torchvision::nms does not exist')"
        )

    return add


def test_this_installation_is_healthy(monkeypatch, capsys):
    monkeypatch.delenv("ARCHREP_DATA", raising=False)
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    problems = [finding for finding in report["findings"] if finding["status"] == "problem"]
    assert (code, report["healthy"], problems) == (0, True, [])
    names = {finding["name"] for finding in report["findings"]}
    assert {"python", "torch", "scikit-learn", "cpu", "encoder nasbench201"} <= names


def test_a_problem_is_shown_with_its_fix_and_gives_exit_code_1(monkeypatch, capsys):
    findings = [
        doctor.Finding("fine", "ok", "1.0"),
        doctor.Finding("bad", "problem", "it broke", "mend it"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "PROBLEM bad" in shown
    assert "-> mend it" in shown
    assert "1 problem;" in shown


def test_torchvision_of_another_torch_is_found(installed, broken_module):
    installed("torchvision", "0.28.0", ["torch==2.13.0", "numpy"])
    broken_module("torchvision")
    finding = by_name(doctor._torchvision())["torchvision"]
    assert finding.status == "problem"
    assert "0.28.0 (made for torch==2.13.0)" in finding.detail
    assert "torchvision::nms" in finding.detail
    assert "pip uninstall torchvision" in finding.fix


def test_an_absent_torchvision_is_fine(monkeypatch):
    monkeypatch.setattr(doctor, "_installed_version", lambda name: None)
    assert by_name(doctor._torchvision())["torchvision"].status == "note"


@pytest.mark.parametrize(
    ("requirement", "words", "fix"),
    [
        ("no-such-package>=2", "not installed", 'pip install "no-such-package>=2"'),
        ("numpy>=99", "but archrep needs >=99", 'pip install "numpy>=99"'),
    ],
)
def test_a_missing_or_old_package_is_found(requirement, words, fix, installed):
    installed("archrep", "0.1.0", [requirement])
    [finding] = doctor._packages()
    assert finding.status == "problem"
    assert words in finding.detail
    assert finding.fix == fix


def test_a_package_that_does_not_import_is_found(installed, broken_module, monkeypatch):
    installed("archrep", "0.1.0", ["broken-thing>=1"])
    monkeypatch.setattr(doctor, "_installed_version", lambda name: "1.2")
    broken_module("broken_thing")
    [finding] = doctor._packages()
    assert finding.status == "problem"
    assert "1.2 does not import: RuntimeError: operator" in finding.detail


def test_an_absent_optional_package_is_not_mentioned(installed):
    installed("archrep", "0.1.0", ["no-such-package>=2 ; extra == 'umap'"])
    assert list(doctor._packages()) == []


def test_data_files_are_opened(monkeypatch, tmp_path):
    np.savez(tmp_path / "nasbench301_mlp_surrogate.npz", weights=np.zeros(3))
    (tmp_path / "nasbench201.parquet").write_text("cut off")
    monkeypatch.setenv("ARCHREP_DATA", str(tmp_path))
    found = by_name(doctor._data())
    assert "2 of" in found["ARCHREP_DATA"].detail
    assert found["nasbench301_mlp_surrogate.npz"].detail == "1 arrays"
    assert found["nasbench201.parquet"].status == "problem"
    assert "Copy" in found["nasbench201.parquet"].fix


def test_a_data_folder_that_is_none_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHREP_DATA", str(tmp_path / "nowhere"))
    assert by_name(doctor._data())["ARCHREP_DATA"].status == "problem"


def test_a_missing_encoder_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PRETRAINED", tmp_path)
    statuses = {finding.status for finding in doctor._encoders()}
    assert statuses == {"problem"}


def test_a_full_disk_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "SPARE_BYTES", 1e18)
    assert {finding.status for finding in doctor._disk()} == {"problem"}


def test_a_temporary_folder_that_cannot_be_written_is_found(monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = by_name(doctor._disk())["temporary folder"]
    assert finding.status == "problem"
    assert "TMPDIR" in finding.fix


def test_a_damaged_table_is_a_problem_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    finding = by_name(doctor._tables())["table bad"]
    assert finding.status == "problem"
    assert "cannot be read" in finding.detail
    assert "import it again" in finding.fix

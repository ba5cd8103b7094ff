"""NAS-Bench-201 files of both releases, through the restricted loader of torch."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from making import nasbench201_checkpoint, write_nats_folder

from archrep.cells import get_space
from archrep.errors import TableError
from archrep.tables.importers import nats
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.nasbench201 import convert, recognise

INDICES = (4, 0, 7)
NEW, OLD = "NAS-Bench-201-v1_1-096897.pth", "NAS-Bench-201-v1_0-e61699.pth"


@pytest.fixture
def save(tmp_path):
    """Function (content, name, zipped): path of what torch saves."""

    def write(content, name=NEW, zipped=False):
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


class TestReleases:
    @pytest.mark.parametrize("zipped", [False, True])
    def test_v11_gives_what_the_same_trials_give_as_natsbench(self, zipped, save, tmp_path):
        path = save(nasbench201_checkpoint(INDICES), zipped=zipped)
        folder = write_nats_folder(tmp_path / "NATS-tss-x", get_space("nasbench201"), INDICES)
        (expected,) = nats.convert(folder, quiet)
        (table,) = import_file(path)
        assert table.info.name == "nasbench201"
        assert "Release 1.1" in table.info.notes[-1]
        assert list(table.columns) == list(expected.columns)
        for name, column in expected.columns.items():
            np.testing.assert_array_equal(table.columns[name].values, column.values)

    def test_v10_has_short_trainings_of_one_set_and_no_long_times(self, save):
        (table,) = convert(save(nasbench201_checkpoint(INDICES, old=True), OLD), quiet)
        assert "Release 1.0" in table.info.notes[-1]
        short = {c.measure.dataset for c in table.columns.values() if c.measure.epochs == 12}
        assert short == {"cifar10-valid", "cifar10"}  # both from the one training
        assert "cifar10_test_accuracy_12ep_s111" not in table.columns
        seconds = [c for c in table.columns.values() if "seconds" in c.measure.metric]
        assert {c.measure.epochs for c in seconds} == {12, None}  # `None`: latency


class TestBadFiles:
    @pytest.mark.parametrize("zipped", [False, True])
    def test_code_is_refused_and_not_run(self, zipped, save, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {tmp_path / 'victim'}",)

        with pytest.raises(TableError, match=r"names '(posix|nt)\.system'.*nothing was executed"):
            convert(save({"arch2infos": Evil()}, zipped=zipped), quiet)
        assert not (tmp_path / "victim").exists()

    @pytest.mark.parametrize("zipped", [False, True])
    def test_truncation_is_one_clear_error(self, zipped, save):
        path = save(nasbench201_checkpoint([4]), zipped=zipped)
        data = path.read_bytes()
        for end in (0, 1, 10, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:end])
            with pytest.raises(TableError, match="no readable torch file") as caught:
                convert(path, quiet)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([1, 2], "must hold a dict"),
            ({"meta_archs": []}, "must hold a dict"),
            ({"arch2infos": {}}, "`meta_archs`"),
            ({"arch2infos": {0: {"half": {}}}}, "must have the schedules less and full"),
            ({"arch2infos": {0: 5}}, "must have the schedules less and full"),
            ({"arch2infos": {"a\nb": 5}}, r"Cell 'a\\nb' in .* must have the schedules"),
        ],
    )
    def test_files_of_something_else(self, content, message, save):
        with pytest.raises(TableError, match=message):
            convert(save(content), quiet)

    def test_a_record_of_another_cell(self, save):
        content = nasbench201_checkpoint([4])
        for result in content["arch2infos"][4].values():
            result["arch_index"] = 5
        with pytest.raises(TableError, match=r"Cell 4 in .* calls cell 5"):
            convert(save(content), quiet)

    def test_a_plain_pickle_of_that_name(self, tmp_path):
        path = tmp_path / NEW
        path.write_bytes(pickle.dumps({"arch2infos": {}}))
        with pytest.raises(TableError, match="no readable torch file|must hold a dict"):
            convert(path, quiet)

    def test_other_names_are_not_recognised(self, save):
        assert not recognise(save({}, "model.pth"))
        assert recognise(save({}, "NAS-Bench-102-v1_0-e61699.pth"))  # its name before the rename

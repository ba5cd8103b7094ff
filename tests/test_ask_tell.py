import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from archrep.ask_tell import Search
from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.errors import (
    CellError,
    ConfigError,
    RunError,
    ShapeError,
    SpaceError,
    UnknownNameError,
)
from archrep.strategies import Strategy

NB201 = get_space("nasbench201")
ALL = Candidates.of_space(NB201)
TOY_DNGO = {"initial": 4, "batch": 3, "hidden": 16, "epochs": 2}
STRATEGIES = {
    "random": {},
    "evolution": {"population_size": 5, "sample_size": 3},
    "local-search": {"initial": 3},
    "reinforce": {},
    "bohb": {"schedules": (12, 200)},
    "dngo": TOY_DNGO,
}


def score(cell):
    """Share of edges with a 3 x 3 convolution, and what tells equal shares apart."""
    row = NB201.index(cell)
    return float((ALL.cells.ops[row] == 2).mean() + row / 1e7)


def make(name, **options):
    options = {"direction": "maximize", "settings": STRATEGIES[name], "seed": 3} | options
    encoding = "adjacency" if name == "dngo" else None
    return Search(name, ALL, encoding=encoding, **options)


def told(search):
    return [(entry.index, entry.value, entry.epochs) for entry in search.history]


class Three(Strategy):
    """Asks for three cells at a time: those that follow the number of values."""

    name = "three"

    def propose(self):
        start = 10 * self.rows.shape[1]
        return np.array([[start, start + 1, start + 2]])


class Seven(Strategy):
    """Asks for nothing but cell 7."""

    name = "seven"

    def propose(self):
        return np.array([[7]])


@pytest.mark.parametrize("name", STRATEGIES)
class TestEverySearch:
    def test_proposes_what_the_bare_strategy_would(self, name):
        search = make(name)
        search.run(score, 14)
        bare = make(name).strategy
        rows = []
        while len(rows) < 14:
            asked = bare.ask()
            values = [[score(ALL.cells[row]) for row in asked.rows[0].tolist()]]
            bare.tell(asked.rows, np.array(values))
            epochs = [0] * asked.rows.shape[1] if asked.epochs is None else asked.epochs[0].tolist()
            pairs = zip(asked.rows[0].tolist(), epochs, strict=True)
            rows += [
                p for p in dict.fromkeys(pairs) if (ALL.classes[p[0]], p[1]) not in classes(rows)
            ]
        assert [(entry.index, entry.epochs or 0) for entry in search.history] == rows[:14]

    @pytest.mark.parametrize("workers", [1, 4])
    def test_goes_on_identically_wherever_it_was_killed(self, name, workers, tmp_path):
        whole, killed = make(name), make(name, state=tmp_path / "s.npz")
        steps(whole, workers, 12)
        for count in range(13):  # killed after every value, with `workers` cells asked and not told
            steps(killed, workers, count)
            killed = make(name, state=tmp_path / "s.npz")
        assert told(killed) == told(whole)

    def test_minimizing_is_maximizing_the_negative(self, name):
        up, down = make(name), make(name, direction="minimize")
        up.run(score, 12)
        down.run(lambda cell: -score(cell), 12)
        assert [t.index for t in up.history] == [t.index for t in down.history]
        assert up.best.index == down.best.index
        assert down.best.value == -up.best.value
        assert NB201.index(up.recommend()) == NB201.index(down.recommend())


def classes(pairs):
    return {(ALL.classes[row], epochs) for row, epochs in pairs}


def steps(search, workers, count):
    """Go on to `count` values with workers that hold one cell each and do not answer in turn."""
    held = []
    while len(search.history) < count:
        held += search.ask(workers - len(held))
        cell = held.pop(0 if len(search.history) % 2 else -1)
        search.tell(cell, score(cell))
    if len(held) < workers:
        search.ask(workers - len(held))


def test_a_batch_reaches_the_strategy_once_it_is_complete_in_any_order():
    search = Search(Three, ALL, direction="maximize")
    first, second, third = search.ask(3)
    search.tell(third, 0.3)
    search.tell(first, 0.1)
    assert search.strategy.rows.shape == (1, 0)
    search.tell(second, 0.2)
    assert search.strategy.rows.tolist() == [[0, 1, 2]]
    assert search.strategy.values.tolist() == [[0.1, 0.2, 0.3]]
    assert [entry.value for entry in search.history] == [0.3, 0.1, 0.2]
    assert [NB201.index(cell) for cell in search.ask(2)] == [30, 31]


def test_a_value_that_was_not_asked_for_is_passed_on_at_once():
    search = Search(Three, ALL, direction="minimize")
    search.ask()
    search.tell(500, 0.4)
    assert search.strategy.rows.tolist() == [[500]]
    assert search.strategy.values.tolist() == [[-0.4]]
    assert search.best.index == 500


def test_a_cell_is_told_in_any_node_order_as_text_or_index():
    search = Search("random", Candidates.of_cells(get_space("darts"), sampled_darts()), **UP)
    for n, way in enumerate((search.candidates.cells[4], str_of(search, 4), 4, np.int64(4))):
        search.tell(way, n / 10)
    assert [entry.index for entry in search.history] == [4, 4, 4, 4]
    enumerated = Search("random", ALL, **UP)
    for way in (ALL.cells[77], NB201.format(ALL.cells[77]), "77", 77):
        enumerated.tell(way, 0.5)
    assert [entry.index for entry in enumerated.history] == [77, 77, 77, 77]


UP = {"direction": "maximize"}


def sampled_darts():
    return get_space("darts").sample_array(40, seed=1)


def str_of(search, row):
    return search.candidates.space.format(search.candidates.cells[row])


def test_cells_of_a_sampled_space_are_distinct_and_found_in_other_node_orders():
    darts = get_space("darts")
    candidates = Candidates.of_space(darts, sample=300)
    assert len(np.unique(candidates.cells.colour_hash())) == len(candidates) > 250
    search = Search("random", candidates, **UP)
    [cell] = search.ask()
    search.tell(darts.parse(darts.format(cell)), 0.9)
    assert not search.pending


def test_asking_beyond_the_batch_gives_other_cells_and_leaves_the_strategy_as_it_is():
    plain, ahead = Search(Three, ALL, **UP), Search(Three, ALL, **UP)
    cells = ahead.ask(5)
    # The liar has three values, so that it proposes 30, 31, ...
    assert [NB201.index(cell) for cell in cells] == [0, 1, 2, 30, 31]
    assert len(ahead.pending) == 5
    for cell in cells[:3]:
        ahead.tell(cell, 0.5)
    assert [NB201.index(cell) for cell in ahead.pending] == [30, 31]
    plain.run(lambda cell: 0.5, 3)
    assert ahead.strategy.rows.tolist() == plain.strategy.rows.tolist()
    ahead.tell(31, 0.7)
    assert ahead.strategy.rows[0, -1] == 31


@pytest.mark.parametrize("name", STRATEGIES)
def test_parallel_workers_hold_different_cells(name):
    search = make(name)
    cells = search.ask(8)
    assert len({ALL.classes[NB201.index(cell)] for cell in cells}) == 8


def test_released_cells_are_asked_again_first():
    search = Search(Three, ALL, **UP)
    search.ask(2)
    search.release()
    assert [NB201.index(cell) for cell in search.ask(3)] == [0, 1, 2]


def test_known_cells_are_answered_from_memory():
    search = Search(Seven, ALL, **UP)
    search.tell(7, 0.5)
    with pytest.raises(SpaceError, match="'seven' has nothing new to ask among 15,625 cells"):
        search.ask()
    assert Search(Seven, ALL, **UP).run(lambda cell: 0.5, 100).value == 0.5


def test_a_search_ends_when_every_class_is_known():
    few = Candidates.of_cells(get_space("darts"), sampled_darts())
    search = Search("random", few, **UP)
    search.run(lambda cell: len(search.history), 1000)
    assert sorted(entry.index for entry in search.history) == list(range(40))


def test_callbacks_see_every_value_and_the_budget_counts_those_before():
    search, seen = make("random"), []
    search.run(score, 3)
    search.run(score, 5, [lambda s, entry: seen.append((len(s.history), entry.value))])
    assert [n for n, _ in seen] == [4, 5]
    assert [value for _, value in seen] == [entry.value for entry in search.history[3:]]


def test_shorter_schedules_do_not_win():
    search = make("bohb")
    while not any(entry.epochs == 200 for entry in search.history):
        [cell] = search.ask()
        search.tell(cell, 0.9 if search.epochs(cell) == 12 else 0.5)
    assert search.best.value == 0.5


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_sequence(tmp_path):
    script = textwrap.dedent("""
        import os, sys
        from archrep import Search
        search = Search("evolution", "nasbench201", direction="maximize", seed=3, state="s.npz",
                        settings={"population_size": 5, "sample_size": 3})
        def objective(cell):
            if len(search.history) == int(sys.argv[1]):
                os.kill(os.getpid(), 9)
            return cell.ops.count("nor_conv_3x3") / 6
        search.run(objective, 14)
        print([t.index for t in search.history])
    """)

    def start(kill_at, folder):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", script, str(kill_at)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ)

    whole = start(99, tmp_path / "whole")
    assert start(6, tmp_path / "killed").returncode == -9
    assert start(11, tmp_path / "killed").returncode == -9
    assert start(99, tmp_path / "killed").stdout == whole.stdout != ""


class TestStateFile:
    def test_of_another_search_is_refused(self, tmp_path):
        make("random", state=tmp_path / "s.npz").run(score, 2)
        with pytest.raises(RunError, match=r"another search: strategy 'random' there, 'evolution'"):
            make("evolution", state=tmp_path / "s.npz")
        with pytest.raises(RunError, match="another search: seed 3 there, 4 here"):
            make("random", state=tmp_path / "s.npz", seed=4)

    def test_that_is_damaged_is_refused_in_one_line(self, tmp_path):
        file = tmp_path / "s.npz"
        make("local-search", state=file).run(score, 4)
        whole = file.read_bytes()
        stored = [at for at in range(len(whole) - 46) if whole[at : at + 4] == b"PK\x01\x02"]
        other_method = bytearray(whole)
        other_method[stored[0] + 10] = 99  # a compression that nobody knows
        parts = (b"", b"not an archive", whole[: len(whole) // 2], b"PK" + whole[2:200])
        for damaged in (*parts, bytes(other_method)):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match="Expected the state of a search in") as caught:
                make("local-search", state=file)
            assert "\n" not in str(caught.value)

    def test_with_parts_of_the_wrong_kind_is_refused_in_one_line(self, tmp_path):
        file = tmp_path / "s.npz"
        make("random", state=file).run(score, 2)
        arrays = dict(np.load(file))
        for part, content in {
            "progress": np.array(json.dumps({"told": [[0]]})),
            "about": np.array("[]"),
            "strategy/rows": np.zeros((7, 2), np.int64),
        }.items():
            np.savez(file, **arrays | {part: content})
            with pytest.raises(RunError, match="Expected the state of") as caught:
                make("random", state=file)
            assert "\n" not in str(caught.value)

    def test_that_another_process_writes_is_not_overwritten(self, tmp_path):
        file = tmp_path / "s.npz"
        first = make("random", state=file)
        second = make("random", state=file)
        first.run(score, 2)
        written = file.read_bytes()
        with pytest.raises(RunError, match="no longer what this search wrote") as caught:
            second.run(score, 2)
        assert "\n" not in str(caught.value)
        assert not second.history
        assert file.read_bytes() == written
        assert make("random", state=file).run(score, 3) == make("random").run(score, 3)

    def test_is_never_half_written(self, tmp_path, monkeypatch):
        file = tmp_path / "s.npz"
        search = make("random", state=file)
        search.run(score, 2)

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(RunError, match="No space left on device"):
            search.run(score, 3)
        monkeypatch.undo()
        assert len(make("random", state=file).history) == 2


class TestBadInput:
    def test_direction(self):
        with pytest.raises(ConfigError, match="must be maximize or minimize. Got 'up'"):
            Search("random", ALL, direction="up")

    def test_space(self):
        with pytest.raises(UnknownNameError, match="Search space must be one of"):
            Search("random", "nasbench", **UP)
        with pytest.raises(ConfigError, match="Got list"):
            Search("random", [1], **UP)

    def test_count_and_budget(self):
        for wrong in (0, 2.5, "3", None, True, float("nan")):
            with pytest.raises(ConfigError, match="`n` must be a whole number, at least 1. Got"):
                make("random").ask(wrong)
            with pytest.raises(ConfigError, match="`budget` must be a whole number, at least 1"):
                make("random").run(score, wrong)

    @pytest.mark.parametrize("value", [float("nan"), "0.5", None, [1, 2], 10**400])
    def test_value(self, value):
        search = make("random")
        with pytest.raises(ShapeError, match="`value` must be a finite number. Got"):
            search.tell(3, value)
        with pytest.raises(ShapeError, match="`value` must be a finite number. Got"):
            search.run(lambda cell: value, 1)
        assert not search.history

    def test_arguments_of_another_kind_are_all_named_at_once(self):
        wrong = {"encoding": 4, "preset": ["a"], "settings": "a=1", "seed": -1, "state": 4}
        with pytest.raises(ConfigError) as caught:
            Search(42, ALL, direction="maximize", **wrong)
        for name in ("strategy", *wrong):
            assert f"`{name}` must be" in str(caught.value)

    def test_a_device_that_is_not_there(self):
        with pytest.raises(ConfigError, match="`device` must be 'auto', 'cpu' or 'cuda'"):
            make("dngo", device="tpu")

    def test_an_encoding_that_nobody_would_look_at(self):
        with pytest.raises(ConfigError, match="'random' has no model that would see an encoding"):
            Search("random", ALL, encoding="path", **UP)

    @pytest.mark.parametrize("cell", [-1, 15625, "|none~0|", 0.5, True, None])
    def test_cell(self, cell):
        with pytest.raises(CellError):
            make("random").tell(cell, 0.5)

    def test_recommendation_before_the_first_value(self):
        assert make("random").best is None
        with pytest.raises(ConfigError, match="needs at least one value"):
            make("random").recommend()

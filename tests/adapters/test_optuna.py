import pickle
import sys
from importlib import import_module

import numpy as np
import pytest

from archrep.ask_tell import Search
from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.errors import ConfigError, SpaceError

optuna = pytest.importorskip("optuna")
from archrep.adapters.optuna import ArchrepSampler  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)

NB201 = get_space("nasbench201")
ALL = Candidates.of_space(NB201)
SETTINGS = {
    "random": {},
    "evolution": {"population_size": 5, "sample_size": 3},
    "dngo": {"initial": 4, "batch": 3, "hidden": 16, "epochs": 2},
}


def score(index):
    """Share of edges with a 3 x 3 convolution, and what tells equal shares apart."""
    return float((ALL.cells.ops[index] == 2).mean() + index / 1e7)


def make(name="evolution", direction="maximize", where=ALL, **options):
    encoding = "adjacency" if name == "dngo" else None
    options = {"settings": SETTINGS[name], "seed": 3} | options
    return Search(name, where, encoding=encoding, direction=direction, **options)


def study_of(search, **options):
    return optuna.create_study(
        direction=search.direction, sampler=ArchrepSampler(search), **options
    )


def objective(trial):
    return score(trial.suggest_int("cell", 0, 15624))


def indices(study):
    return [trial.params["cell"] for trial in study.get_trials()]


def alone(name, count, **options):
    """What the search proposes without Optuna."""
    search = make(name, **options)
    search.run(lambda cell: score(NB201.index(cell)), count)
    return [told.index for told in search.history]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_study_sees_the_cells_that_the_search_proposes_by_itself(name):
    study = study_of(make(name))
    study.optimize(objective, n_trials=14)
    assert indices(study) == alone(name, 14)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stored_study_goes_on_in_another_process_as_if_nothing_had_happened(name, tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study_of(make(name), storage=storage, study_name="s").optimize(objective, n_trials=6)
    study = study_of(make(name), storage=storage, study_name="s", load_if_exists=True)
    study.optimize(objective, n_trials=8)
    assert indices(study) == alone(name, 14)


def test_a_search_with_a_state_file_is_not_told_twice(tmp_path):
    storage, state = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "state.npz"
    study_of(make(state=state), storage=storage, study_name="s").optimize(objective, n_trials=6)
    search = make(state=state)
    study = study_of(search, storage=storage, study_name="s", load_if_exists=True)
    study.optimize(objective, n_trials=8)
    assert indices(study) == alone("evolution", 14)
    assert len(search.history) == 14


def test_two_processes_with_one_storage_do_not_train_a_cell_twice(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    first, second = make("dngo"), make("dngo")  # equal seeds: they would propose the same
    studies = [
        study_of(search, storage=storage, study_name="s", load_if_exists=True)
        for search in (first, second)
    ]
    for _ in range(5):
        trials = [study.ask() for study in studies]
        cells = [trial.suggest_int("cell", 0, 15624) for trial in trials]
        for study, trial, cell in zip(studies, trials, cells, strict=True):
            study.tell(trial, score(cell))
    cells = ALL.classes[indices(studies[0])]
    assert len(set(cells.tolist())) == 10
    for study in studies:
        study.ask()  # catches up
    assert len(first.history) == len(second.history) == 10


def test_threads_share_one_search():
    study = study_of(make("dngo"))
    study.optimize(objective, n_trials=12, n_jobs=3)
    assert len(set(ALL.classes[indices(study)].tolist())) == 12


def test_a_pickled_sampler_goes_on():
    study = study_of(make())
    study.optimize(objective, n_trials=6)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(objective, n_trials=8)
    assert indices(study) == alone("evolution", 14)


@pytest.mark.parametrize("as_text", [False, True])
def test_cells_may_be_chosen_among_some_by_notation_or_index(as_text):
    rows = np.arange(0, 15625, 997)
    few = Candidates(NB201, ALL.cells[rows], rows, np.arange(len(rows)))
    search = make("random", where=few)
    choices = [
        NB201.format(cell) if as_text else int(row)
        for row, cell in zip(rows, few.cells, strict=True)
    ]
    study = study_of(search)
    study.optimize(
        lambda trial: float(choices.index(trial.suggest_categorical("cell", choices))), n_trials=9
    )
    assert [told.index for told in search.history] == [
        int(rows[choices.index(choice)]) for choice in indices(study)
    ]
    assert search.best.value == study.best_value


def test_other_parameters_are_those_of_the_other_sampler():
    def with_rate(trial):
        trial.suggest_int("cell", 0, 15624)
        return trial.suggest_float("rate", 0, 1)

    sampler = ArchrepSampler(make(), others=optuna.samplers.RandomSampler(seed=7))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(with_rate, n_trials=5)
    without = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    without.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=5)
    assert [trial.params["rate"] for trial in study.trials] == [
        trial.params["rate"] for trial in without.trials
    ]


def test_tpe_may_choose_the_others_jointly():
    sampler = ArchrepSampler(
        make(), others=optuna.samplers.TPESampler(seed=1, n_startup_trials=2, multivariate=False)
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("rate", 0, 1), n_trials=6)
    assert len(sampler.search.history) == 6


class TestTrialsWithoutValue:
    def test_failed_ones_count_as_the_worst_so_far_even_the_first(self):
        values = iter([None, 0.5, None, 0.2, None, 0.7])

        def fragile(trial):
            trial.suggest_int("cell", 0, 15624)
            value = next(values)
            if value is None:
                raise RuntimeError("out of memory")
            return value

        search = make()
        study_of(search).optimize(fragile, n_trials=6, catch=(RuntimeError,))
        assert [told.value for told in search.history] == [0.5, 0.5, 0.5, 0.2, 0.2, 0.7]

    def test_failed_ones_are_told_once_to_a_search_with_a_state_file(self, tmp_path):
        values = iter([0.5, None, 0.2])

        def fragile(trial):
            trial.suggest_int("cell", 0, 15624)
            value = next(values)
            if value is None:
                raise RuntimeError("out of memory")
            return value

        stored = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "study_name": "s"}
        study = study_of(make(state=tmp_path / "state.npz"), **stored)
        study.optimize(fragile, n_trials=3, catch=(RuntimeError,))
        search = make(state=tmp_path / "state.npz")
        study_of(search, load_if_exists=True, **stored).ask()
        assert [told.value for told in search.history] == [0.5, 0.5, 0.2]

    def test_minimising_the_worst_is_the_largest(self):
        search = make(direction="minimize")
        study = study_of(search)
        for value in (0.3, 0.9, None):
            trial = study.ask()
            trial.suggest_int("cell", 0, 15624)
            state = optuna.trial.TrialState.FAIL if value is None else None
            study.tell(trial, value, state=state)
        assert [told.value for told in search.history] == [0.3, 0.9, 0.9]

    def test_pruned_ones_count_as_their_last_report(self):
        def pruned(trial):
            trial.suggest_int("cell", 0, 15624)
            trial.report(0.1, step=1)
            trial.report(0.4, step=2)
            raise optuna.TrialPruned

        search = make()
        study_of(search).optimize(pruned, n_trials=2)
        assert [told.value for told in search.history] == [0.4, 0.4]


def test_a_cell_of_the_users_own_is_told_as_well():
    search = make()
    study = study_of(search)
    study.enqueue_trial({"cell": 77})
    study.optimize(objective, n_trials=3)
    assert search.history[0].index == 77
    assert indices(study)[1:] == alone("evolution", 2)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ({"search": "evolution"}, "search"),
            ({"parameter": 3}, "parameter"),
            ({"others": "tpe"}, "others"),
        ],
    )
    def test_arguments_of_another_kind(self, arguments, name):
        with pytest.raises(ConfigError, match=f"`{name}` must be"):
            ArchrepSampler(**{"search": make()} | arguments)

    def test_a_parameter_that_the_objective_does_not_ask_for(self):
        study = study_of(make())
        with pytest.raises(ConfigError, match=r"must ask for `cell`.*Got a trial with arch"):
            study.optimize(lambda trial: trial.suggest_int("arch", 0, 15624) / 1e5, n_trials=3)
        assert [trial.value is not None for trial in study.get_trials()] == [True]

    def test_cells_that_may_not_be_proposed_are_left_out_with_a_warning(self):
        few = Candidates(NB201, ALL.cells[:50], np.arange(50), np.arange(50))
        search = make("random", where=few)
        study = study_of(search)
        study.enqueue_trial({"cell": 77})
        with pytest.warns(UserWarning, match="Trial 0 is left out: .*Got 77") as caught:
            study.optimize(objective, n_trials=3)
        assert len([w for w in caught if "left out" in str(w.message)]) == 1
        assert [told.index for told in search.history] == indices(study)[1:]

        again = study_of(make("random", where=few))  # what a storage gives another process
        again.add_trials(study.get_trials())
        with pytest.warns(UserWarning, match="Trial 0 is left out"):
            again.optimize(objective, n_trials=1)
        assert len(again.sampler.search.history) == 3

    def test_directions_must_agree(self):
        study = optuna.create_study(direction="minimize", sampler=ArchrepSampler(make()))
        with pytest.raises(ConfigError, match="must maximize one value.* Got minimize"):
            study.ask()

    def test_one_value_only(self):
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=ArchrepSampler(make())
        )
        with pytest.raises(ConfigError, match="one value.* Got maximize, minimize"):
            study.ask()

    def test_a_sampler_keeps_to_one_study(self):
        sampler = ArchrepSampler(make())
        for name, error in (("a", None), ("b", ConfigError)):
            study = optuna.create_study(direction="maximize", sampler=sampler, study_name=name)
            if error is None:
                study.ask()
            else:
                with pytest.raises(ConfigError, match="has seen 'a'; make another for 'b'"):
                    study.ask()

    def test_a_range_that_leaves_cells_out_is_named(self):
        study = study_of(make())
        with pytest.raises(ConfigError, match="`cell` must be an integer or a choice that covers"):
            study.optimize(lambda trial: trial.suggest_int("cell", 20_000, 30_000), n_trials=1)

    def test_a_parameter_of_another_kind_is_named(self):
        study = study_of(make())
        with pytest.raises(ConfigError, match=r"Got FloatDistribution"):
            study.optimize(lambda trial: trial.suggest_float("cell", 0, 1), n_trials=1)

    def test_the_end_of_the_cells_is_said(self):
        two = Candidates(NB201, ALL.cells[:2], np.arange(2), np.arange(2))
        study = study_of(make("random", where=two))
        with pytest.raises(SpaceError, match="nothing new to ask among 2 cells"):
            study.optimize(objective, n_trials=3)

    def test_without_optuna_the_extra_is_named(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "archrep.adapters.optuna")
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ConfigError, match=r"pip install 'archrep\[optuna\]'"):
            import_module("archrep.adapters.optuna")


def test_trials_side_by_side_get_cells_of_their_own_before_the_first_value():
    repeats = SETTINGS["evolution"] | {"repeats": True}
    study = study_of(make(settings=repeats))
    assert len({study.ask().suggest_int("cell", 0, 15624) for _ in range(5)}) == 5


def test_more_trials_at_a_time_than_cells_are_an_error():
    few = Candidates(NB201, ALL.cells[[0, 5, 9]], np.array([0, 5, 9]), np.arange(3))
    study = study_of(make("random", where=few))
    for _ in range(3):
        study.ask().suggest_int("cell", 0, 9)
    with pytest.raises(SpaceError, match=r"Every cell|Nothing is left|no cell"):
        study.ask().suggest_int("cell", 0, 9)

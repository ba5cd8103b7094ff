"""archrep as a sampler of Optuna: `study.optimize` asks a `Search` which cell comes next.

The study keeps the record: whatever finished in it, in this process, an earlier one or one that
shares its storage, is told to the search before the next cell is asked for.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import NoneType
from typing import Any

from archrep.ask_tell import Search
from archrep.errors import CellError, ConfigError, SpaceError

try:
    from optuna import Study
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        IntDistribution,
    )
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise ConfigError(
        "`archrep.adapters.optuna` needs Optuna, which is not installed. Run "
        "`pip install 'archrep[optuna]'`."
    ) from None


class ArchrepSampler(BaseSampler):
    """Lets a search choose one parameter of a study: the cell.

    The objective asks for it by index, `trial.suggest_int("cell", 0, 15624)`, or among notations,
    `trial.suggest_categorical("cell", texts)`. Other parameters go to another sampler.

    A failed trial counts as the worst value so far, a pruned one as its last report, so that a
    strategy that waits for a whole batch need not wait for them. A cell that the search may not
    propose, which a user enqueued or an earlier study stored, is left out with a warning.

    Args:
        search: What proposes cells, with the direction of the study.
        parameter: Name of the parameter that is a cell.
        others: Sampler of all other parameters; by default uniform, with the seed of the search.

    Raises:
        ConfigError: An argument is of another kind; or, from `study.optimize`, the study has
            another direction, or its first trial did not ask for `parameter`.

    Example:
        >>> import optuna
        >>> from archrep import Search
        >>> search = Search("evolution", "nasbench201", direction="maximize")
        >>> study = optuna.create_study(direction="maximize", sampler=ArchrepSampler(search))
        >>> study.optimize(lambda trial: trial.suggest_int("cell", 0, 15624) % 7, n_trials=5)
        >>> len(search.history)
        5
    """

    def __init__(
        self, search: Search, *, parameter: str = "cell", others: BaseSampler | None = None
    ) -> None:
        if not isinstance(search, Search):
            raise ConfigError(f"`search` must be an `archrep.Search`. Got {search!r:.60}.")
        if not isinstance(parameter, str):
            raise ConfigError(
                f"`parameter` must be the name of a parameter. Got {parameter!r:.60}."
            )
        if not isinstance(others, (BaseSampler, NoneType)):
            raise ConfigError(f"`others` must be a sampler of Optuna. Got {others!r:.60}.")
        self.search, self.parameter = search, parameter
        self.others = RandomSampler(seed=search.seed) if others is None else others
        self._study: str | None = None
        self._told: set[int] = set()  # numbers of trials
        self._without_value: list[int] = []  # rows of failed trials before the first value
        # Rows that the search's own state file knows, so that a stored study does not repeat them.
        self._recorded = Counter(search.row(told.index) for told in search.history)
        self._choices: dict[tuple[Any, ...], dict[int, Any]] = {}
        self._lock = threading.RLock()  # `n_jobs` runs trials in threads

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    # What Optuna calls ----------------------------------------------------------------------------

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        with self._lock:
            self._check(study)
            self._catch_up(study, trial.number)
        self.others.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = self.others.infer_relative_search_space(study, trial)
        return {name: part for name, part in space.items() if name != self.parameter}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.others.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if param_name != self.parameter:
            return self.others.sample_independent(study, trial, param_name, param_distribution)
        with self._lock:
            return self._answer(self._ask(study, trial.number), param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        with self._lock:
            if (
                state == TrialState.COMPLETE
                and not self._told
                and self.parameter not in trial.params
            ):
                raise ConfigError(
                    f"The objective must ask for `{self.parameter}`, the cell. Got a trial with "
                    f"{', '.join(trial.params) or 'no parameters'}; name its parameter as "
                    "`ArchrepSampler(search, parameter=...)`."
                )
            self._tell(trial, state, values)
        self.others.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Draw other parameters anew; threads share the search, which needs no other seed."""
        self.others.reseed_rng()

    # Between the study and the search -------------------------------------------------------------

    def _check(self, study: Study) -> None:
        directions = [direction.name.lower() for direction in study.directions]
        if directions != [self.search.direction]:
            raise ConfigError(
                f"The study must {self.search.direction} one value, as the search does. "
                f"Got {', '.join(directions)}."
            )
        if self._study not in (None, study.study_name):
            raise ConfigError(
                f"A sampler keeps to one study. This one has seen {self._study!r}; make another "
                f"for {study.study_name!r}."
            )
        self._study = study.study_name

    def _catch_up(self, study: Study, number: int) -> None:
        """Tell what finished elsewhere, as if it had been asked for here."""
        # The first time, the search asks along, so that it comes to stand where it stood.
        replay = not self._told and not self._recorded
        asked = False
        for trial in study.get_trials(deepcopy=False):
            if trial.number == number or not trial.state.is_finished():
                continue
            if trial.number in self._told or self.parameter not in trial.params:
                continue
            if self._row(trial) is None:
                continue
            enqueued = "fixed_params" in trial.system_attrs  # by the user, not asked for
            if replay and not enqueued and not self.search.pending:
                with suppress(SpaceError):  # all is known; the value may still be told
                    self.search.ask()
                    asked = True
            self._tell(trial, trial.state, trial.values)
        if asked:
            self.search.release()

    def _tell(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        if self.parameter not in trial.params or trial.number in self._told:
            return
        row = self._row(trial)
        self._told.add(trial.number)
        if row is None:
            return
        if self._recorded[row]:
            self._recorded[row] -= 1
            return
        index = self.search.index(row)
        value = None if not values else float(values[0])
        if value is None and state == TrialState.PRUNED and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        if value is None or value - value != 0:  # none, or not finite
            if self.search.history:
                self.search.tell(index, self._worst())
            else:
                self._without_value.append(row)
            return
        self.search.tell(index, value)
        for failed in self._without_value:
            self.search.tell(self.search.index(failed), self._worst())
        self._without_value.clear()

    def _row(self, trial: FrozenTrial) -> int | None:
        """Row of a trial's cell; `None`, with a warning, of one that the search may not propose."""
        try:
            return self.search.row(trial.params[self.parameter])
        except CellError as error:
            if trial.number not in self._told:
                self._told.add(trial.number)
                warnings.warn(f"Trial {trial.number} is left out: {error}", stacklevel=2)
            return None

    def _worst(self) -> float:
        values = [told.value for told in self.search.history]
        return min(values) if self.search.direction == "maximize" else max(values)

    def _ask(self, study: Study, number: int) -> int:
        """Row of the next cell that no other process is at."""
        classes = self.search.candidates.classes
        running = [
            self._row(trial)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if trial.number != number and self.parameter in trial.params
        ]
        elsewhere = {int(classes[row]) for row in running if row is not None}
        while True:
            cells = self.search.ask()
            if not cells:
                raise SpaceError(
                    "Every cell that the search may propose is known or being trained. Run fewer "
                    "trials at a time, or give it more candidates."
                )
            row = self.search.row(cells[0])
            if int(classes[row]) not in elsewhere or self.search.strategy.config.charge_repeats:
                return row

    def _answer(self, row: int, distribution: BaseDistribution) -> Any:
        """The row as a value of the parameter."""
        index = self.search.index(row)
        if isinstance(distribution, IntDistribution):
            low, high, step = distribution.low, distribution.high, distribution.step
            if low <= index <= high and (index - low) % step == 0 and not distribution.log:
                return index
        elif isinstance(distribution, CategoricalDistribution):
            known = self._choices_by_class(distribution.choices)
            label = int(self.search.candidates.classes[row])
            if label in known:
                return known[label]
        raise ConfigError(
            f"`{self.parameter}` must be an integer or a choice that covers all cells which the "
            f"search may propose, such as index {index}. Got {distribution}. Give the search fewer "
            "candidates, or the parameter more values."
        )

    def _choices_by_class(self, choices: tuple[Any, ...]) -> dict[int, Any]:
        if choices not in self._choices:
            known: dict[int, Any] = {}
            for choice in choices:
                known.setdefault(
                    int(self.search.candidates.classes[self.search.row(choice)]), choice
                )
            self._choices[choices] = known
        return self._choices[choices]

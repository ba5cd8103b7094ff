"""The interface of a strategy: ask which cells to query next, tell what they scored.

A strategy object is R independent searches that run in lockstep, so that their models train as one
batch of tensors. With one seed it is an ordinary ask/tell search, and each of many runs proposes
exactly what it would propose alone: nothing here passes from run to run.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from archrep.candidates import Candidates
from archrep.errors import ConfigError, RunError, ShapeError, UnknownNameError
from archrep.seeding import numpy_stream
from archrep.settings import read_settings


class Ask(NamedTuple):
    """Cells to query next, k for each of R runs.

    Attributes:
        rows: Rows of the candidates, `[R, k]`, to be paid for from left to right.
        epochs: Training schedule of each, `[R, k]`; `None` for the table's default.
    """

    rows: np.ndarray
    epochs: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """Settings of a strategy; each strategy has its own."""

    @property
    def charge_repeats(self) -> bool:
        """Whether a cell that is proposed again is paid for again, as in faulty published code."""
        return False


class Strategy(ABC):
    """R searches over the same candidates.

    A subclass says what `ask` proposes from what was told: `rows` and `values`. What else a run
    must remember goes into arrays whose first axis is the runs, named in `memory`.

    Args:
        candidates: What may be proposed.
        seeds: One a run; equal seeds give equal runs, whatever runs beside them.
        config: Settings; by default the strategy's own.

    Attributes:
        rows: Cells told so far, `[R, n]`.
        values: What they scored, `[R, n]`; larger is better.
        taken: Candidates that were asked for, or whose class was, `[R, N]` of bool.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """Name and source, as a report prints them."""
    Config: ClassVar[type[StrategyConfig]] = StrategyConfig
    presets: ClassVar[dict[str, StrategyConfig]] = {}
    """Named settings beside the default ones."""
    memory: ClassVar[tuple[str, ...]] = ()
    """Arrays `[R, ...]` that `state` keeps beside what was told."""
    needs_features: ClassVar[bool] = False
    """Whether it works on vectors of the cells."""
    default_encoding: ClassVar[str] = "archrep"
    """What these are unless a user says otherwise; see `archrep.encodings.encode`."""
    block: ClassVar[int] = 50
    """Runs that go on in lockstep in one process, unless a user says otherwise."""

    def __init__(
        self,
        candidates: Candidates,
        *,
        seeds: Sequence[int],
        config: StrategyConfig | None = None,
    ) -> None:
        if not len(seeds):
            raise ConfigError("`seeds` must name at least one run. Got none.")
        if config is not None and not isinstance(config, self.Config):
            raise ConfigError(
                f"Settings of {self.name!r} are a {self.Config.__qualname__}. Got {config!r}."
            )
        self.candidates = candidates
        self.config = self.Config() if config is None else config
        if self.needs_features:
            _ = candidates.vectors
        self.rngs = [numpy_stream(seed, f"strategy/{self.name}") for seed in seeds]
        self.rows = np.zeros((len(seeds), 0), np.int64)
        self.values = np.zeros((len(seeds), 0))
        self.taken = np.zeros((len(seeds), len(candidates)), bool)

    @classmethod
    def block_of(cls, candidates: Candidates) -> int:
        """Runs to go on in lockstep: fewer where these candidates would take much memory."""
        return cls.block

    @property
    def runs(self) -> int:
        """Number R of searches."""
        return len(self.rngs)

    # What a strategy says -----------------------------------------------------------------------

    @abstractmethod
    def propose(self) -> np.ndarray | Ask:
        """Rows to query next, `[R, k]`; see `ask`."""

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:  # noqa: B027
        """Hook for what a strategy keeps beside `rows` and `values`; called by `tell`."""

    def recommend(self) -> np.ndarray | None:
        """The row each run would choose if it ended here, `[R]`; `None`: the best that was told.

        A strategy whose values are noisy may know better than its largest one.
        """
        return None

    # What users and `search.run` call -------------------------------------------------------------

    def ask(self) -> Ask:
        """Cells to query next; what they scored is to be told before the next call."""
        proposed = self.propose()
        asked = proposed if isinstance(proposed, Ask) else Ask(proposed)
        for run, rows in enumerate(asked.rows):
            self.take(run, rows)
        return asked

    def tell(self, rows: np.ndarray, values: np.ndarray) -> None:
        """What cells scored: those asked for, or any others of the user's.

        Args:
            rows: Rows of the candidates, `[R, k]`.
            values: Validation accuracies or whatever is to be maximised, `[R, k]`.

        Raises:
            ShapeError: These are not of that shape, or a value is not finite.
        """
        rows, values = np.asarray(rows, np.int64), np.asarray(values, np.float64)
        if rows.shape != values.shape or rows.ndim != 2 or len(rows) != self.runs:
            raise ShapeError(
                f"`rows` and `values` must be [{self.runs}, k]. Got {rows.shape} and "
                f"{values.shape}."
            )
        if not np.isfinite(values).all():
            raise ShapeError("`values` must be finite. Got a NaN or an infinity.")
        for run in range(self.runs):
            self.take(run, rows[run])
        self.rows = np.concatenate([self.rows, rows], 1)
        self.values = np.concatenate([self.values, values], 1)
        self.learn(rows, values)

    def keep(self, chosen: np.ndarray) -> None:
        """Go on with some of the runs only, `[R]` of bool: the others are finished."""
        self.rngs = [rng for rng, stays in zip(self.rngs, chosen, strict=True) if stays]
        for name in ("rows", "values", "taken", *self.memory):
            setattr(self, name, getattr(self, name)[chosen])

    def to(self, device: str) -> None:  # noqa: B027
        """Compute models on another device; does nothing in a strategy without."""

    # State --------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what comes next, as arrays with the runs in front."""
        generators = [json.dumps(rng.bit_generator.state) for rng in self.rngs]
        told = {name: getattr(self, name) for name in ("rows", "values", *self.memory)}
        return {"generators": np.array(generators), **told}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave.

        Raises:
            RunError: It is of another strategy or number of runs.
        """
        wanted = {"generators", "rows", "values", *self.memory}
        if set(state) != wanted or any(len(part) != self.runs for part in state.values()):
            raise RunError(
                f"Expected the state of {self.runs} runs of {self.name!r}. Got one of other parts."
            )
        for rng, text in zip(self.rngs, state["generators"].tolist(), strict=True):
            rng.bit_generator.state = json.loads(text)
        for name in wanted - {"generators"}:
            setattr(self, name, np.array(state[name]))
        self.taken[:] = False
        for run in range(self.runs):
            self.take(run, self.rows[run])

    # Helpers of strategies ------------------------------------------------------------------------

    def take(self, run: int, rows: np.ndarray) -> None:
        """Mark cells, and all that count as the same, as asked for."""
        for row in rows.tolist():
            self.taken[run, self.candidates.same_as(row)] = True

    def random_rows(self, count: int) -> np.ndarray:
        """Cells that were not asked for, at most one of a class, `[R, count]`; see below."""
        return np.stack([self.random_untaken(run, count) for run in range(self.runs)])

    def random_untaken(self, run: int, count: int) -> np.ndarray:
        """Cells that this run has not asked for, at most one of a class, `[count]`.

        Rows are drawn uniformly, so that a class counts as often as it has rows.
        Once nothing is left, cells that were asked for fill the rest.
        """
        rng, size, classes = self.rngs[run], len(self.candidates), self.candidates.classes
        drawn: dict[int, int] = {}
        for _ in range(4):  # rejection, as long as most are free
            for row in rng.integers(size, size=2 * count).tolist():
                if not self.taken[run, row] and len(drawn) < count:
                    drawn.setdefault(int(classes[row]), row)
            if len(drawn) == count:
                return np.array(list(drawn.values()))
        for row in rng.permutation(np.flatnonzero(~self.taken[run])).tolist():
            if len(drawn) < count:
                drawn.setdefault(int(classes[row]), row)
        rows = list(drawn.values())
        rows += rng.integers(size, size=count - len(rows)).tolist()
        return np.array(rows)

    def best_rows(self) -> np.ndarray:
        """Row of the largest value told, the first of equals, `[R]`."""
        return self.rows[np.arange(self.runs), self.values.argmax(1)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.runs} runs, {self.rows.shape[1]} told each>"


def settings(
    strategy: type[Strategy], preset: str | None = None, changes: dict[str, Any] | None = None
) -> StrategyConfig:
    """Settings of a preset with some changed.

    Args:
        strategy: Whose.
        preset: Name of the preset; `None` for the default settings.
        changes: Values by field, as text or as they are.

    Raises:
        UnknownNameError: No such preset or setting.
        ConfigError: A value is impossible.
    """
    if preset is not None and preset not in strategy.presets:
        known = ", ".join(strategy.presets) or "none"
        raise UnknownNameError(f"Presets of {strategy.name!r} are: {known}. Got {preset!r}.")
    config = strategy.Config() if preset is None else strategy.presets[preset]
    return replace(config, **read_settings(type(config), changes, strategy.name))

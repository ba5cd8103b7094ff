"""One search that a program steers itself: ask for cells, train them, tell what they scored.

    strategy -> batch of cells -> handed out one by one -> values, in any order -> strategy

`archrep.search` answers from a table; here the user does, in a loop, a scheduler or another tool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from archrep.candidates import Candidates
from archrep.cells.cell import Cell
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import CellError, ConfigError, RunError, ShapeError, SpaceError
from archrep.files import make_folder, read_arrays, write_arrays
from archrep.settings import check
from archrep.strategies import Strategy, get_strategy
from archrep.strategies import settings as settings_of
from archrep.strategies.base import StrategyConfig
from archrep.tables.base import Table

STALLED = 2_000
"""Batches of known cells in a row after which a strategy is taken to have nothing to ask."""

_NOT_OURS = (ValueError, LookupError, TypeError, AttributeError)
"""What an archive with parts of another kind raises."""

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Told:
    """One value of a search.

    Attributes:
        cell: The cell, in the node order of the candidates.
        index: Its position in the enumerated space, or its row among the candidates.
        value: As it was told.
        epochs: Training schedule it was told for; `None` for the default one.
    """

    cell: Cell
    index: int
    value: float
    epochs: int | None = None


class _Slot(NamedTuple):
    """A cell that was proposed: its row, schedule (0: the default) and value (NaN: none yet)."""

    row: int
    epochs: int
    value: float


class Search:
    """One run of a strategy, from which cells are asked and which is told what they scored.

    A strategy proposes batches. They are handed out cell by cell, may be told in any order, and
    the strategy learns from a batch once it is complete. Whoever asks for more than that while
    values are missing, such as parallel workers, gets what the strategy would propose if every
    missing value were the mean so far (Ginsbourger et al., 2010, "constant liar").

    A cell that the strategy proposes again is answered from what is known and not handed out,
    except where a preset pays for repeats as faulty published code does.

    Args:
        strategy: Name of a strategy, or its class.
        where: What may be proposed: the name of a space, a space (a sample of it if it is not
            enumerated), a table (its measured cells), or `Candidates`.
        direction: `"maximize"` or `"minimize"` the values.
        encoding: What a model sees of a cell, see `archrep.encodings.encode`; `None` for the
            strategy's.
        preset: Named settings; `None` for the defaults.
        settings: Settings that differ from those.
        seed: Equal seeds and values give equal searches.
        state: File that is kept up to date with every value; if it is there, the search goes on
            from it, and cells that were asked for and not told are asked for again.
        device: Where models are computed.

    Raises:
        UnknownNameError: No such strategy, space, preset, setting or encoding.
        ConfigError: An argument or a setting is impossible.
        RunError: `state` is damaged, or of another search.

    Example:
        >>> search = Search("local-search", "nasbench201", direction="maximize")
        >>> [cell] = search.ask()
        >>> search.tell(cell, 0.91)
        >>> search.best.value
        0.91
    """

    def __init__(
        self,
        strategy: str | type[Strategy],
        where: str | Space | Table | Candidates,
        *,
        direction: Direction,
        encoding: str | Path | None = None,
        preset: str | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        state: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        _check_arguments(strategy, direction, encoding, preset, settings, seed, state)
        kind = get_strategy(strategy) if isinstance(strategy, str) else strategy
        if encoding is not None and not kind.needs_features:
            raise ConfigError(
                f"{kind.name!r} has no model that would see an encoding. Got `encoding` "
                f"{str(encoding)!r}; leave it out."
            )
        config = settings_of(kind, preset, settings)
        candidates = _candidates(where)
        if kind.needs_features and (candidates.features is None or encoding is not None):
            from archrep.encodings import encode

            candidates = encode(candidates, encoding or kind.default_encoding)
        if device != "cpu":  # torch is not needed otherwise
            from archrep.devices import resolve_device

            device = resolve_device(device).type
        self.candidates, self.direction, self.seed, self.device = (
            candidates,
            direction,
            int(seed),
            device,
        )
        self.history: list[Told] = []
        self._sign = 1.0 if direction == "maximize" else -1.0
        self.strategy = self._begin(kind, config)
        self._batch: list[_Slot] = []
        self._handed: list[bool] = []  # of the batch
        self._ahead: list[_Slot] = []  # handed out beside it
        self._pending: list[_Slot] = []  # all that was handed out and not told, in that order
        self._again: list[_Slot] = []  # those of them that are to be handed out once more
        self._known: dict[tuple[int, int], float] = {}
        self._file = None if state is None else Path(state)
        self._stamp: tuple[int, int] | None = None  # of the file as this search last knew it
        if self._file is not None:
            if self._file.exists():
                self._load(self._file)
            else:
                make_folder(self._file.parent)
                self._save(self._file)

    # Ask and tell ---------------------------------------------------------------------------------

    def ask(self, n: int = 1) -> list[Cell]:
        """Cells to evaluate next.

        Args:
            n: How many; fewer come if the strategy has nothing more to ask before it is told.

        Raises:
            ConfigError: `n` is not positive.
            SpaceError: Nothing is left: the strategy proposes nothing but cells with known values.
        """
        _check_count("n", n)
        asked, self._again = self._again[:n], self._again[n:]
        if len(asked) < n:
            asked += self._hand_out(n - len(asked))
        return [self.candidates.cells[slot.row] for slot in asked]

    def tell(self, cell: Cell | str | int | np.integer, value: float) -> None:
        """What a cell scored, whether it was asked for or not.

        Args:
            cell: A cell in any node order, its official notation, or its index.
            value: Its score.

        Raises:
            CellError: It is not legal, or not among the candidates.
            ShapeError: The value is not a finite number. Of a failed training, tell the worst value
                that you would accept as an answer.
            RunError: Another process has written the state file, or it cannot be written.
        """
        value = _finite(value)
        row = self.row(cell)
        if self._file is not None and _stamp(self._file) != self._stamp:
            raise RunError(
                f"{self._file} is no longer what this search wrote: another process tells it, or "
                "it was replaced. Open the search again, and tell one search file from one process."
            )
        self._record(row, self._schedule_of(row), value)
        if self._file is not None:
            self._save(self._file)

    def epochs(self, cell: Cell | str | int | np.integer) -> int | None:
        """Training schedule that an asked cell is wanted with; `None` for the default one.

        Only multi-fidelity strategies, such as `bohb` with `schedules`, ask for others.
        """
        return self._schedule_of(self.row(cell)) or None

    def release(self) -> None:
        """Ask again for the cells that were asked for and not told, in the same order.

        For workers that died; opening a state file does the same.
        """
        self._again = list(self._pending)

    def run(
        self,
        objective: Callable[[Cell], float],
        budget: int,
        callbacks: Iterable[Callable[[Search, Told], object]] = (),
    ) -> Told:
        """Ask, evaluate and tell.

        Args:
            objective: Value of a cell.
            budget: Values in all, those told before included, so that a search that is opened
                again does only what is left.
            callbacks: Called with the search and each new value.

        Returns:
            The best.

        Raises:
            ConfigError: `budget` is not positive.
            ShapeError: The objective returned what is not a finite number.
        """
        _check_count("budget", budget)
        callbacks = list(callbacks)
        while len(self.history) < budget:
            try:
                cell = (self.pending or self.ask())[0]
            except SpaceError:
                if self.history:
                    break  # every candidate is known
                raise
            self.tell(cell, objective(cell))
            for callback in callbacks:
                callback(self, self.history[-1])
        assert self.best is not None
        return self.best

    # What came out --------------------------------------------------------------------------------

    @property
    def best(self) -> Told | None:
        """The best value told, the first of equals; `None` before the first.

        Of values for several schedules, those of the longest.
        """
        if not self.history:
            return None
        longest = max(told.epochs or 0 for told in self.history)
        among = [told for told in self.history if (told.epochs or 0) == longest]
        return max(among, key=lambda told: self._sign * told.value)

    def recommend(self) -> Cell:
        """The cell that the strategy would choose now: the best told, unless it knows better.

        Raises:
            ConfigError: Nothing was told yet.
        """
        if self.best is None:
            raise ConfigError("A recommendation needs at least one value. Tell one first.")
        if not self.strategy.values.shape[1]:
            return self.best.cell
        chosen = self.strategy.recommend()
        return self.best.cell if chosen is None else self.candidates.cells[int(chosen[0])]

    @property
    def pending(self) -> list[Cell]:
        """Cells that were asked for and not told yet, in the order in which they were asked."""
        return [self.candidates.cells[slot.row] for slot in self._pending]

    def index(self, row: int) -> int:
        """Index of a row of the candidates: its position in the enumerated space, or the row."""
        positions = self.candidates.positions
        return row if positions is None else int(positions[row])

    def row(self, cell: Cell | str | int | np.integer) -> int:
        """Row of a cell among the candidates.

        Raises:
            CellError: It is not legal, or not among them.
        """
        space = self.candidates.space
        if isinstance(cell, bool) or not isinstance(cell, (Cell, str, int, np.integer)):
            raise CellError(
                f"A cell is told as a Cell, its notation or its index. Got {type(cell).__name__}."
            )
        if isinstance(cell, str):
            cell = space.parse(cell)
        if isinstance(cell, Cell):
            if space.size is None:
                packed = space.pack([space.validate(cell)])
                row = self._row_of_hash.get(int(packed.colour_hash()[0]), -1)
            else:
                row = self._row_of_index.get(space.index(cell), -1)
        else:
            row = self._row_of_index.get(int(cell), -1)
        if row < 0:
            raise CellError(
                f"Expected one of the {len(self.candidates):,} cells that this search may propose. "
                f"Got {cell}."
            )
        return row

    def __repr__(self) -> str:
        name, told = self.strategy.name, len(self.history)
        return f"<Search {name} in {self.candidates.space.title}, {self.direction}, {told} told>"

    # Batches --------------------------------------------------------------------------------------

    def _begin(self, kind: type[Strategy], config: StrategyConfig) -> Strategy:
        strategy = kind(self.candidates, seeds=[self.seed], config=config)
        strategy.to(self.device)
        return strategy

    def _hand_out(self, count: int) -> list[_Slot]:
        """Cells of the batch, then of what would follow it."""
        self._propose()
        asked: list[_Slot] = []
        for at, slot in enumerate(self._batch):
            if len(asked) < count and self._free(at, slot):
                self._handed[at] = True
                self._pending.append(slot)
                asked.append(slot)
        if len(asked) < count:
            beyond = self._beyond(count - len(asked))
            self._ahead += beyond
            self._pending += beyond
            asked += beyond
        return asked

    @property
    def _repeats(self) -> bool:
        return self.strategy.config.charge_repeats

    def _key(self, row: int, epochs: int) -> tuple[int, int]:
        return int(self.candidates.classes[row]), epochs

    def _free(self, at: int, slot: _Slot) -> bool:
        """Whether a place of the batch is still to be handed out."""
        if self._handed[at] or slot.value == slot.value:
            return False
        if self._repeats:
            return True
        key = self._key(slot.row, slot.epochs)  # someone may be at it, for this batch or beside it
        return not any(self._key(other.row, other.epochs) == key for other in self._pending)

    def _propose(self) -> None:
        """Have a batch of which a value is missing."""
        for _ in range(STALLED):
            if self._batch:
                return
            if not self._repeats and self._told_classes >= self._class_count:
                break
            asked = self.strategy.ask()
            schedules = np.zeros_like(asked.rows) if asked.epochs is None else asked.epochs
            pairs = zip(asked.rows[0].tolist(), schedules[0].tolist(), strict=True)
            for row, epochs in pairs:
                known = np.nan if self._repeats else self._known.get(self._key(row, epochs), np.nan)
                self._batch.append(_Slot(row, epochs, known))
                self._handed.append(False)
            self._learn_if_complete()
        if not self._batch:
            raise SpaceError(
                f"{self.strategy.name!r} has nothing new to ask among {len(self.candidates):,} "
                f"cells, {self._class_count:,} of them different, {len(self._known):,} known."
            )

    def _learn_if_complete(self) -> None:
        if self._batch and all(slot.value == slot.value for slot in self._batch):
            rows = np.array([[slot.row for slot in self._batch]])
            values = np.array([[slot.value for slot in self._batch]])
            self._batch, self._handed = [], []
            self.strategy.tell(rows, self._sign * values)

    def _record(self, row: int, epochs: int, value: float) -> None:
        told = Told(self.candidates.cells[row], self.index(row), value, epochs or None)
        self.history.append(told)
        key = self._key(row, epochs)
        self._known[key] = value
        same = [
            at
            for at, slot in enumerate(self._batch)
            if slot.value != slot.value and self._key(slot.row, slot.epochs) == key
        ]
        if self._repeats:  # each is paid for by itself, those of this very row first
            same = sorted(same, key=lambda at: (not self._handed[at], self._batch[at].row != row))
            same = same[:1]
        for at in same:
            self._batch[at] = self._batch[at]._replace(value=value)
        for slots in (self._ahead, self._pending, self._again):
            answered = [slot for slot in slots if self._key(slot.row, slot.epochs) == key]
            for slot in answered[:1] if self._repeats else answered:
                slots.remove(slot)
        if same:
            self._learn_if_complete()
        else:
            self.strategy.tell(np.array([[row]]), np.array([[self._sign * value]]))

    def _schedule_of(self, row: int) -> int:
        """Schedule with which this cell is being waited for, 0 for the default."""
        label = self.candidates.classes[row]
        for slot in (*self._batch, *self._ahead):
            if self.candidates.classes[slot.row] == label and slot.value != slot.value:
                return slot.epochs
        return 0

    def _beyond(self, count: int) -> list[_Slot]:
        """What the strategy would ask if the missing values were the mean of the known ones."""
        lie = self._sign * float(np.mean([*self._known.values()] or [0.0]))
        liar = self._begin(type(self.strategy), self.strategy.config)
        liar.load_state(self.strategy.state())
        values = [lie if s.value != s.value else self._sign * s.value for s in self._batch]
        liar.tell(np.array([[slot.row for slot in self._batch]]), np.array([values]))
        for slot in self._ahead:
            liar.tell(np.array([[slot.row]]), np.array([[lie]]))
        # One cell is not given to two workers, not even for two schedules.
        held = {self._key(slot.row, 0) for slot in (*self._batch, *self._ahead)}
        found: list[_Slot] = []
        for _ in range(STALLED):
            if len(found) == count or len(held | self._known.keys()) >= self._class_count:
                break
            asked = liar.ask()
            schedules = np.zeros_like(asked.rows) if asked.epochs is None else asked.epochs
            for row, epochs in zip(asked.rows[0].tolist(), schedules[0].tolist(), strict=True):
                label = self._key(row, 0)
                is_new = label not in held and self._key(row, epochs) not in self._known
                if is_new and len(found) < count:
                    held.add(label)
                    found.append(_Slot(row, epochs, np.nan))
            liar.tell(asked.rows, np.full(asked.rows.shape, lie))
        for slot in found:  # the strategy itself must not propose them as well
            self.strategy.take(0, np.array([slot.row]))
        return found

    @cached_property
    def _class_count(self) -> int:
        return len(np.unique(self.candidates.classes))

    @property
    def _told_classes(self) -> int:
        return sum(not epochs for _, epochs in self._known)

    @cached_property
    def _row_of_index(self) -> dict[int, int]:
        positions = self.candidates.positions
        rows = range(len(self.candidates))
        return dict(zip(rows if positions is None else positions.tolist(), rows, strict=True))

    @cached_property
    def _row_of_hash(self) -> dict[int, int]:
        hashes = self.candidates.cells.colour_hash().tolist()
        return {int(key): row for row, key in enumerate(hashes)}

    # The state file -------------------------------------------------------------------------------

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What a state file must agree on with the search that opens it."""
        # Through JSON, so that tuples compare as they are read back.
        return dict(
            json.loads(
                json.dumps(
                    {
                        "strategy": self.strategy.name,
                        "settings": asdict(self.strategy.config),
                        "space": self.candidates.space.name,
                        "candidates": self.candidates.sha256,
                        "encoding": self.candidates.encoding,
                        "direction": self.direction,
                        "seed": self.seed,
                    }
                )
            )
        )

    def _save(self, path: Path) -> None:
        told = [(self.row(t.index), t.epochs or 0, t.value) for t in self.history]
        progress = {
            "told": told,
            "batch": self._batch,
            "handed": self._handed,
            "ahead": self._ahead,
            "pending": self._pending,
        }
        arrays = {f"strategy/{name}": part for name, part in self.strategy.state().items()}
        arrays["about"] = np.array(json.dumps({"archrep": 1, **self._identity}))
        arrays["progress"] = np.array(json.dumps(progress))
        write_arrays(path, arrays)
        self._stamp = _stamp(path)

    def _load(self, path: Path) -> None:
        self._stamp = _stamp(path)
        arrays = read_arrays(path, "the state of a search")
        try:
            about = json.loads(str(arrays.pop("about")))
            progress = json.loads(str(arrays.pop("progress")))
            about.pop("archrep")
        except _NOT_OURS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise RunError(f"Expected the state of a search in {path}. {reason}") from None
        differing = [
            f"{name} {about.get(name)!r} there, {value!r} here"
            for name, value in self._identity.items()
            if about.get(name) != value
        ]
        if differing:
            raise RunError(f"{path} holds another search: {'; '.join(differing[:3])}.")
        parts = {name.removeprefix("strategy/"): part for name, part in arrays.items()}
        try:
            self.strategy.load_state(parts)
            for row, epochs, value in progress["told"]:
                told = Told(self.candidates.cells[row], self.index(row), value, epochs or None)
                self.history.append(told)
                self._known[self._key(row, epochs)] = value
            for name in ("batch", "ahead", "pending"):
                setattr(self, f"_{name}", [_Slot(*slot) for slot in progress[name]])
            self._handed = list(progress["handed"])
            for slot in (*self._batch, *self._ahead):
                self.strategy.take(0, np.array([slot.row]))
        except (*_NOT_OURS, RunError) as error:
            raise RunError(f"Expected the state of this search in {path}. {error}") from None
        self.release()


def _check_arguments(
    strategy: object,
    direction: object,
    encoding: object,
    preset: object,
    settings: object,
    seed: object,
    state: object,
) -> None:
    """One error that names every argument of the wrong kind."""
    a_class = isinstance(strategy, type) and issubclass(strategy, Strategy)
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    checks = {
        f"`direction` must be maximize or minimize. Got {direction!r}.": (
            direction in ("maximize", "minimize")
        ),
        f"`strategy` must be a name or a class of strategies. Got {strategy!r}.": (
            a_class or isinstance(strategy, str)
        ),
        f"`encoding` must be a name or a path. Got {encoding!r}.": (
            encoding is None or (isinstance(encoding, (str, Path)) and encoding != "")
        ),
        f"`preset` must be a name. Got {preset!r}.": preset is None or isinstance(preset, str),
        f"`settings` must be a dictionary, values by name. Got {settings!r}.": (
            settings is None or isinstance(settings, dict)
        ),
        f"`seed` must be a whole number, not negative. Got {seed!r}.": whole and seed >= 0,  # type: ignore[operator]
        f"`state` must be the path of a file. Got {state!r}.": (
            state is None or (isinstance(state, (str, Path)) and state != "")
        ),
    }
    check(checks)


def _check_count(name: str, count: object) -> None:
    whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
    if not whole or count < 1:  # type: ignore[operator]
        raise ConfigError(f"`{name}` must be a whole number, at least 1. Got {count!r}.")


def _finite(value: Any) -> float:
    try:
        number = np.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: torch's tensors
        number = np.nan
    if not np.isfinite(number):
        raise ShapeError(f"`value` must be a finite number. Got {value!r:.60}.")
    return number


def _stamp(path: Path) -> tuple[int, int] | None:
    """What differs between two files that were written under one name; `None` without a file."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def _candidates(where: str | Space | Table | Candidates) -> Candidates:
    if isinstance(where, Candidates):
        return where
    if isinstance(where, Table):
        return Candidates.of_table(where)
    if not isinstance(where, (str, Space)):
        raise ConfigError(
            "`where` is the name of a space, a Space, a Table or Candidates. "
            f"Got {type(where).__name__}."
        )
    return Candidates.of_space(get_space(where))

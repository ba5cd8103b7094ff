"""Evolutionary search over the paths of a supernet, for any score, within any limit.

Guo et al. (2020), "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
Algorithm 1, as the released code of RLNAS (Zhang et al., 2021) has it::

    P_0 = random architectures
    for each generation t:
        score P_t;  top = the best k of top and P_t
        P_{t+1} = mutants of top + crossovers of top + random ones, none of them seen before

`population` is the size of P, `select` is k, `mutation` the probability of each gene.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from archrep.errors import ConfigError, ShapeError
from archrep.settings import check, choices
from archrep.supernets.base import Edge, Supernet

ROUNDS, REPAIRED_ROUNDS = 50, 10
"""How often a generation tries to complete its mutants, its crossovers and its random members;
fewer times where what does not fit is repaired, which takes longer and seldom fails."""

STEPS_PER_GENE = 10
"""Changes that a repair tries before it gives an architecture up, times the number of genes."""

Judge = Callable[[np.ndarray], np.ndarray]
"""One number for each of architectures `[M, P]`, `[M]`."""

Draw = Callable[[np.random.Generator], np.ndarray]
"""A random architecture, `[P]`."""


@dataclass(frozen=True, kw_only=True)
class EvolutionSettings:
    """How an evolutionary search goes on; the defaults are those of Guo et al. (2020)."""

    population: int = 50
    """New architectures of a generation."""
    select: int = 10
    """The best so far, which are the parents."""
    mutants: int = 25
    """Of a generation."""
    crossovers: int = 25
    """Of a generation; what is missing then are random architectures."""
    mutation: float = 0.1
    """Probability with which a gene of a mutant is drawn anew."""
    generations: int = 20
    """Those that are scored, the random one at the start included."""
    variant: Literal["correct", "release"] = "correct"
    """`release` mutates as RLNAS does: only the normal cell of DARTS, and never to `none`."""

    def __post_init__(self) -> None:
        sizes = self.population, self.select, self.generations
        bred = self.mutants, self.crossovers
        check(
            {
                "`population`, `select` and `generations` must be at least 1. "
                f"Got {', '.join(map(str, sizes))}.": min(sizes) >= 1,
                "`mutants` and `crossovers` must be at least 0 and together at most `population`. "
                f"Got {bred[0]}, {bred[1]} and {sizes[0]}.": min(bred) >= 0
                and sum(bred) <= sizes[0],
                f"`mutation` must be from 0 to 1. Got {self.mutation}.": 0 <= self.mutation <= 1,
                **choices(self),
            }
        )


PRESETS = {
    "nasbench201": EvolutionSettings(population=100, select=30, mutants=50, crossovers=50),
    "darts": EvolutionSettings(),
    "mobilenet": EvolutionSettings(),
}
"""Settings of RLNAS by search space; its MobileNets are limited to 475 M multiply-adds, its DARTS
networks for ImageNet to 600 M, the others are not."""


class Generation(NamedTuple):
    """What one generation found.

    Attributes:
        best: Highest score so far.
        mean: Of the scores of its new architectures.
        evaluated: How many architectures were new.
    """

    best: float
    mean: float
    evaluated: int


class Evolved(NamedTuple):
    """What an evolutionary search found.

    Attributes:
        choices: The best architecture, operation of each place, `[P]`.
        score: Its score.
        history: The generations; fewer than were asked for if nothing new was left.
        evaluated: Architectures that were scored, all different.
    """

    choices: np.ndarray
    score: float
    history: list[Generation]
    evaluated: int


class Genes(ABC):
    """How architectures `[P]` of a search space are drawn and changed.

    Args:
        sample: Draws one for the random members, such as the `sample` of a supernet whose paths are
            architectures; by default uniformly.

    Attributes:
        count: Number of genes, each of which mutates by itself.
        together: Places of one number come from one parent, `[P]`.
    """

    count: int
    together: np.ndarray

    def __init__(self, sample: Draw | None = None) -> None:
        self._sample = sample

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random architectures `[count, P]`."""
        if self._sample is None:
            return self._uniform(count, rng)
        return np.stack([self._sample(rng) for _ in range(count)])

    def cross(
        self, mothers: np.ndarray, fathers: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Children `[M, P]` that have each gene of one of two parents."""
        shape = len(mothers), self.together.max() + 1
        of_mother = rng.integers(2, size=shape, dtype=np.int8).astype(bool)
        return np.where(of_mother[:, self.together], mothers, fathers)

    @abstractmethod
    def mutate(
        self, parents: np.ndarray, hit: np.ndarray, rng: np.random.Generator, *, release: bool
    ) -> np.ndarray:
        """Parents `[M, P]` with some genes drawn anew, what they were included.

        Args:
            parents: `[M, P]`; stay as they are.
            hit: Which genes, `[M, count]` of bool.
            rng: Draws them.
            release: As RLNAS does, with its gaps.
        """

    @abstractmethod
    def legal(self, choices: np.ndarray) -> np.ndarray:
        """Which architectures `[M, P]` belong to the search space, `[M]`."""

    @abstractmethod
    def _uniform(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`[count, P]`."""


class PlaceGenes(Genes):
    """One gene a place, of NAS-Bench-201 and of chains of blocks.

    Args:
        allowed: Operations of each place, `[P, O]` of bool.
        none: Number of `none`, if there is one; `release` does not mutate to it.
        sample: See `Genes`.
    """

    def __init__(
        self,
        allowed: np.ndarray,
        *,
        none: int | None = None,
        sample: Draw | None = None,
    ) -> None:
        super().__init__(sample)
        self.allowed, self.count = np.asarray(allowed), len(allowed)
        self.together = np.arange(self.count)
        self._without_none = self.allowed.copy()
        if none is not None:
            self._without_none[:, none] = False

    def mutate(
        self, parents: np.ndarray, hit: np.ndarray, rng: np.random.Generator, *, release: bool
    ) -> np.ndarray:
        allowed = self._without_none if release else self.allowed
        return np.where(hit, _draw(allowed, len(parents), rng), parents)

    def legal(self, choices: np.ndarray) -> np.ndarray:
        return self.allowed[np.arange(self.count), choices].all(1)

    def _uniform(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return _draw(self.allowed, count, rng)


class BlockGenes(Genes):
    """Four genes a block of DARTS: two different inputs, and the operation of each.

    All other edges into a block are `none`. A child has whole blocks of its parents.

    Args:
        allowed: Operations of each edge, `[P, O]` of bool.
        edges: The edges, `[P]`; those of one cell and target are a block.
        none: Number of `none`.
        sample: See `Genes`.
    """

    live: ClassVar = 2
    """Inputs of a block."""

    def __init__(
        self,
        allowed: np.ndarray,
        edges: Sequence[Edge],
        *,
        none: int = 0,
        sample: Draw | None = None,
    ) -> None:
        super().__init__(sample)
        self.none, self.usable = none, np.array(allowed, bool)
        self.usable[:, none] = False
        names = [(edge.cell, edge.target) for edge in edges]
        blocks = list(dict.fromkeys(names))
        self.together = np.array([blocks.index(name) for name in names])
        self.blocks = [np.flatnonzero(self.together == b) for b in range(len(blocks))]
        self.count = 2 * self.live * len(blocks)
        first = edges[0].cell  # genes of the normal cell
        self._normal = np.repeat([cell == first for cell, _ in blocks], 2 * self.live)

    def mutate(
        self, parents: np.ndarray, hit: np.ndarray, rng: np.random.Generator, *, release: bool
    ) -> np.ndarray:
        children = parents.copy()
        genes = (hit & self._normal if release else hit).reshape(len(parents), -1, self.live, 2)
        for row, block, slot in np.argwhere(genes.any(3)):
            child, edges = children[row], self.blocks[block]
            edge = edges[parents[row, edges] != self.none][slot]
            new_input, new_operation = genes[row, block, slot]
            op = child[edge]
            if new_input:
                free = edges[(child[edges] == self.none) | (edges == edge)]
                child[edge] = self.none
                edge = rng.choice(free)
            if new_operation or not self.usable[edge, op]:
                op = rng.choice(np.flatnonzero(self.usable[edge]))
            child[edge] = op
        return children

    def legal(self, choices: np.ndarray) -> np.ndarray:
        lives = choices != self.none
        fits = self.usable[np.arange(len(self.usable)), choices] | ~lives
        counts = np.stack([lives[:, edges].sum(1) for edges in self.blocks], 1)
        return fits.all(1) & (counts == self.live).all(1)

    def _uniform(self, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn = _draw(self.usable, count, rng)
        found = np.full_like(drawn, self.none)
        for edges in self.blocks:
            order = rng.random((count, len(edges))).argsort(1)[:, : self.live]
            kept = edges[order]
            np.put_along_axis(found, kept, np.take_along_axis(drawn, kept, 1), 1)
        return found


def genes_of(supernet: Supernet) -> Genes:
    """Genes of the architectures of a supernet."""
    if supernet.space == "darts":
        none = supernet.operations.index("none")
        return BlockGenes(supernet.allowed, supernet.edges, none=none)
    known = "none" in supernet.operations
    return PlaceGenes(supernet.allowed, none=supernet.operations.index("none") if known else None)


def evolve(
    genes: Genes,
    score: Judge,
    rng: np.random.Generator,
    settings: EvolutionSettings | None = None,
    *,
    fits: Judge | None = None,
    cost: Judge | None = None,
) -> Evolved:
    """The architecture of the highest score that an evolutionary search finds.

    No architecture is scored twice. Every loop has an end: where a search space or what fits of it
    is exhausted, generations are smaller, and the search stops after an empty one.

    Args:
        genes: Of the search space, such as `genes_of(supernet)`.
        score: Judges `[M]` of architectures `[M, P]`, the higher the better, such as angles.
        rng: All that is random, but for what `score` does.
        settings: By default those of Guo et al. (2020).
        fits: Which of `[M, P]` are within the limits, `[M]` of bool; all by default.
        cost: What `[M, P]` cost, `[M]`. Architectures that do not fit are then repaired: random
            genes change, wherever that makes them cheaper, until they fit. Few MobileNets fit
            (0.35 % of random ones, for 475 M multiply-adds).

    Raises:
        ConfigError: No architecture was found that fits.
        ShapeError: `score`, `fits` or `cost` return another shape, or scores that are NaN.

    Example:
        >>> genes = PlaceGenes(np.ones((6, 5), bool))
        >>> found = evolve(genes, lambda choices: choices.sum(1), np.random.default_rng(0))
        >>> found.choices.tolist(), found.score
        ([4, 4, 4, 4, 4, 4], 24.0)
    """
    settings = EvolutionSettings() if settings is None else settings
    nursery = _Nursery(genes, rng, fits, cost)
    release = settings.variant == "release"

    def mutated(count: int) -> np.ndarray:
        hit = rng.random((count, genes.count)) < settings.mutation
        return genes.mutate(top[rng.integers(len(top), size=count)], hit, rng, release=release)

    def crossed(count: int) -> np.ndarray:
        mothers, fathers = top[rng.integers(len(top), size=(2, count))]
        return genes.cross(mothers, fathers, rng)

    def drawn(count: int) -> np.ndarray:
        return genes.random(count, rng)

    born = nursery.fresh(settings.population, drawn)
    if not len(born):
        raise ConfigError(
            "No architecture was found that fits. "
            + ("Widen the limits." if cost else "Widen the limits, or pass `cost` for repairs.")
        )
    top, best = born[:0], np.empty(0)  # the best so far, best first
    history = []
    while len(born):
        scores = _numbers("score", score, born)
        if np.isnan(scores).any():
            raise ShapeError("Scores must be numbers. `score` returned a NaN.")
        top, best = np.concatenate([top, born]), np.concatenate([best, scores])
        order = np.argsort(-best, kind="stable")[: settings.select]
        top, best = top[order], best[order]
        history.append(Generation(float(best[0]), float(scores.mean()), len(born)))
        if len(history) == settings.generations:
            break
        children = [
            nursery.fresh(settings.mutants, mutated),
            nursery.fresh(settings.crossovers, crossed),
        ]
        missing = settings.population - sum(map(len, children))
        children.append(nursery.fresh(missing, drawn))
        born = np.concatenate(children)
    evaluated = sum(generation.evaluated for generation in history)
    return Evolved(top[0], float(best[0]), history, evaluated)


class _Nursery:
    """Lets architectures through that are legal, fit and were not seen before."""

    def __init__(
        self, genes: Genes, rng: np.random.Generator, fits: Judge | None, cost: Judge | None
    ) -> None:
        self.genes, self.rng, self.fits, self.cost = genes, rng, fits, cost
        self.seen: set[bytes] = set()

    def fresh(self, wanted: int, propose: Callable[[int], np.ndarray]) -> np.ndarray:
        """New architectures `[at most wanted, P]`, out of several times as many proposals."""
        found: list[np.ndarray] = []
        for _ in range(REPAIRED_ROUNDS if self.cost else ROUNDS):
            if len(found) == wanted:
                break
            for row in self._fitting(np.asarray(propose(wanted), np.int64)):
                key = row.tobytes()
                if len(found) < wanted and key not in self.seen:
                    self.seen.add(key)
                    found.append(row)
        return np.array(found, np.int64).reshape(-1, len(self.genes.together))

    def _fitting(self, proposals: np.ndarray) -> np.ndarray:
        """Those of `[M, P]` that are legal and fit, after repairs."""
        proposals = proposals[self.genes.legal(proposals)]
        if self.fits is None or not len(proposals):
            return proposals
        fine = _numbers("fits", self.fits, proposals).astype(bool)
        if self.cost is None or fine.all():
            return proposals[fine]
        proposals[~fine] = self._cheaper(proposals[~fine])
        return proposals[_numbers("fits", self.fits, proposals).astype(bool)]

    def _cheaper(self, heavy: np.ndarray) -> np.ndarray:
        """`[M, P]` that do not fit, with random genes made cheaper until they fit, or for long."""
        assert self.fits is not None
        assert self.cost is not None
        genes, rest = self.genes, np.arange(len(heavy))
        costs = _numbers("cost", self.cost, heavy)
        for _ in range(STEPS_PER_GENE * genes.count):
            hit = np.eye(genes.count, dtype=bool)[self.rng.integers(genes.count, size=len(rest))]
            changed = genes.mutate(heavy[rest], hit, self.rng, release=False)
            changed_costs = _numbers("cost", self.cost, changed)
            better = changed_costs < costs[rest]
            heavy[rest[better]], costs[rest[better]] = changed[better], changed_costs[better]
            if better.any():
                rest = rest[~_numbers("fits", self.fits, heavy[rest]).astype(bool)]
            if not len(rest):
                break
        return heavy


def _draw(allowed: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform operations `[count, P]` out of those of each place, `[P, O]`."""
    return np.where(allowed, rng.random((count, *allowed.shape)), -1.0).argmax(2)


def _numbers(name: str, function: Judge, choices: np.ndarray) -> np.ndarray:
    """What a function says of architectures `[M, P]`, `[M]`.

    Raises:
        ShapeError: It says something else.
    """
    found = np.asarray(function(choices), np.float64)
    if found.shape != (len(choices),):
        raise ShapeError(
            f"`{name}` must return [{len(choices)}], one for each architecture. Got {found.shape}."
        )
    return found

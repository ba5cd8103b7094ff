"""Uniform sampling of single paths, and the angle of every cell: SPOS and RLNAS.

Guo et al. (2020), "Single Path One-Shot Neural Architecture Search with Uniform Sampling"; Zhang et
al. (2021), "Neural Architecture Search with Random Labels".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from archrep.cells.registry import SPACES, get_space
from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Objective
from archrep.objectives.random_labels import RandomLabels
from archrep.searchers.angle import Angles, Snapshot, Turn
from archrep.searchers.base import Figures, Lane, Searcher, SearcherSettings, figures_of
from archrep.searchers.config import SupernetConfig
from archrep.searchers.evolution import PRESETS as EVOLUTIONS
from archrep.searchers.evolution import evolve, genes_of
from archrep.searchers.one_shot import OneShot
from archrep.searchers.ranking import live_params
from archrep.searchers.spectrum import spectra
from archrep.seeding import numpy_stream
from archrep.settings import check, choices
from archrep.supernets.base import Supernet


@dataclass(frozen=True, kw_only=True)
class SinglePathSettings(SearcherSettings):
    """Settings of single paths."""

    unsampled: Literal["zero", "absent"] = "zero"
    """What the gradient of an operation is that a step did not sample. Zeros let weight decay and
    momentum go on, as the PyTorch of the published code did; absent ones leave it as it is, as
    PyTorch does since 2.0. Angles depend on it."""
    stop_angle: float | None = None
    """Degrees that the operations may turn: training ends with the epoch in which they pass it
    on average, since the angle ranks cells only inside a window."""

    rank_by: Literal["angle", "one-shot", "both"] = "angle"
    """What evolution looks for, where a space has too many architectures to score all: the largest
    angle, the best one-shot score, or the best sum of both, as in the release of RLNAS."""
    score_images: int = 0
    """Images that one-shot scores are measured on; 0 for no such scores."""
    held_out: int = 0
    """Training images that are held back for them; 0 scores on images of training, which is what
    random labels need."""
    statistics_images: int = 0
    """Training images that batch norms are measured with before each score (Guo et al., 2020);
    0 takes the scored images themselves."""
    spectrum_images: int = 0
    """Images that the spectra of features are measured on, with initial weights, for the score
    `angle_size_spectrum`; 0 for no such score."""
    score_every: int = 0
    """Epochs between scores of some architectures along training; 0 for none."""
    score_cells: int = 1000
    """How many architectures that are, drawn at random."""
    macs_limit: float | None = None
    """Million multiply-adds that an ImageNet network may have, where evolution looks for one:
    RLNAS has 475 for MobileNets and 600 for DARTS."""

    def __post_init__(self) -> None:
        checks = {
            f"`stop_angle` must lie in (0, 90]. Got {self.stop_angle}.": (
                self.stop_angle is None or 0 < self.stop_angle <= 90
            ),
            f"`macs_limit` must be positive. Got {self.macs_limit}.": (
                self.macs_limit is None or self.macs_limit > 0
            ),
            f"`score_cells` must be at least 2. Got {self.score_cells}.": self.score_cells >= 2,
            "`rank_by` needs one-shot scores: set `score_images`, 512 for example.": (
                self.rank_by == "angle" or self.score_images > 0
            ),
            f"`held_out` must be at least `score_images`, {self.score_images}, or 0. Got "
            f"{self.held_out}.": self.held_out == 0 or self.held_out >= self.score_images,
        } | {
            f"`{name}` must be at least 0. Got {getattr(self, name)}.": getattr(self, name) >= 0
            for name in (
                *("score_images", "held_out", "statistics_images", "score_every"),
                "spectrum_images",
            )
        }
        check(checks | choices(self))


class SinglePath(Searcher):
    """Each step trains one random path of each supernet; architectures are ranked by their angle.

    All cells of NAS-Bench-201 are ranked; in other spaces the largest angle is searched for by
    evolution. `angle_and_size` adds the rank by angle and the rank by the weights on live paths,
    equal shares: the angle tells whether what is there learns, and knows little of how much is
    there. `angle_size_spectrum` adds the logarithms of three ranks, as AZ-NAS (Lee and Ham, 2024)
    assembles its scores: by angle, by size, and by the spectrum of features before training.
    """

    name = "single-path"
    title = "Single paths, ranked by their angle (SPOS of Guo et al., 2020; RLNAS)"
    Settings = SinglePathSettings

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        super().__init__(config, images, objective)
        if self.settings.held_out and isinstance(objective, RandomLabels):
            raise ConfigError(
                "`held_out` must be 0 with random labels, which say nothing of other images."
            )
        space, settings = SPACES.get(self.supernet.space), self.settings
        if space is not None and space.size is not None:
            if settings.macs_limit is not None or settings.rank_by != "angle":
                raise ConfigError(
                    "`macs_limit` and `rank_by` are for evolution. All cells of "
                    f"{config.space!r} are scored; leave them out."
                )
        elif settings.spectrum_images:
            raise ConfigError(
                f"`spectrum_images` needs a space whose cells are all scored. {config.space!r} is "
                "searched by evolution."
            )
        if settings.macs_limit is not None and "noise" in self.supernet.operations:
            raise ConfigError(f"`macs_limit` must be left out: {config.space!r} has noise.")
        trained = self.lanes["train"]
        for lanes, name in (
            (self.shown, "score_images"),
            (trained, "statistics_images"),
            (trained, "spectrum_images"),
        ):
            smallest = min(len(lane.images) for lane in lanes)
            if (wanted := getattr(self.settings, name)) > smallest:
                raise ConfigError(
                    f"`{name}` must be at most the {smallest:,} images there are. Got {wanted}."
                )
        self.start = Snapshot(self.supernet, self.heads)  # initial weights depend on the seed alone
        self.along: list[dict[str, np.ndarray]] = []
        """Scores of the sampled architectures `[S, M]` by name, with their epoch."""
        self.sampled = self._sample_architectures() if self.settings.score_every else None

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("train", "valid") if self.settings.held_out else ("train",)

    def divide(self, images: ImageSet, seed: int) -> tuple[ImageSet, ...]:
        if not (count := self.settings.held_out):
            return (images,)
        if count >= len(images):
            raise ConfigError(
                f"`held_out` must leave some of the {len(images):,} images. Got {count}."
            )
        order = numpy_stream(seed, "supernet/held-out").permutation(len(images))
        return images.subset(np.sort(order[count:])), images.subset(np.sort(order[:count]))

    @property
    def shown(self) -> list[Lane]:
        """Images that one-shot scores are measured on."""
        return self.lanes[self.parts[-1]]

    def one_shot(self) -> OneShot:
        """Judges architectures by the weights that they inherit now."""
        settings = self.settings
        return OneShot(
            self.supernet,
            self.heads,
            self.objective,
            self.shown,
            settings.score_images,
            self.lanes["train"],
            settings.statistics_images,
        )

    def _sample_architectures(self) -> np.ndarray:
        """Architectures that are scored along training, `[M, P]`; the same for all seeds."""
        rng, count = numpy_stream(self.config.seed, "supernet/sampled"), self.settings.score_cells
        space = SPACES.get(self.supernet.space)
        if space is None or space.size is None:
            return np.stack([self.supernet.sample(rng) for _ in range(count)])
        rows = rng.choice(space.size, min(count, space.size), replace=False)
        return space.decisions_of_rows(np.sort(rows))

    def make(self, **sizes: Any) -> Supernet:
        if self.config.affine is None and self.config.space.startswith("darts"):
            sizes["affine"] = True
        return super().make(**sizes)

    def train_epoch(self, epoch: int) -> Figures:
        self.set_rate(epoch)
        streams = [numpy_stream(seed, f"supernet/paths/{epoch}") for seed in self.config.seeds]
        draws = self.draws(epoch)
        losses, scores = [], []
        for inputs, targets in self.steps("train", epoch):
            path = np.stack([self.supernet.sample(rng) for rng in streams])
            forward = partial(self.supernet, path=path, draws=draws)
            loss, score = self.losses(forward, inputs, targets)
            if self.settings.unsampled == "zero":
                self.step(loss)
            else:
                self._step_of_sampled(loss, path)
            losses.append(loss.detach())
            scores.append(score)
        every = self.settings.score_every
        if self.sampled is not None and (epoch + 1) % every == 0:
            self.along.append({"epoch": np.array(epoch + 1)} | self.score(self.sampled))
        turned = self.angles()
        return figures_of(losses, scores, self.objective.metric) | {
            name: values.tolist() for name, values in turned.items()
        }

    def finished(self, figures: Figures) -> bool:
        limit = self.settings.stop_angle
        return limit is not None and float(np.mean(figures["operation_angle"])) >= limit

    def angles(self) -> dict[str, np.ndarray]:
        """How far operations and trunk have turned in degrees, `[S]` each.

        The angle of a cell ranks while the former lead and neither has come to 90 degrees.
        """
        turns = self.start.candidate_turns(self.supernet)
        operations = Turn(*(part.sum((1, 2)) for part in turns))
        trunk = self.start.trunk_turns(self.supernet, self.heads)
        return {
            "operation_angle": np.degrees(operations.angle()),
            "trunk_angle": np.degrees(trunk.angle()),
        }

    def score(
        self, choices: np.ndarray, report: Callable[[int, int], None] = lambda done, of: None
    ) -> dict[str, np.ndarray]:
        """All scores of architectures `[M, P]` with the weights as they are now, `[S, M]` each."""
        found = {"angle": Angles(self.start, self.supernet, self.heads)(choices)}
        if self.settings.score_images:
            judged = self.one_shot()(choices, report)
            found["one_shot"], found["one_shot_loss"] = judged.score, -judged.loss
            found["angle_and_one_shot"] = found["angle"] + judged.score
        return found

    def scores(self) -> dict[str, np.ndarray]:
        space = SPACES.get(self.supernet.space)
        if space is None or space.size is None:
            return {}
        decisions = space.decisions_of_rows(np.arange(space.size))
        found = self.score(decisions, lambda done, of: self.progress("scoring", done, of))
        size = rankdata(live_params(decisions))
        found["angle_and_size"] = np.stack([rankdata(own) + size for own in found["angle"]])
        if self.settings.spectrum_images:
            spectrum = self.spectrum(decisions)
            found["spectrum"] = spectrum
            found["angle_size_spectrum"] = np.stack(
                [
                    sum(np.log(rankdata(part) / len(size)) for part in (angle, size, own))
                    for angle, own in zip(found["angle"], spectrum, strict=True)
                ]
            )
        return found

    def spectrum(self, choices: np.ndarray) -> np.ndarray:
        """Sum over resolutions of the rank by spectrum, with initial weights, `[S, M]`."""
        entropies = spectra(
            self.make(),  # initial weights depend on the seed alone
            self.objective,
            self.lanes["train"],
            self.settings.spectrum_images,
            choices,
            lambda done, of: self.progress("measuring spectra", done, of),
        )
        return np.stack([sum(rankdata(part) for part in own.T) for own in entropies])

    def choose(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if scores:
            decisions = get_space(self.supernet.space).decisions_of_rows
            return {name: decisions(values.argmax(1)) for name, values in scores.items()}
        angles = Angles(self.start, self.supernet, self.heads)
        judge, by = None, self.settings.rank_by
        if by != "angle":
            judge = self.one_shot()
        found = [self._evolved(angles, judge, s) for s in range(len(self.config.seeds))]
        return {by.replace("-", "_"): np.stack(found)}

    def _evolved(self, angles: Angles, judge: OneShot | None, s: int) -> np.ndarray:
        """The best architecture of one seed that evolution finds, `[P]`."""
        by = self.settings.rank_by
        self.progress("evolving", s, len(self.config.seeds))

        def score(choices: np.ndarray) -> np.ndarray:
            if judge is None:
                return angles(choices)[s]
            own = judge(choices).score[s]
            return own + angles(choices)[s] if by == "both" else own

        limit = self.settings.macs_limit

        def fits(choices: np.ndarray) -> np.ndarray:
            return np.asarray(self.supernet.imagenet_macs(choices) <= 1e6 * limit)

        return evolve(
            genes_of(self.supernet),
            score,
            numpy_stream(self.config.seeds[s], "supernet/evolution"),
            EVOLUTIONS[self.supernet.space],
            fits=None if limit is None else fits,
            cost=None if limit is None else self.supernet.imagenet_macs,
        ).choices

    def _step_of_sampled(self, loss: Tensor, path: np.ndarray) -> None:
        """A step that leaves operations alone which were not sampled, and their momentum."""
        candidates = [candidate.weights for candidate in self.supernet.candidates()]
        before = []
        for weights in candidates:
            buffer = self.optimizer.state[weights].get("momentum_buffer")
            before.append((weights.detach().clone(), None if buffer is None else buffer.clone()))
        self.step(loss)
        used = self.supernet.sampled(path)
        for weights, (old, momentum), own in zip(candidates, before, used, strict=True):
            sampled = torch.from_numpy(own).to(weights.device)
            sampled = sampled.view(*own.shape, *[1] * (weights.ndim - own.ndim))
            buffer = self.optimizer.state[weights]["momentum_buffer"]
            with torch.no_grad():
                weights.copy_(torch.where(sampled, weights, old))
                known = torch.zeros_like(buffer) if momentum is None else momentum
                buffer.copy_(torch.where(sampled, buffer, known))

    # State ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        own = {
            f"along.{n}.{name}": values
            for n, scores in enumerate(self.along)
            for name, values in scores.items()
        }
        return super().state() | own

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        own = {name: part for name, part in state.items() if name.startswith("along.")}
        super().load_state({name: part for name, part in state.items() if name not in own})
        self.along = []
        for name, part in own.items():
            _, n, key = name.split(".", 2)
            while len(self.along) <= int(n):
                self.along.append({})
            self.along[int(n)][key] = part.copy()

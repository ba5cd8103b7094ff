"""DARTS (Liu et al., 2019): architecture weights by gradient, on images of their own.

    edge = sum over operations of softmax(alpha) * operation

One step of the architecture weights on the validation images, then one of the weights on the
training images. `order` 2 evaluates the former after a step of the latter (section 2.3, Eq. 6 to
8). Its relatives change the mixture or its end: see `partial_channels`, `progressive`, `greedy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.cells.registry import get_space
from archrep.data.base import ImageSet
from archrep.data.splits import halves, ordered_halves
from archrep.errors import ConfigError, RunError
from archrep.objectives.base import Objective
from archrep.searchers.base import Figures, Searcher, SearcherSettings, figures_of, sum_by_seed
from archrep.searchers.config import SupernetConfig
from archrep.seeding import torch_stream
from archrep.settings import check, choices
from archrep.supernets.base import Mixture


@dataclass(frozen=True, kw_only=True)
class DartsSettings(SearcherSettings):
    """Settings of every search by gradient."""

    order: Literal[1, 2] = 1
    """Of the gradient of architecture weights: 2 looks one step of the weights ahead."""
    alpha_learning_rate: float = 3e-4
    """Of Adam on the architecture weights."""
    alpha_beta: float = 0.999
    """Second beta of Adam; the first is 0.5."""
    alpha_weight_decay: float = 1e-3
    """On them."""
    alpha_clip: float | None = None
    """Largest norm of their gradient, seed by seed; `None` for any."""
    alpha_init: Literal["normal", "zeros"] = "normal"
    """Architecture weights at the start; normal ones have the deviation 0.001."""
    warmup_epochs: int = 0
    """Epochs at the start in which architecture weights stay as they are."""
    valid: Literal["half", "ordered-half", "flipped-copy"] = "half"
    """What architecture weights are trained on: the other half of the images, class by class and
    at random for each seed; the second half in stored order, as in the code of DARTS; or, as in
    the appendix of UnrealNAS, the training images once more, flipped."""
    stop_skips: int | None = None
    """Skip connections of the normal cell at which a seed stops and keeps the cell of the epoch
    before (Liang et al., 2019, "DARTS+"); `None` never stops."""

    def __post_init__(self) -> None:
        check(
            choices(self)
            | {
                f"`alpha_learning_rate` must lie in (0, 10]. Got {self.alpha_learning_rate}.": 0
                < self.alpha_learning_rate
                <= 10,
                f"`alpha_clip` must be positive. Got {self.alpha_clip}.": (
                    self.alpha_clip is None or self.alpha_clip > 0
                ),
                f"`alpha_beta` must lie in [0, 1). Got {self.alpha_beta}.": (
                    0 <= self.alpha_beta < 1
                ),
                f"`alpha_weight_decay` must be at least 0. Got {self.alpha_weight_decay}.": (
                    self.alpha_weight_decay >= 0
                ),
                f"`warmup_epochs` must be at least 0. Got {self.warmup_epochs}.": (
                    self.warmup_epochs >= 0
                ),
                f"`stop_skips` must be at least 1. Got {self.stop_skips}.": (
                    self.stop_skips is None or self.stop_skips >= 1
                ),
            }
        )


class Darts(Searcher):
    """Architecture weights `[S, P, O]`, shared by all cells of a kind."""

    name = "darts"
    title = "DARTS (Liu et al., 2019), first or second order"
    Settings = DartsSettings
    parts = ("train", "valid")

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        super().__init__(config, images, objective)
        if self.settings.order == 2 and config.precision != "float32":
            raise ConfigError(
                "`order` 2 takes a difference of two gradients, which has no digits left in "
                f"{config.precision}. Take `precision` 'float32', or `order` 1."
            )
        if not self.supernet.edges:
            raise ConfigError(
                f"The searcher {self.name!r} needs a supernet of cells. {config.space!r} is a "
                "chain of blocks; take single-path."
            )
        if self.epochs_of_a_search() <= self.settings.warmup_epochs:
            raise ConfigError(
                f"`epochs` must be more than `warmup_epochs`, {self.settings.warmup_epochs}, or "
                f"nothing is searched. Got {self.epochs_of_a_search()}."
            )
        self.kept: np.ndarray | None = None
        """Cells of seeds that stopped, `[S, P]`; -1 for those that did not."""
        self._valid: list[tuple[Tensor, Tensor]] = []
        """Validation losses and scores `[S]` of the steps of an epoch."""
        self.start_alphas()

    def start_alphas(self) -> None:
        """New architecture weights and their optimizer."""
        shape = self.supernet.allowed.shape
        drawn = [1e-3 * self.drawn(seed, "alphas", shape) for seed in self.config.seeds]
        self.alphas = torch.stack(drawn).to(self.device).requires_grad_()
        settings = self.settings
        self.alpha_optimizer = torch.optim.Adam(
            self.architecture(),
            lr=settings.alpha_learning_rate,
            betas=(0.5, settings.alpha_beta),
            weight_decay=settings.alpha_weight_decay,
        )

    def drawn(self, seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
        """Initial values of one seed, of deviation 1, or zeros."""
        if self.settings.alpha_init == "zeros":
            return torch.zeros(shape)
        return torch.randn(*shape, generator=torch_stream(seed, name))

    def architecture(self) -> list[Tensor]:
        """Everything that Adam trains, `[S, ...]` each."""
        return [self.alphas]

    def divide(self, images: ImageSet, seed: int) -> tuple[ImageSet, ...]:
        if self.settings.valid == "half":
            return halves(images, seed)
        if self.settings.valid == "ordered-half":
            first, second = ordered_halves(images)
            if images.task == "classes":
                own = [set(part.targets.unique().tolist()) for part in (first, second)]
                if 2 * len(own[0] & own[1]) < len(own[0] | own[1]):
                    raise ConfigError(
                        "`valid` must be 'half' for these images: their stored order puts most "
                        "classes into one half only. Got 'ordered-half'."
                    )
            return first, second
        masks = images.targets.flip(-1) if images.task == "masks" else images.targets
        return images, replace(images, images=images.images.flip(-1), targets=masks)

    # Mixtures -------------------------------------------------------------------------------------

    def active(self) -> np.ndarray:
        """Operations that mixtures have, `[P, O]` or `[S, P, O]`."""
        return self.supernet.allowed

    def probabilities(self) -> Tensor:
        """Softmax of the architecture weights over what is active, `[S, P, O]`."""
        hidden = torch.from_numpy(~self.active()).to(self.device)
        return self.alphas.masked_fill(hidden, -torch.inf).softmax(2)

    def mixture(self, epoch: int) -> Mixture:
        """What the supernet computes in an epoch."""
        return Mixture(self.probabilities(), active=self.active())

    def strengths(self) -> np.ndarray:
        """How strong each operation is in the end, `[S, P, O]`."""
        return np.asarray(self.probabilities().detach().double().cpu().numpy())

    def derive(self, *, with_none: bool = False) -> np.ndarray:
        """The cells that the architecture weights stand for now, `[S, P]`."""
        own = [self.supernet.derive(part, with_none=with_none) for part in self.strengths()]
        return np.stack(own)

    # Training -------------------------------------------------------------------------------------

    def train_epoch(self, epoch: int) -> Figures:
        self.set_rate(epoch)
        self._epoch, self._draws = epoch, self.draws(epoch)
        losses, scores = [], []
        self._valid = []
        valid = self.steps("valid", epoch)
        for train in self.steps("train", epoch):
            if not self.is_frozen(epoch):
                if (other := next(valid, None)) is None:
                    break
                self.alpha_step(train, other)
            loss, score = self._losses(*train)
            self.step(loss)
            losses.append(loss.detach())
            scores.append(score)
        self.end_epoch(epoch)
        cells = self.chosen()
        figures = figures_of(losses, scores, self.objective.metric)
        if self._valid:
            valid_losses, valid_scores = zip(*self._valid, strict=True)
            shown = figures_of(valid_losses, valid_scores, self.objective.metric)
            figures |= {f"valid_{name}": values for name, values in shown.items()}
        return figures | {
            "skips": [self.supernet.skips(own) for own in cells],
            "cell": [self.supernet.describe(own) for own in cells],
        }

    def epochs_of_a_search(self) -> int:
        """Epochs that architecture weights are trained in, frozen ones included."""
        return self.config.epochs

    def is_frozen(self, epoch: int) -> bool:
        """Whether architecture weights stay as they are."""
        return epoch < self.settings.warmup_epochs

    def end_epoch(self, epoch: int) -> None:
        """Stop seeds with too many skip connections."""
        limit = self.settings.stop_skips
        if limit is None:
            return
        found = self.derive()
        if self.kept is None:
            self.kept = np.full(found.shape, -1)
            self._before = found
        for s, own in enumerate(found):
            if self.kept[s, 0] < 0 and self.supernet.skips(own) >= limit:
                self.kept[s] = self._before[s]
        self._before = found

    def finished(self, figures: Figures) -> bool:
        return self.kept is not None and bool((self.kept[:, 0] >= 0).all())

    def chosen(self) -> np.ndarray:
        """The cell that each seed would end with now, `[S, P]`."""
        found = self.derive()
        if self.kept is None:
            return found
        return np.where(self.kept[:, :1] >= 0, self.kept, found)

    def alpha_step(
        self, train: tuple[Tensor, Sequence[Any]], valid: tuple[Tensor, Sequence[Any]]
    ) -> None:
        """One step of the architecture weights."""
        gradients = self.alpha_gradient(train, valid)
        if self.settings.alpha_clip is not None:
            norms = sum_by_seed(gradients, [None] * len(gradients), len(self.config.seeds)).sqrt()
            factors = (self.settings.alpha_clip / (norms + 1e-6)).clamp(max=1.0)
            gradients = [g * factors.view(-1, *[1] * (g.ndim - 1)) for g in gradients]
        for part, gradient in zip(self.architecture(), gradients, strict=True):
            part.grad = gradient
        self.alpha_optimizer.step()

    def alpha_gradient(
        self, train: tuple[Tensor, Sequence[Any]], valid: tuple[Tensor, Sequence[Any]]
    ) -> list[Tensor]:
        """Gradients of the validation losses with respect to `architecture`.

        With `order` 2 at the weights after one step on `train`, momentum and decay included; the
        product of the mixed second derivative with a vector is a central difference (Eq. 8).
        """
        own = self.architecture()
        if self.settings.order == 1:
            return self._gradients(self._valid_loss(valid), own)
        rate = float(self.optimizer.param_groups[0]["lr"])
        loss, _ = self._losses(*train)
        gradients = self._gradients(loss, self.weights)
        kept = [weights.detach().clone() for weights in self.weights]
        with torch.no_grad():  # w' = w - rate (momentum buffer + gradient + decay w)
            for weights, gradient in zip(self.weights, gradients, strict=True):
                buffer = self.optimizer.state[weights].get("momentum_buffer")
                moved = gradient + self.config.weight_decay * weights
                if buffer is not None:
                    moved = moved + self.config.momentum * buffer
                weights.sub_(rate * moved)
        found = self._gradients(self._valid_loss(valid), [*own, *self.weights])
        ahead, vector = found[: len(own)], found[len(own) :]
        count = len(self.config.seeds)
        norms = sum_by_seed(vector, self._owners, count).sqrt()
        step = 0.01 / norms.clamp(min=1e-12)  # [S]
        around = []
        for sign in (1, -1):
            with torch.no_grad():
                places = zip(self.weights, kept, vector, self._owners, strict=True)
                for weights, start, along, owner in places:
                    length = step if owner is None else step[owner]
                    if owner is None:
                        length = length.view(-1, *[1] * (along.ndim - 1))
                    weights.copy_(start + sign * length * along)
            loss, _ = self._losses(*train)
            around.append(self._gradients(loss, own))
        with torch.no_grad():
            for weights, start in zip(self.weights, kept, strict=True):
                weights.copy_(start)
        return [
            first - rate * (plus - minus) / (2 * step.view(-1, *[1] * (first.ndim - 1)))
            for first, plus, minus in zip(ahead, *around, strict=True)
        ]

    def _valid_loss(self, valid: tuple[Tensor, Sequence[Any]]) -> Tensor:
        """Validation losses `[S]`, kept with the scores for the figures of the epoch."""
        loss, score = self._losses(*valid)
        self._valid.append((loss.detach(), score))
        return loss

    def _losses(self, inputs: Tensor, targets: Sequence[Any]) -> tuple[Tensor, Tensor]:
        forward = partial(self.supernet, mixture=self.mixture(self._epoch), draws=self._draws)
        return self.losses(forward, inputs, targets)

    def _gradients(self, loss: Tensor, wanted: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of losses `[S]` over the batches of all processes."""
        found = list(torch.autograd.grad(loss.sum(), wanted, materialize_grads=True))
        self.processes.average(found)
        return found

    # What it says ---------------------------------------------------------------------------------

    def choose(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        chosen = {"strength": self.chosen()}
        with_none = self.derive(with_none=True)
        if (with_none != self.derive()).any():  # as Dong and Yang (2020) choose
            chosen["strength_with_none"] = with_none
        return chosen

    def scores(self) -> dict[str, np.ndarray]:
        """Logarithm of the product of a cell's softmax weights.

        The best cell is the derived one, where nothing limits its skip connections. `none` counts
        as the least of all.
        """
        if self.supernet.space != "nasbench201":
            return {}
        space = get_space(self.supernet.space)
        assert space.size is not None
        decisions = space.decisions_of_rows(np.arange(space.size))
        logs = np.log(np.maximum(self.strengths(), 1e-30))
        found = {}
        for name, floor in (("strength", True), ("strength_with_none", False)):
            table = logs.copy()
            if floor:
                table[:, :, self.supernet.operations.index("none")] = -1e3
            found[name] = table[:, np.arange(decisions.shape[1]), decisions].sum(2)
        return found

    # State ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        state = super().state()
        for n, part in enumerate(self.architecture()):
            state[f"architecture.{n}"] = part.detach().cpu().numpy()
            for name, moment in self.alpha_optimizer.state.get(part, {}).items():
                state[f"adam.{n}.{name}"] = moment.detach().cpu().numpy()
        if self.kept is not None:
            state["stopped.kept"], state["stopped.before"] = self.kept, self._before
        return state

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        mine = ("architecture.", "adam.", "stopped.")
        own = {name: part for name, part in state.items() if name.startswith(mine)}
        super().load_state({name: part for name, part in state.items() if name not in own})
        self.kept = None
        if "stopped.kept" in own:
            self.kept, self._before = own["stopped.kept"].copy(), own["stopped.before"].copy()
        for n, part in enumerate(self.architecture()):
            value = torch.from_numpy(np.array(own[f"architecture.{n}"]))
            if value.shape != part.shape:
                raise RunError(
                    f"Expected architecture weights {list(part.shape)}. Got {list(value.shape)}."
                )
            with torch.no_grad():
                part.copy_(value)
            prefix = f"adam.{n}."
            self.alpha_optimizer.state[part] = {
                name.removeprefix(prefix): torch.from_numpy(np.array(moment)).to(
                    self.device if moment.ndim else "cpu"
                )
                for name, moment in own.items()
                if name.startswith(prefix)
            }

"""DARTS (Liu et al., 2019): architecture weights by gradient, on images of their own.

    edge = sum over operations of softmax(alpha) * operation

One step of the architecture weights on the validation half, then one of the weights on the training
half. `order` 2 evaluates the former after a step of the latter (section 2.3, Eq. 6 to 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archrep.cells.nasbench201 import OPERATIONS
from archrep.cells.registry import get_space
from archrep.data.base import ImageSet
from archrep.data.splits import halves
from archrep.objectives.base import Objective
from archrep.searchers.base import Searcher, sum_by_seed
from archrep.searchers.config import SupernetConfig
from archrep.seeding import torch_stream
from archrep.supernets.nasbench201 import EDGES, NONE


class Darts(Searcher):
    """Architecture weights `[S, 6, 5]`, shared by all cells of a supernet."""

    parts = ("train", "valid")

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        super().__init__(config, images, objective)
        device = images.images.device
        drawn = [
            1e-3 * torch.randn(EDGES, len(OPERATIONS), generator=torch_stream(seed, "alphas"))
            for seed in config.seeds
        ]
        self.alphas = torch.stack(drawn).to(device).requires_grad_()
        self.alpha_optimizer = torch.optim.Adam(
            [self.alphas],
            lr=config.alpha_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=config.alpha_weight_decay,
        )
        stacked = len(list(self.supernet.parameters()))
        per_head = [len(list(head.parameters())) for head in self.heads]
        owners: list[int | None] = [None] * stacked
        owners += [s for s, number in enumerate(per_head) for _ in range(number)]
        self._owners = owners

    def divide(self, images: ImageSet, seed: int) -> tuple[ImageSet, ...]:
        return halves(images, seed)

    def train_epoch(self, epoch: int) -> dict[str, list[float]]:
        self.set_rate(epoch)
        losses, scores = [], []
        pairs = zip(self.steps("train", epoch), self.steps("valid", epoch), strict=False)
        for train, valid in pairs:
            gradient = self.alpha_gradient(train, valid)
            self.alphas.grad = gradient
            self.alpha_optimizer.step()
            loss, score = self._losses(*train)
            self.step(loss)
            losses.append(loss.detach())
            scores.append(score)
        return {
            "loss": torch.stack(losses).mean(0).tolist(),
            self.objective.metric: torch.stack(scores).mean(0).tolist(),
            "skips": [float(n) for n in self.skips()],
        }

    def alpha_gradient(
        self, train: tuple[Tensor, Sequence[Any]], valid: tuple[Tensor, Sequence[Any]]
    ) -> Tensor:
        """Gradient of the validation losses with respect to the architecture weights, `[S, 6, 5]`.

        With `order` 2 at the weights after one step on `train`, momentum and decay included; the
        product of the mixed second derivative with a vector is a central difference (Eq. 8).
        """
        if self.config.order == 1:
            loss, _ = self._losses(*valid)
            return torch.autograd.grad(loss.sum(), self.alphas)[0]
        rate = float(self.optimizer.param_groups[0]["lr"])
        loss, _ = self._losses(*train)
        gradients = torch.autograd.grad(loss.sum(), self.weights)
        kept = [weights.detach().clone() for weights in self.weights]
        with torch.no_grad():  # w' = w - rate (momentum buffer + gradient + decay w)
            for weights, gradient in zip(self.weights, gradients, strict=True):
                buffer = self.optimizer.state[weights].get("momentum_buffer")
                moved = gradient + self.config.weight_decay * weights
                if buffer is not None:
                    moved = moved + self.config.momentum * buffer
                weights.sub_(rate * moved)
        loss, _ = self._losses(*valid)
        ahead, *vector = torch.autograd.grad(loss.sum(), [self.alphas, *self.weights])
        count = len(self.config.seeds)
        norms = sum_by_seed(vector, self._owners, count).sqrt()
        step = (0.01 / norms.clamp(min=1e-12)).to(ahead.dtype)  # [S]
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
            around.append(torch.autograd.grad(loss.sum(), self.alphas)[0])
        with torch.no_grad():
            for weights, start in zip(self.weights, kept, strict=True):
                weights.copy_(start)
        second = (around[0] - around[1]) / (2 * step[:, None, None])
        return ahead - rate * second

    def _losses(self, inputs: Tensor, targets: Sequence[Any]) -> tuple[Tensor, Tensor]:
        mixture = self.alphas.softmax(2)
        return self.losses(lambda x: self.supernet(x, mixture=mixture), inputs, targets)

    def choices(self, *, with_none: bool = False) -> np.ndarray:
        """The strongest operation of each edge, `[S, 6]`.

        Args:
            with_none: Let `none` win, as the benchmark's own code does; other papers leave it out.
        """
        strengths = self.alphas.detach().cpu().numpy().copy()
        if not with_none:
            strengths[:, :, NONE] = -np.inf
        return np.asarray(strengths.argmax(2))

    def skips(self) -> list[int]:
        """Edges of the chosen cell that are `skip_connect`, of each seed."""
        skip = OPERATIONS.index("skip_connect")
        return [int(n) for n in (self.choices() == skip).sum(1)]

    def scores(self) -> dict[str, np.ndarray]:
        """Logarithm of the product of a cell's softmax weights; the best cell is `choices`.

        `none` counts as the least of all.
        """
        space = get_space(self.supernet.space)
        assert space.size is not None
        choices = space.decisions_of_rows(np.arange(space.size))
        found = {}
        logs = self.alphas.detach().log_softmax(2).double().cpu().numpy()
        for name, floor in (("strength", True), ("strength_with_none", False)):
            table = logs.copy()
            if floor:
                table[:, :, NONE] = -1e3
            found[name] = table[:, np.arange(EDGES), choices].sum(2)
        return found

    # State ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        state = super().state() | {"alphas": self.alphas.detach().cpu().numpy()}
        for name, part in self.alpha_optimizer.state.get(self.alphas, {}).items():
            state[f"adam.{name}"] = part.detach().cpu().numpy()
        return state

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        own = {name: part for name, part in state.items() if name.startswith(("alphas", "adam."))}
        super().load_state({name: part for name, part in state.items() if name not in own})
        with torch.no_grad():
            self.alphas.copy_(torch.from_numpy(np.array(own.pop("alphas"))))
        if own:
            self.alpha_optimizer.state[self.alphas] = {
                name.removeprefix("adam."): torch.from_numpy(np.array(part)).to(
                    self.alphas.device if part.ndim else "cpu"
                )
                for name, part in own.items()
            }

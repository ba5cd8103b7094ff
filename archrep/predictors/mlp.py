"""Ensembles of small feed-forward networks, R at a time: the predictor of BANANAS.

White et al. (2021), "BANANAS: Bayesian Optimization with Neural Architectures for Neural
Architecture Search", section 5: ten layers of width 20, ReLU, Adam, mean absolute error; the mean
of five networks is the prediction and their spread its uncertainty. Weights start as in Keras,
which the authors used (Glorot and Bengio, 2010). One departure: labels are standardised.

All R M networks of an ensemble train as one batch of products. Each has its weights in one row of
whole vector registers, a bias is a product with ones, and gradients are written out, so that no sum
runs across networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError
from archrep.predictors.base import Predictor, checked, standardised

_REGISTER = 64  # numbers: each run has a multiple of them in every array


class MlpEnsemble(Predictor):
    """R ensembles of M networks.

    Args:
        members: Networks M of an ensemble.
        layers: Hidden layers of a network.
        width: Units of a layer.
        epochs: Passes over the labels.
        batch_size: Labels of a step.
        learning_rate: Of Adam.
        chunk: Cells that are predicted at a time.
        dtype: Numbers that networks are made of.

    Raises:
        ConfigError: A setting is not positive.
    """

    def __init__(
        self,
        *,
        members: int = 5,
        layers: int = 10,
        width: int = 20,
        epochs: int = 150,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        chunk: int = 4096,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if min(members, layers, width, epochs, batch_size, chunk) < 1 or learning_rate <= 0:
            raise ConfigError(
                "Settings of an ensemble must be positive. Got "
                f"{members=}, {layers=}, {width=}, {epochs=}, {batch_size=}, {learning_rate=}, "
                f"{chunk=}."
            )
        self.members, self.layers, self.width = members, layers, width
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.chunk, self.dtype = chunk, dtype

    def fit(
        self, features: Tensor, values: Tensor, rngs: Sequence[np.random.Generator] | None = None
    ) -> Self:
        checked(features, values)
        runs, count, columns = features.shape
        if rngs is None:
            rngs = [np.random.default_rng(0) for _ in range(runs)]
        device = features.device
        targets, self.centre, self.scale = standardised(values.double())
        self.columns = columns
        padded = columns + (-columns % 16)
        inputs = torch.nn.functional.pad(features.to(self.dtype), (0, padded - columns))
        self._lay_out(padded)
        self.flat = torch.from_numpy(np.stack([self._initial(rng) for rng in rngs]))
        self.flat = self.flat.to(device, self.dtype)
        self.flat = self.flat.view(runs * self.members, -1)
        gradient = torch.zeros_like(self.flat)
        adam = torch.optim.Adam([self.flat], lr=self.learning_rate, fused=True)
        self.flat.grad = gradient
        weights, biases = self._views(self.flat)
        d_weights, d_biases = self._views(gradient)

        size = self.batch_size
        steps = -(-count // size)
        ones = torch.ones(len(self.flat), size, 1, dtype=self.dtype, device=device)
        at = torch.arange(runs, device=device)[:, None]
        for _ in range(self.epochs):
            # Members of a run see the labels in orders of their own.
            drawn = np.stack([[r.permutation(count) for _ in range(self.members)] for r in rngs])
            order = np.zeros((runs, self.members, steps * size), np.int64)
            order[:, :, :count] = drawn
            batches = order.reshape(runs, self.members, steps, size)
            for step in range(steps):
                rows = torch.from_numpy(batches[:, :, step].reshape(runs, -1)).to(device)
                x = inputs[at, rows].view(-1, size, padded)
                y = targets[at, rows].to(self.dtype).view(-1, size, 1)
                filled = min(size, count - step * size)
                units = self._forward(weights, biases, x)
                error = (units[-1] - y).sign_().div_(filled)
                error[:, filled:] = 0  # repeats that fill the last batch
                for layer in range(self.layers, -1, -1):
                    d_weights[layer].copy_(torch.bmm(units[layer].transpose(1, 2), error))
                    d_biases[layer].copy_(torch.bmm(ones.transpose(1, 2), error))
                    if layer:
                        error = torch.bmm(error, weights[layer].transpose(1, 2))
                        error.mul_(units[layer] > 0)
                adam.step()
        self.flat.grad = None
        return self

    def predict(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [self.predict_run(run, vectors) for run in range(len(self.centre))]
        return torch.stack([m for m, _ in pairs]), torch.stack([s for _, s in pairs])

    def predict_run(self, run: int, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of N cells over one ensemble, `[N]` each."""
        each = self.predict_members(run, vectors)
        return each.mean(0), each.std(0, correction=min(1, self.members - 1))

    def predict_members(self, run: int, vectors: Tensor) -> Tensor:
        """Predictions of every network of one ensemble, `[M, N]`."""
        own = slice(run * self.members, (run + 1) * self.members)
        weights, biases = self._views(self.flat[own])
        padded = weights[0].shape[1]
        inputs = torch.nn.functional.pad(vectors.to(self.dtype), (0, padded - self.columns))
        parts = [
            self._forward(weights, biases, part.expand(self.members, -1, -1))[-1][:, :, 0]
            for part in inputs.split(self.chunk)
        ]
        return torch.cat(parts, 1).double() * self.scale[run] + self.centre[run]

    # Networks -------------------------------------------------------------------------------------

    def _lay_out(self, columns: int) -> None:
        """Shapes of the layers, and where each begins in a network's row of numbers."""
        sizes = [columns, *[self.width] * self.layers, 1]
        self._shapes = list(pairwise(sizes))
        self._starts, at = [], 0
        for fan_in, fan_out in self._shapes:
            bias = at + fan_in * fan_out + (-fan_in * fan_out % _REGISTER)
            self._starts.append((at, bias))
            at = bias + fan_out + (-fan_out % _REGISTER)
        self._length = at

    def _views(self, flat: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Weights `[R M, in, out]` and biases `[R M, 1, out]` of each layer, in place."""
        weights = [
            flat[:, at : at + fan_in * fan_out].unflatten(1, (fan_in, fan_out))
            for (at, _), (fan_in, fan_out) in zip(self._starts, self._shapes, strict=True)
        ]
        biases = [
            flat[:, None, at : at + fan_out]
            for (_, at), (_, fan_out) in zip(self._starts, self._shapes, strict=True)
        ]
        return weights, biases

    def _initial(self, rng: np.random.Generator) -> np.ndarray:
        """Weights of one run's networks, `[M, P]`."""
        flat = np.zeros((self.members, self._length))
        for (at, _), (fan_in, fan_out) in zip(self._starts, self._shapes, strict=True):
            live = self.columns if at == 0 else fan_in
            bound = math.sqrt(6 / (live + fan_out))
            drawn = rng.uniform(-bound, bound, (self.members, live * fan_out))
            flat[:, at : at + live * fan_out] = drawn
        return flat

    def _forward(self, weights: list[Tensor], biases: list[Tensor], x: Tensor) -> list[Tensor]:
        """Inputs, units of every hidden layer, and outputs."""
        units = [x]
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            out = torch.bmm(units[-1], weight).add_(bias)
            units.append(out if layer == self.layers else out.relu_())
        return units

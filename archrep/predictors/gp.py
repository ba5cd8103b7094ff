"""Gaussian processes, R at a time, with the priors of BoTorch's default model.

    K = sum_g a_g kappa(r_g),   r_g^2 = sum_(d in g) (x_d - x'_d)^2 / l_d^2
    a_g -> amplitude of a block of columns; 1 if there is one block, as in BoTorch
    l_d -> length scale of a column, or of a whole block
    kappa -> squared exponential, or Matern-5/2
    s^2 -> variance of the noise;  c -> constant mean, the one of the largest likelihood

Hyper-parameters are the most probable ones (marginal likelihood times priors, Rasmussen and
Williams, 2006, section 5.4), found by a fixed number of steps along written-out gradients. A
line search would let the slowest run decide how long the others are fitted.

A run counts for itself: labels are padded to whole vector registers with points that are
uncorrelated with everything, and each sum is one run's own product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError
from archrep.predictors.base import Predictor, checked, standardised

_REGISTER = 16  # numbers: labels of a run are a multiple
_NOISE_FLOOR = 1e-4  # of the labels' variance, as in BoTorch
_NOISE_PRIOR = (-4.0, 1.0)  # mean and deviation of log s^2, as in BoTorch
_AMPLITUDE_PRIOR = (0.0, 1.0)  # of log a_g G, for G > 1 blocks


class GaussianProcess(Predictor):
    """R exact Gaussian processes in float64.

    With one block and default settings it is `botorch.models.SingleTaskGP`: squared exponential
    kernel, log-normal priors on length scales that grow with the root of their number (Hvarfner et
    al., 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions") and on the noise.
    Inputs are expected in the unit cube, or of deviation one; labels are standardised per run.

    Args:
        kernel: `"rbf"` or `"matern"` (5/2).
        blocks: Numbers of columns of the blocks; `None` for one block of all.
        each: Whether every column has a length scale, rather than every block.
        steps: Steps uphill, from the prior or from `parameters`.
        first_step: Length of the first of them, on logarithms.
        most: Labels that hyper-parameters are fitted to at most: the first ones. The posterior
            uses all of them.
        chunk: Cells that are predicted at a time.

    Attributes:
        parameters: Logarithms of length scales, of `s^2` and, if there are several blocks, of
            `a_g`, `[R, P]`. May be set before `fit` to start there.

    Raises:
        ConfigError: A setting is impossible.
    """

    def __init__(
        self,
        *,
        kernel: Literal["rbf", "matern"] = "rbf",
        blocks: Sequence[int] | None = None,
        each: bool = True,
        steps: int = 40,
        first_step: float = 0.3,
        most: int = 512,
        chunk: int = 4096,
    ) -> None:
        if kernel not in ("rbf", "matern"):
            raise ConfigError(f"`kernel` must be rbf or matern. Got {kernel!r}.")
        if steps < 0 or most < 1 or chunk < 1:
            raise ConfigError(
                "`steps` must not be negative, `most` and `chunk` must be at least 1. "
                f"Got {steps}, {most}, {chunk}."
            )
        self.kernel, self.each = kernel, each
        self.blocks = None if blocks is None else tuple(blocks)
        self.steps, self.first_step, self.most, self.chunk = steps, first_step, most, chunk
        self.parameters: Tensor | None = None
        self._root: Tensor | None = None

    # Fit ------------------------------------------------------------------------------------------

    def fit(
        self, features: Tensor, values: Tensor, rngs: Sequence[np.random.Generator] | None = None
    ) -> Self:
        checked(features, values)
        features, values = features.double(), values.double()
        self._lay_out(features.shape[2])
        targets, self.centre, self.scale = standardised(values)
        if self.parameters is None or len(self.parameters) != len(values):
            self.parameters = self.start(len(values)).to(values.device)
        few = min(self.most, values.shape[1])
        self._climb(*_padded(features[:, :few], targets[:, :few]))
        self._condition(*_padded(features, targets))
        self.count = values.shape[1]
        return self

    def _lay_out(self, width: int) -> None:
        blocks = self.blocks or (width,)
        if sum(blocks) != width or min(blocks) < 1:
            raise ConfigError(f"`blocks` must add up to the {width} columns. Got {blocks}.")
        ends = np.cumsum(blocks).tolist()
        self._slices = [slice(e - b, e) for b, e in zip(blocks, ends, strict=True)]
        self._scales = width if self.each else len(blocks)
        self._group_of = torch.arange(width)
        if not self.each:
            self._group_of = torch.repeat_interleave(
                torch.arange(len(blocks)), torch.tensor(blocks)
            )
        # A distance adds up its columns, so the typical length is the root of their number.
        location = [math.sqrt(2) + math.log(b) / 2 for b in blocks]
        per = [[v] * b if self.each else [v] for v, b in zip(location, blocks, strict=True)]
        several = len(blocks) > 1
        tail = [(math.log(1 / len(blocks)) + _AMPLITUDE_PRIOR[0], _AMPLITUDE_PRIOR[1])]
        priors = [(v, math.sqrt(3)) for part in per for v in part]
        priors += [_NOISE_PRIOR, *(tail * len(blocks) if several else [])]
        self._priors = torch.tensor(priors, dtype=torch.float64)

    def start(self, runs: int) -> Tensor:
        """Where a fit begins: modes of the priors on length scales and noise, `[R, P]`."""
        mean, deviation = self._priors.unbind(1)
        mode = mean - torch.where(
            torch.arange(len(mean)) <= self._scales, deviation**2, torch.zeros(())
        )
        return mode.repeat(runs, 1)

    def _climb(self, x: Tensor, y: Tensor, real: Tensor) -> None:
        """Rprop (Riedmiller and Braun, 1993): each coordinate has a step of its own length.

        It grows while the gradient keeps its sign and is halved when that changes. On these smooth
        functions 40 steps come closer to the optimum than 200 of Adam.
        """
        assert self.parameters is not None
        theta = self.parameters.clone()
        size = torch.full_like(theta, self.first_step)
        last = torch.zeros_like(theta)
        for _ in range(self.steps):
            _, gradient = self.objective(theta, x, y, real)
            turned, kept = gradient * last < 0, gradient * last > 0
            size = torch.where(turned, size * 0.5, torch.where(kept, size * 1.2, size)).clamp(max=1)
            last = torch.where(turned, torch.zeros_like(gradient), gradient)
            theta = theta + size * last.sign()
            theta[:, self._scales].clamp_(min=math.log(_NOISE_FLOOR))
        self.parameters = theta

    def objective(self, theta: Tensor, x: Tensor, y: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Log posterior density of hyper-parameters over n, `[R]`, and its gradient, `[R, P]`.

        Rasmussen and Williams (2006), Eq. 5.8 and 5.9, plus the logarithms of the priors.

        Args:
            theta: As in `parameters`.
            x: Inputs, `[R, n, D]`.
            y: Standardised labels, `[R, n]`; 0 where padded.
            real: 1 for a label, 0 for padding, `[n]`.
        """
        kernels, slopes = self._kernels(theta, x, x)
        covariance, noise = self._covariance(theta, kernels, real)
        factor = torch.linalg.cholesky(covariance)
        inverse = torch.cholesky_inverse(factor)
        residual, weights = _explained(inverse, y, real)
        count = real.sum()
        mean, deviation = self._priors.to(theta.device).unbind(1)
        off = (theta - mean) / deviation
        fit = -(weights * residual).sum(1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
        value = (fit - count * math.log(2 * math.pi) / 2 - (off * off).sum(1) / 2) / count
        # A log-normal density has its mode at exp(mean - deviation^2): it is one of the parameter.
        shift = torch.ones_like(mean)
        shift[self._scales + 1 :] = 0
        value = value - (theta * shift).sum(1) / count

        pull = weights[:, :, None] * weights[:, None, :] - inverse
        pull = pull * (real[:, None] * real)
        parts = []
        amplitude = self._amplitudes(theta)
        grown = []
        for block, (part, slope) in enumerate(zip(kernels, slopes, strict=True)):
            size = amplitude[:, block, None, None]
            # d kappa / d log l_d = -2 kappa'(r^2) (x_d - x'_d)^2 / l_d^2
            force = -(pull * slope * size)
            scaled = (
                x[..., self._slices[block]] / self._lengths(theta)[:, None, self._slices[block]]
            )
            total = force.sum(2)
            moved = torch.bmm(force, scaled)
            each = 2 * ((scaled * scaled * total[:, :, None]) - scaled * moved).transpose(
                1, 2
            ).contiguous().sum(2)
            parts.append(each if self.each else each.sum(1, keepdim=True))
            grown.append((pull * part * size).sum((1, 2))[:, None] / 2)
        noises = (pull.diagonal(dim1=1, dim2=2) * noise[:, None]).sum(1)[:, None] / 2
        gradient = torch.cat([*parts, noises, *(grown if len(kernels) > 1 else [])], 1)
        return value, (gradient - off / deviation - shift) / count

    def _amplitudes(self, theta: Tensor) -> Tensor:
        blocks = len(self._slices)
        if blocks == 1:
            return torch.ones(len(theta), 1, dtype=theta.dtype, device=theta.device)
        return theta[:, self._scales + 1 :].exp()

    def _lengths(self, theta: Tensor) -> Tensor:
        """Length scale of every column, `[R, D]`."""
        return theta[:, : self._scales].exp()[:, self._group_of.to(theta.device)]

    def _kernels(self, theta: Tensor, a: Tensor, b: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The function kappa and its derivative by r^2 for each block, `[R, n, m]` each."""
        lengths = self._lengths(theta)
        values, slopes = [], []
        for part in self._slices:
            left = a[..., part] / lengths[:, None, part]
            right = b[..., part] / lengths[:, None, part]
            squares = (left * left).sum(2)[:, :, None] + (right * right).sum(2)[:, None, :]
            squares = (squares - 2 * torch.bmm(left, right.transpose(1, 2))).clamp(min=0)
            value, slope = _kappa(self.kernel, squares)
            values.append(value)
            slopes.append(slope)
        return values, slopes

    def _covariance(
        self, theta: Tensor, kernels: list[Tensor], real: Tensor
    ) -> tuple[Tensor, Tensor]:
        amplitude = self._amplitudes(theta)
        total = sum(
            (part * amplitude[:, n, None, None] for n, part in enumerate(kernels)),
            start=torch.zeros_like(kernels[0]),
        )
        noise = theta[:, self._scales].exp()
        total = total * (real[:, None] * real)
        diagonal = noise[:, None] * real + (1 - real)
        return total + torch.diag_embed(diagonal), noise

    # Predict --------------------------------------------------------------------------------------

    def _condition(self, x: Tensor, y: Tensor, real: Tensor) -> None:
        assert self.parameters is not None
        self.inputs, self.targets, self.real = x, y, real
        kernels, _ = self._kernels(self.parameters, x, x)
        covariance, _ = self._covariance(self.parameters, kernels, real)
        self.factor, self._root = torch.linalg.cholesky(covariance), None
        solved = torch.cholesky_solve(torch.stack([y, real.expand_as(y)], 2), self.factor)
        self.constant = (y * solved[:, :, 1]).sum(1) / (real * solved[:, :, 1]).sum(1)
        self.weights = solved[:, :, 0] - self.constant[:, None] * solved[:, :, 1]

    @property
    def root(self) -> Tensor:
        """Inverse of the Cholesky factor of the labels' covariance, `[R, n, n]`."""
        if self._root is None:
            size = self.factor.shape[1]
            eye = torch.eye(size, dtype=self.factor.dtype, device=self.factor.device)
            self._root = torch.linalg.solve_triangular(
                self.factor, eye.expand_as(self.factor), upper=False
            )
        return self._root

    def predict(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [self.predict_run(run, vectors) for run in range(len(self.inputs))]
        return torch.stack([m for m, _ in pairs]), torch.stack([s for _, s in pairs])

    def predict_run(self, run: int, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of N cells under one model, `[N]` each."""
        prior = self._amplitudes(self._of(run)).sum()
        means, variances = [], []
        for part in vectors.split(self.chunk):
            cross = self._cross(run, part)  # [m, n]
            means.append(cross @ self.weights[run])
            along = cross @ self.root[run].T
            variances.append(prior - along.square().sum(1))
        mean = (torch.cat(means) + self.constant[run]) * self.scale[run] + self.centre[run]
        return mean, torch.cat(variances).clamp(min=1e-12).sqrt() * self.scale[run]

    def predict_mean_run(self, run: int, vectors: Tensor) -> Tensor:
        """Mean of N cells under one model, `[N]`; linear in the labels where a deviation is not."""
        parts = [self._cross(run, part) @ self.weights[run] for part in vectors.split(self.chunk)]
        return (torch.cat(parts) + self.constant[run]) * self.scale[run] + self.centre[run]

    def sample_run(
        self, run: int, vectors: Tensor, rng: np.random.Generator, *, functions: int = 512
    ) -> Tensor:
        """One function drawn from the posterior, at all N cells jointly, `[N]`.

        Matheron's rule (Wilson et al., 2020, "Efficiently Sampling Functions from Gaussian Process
        Posteriors", Eq. 13): a draw from the prior, moved by what it lacks of the labels. The prior
        is a sum of random cosines (Rahimi and Recht, 2007) in float32, the only approximation; its
        covariance is off by about the inverse root of their number.

        Args:
            run: Which model.
            vectors: `[N, D]`.
            rng: Source of randomness.
            functions: Random cosines of each block.
        """
        theta = self._of(run)
        lengths, amplitude = self._lengths(theta)[0], self._amplitudes(theta)[0]

        def put(drawn: np.ndarray) -> Tensor:
            return torch.from_numpy(drawn).to(self.inputs.device)

        cosines = []
        for block, part in enumerate(self._slices):
            width = part.stop - part.start
            frequency = rng.standard_normal((width, functions))
            if self.kernel == "matern":  # its spectrum is Student's t with 5 degrees of freedom
                frequency /= np.sqrt(rng.chisquare(5, functions) / 5)
            phase = put(rng.uniform(0, 2 * math.pi, functions))
            weight = put(rng.standard_normal(functions))
            weight = weight * (2 * amplitude[block] / functions).sqrt()
            speed = put(frequency) / lengths[part][:, None]
            cosines.append((part, speed, phase, weight))

        def prior(points: Tensor) -> Tensor:
            points = points.float()
            drawn = [
                (points[:, part] @ speed.float()).add_(phase.float()).cos_() @ weight.float()
                for part, speed, phase, weight in cosines
            ]
            return torch.stack(drawn).sum(0).double()

        noise = put(rng.standard_normal(self.count))
        known = self.inputs[run, : self.count]
        lacking = self.targets[run].clone()
        lacking[: self.count] -= self.constant[run] + prior(known)
        lacking[: self.count] -= noise * theta[0, self._scales].exp().sqrt()
        update = self.root[run].T @ (self.root[run] @ lacking)
        drawn = [
            prior(part) + self._cross(run, part) @ update for part in vectors.split(self.chunk)
        ]
        return (torch.cat(drawn) + self.constant[run]) * self.scale[run] + self.centre[run]

    def _of(self, run: int) -> Tensor:
        assert self.parameters is not None
        return self.parameters[run : run + 1]

    def _cross(self, run: int, part: Tensor) -> Tensor:
        """Covariance of some cells with the labelled ones, `[m, n]`; 0 where padded."""
        theta = self._of(run)
        kernels, _ = self._kernels(theta, part.double()[None], self.inputs[run : run + 1])
        amplitude = self._amplitudes(theta)[0]
        cross = sum(
            (part[0] * amplitude[n] for n, part in enumerate(kernels)),
            start=torch.zeros_like(kernels[0][0]),
        )
        return cross * self.real


def _kappa(kernel: str, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel of squared distances, and its derivative by them."""
    if kernel == "rbf":
        value = (squares * -0.5).exp()
        return value, value * -0.5
    far = (squares * 5).sqrt()
    fading = (-far).exp()
    return (1 + far + squares * (5 / 3)) * fading, (1 + far) * fading * (-5 / 6)


def _padded(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs and labels filled up to whole registers, and which of them are real, `[n]`."""
    count = y.shape[1]
    more = -count % _REGISTER
    real = torch.zeros(count + more, dtype=y.dtype, device=y.device)
    real[:count] = 1
    pad = torch.nn.functional.pad
    return pad(x, (0, 0, 0, more)).contiguous(), pad(y, (0, more)).contiguous(), real


def _explained(inverse: Tensor, y: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Labels less the likeliest constant, and `K^-1` times these, `[R, n]` each."""
    column = (inverse * real).sum(2) * real
    constant = (column * y).sum(1) / column.sum(1)
    residual = (y - constant[:, None]) * real
    return residual, (inverse * residual[:, None, :]).sum(2)

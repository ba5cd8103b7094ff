"""DNGO (Snoek et al., 2015): Bayesian linear regression on the hidden units of a small network.

R regressions at a time, each on its own data and independent of the others to the bit: the products
are one per run, everything else is elementwise, and arrays are laid out so that no element changes
its vector lane with the number of runs.

    features x  -> tanh(W x + b) = phi, trained by Adam on squared errors     `train`
    phi, values -> precisions alpha of weights and beta of noise, mean, S     `regress`
    mean m(x) = mean . phi,  variance s^2(x) = 1 / beta + phi' S phi         Eq. 3-4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LANES = 16
"""Numbers in the widest vector register; a row of so many is never split by another run's data."""


@dataclass(frozen=True)
class Network:
    """R networks with one hidden layer; the output layer is left to the regression.

    Attributes:
        weight: `[R, D + 1, H]`; the last row is the bias.
        centre: Of the inputs, `[R, D]`.
        scale: Of the inputs, `[R, D]`; 1 where an input is constant.
    """

    weight: Tensor
    centre: Tensor
    scale: Tensor

    def folded(self) -> Tensor:
        """Weights for inputs as they come, with a one behind them, `[R, D + 1, H]`."""
        weight = self.weight[:, :-1] / self.scale[:, :, None]
        bias = self.weight[:, -1:] - (self.centre[:, :, None] * weight).sum(1, keepdim=True)
        return torch.cat([weight, bias], 1)


def train(
    features: Tensor,
    values: Tensor,
    rngs: Sequence[np.random.Generator],
    *,
    hidden: int = 128,
    epochs: int = 100,
    batch_size: int = 10,
    learning_rate: float = 1e-2,
) -> Network:
    """Train R networks with tanh units and a linear output on squared errors, all from scratch.

    As in the published DNGO code: Adam, batches drawn anew every epoch, an incomplete last batch
    dropped, inputs standardised on the data.

    Args:
        features: `[R, n, D]` of float32.
        values: `[R, n]` of float32.
        rngs: One a run; draws initial weights and the order of batches.
        hidden: Hidden units H, a multiple of 16.
        epochs: Passes over the data.
        batch_size: Data in one step; all of them if there are fewer.
        learning_rate: Of Adam.
    """
    runs, count, width = features.shape
    device = features.device
    centre, scale = _standard(features)
    ones = torch.ones(runs, count, 1, device=device)
    inputs = torch.cat([(features - centre[:, None]) / scale[:, None], ones], 2)
    weight, out, bias = _initial(rngs, width + 1, hidden, device)
    gradients = [torch.zeros_like(part) for part in (weight, out, bias)]
    for part, gradient in zip((weight, out, bias), gradients, strict=True):
        part.grad = gradient
    adam = torch.optim.Adam([weight, out, bias], lr=learning_rate, fused=True)
    size = min(batch_size, count)
    steps = count // size
    shuffled = np.stack([_orders(rng, epochs, count) for rng in rngs], 1)  # [epochs, R, n]
    order = torch.from_numpy(shuffled[:, :, : steps * size].copy()).to(device)

    units = torch.empty(runs, size, hidden, device=device)
    work = torch.empty_like(units)
    error = torch.empty(runs, size, 1, device=device)
    row = torch.arange(runs, device=device)[:, None]
    for epoch in range(epochs):
        drawn = order[epoch]
        batches = inputs[row, drawn].view(runs, steps, size, width + 1).transpose(0, 1).contiguous()
        targets = values[row, drawn].view(runs, steps, size, 1).transpose(0, 1).contiguous()
        for batch, target in zip(batches, targets, strict=True):
            # Written out: an autograd graph of so small a step would cost several times the step.
            torch.bmm(batch, weight, out=units)
            units.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh; torch's own takes ten times as long
            torch.mul(units, out, out=work)
            torch.sum(work, 2, keepdim=True, out=error)
            error.add_(bias[:, :, :1]).sub_(target).mul_(2 / size)
            torch.mul(units, error, out=work)
            torch.sum(work, 1, keepdim=True, out=gradients[1])
            gradients[2][:, :, :1] = error.sum(1, keepdim=True)
            torch.mul(error, out, out=work)
            torch.ops.aten.tanh_backward.grad_input(work, units, grad_input=work)
            torch.bmm(batch.transpose(1, 2), work, out=gradients[0])
            adam.step()
    return Network(weight.detach(), centre, scale)


def _standard(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the data, `[R, D]` each; 1 for a constant input."""
    centre = features.mean(1)
    scale = (features - centre[:, None]).square().mean(1).sqrt()
    return centre, torch.where(scale > 1e-8, scale, torch.ones_like(scale))


def _initial(
    rngs: Sequence[np.random.Generator], fan_in: int, hidden: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights as torch's linear layers draw them: uniform within the root of the inputs' number.

    Returns:
        `[R, fan_in, H]` with the bias among the inputs, `[R, 1, H]`, and the output's bias
        `[R, 1, 16]`, of which the first number counts: a row of its own keeps others' lanes apart.
    """
    drawn = np.stack([rng.uniform(-1, 1, (fan_in + 1) * hidden + 1) for rng in rngs])
    values = torch.from_numpy(drawn.astype(np.float32)).to(device)
    runs = len(rngs)
    weight = values[:, : fan_in * hidden].reshape(runs, fan_in, hidden) / (fan_in - 1) ** 0.5
    out = values[:, fan_in * hidden : -1].reshape(runs, 1, hidden) / hidden**0.5
    bias = torch.zeros(runs, 1, LANES, device=device)
    bias[:, 0, 0] = values[:, -1] / hidden**0.5
    return weight.contiguous(), out.contiguous(), bias


def _orders(rng: np.random.Generator, epochs: int, count: int) -> np.ndarray:
    return rng.permuted(np.tile(np.arange(count, dtype=np.int32), (epochs, 1)), axis=1)


# Bayesian linear regression -----------------------------------------------------------------------


@dataclass(frozen=True)
class BayesianRegression:
    """R posteriors over linear weights of H basis functions, in float64.

    Attributes:
        mean: `[R, H]`.
        basis: Orthonormal directions in columns, `[R, H, H]`, those the data know best first.
        spread: Variance of the weights along each of them, ascending, `[R, H]`.
        noise: Variance of the noise, `[R]`.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor
    noise: Tensor

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four, in their order."""
        return self.mean, self.basis, self.spread, self.noise

    def predict(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, noise included, `[R, M]` each, for basis functions `[R, M, H]`."""
        mean = (units * self.mean[:, None]).sum(2)
        along = torch.bmm(units, self.basis)
        variance = self.noise[:, None] + (along.square() * self.spread[:, None]).sum(2)
        return mean, variance.sqrt()


Precisions = Callable[[Tensor, Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
"""Chooses alpha and beta, `[R]` each, from eigenvalues `[R, H]` of Phi'Phi, the projections of
Phi'y on its eigenvectors `[R, H]`, y'y `[R]`, n and H."""


def regress(
    units: Tensor, values: Tensor, precisions: Precisions | None = None
) -> BayesianRegression:
    """Posterior of a Bayesian linear regression without intercept.

    Bishop (2006), Eq. 3.53-3.54: `S = (alpha I + beta Phi'Phi)^-1`, `m = beta S Phi'y`.

    Args:
        units: Basis functions of the data, `[R, n, H]`.
        values: `[R, n]`.
        precisions: How to choose alpha and beta; by default `largest_evidence`.
    """
    units, values = units.double(), values.double()
    count = units.shape[1]
    gram = torch.bmm(units.transpose(1, 2), units)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.flip(1).clamp(min=0)
    vectors = vectors.flip(2)
    along = (vectors * (units * values[..., None]).sum(1)[:, :, None]).sum(1)
    choose = precisions or largest_evidence
    alpha, beta = choose(eigenvalues, along, values.square().sum(1), count, units.shape[2])
    spread = 1 / (beta[:, None] * eigenvalues + alpha[:, None])
    weights = beta[:, None] * spread * along
    return BayesianRegression(
        mean=(vectors * weights[:, None]).sum(2), basis=vectors, spread=spread, noise=1 / beta
    )


def largest_evidence(
    eigenvalues: Tensor, along: Tensor, total: Tensor, count: int, hidden: int
) -> tuple[Tensor, Tensor]:
    """Precisions that maximise the evidence (Bishop, 2006, Eq. 3.86).

    For a given ratio r = alpha / beta the best beta is `n / (y'y - sum_i a_i^2 / (l_i + r))`, so
    that one number is left to search for: over a grid of its logarithm, then by bisection of the
    best interval. Values are expected in units of their deviation: noise is not taken to be less
    than a thousandth of it, which a network that interpolates its data would suggest.
    """
    floor = (total * 1e-6).clamp(min=1e-12)  # values may all be equal

    def evidence(log_ratio: Tensor) -> Tensor:  # [R, G] -> [R, G]
        ratio = log_ratio.exp()[..., None]
        shrunk = eigenvalues[:, None] + ratio
        rest = total[:, None] - (along.square()[:, None] / shrunk).sum(2)
        rest = torch.maximum(rest, floor[:, None])
        return -count * rest.log() / 2 + (ratio.log() - shrunk.log()).sum(2) / 2

    grid = torch.linspace(-16, 8, 49, dtype=total.dtype, device=total.device)
    grid = grid.expand(len(total), -1)
    best = evidence(grid).argmax(1, keepdim=True)
    step = (grid[:, 1] - grid[:, 0])[:, None]
    middle = grid.gather(1, best)
    for _ in range(20):
        step = step / 2
        three = torch.cat([middle - step, middle, middle + step], 1)
        middle = three.gather(1, evidence(three).argmax(1, keepdim=True))
    ratio = middle[:, 0].exp()
    rest = total - (along.square() / (eigenvalues + ratio[:, None])).sum(1)
    beta = count / torch.maximum(rest, floor)
    return ratio * beta, beta


# The best of many candidates ----------------------------------------------------------------------

Score = Callable[[Tensor, Tensor], Tensor]
"""Acquisition of a mean and a standard deviation; grows with either."""


class Scorer:
    """Finds the candidates that score best, over all of them, without computing all exactly.

    Means in float32 and upper bounds of the deviations, from products in bfloat16 where the
    processor is fast at them, rule out every candidate whose score would not reach the k-th best
    exact score of a first guess. The few that are left are computed in float64. The result is that
    of computing everything in float64.

    Args:
        features: Vectors of all N candidates, `[N, D]`.
        classes: Label of each, `[N]`: of candidates with one label only the best is found.
        device: Where to compute.
        chunk: Candidates at a time, so that their basis functions stay in the cache.
        half: Whether bounds are computed in bfloat16; `None` where that is faster.
    """

    def __init__(
        self,
        features: np.ndarray,
        classes: np.ndarray,
        device: str | torch.device = "cpu",
        *,
        chunk: int = 2048,
        half: bool | None = None,
    ) -> None:
        vectors = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
        self.inputs = torch.cat([vectors, torch.ones(len(vectors), 1, device=device)], 1)
        self.classes, self.chunk = classes, chunk
        self.half = _fast_in_bfloat16(self.inputs.device) if half is None else half
        self.exactly = 0
        """Candidates that had to be scored exactly so far."""

    def best(
        self,
        network: Network,
        regression: BayesianRegression,
        score: Sequence[Score],
        excluded: np.ndarray | None,
        count: int,
    ) -> np.ndarray:
        """Rows of the best candidates of each run, best first, `[R, count]`.

        Args:
            network: R networks.
            regression: Their regressions.
            score: One a run.
            excluded: Candidates that may not be chosen, `[R, N]` of bool.
            count: How many; if fewer may be chosen, they are repeated.
        """
        folded = network.folded()
        found = [
            self._best(
                _Posterior(folded[run], *(part[run] for part in regression.parts())),
                score[run],
                None if excluded is None else excluded[run],
                count,
            )
            for run in range(len(folded))
        ]
        return np.stack(found)

    def _best(
        self, posterior: _Posterior, score: Score, excluded: np.ndarray | None, count: int
    ) -> np.ndarray:
        mean, bound = self._bounds(posterior)
        allowed = len(mean)
        if excluded is not None:
            allowed -= int(excluded.sum())
            if not allowed:
                return np.flatnonzero(excluded)[:1].repeat(count)
            mean[torch.from_numpy(excluded).to(mean.device)] = -torch.inf
        first = torch.topk(mean + bound, min(allowed, max(32, 8 * count))).indices
        exact = score(*posterior.exact(self.inputs[first]))
        leaders = self._leaders(first, exact, count)
        slack = 1e-4 * (1 + mean[first].abs().max())  # rounding of float32 must not hide one
        if len(leaders) == count:
            least = exact[leaders[-1]]
            enough = _least_mean(least, bound.max().double(), score) - slack
            rows = torch.nonzero(mean >= enough)[:, 0]
            rows = rows[score((mean[rows] + slack).double(), bound[rows].double()) >= least]
        else:  # too few labels among them to know anything
            rows = torch.nonzero(mean > -torch.inf)[:, 0]
        self.exactly += len(rows)
        exact = score(*posterior.exact(self.inputs[rows]))
        chosen = rows[self._leaders(rows, exact, count)]
        return np.resize(chosen.cpu().numpy(), count)

    def _leaders(self, rows: Tensor, scores: Tensor, count: int) -> Tensor:
        """Places of the best of each label, best first, at most `count`."""
        order = scores.sort(descending=True, stable=True).indices
        labels = self.classes[rows[order].cpu().numpy()]
        first = np.sort(np.unique(labels, return_index=True)[1])[:count]
        return order[torch.from_numpy(first).to(order.device)]

    def _bounds(self, posterior: _Posterior) -> tuple[Tensor, Tensor]:
        """Means of all candidates and upper bounds of their standard deviations, `[N]` each.

        The variance is the squared length of `root' phi`, with `root root' = S`. In bfloat16 each
        factor is off by 2^-9 of itself at most, so that the length is off by at most 2^-8 times
        |phi| times the root of the trace of S (Cauchy-Schwarz), and by 2^-9 of itself once more.
        """
        weight, probe = 2 * posterior.weight, posterior.mean.float()
        root = (posterior.basis * posterior.spread.sqrt()).float()
        error = 1.01 * 2**-8 * float(posterior.spread.sum().sqrt())
        kind = torch.bfloat16 if self.half else torch.float32
        root = root.to(kind)
        mean = torch.empty(len(self.inputs), device=weight.device)
        bound = torch.empty_like(mean)
        units = torch.empty(self.chunk, weight.shape[1], device=weight.device)
        for start in range(0, len(self.inputs), self.chunk):
            part = slice(start, start + self.chunk)
            out = units[: len(mean[part])]
            torch.mm(self.inputs[part], weight, out=out)
            out.sigmoid_().mul_(2).sub_(1)  # tanh, see `train`
            torch.mv(out, probe, out=mean[part])
            along = torch.mm(out.to(kind), root).float()
            torch.linalg.vector_norm(along, dim=1, out=bound[part])
            if self.half:
                length = torch.linalg.vector_norm(out, dim=1)
                bound[part].mul_(1 + 2**-8).add_(length, alpha=error)
        bound.mul_(1 + 1e-3)  # rounding of float32
        return mean, bound.square_().add_(posterior.noise.float()).sqrt_()


def _fast_in_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 have instructions of their own here."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@dataclass(frozen=True)
class _Posterior:
    """One run: weights of the units `[D + 1, H]`, and its part of a `BayesianRegression`."""

    weight: Tensor
    mean: Tensor
    basis: Tensor
    spread: Tensor
    noise: Tensor

    def exact(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in float64, `[M]` each; sums do not depend on M."""
        weight, means, variances = self.weight.double(), [], []
        for part in inputs.double().split(64):
            units = (part[:, :, None] * weight).sum(1).tanh()
            means.append((units * self.mean).sum(1))
            along = (units[:, :, None] * self.basis).sum(1)
            variances.append((along.square() * self.spread).sum(1))
        return torch.cat(means), (torch.cat(variances) + self.noise).sqrt()


def _least_mean(least: Tensor, bound: Tensor, score: Score) -> float:
    """A mean below which no candidate scores `least`, if none is less certain than `bound`."""
    low, high = -1e3, 1e3
    for _ in range(6):  # one score of 65 means costs hardly more than of one
        means = torch.linspace(low, high, 65, dtype=least.dtype, device=least.device)
        below = int((score(means, bound) < least).sum())
        low, high = float(means[max(below - 1, 0)]), float(means[min(below, 64)])
    return low

"""DNGO as a model of BoTorch, for its acquisition functions and optimisers over embeddings.

    units phi(x) = tanh(W x + b), weights w ~ N(m, S), value f(x) = w . phi(x)

The posterior of f is that of `archrep.strategies.dngo`, joint over points and differentiable.
"""

from __future__ import annotations

from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.distributions import MultivariateNormal
from linear_operator import to_linear_operator
from torch import Tensor

from archrep.errors import ConfigError, ShapeError
from archrep.predictors.adaptive_basis import regress, train
from archrep.seeding import numpy_stream

_LARGEST = 1e15  # float32 is far from its end in sums of squares


class DngoModel(Model):
    """Bayesian linear regression on the hidden units of a network, fitted when it is made.

    Snoek et al. (2015), with precisions of weights and noise that maximise the evidence. It costs
    as much with 1,000 data as with 10, apart from the fit. Inputs and values are standardised
    inside; a posterior comes in the unit of the values.

    Unlike the strategy `dngo`, BoTorch's acquisition functions ask for the uncertainty of f and
    leave out the noise of a single measurement; pass `observation_noise=True` for both. It cannot
    be conditioned on fantasies, which knowledge gradients ask for: its units are fitted to data.

    Args:
        train_X: Embeddings of the cells with known values, `[n, D]`.
        train_Y: What they scored, `[n, 1]`; larger is better.
        seed: Fixes initial weights and the order of batches.
        hidden: Hidden units H, a multiple of 16.
        epochs: Passes over the data.
        batch_size: Data in one step of Adam.
        learning_rate: Of Adam.

    Raises:
        ShapeError: Data are no tensors, of other shapes, or not finite.
        ConfigError: A setting is impossible.

    Example:
        >>> inputs = torch.rand(20, 3, dtype=torch.float64)
        >>> model = DngoModel(inputs, inputs.sum(1, keepdim=True))
        >>> model.posterior(inputs[:5]).mean.shape
        torch.Size([5, 1])
    """

    _inputs: int
    weight: Tensor
    mean: Tensor
    root: Tensor
    noise: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        *,
        seed: int = 0,
        hidden: int = 128,
        epochs: int = 100,
        batch_size: int = 10,
        learning_rate: float = 1e-2,
    ) -> None:
        super().__init__()
        _check_tensor("train_X", train_X)
        _check_tensor("train_Y", train_Y)
        if train_X.ndim != 2 or train_Y.shape != (len(train_X), 1) or not len(train_X):
            raise ShapeError(
                "`train_X` must be [n, D] and `train_Y` [n, 1]. "
                f"Got {tuple(train_X.shape)} and {tuple(train_Y.shape)}."
            )
        if not all((data.abs() < _LARGEST).all() for data in (train_X, train_Y)):
            raise ShapeError(
                f"`train_X` and `train_Y` must be finite, and smaller than {_LARGEST:.0e}. Got a "
                "NaN, an infinity or a larger number."
            )
        whole = all(isinstance(value, int) for value in (seed, hidden, epochs, batch_size))
        if (
            not whole
            or min(hidden, epochs, batch_size) < 1
            or (seed < 0 or hidden % 16)
            or not 0 < learning_rate <= 10
        ):
            raise ConfigError(
                "`hidden` must be a positive multiple of 16, `epochs` and `batch_size` at least 1, "
                "`seed` not negative, all of them whole numbers, and `learning_rate` positive, at "
                f"most 10. Got {hidden}, {epochs}, {batch_size}, {seed}, {learning_rate}."
            )
        inputs, values = train_X.detach()[None], train_Y.detach()[None, :, 0].double()
        centre = values.mean()
        scale = (values - centre).square().mean().sqrt().clamp(min=1e-8)
        targets = (values - centre) / scale
        network = train(
            inputs.float(),
            targets.float(),
            [numpy_stream(seed, "botorch/dngo")],
            hidden=hidden,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
        self._inputs = train_X.shape[1]
        self.register_buffer("weight", network.folded()[0].double())
        posterior = regress(self._units(train_X.detach())[None], targets)
        self.register_buffer("mean", posterior.mean[0])
        # S = root root'
        self.register_buffer("root", posterior.basis[0] * posterior.spread[0].sqrt())
        self.register_buffer("noise", posterior.noise[0])
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)

    @property
    def num_outputs(self) -> int:
        """One value."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """One model."""
        return torch.Size()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **kwargs: Any,
    ) -> Posterior:
        """Joint distribution of the values of q points, in the unit of the values.

        Args:
            X: Embeddings, `[..., q, D]`.
            output_indices: BoTorch's; there is one output.
            observation_noise: Whether to add the noise of a measurement.
            posterior_transform: BoTorch's.
            **kwargs: None; the interface of BoTorch has them.

        Returns:
            A normal distribution, means and variances `[..., q, 1]`.

        Raises:
            ShapeError: `X` is no tensor, of another shape, or not finite.
            ConfigError: Noise is given as a tensor, or another output is asked for.
        """
        _check_tensor("X", X)
        if X.ndim < 2 or X.shape[-1] != self._inputs:
            raise ShapeError(f"`X` must be [..., q, {self._inputs}]. Got {tuple(X.shape)}.")
        if not X.isfinite().all():
            raise ShapeError("`X` must be finite. Got a NaN or an infinity.")
        if not isinstance(observation_noise, bool):
            raise ConfigError(
                "`observation_noise` must be True or False, since this model infers the noise. "
                f"Got {type(observation_noise).__name__}."
            )
        if output_indices not in (None, [0]):
            raise ConfigError(f"`output_indices` must be [0]. Got {output_indices}.")
        units = self._units(X)
        along = units @ self.root
        covariance = along @ along.mT
        if observation_noise:
            covariance = covariance + self.noise * torch.eye(X.shape[-2]).to(covariance)
        mean = self.centre + self.scale * (units @ self.mean)
        # Lazy: equal points have a singular covariance, which is decomposed with jitter if at all.
        joint = to_linear_operator((self.scale.square() * covariance).to(X))
        posterior = GPyTorchPosterior(MultivariateNormal(mean.to(X), joint))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _units(self, inputs: Tensor) -> Tensor:
        """Hidden units `[..., H]`, in float64."""
        return (inputs.double() @ self.weight[:-1] + self.weight[-1]).tanh()


def _check_tensor(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ShapeError(f"`{name}` must be a tensor of floating-point numbers. Got {kind}.")

from __future__ import annotations

import numpy as np
import pytest
import torch

from archrep.tabulation import ImageData


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_images():
    """160 noisy images of four patterns, 6 x 6 pixels."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    images = 2 * rng.normal(size=(4, 6, 6))[labels] + rng.normal(size=(160, 6, 6))
    return ImageData.from_arrays("toy", images, labels)

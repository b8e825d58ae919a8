"""Real input: the handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits


def digits(size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Load the 1,797 digits of scikit-learn, shuffled.

    Parameters
    ----------
    size : int
        Height and width in pixels; the originals of 8x8 are enlarged bilinearly.
    seed : int
        Of the shuffle.

    Returns
    -------
    images : ndarray of float32, [1797, 1, size, size]
        Zero mean, unit variance over all pixels.
    labels : ndarray of int32, [1797]
        0 to 9.
    """
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images = torch.from_numpy(data.images[order].astype(np.float32))[:, None]
    images = torch.nn.functional.interpolate(images, size=(size, size), mode="bilinear")
    images = (images - images.mean()) / images.std()
    return images.numpy(), data.target[order].astype(np.int32)

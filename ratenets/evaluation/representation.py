"""How a code is spread out."""

from __future__ import annotations

import numpy as np

from ratenets.evaluation.readout import Features


def participation_ratio(features: Features) -> float:
    """Dimensionality of a code (N, M): (sum lambda)^2 / sum lambda^2, lambda the eigenvalues of its covariance.

    Between 1 and min(N - 1, M); NaN for a code that never varies.
    """
    centred = features - features.mean(0)
    gram = centred.T @ centred if features.shape[1] <= features.shape[0] else centred @ centred.T
    size = np.square(gram).sum()
    return float(np.trace(gram) ** 2 / size) if size > 0 else float("nan")

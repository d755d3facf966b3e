"""Every random draw comes from a generator that is passed in, and every generator from one seed and a purpose.

Streams are named, not counted: the views of step 3 in epoch 2 are the same whether the run came there in one go or
was resumed, and adding a draw in one place changes no other.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. ``derive(seed, "views", epoch, step)``."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))

"""Rounding to single precision inside Brian2 code, on every target."""

from __future__ import annotations

import numpy as np
from brian2.core.functions import Function
from numpy.typing import NDArray


def _rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x).astype(np.float32).astype(np.float64)


single = Function(_rounded, arg_units=[1], return_unit=1, arg_names=["x"])
"""single(x): x rounded to float32, as float64."""
single.implementations.add_numpy_implementation(_rounded, discard_units=True)
single.implementations.add_implementation(
    "cython", "cdef double single(double x):\n    cdef float y = <float>x\n    return <double>y\n", name="single"
)
single.implementations.add_implementation(
    "cpp", "static inline double single(const double x) { return (double)(float)x; }", name="single"
)

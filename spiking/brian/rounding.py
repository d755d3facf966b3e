"""Rounding to single precision inside Brian2 code, on every target."""

from __future__ import annotations

import numpy as np
from brian2 import check_units, implementation
from numpy.typing import NDArray


@implementation(  # type: ignore[untyped-decorator]  # brian2 ships no types
    "cython", "cdef double single(double x):\n    cdef float y = <float>x\n    return <double>y\n"
)
@implementation("cpp", "static inline double single(const double x) { return (double)(float)x; }")  # type: ignore[untyped-decorator]
@implementation("numpy", discard_units=True)  # type: ignore[untyped-decorator]  # or each call would check its units
@check_units(x=1, result=1)  # type: ignore[untyped-decorator]  # brian2 ships no types
def single(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """`x` rounded to float32, as float64."""
    return np.asarray(x).astype(np.float32).astype(np.float64)

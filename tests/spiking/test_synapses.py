"""Linear maps: synapse by synapse they are what torch computes; counts, scales and fan-outs are theirs."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn

from foundation.errors import UsageError
from spiking.synapses import (
    AdaptiveAveragePool,
    AveragePool,
    Conv,
    Dense,
    Gain,
    Map,
    Shape,
    count,
    explicit,
    fan_out,
    macs,
    per_unit,
    scaled,
    through,
)
from spiking.torch.integrate_and_fire import module_of


@st.composite
def maps(draw: st.DrawFn) -> tuple[list[Map], Shape]:
    """One map, or a pool and a map, and the shape of what enters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    side = st.integers(3, 7)
    shape: Shape = (2 * draw(st.integers(1, 2)), draw(side), draw(side))
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    found: list[Map] = []
    for pool in draw(st.sampled_from([(), ("average",), ("adaptive",)])):
        kernel = draw(pair)
        average = AveragePool(kernel, draw(pair), (kernel[0] // 2, 0))
        found.append(average if pool == "average" else AdaptiveAveragePool(draw(st.tuples(side, side))))
    below = through(found, shape)[-1]
    kind = draw(st.sampled_from(["dense", "conv", "gain", "none"]))
    if kind == "dense":
        found.append(Dense(rng.normal(size=(3, math.prod(below)))))
    elif kind == "conv":
        groups = draw(st.sampled_from([1, 2]))
        kernel = draw(pair)
        weight = rng.normal(size=(4, below[0] // groups, *kernel))
        padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        dilation = (1, 1) if min(below[1:]) < 3 else draw(pair)
        found.append(Conv(weight, draw(pair), padding, dilation, groups))
    elif kind == "gain" or not found:
        found.append(Gain(rng.normal(size=below[0])))
    try:
        through(found, shape)
    except UsageError:  # a window larger than the map
        reject()
    return found, shape


def in_torch(found: Sequence[Map], x: np.ndarray) -> np.ndarray:
    modules = nn.Sequential(*(module_of(each, torch.float64) for each in found))
    return np.asarray(modules(torch.from_numpy(x)[None]).detach().numpy()[0])


@given(maps(), st.integers(0, 100))
@settings(max_examples=150, deadline=None)
def test_synapses_do_what_torch_computes(of: tuple[list[Map], Shape], seed: int) -> None:
    found, shape = of
    x = np.random.default_rng(seed).normal(size=shape)
    expected = in_torch(found, x)
    above = through(found, shape)[-1]
    assert expected.shape == above
    pre, post, weight = explicit(found, shape)
    got = np.bincount(post, weight * x.ravel()[pre], minlength=math.prod(above))
    np.testing.assert_allclose(got.reshape(above), expected, atol=1e-12)


@given(maps())
@settings(max_examples=100, deadline=None)
def test_counts_and_fan_outs_are_those_of_the_synapses(of: tuple[list[Map], Shape]) -> None:
    found, shape = of
    synapses = explicit(found, shape)
    outs = fan_out(found, shape)
    assert outs.shape == (math.prod(shape),)
    if len(found) == 1:
        assert count(found, shape) == len(synapses.pre)
        if not isinstance(found[0], AdaptiveAveragePool):
            np.testing.assert_array_equal(outs, np.bincount(synapses.pre, minlength=math.prod(shape)))
    else:
        assert count(found, shape) >= len(synapses.pre)
    assert outs.sum() == pytest.approx(count(found, shape))


@given(maps(), st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_scales_move_into_the_weights(of: tuple[list[Map], Shape], seed: int) -> None:
    found, shape = of
    rng = np.random.default_rng(seed)
    above = through(found, shape)[-1]
    below_scale, above_scale = rng.uniform(0.5, 2, shape[0]), rng.uniform(0.5, 2, above[0])
    x = rng.normal(size=shape)
    changed = scaled(found, below_scale, above_scale, shape)
    assert through(changed, shape)[-1] == above
    got = in_torch(changed, x / per_unit(below_scale, shape).reshape(shape))
    if not any(isinstance(each, Dense | Conv | Gain) for each in found):
        # A pool alone: channels stay channels, and a Gain brings the scales.
        assert isinstance(changed[-1], Gain)
    np.testing.assert_allclose(got * per_unit(above_scale, above).reshape(above), in_torch(found, x), atol=1e-12)


def test_multiplications_by_hand() -> None:
    assert macs([Dense(np.ones((3, 18)))], (2, 3, 3)) == 54
    assert macs([Conv(np.ones((4, 2, 3, 3)), padding=(1, 1))], (2, 5, 5)) == 4 * 2 * 9 * 25
    assert macs([AveragePool((2, 2), (2, 2)), Dense(np.ones((3, 2)))], (2, 3, 3)) == 6


def test_synapses_of_weight_zero_are_left_out() -> None:
    assert len(explicit([Dense(np.array([[1.0, 0.0], [0.0, 2.0]]))], (2,)).pre) == 2


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Dense(np.ones(3)), "Dense: needs weights in 2 dimensions"),
        (lambda: Dense(np.full((1, 1), np.nan)), "Dense: weights must be finite"),
        (lambda: Conv(np.ones((3, 2, 1, 1)), groups=2), "Conv: groups must divide 3 channels, got 2"),
        (lambda: Conv(np.ones((1, 1, 1, 1)), stride=(0, 1)), "Conv: stride must be two whole numbers of at least 1"),
        (lambda: AveragePool((2, 2), (2, 2), (2, 0)), "AveragePool: padding must be at most half"),
        (lambda: AdaptiveAveragePool((0, 1)), "AdaptiveAveragePool: size must be"),
        (lambda: Dense(np.ones((1, 4))).above((1, 3, 3)), "Dense: takes 4 inputs, got 9"),
        (lambda: Conv(np.ones((1, 2, 1, 1))).above((3, 4, 4)), "Conv: takes 2 channels, got 3"),
        (lambda: Conv(np.ones((1, 1, 5, 5))).above((1, 4, 4)), r"Conv: the window \(5, 5\) is larger"),
        (lambda: AveragePool((2, 2), (2, 2)).above((4,)), r"AveragePool: takes maps \(C, H, W\), got \(4,\)"),
        (lambda: Gain(np.ones(2)).above((3, 1, 1)), "Gain: has 2 factors for 3 channels"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, complaint: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match=complaint):
        make()

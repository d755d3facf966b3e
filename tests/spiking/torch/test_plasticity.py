"""The window forms of three-factor plasticity against stepping every synapse, over windows that hand on their state."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking.parameters import LPLSynapse
from spiking.rule import Cascade, PostsynapticSignal, ThreeFactorRule, WeightUpdate, lpl, super_spike
from spiking.torch.plasticity import (
    Backward,
    Carried,
    Coefficients,
    Eligibility,
    Events,
    Presynaptic,
    Synapses,
    add_at,
    event_form,
    product_form,
)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4}
LPL = Coefficients.of(lpl(LPLSynapse(), 1e-4), 1e-4)
SUPER_SPIKE = Coefficients.of(super_spike(), 1e-4)


def coefficients(psi: tuple[float, float], epsilon: tuple[float, float]) -> Coefficients:
    """With time constants in steps."""
    signal, update = PostsynapticSignal("s_now", Cascade(2.0, 2.0)), WeightUpdate(1.0, 10.0)
    return Coefficients.of(ThreeFactorRule(Cascade(*psi), "u", Cascade(*epsilon), signal, update), 1.0)


def taus(least: float) -> st.SearchStrategy[float]:
    """Log-uniform, in steps."""
    return st.floats(np.log(least), np.log(1000.0)).map(lambda x: max(least, float(np.exp(x))))


ANY_COEFFICIENTS = st.one_of(
    st.sampled_from([LPL, SUPER_SPIKE]),
    st.builds(coefficients, st.tuples(taus(0.5), taus(1.0)), st.tuples(taus(0.5), taus(1.0))),
)


class Case(NamedTuple):
    """What the synapses of some windows see, and the state that they start from."""

    k: Coefficients
    synapses: Synapses
    windows: Sequence[int]  # steps
    alignment: int
    arrived: Tensor  # (steps, lines), 0 or 1
    f: Tensor  # (steps, units)
    e: Tensor
    before: Carried


def draw(
    k: Coefficients,
    windows: Sequence[int],
    *,
    lines: int,
    units: int,
    density: float = 0.5,
    alignment: int = 0,
    rate: float = 0.1,
    signed: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Case:
    rng = np.random.default_rng(seed)
    pre, post = np.nonzero(rng.random((lines, units)) < density)
    steps = sum(windows)
    f, e = rng.uniform(-1.0 if signed else 0.0, 1.0, (2, steps, units))
    pending = np.nonzero(rng.random((alignment, lines)) < rate)

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    def index(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=device)

    trace, psp, el, el_flt = (tensor(rng.random(size)) for size in (lines, lines, pre.size, pre.size))
    before = Carried(trace, psp, el, el_flt, Events(index(pending[1]), index(pending[0])))
    synapses = Synapses(index(pre), index(post), lines, units)
    arrived = tensor(rng.random((steps, lines)) < rate)
    return Case(k, synapses, windows, alignment, arrived, tensor(f), tensor(e), before)


def in_absolute_values(case: Case) -> Case:
    """Nothing cancels in it: what rounding errors are measured by."""
    return case._replace(f=case.f.abs(), e=case.e.abs())


def in_double(case: Case) -> Case:
    trace, psp, el, el_flt = (value.double() for value in case.before[:4])
    before = Carried(trace, psp, el, el_flt, case.before.pending)
    return case._replace(arrived=case.arrived.double(), f=case.f.double(), e=case.e.double(), before=before)


def stepped(case: Case) -> list[tuple[Tensor, ...]]:
    """Total, trace, psp, el and el_flt after every window, each synapse stepped."""
    pre, post = case.synapses.pre, case.synapses.post
    waiting = case.arrived.new_zeros(case.alignment, case.synapses.lines)
    waiting[case.before.pending.step, case.before.pending.line] = 1
    effective = torch.cat([waiting, case.arrived])
    inputs = Presynaptic(case.before.trace, case.before.psp)
    state = Eligibility(case.before.el, case.before.el_flt, torch.zeros_like(case.before.el))
    found: list[tuple[Tensor, ...]] = []
    n = 0
    for steps in case.windows:
        state = state._replace(total=torch.zeros_like(state.total))
        for _ in range(steps):
            state = state.step(inputs.psp[pre] * case.f[n][post], case.e[n][post], case.k)
            inputs = inputs.step(effective[n], case.k)
            n += 1
        found.append((state.total, *inputs, state.el, state.el_flt))
    return found


def events_of(raster: Tensor) -> Events:
    """By line, then by step: a batch hands them over network by network, not in the order of time."""
    line, step = torch.nonzero(raster.T, as_tuple=True)
    return Events(line, step)


def in_event_form(case: Case, block: int = 32, *, in_place: bool = False) -> tuple[list[tuple[Tensor, ...]], Events]:
    """The same, and what is pending at the end."""
    backward, carried = Backward(case.k, case.f, block), case.before
    found: list[tuple[Tensor, ...]] = []
    n = 0
    for steps in case.windows:
        part = slice(n, n + steps)
        e = case.e[part].clone()
        total, carried = event_form(
            case.synapses,
            events_of(case.arrived[part]),
            case.f[part],
            e,
            carried,
            backward,
            alignment=case.alignment,
            out=e if in_place else None,
        )
        if not in_place:
            assert torch.equal(e, case.e[part])
        found.append((total, *carried[:4]))
        n += steps
    return found, carried.pending


def assert_close(
    ours: list[tuple[Tensor, ...]], expected: list[tuple[Tensor, ...]], scale: list[tuple[Tensor, ...]], limit: float
) -> None:
    """By at most `limit` times what there is if nothing cancels.

    In float64 that of the same number, but for those that have all but faded: they are 1e-20 or less, and hold fewer
    digits (explicit stepping, too: psp + b (tr - psp) loses them at b = 1).
    """
    for name, *windows in zip(
        ("total", "trace", "psp", "el", "el_flt"),
        *(zip(*each, strict=True) for each in (ours, expected, scale)),
        strict=True,
    ):
        largest = max(float(z.abs().max()) if z.numel() else 0.0 for z in windows[2])
        for window, (x, y, z) in enumerate(zip(*windows, strict=True)):
            assert x.shape == y.shape
            size = z.abs() + 0.01 * largest if x.dtype == torch.float64 else torch.full_like(z, largest)
            assert ((x.double() - y).abs() <= limit * size).all(), f"{name} of window {window}"


def check_event_form(case: Case, block: int = 32, *, in_place: bool = False) -> None:
    exact = in_double(case)
    ours, pending = in_event_form(case, block, in_place=in_place)
    assert_close(ours, stepped(exact), stepped(in_absolute_values(exact)), TOLERANCE[case.f.dtype])
    waiting = torch.zeros(case.alignment, case.synapses.lines, device=case.f.device)
    waiting[pending.step, pending.line] += 1
    raster = torch.zeros(case.alignment + sum(case.windows), case.synapses.lines, device=case.f.device)
    raster[case.before.pending.step, case.before.pending.line] = 1
    raster[case.alignment :] = case.arrived
    assert torch.equal(waiting, raster[sum(case.windows) :])


# --- the equations ----------------------------------------------------------------------------------------------------
def test_a_step_is_what_the_equations_say() -> None:
    """Tr 2, psp 1, el 3, el_flt 5, and a = 0.5, b = 0.25, r = 0.1, m = 0.2."""
    k = Coefficients(0.5, 0.25, 0.1, 0.2)
    inputs = Presynaptic(torch.tensor(2.0), torch.tensor(1.0)).step(torch.tensor(1.0), k)
    assert [x.item() for x in inputs] == pytest.approx([1.5, 1.25])
    before = Eligibility(torch.tensor(3.0), torch.tensor(5.0), torch.tensor(100.0))
    after = before.step(torch.tensor(7.0), torch.tensor(-2.0), k)  # el 10, el_flt 5 + 0.2 (10 - 5) = 6
    assert [x.item() for x in after] == pytest.approx([1.0, 6.0, 88.0])


def test_the_coefficients_of_a_rule() -> None:
    assert pytest.approx((np.exp(-0.02), 0.005, np.exp(-0.05), 0.01)) == LPL
    assert pytest.approx((np.exp(-0.02), 0.01, np.exp(-0.02), 0.01)) == SUPER_SPIKE


# --- event form -------------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(
    k=ANY_COEFFICIENTS,
    windows=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    lines=st.integers(1, 6),
    units=st.integers(1, 5),
    density=st.sampled_from([1.0, 0.5, 0.15]),
    alignment=st.sampled_from([0, 1, 8, 90]),
    rate=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    block=st.sampled_from([1, 7, 32, 100]),
    signed=st.booleans(),
    seed=st.integers(0, 1000),
)
@example(LPL, [1, 1, 1, 1], 3, 2, 1.0, 8, 0.3, 32, True, 0)
@example(LPL, [40, 1, 60], 3, 2, 0.5, 90, 1.0, 7, False, 1)
@example(LPL, [5, 5], 4, 3, 0.0, 8, 0.5, 32, True, 2)  # no synapse
@example(coefficients((0.5, 1.0), (0.5, 1.0)), [70, 70], 4, 3, 1.0, 1, 0.3, 7, True, 3)  # b = m = 1
def test_the_event_form_equals_stepping(k, windows, lines, units, density, alignment, rate, block, signed, seed):
    case = draw(
        k, windows, lines=lines, units=units, density=density, alignment=alignment, rate=rate, signed=signed, seed=seed
    )
    check_event_form(case, block, in_place=seed % 2 == 1)


@pytest.mark.parametrize("k", [LPL, SUPER_SPIKE, coefficients((3.0, 10.0), (2.0, 5.0))])
def test_windows_longer_than_the_memory_of_an_eligibility(k, each_device) -> None:
    """Of which the tail alone counts for what is handed on, in float32: 2300 of the 5000 steps of a window for LPL."""
    memory = Backward(k, torch.zeros(0)).memory
    windows, kind = [memory + 300, memory // 2, memory + 1], {"dtype": torch.float32, "device": each_device}
    case = draw(k, windows, lines=5, units=3, rate=0.01, alignment=8, **kind)
    check_event_form(case, 100)


def test_the_memory_is_long_enough_and_no_longer_than_it_has_to_be() -> None:
    assert Backward(LPL, torch.zeros(0, dtype=torch.float64)).memory > 50_000  # exact: nothing is ever cut off
    assert 2000 < Backward(LPL, torch.zeros(0)).memory < 2500


@settings(deadline=None, max_examples=25)
@given(
    k=ANY_COEFFICIENTS,
    windows=st.lists(st.integers(1, 200), min_size=2, max_size=3),
    alignment=st.sampled_from([0, 8]),
    rate=st.sampled_from([0.02, 0.3]),
    seed=st.integers(0, 1000),
)
def test_the_event_form_in_float32(k, windows, alignment, rate, seed):
    case = draw(k, windows, lines=6, units=5, alignment=alignment, rate=rate, seed=seed, dtype=torch.float32)
    check_event_form(case)


def test_events_of_the_last_steps_wait_and_are_not_lost() -> None:
    """A single spike, 3 steps before the end, at an alignment of 8: it acts in the window after."""
    case = draw(LPL, [20, 60], lines=2, units=2, density=1.0, alignment=8, rate=0.0)
    for value in case.before[:4]:
        value.zero_()
    case.arrived[17, 1] = 1
    check_event_form(case)
    (first, second), _ = in_event_form(case)
    assert not any(value.any() for value in first)
    assert second[0][case.synapses.pre == 1].all()
    assert not second[0][case.synapses.pre == 0].any()


def test_without_events_what_was_carried_over_counts() -> None:
    case = draw(LPL, [30, 1, 50], lines=3, units=4, alignment=8, rate=0.0)
    check_event_form(case)
    assert all(total.all() for total, *_ in in_event_form(case)[0])


def test_work_in_the_memory_of_the_signal_changes_no_number() -> None:
    case = draw(LPL, [100, 1, 45], lines=5, units=4, alignment=8)
    (one, pending), (other, also_pending) = (in_event_form(case, in_place=in_place) for in_place in (False, True))
    for first, second in zip(one, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(pending, also_pending, strict=True))


def test_the_first_gradient_of_a_lone_synapse_by_hand() -> None:
    """X = 1 in step 0, f = e = 1 throughout: 3 steps, a = b = r = m = 1/2.

    trace at the start of steps 1, 2: 1/2, 1/4; psp of step 2: 1/4; el there 1/4, el_flt 1/8: total 1/8.
    """
    k = Coefficients(0.5, 0.5, 0.5, 0.5)
    ones, zero, none = torch.ones(3, 1), torch.zeros(1), torch.zeros(0, dtype=torch.int64)
    synapses = Synapses(torch.tensor([0]), torch.tensor([0]), 1, 1)
    events = Events(torch.tensor([0]), torch.tensor([0]))
    before = Carried(zero, zero, zero, zero, Events(none, none))
    total, after = event_form(synapses, events, ones, ones, before, Backward(k, ones))
    assert total.item() == pytest.approx(1 / 8)
    # the trace 1/4 gave psp 1/4 + (1/4 - 1/4)/2 in step 2
    assert [x.item() for x in after[:4]] == pytest.approx([1 / 8, 1 / 4, 1 / 8, 1 / 8])


# --- product form -----------------------------------------------------------------------------------------------------
def check_product_form(
    k: Coefficients,
    windows: Sequence[int],
    shape: tuple[int, int, int],
    *,
    block: int = 32,
    density: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> None:
    batch, pre, post = shape
    rng = np.random.default_rng(seed)

    def random(*size: int, low: float = -1.0) -> Tensor:
        return torch.from_numpy(rng.uniform(low, 1.0, size)).to(dtype).to(device)

    steps = sum(windows)
    psp, f, e = random(steps, batch, pre, low=0.0), random(steps, batch, post), random(steps, batch, post)
    psp *= torch.from_numpy(rng.random(psp.shape) < density).to(psp)
    before = Eligibility(*(random(batch, pre, post) for _ in range(3)))
    backward = Backward(k, psp, block)
    exact, scale = (Eligibility(*(function(x.double()) for x in before)) for function in (torch.clone, torch.abs))
    ours, n = before, 0
    for length in windows:
        part = slice(n, n + length)
        ours = product_form(psp[part], f[part], e[part], ours, backward)
        for step in range(n, n + length):
            x, factor, signal = (values[step].double() for values in (psp, f, e))
            exact = exact.step(x[:, :, None] * factor[:, None], signal[:, None], k)
            scale = scale.step(x[:, :, None] * factor[:, None].abs(), signal[:, None].abs(), k)
        n += length
        for name, value, expected, uncancelled in zip(Eligibility._fields, ours, exact, scale, strict=True):
            assert value.shape == expected.shape == shape
            size = uncancelled + 0.01 * uncancelled.max() if dtype == torch.float64 else uncancelled.max()
            assert ((value.double() - expected).abs() <= TOLERANCE[dtype] * size).all(), name


@settings(deadline=None, max_examples=50)
@given(
    k=ANY_COEFFICIENTS,
    windows=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)),
    block=st.sampled_from([1, 7, 32, 100]),
    density=st.sampled_from([1.0, 0.1, 0.0]),
    seed=st.integers(0, 1000),
)
@example(LPL, [1, 1, 1], (1, 1, 1), 32, 1.0, 0)
@example(coefficients((0.5, 1.0), (0.5, 1.0)), [70, 1], (2, 3, 4), 7, 1.0, 3)
def test_the_product_form_equals_stepping(k, windows, shape, block, density, seed):
    check_product_form(k, windows, shape, block=block, density=density, seed=seed)


@settings(deadline=None, max_examples=20)
@given(k=ANY_COEFFICIENTS, windows=st.lists(st.integers(1, 150), min_size=2, max_size=3), seed=st.integers(0, 1000))
def test_the_product_form_in_float32(k, windows, seed):
    check_product_form(k, windows, (2, 4, 3), seed=seed, dtype=torch.float32)


def test_the_product_form_over_more_than_its_memory(each_device) -> None:
    k = coefficients((3.0, 10.0), (2.0, 5.0))
    memory = Backward(k, torch.zeros(0, dtype=torch.float64)).memory
    check_product_form(k, [memory + 50, 3, memory], (2, 4, 3), device=each_device)


# --- parts ------------------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    data=st.data(),
)
def test_pairs_are_all_synapses_of_every_event(counts, data) -> None:
    """Also of inputs that have none, and of inputs that spike more than once."""
    pre = np.repeat(np.arange(len(counts)), counts)
    line = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=12))
    synapses = Synapses(torch.from_numpy(pre), torch.zeros(pre.size, dtype=torch.int64), len(counts), 1)
    event, synapse = synapses.pairs(torch.tensor(line, dtype=torch.int64))
    expected = [(k, q) for k, j in enumerate(line) for q in np.flatnonzero(pre == j)]
    assert list(zip(event.tolist(), synapse.tolist(), strict=True)) == expected


def test_add_at_adds_where_indices_repeat(each_device) -> None:
    total = torch.zeros(4, device=each_device)
    add_at(
        total, torch.tensor([1, 3, 1, 1], device=each_device), torch.tensor([1.0, 2.0, 4.0, 8.0], device=each_device)
    )
    assert total.tolist() == [0, 13, 0, 2]
    assert not torch.are_deterministic_algorithms_enabled()

"""Auryn's text files: what is written comes back bit for bit, foreign ones are read, damaged ones refused."""

import dataclasses
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import mmread

from bridge.files.auryn import (
    read_ras,
    read_rate_trace,
    read_rate_traces,
    read_rates,
    read_wmat,
    write_ras,
    write_rate_trace,
    write_rates,
    write_wmat,
)
from bridge.files.edges import Edges
from foundation.errors import RatespikeError, UsageError
from spiking.stimuli import RateTrace, SpikeEvents, draw_spikes
from tests.faults.damage import EDITS, edited, refused

DT = 1e-4
listed: Any = Edges  # lists do as well as arrays
HEAD = "%%MatrixMarket matrix coordinate real general\n"
FAST = settings(max_examples=150, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("latin-1"))
    return path


def spikes(*events: tuple[int, int], lines: int = 5, steps: int = 10) -> SpikeEvents:
    step, source = np.array(events, np.int64).reshape(-1, 2).T
    return SpikeEvents(source, step, lines, DT, steps)


# --- weights ----------------------------------------------------------------------------------------------------------
@FAST
@given(weights=st.lists(NUMBERS, max_size=12), seed=st.integers(0, 99))
def test_weights_come_back_bit_for_bit_and_in_order(tmp_path, weights, seed) -> None:
    pairs = np.random.default_rng(seed).permutation(20)[: len(weights)]
    edges = listed(pairs // 5, pairs % 5, weights, 4, 5)
    write_wmat(tmp_path / "a.wmat", edges)
    back = read_wmat(tmp_path / "a.wmat")
    assert (back.n_pre, back.n_post, back.delay) == (4, 5, None)
    for name in ("pre", "post", "weight"):
        np.testing.assert_array_equal(getattr(back, name), getattr(edges.ordered(), name))


def test_a_size_line_that_counts_the_lines_of_its_file_is_read_with_a_word(tmp_path) -> None:
    head, rows = HEAD + "% Locked range: 1\n%\n", "1 2 0.5\n1 3 0.25\n4 1 1\n"
    notes: list[str] = []
    edges = read_wmat(written(tmp_path / "a.wmat", f"{head}4 3 7\n{rows}"), notes=notes)
    assert (len(edges), edges.n_pre, edges.n_post) == (3, 4, 3)
    assert notes == ["declares 7 entries, as many as it has lines; it holds 3"]
    assert len(read_wmat(written(tmp_path / "a.wmat", f"{head}4 3 3\n{rows}"), notes=notes)) == 3
    assert len(notes) == 1
    for declared in (4, 5, 6, 8):
        said = refused(read_wmat, written(tmp_path / "a.wmat", f"{head}4 3 {declared}\n{rows}"))
        assert said == f"declares {declared} entries, holds 3"


def test_rates_of_several_files_come_onto_one_grid(tmp_path) -> None:
    t: Any = np.arange(11) * 0.01
    write_rates(tmp_path / "constant", np.array([0.0, 100.0]), np.array([5.0, 5.0]))
    write_rates(tmp_path / "ramp", np.array([0.0, 0.2]), np.array([0.0, 20.0]))
    write_rates(tmp_path / "fine", t, t)
    write_rates(tmp_path / "short", t[:6] * 1.0, t[:6])
    write_rates(tmp_path / "coarse", t[::5], t[::5] * 3)
    write_rates(tmp_path / "one", np.array([0.0]), np.array([7.0]))
    names, notes = ("constant", "ramp", "fine", "coarse", "one", "short"), list[str]()
    rates, interval = read_rate_traces([tmp_path / name for name in names], notes=notes)
    assert interval == 0.01
    expected = [np.full(11, 5.0), 100 * t, t, 3 * t, np.full(11, 7.0), t % 0.05]
    expected[-1][[5, 10]] = 0  # where it begins again
    np.testing.assert_allclose(rates, expected, atol=1e-12)
    assert notes == ["short ends at 0.05 s, and is repeated"]
    rates, interval = read_rate_traces([tmp_path / "constant", tmp_path / "ramp"])
    assert (rates.shape, interval) == ((2, 501), 0.2)
    rates, interval = read_rate_traces([tmp_path / "one", tmp_path / "one"])
    assert (rates.tolist(), interval) == ([[7.0], [7.0]], 0.01)
    write_rates(tmp_path / "tiny", np.array([0.0, 1e-9, 100.0]), np.ones(3))
    with pytest.raises(RatespikeError, match="are too many to be put on one grid"):
        read_rate_traces([tmp_path / "fine", tmp_path / "tiny"])


def test_scipy_reads_the_weights_that_we_write(tmp_path) -> None:
    W = np.random.default_rng(1).normal(size=(6, 4))
    write_wmat(tmp_path / "a.mtx", Edges.of_dense(W))
    np.testing.assert_array_equal(mmread(tmp_path / "a.mtx").toarray(), W.T)  # rows are presynaptic


def test_weights_as_auryn_writes_them_are_read(tmp_path) -> None:
    text = HEAD + "% Auryn weight matrix. Has to be kept in row major order.\n% Connection: \xe9\x00\n%\n"
    edges = read_wmat(written(tmp_path / "a.wmat", text + "500 100 3\n1 2 0.3000000\n1 100 5e-02\n500 1 -1.000000\n"))
    np.testing.assert_array_equal(edges.pre, [0, 0, 499])
    np.testing.assert_array_equal(edges.post, [1, 99, 0])
    np.testing.assert_array_equal(edges.weight, [0.3, 0.05, -1])
    assert (edges.n_pre, edges.n_post) == (500, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should begin with"),
        ("\0\0\0\0", "should begin with"),
        ("1 2 3\n", "should begin with"),
        ("%%MatrixMarket matrix array real general\n2 2\n", "is 'matrix array real general', should be"),
        (HEAD.replace("general", "symmetric") + "2 2 0\n", "is 'matrix coordinate real symmetric', should be"),
        (HEAD.replace("real", "pattern") + "2 2 0\n", "is 'matrix coordinate pattern general', should be"),
        (HEAD, "is cut short"),
        (HEAD + "% nothing\n", "is cut short"),
        (HEAD + "2 2\n", "should give rows, columns and entries, gives '2 2'"),
        (HEAD + "2 -2 1\n1 1 1\n", "should give rows, columns and entries"),
        (HEAD + "2 2 1.5\n1 1 1\n", "should give rows, columns and entries"),
        (HEAD + "2 2 1000000000000\n1 1 0.5\n", "declares 1,000,000,000,000 entries, more than fit"),
        (HEAD + "1000000000000 2 1\n1 1 0.5\n", "declares 1,000,000,000,000 x 2 neurons"),
        (HEAD + f"{'9' * 40} 2 1\n1 1 0.5\n", "should give rows, columns and entries"),
        (HEAD + "2 2 2\n1 1 0.5\n", "declares 2 entries, holds 1"),
        (HEAD + "2 2 1\n1 1 0.5\n1 2 0.5\n", "declares 1 entries, holds 2"),
        (HEAD + "2 2 1\n0 1 0.5\n", "row of entry 1: should be a whole number from 1, is 0"),
        (HEAD + "2 2 1\n1 -1 0.5\n", "column of entry 1: should be a whole number from 1, is -1"),
        (HEAD + "2 2 1\n1.5 1 0.5\n", "row of entry 1: should be a whole number from 1, is 1.5"),
        (HEAD + "2 2 1\nnan 1 0.5\n", "row of entry 1: should be a whole number from 1, is nan"),
        (HEAD + "2 2 1\n1e300 1 0.5\n", "row of entry 1"),
        (HEAD + "2 2 1\n3 1 0.5\n", "pre: must lie from 0 to 1, got 2"),
        (HEAD + "2 2 1\n1 3 0.5\n", "post: must lie from 0 to 1, got 2"),
        (HEAD + "2 2 1\n1 1 nan\n", "weight: must be finite, got nan for synapse 0"),
        (HEAD + "2 2 1\n1 1 1e400\n", "weight: must be finite"),
        (HEAD + "2 2 1\n1 1\n", "should have 3 numbers in a line, has 2"),
        (HEAD + "2 2 2\n1 1 1\n1 2\n", "not a table of 3 numbers"),
        (HEAD + "2 2 1\n1 1 0x5\n", "not a table of 3 numbers"),
        (HEAD + "2 2 1\n1 1 \x1b[31m\n", "not a table of 3 numbers"),
        (HEAD + "2 2 1\n1 1 0.5\0\n", "not a table of 3 numbers"),
        (HEAD + "2 2 2\n1 1 0.5\n1 1 0.7\n", "row 1, column 1: given more than once"),
        (HEAD + "2 2 1\n" + "1" * 20_000, "a line of 10,000 characters or more"),
    ],
)
def test_damaged_and_foreign_weights_are_refused(tmp_path, text, message) -> None:
    said = refused(read_wmat, written(tmp_path / "a.wmat", text))
    assert said is not None
    assert said.startswith(message)


@pytest.mark.parametrize("field", ["delay", "weight"])
def test_what_a_weight_file_cannot_hold_is_not_written(tmp_path, field) -> None:
    edges = listed([0, 0], [1, 1], [0.1, 0.2], 2, 2)
    edges = dataclasses.replace(edges, post=[0, 1], delay=[0.1, 0.2]) if field == "delay" else edges
    with pytest.raises(UsageError, match=r"a \.wmat holds"):
        write_wmat(tmp_path / "a.wmat", edges)
    assert not (tmp_path / "a.wmat").exists()


def test_a_hundred_thousand_weights_are_read_in_a_moment_and_in_little_memory(tmp_path) -> None:
    pairs = np.arange(0, 1_000_000, 10)
    edges = Edges(pairs // 1000, pairs % 1000, np.random.default_rng(1).normal(size=pairs.size), 1000, 1000)
    write_wmat(tmp_path / "a.wmat", edges)
    start = time.perf_counter()
    back = read_wmat(tmp_path / "a.wmat")
    assert time.perf_counter() - start < 2  # measured: 0.07 s
    np.testing.assert_array_equal(back.weight, edges.weight)
    tracemalloc.start()
    read_wmat(tmp_path / "a.wmat")
    assert tracemalloc.get_traced_memory()[1] < 20e6  # measured: 9 MB, for a file of 3 MB
    tracemalloc.stop()


# --- spikes -----------------------------------------------------------------------------------------------------------
def test_spikes_come_back_step_by_step(tmp_path) -> None:
    trace = RateTrace(np.array([300.0]))
    events = draw_spikes([trace], 40, dt=DT, first_step=0, steps=30_000, generator=np.random.default_rng(3))
    assert events.step.size > 10_000
    write_ras(tmp_path / "a.ras", events)
    back = read_ras(tmp_path / "a.ras", dt=DT, lines=40, steps=30_000)
    np.testing.assert_array_equal(back.step, events.step)
    np.testing.assert_array_equal(back.source, events.source)
    assert (back.lines, back.steps, back.dt) == (40, 30_000, DT)
    first, *_ = (tmp_path / "a.ras").read_text().splitlines()
    assert first == f"{float(events.step[0] * DT)!r} {events.source[0]}"


def test_late_spikes_are_told_apart_in_spite_of_rounding(tmp_path) -> None:
    late = spikes((4_294_967_294, 1), (4_294_967_295, 0), steps=2**32)  # the last steps of Auryn's clock
    write_ras(tmp_path / "a.ras", late)
    np.testing.assert_array_equal(read_ras(tmp_path / "a.ras", dt=DT).step, [4_294_967_294, 4_294_967_295])


def test_spikes_of_several_processes_are_sorted(tmp_path) -> None:
    back = read_ras(written(tmp_path / "a.ras", "# rank 0\n0.000300  7\n0.0001 2\n\n0.0003 4\n"), dt=DT)
    np.testing.assert_array_equal(back.step, [1, 3, 3])
    np.testing.assert_array_equal(back.source, [2, 4, 7])
    assert (back.lines, back.steps) == (8, 4)


@pytest.mark.parametrize("text", ["", "\n\n", "# time neuron\n"])
def test_a_file_without_spikes_is_a_silent_network(tmp_path, text) -> None:
    back = read_ras(written(tmp_path / "a.ras", text), dt=DT, lines=3, steps=7)
    assert (back.step.size, back.source.size, back.lines, back.steps) == (0, 0, 3, 7)


def test_times_off_the_grid_are_rounded_only_when_asked_for(tmp_path) -> None:
    path = written(tmp_path / "a.ras", "0.00013 2\n0.00038 1\n")
    assert "0.00013 s is not a multiple of dt = 0.0001 s" in str(refused(lambda p: read_ras(p, dt=DT), path))
    np.testing.assert_array_equal(read_ras(path, dt=DT, round_times=True).step, [1, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.0001 1\n0.0001 1\n", "spikes: source 1 has two at 0.0001 s"),
        ("-0.0001 1\n", "spikes: times must be finite and not negative, got -0.0001 s for spike 0"),
        ("nan 1\n", "spikes: times must be finite"),
        ("inf 1\n", "spikes: times must be finite"),
        ("1e300 1\n", "spikes: times must be finite"),
        ("0.0001 -1\n", "neuron of entry 1: should be a whole number from 0, is -1"),
        ("0.0001 1.5\n", "neuron of entry 1: should be a whole number from 0, is 1.5"),
        ("0.0001 5\n", "lines: 5, should be 6 to"),
        ("0.001 4\n", "steps: 10, should be 11 to"),
        ("0.0001\n", "should have 2 numbers in a line, has 1"),
        ("0.0001 1 1\n", "should have 2 numbers in a line, has 3"),
        ("time neuron\n", "not a table of 2 numbers"),
        ("\0\0\0", "not a table of 2 numbers"),
        ("\x89HDF\r\n\x1a\n", "not a table of 2 numbers"),
    ],
)
def test_damaged_and_foreign_spikes_are_refused(tmp_path, text, message) -> None:
    said = refused(lambda path: read_ras(path, dt=DT, lines=5, steps=10), written(tmp_path / "a.ras", text))
    assert said is not None
    assert said.startswith(message)


@pytest.mark.parametrize("dt", [0.0, -1e-4, np.nan, np.inf])
def test_a_step_that_is_none_is_the_fault_of_who_asks(tmp_path, dt) -> None:
    with pytest.raises(UsageError, match="dt: must be positive and finite"):
        read_ras(written(tmp_path / "a.ras", ""), dt=dt)


# --- rates ------------------------------------------------------------------------------------------------------------
@FAST
@given(samples=st.dictionaries(st.floats(0, 1e9), st.floats(0, 1e300), min_size=1, max_size=9))
def test_rates_come_back_bit_for_bit(tmp_path, samples) -> None:
    times = np.sort(np.array(list(samples)))
    rates = np.array([samples[t] for t in times])
    write_rates(tmp_path / "a.rate", times, rates)
    for back, expected in zip(read_rates(tmp_path / "a.rate"), (times, rates), strict=True):
        np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("interval", [0.01, 1 / 3, 0.1, 1e-4])
@pytest.mark.parametrize("samples", [1, 2, 1000])
def test_a_trace_comes_back_bit_for_bit(tmp_path, interval, samples, rng) -> None:
    trace = RateTrace(rng.random(samples) * 50, interval)
    write_rate_trace(tmp_path / "a.rate", trace)
    back = read_rate_trace(tmp_path / "a.rate")
    np.testing.assert_array_equal(back.values, trace.values)
    assert samples == 1 or back.interval == interval


def test_a_grid_with_rounded_digits_is_still_a_grid(tmp_path) -> None:
    times = np.arange(200) / 30
    path = written(tmp_path / "a.rate", "".join(f"{t:.9f} 5\n" for t in times))
    assert read_rate_trace(path).interval == pytest.approx(1 / 30, rel=1e-8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1 5\n0.2 5\n", "starts at 0.1 s"),
        ("0 5\n0.1 5\n0.25 5\n", "the times are not on a regular grid"),
        ("", "rates: there is no sample"),
        ("0 5\n0 6\n", "times: must ascend, 0.0 s follows 0.0 s"),
        ("0 5\n0.2 5\n0.1 6\n", "times: must ascend, 0.1 s follows 0.2 s"),
        ("-1 5\n", "times: must be finite and not negative, got -1.0 s in sample 0"),
        ("0 5\n1 -5\n", "rates: must be finite and not negative, got -5.0 Hz in sample 1"),
        ("0 5\n1 nan\n", "rates: must be finite and not negative, got nan Hz in sample 1"),
        ("0 5 1\n", "should have 2 numbers in a line, has 3"),
        ("0;5\n", "not a table of 2 numbers"),
    ],
)
def test_what_is_no_rate_over_time_is_refused(tmp_path, text, message) -> None:
    said = refused(read_rate_trace, written(tmp_path / "a.rate", text))
    assert said is not None
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("times", "rates"), [([0.0, 1.0], [5.0]), ([1.0, 0.0], [5.0, 5.0]), ([0.0], [-5.0]), ([], []), ([np.nan], [1.0])]
)
def test_what_is_no_rate_over_time_is_not_written(tmp_path, times, rates) -> None:
    with pytest.raises(UsageError, match=r"rates|times"):
        write_rates(tmp_path / "a.rate", np.array(times), np.array(rates))


# --- any file ---------------------------------------------------------------------------------------------------------
READERS: dict[str, Callable[[Path], object]] = {
    "wmat": read_wmat,
    "ras": lambda path: read_ras(path, dt=DT),
    "rate": read_rate_trace,
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path, kind) -> None:
    assert refused(READERS[kind], tmp_path / "none") == "no such file"
    assert refused(READERS[kind], tmp_path) == "is a folder, not a file"


@pytest.mark.parametrize("kind", READERS)
@FAST
@given(edits=EDITS)
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(tmp_path, kind, edits) -> None:
    path = tmp_path / f"a.{kind}"
    write_wmat(path, listed([0, 1, 3], [1, 2, 0], [0.1, -0.2, 1e-300], 5, 3))
    if kind == "ras":
        write_ras(path, spikes((0, 2), (3, 0), (3, 1)))
    if kind == "rate":
        write_rate_trace(path, RateTrace(np.array([5.0, 0.1, 7.25]), 0.5))
    path.write_bytes(edited(path.read_bytes(), edits))
    refused(READERS[kind], path)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch) -> None:
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path / "a.wmat", HEAD)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(RatespikeError, match="cannot be read"):
        read_wmat(path)

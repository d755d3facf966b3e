"""Cut the compact copy of the reference's LPL network that the tests use.

    python tests/data/make_network.py /path/to/reference/spiking/network_lpl.npz

Kept are all spikes of the last 100 s (in steps since the one before, which fit into 8 or 16 bits), the weights at five
of 41 times, the rates in 10 s, and the numbers that the reference's own analysis found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DT = 1e-4  # s
SNAPSHOTS = (0, 10, 20, 30, 40)  # 0, 2500, 5000, 7500 and 10,000 s of training


def main(source: Path) -> None:
    network = np.load(source)
    summary = json.loads(str(network["summary"]))
    summary["curve"] = [summary["curve"][k] for k in SNAPSHOTS]
    # the reference's time is its step times DT, to the last bit
    exc, inh = (np.rint(network[name] / DT).astype(np.int64) for name in ("exc_t", "inh_t"))
    assert np.array_equal(exc * DT, network["exc_t"])
    assert np.array_equal(inh * DT, network["inh_t"])
    inputs = network["in_step"].astype(np.int64)
    first = int(min(exc[0], inh[0], inputs[0]))
    np.savez_compressed(
        Path(__file__).parent / "spiking" / "network.npz",
        first=first,  # step from which the first gap of each group counts
        dt=DT,
        exc_gap=_gaps(exc, first, np.uint16),  # (58866,), steps since the spike before
        exc_unit=network["exc_i"],
        inh_gap=_gaps(inh, first, np.uint16),
        inh_unit=network["inh_i"],
        input_gap=_gaps(inputs, first, np.uint8),  # (254433,)
        input_unit=network["in_i"],  # 100 inputs in each of five populations
        pre=network["con_row"],  # (5082,)
        post=network["con_col"].astype(np.uint8),
        weights=network["w_snap"][list(SNAPSHOTS)],  # (5, 5082), units of the leak conductance
        weight_time=network["snap_t"][list(SNAPSHOTS)] - 1800.0,  # s since the start of training
        rate_time=network["rate10s_t"],  # (1179,), s, ends of bins
        **{f"rate_{group}": network[f"rate10s_{group}"] for group in ("exc", "inh", "in")},  # Hz; (5, 1179) for "in"
        **{name: network[name] for name in ("w_group", "sel_P1", "sel_P2", "relsel", "rates_unit")},
        summary=json.dumps(summary),
    )


def _gaps(step: NDArray[np.int64], first: int, kind: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    gaps = np.diff(step, prepend=first)
    assert gaps.min() >= 0
    assert gaps.max() <= np.iinfo(kind).max
    return gaps.astype(kind)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

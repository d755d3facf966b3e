"""Make the copy of the reference's step trace that the tests use.

    python tests/data/make_spiking.py /path/to/reference/spiking/steptrace_std.npz

Nothing that was recorded is left out: 6 s of the network's spikes, its synapses and initial potentials, and of the last
3 s one postsynaptic neuron (every step) and its 63 synapses (every step of the first 1000, then every 20th).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

PROJECTIONS = {"ext": "con", "ei": "ei", "ie": "ie", "ii": "ii"}
KEPT = {
    "unit": "unit",  # which neuron was traced
    "unit_steps": "clk",  # (30000,), all states are those of the end of a step
    "unit_names": "names",
    "unit_state": "unit_state",  # (30000, 11)
    "synapses": "syn_idx",  # (63,), of the 5082 input synapses
    "synapse_steps": "syn_clk",  # (2450,)
    "synapse_names": "syn_names",
    "synapse_state": "syn_state",  # (2450, 63, 4)
    "initial_potential": "init_mem",  # (100,), V
    "ext_w": "w_final",  # (5082,), at the end, as ie_w (1207,)
    "ie_w": "w_ie_final",
}


def main(source: Path) -> None:
    trace = np.load(source)
    spikes = {name: trace[f"{name}_spk"] for name in ("in", "exc", "inh")}
    assert all(events.max() < 2**16 for events in spikes.values())
    np.savez_compressed(
        Path(__file__).parent / "spiking" / "steptrace.npz",
        **{ours: trace[theirs] for ours, theirs in KEPT.items()},
        **{f"{ours}_pre": trace[f"{theirs}_row"].astype(np.uint16) for ours, theirs in PROJECTIONS.items()},
        **{f"{ours}_post": trace[f"{theirs}_col"].astype(np.uint16) for ours, theirs in PROJECTIONS.items()},
        **{f"{name}_spikes": events.astype(np.uint16) for name, events in spikes.items()},  # (n, 2): step, unit
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

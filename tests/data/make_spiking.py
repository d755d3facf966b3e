"""Cut the compact copy of the reference's step trace that the tests use.

    python tests/data/make_spiking.py /path/to/reference/spiking/steptrace_std.npz

The full trace holds 3 s of one postsynaptic neuron (every step) and of its 63 synapses (every step of the first 1000,
then every 20th). Kept are 2 s and a few steps more, with four weight updates on the way, and every third synapse.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FIRST, LAST = 30_000, 50_100  # steps
SYNAPSES = slice(None, None, 3)
COLUMNS = ("mem", "err", "tr_err", "tr_err_flt", "tr_post_mean", "tr_post_sigma2", "sigma_prime")


def main(source: Path) -> None:
    trace = np.load(source)
    names = list(trace["names"])
    steps = trace["syn_clk"][trace["syn_clk"] <= LAST]
    inputs = trace["syn_pre"][SYNAPSES]
    spikes, own = trace["in_spk"], trace["exc_spk"]
    spikes = spikes[np.isin(spikes[:, 1], inputs) & (spikes[:, 0] <= LAST)]
    state = trace["unit_state"]
    np.savez_compressed(
        Path(__file__).parent / "spiking" / "steptrace.npz",
        first=FIRST,  # the reference's clock; all states are those of the end of a step
        unit_names=np.array(COLUMNS),
        unit_state=state[: LAST - FIRST + 1, [names.index(name) for name in COLUMNS]],  # (20101, 7), every step
        synapse_steps=steps.astype(np.int64),  # (n,)
        synapse_names=trace["syn_names"],
        synapse_state=trace["syn_state"][: len(steps), SYNAPSES],  # (n, 21, 4)
        input_ids=inputs,  # (21,)
        input_spikes=spikes.astype(np.int64),  # (m, 2): step, input id, from step 0 on
        unit_spikes=own[(own[:, 1] == trace["unit"]) & (own[:, 0] <= LAST), 0].astype(np.int64),  # steps
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

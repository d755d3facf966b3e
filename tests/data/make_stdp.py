"""Write tests/data/spiking/stdp_curves.npz: the pairing curves of the published program, from the references' folder.

python tests/data/make_stdp.py FOLDER/spiking/stdp_curves.npz
"""

import sys
from pathlib import Path

import numpy as np


def main(source: Path) -> None:
    curves = np.load(source)
    np.savez_compressed(
        Path(__file__).parent / "spiking" / "stdp_curves.npz",
        **{name: curves[name] for name in ("max_interval", "frequency", "initial_mean", "initial_variance")},  # (7,)
        relative_delta_w=curves["relative_delta_w"],  # (7, 100), from +max_interval (pre first) to -max_interval
        postsynaptic_spikes=curves["postsynaptic_spikes"],  # (7,)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

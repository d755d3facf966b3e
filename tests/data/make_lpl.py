"""Cut the compact copies in tests/data/lpl/ out of the reference numbers: `python make_lpl.py REFERENCE_FOLDER`."""

import sys
from pathlib import Path

import numpy as np

KEEP = {  # the arrays that a test reads, by the start of their names
    "inputs": ("",),
    "lpl_default": ("",),
    "lpl_no_pooling": ("z1.", "pull", "push", "decorr", "total", "grad"),  # its pooled codes are lpl_default's
    "linear_readout": (
        "train_x",
        "train_y",
        "test_x",
        "test_y",
        "W0",
        "b0",
        "W_after",
        "b_after",
        "batch_losses",
        "test",
    ),
    "metrics_and_losses": ("",),
    "shapes3d_sequences": ("",),
    "toy2d": ("",),
    "lr_schedule": ("lr1e-3_800", "lr1e-5_400", "lr1e-3_50"),
}


def main(reference: Path) -> None:
    target = Path(__file__).parent / "lpl"
    target.mkdir(exist_ok=True)
    for name, keep in KEEP.items():
        with np.load(reference / "lpl" / f"{name}.npz") as arrays:
            kept = {key: arrays[key] for key in arrays.files if key.startswith(keep)}
        np.savez_compressed(target / f"{name}.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

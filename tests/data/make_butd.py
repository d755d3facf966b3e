"""Copy the reference numbers of BU-TD networks into tests/data/butd/: `python make_butd.py REFERENCE_FOLDER`."""

import sys
from pathlib import Path

import numpy as np


def main(reference: Path) -> None:
    target = Path(__file__).parent / "butd"
    target.mkdir(exist_ok=True)
    for path in sorted((reference / "butd").glob("*.npz")):
        with np.load(path) as arrays:
            np.savez_compressed(target / path.name, **{key: arrays[key] for key in arrays.files})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The campaign of faults, for developers: kills, full disks, two processes at once, damaged files.

    python tests/faults [--every K] [--kills N] [--full N] [--twice N] [--mutants N] [--only NAME]

Prints two tables, and everything that went wrong; the exit status says whether anything did. In full it takes some
twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def main() -> int:
    """The command."""
    from tests.faults import campaign, mutants
    from tests.faults.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="kill at every so-manieth change of the file system")
    parser.add_argument("--kills", type=int, default=20, help="kills at random times, for each scenario")
    parser.add_argument("--full", type=int, default=10, help="sizes of the full disk")
    parser.add_argument("--twice", type=int, default=4, help="pairs of processes")
    parser.add_argument("--mutants", type=int, default=500, help="damaged files for each reader; 0: none")
    parser.add_argument("--workers", type=int, default=2, help="readers at a time")
    parser.add_argument("--only", choices=list(campaign.SCENARIOS), help="one scenario")
    given = parser.parse_args()
    names = [given.only] if given.only else list(campaign.SCENARIOS)
    rows, said = campaign.campaign(names, every=given.every, kills=given.kills, full=given.full, twice=given.twice)
    print("\n".join(campaign.table(rows)), flush=True)
    if given.mutants:
        found, more = mutants.campaign(READERS, given.mutants, workers=given.workers)
        said += more
        print(f"\n{mutants.table(found)}")
    print("\n".join(said), file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())

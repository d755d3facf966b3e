"""`ratespike demo`: the whole bridge in one go, on real data that comes with it."""

from __future__ import annotations

from pathlib import Path

import click

from .commands import Command
from .outputs import force_option


@click.command(cls=Command)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("ratespike-demo"),
    show_default=True,
    metavar="DIR",
    help="folder",
)
@click.option("--seed", type=int, default=0, show_default=True, help="of all random draws")
@click.option("--seeds", type=int, default=1, show_default=True, help="networks of each kind, for the spread")
@click.option("--epochs", type=int, default=300, show_default=True, help="passes over the training images")
@force_option
def command(out: Path, seed: int, seeds: int, epochs: int, force: bool) -> None:
    """From a trained rate network to a spiking network that keeps learning, on 1,797 handwritten digits.

    Trains small networks with Latent Predictive Learning, reads them out layer by layer, turns one into a spiking
    network (snnTorch and Brian2), lets a spiking layer learn by the same rule, and writes a report with figures into
    --out. About a minute on one core. A demo that was stopped goes on where it was; with --force it begins anew.
    """
    from foundation.errors import StoppedError
    from foundation.locks import locked
    from foundation.threads import threads_for

    from .demo_report import write_report
    from .demo_tour import DemoConfig, check_demo, take

    config = DemoConfig(seed=seed, seeds=seeds, epochs=epochs)
    check_demo(out, config, force=force)
    try:
        with locked(out), threads_for(0):  # all of its matrices are small
            tour = take(config, out, force=force)
            write_report(tour, out)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(f"stopped; the same command goes on from what is in {out}") from None
    click.echo(f"\n{(out / 'report.md').read_text(encoding='utf-8')}\n")
    click.echo(f"This report, with its figures, is in {out / 'report.md'} ({tour.seconds:.0f} s).")

"""`ratespike deep`: train rate networks with local rules, and read them out."""

from __future__ import annotations

import click

from .commands import LazyGroup

COMMANDS = {
    "lpl": ("lpl:command", "Train an encoder with LPL, layer-local or end to end."),
    "butd": ("butd:command", "Train a BU-TD network with Counter-Hebb learning or backprop."),
    "butd-results": ("butd:results", "Accuracies of several runs, mean and confidence interval."),
    "hebbian": ("hebbian:command", "Train a small network by one of ten rules; the seven experiments."),
    "import": ("import_weights:command", "Make a run of another program's checkpoint."),
    "readout": ("readout:command", "Read out every layer of a trained run."),
    "ladder": ("ladder:command", "From a rule that failed to the one that works."),
    "toy": ("toy:command", "What a single neuron learns (Fig. 2), and other small experiments."),
    "shapes3d": ("shapes3d:command", "Sequences of Shapes3D pictures (ED Figs. 5 and 6)."),
    "swap": ("swap:command", "The swap experiment with a trained run (Fig. 4)."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Train rate networks with local learning rules, and read them out."""

"""`ratespike bridge`: between rate and spiking networks."""

from __future__ import annotations

import click

from .commands import LazyGroup

COMMANDS = {
    "convert": ("bridge_convert:convert", "A trained run becomes a spiking network."),
    "simulate": ("bridge_convert:simulate", "Run a converted network on a dataset."),
    "compare": ("bridge_compare:compare", "Rate against spiking plasticity on one stimulus."),
    "learn": ("bridge_learn:learn", "A converted layer goes on learning in spikes."),
    "export": ("bridge_files:export_command", "Networks, weights and spikes to other formats."),
    "import": ("bridge_files:import_command", "Other formats, and weights that learned in spikes, back."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Move weights, stimuli and plasticity between rate and spiking networks."""

"""`ratespike benchmark deep`: an LPL step against end-to-end passes of the same encoder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from torch import Tensor

from foundation.data.images import ImageSet
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import Encoder, EncoderConfig
from ratenets.lpl.training import LPLLearner
from ratenets.run import Learner
from ratenets.run_config import RunConfig
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig

from .racing import Timed, race, report


def run(device: str, precision: str, repeats: int, json_file: Path | None) -> None:
    """See `ratespike benchmark deep --help`."""
    rng = np.random.default_rng(0)
    run = RunConfig(device=device, precision=precision)
    where = run.torch_device()
    paper = DEFAULT_VIEWS["cifar10"]
    on_gpu = {"VGG-11, 32 px, batch 1024": (EncoderConfig(kind="vgg"), paper, (3, 32, 32), 1024)}
    settings = {
        **(on_gpu if where.type == "cuda" else {}),
        "VGG-11, 32 px, batch 64": (EncoderConfig(kind="vgg"), paper, (3, 32, 32), 64),
        "VGG-11, width 1/4, 32 px, batch 256": (EncoderConfig(kind="vgg", width=0.25), paper, (3, 32, 32), 256),
        "mlp 784-4x512, 28 px, batch 256": (EncoderConfig(hidden=(512,) * 4), ViewConfig(), (1, 28, 28), 256),
        "mlp 64-4x64, 8 px, batch 256": (EncoderConfig(hidden=(64,) * 4), ViewConfig(), (1, 8, 8), 256),
    }
    rows: dict[str, dict[str, float]] = {}
    for name, (encoder, views, shape, batch) in settings.items():
        pixels, labels = rng.integers(0, 256, (batch, *shape), dtype=np.uint8), np.arange(batch) % 2
        images = ImageSet("random", pixels, labels, pixels, labels, ("a", "b"))
        config = LPLConfig(encoder=encoder, views=views, batch_size=batch, run=run)
        learner = LPLLearner.of_images(config, images)
        graph = LPLLearner.of_images(replace(config, gradients="autograd"), images)
        functions: dict[str, Timed] = {
            "end to end": partial(_end_to_end, learner.network.encoder, learner.batch(0, 0).views, run),
            "views alone": partial(learner.batch, 0, 0),
            "LPL": partial(_step, learner),
            "LPL, one graph": partial(_step, graph),
        }
        rows[name] = race(functions, repeats, where, name)
    report("deep", rows, "end to end", "ms per step", 1e3, json_file)
    for name in on_gpu.keys() & rows.keys():
        click.echo(f"{name}: {40_000 / 1024 * rows[name]['LPL']:.2f} s per epoch of CIFAR-10 (40,000 images)")


def _step(learner: Learner) -> None:
    learner.step(0, 0)
    learner.optimizer.step()


def _end_to_end(network: Encoder, x: Tensor, run: RunConfig) -> None:
    """What training without local learning would cost at least: one graph through all blocks, a trivial loss."""
    for parameter in network.parameters():
        parameter.grad = None
    with run.autocast():
        network(x, local=False)[-1].square().mean().backward()

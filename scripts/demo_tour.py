"""What `ratespike demo` does: the whole bridge in one go, on real data that comes with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import spiking.brian.integrate_and_fire as brian
import spiking.torch.integrate_and_fire as snntorch
from bridge.comparison import Comparison, Learned, Statistics, balanced_lambda, compare, learn
from bridge.config import ComparisonConfig, ConversionConfig
from bridge.conversion import convert
from bridge.report import Conversion, simulate_and_report, spike_differences
from bridge.runs import Trials
from foundation import config as configs
from foundation.config import setting
from foundation.data.images import ImageSet, load_images
from foundation.errors import UsageError
from foundation.files import claim_folder, write_text
from foundation.progress import bar
from foundation.seeds import derive, numpy_generator
from ratenets.evaluation.layerwise import LayerReadout, few_label_accuracy, layerwise, pixel_baseline
from ratenets.evaluation.readout import codes, fit
from ratenets.lpl.config import EPSILON, Coefficients, LossConfig, LPLConfig
from ratenets.lpl.encoders import Encoder, EncoderConfig
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import build_encoder, train_lpl
from ratenets.run_config import RunConfig
from ratenets.run_folder import CONFIG, replace_runs
from ratenets.sequences.augmentation import image_sequence
from spiking.integrate_and_fire import IFNetwork, IFResult

MARKER = "demo.toml"
CONDITIONS = ("LPL", "predictive off", "untrained")


@dataclass(frozen=True)
class DemoConfig:
    """The tour's settings."""

    seed: int = setting(0, "of all random draws")
    seeds: int = setting(1, "train this many networks of each kind, from seed, seed + 1, ...")
    epochs: int = setting(300, "passes over the training images")
    hidden: tuple[int, ...] = setting((64, 64, 64, 64), "units of the layers")
    labels: int = setting(100, "labels of the few-label readout")
    draws: int = setting(5, "random choices of these labels to average over")
    steps: int = setting(64, "time steps that the spiking network is shown a digit")
    brian_images: int = setting(100, "digits that are also run in Brian2")
    sequence: int = setting(24, "digits in the sequence that drives the plastic spiking layer")
    views_each: int = setting(4, "views of each, in a row")
    learning: float = setting(0.02, "how far the plastic spiking layer is to learn, as a share of its weights")
    comparison: ComparisonConfig = field(default_factory=ComparisonConfig)

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "labels", "draws", "brian_images", "sequence", "views_each"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"seed: must not be negative, got {self.seed}")
        if self.steps < 32:
            raise UsageError(f"steps: the report states the accuracy after 32 steps, got {self.steps}")

    def network(self, seed: int, pull: float = 1.0) -> LPLConfig:
        """The training run of one network."""
        return LPLConfig.for_data(
            "digits",
            learning_rate=2e-3,
            encoder=EncoderConfig(hidden=self.hidden),
            loss=LossConfig(coefficients=Coefficients(pull=pull)),
            run=RunConfig(epochs=self.epochs, seed=seed),
        )


@dataclass(frozen=True)
class Spikes:
    """The converted network and what it did."""

    network: IFNetwork
    analog: Conversion
    poisson: Conversion
    example: IFResult  # one digit, with every spike
    example_index: int
    differences: tuple[int, int, int]  # between snnTorch and Brian2, see `spike_differences`


@dataclass(frozen=True)
class Plasticity:
    """The plastic spiking layer beside the rate rule."""

    fast: Comparison  # at the converted network's firing rates
    slow: Comparison  # at a tenth of them
    slow_rate: float  # Hz for an activation of 1
    learned: Learned
    before: tuple[float, float]  # accuracy of layer 1 with few labels, mean and standard deviation over their choices
    after: tuple[float, float]


@dataclass(frozen=True)
class Tour:
    """Everything that the report shows."""

    config: DemoConfig
    images: ImageSet
    history: list[dict[str, Any]]
    pixels: list[LayerReadout]  # by seed
    readouts: dict[str, list[list[LayerReadout]]]  # by condition, seed, layer
    spikes: Spikes
    plasticity: Plasticity
    seconds: float


def check_demo(out: Path, config: DemoConfig, *, force: bool) -> None:
    """Make sure that the demo may go into the folder; one of other settings in it is refused, unless `force`."""
    claim_folder(out, MARKER)
    path = out / MARKER
    if path.is_file() and not force:
        before = configs.loads(DemoConfig, configs.read_text(path), str(path))
        # how Brian2 makes its code changes no result, and demos of earlier versions have another default
        if changed := [name for name in configs.differences(before, config) if not name.endswith(".codegen")]:
            raise UsageError(f"{out}: holds a demo with another choice of {', '.join(changed)}; choose another --out")


def take(config: DemoConfig, out: Path, *, force: bool = False) -> Tour:
    """Do everything; training runs are kept in `out` and resumed, or with `force` replaced."""
    write_text(out / MARKER, configs.dumps(config))
    if force:
        replace_runs(path.parent for path in out.glob(f"runs/*/{CONFIG}"))
    started = time.perf_counter()
    click.echo("1/4  training on digits, two views of each at a time", err=True)
    images = load_images("digits")
    seeds = range(config.seed, config.seed + config.seeds)
    trained = [_train(config, seed, images, out) for seed in seeds]
    click.echo("2/4  linear readout of every layer", err=True)
    readouts: dict[str, list[list[LayerReadout]]] = {name: [] for name in CONDITIONS}
    pairs = [(n, seed, networks[n]) for seed, (networks, _) in zip(seeds, trained, strict=True) for n in CONDITIONS]
    for name, seed, network in bar(pairs, label="readouts", unit="network"):
        readouts[name].append(_readouts(config, network, seed, images))
    pixels = [pixel_baseline(images, config.labels, config.draws, seed) for seed in seeds]
    networks, history = trained[0]
    click.echo("3/4  the same network in spikes", err=True)
    spikes = _spikes(config, networks["LPL"], images)
    click.echo("4/4  the same plasticity in spikes", err=True)
    plasticity = _plasticity(config, spikes.network, images)
    seconds = time.perf_counter() - started
    return Tour(config, images, history, pixels, readouts, spikes, plasticity, seconds)


def _train(
    config: DemoConfig, seed: int, images: ImageSet, out: Path
) -> tuple[dict[str, Encoder], list[dict[str, Any]]]:
    networks, histories = {}, {}
    for name, pull in (("LPL", 1.0), ("predictive off", 0.0)):
        folder = out / "runs" / f"{name.replace(' ', '-').lower()}-{seed}"
        run = config.network(seed, pull)
        resume, label = (folder / CONFIG).is_file(), f"{name}, seed {seed}"
        networks[name], histories[name] = train_lpl(run, images, folder, resume=resume, label=label)
    networks["untrained"] = build_encoder(config.network(seed), images.image_shape)
    return networks, histories["LPL"]


def _readouts(config: DemoConfig, encoder: Encoder, seed: int, images: ImageSet) -> list[LayerReadout]:
    run = config.network(seed)
    train, test = prepare(images.train_images, run), prepare(images.test_images, run)
    return layerwise(encoder, train, test, images, config.labels, config.draws, seed)


def _spikes(config: DemoConfig, encoder: Encoder, images: ImageSet) -> Spikes:
    run = config.network(config.seed)
    train, test = prepare(images.train_images, run), prepare(images.test_images, run)
    readout = fit(codes(encoder, train)[-1], images.train_labels)
    network = convert(encoder, readout, train, ConversionConfig())

    trials = Trials.of_images(images.test_images, images.test_labels, partial(prepare, config=run), images.n_classes)

    def report(network: IFNetwork) -> Conversion:
        return simulate_and_report(
            network,
            trials,
            steps=config.steps,
            simulator=snntorch.simulate,
            generator=numpy_generator(config.seed, "input spikes"),
            keep=True,
        )

    analog, poisson = report(network), report(replace(network, input_coding="poisson"))
    x = test.flatten(1).double().numpy()[: config.brian_images]
    torch_spikes = snntorch.simulate(network, x, 32, spikes=True)
    brian_spikes = brian.simulate(network, x, 32, spikes=True)
    return Spikes(
        network,
        analog,
        poisson,
        snntorch.simulate(network, x[:1], config.steps, spikes=True),
        0,
        spike_differences(torch_spikes.spikes, brian_spikes.spikes),
    )


def _plasticity(config: DemoConfig, network: IFNetwork, images: ImageSet) -> Plasticity:
    run = config.network(config.seed)
    train = prepare(images.train_images, run)
    generator = torch.Generator().manual_seed(derive(config.seed, "sequence"))
    rows = torch.randperm(len(train), generator=generator)[: config.sequence]
    frames = image_sequence(train[rows], config.views_each, run.views, generator).flatten(1).double().numpy()
    layer = network.spiking[0]
    weight, bias, scale = layer.weight, layer.bias, float(layer.scale[0])
    activation = np.maximum(frames @ weight.T + bias, 0)

    def at(comparison: ComparisonConfig) -> tuple[Comparison, Statistics]:
        statistics = Statistics.of(activation, comparison)
        coefficients = run.loss.coefficients
        balance = balanced_lambda(activation, statistics, scale, coefficients.pull, coefficients.push, EPSILON)
        label = f"{comparison.realisations} realisations at {comparison.unit_rate:g} Hz"
        return compare(
            frames, weight, bias, comparison, statistics=statistics, balance=balance, label=label
        ), statistics

    fast, statistics = at(config.comparison)
    slow_rate = config.comparison.unit_rate / 10
    slow, _ = at(replace(config.comparison, unit_rate=slow_rate, realisations=2))
    learned = learn(frames, weight, bias, statistics, config.comparison, fast, relative_change=config.learning)

    def accuracy(weight: NDArray[np.float64]) -> tuple[float, float]:
        train_x, test_x = (x.reshape(len(x), -1) / 255 for x in (images.train_images, images.test_images))
        train_z, test_z = (np.maximum(x @ weight.T + bias, 0) for x in (train_x, test_x))
        return few_label_accuracy(train_z, test_z, images, config.labels, config.draws, config.seed)

    return Plasticity(fast, slow, slow_rate, learned, accuracy(weight), accuracy(learned.weights))

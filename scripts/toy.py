"""`ratespike deep toy`: what a single neuron learns; the smaller experiments of Halvagal & Zenke 2023."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from foundation import config as configs
from foundation.config import check_kinds, setting
from foundation.errors import UsageError
from ratenets.toy import digit_sequences, rule_curves, two_inputs
from ratenets.toy.results import EXPERIMENTS, ToyResult, write_result

from .commands import Command
from .options import build_config, config_options, flag_values, root_option
from .outputs import check_outputs, force_option


@dataclass(frozen=True)
class ToyConfig:
    """The settings of all experiments."""

    seed: int = setting(0, "of all random draws; `rule` has none")
    two_inputs: two_inputs.TwoInputsConfig = field(default_factory=two_inputs.TwoInputsConfig)
    digits: digit_sequences.DigitsConfig = field(default_factory=digit_sequences.DigitsConfig)
    rule: rule_curves.CurvesConfig = field(default_factory=rule_curves.CurvesConfig)

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.seed < 0:
            raise UsageError(f"seed: must not be negative, got {self.seed}")


SECTIONS = {"two-inputs": "two_inputs", "rule": "rule", "digit-sequences": "digits"}
"""The fields with the settings of each experiment."""
PAPER: dict[str, Any] = {
    "two_inputs": {"sigmas": 50, "probabilities": 50, "repetitions": 10},
    "digits": {"runs": 10},
}
"""The published sizes."""


@click.command(cls=Command)
@click.option(
    "--experiment",
    type=click.Choice(list(EXPERIMENTS)),
    default="two-inputs",
    show_default=True,
    help="two-inputs: two clusters in the plane, Fig. 2; rule: weight changes and losses, ED Fig. 1 and Suppl. Fig. 1; "
    "digit-sequences: places and digits of MNIST, Suppl. Fig. 2",
)
@click.option(
    "--preset",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    help="default: within a minute; paper: the published number of values and repetitions, minutes",
)
@config_options(ToyConfig, {"paper": PAPER})
@root_option
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the file of results, JSON")
def command(experiment: str, preset: str, root: Path | None, force: bool, out: Path, **flags: Any) -> None:
    """Run one of the smaller experiments of Halvagal & Zenke 2023, all with a single neuron.

    The file of --out holds the settings and all numbers; draw it with `ratespike figure toy`. Settings that name an
    experiment are for that one alone.
    """
    section = SECTIONS[experiment]
    given = flag_values(ToyConfig, flags)
    if root is not None and experiment != "digit-sequences":
        raise UsageError(f"--root: {experiment} reads no dataset; leave it out")
    for name, other in SECTIONS.items():
        if other in given and other != section:
            raise UsageError(f"{', '.join(given[other])}: not for --experiment {experiment} but for {name}")
    default = configs.from_mapping(ToyConfig, PAPER if preset == "paper" else {}, f"preset {preset}")
    config = build_config(default, None, given)
    check_outputs(out, force=force)
    settings = getattr(config, section)
    if experiment == "two-inputs":
        arrays = two_inputs.run(settings, config.seed, progress=True)
    elif experiment == "rule":
        arrays = rule_curves.run(settings)
    else:
        from foundation.data.images import load_images

        arrays = digit_sequences.run(settings, config.seed, load_images("mnist", root), progress=True)
    write_result(out, ToyResult(experiment, settings, config.seed, arrays))
    SUMMARIES[experiment](settings, arrays)
    click.echo(f"{out}: now `ratespike figure toy {out} --out toy.png`")


def _two_inputs(config: two_inputs.TwoInputsConfig, arrays: dict[str, Any]) -> None:
    for sweep, of in (("sigma", "sigma_y"), ("sigma_noisy", f"sigma_y at p = {config.noisy:g}"), ("p", "p")):
        values = config.p_values if sweep == "p" else config.sigma_values
        shown = np.unique(np.linspace(0, len(values) - 1, 7).round().astype(int))
        click.echo(f"{'selectivity by ' + of:32}" + " ".join(f"{values[k]:6.3g}" for k in shown))
        for rule, name in enumerate(two_inputs.RULES):
            mean = arrays[f"{sweep}/selectivity"][rule, shown].mean(-1)
            click.echo(f"  {name.name:30}" + " ".join(f"{value:6.3f}" for value in mean))
    click.echo(f"activity at sigma_y = {two_inputs.COURSE_SIGMA:g}              start          end")
    for name, course in zip(two_inputs.COURSE_RULES, arrays["course/activity"], strict=True):
        click.echo(f"  {name.name:25}{course[0].mean():12.4g} {course[-1].mean():12.4g}")


def _rule(config: rule_curves.CurvesConfig, arrays: dict[str, Any]) -> None:
    predictive, *hebbian = arrays["losses"]
    for name, loss in zip(rule_curves.HEBBIAN_LOSSES, hebbian, strict=True):
        least = int(np.argmin(predictive + loss))
        at = "largest distance" if least == config.points - 1 else f"distance {arrays['distance'][least]:.3f}"
        click.echo(f"predictive loss with {name:9} is least at the {at}")


def _digits(config: digit_sequences.DigitsConfig, arrays: dict[str, Any]) -> None:
    click.echo(f"selectivity, mean of {config.runs} runs +- SD      for the place   for the digit")
    for kind, found in zip(digit_sequences.KINDS, arrays["selectivity"], strict=True):
        for name, own in zip((*(rule.name for rule in digit_sequences.RULES), "untrained"), found, strict=True):
            numbers = " ".join(f"  {own[:, k].mean():5.3f} +- {own[:, k].std():.3f}" for k in range(2))
            click.echo(f"  {kind + ' sequences, ' + name:38}{numbers}")


SUMMARIES: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "two-inputs": _two_inputs,
    "rule": _rule,
    "digit-sequences": _digits,
}

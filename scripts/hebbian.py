"""`ratespike deep hebbian`: local learning rules side by side on small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundation.errors import UsageError
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.experiments import EXPERIMENTS, conditions

from .commands import Command
from .options import config_options, flag_values, root_option
from .outputs import check_either, check_folder, force_option

LIST = "\n\n".join(f"\b\n{name}: {each.text}" for name, each in EXPERIMENTS.items())


@click.command(epilog=LIST, cls=Command)
@click.option("--experiment", type=click.Choice(list(EXPERIMENTS)), help="one of the seven below")
@click.option("--rules", default="", metavar="NAME,NAME,...", help="of an experiment  [default: the experiment's]")
@click.option(
    "--seeds", type=click.IntRange(1, 1000), help="networks of each condition, of --seed and on  [default: 10]"
)
@config_options(HebbianConfig)
@root_option
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file of settings; options win over it")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the run's folder")
@click.option("--resume", is_flag=True, help="go on with what is in --out")
@force_option
def command(
    experiment: str | None,
    rules: str,
    seeds: int | None,
    root: Path | None,
    file: Path | None,
    out: Path,
    resume: bool,
    force: bool,
    **flags: Any,
) -> None:
    """Train a network by the rule of --rule, or make one of the experiments of the Neuromatch project on
    microlearning, for its rules or for those of --rules.

    The folder of --out then holds results.json, which `ratespike figure local-rules` draws; that of a single run also
    config.toml, checkpoint.pt, metrics.jsonl, tensorboard/ and pictures.npz, for the figures local-rules-weights and
    local-rules-examples. What was stopped goes on with --resume.
    """
    check_either(resume, force)
    check_folder(out, file, force=force)
    given = flag_values(HebbianConfig, flags)
    if experiment is None:
        if rules or seeds is not None:
            raise UsageError("--rules, --seeds: are of an experiment; name one with --experiment")
        from .hebbian_run import single

        single(given, root, file, out, resume=resume, force=force)
        return
    if "rule" in given:
        raise UsageError("--rule: an experiment has several; choose some of them with --rules")
    chosen = conditions(experiment, [rule.strip() for rule in rules.split(",")] if rules else ())
    from .hebbian_run import plan, run_experiment

    run_experiment(experiment, plan(chosen, file, given, seeds or 10), root, out, resume=resume, force=force)

"""The report of `ratespike demo`: one page of Markdown, its figures, and the numbers as JSON."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.figures import save
from foundation.files import write_json, write_text
from foundation.progress import bar

from . import demo_figures

if TYPE_CHECKING:
    from .demo import Plasticity, Spikes, Tour

FIGURES = ("training", "readout", "accuracy", "rates", "raster", "plasticity", "updates")


def write_report(tour: Tour, out: Path) -> None:
    """Write figures, report.json and report.md into `out`."""
    for name in bar(FIGURES, label="figures", unit="figure"):
        save(getattr(demo_figures, name)(tour), out / f"{name}.png")
    write_json(out / "report.json", numbers(tour))
    parts = [_head(tour), _readout(tour), _spikes(tour), _plasticity(tour)]
    write_text(out / "report.md", _reflow("\n\n".join(parts)) + "\n")


def _reflow(text: str) -> str:
    """Fill the paragraphs anew, whatever the lengths of their numbers; tables, lists, headings and figures stay."""
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if block.startswith(("|", "#", "!", "-")) else textwrap.fill(block, 110, break_on_hyphens=False)
        for block in blocks
    )


def numbers(tour: Tour) -> dict[str, Any]:
    """Every number of the report as plain values."""
    plasticity = tour.plasticity
    return {
        "seconds": round(tour.seconds, 1),
        "pixels": [p.to_json() for p in tour.pixels],
        "readouts": {k: [[layer.to_json() for layer in run] for run in runs] for k, runs in tour.readouts.items()},
        "conversion": {"analog": tour.spikes.analog.report.to_json(), "poisson": tour.spikes.poisson.report.to_json()},
        "snntorch_and_brian2": dict(zip(("differing", "images", "spikes"), tour.spikes.differences, strict=True)),
        "plasticity": {
            f"{hertz:g} Hz": {term: agreement.summary() for term, agreement in comparison.terms.items()}
            for hertz, comparison in (
                (tour.config.comparison.unit_rate, plasticity.fast),
                (plasticity.slow_rate, plasticity.slow),
            )
        },
        "learned": {
            "eta": plasticity.learned.eta,
            "relative_change": plasticity.learned.relative_change,
            "cosine": plasticity.learned.cosine,
            "few_before": plasticity.before,
            "few_after": plasticity.after,
        },
    }


def _head(tour: Tour) -> str:
    config, images = tour.config, tour.images
    few = {name: values[-1] for name, values in _mean_layers(tour, "few").items()}
    analog = tour.spikes.analog.report
    lpl = tour.plasticity.fast.terms["LPL"].summary()
    return f"""# From rates to spikes that keep learning

- **Rates**: with {config.labels} labels, the last layer reads out at {few["LPL"]:.1f} % after LPL, at
  {few["predictive off"]:.1f} % without the predictive term, and at {few["untrained"]:.1f} % untrained.
- **Spikes**: the rate network's {100 * analog.rate_accuracy:.1f} % (all labels) become
  {100 * analog.spiking_accuracy[31]:.1f} % in spikes, at 32 time steps.
- **Plasticity**: the same rule in spikes changes the weights in the rate rule's direction, at a cosine of
  {lpl["cosine"]:.2f}, where noise would allow {lpl["ceiling"]:.2f} and shuffled inputs give {lpl["shuffled"]:.2f}.

{len(images.train_labels):,} handwritten digits of 8 x 8 pixels for training, {len(images.test_labels)} for testing;
networks of {len(config.hidden)} layers ({", ".join(map(str, config.hidden))} units), trained without labels and
without backpropagation, by the closed form of layer-local Latent Predictive Learning: two views of a digit, shifted by
up to a pixel and rotated by up to 15 degrees, are to look alike (pull), while units are to vary (push) and to differ
from one another (decorrelation).
Seed {config.seed}, {config.seeds} network{"s" if config.seeds > 1 else ""} of each kind, {config.epochs} epochs.

![The three terms of the loss by layer and epoch](training.png)"""


def _readout(tour: Tour) -> str:
    few, every = (_mean_layers(tour, key) for key in ("few", "all"))
    pixels = [100 * float(np.mean([getattr(p, key) for p in tour.pixels])) for key in ("few", "all")]
    last = {name: values[-1] for name, values in few.items()}
    rows = [
        f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + f" | {every[name][-1]:.1f} |"
        for name, values in few.items()
    ]
    layers = range(1, len(tour.config.hidden) + 1)
    spread = _spread(tour)
    return f"""## 1. What the layers know

Test accuracy (%) of a linear readout with {tour.config.labels} labels{spread}, and of the last layer with all labels:

| | {" | ".join(f"layer {n}" for n in layers)} | last, all labels |
|---|{"---|" * (len(layers) + 1)}
{chr(10).join(rows)}
| raw pixels | {pixels[0]:.1f} |{" |" * (len(layers) - 1)} {pixels[1]:.1f} |

With few labels the last layer gives {last["LPL"]:.1f} after LPL, {last["predictive off"]:.1f} without the predictive
term and {last["untrained"]:.1f} untrained: {_depth(few)} Digits this small are easy, though: raw pixels with all
labels reach {pixels[1]:.1f}, and no layer is needed for that.

![Readout accuracy by layer](readout.png)"""


def _depth(few: dict[str, list[float]]) -> str:
    drop = {name: values[0] - values[-1] for name, values in few.items()}
    return (
        f"from the first layer to the last the accuracy changes by {-drop['LPL']:+.1f} points with LPL, "
        f"by {-drop['predictive off']:+.1f} without prediction, by {-drop['untrained']:+.1f} untrained."
    )


def _spread(tour: Tour) -> str:
    if tour.config.seeds == 1:
        deviation = 100 * np.mean([layer.few_deviation for runs in tour.readouts.values() for layer in runs[0]])
        return f" (mean of {tour.config.draws} choices of them, standard deviation about {deviation:.1f})"
    deviation = 100 * np.mean([np.std([run[-1].few for run in runs]) for runs in tour.readouts.values()])
    return f" (mean of {tour.config.seeds} networks, standard deviation of the last layer about {deviation:.1f})"


def _mean_layers(tour: Tour, key: str) -> dict[str, list[float]]:
    return {
        name: [
            100 * float(value) for value in np.mean([[getattr(layer, key) for layer in run] for run in runs], axis=0)
        ]
        for name, runs in tour.readouts.items()
    }


def _spikes(tour: Tour) -> str:
    spikes: Spikes = tour.spikes
    analog, poisson = spikes.analog.report, spikes.poisson.report
    at = [4, 8, 16, 32, analog.steps]
    cells = [
        f"| {name} | " + " | ".join(f"{100 * report.spiking_accuracy[t - 1]:.1f}" for t in at) + f" | {report.flips} |"
        for name, report in (("constant current", analog), ("Poisson spikes", poisson))
    ]
    loss = 100 * (analog.rate_accuracy - analog.spiking_accuracy[31])
    chance = "; less than none is chance" if loss < 0 else ""
    differing, images, total = spikes.differences
    same = (
        f"identical in all {total:,} spikes"
        if not differing
        else f"different in {differing} of {total:,} spikes ({images} digits): ties at the threshold"
    )
    return f"""## 2. The same network in spikes

Integrate-and-fire units with soft reset, weights rescaled by the 99.9th percentile of each layer's activations.
The rate network classifies {100 * analog.rate_accuracy:.1f} % of the {analog.images} test digits; the spiking network:

| input | {" | ".join(f"T = {t}" for t in at)} | flips at T = {analog.steps} |
|---|{"---|" * (len(at) + 1)}
{chr(10).join(cells)}

**At T = 32 the conversion costs {loss:.1f} points** (one digit is {100 / analog.images:.1f} points{chance}).
snnTorch and Brian2, run on the same object for {tour.config.brian_images} digits and 32 steps, are {same}.
Where a conversion loses, the layers tell (constant current, T = {analog.steps}):

{analog.table()}

![Accuracy against time steps](accuracy.png)

![Activation against firing rate by layer](rates.png)

![Spikes of all layers for one digit](raster.png)"""


def _plasticity(tour: Tour) -> str:
    plasticity: Plasticity = tour.plasticity
    config, fast, slow = tour.config.comparison, plasticity.fast, plasticity.slow
    rows = []
    for term, agreement in fast.terms.items():
        summary = agreement.summary()
        cells = [summary[key] for key in ("cosine", "ceiling", "shuffled", "reordered", "other")]
        cells.append(slow.terms[term].summary()["cosine"])
        rows.append(f"| {term} | " + " | ".join(f"{value:.2f}" for value in cells) + " |")
    slow_cosine, slow_ceiling = (slow.terms["LPL"].summary()[key] for key in ("cosine", "ceiling"))
    learned, units = plasticity.learned, len(fast.units)
    return f"""## 3. The same plasticity in spikes

The first layer, with its trained weights, now consists of spiking neurons whose synapses follow the LPL rule
(Brian2), driven by a sequence of {tour.config.sequence} digits, {tour.config.views_each} views of {config.frame:g} s
each, as Poisson spikes. With the weights frozen, the mean update of each unit's synapses over {config.realisations}
realisations is compared with what the rate rule does for the same frames (cosine; median over {units} units):

| term | agreement | ceiling | shuffled | reordered | other unit | agreement at {plasticity.slow_rate:g} Hz |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The ceiling is what the noise of the realisations allows. The controls compare with the rate update for inputs shuffled
in time against the activity they caused, for frames in another order (the Hebbian term knows no order: nothing changes
there), and with another unit's. LPL is the sum of both terms with lambda = {fast.balance:.0f}, the balance that they
have in the rate network.

An activation of 1 stands for {config.unit_rate:g} Hz: the converted network's one spike per step, with steps
of {1000 / config.unit_rate:g} ms. **At a tenth of that rate the agreement of LPL is {slow_cosine:.2f}**, though noise
would allow {slow_ceiling:.2f}: a unit then fires less than one spike within the filters' 10 ms, so that one and the
same spike rules its error and its eligibility (the surrogate derivative peaks where the spike is). The rate rule is the
limit of many spikes per filter, or of many neurons per unit; tests/bridge/test_coincidence.py takes the two apart.

Learning on: after {len(fast.rates[0]) * config.frame:.1f} s the weights have moved by
{100 * learned.relative_change:.1f} % of their norm, at a cosine of {learned.cosine:.2f} with the rate rule's update
(one realisation, weights changing on the way). Back in the rate network, the first layer's readout with
{tour.config.labels} labels goes from {100 * plasticity.before:.1f} to {100 * plasticity.after:.1f} %.

![Rate against spiking updates](plasticity.png)

![Updates of eight units as images](updates.png)

---
Took {tour.seconds:.0f} s. All numbers are in report.json; the trained networks are in runs/."""

"""The report of `ratespike demo`: one page of Markdown, its figures, and the numbers as JSON.

The text states numbers and what they are compared with; it does not know beforehand how they come out.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.figures import save
from foundation.files import write_json, write_text
from foundation.progress import bar

from . import demo_figures

if TYPE_CHECKING:
    from bridge.comparison import Comparison

    from .demo_tour import Tour

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
    plasticity, learned = tour.plasticity, tour.plasticity.learned
    differing, images, total = tour.spikes.differences
    return {
        "config": asdict(tour.config),
        "seconds": round(tour.seconds, 1),
        "pixels": [p.to_json() for p in tour.pixels],
        "readouts": {k: [[layer.to_json() for layer in run] for run in runs] for k, runs in tour.readouts.items()},
        "conversion": {"analog": tour.spikes.analog.report.to_json(), "poisson": tour.spikes.poisson.report.to_json()},
        "snntorch_and_brian2": {"differing_spikes": differing, "differing_images": images, "spikes": total},
        "plasticity": {f"{hertz:g} Hz": _comparison_numbers(c) for hertz, c in _by_rate(tour).items()},
        "learned": {
            "eta": learned.eta,
            "relative_change": learned.relative_change,
            "cosine": float(np.median(learned.cosine)),
            "overall": learned.overall,
            "few_before": plasticity.before,
            "few_after": plasticity.after,
        },
    }


def _by_rate(tour: Tour) -> dict[float, Comparison]:
    """The two comparisons by the firing rate that an activation of 1 stands for, in Hz."""
    return {tour.config.comparison.unit_rate: tour.plasticity.fast, tour.plasticity.slow_rate: tour.plasticity.slow}


def _comparison_numbers(comparison: Comparison) -> dict[str, Any]:
    return {
        "lambda": comparison.balance,
        "units": len(comparison.units),
        "realisations": comparison.realisations,
        "rate_correlation": comparison.rate_correlation,
        "terms": {term: agreement.summary() for term, agreement in comparison.terms.items()},
    }


def _head(tour: Tour) -> str:
    config, images = tour.config, tour.images
    few = {name: values[-1] for name, values in _mean_layers(tour, "few").items()}
    every = _mean_layers(tour, "all")
    ahead = sum(off > lpl for off, lpl in zip(every["predictive off"], every["LPL"], strict=True))
    in_layers = "in every layer" if ahead == len(config.hidden) else f"in {ahead} of {len(config.hidden)} layers"
    pixels = 100 * float(np.mean([p.few for p in tour.pixels]))
    analog = tour.spikes.analog.report
    fast, slow = _by_rate(tour).values()
    lpl, low = (comparison.terms["LPL"].summary() for comparison in (fast, slow))
    return f"""# From rates to spikes that keep learning

- **Rates**: with {config.labels} labels, the last of {len(config.hidden)} layers reads out at {few["LPL"]:.1f} %
  after LPL, at {few["predictive off"]:.1f} % without the predictive term and at {few["untrained"]:.1f} % untrained;
  raw pixels at {pixels:.1f} %. With all labels the network without the predictive term is ahead {in_layers}
  ({every["predictive off"][-1]:.1f} against {every["LPL"][-1]:.1f} % in the last).
- **Spikes**: the rate network's {100 * analog.rate_accuracy:.1f} % (all labels) become
  {100 * analog.spiking_accuracy[31]:.1f} % in spikes, at 32 time steps.
- **Plasticity**: the spiking rule's updates have a cosine of {lpl["cosine"]:.2f} with the rate rule's where an
  activation of 1 is {config.comparison.unit_rate:g} Hz (the layer's mean rate: {fast.rates[0].mean():.0f} Hz; no
  cortical rates; noise allows {lpl["ceiling"]:.2f}, shuffled inputs give {lpl["shuffled"]:.2f}), and of
  {low["cosine"]:.2f} at a tenth of that (mean {slow.rates[0].mean():.0f} Hz; shuffled: {low["shuffled"]:.2f}).
  Lambda, the weight of the Hebbian term, is {fast.balance:.0f} there and {slow.balance:.0f} here, each the balance
  of the rate network.

{len(images.train_labels):,} handwritten digits of 8 x 8 pixels for training, {len(images.test_labels)} for testing;
networks of {len(config.hidden)} layers ({", ".join(map(str, config.hidden))} units), trained without labels and
without backpropagation, by the closed form of layer-local Latent Predictive Learning: two views of a digit, shifted by
up to a pixel and rotated by up to 15 degrees, are to look alike (pull), while units are to vary (push) and to differ
from one another (decorrelation). Seed {config.seed}, {config.seeds} network{"s" if config.seeds > 1 else ""} of each
kind, {config.epochs} epochs.

![The three terms of the loss by layer and epoch](training.png)

*The three terms of the loss: the mean squared difference z - z' between two views, minus the log variance, and the
squared covariances C of pairs of units. Activity starts close to 0, so pull and decorrelation are tiny until push has
made the units vary.*"""


def _readout(tour: Tour) -> str:
    few, every = (_mean_layers(tour, key) for key in ("few", "all"))
    spread = _spread(tour)
    pixels = [100 * float(np.mean([getattr(p, key) for p in tour.pixels])) for key in ("few", "all")]
    names = [f"layer {n}" for n in range(1, len(tour.config.hidden) + 1)]

    def rows(values: dict[str, list[float]], deviations: dict[str, list[float]] | None) -> str:
        lines = []
        for name, row in values.items():
            cells = [f"{value:.1f}" for value in row]
            if deviations:
                cells = [f"{cell} ± {d:.1f}" for cell, d in zip(cells, deviations[name], strict=True)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)

    header = f"| {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    over = f"{tour.config.seeds} networks" if tour.config.seeds > 1 else f"{tour.config.draws} choices of the labels"
    change = {name: values[-1] - values[0] for name, values in few.items()}
    return f"""## 1. What the layers know

Test accuracy (%) of a linear readout with {tour.config.labels} labels (± standard deviation over {over}; raw pixels:
{pixels[0]:.1f}):

| {tour.config.labels} labels {header}
{rows(few, spread)}

and with all {len(tour.images.train_labels):,} labels (raw pixels: {pixels[1]:.1f}):

| all labels {header}
{rows(every, None)}

From the first layer to the last, accuracy with few labels changes by {change["LPL"]:+.1f} points with LPL, by
{change["predictive off"]:+.1f} without the predictive term and by {change["untrained"]:+.1f} untrained. To keep
deep layers readable is what the predictive term is for; it is no contest with the pixels: digits this small are easy,
and with all labels a linear readout of the pixels needs no network.

![Readout accuracy by layer](readout.png)

*Readout accuracy by layer, (a) with few labels, (b) with all. Dotted: raw pixels.*"""


def _spread(tour: Tour) -> dict[str, list[float]]:
    """Standard deviations in points, by condition and layer: over networks, or over choices of labels for just one."""
    spread = {}
    for name, runs in tour.readouts.items():
        values = np.array([[layer.few for layer in run] for run in runs])
        deviations = values.std(0) if len(runs) > 1 else [layer.few_deviation for layer in runs[0]]
        spread[name] = [100 * float(d) for d in deviations]
    return spread


def _mean_layers(tour: Tour, key: str) -> dict[str, list[float]]:
    return {
        name: [
            100 * float(value) for value in np.mean([[getattr(layer, key) for layer in run] for run in runs], axis=0)
        ]
        for name, runs in tour.readouts.items()
    }


def _spikes(tour: Tour) -> str:
    spikes = tour.spikes
    analog, poisson = spikes.analog.report, spikes.poisson.report
    at = [4, 8, 16, 32] + ([analog.steps] if analog.steps > 32 else [])
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
    events = sum(layer.synaptic_operations for layer in analog.layers) + analog.readout_operations
    macs = sum(layer.macs for layer in analog.layers)
    return f"""## 2. The same network in spikes

Integrate-and-fire units with soft reset; each layer's weights are rescaled so that the 99.9th percentile of its
activations is one spike per step. The rate network{_which(tour)} classifies {100 * analog.rate_accuracy:.1f} % of the
{analog.images} test digits (readout from all labels); the spiking network, after T steps (flips: digits whose class is
not the rate network's):

| input | {" | ".join(f"T = {t}" for t in at)} | flips at T = {analog.steps} |
|---|{"---|" * (len(at) + 1)}
{chr(10).join(cells)}

**At T = 32 the conversion costs {loss:.1f} points** (one digit is {100 / analog.images:.1f} points{chance}).
snnTorch and Brian2, run on the same object for {tour.config.brian_images} digits and 32 steps, are {same}.

Where a conversion loses, the layers tell: how firing rates follow activations (correlation; error relative to the
activations' size), how many activations exceed one spike per step (saturated), how many units never fire; and what it
costs, per digit (constant current, T = {analog.steps}):

{analog.table()}

A constant current needs no synaptic events in the first layer. In all there are {events / macs:.0f} synaptic events for
every multiply-accumulate (MAC) of the rate network: spikes at these rates are no saving in operations.

![Accuracy against time steps](accuracy.png)

*Accuracy of the spiking network against time. Dotted: the rate network; dashed: chance.*

![Activation against firing rate by layer](rates.png)

*Activation in the rate network against firing rate in the spiking one, all units and test digits, constant current.
Dotted: what would be exact.*

![Spikes of all layers for one digit](raster.png)

*One digit (left) going through the spiking network.*"""


def _which(tour: Tour) -> str:
    return f" (of seed {tour.config.seed})" if tour.config.seeds > 1 else ""


def _plasticity(tour: Tour) -> str:
    plasticity = tour.plasticity
    config, fast, slow, learned = tour.config.comparison, plasticity.fast, plasticity.slow, plasticity.learned
    slow_lpl = slow.terms["LPL"].summary()
    before, after = ([100 * value for value in pair] for pair in (plasticity.before, plasticity.after))
    seconds = len(fast.rates[0]) * config.frame
    reached = learned.relative_change / tour.config.learning
    missed = "" if 0.5 <= reached <= 2 else ", and missed: learning feeds on itself here"
    return f"""## 3. The same plasticity in spikes

The first layer{_which(tour)}, with its trained weights, now consists of spiking neurons whose synapses follow the LPL
rule (Brian2), driven by a sequence of {tour.config.sequence} digits, {tour.config.views_each} views of
{config.frame:g} s each, as Poisson spikes. With the weights frozen, the mean update of each unit's synapses is compared
with what the rate rule does for the same frames. An activation of 1, the layer's 99.9th percentile, stands for
{config.unit_rate:g} Hz: one spike per step of the converted network, with steps of {1000 / config.unit_rate:g} ms.
Neurons follow the rate network's activations (r = {fast.rate_correlation:.3f}). Cosines, medians over
{len(fast.units)} units, {fast.realisations} realisations:

{_table(fast)}

and at a tenth of these rates ({slow.realisations} realisations):

{_table(slow)}

The ceiling is what the noise of the realisations allows. The controls compare with the rate update for inputs shuffled
in time against the activity that they caused, for frames in another order (which the Hebbian term cannot tell, and
much of the predictive one does not depend on), and with another unit's. LPL is the sum of both terms with lambda =
{fast.balance:.0f} ({slow.balance:.0f} at the low rates), the balance that they have in the rate network; decorrelation,
the third term of training, has no signal at a synapse and is left out on both sides.

At the low rates LPL has a cosine of {slow_lpl["cosine"]:.2f} with the rate rule, and of {slow_lpl["shuffled"]:.2f}
and {slow_lpl["reordered"]:.2f} with the controls in time; noise would allow {slow_lpl["ceiling"]:.2f}. What differs
there is systematic. One cause: a unit fires less than one spike within the filters' 10 ms, so that its error and its
eligibility meet in the same spike. For the predictive term, tests/bridge/test_coincidence.py in the sources shows that
this explains a part, not all: it pairs the eligibility with the error of another realisation. The rate rule is the
limit of many spikes per filter, or of many neurons per unit.

Learning on, at the high rates: after {seconds:.1f} s the active units' weights have moved by
{100 * learned.relative_change:.1f} % of their norm (aimed at {100 * tour.config.learning:g} %{missed}),
at a cosine with the rate rule's update of {float(np.median(learned.cosine)):.2f} per unit (median) and
{learned.overall:.2f} over all synapses (frozen, mean of {fast.realisations}: {fast.terms["LPL"].overall:.2f}). Back in
the rate network, the first layer's readout with {tour.config.labels} labels goes from {before[0]:.1f} ± {before[1]:.1f}
to {after[0]:.1f} ± {after[1]:.1f} %; so short a time is to show the way, not a gain.

![Rate against spiking updates](plasticity.png)

*LPL updates at the two levels. (a) Every synapse, each level in units of its largest update: directions are compared,
not sizes. (b) Every unit: agreement, noise ceiling, controls; bars are medians. (c) Medians at two firing rates; dashes
mark the control with shuffled inputs.*

![Updates of eight units as images](updates.png)

*The rate rule's and the spiking rule's update of eight units as images of their input (red up, blue down, each scaled
by itself), from the unit of the worst agreement (left) to that of the best.*

---

Took {tour.seconds:.0f} s (without imports and figures, and without training that an earlier call had done). All numbers
and settings are in report.json, the trained networks in runs/."""


def _table(comparison: Comparison) -> str:
    rows = [
        "| term | agreement | ceiling | shuffled | reordered | other unit | all synapses |",
        "|---|---|---|---|---|---|---|",
    ]
    for term, agreement in comparison.terms.items():
        summary = agreement.summary()
        keys = ("cosine", "ceiling", "shuffled", "reordered", "other", "overall")
        rows.append(f"| {term} | " + " | ".join(f"{summary[key]:.2f}" for key in keys) + " |")
    return "\n".join(rows)

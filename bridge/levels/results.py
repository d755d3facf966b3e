"""What a comparison of the two levels found, as plain numbers in a JSON file, and as a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bridge.levels.agreement import MEASURES
from bridge.levels.ladder import Ladder
from bridge.levels.learning import Learned
from bridge.levels.parts import NAMES, Parts
from bridge.levels.rule import TERMS
from foundation.files import write_json
from foundation.json_files import read_json

KIND = "ratespike comparison of rate and spiking plasticity"
Results = dict[str, Any]


def results_of(
    ladder: Ladder,
    sweeps: Mapping[str, list[dict[str, float]]] | None = None,
    learned: Learned | None = None,
    parts: Mapping[str, Parts] | None = None,
) -> Results:
    """All numbers, plain: lists and floats by name."""
    exists = ladder.part.weights != 0
    curve = ladder.curve
    return {
        "kind": KIND,
        "format": 1,
        "stimulus": ladder.layer.name,
        "reading": ladder.layer.reading,
        "seconds": ladder.layer.stimulus.duration,
        "units": len(ladder.units),
        "inputs": ladder.layer.weights.shape[1],
        "synapses": int(exists.sum()),
        "config": asdict(ladder.config),
        "rungs": [rung.name for rung in ladder.rungs],
        "rates": {rung.name: rung.rates.tolist() for rung in ladder.rungs},
        "agreement": {
            rung: {
                term: {
                    "overall": found.overall,
                    **{key: getattr(found, key).tolist() for key in MEASURES},
                }
                for term, found in terms.items()
            }
            for rung, terms in ladder.agreement.items()
        },
        "sizes": {
            rung.name: {term: float(np.linalg.norm(rung.mean(term)[exists])) for term in TERMS} for rung in ladder.rungs
        },
        "realisations": {term: ladder.by_realisations(term) for term in TERMS},
        "curve": {
            "drive": curve.drive.tolist(),
            "rate": curve.rate.tolist(),
            "slope": curve.slopes.tolist(),
            "surrogate": curve.surrogate.tolist(),
        },
        "parts": {
            term: {"projections": of.projections(), "sizes": of.sizes(), "agreement": of.agreement()}
            for term, of in (parts or {}).items()
        },
        "sweeps": dict(sweeps or {}),
        "learned": None if learned is None else _learned(learned, ladder.layer.group_names),
    }


def _learned(learned: Learned, names: tuple[str, ...]) -> Results:
    selectivity = learned.selectivity or {}
    return {
        "cosine": learned.cosine.tolist(),
        "overall": learned.overall,
        "change": learned.change,
        "populations": list(names),
        "selectivity": {name: values.mean(0).tolist() for name, values in selectivity.items()},
        "cka": learned.cka,
        "participation ratio": learned.participation_ratio,
        "readout": learned.readout,
    }


def write_results(path: Path, results: Results) -> None:
    """Write them; NaN becomes null."""
    write_json(path, _without_nan(results))


def read_results(path: Path) -> list[Results]:
    """Read one file, for `ratespike figure plasticity`.

    Raises:
        RatespikeError: no such file, or not such a file.
    """
    return [read_json(path, KIND, 1, "ratespike bridge compare", _checked)]


def _checked(found: Results) -> Results:
    """What a figure draws is there, and of numbers."""
    for of in found["parts"].values():
        [float(of["projections"][name]) for name in NAMES]
    for rung in found["rungs"]:
        [float(found["sizes"][rung][term]) for term in TERMS]
        np.asarray(found["rates"][rung], dtype=float).mean()
        for term in TERMS:
            of = found["agreement"][rung][term]
            sizes = {np.asarray(of[key], dtype=float).shape for key in MEASURES}
            if len(sizes) != 1 or len(sizes.pop()) != 1:
                raise ValueError(f"{rung}, {term}: as many numbers as units are needed")
    curve = [np.asarray(found["curve"][key], dtype=float) for key in ("drive", "rate", "slope", "surrogate")]
    if len({each.shape for each in curve}) != 1:
        raise ValueError("the curve's parts are of different lengths")
    for term in TERMS:
        if np.asarray(found["realisations"][term], dtype=float).shape[1:] != (3,):
            raise ValueError(f"realisations of {term}: rows of three numbers are needed")
    for rows in found["sweeps"].values():
        [[float(row[f"{term} correlation"]) for term in TERMS] + [float(row["value"])] for row in rows]
    if found["learned"] is not None:
        found["learned"].keys()
    return found


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(results: Results, term: str) -> str:
    """The ladder of one term as a Markdown table; medians over units."""
    lines = [
        "| rung | cosine to the first | ceiling | correlation with the first | ceiling | with the rung before "
        "| shuffled: cosine, correlation | other unit: cosine, correlation | rate (Hz) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rung in results["rungs"]:
        found = results["agreement"][rung][term]
        m = {key: float(np.median(found[key])) for key in MEASURES}
        lines.append(
            f"| {rung} | {m['to_first']:.2f} | {m['ceiling']:.2f} | {m['pearson']:.2f} | {m['pearson_ceiling']:.2f} "
            f"| {m['pearson_before']:.2f} "
            f"| {m['shuffled']:.2f}, {m['shuffled_pearson']:.2f} | {m['other']:.2f}, {m['other_pearson']:.2f} "
            f"| {float(np.mean(results['rates'][rung])):.1f} |"
        )
    return "\n".join(lines)


def where_lost(results: Results, term: str) -> tuple[str, float]:
    """The rung at which a term agrees least with the rung before, and how much (median correlation)."""
    rungs = results["rungs"][1:]
    values = [float(np.median(results["agreement"][rung][term]["pearson_before"])) for rung in rungs]
    least = int(np.argmin(values))
    return rungs[least], values[least]


def report(results: Results, figures: tuple[str, ...]) -> str:
    """What was found, in Markdown, with its figures."""
    config = results["config"]
    parts = [
        f"# Rate against spiking plasticity: {results['stimulus']}",
        f"{results['units']} units with {results['inputs']} inputs ({results['synapses']} synapses), "
        f"{results['reading']} reading, "
        f"{results['seconds']:g} s of stimulus in steps of {1e3 * config['dt']:g} ms, {config['realisations']} "
        "realisations; weights frozen. A cosine is that of a unit's updates at two rungs of the ladder; a correlation "
        "has what all inputs share taken out. Medians over units.",
        *(f"![{figure}]({figure})" for figure in figures),
    ]
    for term in TERMS:
        rung, value = where_lost(results, term)
        last = results["agreement"][results["rungs"][-1]][term]["overall"]
        parts += [
            f"## {'All terms together' if term == 'LPL' else term.capitalize() + ' term'}",
            table(results, term),
            f"Most is lost at '{rung}' (correlation {value:.2f} with the rung before). Over all synapses, the last "
            f"rung's cosine to the rate rule is {last['to_first']:.2f} (ceiling {last['ceiling']:.2f}), its "
            f"correlation {last['pearson']:.2f} (ceiling {last['pearson_ceiling']:.2f}).",
        ]
    if results["parts"]:
        parts += ["## What the unit's spikes add", _parts_text(results)]
    if results["learned"]:
        parts += ["## Learning on", _learning_text(results["learned"])]
    return "\n\n".join(parts) + "\n"


def _parts_text(results: Results) -> str:
    """The spiking unit's update in parts, and how the terms weigh against each other."""
    lines = [
        "The spiking unit's update (without inhibition), in per cent: what follows the stimulus, and is all that a "
        "rate rule can see; what a unit's derivative and error share because both know of its own spikes; what pairs "
        "of input and output spikes add. Cosine: of the first part to the rate rule behind the same filters.",
        "| term | stimulus | own spikes | pairs | cosine |",
        "|---|---|---|---|---|",
    ]
    for term, of in results["parts"].items():
        shares = " | ".join(f"{100 * of['projections'][name]:.0f}" for name in NAMES)
        lines.append(f"| {term} | {shares} | {of['agreement']['locked']:.2f} |")
    weighs = ", ".join(
        f"{rung} {sizes['predictive'] / sizes['Hebbian']:.2g}" for rung, sizes in results["sizes"].items()
    )
    ratio = f"Size of the predictive term, relative to the Hebbian: {weighs}."
    return "\n\n".join([lines[0], "\n".join(lines[1:]), ratio])


def _learning_text(found: Results) -> str:
    change, readout, dimension = found["change"], found["readout"], found["participation ratio"]
    lines = [
        f"The changes of the two levels have a cosine of {found['overall']:.2f} over all synapses (median over units "
        f"{float(np.median(found['cosine'])):.2f}); the rate level's weights moved by {100 * change['rate']:.0f} % of "
        f"their norm, the spiking level's by {100 * change['spiking']:.0f} %.",
        "| weights | participation ratio | readout of the inputs, R^2 |",
        "|---|---|---|",
        *(f"| {name} | {_number(dimension[name])} | {_number(readout[name])} |" for name in dimension),
    ]
    cka = ", ".join(f"{pair} {_number(value)}" for pair, value in found["cka"].items())
    return lines[0] + "\n\n" + "\n".join(lines[1:]) + f"\n\nLinear CKA between responses: {cka}."


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"

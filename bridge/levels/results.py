"""What a comparison of the two levels found, as plain numbers in a JSON file, and as a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bridge.levels.ladder import MEASURES, Ladder
from bridge.levels.learning import Learned
from bridge.levels.rule import TERMS
from foundation.files import write_json
from foundation.json_files import read_json

KIND = "ratespike comparison of rate and spiking plasticity"
Results = dict[str, Any]


def results_of(
    ladder: Ladder, sweeps: Mapping[str, list[dict[str, float]]] | None = None, learned: Learned | None = None
) -> Results:
    """All numbers, plain: lists and floats by name."""
    curve = ladder.curve
    return {
        "kind": KIND,
        "format": 1,
        "stimulus": ladder.layer.name,
        "reading": ladder.layer.reading,
        "seconds": ladder.layer.stimulus.duration,
        "units": len(ladder.units),
        "inputs": ladder.layer.weights.shape[1],
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
        "realisations": {term: [[n, *values] for n, values in ladder.by_realisations(term).items()] for term in TERMS},
        "curve": {
            "drive": curve.drive.tolist(),
            "rate": curve.rate.tolist(),
            "slope": curve.slopes.tolist(),
            "surrogate": curve.surrogate.tolist(),
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
    for rung in found["rungs"]:
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
        "| rung | cosine to the rung before | to the first | correlation with the first | ceiling "
        "| shuffled: cosine, correlation | other unit: cosine, correlation | rate (Hz) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rung in results["rungs"]:
        found = results["agreement"][rung][term]
        m = {key: float(np.median(found[key])) for key in MEASURES}
        lines.append(
            f"| {rung} | {m['to_before']:.2f} | {m['to_first']:.2f} | {m['pearson']:.2f} | {m['ceiling']:.2f} "
            f"| {m['shuffled']:.2f}, {m['shuffled_pearson']:.2f} | {m['other']:.2f}, {m['other_pearson']:.2f} "
            f"| {float(np.mean(results['rates'][rung])):.1f} |"
        )
    return "\n".join(lines)


def where_lost(results: Results, term: str) -> tuple[str, float]:
    """The rung at which a term agrees least with the rung before, and how much (median cosine)."""
    rungs = results["rungs"][1:]
    values = [float(np.median(results["agreement"][rung][term]["to_before"])) for rung in rungs]
    least = int(np.argmin(values))
    return rungs[least], values[least]


def report(results: Results, figures: tuple[str, ...]) -> str:
    """What was found, in Markdown, with its figures."""
    config = results["config"]
    parts = [
        f"# Rate against spiking plasticity: {results['stimulus']}",
        f"{results['units']} units with {results['inputs']} inputs, {results['reading']} reading, "
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
            f"Most is lost at '{rung}' (cosine {value:.2f} to the rung before). Over all synapses, the last rung's "
            f"cosine to the rate rule is {last['to_first']:.2f}, its ceiling {last['ceiling']:.2f}.",
        ]
    if results["learned"]:
        parts += ["## Learning on", _learning_text(results["learned"])]
    return "\n\n".join(parts) + "\n"


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

"""All readers of files, each with a maker of a good small file: what the campaign of damaged files goes through.

A maker gets an empty folder and returns the file in it that is to be damaged. A reader gets that file and does with it
what the commands do, up to the drawing of a figure; it is given damaged ones, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.faults import results

Maker = Callable[[Path], Path]
Reader = Callable[[Path], object]


class Case(NamedTuple):
    """A maker of a good file, and its reader."""

    make: Maker
    read: Reader


# --- spiking ----------------------------------------------------------------------------------------------------------
def _network_file() -> Any:
    from spiking.network_file import NetworkFile, Statistics
    from tests.spiking.test_if_graphs import network_of

    network = network_of(np.random.default_rng(0))
    numbers = list(network.spiking)
    statistics = {n: Statistics(np.ones(network.shapes[n]), np.ones(network.shapes[n])) for n in numbers[:2]}
    return NetworkFile(network, {"kind": "lpl", "data": "digits", "config": 'data = "digits"\n'}, statistics)


def _make_network(folder: Path) -> Path:
    _network_file().save(folder / "net.h5")
    return folder / "net.h5"


def _read_network(path: Path) -> object:
    from bridge.exchange import _projections, layer_weights
    from foundation.hdf5_kinds import kind_of
    from spiking.network_file import load_file
    from spiking.torch.integrate_and_fire import simulate

    kind_of(path)
    file = load_file(path)
    images = np.ones((1, *file.network.input_shape))
    task = np.zeros(1, np.int64) if file.network.tasks else None
    return (
        layer_weights(file.network),
        _projections(file.network),
        simulate(file.network, images, 2, task=task),
    )


def _make_run(folder: Path) -> Path:
    from spiking import simulation
    from spiking.run_file import write_networks
    from tests.spiking.test_run_file import finished

    longest, simulation.LONGEST = simulation.LONGEST, 0.5
    try:
        write_networks(folder / "run.h5", [finished(folder / "run").finished()])
    finally:
        simulation.LONGEST = longest
    return folder / "run.h5"


def _read_run(path: Path) -> object:
    from spiking.analysis import analyse
    from spiking.recording import distinguished
    from spiking.run_file import read_configs, read_networks

    return read_configs(path), [analyse(record).summary.to_json() for record in distinguished(read_networks(path))]


def _make_run_folder(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from spiking.run_folder import RunFolder

        run = RunFolder(folder / "run", {"config": {"a": 1, "b": [1.5, 2.5]}}, resume=False)
        run.add(0, {"exc_step": np.arange(30)}, {"w": np.arange(50.0), "clock": np.array([3])})
        run.add(1, {"exc_step": np.arange(30)}, {"w": np.arange(50.0), "clock": np.array([6])})
        return folder / "run" / name

    return make


def _read_run_folder(path: Path) -> object:
    from spiking.run_folder import RunFolder

    folder = path.parent.parent if path.parent.name == "pieces" else path.parent
    run = RunFolder(folder, {"config": {"a": 1, "b": [1.5, 2.5]}}, resume=True)
    return list(run.pieces())


def _make_pairings(folder: Path) -> Path:
    from spiking.pairing import PairingProtocol
    from spiking.recording import PairingCurve
    from spiking.run_file import write_pairings

    protocols = [PairingProtocol(initial_variance=v) for v in (1.0, 10.0)]
    delta_t = np.linspace(-0.02, 0.02, 20)
    curves = [
        PairingCurve(p.frequency, p.initial_mean, p.initial_variance, 0.02, p.variant, delta_t, delta_t * 3, 75)
        for p in protocols
    ]
    write_pairings(folder / "stdp.h5", protocols, curves)
    return folder / "stdp.h5"


def _make_rates(name: str) -> Maker:
    def make(folder: Path) -> Path:
        rates = np.random.default_rng(0).uniform(0, 9, (3, 40))
        if name.endswith(".npy"):
            np.save(folder / name, rates)
        else:
            np.savez_compressed(folder / name, rates=rates, interval=np.array(0.01))
        return folder / name

    return make


def _read_rates(path: Path) -> object:
    from spiking.stimuli import load_rates

    return load_rates(path)


# --- files of others --------------------------------------------------------------------------------------------------
def _make_nir(folder: Path) -> Path:
    from bridge.nir.converted import write_network
    from spiking.integrate_and_fire import IFLayer, IFNetwork
    from spiking.network_file import NetworkFile

    rng = np.random.default_rng(0)
    layers = [
        IFLayer.dense(f"layer {k}", rng.normal(size=(5, 6 - (k > 0))), rng.normal(size=5), np.ones(1)) for k in (0, 1)
    ]
    readout = IFLayer.dense("readout", rng.normal(size=(3, 5)), np.zeros(3), np.ones(1))
    write_network(folder / "net.nir", NetworkFile(IFNetwork(tuple(layers), readout, reset="zero")), 1e-3)
    return folder / "net.nir"


def _read_nir(path: Path) -> object:
    from bridge.nir.converted import network_of, plasticity_of
    from bridge.nir.files import read_nir

    graph = read_nir(path)
    return plasticity_of(graph), network_of(graph)


def _events() -> Any:
    from spiking.stimuli import SpikeEvents

    rng = np.random.default_rng(0)
    step = np.sort(rng.choice(1000, 60, replace=False))
    return SpikeEvents(rng.integers(0, 9, 60), step, 9, 1e-4, 1001)


def _edges() -> Any:
    from bridge.files.edges import Edges

    rng = np.random.default_rng(0)
    pre, post = np.divmod(rng.choice(120, 50, replace=False), 10)
    return Edges(pre, post, rng.normal(size=50), 12, 10)


def _make_sonata(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from bridge.files import sonata, sonata_network

        path = folder / f"{name}.h5"
        if name == "spikes":
            sonata.write_spikes(path, {"exc": _events()})
        elif name == "nodes":
            sonata_network.write_nodes(path, {"exc": 9, "inh": 4})
        else:
            sonata_network.write_edges(path, {"a_to_b": sonata_network.EdgePopulation(_edges(), "a", "b")})
        return path

    return make


def _read_sonata(path: Path) -> object:
    from bridge.exchange import import_sonata
    from bridge.files.sonata_network import read_nodes

    if path.stem == "nodes":
        return read_nodes(path)
    return import_sonata(path, path.parent / ("out.ras" if path.stem == "spikes" else "out.npz"), dt=1e-4)


def _make_types(folder: Path) -> Path:
    from bridge.files import sonata_network

    path = _make_sonata("edges")(folder)
    sonata_network.write_edge_types(folder / "types.csv", ["a_to_b"])
    (folder / "types.csv").write_text(
        "edge_type_id population syn_weight delay\n0 a_to_b 0.25 2.0\n1 a_to_b 1e-3 0.5\n"
    )
    return path.with_name("types.csv")


def _read_types(path: Path) -> object:
    from bridge.files.sonata_network import read_edges

    return read_edges(path.with_name("edges.h5"), edge_types=path)


def _make_auryn(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from bridge.files import auryn
        from spiking.stimuli import RateTrace

        path = folder / name
        if path.suffix == ".wmat":
            auryn.write_wmat(path, _edges())
        elif path.suffix == ".ras":
            auryn.write_ras(path, _events())
        else:
            auryn.write_rate_trace(path, RateTrace(np.linspace(0, 7, 30)))
        return path

    return make


def _read_auryn(path: Path) -> object:
    from bridge.exchange import import_auryn

    out = {".wmat": "out.npz", ".ras": "out.h5"}.get(path.suffix, "rates.npz")
    return import_auryn(path, path.parent / out, dt=1e-4)


def _make_weights(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from bridge.exchange import layer_weights
        from bridge.files.weights import write_weights

        write_weights(folder / name, layer_weights(_network_file().network), {"readout/bias": "threshold"})
        _make_network(folder)
        return folder / name

    return make


def _read_weights(path: Path) -> object:
    from bridge.exchange import import_weights
    from bridge.files.weights import read_units, read_weights

    read_weights(path)
    read_units(path)
    return import_weights(path, path.parent / "net.h5", path.parent / "out.h5")


# --- settings, checkpoints --------------------------------------------------------------------------------------------
def _make_config(folder: Path) -> Path:
    from foundation.config import dumps
    from ratenets.lpl.config import LPLConfig

    (folder / "config.toml").write_text(dumps(LPLConfig()))
    return folder / "config.toml"


def _read_config(path: Path) -> object:
    from foundation.config import parse, read_text
    from ratenets.lpl.config import LPLConfig
    from ratenets.run_folder import run_config
    from ratespike.options import build_config

    parse(read_text(path), str(path))
    build_config(LPLConfig(), path, {})
    return run_config(LPLConfig, path.parent)


def _make_reference_config(folder: Path) -> Path:
    import json

    from tests.ratenets.butd.test_existing_config import sections

    (folder / "settings.json").write_text(json.dumps(sections()))
    return folder / "settings.json"


def _read_reference_config(path: Path) -> object:
    from ratenets.butd.existing import read_config

    return read_config(path)


def _vgg() -> Any:
    from ratenets.lpl.encoders import EncoderConfig, build

    return build(EncoderConfig(kind="vgg", width=1 / 32), (3, 32, 32), 0)


def _make_checkpoint(name: str) -> Maker:
    def make(folder: Path) -> Path:
        import torch

        state = {f"backbone.{key}": value for key, value in _vgg().state_dict().items()}
        if name.endswith(".safetensors"):
            from safetensors.torch import save_file

            save_file(state, folder / name)
        else:
            zipped = name.endswith(".pt")
            torch.save({"state_dict": state, "epoch": 3}, folder / name, _use_new_zipfile_serialization=zipped)
        return folder / name

    return make


def _read_checkpoint(path: Path) -> object:
    from ratenets.existing import load_existing

    return str(load_existing(path, _vgg(), "vgg"))


def _make_own_checkpoint(folder: Path) -> Path:
    import torch

    network = torch.nn.Linear(9, 7)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(9)).sum().backward()
    optimizer.step()
    content = {"format": 1, "epoch": 3, "index": 0, "sums": None, "metrics_bytes": 0, "network": network.state_dict()}
    torch.save({**content, "optimizer": optimizer.state_dict()}, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def _read_own_checkpoint(path: Path) -> object:
    from ratenets.checkpoint_check import check_checkpoint
    from ratenets.run_folder import weights_of

    check_checkpoint(path)
    return weights_of(path.parent)


# --- images -----------------------------------------------------------------------------------------------------------
def _make_image(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        return folder / name

    return make


def _read_image(path: Path) -> object:
    from foundation.data.folders import decode

    return decode(path, 16)


def _make_idx(folder: Path) -> Path:
    import gzip

    content = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (10, 6, 6)) + bytes(range(180)) * 2
    (folder / "images.gz").write_bytes(gzip.compress(content))
    return folder / "images.gz"


def _read_idx(path: Path) -> object:
    from foundation.data.idx import gunzip, parse_images

    return parse_images(gunzip(path.read_bytes(), str(path), 16 + 360), str(path))


def _make_batch(folder: Path) -> Path:
    from tests.foundation.data.conftest import cifar_pickle

    (folder / "test_batch").write_bytes(cifar_pickle([1, 2], title="testing batch 1 of 1"))
    return folder / "test_batch"


def _read_batch(path: Path) -> object:
    from foundation.data.cifar import parse_batch

    return parse_batch(path.read_bytes(), str(path), "testing batch 1 of 1", 2, 10)


SIZES = (2, 3, 2, 2, 2, 3)


def _make_shapes3d(folder: Path) -> Path:
    import itertools

    import h5py

    from foundation.data.shapes3d import factor_values

    (folder / "shapes3d").mkdir(exist_ok=True)
    path = folder / "shapes3d" / "3dshapes.h5"
    labels = np.array(list(itertools.product(*factor_values(SIZES))))
    images = np.random.default_rng(0).integers(0, 9, (len(labels), 64, 64, 3)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(20, 64, 64, 3), compression="gzip")
        file.create_dataset("labels", data=labels)
    return path


def _read_shapes3d(path: Path) -> object:
    from foundation.data.shapes3d import load_shapes3d, prepare

    (path.parent / "images.json").unlink(missing_ok=True)
    prepare(path.parent.parent, SIZES)
    return load_shapes3d(path.parent.parent, SIZES)


READERS: dict[str, Case] = {
    "network": Case(_make_network, _read_network),
    "run": Case(_make_run, _read_run),
    "run, figure": Case(_make_run, results.figure("lpl-network")),
    "run folder, run.toml": Case(_make_run_folder("run.toml"), _read_run_folder),
    "run folder, state": Case(_make_run_folder("state.npz"), _read_run_folder),
    "run folder, piece": Case(_make_run_folder("pieces/0.npz"), _read_run_folder),
    "stdp, figure": Case(_make_pairings, results.figure("stdp")),
    "rates.npz": Case(_make_rates("rates.npz"), _read_rates),
    "rates.npy": Case(_make_rates("rates.npy"), _read_rates),
    "NIR": Case(_make_nir, _read_nir),
    "SONATA spikes": Case(_make_sonata("spikes"), _read_sonata),
    "SONATA nodes": Case(_make_sonata("nodes"), _read_sonata),
    "SONATA edges": Case(_make_sonata("edges"), _read_sonata),
    "SONATA edge types": Case(_make_types, _read_types),
    "Auryn .wmat": Case(_make_auryn("a.wmat"), _read_auryn),
    "Auryn .ras": Case(_make_auryn("a.ras"), _read_auryn),
    "Auryn rates": Case(_make_auryn("a.dat"), _read_auryn),
    "weights.h5": Case(_make_weights("weights.h5"), _read_weights),
    "weights.npz": Case(_make_weights("weights.npz"), _read_weights),
    "readout, figure": Case(results.make_report, results.figure("layerwise")),
    "toy, figure": Case(results.make_toy, results.figure("toy")),
    "butd, figure": Case(results.make_butd, results.read_butd),
    "hebbian, figure": Case(results.make_hebbian, results.read_hebbian),
    "pictures, figure": Case(results.make_pictures, results.read_pictures),
    "ladder, figure": Case(results.make_ladder, results.figure("ladder")),
    "swap, figure": Case(results.make_swap, results.figure("swap")),
    "comparison, figure": Case(results.make_comparison, results.figure("plasticity")),
    "config.toml": Case(_make_config, _read_config),
    "reference's config": Case(_make_reference_config, _read_reference_config),
    "checkpoint of ours": Case(_make_own_checkpoint, _read_own_checkpoint),
    "checkpoint of others": Case(_make_checkpoint("a.pt"), _read_checkpoint),
    "checkpoint before 1.6": Case(_make_checkpoint("a.pth"), _read_checkpoint),
    ".safetensors": Case(_make_checkpoint("a.safetensors"), _read_checkpoint),
    "image.png": Case(_make_image("a.png"), _read_image),
    "image.jpg": Case(_make_image("a.jpg"), _read_image),
    "image.bmp": Case(_make_image("a.bmp"), _read_image),
    "image.webp": Case(_make_image("a.webp"), _read_image),
    "image.ppm": Case(_make_image("a.ppm"), _read_image),
    "IDX": Case(_make_idx, _read_idx),
    "CIFAR batch": Case(_make_batch, _read_batch),
    "3dshapes.h5": Case(_make_shapes3d, _read_shapes3d),
}

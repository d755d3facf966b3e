"""Weights of others as a run of ours, which everything that takes a run's folder then takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from foundation.data.catalogue import DATASETS
from foundation.data.images import load_images
from foundation.data.resizing import resized_shape
from foundation.files import write_json
from foundation.locks import locked
from ratenets.existing.loading import Loaded, load_existing
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.training import build_network, optimizer
from ratenets.run_folder import ORIGIN, State, open_run, save, settings_of

if TYPE_CHECKING:
    from ratenets.run import Learner


def import_run(
    path: Path, config: LPLConfig, folder: Path, root: Path | None = None, *, prefix: str = "", force: bool = False
) -> Loaded:
    """Make a run of no epochs in `folder` that has the weights in the file `path`.

    Args:
        path: as `load_existing` takes it.
        config: of the run: its dataset, its encoder.
        folder: new, or empty.
        root: of the datasets.
        prefix: as `load_existing` takes it.
        force: replace a run that lies there.

    Raises:
        UsageError: the folder is not free, or the weights are of another encoder; nothing is written then.
        RatespikeError: as `load_existing`.
    """
    open_run(folder, config, resume=False, write=False, force=force)
    shape, classes = _images(config, root)
    network = build_network(config, shape, classes)
    loaded = load_existing(path, network.encoder, config.encoder.kind, prefix)
    learner = SimpleNamespace(network=network, optimizer=optimizer(config, network))
    origin = {"file": str(loaded.path), "source": loaded.source, "epoch": loaded.epoch}
    with locked(folder):
        open_run(folder, config, resume=False, force=force)
        save(folder, cast("Learner", learner), State(settings=settings_of(folder)))
        write_json(folder / ORIGIN, {**origin, "taken": dict(loaded.taken), "left": dict(loaded.left)})
    return loaded


def _images(config: LPLConfig, root: Path | None) -> tuple[tuple[int, int, int], int]:
    """Shape of the images and number of classes; of published datasets without reading them."""
    if config.data not in DATASETS:
        images = load_images(config.data, root, image_size=config.image_size)
        return images.image_shape, images.n_classes
    dataset = DATASETS[config.data]
    channels, height, width = dataset.shape
    if config.image_size is not None:
        height, width = resized_shape(height, width, config.image_size)
    return (channels, height, width), dataset.n_classes

"""`ratespike bridge export` and `bridge import`: networks, weights and spikes to and from other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foundation.errors import RatespikeError, UsageError

from .commands import Command
from .options import device_option, root_option
from .outputs import check_folder, check_outputs, force_option

if TYPE_CHECKING:
    import numpy as np

    from spiking.network_file import NetworkFile

EXAMPLES = 10  # images that a script comes with


@click.command("export", cls=Command)
@click.argument("file", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["nir", "sonata", "auryn", "brian2", "npz"]),
    required=True,
    help="nir, npz (.npz or .h5), brian2 (.py): a file; sonata, auryn: a folder of files",
)
@click.option("--dt", type=float, default=1e-3, show_default=True, help="nir: duration of a step, in s")
@click.option("--steps", type=int, default=32, show_default=True, help="brian2: time steps of each image")
@root_option
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="where to")
def export_command(file: Path, form: str, dt: float, steps: int, root: Path | None, force: bool, out: Path) -> None:
    """Write the converted network, or the run of `ratespike spike network`, in INPUT in another format.

    nir holds networks that it can hold exactly (`bridge convert --reset zero --max-pooling average`). brian2 is a
    script that needs brian2, numpy and h5py alone; its synapses are in a file beside it, net.data.h5 for net.py.
    """
    import numpy as np

    from bridge import exchange
    from bridge.files.folders import check_folder as check_export
    from foundation.hdf5_kinds import kind_of
    from spiking import network_file
    from spiking.network_file import load_file

    files = exchange.files_of(form, out)
    if files:
        check_outputs(*files, inputs=[file], force=force)
    else:
        check_folder(out, file, force=force)
        check_export(out, new=not force)
    kind = kind_of(file)
    if not kind:
        raise RatespikeError(f"{file}: neither a converted network nor a file of `ratespike spike network`")
    if kind != network_file.KIND:
        exchange.export_run(file, form, out)
    elif form == "nir":
        from bridge.nir.converted import write_network  # nir is not needed for anything else

        write_network(out, load_file(file), dt)
    else:
        content = load_file(file)
        if steps < 1:
            raise UsageError(f"--steps: must be at least 1, got {steps}")
        images = _examples(content, root) if form == "brian2" else np.zeros(0)
        exchange.export_network(content, form, out, images=images, steps=steps)
    click.echo(f"{' and '.join(map(str, files)) or out}: {form}, from {file}")


def _examples(content: NetworkFile, root: Path | None) -> np.ndarray:
    """Test images of the network's run; noise for one that comes from none, or whose data are not here."""
    import numpy as np

    from bridge.runs import trials_of

    if "kind" in content.origin:
        try:
            trials = trials_of(content.origin, None, root)
            return trials.shown(slice(0, EXAMPLES)).double().numpy()
        except RatespikeError as error:
            click.echo(f"the script comes with noise for images: {error}", err=True)
    return np.random.default_rng(0).random((EXAMPLES, *content.network.input_shape))


@click.command("import", cls=Command)
@click.argument("files", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["nir", "sonata", "auryn", "npz"]), help="of INPUT; none with --into"
)
@click.option("--into", type=click.Path(path_type=Path), metavar="RUN", help="the run that INPUT was converted from")
@click.option("--network", type=click.Path(path_type=Path), help="npz: the converted network that takes the weights")
@click.option("--dt", type=float, help="spikes: duration of a step, in s")
@click.option("--round-times", is_flag=True, help="spikes: take times off the grid of --dt to the nearest step")
@click.option("--edge-types", type=click.Path(path_type=Path), help="sonata: CSV of the weights and delays of edges")
@root_option
@device_option
@force_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="where to: a file; with --into, a new run",
)
def import_command(
    files: tuple[Path, ...],
    form: str | None,
    into: Path | None,
    network: Path | None,
    dt: float | None,
    round_times: bool,
    edge_types: Path | None,
    root: Path | None,
    device: str,
    force: bool,
    out: Path,
) -> None:
    """Read INPUT and write it in our own terms.

    With --into RUN, INPUT is a converted network that learned (`bridge learn`): OUT becomes a copy of the rate run with
    the learned weights, and its readout is measured again. With --format: nir becomes a converted network; SONATA edges
    and .wmat files weights (.npz, .h5); .ras spikes SONATA ones, and these .ras; Auryn's rates what `spike network
    --rates` takes; npz other weights of the --network. Several files of Auryn's rates, one for each population, are the
    rates of one network.
    """
    from bridge import exchange

    if (form is None) == (into is None):
        raise UsageError("bridge import: say either --format, or --into RUN")
    if len(files) > 1 and form != "auryn":
        raise UsageError(f"INPUT: one file at a time, got {len(files)}; only Auryn's rates come in several")
    file = files[0]
    if into is not None:
        check_folder(out, file, into, force=force)
        _into(file, into, out, root, device, force)
        return
    check_outputs(out, inputs=[*files, network, edge_types], force=force)
    match form:
        case "nir":
            from bridge.nir.converted import read_network

            text = read_network(file, out)
        case "npz":
            if network is None:
                raise UsageError("--network: say which converted network the weights are for")
            text = exchange.import_weights(file, network, out)
        case "sonata":
            text = exchange.import_sonata(file, out, dt=dt, round_times=round_times, edge_types=edge_types)
        case _ if len(files) > 1:
            text = exchange.import_rates(files, out)
        case _:
            text = exchange.import_auryn(file, out, dt=dt, round_times=round_times)
    click.echo(f"{out}: {text}")


def _into(file: Path, run: Path, out: Path, root: Path | None, device: str, force: bool) -> None:
    from bridge.return_weights import return_weights
    from spiking.network_file import load_file

    returned = return_weights(load_file(file), run, out, root=root, device=device, force=force)
    for name, moved in returned.layers.items():
        click.echo(f"{name}: weights moved by {100 * moved:.2f} % of their norm")
    click.echo(
        f"{out}: test accuracy of the rate network {100 * returned.after:.2f} %, before {100 * returned.before:.2f} %"
    )

"""A converted network as a script: what a modeller edits. It needs brian2, numpy and h5py, and nothing of ours.

`NAME.py` says every group and projection in Brian2's own terms, layer by layer; `NAME.data.h5` beside it holds the
synapses and some images. What a file says of itself (titles, names of layers) stands in comments and literals alone.
Within a step it does what `spiking.brian.integrate_and_fire` does.
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from textwrap import indent

import h5py
import numpy as np

from foundation.errors import UsageError
from foundation.files import write_bytes, write_text
from foundation.hdf5 import CHECKED
from foundation.text import in_docstring, one_line
from spiking.brian import integrate_and_fire as brian
from spiking.integrate_and_fire import INPUT, IFNetwork, MaxPool
from spiking.synapses import Array, Synapses, explicit, per_unit

DATA = ".data.h5"
"""In the place of .py: the file of a script's synapses. Not .h5, for that may be what is exported."""

HEAD = '''"""{title}

An integrate-and-fire network in Brian2, exported by ratespike. Run it with

    python {name}.py [IMAGES.npy]

where IMAGES.npy holds images (B, {inputs}) as the network takes them; without it, it shows those in {name}{data}.
Every image is shown for STEPS steps. The class with the largest potential in the readout is the answer.

Within a step, layers are updated one after another: input, threshold, reset, then synapses to the next layer, so that
a spike reaches the next layer in the same step.{coding}
"""

import sys
from pathlib import Path

import brian2 as b2
import h5py
import numpy as np

STEPS = {steps}  # per image
DT = 1 * b2.ms  # no neuron leaks, so a step may last as long as you like
U_0 = {initial!r}  # where every membrane starts, in thresholds

b2.prefs.codegen.target = "numpy"  # or "cython", for large networks
file = h5py.File(Path(__file__).with_suffix("{data}"), "r")
images = np.load(sys.argv[1], allow_pickle=False) if len(sys.argv) > 1 else file["images"][:]
images = images.reshape(len(images), {inputs}).astype(float)
network = b2.Network()


def neurons(size, model, threshold, reset, order):
    """A group of neurons whose threshold and reset come in their layer's turn."""
    group = b2.NeuronGroup(size, model, threshold=threshold, reset=reset, dt=DT)
    group.thresholder["spike"].when, group.thresholder["spike"].order = "groups", order + 1
    group.resetter["spike"].when, group.resetter["spike"].order = "groups", order + 2
    network.add(group)
    return group


def synapses(source, target, name, on_pre, order):
    """Synapses of the projection `name` in the file; spikes arrive in the step in which they are fired."""
    pre, post, w = (file[f"{{name}}/{{key}}"][:] for key in ("pre", "post", "w"))
    made = b2.Synapses(source, target, "w : 1", on_pre=on_pre, dt=DT)
    made.connect(i=pre, j=post)
    made.w = w
    made.pre.when, made.pre.order = "groups", order
    network.add(made)
    return made


def current(target, name, order):
    """Input as a current that is constant while an image is shown."""
    pre, post, w = (file[f"{{name}}/{{key}}"][:] for key in ("pre", "post", "w"))
    drive = np.zeros((len(images), target.N))
    for image, row in zip(images, drive):
        row += np.bincount(post, w * image[pre], minlength=target.N)
    target.namespace["drive"] = b2.TimedArray(drive, dt=STEPS * DT)
    target.run_regularly("u += drive(t, i)", when="groups", order=order)

'''

TAIL = """
spikes = {{name: b2.SpikeMonitor(group) for name, group in {{{groups}}}.items()}}
network.add(spikes.values())

if __name__ == "__main__":
    found = np.zeros((len(images), readout.N))
    for number in range(len(images)):
        network.run(STEPS * DT)
        found[number] = readout.u[:]
    for name, monitor in spikes.items():
        print(f"{{name}}: {{monitor.num_spikes / len(images):.1f}} spikes per image")
    print("answers:", " ".join(str(k) for k in found.argmax(1)))
"""


def script_files(path: Path) -> tuple[Path, Path]:
    """The files that `write_script` writes: the script, and its data.

    Raises:
        UsageError: another suffix than .py.
    """
    if path.suffix != ".py":
        raise UsageError(f"{path}: a script's name ends in .py")
    return path, path.with_suffix(DATA)


def write_script(path: Path, network: IFNetwork, images: Array, *, steps: int = 32, title: str = "") -> None:
    """Write the two files of `script_files`.

    Args:
        path: of the script.
        network: without gates for tasks.
        images: some to show, (B, *input_shape), as the network takes them.
        steps: of each image.
        title: the script's first line.

    Raises:
        UsageError: another suffix, a network with tasks or with more synapses than memory is likely to hold, or
            Poisson input outside [0, 1].
    """
    script, data = script_files(path)
    if network.tasks:
        raise UsageError("a network with gates for tasks has no script; convert it for one task")
    if network.input_coding == "poisson" and not ((images >= 0) & (images <= 1)).all():
        raise UsageError("images: Poisson input needs values between 0 and 1")
    brian.check_size(network)
    write_bytes(data, _content(network, images))
    write_text(script, _text(path.stem, network, steps, title or f"Network {path.stem}"))


def _content(network: IFNetwork, images: Array) -> bytes:
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        put = {**CHECKED, "compression": "gzip"}
        file.create_dataset("images", data=np.asarray(images, dtype=np.float64).reshape(len(images), -1), **put)
        for number in range(len(network.layers) + 1):
            layer = network.readout if number == len(network.layers) else network.layers[number]
            below = [network.shape_of(source) for source in network.sources(number)]
            if isinstance(layer, MaxPool):
                for k, place in enumerate(brian.gate_places(layer, below[0])):
                    _put(file, f"{_name(number, network)}/place_{k}", place)
                continue
            bias = per_unit(layer.bias, network.shapes[number])
            file.create_dataset(f"{_name(number, network)}/bias", data=bias, **CHECKED)
            for k, (projection, shape) in enumerate(zip(layer.projections, below, strict=True)):
                _put(file, f"{_name(number, network)}/projection_{k}", explicit(projection.maps, shape))
    return buffer.getvalue()


def _put(file: h5py.File, name: str, synapses: Synapses) -> None:
    group = file.create_group(name)
    for key, values in (
        ("pre", synapses.pre.astype(np.int32)),
        ("post", synapses.post.astype(np.int32)),
        ("w", synapses.weight),
    ):
        group.create_dataset(key, data=values, **({**CHECKED, "compression": "gzip"} if len(values) else {}))
    group["w"].attrs["units"] = "threshold"


def _name(number: int, network: IFNetwork) -> str:
    return "readout" if number == len(network.layers) else f"layer_{number}"


def _text(name: str, network: IFNetwork, steps: int, title: str) -> str:
    poisson = network.input_coding == "poisson"
    inputs = math.prod(network.input_shape)
    coding = "\nThe input is Poisson: a value is the probability of a spike in a step." if poisson else ""
    parts = [
        HEAD.format(
            title=in_docstring(title),
            name=in_docstring(name),
            data=DATA,
            inputs=inputs,
            coding=coding,
            steps=steps,
            initial=float(network.initial_potential),
        )
    ]
    if poisson:
        parts.append(_source(inputs))
    parts += [_layer(network, number) for number in range(len(network.layers) + 1)]
    named = ", ".join(f"{network.layers[n].name!r}: layer_{n}" for n in range(len(network.layers)))
    parts.append(TAIL.format(groups=named))
    return "\n".join(parts)


def _source(inputs: int) -> str:
    return f"""# --- input: a spike in a step with the probability that is the pixel's value
rng = np.random.default_rng(0)
image, step, line = np.nonzero(rng.random((len(images), STEPS, {inputs})) < images[:, None])
times = (image * STEPS + step) * DT
source = b2.SpikeGeneratorGroup({inputs}, line, times, dt=DT, when="groups", order=-2, sorted=True)
network.add(source)
"""


def _layer(network: IFNetwork, number: int) -> str:
    me, size, order = _name(number, network), math.prod(network.shapes[number]), 10 * number
    layer = network.readout if number == len(network.layers) else network.layers[number]
    shape = " x ".join(map(str, network.shapes[number]))
    lines = [f"# --- {one_line(layer.name)}: {shape}"]
    restart = "u = U_0\nfired = 0"
    if isinstance(layer, MaxPool):
        below = f"layer_{network.sources(number)[0]}"
        lines += [
            _code(f"{me} = neurons", size, brian.gate_model(layer), brian.GATE_THRESHOLD, brian.GATE_RESET, order)
        ]
        places = range(layer.kernel[0] * layer.kernel[1])
        for k in places:
            lines.append(f'synapses({below}, {me}, "{me}/place_{k}", "n_{k}_post += 1", {order - 1})')
        if layer.gate == "potential":
            lines.append(_LINKED.format(me=me, below=below, places=len(places)))
        lines.append(_regularly(me, brian.gate_code(layer), order))
        restart = "\n".join(["fired = 0", *(f"n_{k} = 0" for k in places)])
    elif number == len(network.layers):
        lines.append(f'{me} = b2.NeuronGroup({size}, "u : 1\\nbias : 1 (constant)", dt=DT)\nnetwork.add({me})')
        restart = "u = 0"
    else:
        lines.append(_code(f"{me} = neurons", size, brian.NEURON, brian.THRESHOLD, brian.RESETS[network.reset], order))
    if not isinstance(layer, MaxPool):
        lines.append(f'{me}.bias = file["{me}/bias"][:]')
        lines.append(_regularly(me, "u += bias", order))
        for k, source in enumerate(network.sources(number)):
            projection = f"{me}/projection_{k}"
            if source == INPUT and network.input_coding == "analog":
                lines.append(f'current({me}, "{projection}", {order - 1})')
            else:
                origin = "source" if source == INPUT else f"layer_{source}"
                lines.append(f'synapses({origin}, {me}, "{projection}", "u_post += w", {order - 1})')
    namespace = f'{me}.namespace["U_0"] = U_0\n' if "U_0" in restart else ""
    lines.append(f'{namespace}{me}.run_regularly("""{restart}""", dt=STEPS * DT, when="start")  # at every image')
    return "\n".join(lines) + "\n"


_LINKED = """for k in range({places}):
    pre, post = (file[f"{me}/place_{{k}}/{{key}}"][:] for key in ("pre", "post"))
    index, inside = np.zeros({me}.N, int), np.zeros({me}.N)
    index[post], inside[post] = pre, 1
    setattr({me}, f"level_{{k}}", b2.linked_var({below}, "level", index=index))
    setattr({me}, f"inside_{{k}}", inside)"""


def _code(call: str, size: int, model: str, threshold: str, reset: str, order: int) -> str:
    body = indent(model.strip(), "    ")
    return f'{call}({size}, """\n{body}\n""", "{threshold}", "{reset}", {order})'


def _regularly(me: str, code: str, order: int) -> str:
    body = f'"{code}"' if "\n" not in code else f'"""\n{indent(code, "    ")}\n"""'
    return f'{me}.run_regularly({body}, when="groups", order={order})'

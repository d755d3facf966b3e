"""NIR: written by its own library and read back, the same spikes in both simulators, every parameter bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import snntorch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from bridge.config import ConversionConfig
from bridge.conversion import convert_network
from bridge.lowering import lower_butd
from bridge.nir import in_brian, in_torch
from bridge.nir.converted import BELOW_ONE, graph_of, network_of, plasticity_of, with_plasticity
from bridge.nir.files import read_nir, write_nir
from bridge.nir.graph import Graph, Node
from bridge.nir.snntorch_modules import from_snntorch, to_snntorch
from foundation.errors import RatespikeError, UsageError
from ratenets.butd import builders
from ratenets.butd.networks import ButdNetwork
from spiking.brian.running import code_generation
from spiking.network_file import NetworkFile
from spiking.parameters import LPLSynapse
from spiking.torch.integrate_and_fire import simulate

DT = 2.0**-10
GRID = 64.0


@pytest.fixture(autouse=True)
def without_compiler() -> Iterator[None]:
    with code_generation("numpy"):
        yield


def rounded(rng: np.random.Generator, *shape: int, mean: float = 0.0) -> np.ndarray:
    return np.round(rng.normal(mean, 0.7, shape) * GRID) / GRID


def ends(graph: dict[str, Node], *chain: str) -> tuple[tuple[str, str], ...]:
    return tuple(pairwise(chain))


def recurrent(rng: np.random.Generator) -> Graph:
    """LIF neurons that excite each other, and behind delays of their own IF and CubaLIF neurons."""
    full = np.full
    nodes = {
        "input": Node("Input", {"shape": np.array([4])}),
        "in": Node("Affine", {"weight": rounded(rng, 5, 4), "bias": rounded(rng, 5, mean=0.2)}),
        "lif": Node(
            "LIF",
            {
                "tau": full(5, 2 * DT),
                "r": full(5, 2.0),
                "v_leak": full(5, 0.125),
                "v_threshold": full(5, 0.75),
                "v_reset": full(5, -0.25),
            },
        ),
        "around": Node("Linear", {"weight": rounded(rng, 5, 5)}),
        "delay": Node("Delay", {"delay": np.array([0, 1, 2, 3, 1]) * DT}),
        "on": Node("Linear", {"weight": rounded(rng, 6, 5, mean=0.3)}),
        "if": Node("IF", {"r": full(6, 1 / DT), "v_threshold": full(6, 1.0), "v_reset": full(6, 0.0)}),
        "scale": Node("Scale", {"scale": np.array([0.5, 1, 2, -1, 1, 1])}),
        "cuba": Node(
            "CubaLIF",
            {
                "tau_syn": full(6, 4 * DT),
                "tau_mem": full(6, 2 * DT),
                "r": full(6, 2.0),
                "v_leak": full(6, 0.0),
                "v_threshold": full(6, 0.25),
                "v_reset": full(6, 0.0),
                "w_in": full(6, 4.0),
            },
        ),
        "output": Node("Output", {"shape": np.array([6])}),
    }
    edges = (
        *ends(nodes, "input", "in", "lif", "around", "lif"),
        *ends(nodes, "lif", "delay", "on", "if", "scale", "cuba", "output"),
        ("if", "output"),
    )
    return Graph(nodes, edges)


def spatial(rng: np.random.Generator) -> Graph:
    """Convolution, sum pool, average pool, flatten."""
    pairs = {"stride": np.array([1, 1]), "padding": np.array([1, 1]), "dilation": np.array(1), "groups": np.array(1)}
    pool = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    shape = (3, 4, 4)
    nodes = {
        "input": Node("Input", {"shape": np.array([2, 8, 8])}),
        "sum": Node("SumPool2d", pool),
        "conv": Node("Conv2d", {"weight": rounded(rng, 3, 2, 3, 3), "bias": rounded(rng, 3), **pairs}),
        "if": Node("IF", {"r": np.full(shape, 1 / DT), "v_threshold": np.full(shape, 1.5), "v_reset": np.zeros(shape)}),
        "average": Node("AvgPool2d", pool),
        "flatten": Node("Flatten", {"start_dim": np.array(0), "end_dim": np.array(-1)}),
        "dense": Node("Affine", {"weight": rounded(rng, 4, 12), "bias": rounded(rng, 4)}),
        "output": Node("Output", {"shape": np.array([4])}),
    }
    return Graph(nodes, ends(nodes, *nodes))


GRAPHS = {"recurrent": recurrent, "spatial": spatial}


def spikes_for(graph: Graph, rng: np.random.Generator, samples: int = 5, steps: int = 25) -> np.ndarray:
    return (rng.random((samples, steps, *graph.shapes[graph.input])) < 0.4).astype(float)


def assert_same(one: Graph, other: Graph) -> None:
    assert set(one.edges) == set(other.edges)
    assert one.nodes.keys() == other.nodes.keys()
    for name, node in one.nodes.items():
        assert node.kind == other.nodes[name].kind
        for key, value in node.parameters.items():
            found = other.nodes[name].parameters[key]
            np.testing.assert_array_equal(np.broadcast_to(value, found.shape), found)
            assert value.dtype.kind == found.dtype.kind


# --- files ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_written_is_read_by_nirs_own_library_and_by_ours(
    name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    graph = GRAPHS[name](rng)
    write_nir(tmp_path / "net.nir", graph)
    theirs = nir.read(tmp_path / "net.nir")
    assert set(theirs.nodes) == set(graph.nodes)
    assert set(theirs.edges) == set(graph.edges)
    for key, node in graph.nodes.items():
        assert type(theirs.nodes[key]).__name__ == node.kind
        for parameter in ("weight", "bias", "v_threshold", "tau_syn", "scale"):
            if parameter in node.parameters:
                found = getattr(theirs.nodes[key], parameter)
                assert found.dtype == node.parameters[parameter].dtype
                np.testing.assert_array_equal(found, node.parameters[parameter])
    assert_same(graph, read_nir(tmp_path / "net.nir"))


def test_a_file_of_nirs_own_library_is_read(tmp_path: Path) -> None:
    theirs = nir.NIRGraph(
        nodes={
            "input": nir.Input(input_type={"input": np.array([3])}),
            "linear": nir.Linear(weight=np.ones((2, 3), np.float32)),
            "lif": nir.LIF(tau=np.full(2, 0.02), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2)),
            "output": nir.Output(output_type={"output": np.array([2])}),
        },
        edges=[("input", "linear"), ("linear", "lif"), ("lif", "output")],
    )
    nir.write(tmp_path / "net.nir", theirs)
    graph = read_nir(tmp_path / "net.nir")
    assert graph.nodes["linear"].parameters["weight"].dtype == np.float32
    np.testing.assert_array_equal(graph.nodes["lif"].parameters["v_reset"], [0, 0])
    assert in_torch.simulate(graph, np.ones((2, 60, 3)), 1e-3).spikes["lif"].any()


def test_metadata_comes_back(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = recurrent(rng)
    nodes = dict(graph.nodes)
    kept = {"a": 1.5, "text": "ö", "list": np.arange(3.0), "nested": {"deeper": np.float64(2.0)}}
    nodes["lif"] = replace(nodes["lif"], metadata=kept)
    write_nir(tmp_path / "net.nir", replace(graph, nodes=nodes))
    found = read_nir(tmp_path / "net.nir").nodes["lif"].metadata
    assert (found["a"], found["text"], found["nested"]) == (1.5, "ö", {"deeper": 2.0})
    np.testing.assert_array_equal(found["list"], np.arange(3.0))


def test_plasticity_travels_in_the_metadata(tmp_path: Path, rng: np.random.Generator) -> None:
    rule = LPLSynapse.current(eta=0.3, augment_gradient=True, tau_w=5.0)
    write_nir(tmp_path / "net.nir", with_plasticity(recurrent(rng), "in", rule))
    assert plasticity_of(read_nir(tmp_path / "net.nir")) == {"in": rule}
    broken = with_plasticity(recurrent(rng), "in", rule)
    broken.nodes["in"].metadata["ratespike"]["plasticity"]["eta"] = "much"
    with pytest.raises(RatespikeError, match="in: its plasticity is damaged"):
        plasticity_of(broken)
    with pytest.raises(UsageError, match="nowhere: the graph has no such node"):
        with_plasticity(recurrent(rng), "nowhere", rule)


# --- simulation -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPHS)
def test_on_a_dyadic_grid_both_simulators_give_identical_spikes(name: str, rng: np.random.Generator) -> None:
    graph = GRAPHS[name](rng)
    x = spikes_for(graph, rng)
    one, other = in_torch.simulate(graph, x, DT), in_brian.simulate(graph, x, DT)
    for node, spikes in one.spikes.items():
        assert spikes.any(), node
        np.testing.assert_array_equal(spikes, other.spikes[node])
    np.testing.assert_array_equal(one.output, other.output)
    np.testing.assert_array_equal(in_brian.simulate(graph, x, DT, batch_size=2).output, one.output)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_device_gives_the_same_spikes(name: str, each_device: str, rng: np.random.Generator) -> None:
    graph = GRAPHS[name](rng)
    x = spikes_for(graph, rng)
    here, there = in_torch.simulate(graph, x, DT), in_torch.simulate(graph, x, DT, device=each_device)
    np.testing.assert_array_equal(here.output, there.output)


def test_the_definition_step_by_step(rng: np.random.Generator) -> None:
    """The recurrent graph in plain numpy: recurrent spikes arrive a step later, others in the same step."""
    graph = recurrent(rng)
    x = spikes_for(graph, rng, 1)[0]
    p = {name: node.parameters for name, node in graph.nodes.items()}
    lif, v_if, v, i = np.zeros(5), np.zeros(6), np.zeros(6), np.zeros(6)
    past = [np.zeros(5)] * 4
    outputs = []
    for now in x:
        drive = p["in"]["weight"] @ now + p["in"]["bias"] + p["around"]["weight"] @ past[0]
        lif = lif + 0.5 * ((0.125 - lif) + 2 * drive)
        fired = lif > 0.75
        lif[fired] = -0.25
        past = [fired.astype(float), *past[:-1]]
        late = np.array([past[d][k] for k, d in enumerate([0, 1, 2, 3, 1])])
        v_if = v_if + p["on"]["weight"] @ late
        second = v_if > 1
        v_if[second] = 0
        i = i + 0.25 * (4 * (p["scale"]["scale"] * second) - i)
        v = v + 0.5 * (-v + 2 * i)
        third = v > 0.25
        v[third] = 0
        outputs.append(third.astype(float) + second)
    np.testing.assert_array_equal(in_torch.simulate(graph, x[None], DT).output[0], outputs)


def snntorch_stack(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        snntorch.Leaky(
            beta=torch.rand(4, 6, 6) * 0.3 + 0.6,
            threshold=torch.rand(4, 6, 6) + 0.5,
            reset_mechanism="zero",
            reset_delay=False,
        ),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 10, bias=False),
        snntorch.Synaptic(alpha=0.8, beta=0.9, threshold=0.7, reset_mechanism="zero", reset_delay=False),
        nn.Linear(10, 3),
    )
    return made.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_snntorch_through_brian_and_back_keeps_every_parameter_and_spike(
    dtype: torch.dtype, tmp_path: Path, rng: np.random.Generator
) -> None:
    stack = snntorch_stack(dtype)
    write_nir(tmp_path / "one.nir", from_snntorch(stack, (2, 6, 6), 1e-3))
    first = read_nir(tmp_path / "one.nir")
    built = in_brian.build(first, 1e-3)
    write_nir(tmp_path / "two.nir", in_brian.from_brian(built))
    back = to_snntorch(read_nir(tmp_path / "two.nir"), 1e-3)
    for ours, theirs in zip(back.stack.values(), stack, strict=True):
        for key in ("weight", "bias", "beta", "alpha", "threshold"):
            if isinstance(getattr(theirs, key, None), torch.Tensor):
                expected = getattr(theirs, key)
                assert getattr(ours, key).dtype == expected.dtype
                assert torch.equal(getattr(ours, key), expected.expand_as(getattr(ours, key)))
    x = (rng.random((1000, 10, 2, 6, 6)) < 0.3).astype(float)
    given = torch.from_numpy(x).to(dtype)
    before, after = (to_snntorch(graph, 1e-3)(given) for graph in (first, read_nir(tmp_path / "two.nir")))
    torch.testing.assert_close(before[0], after[0], rtol=0, atol=0)
    if dtype == torch.float64:  # in Brian2, the same network: ties apart, the same counts
        result = in_brian.simulate(first, x[:20], 1e-3)
        for name, spikes in after[1].items():
            assert int((result.spikes[name] != spikes[:20].bool().numpy()).sum()) == 0


def test_weights_that_brian_changed_come_back(rng: np.random.Generator) -> None:
    graph = recurrent(rng)
    built = in_brian.build(graph, DT)
    synapses = next(s for p, s in built.synapses if p.through == ("around",))
    synapses.w = 2 * np.asarray(synapses.w)
    found = in_brian.from_brian(built)
    np.testing.assert_array_equal(
        found.nodes["around"].parameters["weight"], 2 * graph.nodes["around"].parameters["weight"]
    )
    built = in_brian.build(spatial(rng), DT)
    assert_same(built.graph, in_brian.from_brian(built))


# --- converted networks -----------------------------------------------------------------------------------------------
def converted(**changes: Any) -> tuple[NetworkFile, np.ndarray]:
    torch.manual_seed(1)
    shape = (1, 8, 8)
    core = builders.conv_net(shape, (4, 5), (3, 3), (6,), padding=1)
    network = ButdNetwork(core, shape, 3).double()
    x = torch.rand((20, *shape), dtype=torch.float64)
    config = ConversionConfig(**{"reset": "zero", "max_pooling": "average", **changes})
    return convert_network(lower_butd(network, max_pooling="average"), x, config), x.numpy()


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_a_converted_network_gives_the_same_spikes_as_a_graph(start: float, tmp_path: Path) -> None:
    file, x = converted(initial_potential=start)
    write_nir(tmp_path / "net.nir", graph_of(file, 1e-3))
    graph = read_nir(tmp_path / "net.nir")
    expected = simulate(file.network, x, 30, spikes=True)
    found = in_torch.simulate(graph, np.repeat(x[:, None], 30, axis=1), 1e-3)
    for layer, spikes in zip(file.network.neurons, expected.spikes, strict=True):
        np.testing.assert_array_equal(found.spikes[layer.name], spikes)
    np.testing.assert_allclose(found.output.cumsum(1), expected.readout, atol=1e-9)
    back = network_of(graph)
    assert (back.network.reset, back.network.initial_potential) == ("zero", start)
    for ours, theirs in zip(back.network.neurons, file.network.neurons, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
        np.testing.assert_array_equal(ours.scale, theirs.scale)
    again = simulate(back.network, x, 30, spikes=True)
    for one, other in zip(again.spikes, expected.spikes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_nir_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="convert with --reset zero"):
        graph_of(converted(reset="subtract")[0], 1e-3)
    shape = (1, 8, 8)
    from ratenets.butd.convolution import Conv2d, MaxPool2d
    from ratenets.butd.layers import Flatten, Sequential

    network = ButdNetwork(Sequential(Conv2d(1, 2, 3, padding=1), MaxPool2d(2), Flatten()), shape, 3)
    file = convert_network(lower_butd(network), torch.rand(4, *shape), ConversionConfig(reset="zero"))
    with pytest.raises(UsageError, match=r"core.1: NIR has no max-pool: convert with --max-pooling average"):
        graph_of(file, 1e-3)
    with pytest.raises(UsageError, match="lif -> around: a converted network has no cycles"):
        network_of(recurrent(np.random.default_rng(0)))


def test_another_threshold_is_scaled_away(rng: np.random.Generator) -> None:
    graph = spatial(rng)
    del_pool = {name: node for name, node in graph.nodes.items() if name != "sum"}
    nodes = {**del_pool, "input": Node("Input", {"shape": np.array([2, 4, 4])})}
    graph = Graph(nodes, ends(nodes, "input", "conv", "if", "average", "flatten", "dense", "output"))
    file = network_of(graph)
    x = rng.random((4, 2, 4, 4))
    expected = in_torch.simulate(graph, np.repeat(x[:, None], 20, axis=1), DT)
    np.testing.assert_array_equal(simulate(file.network, x, 20, spikes=True).spikes[0], expected.spikes["if"])


@pytest.mark.slow
def test_spikingjelly_gives_the_same_spikes(tmp_path: Path) -> None:
    """`pip install --no-deps spikingjelly loguru`: its other requirements are not needed for this. Its neurons start at
    v_reset, which is where ours start only from 0.
    """
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", exc_type=ImportError)
    file, x = converted(initial_potential=0.0)
    write_nir(tmp_path / "net.nir", graph_of(file, 1e-3))
    module = exchange.import_from_nir(nir.read(tmp_path / "net.nir"), dt=1e-3, dtype=torch.float64, step_mode="s")
    expected = simulate(file.network, x, 30)
    total = torch.zeros(len(x), 3, dtype=torch.float64)
    state = None
    for _ in range(30):
        found = module(torch.from_numpy(x), state) if state is not None else module(torch.from_numpy(x))
        out, state = found if isinstance(found, tuple) else (found, None)
        total += out
    np.testing.assert_allclose(total.detach().numpy(), expected.readout[:, -1], atol=1e-9)


# --- what is refused --------------------------------------------------------------------------------------------------
def simple(**changes: Any) -> dict[str, Node]:
    return {
        "input": Node("Input", {"shape": np.array([2])}),
        "w": Node("Linear", {"weight": np.ones((3, 2))}),
        "n": Node("IF", {"r": np.ones(3), "v_threshold": np.ones(3), "v_reset": np.zeros(3)}),
        "output": Node("Output", {"shape": np.array([3])}),
        **changes,
    }


CHAIN = (("input", "w"), ("w", "n"), ("n", "output"))
BAD: dict[str, tuple[Any, str]] = {
    "an edge to nowhere": (lambda: Graph(simple(), (*CHAIN, ("n", "m"))), "edge n -> m: there is no node m"),
    "an edge twice": (lambda: Graph(simple(), (*CHAIN, CHAIN[0])), "edge input -> w: is there twice"),
    "no input": (
        lambda: Graph({k: v for k, v in simple().items() if k != "input"}, CHAIN[1:]),
        "a graph needs one Input node, this has 0",
    ),
    "a cycle without a delay": (
        lambda: Graph(simple(m=Node("Scale", {"scale": np.ones(3)})), (*CHAIN[:2], ("w", "m"), ("m", "w"), CHAIN[2])),
        "w: lies on a cycle without a neuron or a delay",
    ),
    "wrong shapes": (
        lambda: Graph(simple(w=Node("Linear", {"weight": np.ones((4, 2))})), CHAIN),
        r"n: has the shape \(3,\), what enters \(4,\)",
    ),
    "nothing leads to a node": (lambda: Graph(simple(), CHAIN[1:]), "w: nothing leads to it"),
    "a kind that is unknown": (lambda: Graph(simple(n=Node("SRM", {})), CHAIN), "n: a SRM node cannot be represented"),
    "a parameter is missing": (
        lambda: Graph(simple(n=Node("IF", {"r": np.ones(3), "v_threshold": np.ones(3)})), CHAIN),
        "n: IF needs r, v_threshold, v_reset; v_reset is missing",
    ),
    "parameters of different shapes": (
        lambda: Graph(
            simple(n=Node("IF", {"r": np.ones(2), "v_threshold": np.ones(3), "v_reset": np.zeros(3)})), CHAIN
        ),
        "n: parameters have different shapes",
    ),
    "not finite": (
        lambda: Graph(simple(w=Node("Linear", {"weight": np.full((3, 2), np.nan)})), CHAIN),
        "w: weight must be finite",
    ),
    "a negative delay": (
        lambda: Graph(
            simple(d=Node("Delay", {"delay": np.array(-1.0)})),
            (("input", "d"), ("d", "w"), ("w", "n"), ("n", "output")),
        ),
        "d: delay must not be negative",
    ),
    "an enormous input": (
        lambda: Graph(simple(input=Node("Input", {"shape": np.array([10**9])})), CHAIN),
        "input: shape .* is none that can be",
    ),
    "a threshold below the reset": (
        lambda: Graph(simple(n=Node("IF", {"r": np.ones(3), "v_threshold": np.ones(3), "v_reset": np.ones(3)})), CHAIN),
        "n: v_reset must be below v_threshold",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_graph_that_cannot_be_is_refused_by_name(name: str) -> None:
    make, complaint = BAD[name]
    with pytest.raises(UsageError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dt": 0.0}, "dt: must be positive"),
        ({"dt": 1.0}, "lif: tau = .* is below dt = 1.0 s"),
        ({"dt": 0.75 * DT}, "delay: delay: must be a multiple of dt"),
        ({"x": np.ones((2, 5, 3))}, r"input: must be \(samples, steps, 4\), got \(2, 5, 3\)"),
        ({"x": np.full((1, 1, 4), np.inf)}, "input: must be finite"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(
    change: dict[str, Any], complaint: str, rng: np.random.Generator
) -> None:
    graph = recurrent(rng)
    given: dict[str, Any] = {"x": spikes_for(graph, rng, 1), "dt": DT, **change}
    for run in (in_torch.simulate, in_brian.simulate):
        with pytest.raises(UsageError, match=complaint):
            run(graph, **given)


def test_brian_refuses_what_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(in_brian, "MOST_SYNAPSES", 50)
    with pytest.raises(UsageError, match=r"Brian2 would need .* at most 50 are built; use torch"):
        in_brian.build(recurrent(rng), DT)


@pytest.mark.parametrize(
    ("modules", "complaint"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "1: NIR has nothing for ReLU"),
        (nn.Sequential(nn.Linear(2, 3), snntorch.Leaky(beta=0.9, reset_delay=False)), "1: .*'subtract'"),
        (nn.Sequential(nn.Linear(2, 3), snntorch.Leaky(beta=0.9, reset_mechanism="zero")), "1: .*reset_delay=False"),
        (
            nn.Sequential(snntorch.Leaky(beta=1.5, reset_mechanism="zero", reset_delay=False)),
            r"0: beta must lie in \[0, 1\)",
        ),
    ],
)
def test_snntorch_modules_that_nir_has_not_are_refused_by_name(modules: nn.Sequential, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        from_snntorch(modules, (2,), 1e-3)


def test_graphs_that_snntorch_has_not_are_refused_by_name(rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="snnTorch's modules stand in a row"):
        to_snntorch(recurrent(rng), DT)
    nodes = simple(n=Node("IF", {"r": np.ones(3), "v_threshold": np.ones(3), "v_reset": np.full(3, -1.0)}))
    with pytest.raises(UsageError, match="n: snnTorch's neurons have v_reset = 0"):
        to_snntorch(Graph(nodes, CHAIN), 1.0)
    with pytest.raises(UsageError, match="n: snnTorch adds the current as it is"):
        to_snntorch(Graph(simple(), CHAIN), 1e-3)


def damaged(path: Path, change: Any) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def replace_node(name: str, value: Any) -> Any:
    def change(file: Any) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


DAMAGES: dict[str, tuple[Any, str]] = {
    "a node's type is another": (replace_node("node/nodes/n/type", b"Pickle"), "/node/nodes/n: a Pickle node cannot"),
    "a weight is missing": (replace_node("node/nodes/w/weight", None), "/node/nodes/w/weight: is missing"),
    "a weight is text": (replace_node("node/nodes/w/weight", b"much"), "/node/nodes/w/weight: should be plain numbers"),
    "a weight has another shape": (replace_node("node/nodes/w/weight", np.ones((3, 5))), "w: .*takes 5 inputs, got 2"),
    "the edges are numbers": (replace_node("node/edges", np.ones((3, 2))), "/node/edges"),
    "a link leads out of the file": (
        replace_node("node/nodes/w/weight", h5py.ExternalLink("/etc/passwd", "/x")),
        "/node/nodes/w/weight: is a link out of the file",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line_that_names_the_node(name: str, tmp_path: Path) -> None:
    change, complaint = DAMAGES[name]
    write_nir(tmp_path / "net.nir", Graph(simple(), CHAIN))
    damaged(tmp_path / "net.nir", change)
    with pytest.raises(RatespikeError, match=complaint) as caught:
        read_nir(tmp_path / "net.nir")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "net.nir"))


def test_a_declared_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_nir(tmp_path / "net.nir", Graph(simple(), CHAIN))

    def huge(file: Any) -> None:
        del file["node/nodes/w/weight"]
        file.create_dataset("node/nodes/w/weight", shape=(10**6, 10**6), dtype=float)

    damaged(tmp_path / "net.nir", huge)
    with pytest.raises(RatespikeError, match=r"/node/nodes/w/weight: declares 8,000,000,000,000 bytes"):
        read_nir(tmp_path / "net.nir")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("fuzz") / "net.nir"
    write_nir(path, recurrent(np.random.default_rng(1)))
    return path, path.read_bytes()


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_broken_bytes_are_refused_or_harmless(
    valid: tuple[Path, bytes], changes: list[tuple[float, bytes]]
) -> None:
    path, content = valid
    broken = bytearray(content)
    for place, values in changes:
        start = int(place * len(broken))
        broken[start : start + len(values)] = values
    other = path.with_suffix(".broken")
    other.write_bytes(bytes(broken))
    messages = []
    try:
        assert isinstance(read_nir(other), Graph)
    except RatespikeError as error:
        messages.append(str(error))
    assert not any("\n" in message for message in messages)


def test_the_number_below_one_is_the_next_in_float32() -> None:
    assert np.float32(BELOW_ONE) == np.nextafter(np.float32(1), np.float32(0))

"""One call for every backend: pieces, checkpoints, and what ends a run."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, StoppedError, UsageError
from spiking import simulate as simulating
from spiking.network import models
from spiking.network.connectivity import OneToOne
from spiking.network.models import Drive, NeuronModel
from spiking.network.network import Network
from spiking.network.sources import ValueInput
from spiking.network.state import Recorded, initial_state
from spiking.simulate import read_state, simulate, write_state
from tests.spiking.network.zoo import ZOO


@pytest.mark.parametrize("backend", simulating.BACKENDS)
def test_pieces_and_checkpoints_make_no_difference(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = ZOO["two rules in one population"]()
    record = [Recorded("cells", ("v",))]
    whole = simulate(net, 0.3, backend=backend, record=record)
    monkeypatch.setattr(simulating, "PIECE", 70)
    path = tmp_path / "state.npz"
    simulate(net, 0.1, backend=backend, checkpoint=path)
    rest = simulate(net, 0.2, backend=backend, state=read_state(path, net), checkpoint=path, record=record)
    assert rest.state.keys() == whole.state.keys()
    for name, value in whole.state.items():
        np.testing.assert_array_equal(rest.state[name], value, err_msg=name)
        np.testing.assert_array_equal(read_state(path, net)[name], value)
    np.testing.assert_array_equal(rest.recorded["cells/v"], whole.recorded["cells/v"][100:])
    late = whole.spikes["cells"][:, 0] >= 100
    np.testing.assert_array_equal(rest.spikes["cells"], whole.spikes["cells"][late])


def exploding() -> Network:
    net = Network(1e-3)
    model = NeuronModel("exploding", {"v": 1.0}, "v = v**2 + drive", receptors={"drive": Drive()}, potential="v")
    net.population("values", ValueInput(np.ones(2)), 2)
    net.population("bombs", model, 2)
    net.connect("values", "bombs", OneToOne(1.0))
    return net


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("backend", simulating.BACKENDS)
def test_what_is_not_finite_stops_the_run_and_the_last_good_checkpoint_stays(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulating, "PIECE", 5)
    path = tmp_path / "state.npz"
    with pytest.raises(RatespikeError, match=r"^bombs/v is not finite any more; the last good state is kept$"):
        simulate(exploding(), 1.0, backend=backend, checkpoint=path)
    kept = read_state(path, exploding())
    assert int(kept["step"]) == 10
    assert np.isfinite(kept["bombs/v"]).all()


@pytest.mark.parametrize("backend", simulating.BACKENDS)
def test_ctrl_c_stops_between_pieces_and_the_checkpoint_goes_on(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it comes: the run ends where it would have ended."""
    net = ZOO["pair stdp"]()
    monkeypatch.setattr(simulating, "PIECE", 40)
    path, original = tmp_path / "state.npz", simulating.write_state

    def interrupted(path: Path, state: Any) -> None:
        original(path, state)
        if int(state["step"]) == 80:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(simulating, "write_state", interrupted)
    with pytest.raises(StoppedError, match=r"^stopped after 80 of 200 steps; .*state.npz says how far it has come$"):
        simulate(net, 0.2, backend=backend, checkpoint=path)
    monkeypatch.setattr(simulating, "write_state", original)
    rest = simulate(net, 0.12, backend=backend, state=read_state(path, net), checkpoint=path)
    whole = simulate(net, 0.2, backend=backend)
    for name, value in whole.state.items():
        np.testing.assert_array_equal(rest.state[name], value, err_msg=name)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    net = ZOO["pair stdp"]()
    path = tmp_path / "state.npz"
    for options, message in (
        ({"backend": "nest"}, "^backend: must be one of numpy, brian2, got 'nest'$"),
        ({"seconds": 0.01005}, "^seconds: must be a multiple of dt"),
        ({"frozen": ["all"]}, "^frozen: there is no plastic projection 'all'$"),
        ({"record": [Recorded("cells", ("u",))]}, "^record: there is no variable cells/u"),
        ({"state": {"step": np.zeros(())}}, "^state: .* is missing$"),
        ({"state": initial_state(net) | {"cells/w": np.zeros(3)}}, "^state: cells/w is unknown$"),
        ({"state": initial_state(net) | {"cells/v": np.zeros((1, 3))}}, "^state: cells/v must have the shape"),
    ):
        for backend in simulating.BACKENDS:
            given: dict[str, Any] = {"seconds": 0.01, "backend": backend, **options}
            with pytest.raises(UsageError, match=message):
                simulate(net, **given)
    write_state(path, initial_state(net))
    with pytest.raises(UsageError, match="exists"):
        simulate(net, 0.01, checkpoint=path)
    with pytest.raises(UsageError, match="is the state of another network"):
        read_state(path, ZOO["sliding threshold"]())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RatespikeError, match=r"state.npz: [^\n]*$"):
        read_state(path, net)
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def test_samples_of_a_batch_see_their_own_values() -> None:
    """One set of weights, many inputs: as each alone."""
    from spiking.network import stepper

    def net_of(values: Any) -> Network:
        net = Network(1e-3)
        net.population("values", ValueInput(values), 3)
        net.population("cells", models.lif(), 3)
        net.connect("values", "cells", OneToOne(1.5), receptor="drive")
        return net

    values = np.linspace(0.5, 2, 6).reshape(2, 3)
    both = stepper.run(net_of(values), 100, samples=2)
    for sample in range(2):
        alone = stepper.run(net_of(values[sample]), 100)
        np.testing.assert_array_equal(both.state["cells/v"][sample], alone.state["cells/v"][0])
        own = both.spikes["cells"][both.spikes["cells"][:, 1] == sample][:, [0, 2]]
        np.testing.assert_array_equal(own, alone.spikes["cells"][:, [0, 2]])

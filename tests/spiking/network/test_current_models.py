"""The responses of the neurons with currents, which are integrated exactly, against the integral itself."""

import numpy as np
import pytest
from scipy.integrate import quad

from spiking.network import models, stepper
from spiking.network.connectivity import Pairs
from spiking.network.models import MEMBRANE
from spiking.network.network import Network
from spiking.network.sources import SpikeInput
from spiking.network.state import Recorded

W, TAU_M = 1e-10, MEMBRANE["tau_m"]  # A, s


@pytest.mark.parametrize("dt", [1e-3, 1e-4])
@pytest.mark.parametrize("ratio", [0.2, 0.999, 1 - 1e-9, 1 - 1e-15, 1.0, 1 + 1e-15, 1 + 1e-9, 1.001, 5.0])
@pytest.mark.parametrize("kind", ["exp", "alpha"])
def test_response_to_a_spike(kind: str, ratio: float, dt: float) -> None:
    """Also where a current's time constant is that of the membrane, or nearly so."""
    tau = TAU_M * ratio
    make = models.exponential_current_lif if kind == "exp" else models.alpha_current_lif
    net = Network(dt)
    net.population("cell", make(tau_ex=tau, tau_in=2e-3), 1)
    net.population("one", SpikeInput([0.0], [0]), 1)
    net.connect("one", "cell", Pairs([0], [0], W), receptor="ex")
    steps = round(20e-3 / dt)
    found = stepper.run(net, steps + 1, record=[Recorded("cell", ("V", "I_ex"))]).recorded

    def current(t: float) -> float:
        return float(W * np.exp(-t / tau) * (1.0 if kind == "exp" else np.e * t / tau))

    for n in (1, steps // 2, steps):
        t = n * dt  # since the spike acted, at the end of step 0
        expected, _ = quad(lambda s, t=t: np.exp(-(t - s) / TAU_M) * current(s) / MEMBRANE["C"], 0, t, epsabs=1e-18)
        assert found["cell/V"][n, 0, 0] - MEMBRANE["E_L"] == pytest.approx(expected, rel=1e-9)
        assert found["cell/I_ex"][n, 0, 0] == pytest.approx(current(t), rel=1e-12)

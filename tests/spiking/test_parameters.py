import dataclasses

import pytest

from foundation.errors import UsageError
from spiking.parameters import CurrentNeuron, LPLSynapse, whole_steps


def test_defaults_are_those_of_the_reference():
    assert LPLSynapse().steps(1e-4) == (8, 200, 5000)
    assert LPLSynapse().beta == 1000.0


def test_the_current_reading_is_the_same_surrogate_in_units_of_the_threshold():
    """20 mV between rest and threshold are one unit: sigma'(u) du/dV has to be the same on both scales."""
    volts, units = LPLSynapse(), LPLSynapse.current()
    for u in (0.0, 0.7, 1.3):
        v = -0.07 + 0.02 * u
        in_volt = volts.beta / (1 + volts.beta * abs(v - volts.theta)) ** 2
        in_units = units.beta / (1 + units.beta * abs(u - units.theta)) ** 2
        assert in_units == pytest.approx(0.02 * in_volt, rel=1e-12)
    assert (units.w_min, units.w_max, units.u_floor) == (None, None, None)
    assert LPLSynapse.current(beta=3.0, w_max=2.0) == dataclasses.replace(units, beta=3.0, w_max=2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau_mean": -1.0}, "LPLSynapse.tau_mean: must be positive, got -1.0"),
        ({"tau_sigma2": 0.0}, "LPLSynapse.tau_sigma2: must be positive, got 0.0"),
        ({"beta": float("nan")}, "LPLSynapse.beta: must be a finite plain number (times in seconds), got nan"),
        ({"phi": "1"}, "LPLSynapse.phi: must be a finite plain number (times in seconds), got '1'"),
        ({"eta": -0.1}, "LPLSynapse.eta: must not be negative, got -0.1"),
        ({"w_min": 1.0}, "LPLSynapse.w_min: must be below w_max = 1.0, got 1.0"),
        ({"prediction_delay": 5e-4}, "LPLSynapse.prediction_delay: must exceed axonal_delay = 0.0008, got 0.0005"),
    ],
)
def test_bad_values_are_refused_in_one_line(changes, message):
    with pytest.raises(UsageError) as error:
        LPLSynapse(**changes)
    assert str(error.value) == message


def test_quantities_of_brian2_are_refused():
    from brian2 import ms

    with pytest.raises(UsageError, match=r"LPLSynapse.tau_syn: must be a finite plain number \(times in seconds\)"):
        LPLSynapse(tau_syn=5 * ms)


def test_unknown_parameter_of_the_current_reading():
    with pytest.raises(UsageError, match=r"LPLSynapse: unknown parameter 'taumean'; known are .*tau_mean"):
        LPLSynapse.current(taumean=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r_max": 0.0}, "CurrentNeuron.r_max: must be positive, got 0.0"),
        ({"u_min": 1.0}, "CurrentNeuron.u_min: must be below theta = 1.0, got 1.0"),
        ({"tau_mem": float("inf")}, "CurrentNeuron.tau_mem: must be a finite plain number (times in seconds), got inf"),
    ],
)
def test_bad_neurons_are_refused_in_one_line(changes, message):
    with pytest.raises(UsageError) as error:
        CurrentNeuron(**changes)
    assert str(error.value) == message


def test_times_must_be_multiples_of_dt():
    with pytest.raises(UsageError, match=r"LPLSynapse.axonal_delay: must be a multiple of dt = 0.001 s, got 0.0008 s"):
        LPLSynapse().steps(1e-3)
    with pytest.raises(UsageError, match=r"dt: must not exceed LPLSynapse.tau_err_rise = 0.002 s, got 0.004 s"):
        LPLSynapse(axonal_delay=0.0).steps(4e-3)
    with pytest.raises(UsageError, match="dt: must be positive"):
        whole_steps("x", 1.0, 0.0)
    assert whole_steps("x", 0.0, 1e-4) == 0
    assert whole_steps("x", 600.0, 1e-4) == 6_000_000

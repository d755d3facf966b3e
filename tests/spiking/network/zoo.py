"""Networks of every kind that can be declared, small: what every simulator has to run alike."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spiking.network import models, plasticity
from spiking.network.connectivity import AllToAll, FixedNumber, Mapped, Normal, OneToOne, Pairs, Random, Uniform
from spiking.network.models import Drive, Jump, NeuronModel
from spiking.network.network import Network
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import PoissonInput, SpikeInput, ValueInput
from spiking.parameters import CurrentNeuron, LPLSynapse
from spiking.rule import Cascade, IntervalCode, PostsynapticSignal, ThreeFactorRule, WeightUpdate, lpl, super_spike
from spiking.synapses import Conv, Dense, Gain

ZOO: dict[str, Callable[[], Network]] = {}


def of_the_zoo(make: Callable[[], Network]) -> Callable[[], Network]:
    ZOO[make.__name__.replace("_", " ")] = make
    return make


def balanced(conductances: bool, number: int = 100) -> Network:
    """Vogels & Abbott 2005 (doi:10.1523/JNEUROSCI.3508-05.2005), in volt, with exponential Euler."""
    net = Network(1e-4, seed=3)
    tau, reversal = {"ex": 5e-3, "in_": 10e-3}, {"ex": 0.0, "in_": -80e-3}
    if conductances:
        cell = models.conductance_lif(
            C=200e-12, g_L=10e-9, E_L=-60e-3, V_th=-50e-3, refractory=5e-3, tau=tau, reversal=reversal
        )
        weights = 6e-9, 67e-9
    else:
        cell = models.exponential_current_lif(refractory=5e-3, tau_ex=5e-3, tau_in=10e-3)
        weights = 16e-12, -90e-12
    scale, outside = 4000 / (5 * number), 0.02 * 5  # as many inputs, of the same strength together
    start = {"V": np.linspace(-60e-3, -50.5e-3, 4 * number)}
    parameters = (
        {} if conductances else {"E_L": -49e-3, "V_th": -50e-3, "V_reset": -60e-3, "tau_m": 20e-3, "C": 200e-12}
    )
    exc = net.population("exc", cell, 4 * number, start=start, parameters=parameters)
    inh = net.population("inh", cell, number, start={"V": -55e-3}, parameters=parameters)
    drive = net.population("drive", PoissonInput(200.0), 40)
    receptors = "ex", "in_"
    for source, receptor, weight in ((exc, receptors[0], weights[0]), (inh, receptors[1], weights[1])):
        for target in (exc, inh):
            net.connect(source, target, Random(min(1.0, 0.02 * scale), weight, itself=False), receptor=receptor)
    net.connect(drive, exc, Random(outside, 10 * weights[0]), receptor="ex", delay=5e-4)
    return net


@of_the_zoo
def balanced_with_currents() -> Network:
    return balanced(conductances=False, number=20)


@of_the_zoo
def balanced_with_conductances() -> Network:
    return balanced(conductances=True, number=20)


@of_the_zoo
def recurrent_without_delays() -> Network:
    """V += w, refractoriness, and nothing in between."""
    net = Network(1e-3, seed=1)
    inputs = net.population("inputs", PoissonInput(80.0), 30)
    cells = net.population("cells", models.lif(tau=20e-3, refractory=3e-3), 20)
    net.connect(inputs, cells, Random(0.4, Uniform(0.1, 0.4)), receptor="delta")
    net.connect(cells, cells, Random(0.3, Normal(0.0, 0.1), itself=False), receptor="delta")
    return net


@of_the_zoo
def delays_of_synapses_and_of_neurons() -> Network:
    rng = np.random.default_rng(5)
    net = Network(1e-3, seed=2)
    inputs = net.population("inputs", PoissonInput(60.0), 20)
    cells = net.population("cells", models.exponential_current_lif(refractory=2e-3), 12)
    pre, post = np.nonzero(rng.random((20, 12)) < 0.5)
    net.connect(inputs, cells, Pairs(pre, post, 400e-12), receptor="ex", delay=rng.integers(0, 6, pre.size) * 1e-3)
    pre, post = np.nonzero(rng.random((12, 12)) < 0.4)
    net.connect(
        cells, cells, Pairs(pre, post, -100e-12), receptor="in_", delay=rng.integers(0, 5, pre.size) * 1e-3, name="back"
    )
    alpha = net.population("alpha", models.alpha_current_lif(), 6)
    net.connect(cells, alpha, FixedNumber(4, 600e-12), receptor="ex", delay=np.full(24, 2e-3))
    return net


@of_the_zoo
def field_models_with_currents() -> Network:
    """AdEx and Izhikevich neurons that excite each other, with parameters of their own."""
    net = Network(1e-4, seed=4)
    inputs = net.population("inputs", PoissonInput(100.0), 20)
    adex = net.population("adex", models.adex(refractory=2e-3), 8, parameters={"I_e": np.linspace(4e-10, 1e-9, 8)})
    izhi = net.population("izhi", models.izhikevich(), 8, parameters={"d": np.linspace(2, 8, 8), "I_e": 10.0})
    net.connect(inputs, adex, AllToAll(3e-9), receptor="ex", delay=1e-3)
    net.connect(adex, izhi, Random(0.5, 5.0), receptor="delta", delay=2e-3)
    net.connect(izhi, adex, Random(0.5, 5e-9), receptor="in_", delay=1e-3)
    return net


@of_the_zoo
def integrate_and_fire_with_both_resets() -> Network:
    """A converted network in small: values in, drives without delay, a sum out."""
    rng = np.random.default_rng(0)
    net = Network(1e-3)
    image = net.population("image", ValueInput(rng.random(32)), (2, 4, 4))
    conv = net.population("conv", models.integrate_and_fire(start=0.5), (3, 4, 4), parameters={"bias": 0.05})
    dense = net.population("dense", models.integrate_and_fire(reset="zero"), 10)
    out = net.population("out", models.integrator(), 5)
    net.connect(image, conv, Conv(rng.normal(0.1, 0.3, (3, 2, 3, 3)), padding=(1, 1)))
    net.connect(conv, dense, [Dense(rng.normal(0.05, 0.3, (10, 48))), Gain(np.full(1, 0.7))])
    net.connect(image, dense, Dense(rng.normal(0, 0.1, (10, 32))), name="shortcut")
    net.connect(dense, out, Dense(rng.normal(0, 0.5, (5, 10))))
    return net


@of_the_zoo
def a_cycle_of_neurons_and_integrators() -> Network:
    """As in NIR: CubaLIF to LI and back, a delay of one step, and graded senders."""
    net = Network(1e-3, seed=6)
    inputs = net.population("inputs", SpikeInput([0.003, 0.001, 0.001, 0.02, 0.02], [1, 0, 0, 2, 1]), 3)
    steady = net.population("steady", ValueInput(np.array([[0.2, 0.5], [2.0, 0.1], [1.1, 1.3]]), every=0.5), 2)
    cells = net.population("cells", models.cuba_lif(tau_syn=5e-3, w_in=20.0, v_threshold=0.4), 4)
    slow = net.population("slow", models.leaky_integrator(tau=30e-3), 4)
    net.connect(inputs, cells, AllToAll(0.5), receptor="drive")
    net.connect(steady, cells, AllToAll(0.7), receptor="drive")
    net.connect(cells, slow, OneToOne(5.0))
    net.connect(slow, cells, OneToOne(-0.8), receptor="drive", sends="v", delay=2e-3)
    return net


@of_the_zoo
def the_largest_of_what_arrives() -> Network:
    """A max-pool: gates that pass on the largest number of spikes below."""
    gate = NeuronModel(
        "gate", {"fired": 0.0}, "", "largest - fired > 0.5", "fired += 1", receptors={"largest": Drive("max")}
    )
    counting = NeuronModel(
        "counting",
        {"v": 0.0, "count": 0.0},
        "v += drive",
        "v >= 1",
        "v -= 1\ncount += 1",
        receptors={"drive": Drive()},
    )
    net = Network(1e-3)
    values = net.population("values", ValueInput(np.linspace(0.05, 0.6, 12)), 12)
    below = net.population("below", counting, 12)
    above = net.population("above", gate, 4)
    net.connect(values, below, OneToOne(1.0))
    net.connect(below, above, Pairs(np.arange(12), np.arange(12) // 3), sends="count")
    return net


@of_the_zoo
def both_readings_of_a_plastic_layer() -> Network:
    """Current-based and conductance-based, from one input; and a second plastic layer above the first."""
    net = Network(5e-4, seed=7)
    inputs = net.population("inputs", PoissonInput(np.linspace(20, 120, 20)), 20)
    neuron = CurrentNeuron(tau_mem=5e-3, r_max=100.0)
    one = net.population("one", models.current_neuron(neuron), 6, parameters={"bias": np.linspace(0.0, 0.1, 6)})
    two = net.population("two", models.conductance_neuron(), 5)
    above = net.population("above", models.current_neuron(neuron), 3)
    rule = LPLSynapse.current(axonal_delay=1e-3, update_interval=0.05, tau_mean=0.5, tau_sigma2=0.3, eta=0.05)
    begin = {"tr_mean": 10.0, "sigma2": 20.0}
    net.connect(inputs, one, AllToAll(Uniform(-0.1, 0.5)), plasticity=lpl(rule, net.dt), start=begin)
    net.connect(one, above, AllToAll(0.8), plasticity=lpl(rule, net.dt), delay=1.5e-3, start=begin)
    volts = LPLSynapse(axonal_delay=1e-3, update_interval=0.05, tau_mean=0.5, tau_sigma2=0.3, augment_gradient=True)
    net.connect(inputs, two, Random(0.6, 0.4), receptor="ampa", plasticity=lpl(volts, net.dt), start=begin)
    return net


@of_the_zoo
def super_spike_with_a_target() -> Network:
    net = Network(1e-3, seed=8)
    inputs = net.population("inputs", PoissonInput(50.0), 20)
    cells = net.population("cells", models.lif(v_reset=0.0), 2)
    rule = super_spike(interval=0.02, beta=5.0, theta=1.0, axonal_delay=1e-3, eta=1e-2)
    projection = net.connect(inputs, cells, AllToAll(0.15), receptor="delta", plasticity=rule)
    wanted = np.zeros((40, 2))
    wanted[::8] = 1.0
    net.input(f"{projection.name}.target", ValueInput(wanted, every=1e-3))
    return net


def stdp_to(rule: SpikeTriggeredRule, delay: float = 0.0, seed: int = 9) -> Network:
    net = Network(1e-3, seed)
    inputs = net.population("inputs", PoissonInput(30.0), 40)
    cells = net.population("cells", models.lif(refractory=2e-3), 4)
    net.connect(inputs, cells, AllToAll(Uniform(0.1, 0.3)), receptor="delta", plasticity=rule, delay=delay)
    return net


@of_the_zoo
def pair_stdp() -> Network:
    return stdp_to(plasticity.pair_stdp(A_plus=0.05, A_minus=0.0525), delay=2e-3)


@of_the_zoo
def power_law_stdp_of_nearest_spikes() -> Network:
    return stdp_to(plasticity.pair_stdp(A_plus=0.05, A_minus=0.0525, mu=0.4, nearest=True))


@of_the_zoo
def triplet_stdp_in_a_recurrent_network() -> Network:
    net = stdp_to(plasticity.triplet_stdp(A3_plus=0.05, A2_minus=0.02), delay=1e-3)
    cells = net.populations["cells"]
    net.connect(
        cells, cells, AllToAll(0.1, itself=False), receptor="delta", plasticity=plasticity.triplet_stdp(), delay=1e-3
    )
    return net


@of_the_zoo
def stdp_with_code_at_intervals() -> Network:
    """Weights that decay, are scaled to a sum, and depend on a variable of the target."""
    scaling = IntervalCode(
        "w = w*(1 + 0.2*(wanted/clip(w_sum, 0.01, 1e9) - 1)) - decay*w*int(v > 0.5)\nage += 1 + 0*n_in",
        interval=0.02,
        variables={"age": 0.0},
        constants={"wanted": 6.0, "decay": 0.01},
        reads=("v",),
    )
    plain = plasticity.pair_stdp(A_plus=0.05, A_minus=0.0525)
    return stdp_to(
        SpikeTriggeredRule(
            plain.on_pre, plain.on_post, plain.pre, plain.post, ("x",), ("y",), constants=plain.constants,
            at_intervals=scaling,
        )
    )  # fmt: skip


@of_the_zoo
def synapses_that_are_stepped() -> Network:
    """The general form: code for every synapse in every step; a calcium-like variable of the synapse."""
    rule = SpikeTriggeredRule(
        step="c = c*exp(-dt/tau) + s + 2*s_now\nw = clip(w + eta*dt*(c - 1)*int(c > 1)*v - eta*dt*y*c, 0, 1)",
        post="y += dt/0.1*(u - y)",
        post_variables=("y",),
        variables={"c": 0.3},
        constants={"tau": 30e-3, "eta": 0.5},
        reads=("v",),
    )
    return stdp_to(rule, delay=1e-3)


@of_the_zoo
def reward_modulated_stdp() -> Network:
    net = Network(1e-3, seed=10)
    inputs = net.population("inputs", PoissonInput(40.0), 30)
    cells = net.population("cells", models.lif(), 3)
    rule = plasticity.reward_modulated_stdp(eta=0.05, interval=0.03, tau_e=0.5)
    projection = net.connect(inputs, cells, AllToAll(0.2), receptor="delta", delay=1e-3, plasticity=rule)
    net.input(f"{projection.name}.reward", ValueInput(np.array([[1.0, 0, -1], [-0.5, 2, 1]]), every=0.4))
    return net


@of_the_zoo
def voltage_based_plasticity() -> Network:
    net = Network(1e-3, seed=11)
    inputs = net.population("inputs", PoissonInput(30.0), 20)
    adex = models.adex(refractory=2e-3)
    scaled = {**adex.receptors, "scaled": Jump("g_ex", "1e-8")}
    cells = net.population("cells", replace(adex, receptors=scaled), 3)
    rule = plasticity.clopath(interval=1e-3, A_ltp=8e-3, A_ltd=14e-3)
    rest = {"u_minus": -70.6e-3, "u_plus": -70.6e-3}
    fixed = net.population("strong", PoissonInput(300.0), 3)
    net.connect(fixed, cells, OneToOne(40e-9), receptor="ex")
    weak = Uniform(0.2, 0.6)  # without a unit: what they do to the conductance is scaled by the receptor
    net.connect(inputs, cells, AllToAll(weak), receptor="scaled", delay=1e-3, plasticity=rule, start=rest)
    return net


@of_the_zoo
def sliding_threshold() -> Network:
    net = Network(1e-3, seed=12)
    inputs = net.population("inputs", PoissonInput(np.repeat([10.0, 60.0], 10)), 20)
    cells = net.population("cells", models.lif(), 3)
    rule = plasticity.bcm(eta=1e-5, interval=0.05, tau_theta=0.5)
    net.connect(inputs, cells, AllToAll(0.15), receptor="delta", plasticity=rule, start={"theta": 30.0})
    return net


@of_the_zoo
def e_prop_with_a_readout() -> Network:
    """The learning signal is sent by a readout: an integrator's error through fixed weights."""
    net = Network(1e-3, seed=13)
    inputs = net.population("inputs", PoissonInput(40.0), 25)
    cells = net.population("cells", models.lif(), 6)
    readout = NeuronModel(
        "readout",
        {"y": 0.0, "error": 0.0},
        "y = y*exp(-dt/0.02) + drive\nerror = y - wanted",
        receptors={"drive": Drive()},
        inputs=("wanted",),
    )
    out = net.population("out", readout, 2)
    net.input("out.wanted", np.array([1.0, 0.2]))
    net.connect(cells, out, AllToAll(Normal(0.1, 0.2)), receptor="drive")
    rule = plasticity.e_prop(eta=2e-3, interval=0.05)
    net.connect(inputs, cells, AllToAll(0.1), receptor="delta", plasticity=rule, name="in")
    net.connect(cells, cells, AllToAll(0.02, itself=False), receptor="delta", delay=1e-3, plasticity=rule, name="rec")
    net.connect(out, cells, AllToAll(Normal(0.0, 1.0)), receptor="in.learning_signal", sends="error", name="feedback")
    return net


@of_the_zoo
def two_rules_in_one_population() -> Network:
    """Reward-modulated three-factor and inhibitory plasticity at the same neurons, a clamp at the end of every step."""
    clamped = NeuronModel(
        "clamped",
        {"v": 0.0, "g": 0.0},
        "v += dt/0.02*(g - v)\ng *= exp(-dt/0.005)",
        "v > 1",
        "v = 0",
        receptors={"ex": Jump("g"), "in_": Jump("g", "0 - strength")},
        parameters={"strength": 1.0},
        inputs=("held", "at"),
        end="v = held*at + (1 - held)*v",
        potential="v",
        refractory=2e-3,
    )
    net = Network(1e-3, seed=14)
    exc = net.population("exc", PoissonInput(50.0), 20)
    inh = net.population("inh", PoissonInput(30.0), 10)
    cells = net.population("cells", clamped, 4, parameters={"strength": np.linspace(0.5, 2, 4)})
    net.input("cells.held", ValueInput(np.array([[0.0, 0, 0, 0], [1.0, 0, 0, 1], [0.0, 0, 0, 0]]), every=0.1))
    net.input("cells.at", np.array([0.3, 0.0, 0.0, -0.2]))
    rule = ThreeFactorRule(
        Cascade(5e-3, 20e-3),
        "1/(1 + abs(u - theta)/width)**2*(1 + 0.5*s_now)",
        Cascade(5e-3, 20e-3),
        PostsynapticSignal(
            "s_now - dt/tau_mean*mean + 0.1*(s_old - s_now)",
            Cascade(5e-3, 20e-3),
            "mean = (mean + s_now)*exp(-dt/tau_mean)",
            ("mean",),
            delays={"old": 5e-3},
        ),
        WeightUpdate(eta=3.0, interval=0.03, w_min=0.0, w_max=2.0, tau_w=5.0),
        {"tau_mean": 0.5, "theta": 1.0, "width": 0.2},
        axonal_delay=1e-3,
        alignment=2e-3,
        growth=1e-4,
    )
    net.connect(exc, cells, AllToAll(0.6), receptor="ex", plasticity=rule, start={"mean": 5.0})
    holding = plasticity.symmetric_inhibition()
    net.connect(inh, cells, AllToAll(0.2), receptor="in_", plasticity=holding, delay=1e-3)
    return net


@of_the_zoo
def maps_in_a_row() -> Network:
    net = Network(1e-3)
    shown = net.population("shown", ValueInput(np.linspace(0, 1, 16)), (1, 4, 4))
    cells = net.population("cells", models.lif(tau=2e-3), 4)
    kernel = np.full((1, 1, 2, 2), 0.5)
    net.connect(shown, cells, Mapped((Conv(kernel, (2, 2)), Gain(np.full(1, 1.5)))), receptor="drive")
    return net


@of_the_zoo
def names_that_are_the_same_for_all_neurons() -> Network:
    """Between assignments to variables, in all code: Brian2 wants them first."""
    model = NeuronModel(
        "late",
        {"v": 0.0, "a": 0.0},
        "a *= exp(-dt/0.1)\ndecay = dt\ndecay = exp(-decay/tau)\nv = v*decay + drive\nhalf = decay/2\nv += 0*half",
        "v > 1",
        "v = 0\nstep = 0.1*tau\na += step",
        receptors={"drive": Drive()},
        parameters={"tau": 20e-3},
        potential="v",
    )
    net = Network(1e-3, seed=15)
    inputs = net.population("inputs", PoissonInput(40.0), 20)
    cells = net.population("cells", model, 4)
    rule = SpikeTriggeredRule(
        on_pre="w = clip(w - 0.01*y, 0, 1)\nby = eta*2\nc += by",
        on_post="c += 0.1\nby = eta*3\nw = clip(w + by*x, 0, 1)",
        pre="x += s\nd = exp(-dt/tau)\nx *= d",
        post="y += s_now\nd = exp(-dt/tau)\ny *= d",
        pre_variables=("x",),
        post_variables=("y",),
        variables={"c": 0.0},
        constants={"eta": 0.01, "tau": 20e-3},
        at_intervals=IntervalCode("n += 1\nhow = interval\nw *= 1 - how", 0.05, variables={"n": 0.0}),
    )
    net.connect(inputs, cells, AllToAll(0.2), plasticity=rule)
    return net

"""A layer learns in torch: fully connected ones and convolutions, in both readings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bridge.config import LearningConfig
from bridge.learning.part import Floats, Levels, Part
from foundation.errors import UsageError
from foundation.seeds import numpy_generator
from spiking.parameters import ConductanceNeuron, whole_steps
from spiking.rule import lpl
from spiking.synapses import Dense
from spiking.torch.feedforward import Ran, run_conductance, run_current
from spiking.torch.integrate_and_fire import module_of
from spiking.torch.layers import PlasticConv2d, PlasticLinear

TRIAL = 8  # frames that show how far a learning rate goes, and how much a gain makes neurons fire
BISECTIONS = 12


class TorchLayer:
    """The layer in torch, made anew for each run."""

    def __init__(
        self, part: Part, frames: Floats, levels: Levels, config: LearningConfig, device: torch.device
    ) -> None:
        self.part, self.frames, self.levels, self.config, self.device = part, frames, levels, config, device

    def eta(self, gain: float) -> float:
        """The learning rate at which all frames change the weights by about `change`, from a trial of the first."""
        number = min(TRIAL, len(self.frames))
        small = 1e-9
        after, _ = self.learn(small, gain, frames=number, label="a trial")
        moved = float(np.linalg.norm(after - self.part.main.weight)) / small
        if moved == 0:
            raise UsageError(f"{self.part.name}: nothing to learn from: in a trial of {number} frames no weight moved")
        # Updates of the predictive term change sign from frame to frame: a random walk, not a straight way.
        distance = moved * math.sqrt(len(self.frames) / number)
        return self.config.change * float(np.linalg.norm(self.part.main.weight)) / distance

    def gain(self) -> float:
        """Conductance reading: the gain at which neurons fire as often as is expected of them, on average."""
        target = float(self.levels[0].mean())
        if target < 0.1:
            raise UsageError(f"{self.part.name}: its units are all but silent ({target:.2g} Hz on average)")
        low, high = 1e-6, 1e3 / max(1e-9, float(np.abs(self.part.main.weight).max()))
        for _ in range(BISECTIONS):
            gain = math.sqrt(low * high)
            _, rates = self.learn(0.0, gain, frames=TRIAL, label="")
            low, high = (gain, high) if rates.mean() < target else (low, gain)
        return math.sqrt(low * high)

    def learn(self, eta: float, gain: float, *, frames: int = 0, label: str | None = None) -> tuple[Floats, Floats]:
        """The weights after the frames, in the converted network's units, and mean rates in Hz, by unit or channel."""
        config = self.config
        shown = self.frames[: frames or None]
        steps = whole_steps("frame", config.frame, config.dt)
        spikes = _Frames(shown, steps, config, self.device)
        layer = self._layer(eta, gain)
        label = f"learning in spikes, {len(shown)} frames" if label is None else label
        bias = torch.from_numpy(self.part.layer.bias).to(self.device)
        if config.reading == "current":
            ran = run_current(layer, spikes, len(shown) * steps, bias, config.neuron, config.dt, label=label)
            after = layer.weight.cpu().numpy()
        else:
            ran = self._conductance(layer, spikes, len(shown) * steps, bias * config.always_on(gain), label, gain)
            excitatory = layer.weight.cpu().numpy() / gain
            after = np.where(self.part.main.weight > 0, excitatory, self.part.main.weight)
        rates = ran.rates(config.dt)[0].cpu().numpy()
        return after, rates.reshape(len(rates), -1).mean(1)

    def _layer(self, eta: float, gain: float) -> PlasticLinear | PlasticConv2d:
        """With the converted weights (the positive ones, in conductances), and traces from the statistics."""
        main, config = self.part.main, self.config
        rule = config.rule(eta)
        declared = lpl(rule, config.dt)
        layer: PlasticLinear | PlasticConv2d
        if isinstance(main, Dense):
            units, inputs = main.weight.shape
            layer = PlasticLinear(inputs, units, declared, config.dt, dtype=torch.float64)
        else:
            outputs, inputs, *kernel = main.weight.shape
            layer = PlasticConv2d(
                inputs * main.groups,
                outputs,
                (kernel[0], kernel[1]),
                declared,
                config.dt,
                stride=main.stride,
                padding=main.padding,
                dilation=main.dilation,
                groups=main.groups,
                dtype=torch.float64,
            )
        weight = main.weight if config.reading == "current" else np.maximum(main.weight, 0) * gain
        layer.weight.data.copy_(torch.from_numpy(weight))
        mean, variance = self.levels
        known = {"tr_mean": mean * rule.tau_mean, "sigma2": variance}
        for row, name in enumerate(declared.signal.statistics):
            layer.postsynaptic.statistics[row] = torch.from_numpy(known[name])
        return layer.to(self.device)

    def _conductance(
        self,
        layer: PlasticLinear | PlasticConv2d,
        spikes: _Frames,
        steps: int,
        constant: Tensor,
        label: str,
        gain: float,
    ) -> Ran:
        main, config = self.part.main, self.config
        negative = replace(main, weight=np.maximum(-main.weight, 0) * gain)
        inhibition = module_of(negative, torch.float64).to(self.device)
        both = constant.clamp(min=0), (-constant).clamp(min=0)
        return run_conductance(
            layer,
            inhibition,
            spikes,
            steps,
            ConductanceNeuron(),
            config.dt,
            constant=both,
            inhibitory_delay=1,
            label=label,
        )


class _Frames:
    """Poisson spikes of frames, step by step, the very ones of `bridge.coding.frame_spikes`."""

    def __init__(self, frames: Floats, steps: int, config: LearningConfig, device: torch.device) -> None:
        self.frames, self.steps, self.device = frames, steps, device
        self.probability = config.input_rate * config.dt
        self.generator = numpy_generator(config.seed, "learning")
        self.now = torch.zeros(())

    def __call__(self, step: int) -> Tensor:
        """(1, ...), of a step; steps are asked for in their order."""
        if step % self.steps == 0:
            frame = self.frames[step // self.steps]
            drawn = self.generator.random((self.steps, frame.size)) < frame.ravel() * self.probability
            self.now = torch.from_numpy(drawn.reshape(self.steps, 1, *frame.shape)).to(self.device, torch.float64)
        return self.now[step % self.steps]

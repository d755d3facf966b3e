"""Every array of the reference, at 1e-12 in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ratenets.butd.learning import Samples, backprop, counter_hebb
from ratenets.butd.losses import LOSSES
from tests.ratenets.butd.reference_networks import PARAMETERS, network_of, tensor

FILES = [
    "mlp_unguided_tied_CrossEntropy",
    "mlp_guided_tied",
    "mlp_guided_separate",
    "conv_guided_tied",
    "resblock_guided_tied",
]
ATOL = 1e-12
LOSS = LOSSES["cross-entropy"]


class Case:
    """A file, its network with its weights, and its samples."""

    def __init__(self, folder: Path, name: str, prefix: str = "") -> None:
        with np.load(folder / "butd" / f"{name}.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.network, self.names = network_of(name, self.arrays, prefix)
        task = self.get("task") if "task" in self.arrays else None
        self.samples = Samples(self.get("x"), self.get("labels"), task)

    def get(self, name: str) -> torch.Tensor:
        return tensor(self.arrays[name])

    def compare(self, prefix: str, ours: dict[str, torch.Tensor]) -> int:
        """Compare all arrays PREFIX_LAYER with our activities; return how many there were."""
        found = [(theirs, our) for theirs, our in self.names.items() if f"{prefix}_{theirs}" in self.arrays]
        for theirs, our in found:
            torch.testing.assert_close(ours[our], self.get(f"{prefix}_{theirs}"), rtol=0, atol=ATOL)
        return len(found)


@pytest.fixture(params=FILES)
def case(request: pytest.FixtureRequest, data: Path) -> Case:
    return Case(data, request.param)


def test_the_three_passes_see_the_reference_s_activities(case):
    network, samples = case.network, case.samples
    with torch.no_grad():
        attention = None
        if samples.instruction is not None:
            attention = network.attend(samples.instruction, to_input=True)
            assert case.compare("att", attention) == len(case.names) - 1  # all but the prediction head
            torch.testing.assert_close(attention["input"], case.get("att_input_level"), rtol=0, atol=ATOL)
        logits, activities = network.bottom_up(samples.images, attention)
        assert case.compare("bu", activities) >= 3
        torch.testing.assert_close(logits, case.get("logits"), rtol=0, atol=ATOL)
        torch.testing.assert_close(LOSS.value(logits, samples.targets), case.get("loss"), rtol=0, atol=ATOL)
        errors = LOSS.error(logits, samples.targets)
        torch.testing.assert_close(errors, case.get("dlogits"), rtol=0, atol=ATOL)
        assert case.compare("err", network.send_back(errors, activities)) >= 3


def compare_gradients(case: Case, prefix: str) -> None:
    expected = [name for name in case.arrays if name.startswith(f"{prefix}_d")]
    assert len(expected) >= 5
    for name in expected:
        _, kind, layer = name.split("_")
        parameter = case.network.get_parameter(f"{case.names[layer]}.{PARAMETERS[kind.removeprefix('d')]}")
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, case.get(name), rtol=0, atol=ATOL)


def test_counter_hebb_leaves_the_reference_s_values_in_grad(case):
    loss = counter_hebb(case.network, case.samples, LOSS)
    torch.testing.assert_close(loss, case.get("loss"), rtol=0, atol=ATOL)
    compare_gradients(case, "ch")
    if case.network.instruction is not None:  # it stays at its random start
        assert all(p.grad is None for p in case.network.instruction.parameters())


def test_backprop_leaves_its_gradients_there(case):
    torch.testing.assert_close(backprop(case.network, case.samples, LOSS), case.get("loss"), rtol=0, atol=ATOL)
    compare_gradients(case, "ag")


def test_values_of_two_passes_add_up_and_no_two_share_storage(case):
    counter_hebb(case.network, case.samples, LOSS)
    once = {name: p.grad.clone() for name, p in case.network.named_parameters() if p.grad is not None}
    counter_hebb(case.network, case.samples, LOSS)
    storages = []
    for name, value in once.items():
        grad = case.network.get_parameter(name).grad
        assert grad is not None
        torch.testing.assert_close(grad, 2 * value, rtol=0, atol=ATOL)
        storages.append(grad.untyped_storage().data_ptr())
    assert len(set(storages)) == len(once)


def test_update_values_by_name_are_those_in_grad(case):
    with torch.no_grad():
        logits, bu = case.network.bottom_up(case.samples.images, case.network.attention(case.samples.instruction))
        values = case.network.counter_hebb(bu, case.network.send_back(LOSS.error(logits, case.samples.targets), bu))
    counter_hebb(case.network, case.samples, LOSS)
    learned = {name for name, p in case.network.named_parameters() if p.grad is not None}
    assert learned == values.keys()
    for name in learned:
        torch.testing.assert_close(case.network.get_parameter(name).grad, values[name], rtol=0, atol=1e-15)


def test_a_guided_network_goes_the_reference_s_way_for_five_steps_of_sgd(data):
    start = Case(data, "traj_guided_tied_sgd_ch", prefix="init_")
    network = start.network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for step in range(5):
        rows = slice(8 * step, 8 * step + 8)
        samples = Samples(start.samples.images[rows], start.samples.targets[rows], start.samples.instruction)
        optimizer.zero_grad()
        losses.append(counter_hebb(network, samples, LOSS))
        optimizer.step()
    torch.testing.assert_close(torch.stack(losses), start.get("losses"), rtol=0, atol=ATOL)
    end, _ = network_of("traj", start.arrays, "final_")
    for ours, theirs in zip(network.state_dict().values(), end.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=ATOL)

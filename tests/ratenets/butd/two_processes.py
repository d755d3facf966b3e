"""Run by `torchrun`: do two processes make the steps of one? Exits with an error if not. Argument: an empty folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from foundation.errors import UsageError
from ratenets.butd.config import NetworkConfig, WeightConfig
from ratenets.butd.training import ButdLearner, check_processes, train_butd
from ratenets.distributed import process_group, rank, ranks
from tests.ratenets.butd.tiny import config, gradients, images

NOISY = WeightConfig(update_noise=0.3)
CASES: dict[str, dict[str, Any]] = {
    "separate weights": {},
    "noisy updates": {"weights": NOISY},
    "noisy updates of a resnet": {"kind": "tiny-resnet", "weights": NOISY},
    "convolutions, feedback alignment": {"kind": "simple", "weights": WeightConfig(feedback_alignment=True)},
    "top-down biases": {"network": NetworkConfig(hidden=6, td_bias=True), "weights": NOISY},
    "backprop": {"learning": "backprop"},
    "backprop beside top-down biases": {"learning": "backprop", "network": NetworkConfig(hidden=6, td_bias=True)},
    "backprop of a resnet": {"kind": "tiny-resnet", "learning": "backprop"},
    "all tasks": {"all_tasks": True, "weights": NOISY},
    "all tasks, backprop": {"all_tasks": True, "learning": "backprop", "weights": WeightConfig(regime="tied")},
    "several decoders": {"multi_decoder": True, "guided": False, "loss": "bce"},
}
SIZE, IMAGES = 5, 12  # neither five nor the last two are shared as others are


def steps(case: str) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Loss and gradients of the first and the last step of an epoch."""
    changes = dict(CASES[case])
    kind = changes.pop("kind", "fc")
    learner = ButdLearner(config(kind, batch_size=SIZE, **changes), images(IMAGES, kind))
    return [(learner.step(0, index)["loss"], gradients(learner)) for index in (0, 2)]


def compare(case: str, alone: list[tuple[Tensor, dict[str, Tensor]]]) -> None:
    for (loss, values), (expected_loss, expected) in zip(steps(case), alone, strict=True):
        torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-13, msg=case)
        everywhere = [torch.empty_like(loss) for _ in range(ranks())]
        dist.all_gather(everywhere, loss)
        assert all(torch.equal(each, loss) for each in everywhere), case
        assert values.keys() == expected.keys(), case
        for name, value in expected.items():
            size = max(1.0, value.abs().max().item())
            torch.testing.assert_close(values[name], value, rtol=0, atol=1e-12 * size, msg=f"{case}: {name}")


def refuse() -> None:
    """What two processes do not train is refused on both of them, before anything else."""
    with pytest.raises(UsageError, match=r"network\.norm: does not go with several processes"):
        check_processes(config("resnet18"))
    with pytest.raises(UsageError, match="train_instruction: does not go with several processes"):
        check_processes(config(train_instruction=True))
    with pytest.raises(UsageError, match="batch_size: a batch has 1 for 2 processes"):
        check_processes(config(batch_size=1))
    check_processes(config(batch_size=5))
    with pytest.raises(UsageError, match="batch_size: the last batch of 11 images has 1 for 2 processes"):
        train_butd(config(batch_size=5), images(11))
    check_processes(config(batch_size=6), 12)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    alone = {case: steps(case) for case in CASES}
    trained, history = train_butd(config(weights=NOISY, evaluate_every=1), images(IMAGES))
    with process_group(torch.device("cpu")):
        assert ranks() == 2
        for case, expected in alone.items():
            compare(case, expected)
        refuse()
        for epochs in (1, 2):
            asked = config(weights=NOISY, evaluate_every=1, run={"epochs": epochs})
            together, same = train_butd(asked, images(IMAGES), folder / "run", resume=epochs > 1)
        for name, value in trained.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-7, atol=1e-9, msg=name)
        if rank() == 0:
            assert len(same) == len(history) == 2
            for ours, theirs in zip(same, history, strict=True):
                assert ours == pytest.approx(theirs, rel=1e-7)
        dist.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

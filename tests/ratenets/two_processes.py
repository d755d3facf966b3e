"""Run by `torchrun`: is the gradient of two processes that of one, for every loss? Exits with an error if not."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ratenets.distributed import process_group, ranks, share
from ratenets.lpl import encoders
from ratenets.lpl.config import Coefficients, LossConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.network import LPLNetwork

LOSSES = {
    "lpl": LossConfig(),
    "projector": LossConfig(projector=True, projection_size=5, mlp_hidden_size=7),
    "supervised": LossConfig(supervision=True),
    "negative samples": LossConfig(negative_samples=True, coefficients=Coefficients(decorr=0)),
    "stale": LossConfig(stale_estimates=True),
    "end to end": LossConfig(end_to_end=True),
    "no pooling": LossConfig(pooling=False),
    "shuffled": LossConfig(shuffle_positives=True),
    "one view": LossConfig(one_view=True, published_decorr=True, summed_pull=True),
}
BATCH = 7  # not to be shared evenly


def network(loss: LossConfig) -> LPLNetwork:
    torch.manual_seed(3)
    encoder = encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 1)
    return LPLNetwork(encoder, loss, 4).double()


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    views = torch.rand(2 * BATCH, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels, permutation = torch.arange(BATCH) % 4, torch.randperm(BATCH, generator=generator)
    alone = {}
    for name, loss in LOSSES.items():
        net = network(loss)
        for _ in range(2):  # the second step sees stale estimates
            net.zero_grad()
            order = permutation if loss.shuffle_positives else None
            net(views, labels, order)[0].backward()
        alone[name] = [p.grad for p in net.parameters()]
    with process_group(torch.device("cpu")):
        assert ranks() == 2
        part = share(BATCH)
        mine = torch.cat([view[part] for view in views.chunk(2)])
        for name, loss in LOSSES.items():
            net = network(loss)
            parallel = DistributedDataParallel(net)
            for _ in range(2):
                net.zero_grad()
                order = permutation if loss.shuffle_positives else None
                parallel(mine, labels, order)[0].backward()
            largest = max(one.abs().max().item() for one in alone[name] if one is not None)
            for one, together in zip(alone[name], net.parameters(), strict=True):
                if one is None or together.grad is None:
                    assert one is None
                    assert together.grad is None
                    continue
                size = one.abs().max().item()
                assert (one - together.grad).abs().max().item() <= 1e-9 * size + 1e-13 * largest, name
        dist.barrier()


if __name__ == "__main__":
    main()

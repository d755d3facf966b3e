"""ResNet-50 (He et al. 2016, doi:10.1109/CVPR.2016.90), the variant with the stride in the 3 x 3 convolutions.

Parameters have the names that published weights have, within the blocks: `blocks.0` is the stem (conv1, bn1),
`blocks.1` to `blocks.4` are layer1 to layer4. Learns end to end only: its layers are stacks of three convolutions with
batch norm and a short cut, for which the paper defines no local loss.

The program of Halvagal & Zenke 2023 has batch norm in the stem and the short cuts alone, none in the bottlenecks
(`bottleneck_norms = False`); everybody else's ResNet-50, torchvision's published weights included, has it there, too.
"""

from __future__ import annotations

from torch import Tensor, nn

from ratenets.lpl.encoder_config import EncoderConfig, Shape
from ratenets.lpl.encoders.blocks import Block, SequentialBlock
from ratenets.lpl.encoders.encoder import need_pixels, scaled

DEPTHS = (3, 4, 6, 3)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a short cut, each followed by batch norm if `norms`."""

    def __init__(self, inputs: int, channels: int, stride: int, norms: bool) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn1, self.bn2, self.bn3 = (
            nn.BatchNorm2d(n) if norms else nn.Identity() for n in (channels, channels, outputs)
        )
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        output: Tensor = (self.bn3(self.conv3(y)) + self.downsample(x)).relu()
        return output


class Stem(Block):
    """7 x 7 convolution and max-pool, each with stride 2, at every image size."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.units = channels
        self.conv1, self.bn1 = nn.Conv2d(inputs, channels, 7, 2, padding=3, bias=False), nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.pool(self.bn1(self.conv1(x)).relu())
        return output


class Stage(SequentialBlock):
    """One of the four stacks of bottlenecks; its parameters are numbered as published: `0.conv1.weight`."""

    def __init__(self, inputs: int, channels: int, depth: int, stride: int, norms: bool) -> None:
        rest = [Bottleneck(EXPANSION * channels, channels, 1, norms) for _ in range(depth - 1)]
        super().__init__(EXPANSION * channels, Bottleneck(inputs, channels, stride, norms), *rest)


def blocks(config: EncoderConfig, shape: Shape) -> list[Block]:
    """Stem and four stages, initialised as published: He's normal distribution by fan-out, batch norm 1 and 0."""
    need_pixels(config, shape, 32)
    made: list[Block] = [Stem(shape[0], scaled(config, 64))]
    for number, depth in enumerate(DEPTHS):
        channels = scaled(config, 64 * 2**number)
        stride = 1 if number == 0 else 2
        made.append(Stage(made[-1].units, channels, depth, stride, config.bottleneck_norms))
    for module in nn.ModuleList(made).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return made

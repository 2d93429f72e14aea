"""Convolutions whose frozen batch norm is part of their weights: the same result in one pass over the pixels."""

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional


class NormedConv2d(Conv2d):
    """A detectron2 convolution with a frozen norm, computed as one convolution with scaled weights and a bias.

    Scaling the weights, a few thousand numbers, replaces two passes over every pixel, and in training their gradients.
    The parameters and their names stay as they were.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The normed and activated convolution."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        weight = self.weight * scale[:, None, None, None]
        x = functional.conv2d(x, weight, shift, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)


def join_frozen_norms(network: nn.Module) -> None:
    """Turn every convolution of the network that has a frozen norm and no bias of its own into a `NormedConv2d`."""
    for module in network.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d) and module.bias is None:
            module.__class__ = NormedConv2d

"""A loaded network made ready for inference on a GPU, once instead of at every picture.

Frozen norms become part of the convolutions before them, and weights get the number format and the order in memory that
the products want: otherwise each picture would scale, convert and turn all weights anew.
"""

import torch
from torch import Tensor, nn

from sartorius.detectron.convolution import QuickConv2d

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def join_for_inference(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a trained network's layers hold the weights that inference multiplies with; it can be trained no more.

    dtype: of the weights of convolutions and matrix products; anything but float32 wants an autocast around the network.
    Kernels get the channels of a pixel side by side, and hand pictures on that way.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, QuickConv2d) and layer.joins_norm():
                weight, bias = layer.joined()
                layer.weight, layer.bias, layer.norm = nn.Parameter(weight), nn.Parameter(bias), None
            if isinstance(layer, _WEIGHTED):
                for name, weight in list(layer.named_parameters(recurse=False)):
                    setattr(layer, name, nn.Parameter(_laid_out(weight, dtype), requires_grad=False))


def _laid_out(weight: Tensor, dtype: torch.dtype) -> Tensor:
    order = torch.channels_last if weight.dim() == 4 else torch.preserve_format
    return weight.detach().to(dtype, memory_format=order)

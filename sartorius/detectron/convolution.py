"""detectron2's convolutions made quicker with the same results: frozen norms joined in, Winograd's algorithm on CPUs."""

from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import Tensor
from torch.nn import functional

#: More inputs than this of fewer pixels than that are quicker together (AMD Zen 4, AVX2): cells, and not pictures.
_PICTURES, _CELL_PX = 8, 1000


class QuickConv2d(Conv2d):
    """A detectron2 convolution with the same parameters, names and, up to rounding, the same results.

    A frozen norm is computed as scaled weights and a bias: a few thousand numbers instead of two passes over every
    pixel, and in training their gradients. A 3 × 3 convolution on a CPU goes through `WinogradConvolution`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The normed and activated convolution of (N, C, H, W)."""
        weight, bias, norm = self.weight, self.bias, self.norm
        if self.joins_norm():
            weight, bias, norm = *self.joined(), None
        if self._is_three_by_three() and _nnpack_takes(x):
            x = WinogradConvolution.apply(x, weight, bias)
        else:
            x = functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        if norm is not None:
            x = norm(x)
        return x if self.activation is None else self.activation(x)

    def joins_norm(self) -> bool:
        """Whether scaled weights and a bias can stand for the norm."""
        return isinstance(self.norm, FrozenBatchNorm2d) and self.bias is None

    def joined(self) -> tuple[Tensor, Tensor]:
        """Weights and bias that do what the weights and the frozen norm do."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return self.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def _is_three_by_three(self) -> bool:
        shape = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


class QuickBottleneck(BottleneckBlock):
    """A residual block that in inference on a CPU adds its last product onto the shortcut's own pixels.

    That saves the memory of one of the network's largest results and two passes over it. A block without a projection
    then writes over its input, which nothing else reads in a ResNet: only a stage's last block is read by others, and
    the next stage begins with a projection.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The block's result for (N, C, H, W)."""
        if _nnpack_takes(x):
            x = x.contiguous()  # NNPACK wants planes; the picture came with a pixel's channels side by side
        inner = functional.relu_(self.conv1(x))
        inner = functional.relu_(self.conv2(inner))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if self._adds_in_place(inner, shortcut):
            weight, bias = self.conv3.joined()
            for total, pixels in zip(shortcut, inner, strict=True):
                total.flatten(1).addmm_(weight.flatten(1), pixels.flatten(1))
            shortcut += bias[:, None, None]
            return functional.relu_(shortcut)
        found = self.conv3(inner)
        found += shortcut
        return functional.relu_(found)

    def _adds_in_place(self, inner: Tensor, shortcut: Tensor) -> bool:
        return (
            not torch.is_grad_enabled()
            and inner.device.type == "cpu"
            and inner.dtype == shortcut.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and inner.is_contiguous()
            and shortcut.is_contiguous()
            and self.conv3.joins_norm()
        )


def _nnpack_takes(x: Tensor) -> bool:
    """Whether torch was built with NNPACK, it is switched on, runs on this processor and computes such numbers."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and torch._C._get_nnpack_enabled()
        and torch._nnpack_available()  # also initialises it
    )


class WinogradConvolution(torch.autograd.Function):
    """A 3 × 3 convolution of stride 1 and padding 1 by the NNPACK library that is part of torch.

    It computes 6 × 6 pixels with 64 multiplications instead of 324, in two to three times less time than the direct
    convolution that torch chooses on its own; so does the gradient of the pixels, a convolution itself. Numbers
    differ from the direct ones by rounding, 1e-5 of the largest.
    Source: Lavin and Gray 2016, Fast algorithms for convolutional neural networks.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x: (N, C, H, W). weight: (K, C, 3, 3). bias: (K,) or None. Returns (N, K, H, W)."""
        ctx.save_for_backward(x, weight)
        return _nnpack(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of pixels, weights and bias."""
        x, weight = ctx.saved_tensors
        needs_x, *needs_others = ctx.needs_input_grad
        for_x = _nnpack(grad, weight.transpose(0, 1).flip(2, 3), None) if needs_x else None
        _, for_weight, for_bias = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, *needs_others]
        )
        return for_x, for_weight, for_bias


def _nnpack(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    together = len(x) == 1 or (len(x) > _PICTURES and x.shape[2] * x.shape[3] < _CELL_PX)
    parts = [x] if together else x.split(1)
    found = [torch._nnpack_spatial_convolution(part, weight, bias, 1, 1) for part in parts]
    return found[0] if together else torch.cat(found)

"""A trained network's convolutions in 8-bit integers, for inference on CPUs: less than half the time of float32.

Pictures pass from layer to layer as bytes. What a byte stands for is fixed for each layer by the range of its results
that `calibration.py` saw, so what a picture gives does not depend on any other. The stem, the heads and everything
after them stay in float32, and in a U-Net what joins and norms the results on its way up.
Source: Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only inference.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from detectron2.modeling.backbone.resnet import BasicStem
from torch import Tensor, nn

from sartorius.detectron.convolution import QuickBottleneck, QuickConv2d
from sartorius.detectron.flow_network import UNet
from sartorius.errors import UserError

#: Lowest and highest value, by the layer's name, of what it hands on as bytes or of the float32 that it makes bytes of.
Ranges = Mapping[str, tuple[float, float]]

#: A processor without 8-bit dot products adds two products of a byte and a weight in 16 bits; one is for rounding.
_LARGEST_PAIR = 32767 / 255 - 1
#: Numbers of steps closer than this to an integer are that integer, but for float32's rounding.
_WHOLE = 1e-3
#: Numbers that become bytes at once: few enough to stay in a core's cache.
_AT_ONCE = 1 << 16
#: Shapes of pictures for which a layer keeps its weights packed; each takes about a byte of memory for every weight.
_SHAPES = 8


class Scale(NamedTuple):
    """What a byte stands for: `step` times its distance from `zero`."""

    step: float
    zero: int


def scale_of(low: float, high: float) -> Scale:
    """The scale whose bytes 0 to 255 reach from `low` to `high`, and that has a byte for 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-6) / 255
    return Scale(step, round(-low / step))


def as_bytes(x: Tensor, scale: Scale) -> Tensor:
    """(N, C, H, W) float32 to uint8 of a scale, cut off where it ends, a pixel's channels side by side."""
    x = x.contiguous(memory_format=torch.channels_last)
    found = torch.empty_like(x, dtype=torch.uint8)
    rounding = torch.tensor(scale.zero + 0.5)
    numbers, rounded = x.permute(0, 2, 3, 1).view(-1), found.permute(0, 2, 3, 1).view(-1)
    for part, out in zip(numbers.split(_AT_ONCE), rounded.split(_AT_ONCE), strict=True):
        out.copy_(torch.add(rounding, part, alpha=1 / scale.step).clamp_(0, 255))
    return found


class Int8Conv2d(QuickConv2d):
    """A convolution of bytes with 8-bit weights, its frozen norm joined in; made of a `QuickConv2d` by `become`."""

    def become(self, given: Scale, result: Scale | None, relu: bool) -> None:
        """Round the weights.

        given: the scale of the pixels. result: the scale of the results, which are float32 without one.
        relu: whether results below 0 are 0.
        """
        weight, bias = self.joined() if self.joins_norm() else (self.weight, self.bias)
        self._steps = weight_steps(weight.detach())
        self._rounded = (weight.detach() / self._steps[:, None, None, None]).round().to(torch.int8)
        self._geometry = list(self.stride), list(self.padding), list(self.dilation), self.groups
        self._packed: dict[torch.Size, Tensor] = {}
        self._zeros = torch.zeros_like(self._steps, dtype=torch.int64)
        self._joined_bias = None if bias is None else bias.detach()
        self._given, self._result, self._relu = given, result, relu

    def forward(self, x: Tensor) -> Tensor:
        """The normed and activated convolution of (N, C, H, W) bytes, or of float32 that it makes bytes of."""
        scale, dtype = (Scale(1.0, 0), torch.float32) if self._result is None else (self._result, torch.uint8)
        activation = "relu" if self._relu else "none"
        return torch.ops.onednn.qconv2d_pointwise(*self._arguments(x), *scale, dtype, activation, [], "")

    def onto(self, x: Tensor, total: Tensor, scale: Scale) -> Tensor:
        """The convolution of x added to bytes of another scale, cut off below 0; it takes the memory of those.

        x: as for `forward`. total: (N, K, H, W) uint8 of `scale`, a pixel's channels side by side.
        """
        return torch.ops.onednn.qconv2d_pointwise.binary(
            *self._arguments(x, total), *self._result, torch.uint8, *scale, "sum", 1.0, "relu", [], ""
        )

    def _arguments(self, x: Tensor, *total: Tensor) -> tuple[object, ...]:
        pixels = as_bytes(x, self._given) if x.is_floating_point() else x
        weights = self._packed_for(pixels.shape), self._steps, self._zeros
        return pixels, *self._given, *weights, *total, self._joined_bias, *self._geometry

    def _packed_for(self, shape: torch.Size) -> Tensor:
        """The weights in the order that oneDNN wants for pictures of a shape; in another it would reorder them in each call.

        Kept for the last shapes that were new. The dictionary is replaced and never changed, so that threads may share it.
        """
        packed = self._packed.get(shape)
        if packed is None:
            packed = torch.ops.onednn.qconv_prepack(
                self._rounded, self._steps, *self._given, *self._geometry, list(shape)
            )
            self._packed = dict([*self._packed.items(), (shape, packed)][-_SHAPES:])
        return packed

    def __getstate__(self) -> dict[str, object]:
        """What is copied and pickled: all but the packed weights, of which neither is possible."""
        return self.__dict__ | {"_packed": {}}


class Int8Stem(BasicStem):
    """The first layer in float32, whose result goes on as bytes of the scale `result`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to uint8."""
        return as_bytes(super().forward(x), self.result)


class Int8Pool(nn.MaxPool2d):
    """The stem's pooling in a U-Net, which uses what was before it too: its result goes on as bytes of `result`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float32 to uint8."""
        return as_bytes(super().forward(x), self.result)


class Int8Bottleneck(QuickBottleneck):
    """A residual block of bytes, which writes over its input as `QuickBottleneck` does; `added` is its shortcut's scale."""

    def forward(self, x: Tensor) -> Tensor:
        """The block's result for (N, C, H, W) bytes."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.conv3.onto(self.conv2(self.conv1(x)), shortcut, self.added)


def weight_steps(weight: Tensor) -> Tensor:
    """(K,) the step of each output channel's 8-bit weights.

    weight: (K, C, H, W). Steps are large enough that the products of two neighbouring channels' weights with bytes fit
    into 16 bits, where many processors would otherwise cut their sum off without a word. Weights that are whole numbers of
    such steps, as in a file of 8-bit weights, keep those: anew, the largest pair's rounding would scale them all.
    """
    size = weight.abs()
    if size.shape[1] % 2:
        size = torch.cat([size, torch.zeros_like(size[:, :1])], dim=1)
    largest = size.amax((1, 2, 3))
    largest_pair = (size[:, 0::2] + size[:, 1::2]).amax((1, 2, 3))
    steps = torch.maximum(largest / 127, largest_pair / _LARGEST_PAIR).clamp(min=1e-12)
    for before in (largest / 127, largest_pair / 127, largest_pair / 128):
        counted = weight / before.clamp(min=1e-12)[:, None, None, None]
        whole = (counted - counted.round()).abs().amax((1, 2, 3)) < _WHOLE
        fits = (largest < 127.5 * before) & (largest_pair < 128.5 * before)
        steps = torch.where(whole & fits, before, steps)
    return steps.clamp(min=1e-12)


def byte_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers whose ranges are needed, by name: those that hand on bytes, and `byte_makers`.

    Raises UserError if the network has layers that are not known here where bytes would pass.
    """
    backbone = network.backbone
    blocks = [block for stage in backbone.bottom_up.stages for block in stage]
    convolutions = [conv for block in blocks for conv in block.children()]
    layers = {_entry(network), *blocks, *convolutions, *backbone.lateral_convs, *byte_makers(network)}
    names = {layer: name for name, layer in network.named_modules() if layer in layers}
    for layer, name in names.items():
        _require_known(name, layer)
    unranged = {*backbone.lateral_convs, *(block.conv3 for block in blocks)}
    return {name: layer for layer, name in names.items() if layer not in unranged}


def byte_makers(network: nn.Module) -> list[nn.Module]:
    """The convolutions that are given float32: those after the pyramid's sums, or on a U-Net's way up, and the proposal
    network's.
    """
    makers = list(network.backbone.output_convs)
    if not isinstance(network.backbone, UNet):
        head = network.proposal_generator.rpn_head.conv.modules()
        makers += [layer for layer in head if isinstance(layer, QuickConv2d)]
    return makers


def _entry(network: nn.Module) -> nn.Module:
    """The layer whose float32 results are the first to become bytes."""
    backbone = network.backbone
    return backbone.pool if isinstance(backbone, UNet) else backbone.bottom_up.stem


def _require_known(name: str, layer: nn.Module) -> None:
    found = type(layer).__name__
    known = isinstance(layer, (BasicStem, nn.MaxPool2d, QuickBottleneck, QuickConv2d))
    if isinstance(layer, QuickConv2d) and layer.norm is not None:
        known, found = layer.joins_norm(), f"{found} with {type(layer.norm).__name__}"
    if not known:
        raise UserError(
            f"`cpu_convolutions: int8` knows bottleneck blocks with frozen norms, {name} is {found}; set "
            "`cpu_convolutions: float32`"
        )


def to_int8(network: nn.Module, ranges: Ranges) -> None:
    """Let the residual stages of a trained network, and its pyramid and proposals or its way up, compute in bytes.

    ranges: those that `calibration.ranges_on` found for this network.
    Raises UserError if they are another network's, or for layers that are not known here.
    """
    layers = byte_layers(network)
    if ranges.keys() != layers.keys():
        odd = min(ranges.keys() ^ layers.keys())
        raise UserError(
            f"the ranges for `cpu_convolutions: int8` are not this network's, see {odd!r}; export it anew"
        )
    scales = {}
    for name, layer in layers.items():
        low, high = ranges[name]
        cut_off_at_0 = name.endswith((".conv1", ".conv2"))  # by their blocks, after the layer
        scales[layer] = scale_of(0.0 if cut_off_at_0 else low, high)
    backbone, bottom_up = network.backbone, network.backbone.bottom_up
    entry = _entry(network)
    given = entry.result = scales[entry]
    entry.__class__ = Int8Stem if entry is bottom_up.stem else Int8Pool
    laterals = dict(zip(backbone.in_features, backbone.lateral_convs[::-1], strict=True))
    for name, stage in zip(bottom_up.stage_names, bottom_up.stages, strict=True):
        for block in stage:
            _block_to_int8(block, given, scales)
            given = scales[block]
        if name in laterals:
            _exchange(laterals[name], given, None)
    for layer in byte_makers(network):
        _exchange(layer, scales[layer], None, relu=layer.activation is not None)


def _block_to_int8(block: nn.Module, given: Scale, scales: Mapping[nn.Module, Scale]) -> None:
    block.added = given if block.shortcut is None else scales[block.shortcut]
    if block.shortcut is not None:
        _exchange(block.shortcut, given, block.added)
    _exchange(block.conv1, given, scales[block.conv1], relu=True)
    _exchange(block.conv2, scales[block.conv1], scales[block.conv2], relu=True)
    _exchange(block.conv3, scales[block.conv2], scales[block])
    block.__class__ = Int8Bottleneck


def _exchange(layer: nn.Module, given: Scale, result: Scale | None, relu: bool = False) -> None:
    layer.__class__ = Int8Conv2d
    layer.become(given, result, relu)


@cache
def int8_works() -> bool:
    """Whether this torch convolves bytes on this processor: tried, with the largest bytes."""
    conv = QuickConv2d(4, 1, 1)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    conv.__class__ = Int8Conv2d
    pixels, total = torch.full((1, 4, 2, 2), 252.0), torch.full((1, 1, 2, 2), 9, dtype=torch.uint8)
    try:
        with torch.inference_mode():
            conv.become(Scale(1.0, 3), Scale(8.0, 5), relu=False)
            found, added = conv(pixels).float(), conv.onto(pixels, total, Scale(4.0, 1)).float()
    except (AttributeError, RuntimeError, TypeError):
        return False
    exact = torch.tensor([5 + 4 * 252 / 8, 5 + (4 * 252 + 8 * 4) / 8])
    return bool(((torch.stack([found, added], dim=-1) - exact).abs() <= 1).all())

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn

from sartorius.detectron.frozen_norms import NormedConv2d, join_frozen_norms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    norms = [FrozenBatchNorm2d(6), FrozenBatchNorm2d(4)]
    for norm in norms:
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    first = Conv2d(3, 6, 3, stride=2, padding=1, bias=False, norm=norms[0], activation=nn.functional.relu)
    return nn.Sequential(
        first, Conv2d(6, 4, 1, bias=False, norm=norms[1]), Conv2d(4, 4, 1, norm=nn.GroupNorm(2, 4))
    )


def test_a_joined_network_gives_the_same_features_and_gradients_under_the_same_names() -> None:
    plain, joined = network(), network()
    join_frozen_norms(joined)
    assert [type(layer) for layer in joined] == [NormedConv2d, NormedConv2d, Conv2d]
    assert joined.state_dict().keys() == plain.state_dict().keys()
    picture = torch.randn(2, 3, 9, 11)
    found, expected = joined(picture), plain(picture)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.square().mean().backward()
    expected.square().mean().backward()
    for (name, own), theirs in zip(joined.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)

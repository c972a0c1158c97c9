"""Convolutions on small maps as matrix products, where a processor is several times faster at those."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PaddedConv2d(nn.Conv2d):
    """A convolution that is given its padding as zeros where a map is narrower than a stride.

    There oneDNN, in bf16 on a processor, leaves some of the weight's gradient unwritten, so that
    whatever lay in memory is learned from (torch 2.15; the last maps of a pyramid over small images).
    """

    def forward(self, input: Tensor) -> Tensor:
        if not _in_bf16(input) or all(n >= s for n, s in zip(input.shape[-2:], self.stride)):
            return super().forward(input)
        high, wide = (int(side) for side in self.padding)
        padded = F.pad(input, (wide, wide, high, high))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _in_bf16(input: Tensor) -> bool:
    return input.device.type == "cpu" and torch.is_autocast_enabled("cpu")


class ProductConv2d(PaddedConv2d):
    """A convolution that is one matrix product where that is the faster way, and itself elsewhere.

    In bf16 on a processor, the matrix units are fed best by a large product. On small maps (the
    last stages of most networks) and for 1 × 1 kernels it was measured to be 1.1 to 8 times as fast
    as the convolution of oneDNN (benchmarks/README.md), with the same values up to rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self._pays(input):
            return super().forward(input)
        stride, padding = self.stride[0], int(self.padding[0])
        output = Product.apply(input.bfloat16(), self.weight.bfloat16(), stride, padding)
        return output if self.bias is None else output + self.bias.bfloat16().view(-1, 1, 1)

    def _pays(self, input: Tensor) -> bool:
        if not _in_bf16(input):
            return False
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in input.shape[-2:])
        return kernel == 1 or (self.in_channels >= 256 and height * width <= 49)


def use_products(module: nn.Module) -> None:
    """Makes every plain convolution of a module a `ProductConv2d`, or, where it is no square and dense
    one, a `PaddedConv2d`."""
    for part in module.modules():
        if type(part) is nn.Conv2d and part.padding_mode == "zeros":
            if isinstance(part.padding, str):  # which asks for strides of one
                continue
            part.__class__ = ProductConv2d if _is_square(part) else PaddedConv2d


def _is_square(conv: nn.Conv2d) -> bool:
    """Whether it is dense, and the same along height and width."""
    same = all(len({*pair}) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding))
    return same and conv.groups == 1 and conv.dilation == (1, 1)


class Product(torch.autograd.Function):
    """The convolution of (B, C, H, W) with (D, C, k, k); keeps its two operands and no patches."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        patches = _patches(input, weight.shape[-1], stride, padding)
        return (patches @ _flat(weight).t()).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (input, weight) = grads, ctx.saved_tensors
        size, stride, padding = weight.shape[-1], ctx.stride, ctx.padding
        rows = grad.permute(0, 2, 3, 1)
        batch, height, width, _ = rows.shape
        flat = rows.reshape(-1, len(weight))
        patches = _patches(input, size, stride, padding).flatten(0, 2)
        by_weight = (flat.t() @ patches).view(len(weight), size, size, -1).permute(0, 3, 1, 2)
        if not ctx.needs_input_grad[0]:
            return None, by_weight, None, None
        parts = (flat @ _flat(weight)).view(batch, height, width, size, size, -1)
        if size == stride == 1 and not padding:
            return parts[:, :, :, 0, 0].permute(0, 3, 1, 2), by_weight, None, None
        sides = [side + 2 * padding for side in input.shape[-2:]]
        by_input = grad.new_zeros(batch, *sides, input.shape[1])
        for i in range(size):
            for j in range(size):
                last_row, last_column = i + stride * (height - 1), j + stride * (width - 1)
                place = by_input[:, i : last_row + 1 : stride, j : last_column + 1 : stride]
                place += parts[:, :, :, i, j]
        inner = by_input[:, padding : sides[0] - padding, padding : sides[1] - padding]
        return inner.permute(0, 3, 1, 2), by_weight, None, None


def _flat(weight: Tensor) -> Tensor:
    """(D, C, k, k) as (D, k * k * C), without a copy where the channels lie last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _patches(input: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """(B, H', W', k * k * C): what the kernel sees at each place."""
    rows = input.permute(0, 2, 3, 1)
    if padding:
        rows = F.pad(rows, (0, 0, padding, padding, padding, padding))
    if size == 1:
        return rows[:, ::stride, ::stride]
    seen = rows.unfold(1, size, stride).unfold(2, size, stride)
    return seen.permute(0, 1, 2, 4, 5, 3).flatten(3)

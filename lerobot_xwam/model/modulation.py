"""Scale, shift and gate by the time: a row for each of the few distinct times, shared by all its tokens.

In training only the rows are kept for the backward pass, not a copy of them for every token, and the norm is
made again there. Values are the same to the bit, see remaking.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .remaking import remakes

FEW_ROWS = 4  # distinct times; sampling and training have three


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Give every token its row. rows: B D dim; index: 1|B L -> B L dim"""
    if index.shape[0] > 1:
        return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
    first, *others = rows.unbind(dim=1)
    if len(others) > FEW_ROWS or not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        return rows.index_select(1, index[0])
    # Choosing between a few rows is arithmetic that a compiler fuses with what follows, and its gradient a
    # plain sum; an indexed read is neither, but one operation for all rows. The values are the same.
    which, chosen = index[0][:, None], first[:, None].expand(-1, index.shape[1], -1)
    for number, row in enumerate(others, start=1):
        chosen = torch.where(which == number, row[:, None], chosen)
    return chosen


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, index: Tensor, eps: float) -> Tensor:
    """norm(x) * (1 + scale) + shift in float32. x: B L dim; scale, shift: B D dim; index: 1|B L"""
    if remakes():
        return _ModulatedNorm.apply(x, scale, shift, index, eps)
    return _modulate(torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps), scale, shift, index)


def gated(x: Tensor, gate: Tensor, index: Tensor) -> Tensor:
    """x * gate, float32. x: B L dim; gate: B D dim; index: 1|B L"""
    return _Gated.apply(x, gate, index) if remakes() else x * gather_rows(gate, index)


def _modulate(normed: Tensor, scale: Tensor, shift: Tensor, index: Tensor) -> Tensor:
    return normed * gather_rows(1 + scale, index) + gather_rows(shift, index)


def _sum_rows(values: Tensor, index: Tensor, count: int) -> Tensor:
    """The gradient of `gather_rows`. values: B L dim -> B count dim"""
    if count > FEW_ROWS + 1:
        index = index.expand(len(values), -1)[..., None].expand_as(values)
        return values.new_zeros(len(values), count, values.shape[-1]).scatter_add_(1, index, values)
    of_row = [torch.where((index == row)[..., None], values, 0.0).sum(dim=1) for row in range(count)]
    return torch.stack(of_row, dim=1)


class _ModulatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, index: Tensor, eps: float) -> Tensor:
        normed, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(x, mean, inverse, scale, index)
        return _modulate(normed, scale, shift, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, mean, inverse, scale, index) = grads, ctx.saved_tensors
        of_x = of_scale = of_shift = None
        if ctx.needs_input_grad[0]:
            of_normed = grad * gather_rows(1 + scale, index)
            of_x, _, _ = torch.ops.aten.native_layer_norm_backward(
                of_normed, x, x.shape[-1:], mean, inverse, None, None, [True, False, False]
            )
        if ctx.needs_input_grad[1]:
            of_scale = _sum_rows(grad * ((x - mean) * inverse), index, scale.shape[1])
        if ctx.needs_input_grad[2]:
            of_shift = _sum_rows(grad, index, scale.shape[1])
        return of_x, of_scale, of_shift, None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(x, gate, index)
        return x * gather_rows(gate, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, gate, index) = grads, ctx.saved_tensors
        of_x = (grad * gather_rows(gate, index)).to(x.dtype) if ctx.needs_input_grad[0] else None
        of_gate = _sum_rows(grad * x, index, gate.shape[1]) if ctx.needs_input_grad[1] else None
        return of_x, of_gate, None

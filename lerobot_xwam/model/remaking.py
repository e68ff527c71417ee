"""What training does not keep for the backward pass, because making it again is cheap: norms, GELUs, casts.

Values are the same to the bit, gradients up to rounding; a compiled block leaves all this to the compiler.
Bytes that a block of the 5 B model keeps are counted in tests/test_kept_bytes.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def remakes() -> bool:
    """Whether there will be a backward pass that we, not the compiler, must think of."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """In float32, over the last dimension; the result in the dtype of x. Keeps x as it came, in its dtype."""
    if remakes():
        return _RMSNorm.apply(x, weight, eps)
    return _scaled(x, _inverse_rms(x, eps), weight)


def cast_once(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """x, for `count` products, in the dtype that autocast would give each of them: one copy, not one each."""
    wanted = product_dtype(x)
    if wanted == x.dtype:
        return (x,) * count
    if remakes():
        return _CastOnce.apply(x, wanted, count)
    return (x.to(wanted),) * count


def product_dtype(x: Tensor) -> torch.dtype:
    """Of a matrix product of x under the caller's autocast. The meta device knows none."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if kind != "meta" and torch.is_autocast_enabled(kind) else x.dtype


class FeedForward(nn.Sequential):
    """Linear, GELU, linear. Of the wide layer only what enters the GELU is kept, not what leaves it."""

    def forward(self, x: Tensor) -> Tensor:
        if not (remakes() and self._is_plain()):
            return super().forward(x)
        inner, gelu, outer = self
        return _GELULinear.apply(inner(x), outer.weight, outer.bias, gelu.approximate)

    def _is_plain(self) -> bool:
        """Layers of an adapter, of another kind of weight, or that somebody listens to, are just called."""
        gelu, outer = self[1], self[2]
        if type(gelu) is not nn.GELU or type(outer) is not nn.Linear:
            return False
        hooks = any(part._forward_hooks or part._forward_pre_hooks for part in (gelu, outer))
        return outer.weight.requires_grad and not hooks and not is_traceable_wrapper_subclass(outer.weight)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + eps)


def _scaled(x: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    return (x.float() * inverse * weight.float()).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, inverse, weight)
        return _scaled(x, inverse, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, inverse, weight) = grads, ctx.saved_tensors
        grad, normed = grad.float(), x.float() * inverse
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_normed = grad * weight.float()
            along = (of_normed * normed).mean(dim=-1, keepdim=True)
            of_x = (inverse * (of_normed - normed * along)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = (grad * normed).flatten(0, -2).sum(dim=0).to(weight.dtype)
        return of_x, of_weight, None


class _CastOnce(torch.autograd.Function):
    """The same copy several times. Gradients meet in the dtype of x, as if each had a copy of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype, count: int) -> tuple[Tensor, ...]:
        ctx.wanted, copy = x.dtype, x.to(dtype)
        return copy, *(copy.view_as(copy) for _ in range(count - 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total = grads[0].to(ctx.wanted)
        for grad in grads[1:]:
            total = total + grad
        return total, None, None


class _GELULinear(torch.autograd.Function):
    """Weights are kept as they are, too, not as autocast's copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, approximate: str) -> Tensor:
        ctx.dtype, ctx.approximate = product_dtype(x), approximate
        ctx.save_for_backward(x, weight)
        ctx.bias_dtype = None if bias is None else bias.dtype
        inside = F.gelu(x, approximate=approximate).to(ctx.dtype)
        return F.linear(inside, weight.to(ctx.dtype), None if bias is None else bias.to(ctx.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        flat = grad.flatten(0, -2)  # B*L dim
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_inside = (grad @ weight.to(ctx.dtype)).to(x.dtype)
            of_x = torch.ops.aten.gelu_backward(of_inside, x, approximate=ctx.approximate)
        if ctx.needs_input_grad[1]:
            inside = F.gelu(x, approximate=ctx.approximate).to(ctx.dtype)
            of_weight = (flat.t() @ inside.flatten(0, -2)).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = flat.sum(dim=0).to(ctx.bias_dtype)
        return of_x, of_weight, of_bias, None

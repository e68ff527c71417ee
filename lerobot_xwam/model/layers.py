"""The bricks: norms, attentions, the block. A block is Wan2.2's, and a depth block is the same block.

Precision: the residual stream, modulation, time MLP, heads and action/state MLPs stay in float32 whatever the
caller's autocast says; the large matrix products and the attention follow the autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .modulation import gated, gather_rows, modulated_norm
from .remaking import FeedForward, cast_once, rms_norm
from .rope import rotate
from .sizes import TransformerSizes

KeyValue = tuple[Tensor, Tensor]  # keys and values, each B heads L head_dim


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, also under autocast and also with its weights kept in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        with _without_autocast(x):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(x.float(), self.weight.float(), bias)


class Float32LayerNorm(nn.LayerNorm):
    """A layer norm that computes in float32, also with its weights kept in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        with _without_autocast(x):
            return F.layer_norm(
                x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
            )


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """The meta device, where work is counted and not done, knows no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _is_slow_in_halves(x: Tensor) -> bool:
    """A CPU's half-precision attention takes five times as long backwards as its float32 one."""
    return x.device.type == "cpu"


class RMSNorm(nn.Module):
    """Root-mean-square norm over the full width (all heads together), in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def small_mlp(d_in: int, d_hidden: int, d_out: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(Float32Linear(d_in, d_hidden), activation, Float32Linear(d_hidden, d_out))


def sinusoid(clock: Tensor, width: int) -> Tensor:
    """[cos | sin] features of clock values, in float64 (float32 is off by 1e-5 at 1000). ... -> ... width"""
    half = width // 2
    frequencies = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=clock.device) / half)
    angles = clock.double()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


class Attention(nn.Module):
    """Projections of one attention; q and k are normalised over the full width, before they split."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.q = nn.Linear(sizes.dim, sizes.dim)
        self.k = nn.Linear(sizes.dim, sizes.dim)
        self.v = nn.Linear(sizes.dim, sizes.dim)
        self.out = nn.Linear(sizes.dim, sizes.dim)
        self.q_norm = RMSNorm(sizes.dim, sizes.eps)
        self.k_norm = RMSNorm(sizes.dim, sizes.eps)
        self._joint: tuple[Tensor, Tensor] | None = None  # see `join`
        self.register_state_dict_pre_hook(
            Attention.separate
        )  # safetensors wants no weights that share memory

    @torch.no_grad()
    @torch.inference_mode(False)  # LeRobot acts in inference mode; weights must stay good for training
    def join(self) -> bool:
        """Lay q, k and v behind each other in memory, so that one product makes all three. -> whether it does

        Names, values and the memory in use stay as they are. Training, saving and whatever replaces a weight
        (another device, an adapter, a quantised weight) end it; calling again makes it anew where it can be.
        """
        parts = [self.q, self.k, self.v]
        if any(type(part) is not nn.Linear or type(part.weight) is not nn.Parameter for part in parts):
            self._joint = None
            return False
        if self._joint is not None and self._is_joint():
            return True
        weight, bias = (torch.cat([getattr(p, name) for p in parts]) for name in ("weight", "bias"))
        for part, own_weight, own_bias in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
            part.weight.data, part.bias.data = own_weight, own_bias
        self._joint = weight, bias
        return True

    @torch.no_grad()
    @torch.inference_mode(False)
    def separate(self, *_: Any) -> None:
        """Undo `join`: every weight in a place of its own."""
        if self._joint is not None and self._is_joint():
            for part in (self.q, self.k, self.v):
                part.weight.data, part.bias.data = part.weight.data.clone(), part.bias.data.clone()
        self._joint = None

    def _is_joint(self) -> bool:
        """Whether the weights still lie there: somebody may have put others in their place."""
        assert self._joint is not None
        weight, parts = self._joint[0], (self.q, self.k, self.v)
        step = weight.nbytes // 3
        return all(part.weight.data_ptr() == weight.data_ptr() + i * step for i, part in enumerate(parts))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_joint": None}  # a copy's weights lie elsewhere

    def train(self, mode: bool = True) -> Attention:
        if mode:
            self.separate()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Attention:
        self._joint = None
        return super()._apply(fn, recurse)

    def project(self, x: Tensor, rope: KeyValue, since: int = 0) -> tuple[Tensor, KeyValue]:
        """-> (queries of the tokens from `since` on, keys and values of all)"""
        of_queries = rope[0][since:], rope[1][since:]
        if self._joint is None or not (torch.compiler.is_compiling() or self._is_joint()):
            for_queries, for_keys, for_values = cast_once(x, 3)
            queries = self.queries(for_queries[:, since:], of_queries)
            return queries, self._keys_values(for_keys, for_values, rope)
        weight, bias = self._joint
        if since == 0:
            q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            dim = len(weight) // 3
            k, v = F.linear(x, weight[dim:], bias[dim:]).chunk(2, dim=-1)
            q = F.linear(x[:, since:], weight[:dim], bias[:dim])
        keys = self._heads(self.k_norm(k), rope)
        return self._heads(self.q_norm(q), of_queries), (keys, self._heads(v, None))

    def queries(self, x: Tensor, rope: KeyValue | None = None) -> Tensor:
        return self._heads(self.q_norm(self.q(x)), rope)

    def keys_values(self, x: Tensor, rope: KeyValue | None = None) -> KeyValue:
        for_keys, for_values = cast_once(x, 2)
        return self._keys_values(for_keys, for_values, rope)

    def _keys_values(self, for_keys: Tensor, for_values: Tensor, rope: KeyValue | None) -> KeyValue:
        return self._heads(self.k_norm(self.k(for_keys)), rope), self._heads(self.v(for_values), None)

    def attend(self, queries: Tensor, memory: KeyValue, seen: Tensor | None = None) -> Tensor:
        """`seen`, B 1 1 keys: which keys may be looked at; None: all."""
        in_float32 = _is_slow_in_halves(queries)
        dtype = torch.float32 if in_float32 else queries.dtype
        with torch.autocast(queries.device.type, enabled=False) if in_float32 else nullcontext():
            q, k, v = (part.to(dtype) for part in (queries, *memory))
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).flatten(2))  # B L dim

    def _heads(self, x: Tensor, rope: KeyValue | None) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1))  # B L heads head_dim
        return (x if rope is None else rotate(x, *rope)).transpose(1, 2)


class Block(nn.Module):
    """Modulated self-attention, text attention (neither modulated nor gated), modulated feed-forward."""

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 6, sizes.dim) / sizes.dim**0.5)
        self.self_norm = nn.LayerNorm(sizes.dim, sizes.eps, elementwise_affine=False)
        self.self_attn = Attention(sizes)
        self.text_norm = Float32LayerNorm(sizes.dim, sizes.eps)
        self.text_attn = Attention(sizes)
        self.ffn_norm = nn.LayerNorm(sizes.dim, sizes.eps, elementwise_affine=False)
        self.ffn = FeedForward(
            nn.Linear(sizes.dim, sizes.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(sizes.ffn_dim, sizes.dim),
        )

    def read_text(self, embedded: Tensor) -> KeyValue:
        return self.text_attn.keys_values(embedded)

    def forward(
        self,
        x: Tensor,  # B L dim, float32
        modulation: Tensor,  # B D 6 dim, the time's share, per distinct time
        time_index: Tensor,  # 1|B L -> D
        rope: KeyValue,
        text: KeyValue | Tensor,  # keys and values of the prompt, or the embedded prompt to read them from
        also: KeyValue | None = None,  # further keys and values to attend to, already turned
        since: int = 0,  # tokens before this one are only attended to: nobody reads what becomes of them
        seen: Tensor | None = None,  # B 1 1 keys: of all keys, own and further, which are there; None: all
    ) -> tuple[Tensor, KeyValue]:
        """-> (x from `since` on, the block's own keys and values after RoPE, for the depth branch to read)"""
        rows = (self.modulation.float()[:, None] + modulation).unbind(dim=2)
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = rows  # each B D dim

        h = modulated_norm(x.float(), scale_a, shift_a, time_index, self.self_norm.eps)
        queries, own = self.self_attn.project(h, rope, since)
        memory = (
            own
            if also is None
            else (torch.cat([own[0], also[0]], dim=2), torch.cat([own[1], also[1]], dim=2))
        )
        x, time_index = x[:, since:], time_index[:, since:]
        x = x + gated(self.self_attn.attend(queries, memory, seen), gate_a, time_index)

        read = self.read_text(text) if isinstance(text, Tensor) else text
        x = x + self.text_attn.attend(self.text_attn.queries(self.text_norm(x)), read)

        h = modulated_norm(x.float(), scale_f, shift_f, time_index, self.ffn_norm.eps)
        x = x + gated(self.ffn(h), gate_f, time_index)
        return x, own


class Head(nn.Module):
    """Modulated norm and projection from tokens to latent patches; modulated by the unprojected time
    embedding.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 2, sizes.dim) / sizes.dim**0.5)
        self.norm = nn.LayerNorm(sizes.dim, sizes.eps, elementwise_affine=False)
        self.out = Float32Linear(sizes.dim, sizes.patch * sizes.patch * sizes.channels)

    def forward(self, x: Tensor, embedding: Tensor, time_index: Tensor) -> Tensor:
        """x: B L dim; embedding: B D dim; time_index: 1|B L -> B L patch*patch*channels"""
        shift, scale = (self.modulation.float()[:, None] + embedding[:, :, None]).unbind(
            dim=2
        )  # B D dim each
        h = self.norm(x.float()) * (1 + gather_rows(scale, time_index)) + gather_rows(shift, time_index)
        return self.out(h)

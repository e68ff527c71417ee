"""The bricks: norms, attentions, the block. A block is Wan2.2's, and a depth block is the same block.

Precision: the residual stream, modulation, time MLP, heads and action/state MLPs stay in float32 whatever the
caller's autocast says; the large matrix products and the attention follow the autocast.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rope import rotate
from .sizes import TransformerSizes

KeyValue = tuple[Tensor, Tensor]  # keys and values, each B heads L head_dim
FEW_ROWS = 4  # distinct times; sampling and training have three


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, also under autocast and also with its weights kept in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(x.float(), self.weight.float(), bias)


class Float32LayerNorm(nn.LayerNorm):
    """A layer norm that computes in float32, also with its weights kept in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(
                x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
            )


class RMSNorm(nn.Module):
    """Root-mean-square norm over the full width (all heads together), in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = x.float() * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return (normed * self.weight.float()).to(x.dtype)


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

    def queries(self, x: Tensor, rope: KeyValue | None = None) -> Tensor:
        return self._heads(self.q_norm(self.q(x)), rope)

    def keys_values(self, x: Tensor, rope: KeyValue | None = None) -> KeyValue:
        return self._heads(self.k_norm(self.k(x)), rope), self._heads(self.v(x), None)

    def attend(self, queries: Tensor, memory: KeyValue) -> Tensor:
        # A CPU's half-precision attention takes five times as long backwards as its float32 one.
        on_cpu = queries.device.type == "cpu"
        dtype = torch.float32 if on_cpu else queries.dtype
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            q, k, v = (part.to(dtype) for part in (queries, *memory))
            mixed = F.scaled_dot_product_attention(q, k, v)
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
        self.ffn = nn.Sequential(
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
    ) -> tuple[Tensor, KeyValue]:
        """-> (x, the block's own keys and values after RoPE, for the depth branch to read)"""
        rows = (self.modulation.float()[:, None] + modulation).unbind(dim=2)  # six of B D dim
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (gather_rows(row, time_index) for row in rows)

        h = self.self_norm(x.float()) * (1 + scale_a) + shift_a
        own = self.self_attn.keys_values(h, rope)
        memory = (
            own
            if also is None
            else (torch.cat([own[0], also[0]], dim=2), torch.cat([own[1], also[1]], dim=2))
        )
        x = x + self.self_attn.attend(self.self_attn.queries(h, rope), memory) * gate_a

        read = self.read_text(text) if isinstance(text, Tensor) else text
        x = x + self.text_attn.attend(self.text_attn.queries(self.text_norm(x)), read)

        h = self.ffn_norm(x.float()) * (1 + scale_f) + shift_f
        x = x + self.ffn(h) * gate_f
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


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Give every token its row. rows: B D dim; index: 1|B L -> B L dim"""
    if index.shape[0] > 1:
        return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
    first, *others = rows.unbind(dim=1)
    if len(others) > FEW_ROWS:
        return rows[:, index[0]]
    # Choosing between a few rows is arithmetic that fuses with what follows, and its gradient a plain sum; an
    # indexed read is neither. The values are the same.
    which, chosen = index[0][:, None], first[:, None].expand(-1, index.shape[1], -1)
    for number, row in enumerate(others, start=1):
        chosen = torch.where(which == number, row[:, None], chosen)
    return chosen

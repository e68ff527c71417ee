"""What training keeps for its backward pass: less than the plain form, with the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from toy_model import Count, equal, some_latents, some_text, some_times, toy_network

from lerobot_xwam.model import layers
from lerobot_xwam.model.modulation import gather_rows
from lerobot_xwam.model.remaking import FeedForward, cast_once, rms_norm
from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.model.types import Latents


@pytest.fixture
def net() -> XWAMTransformer:
    return toy_network()


# --- The plain form, everything kept ---


def plain_norm(x: Tensor, scale: Tensor, shift: Tensor, index: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + gather_rows(scale, index)) + gather_rows(
        shift, index
    )


def plain_gate(x: Tensor, gate: Tensor, index: Tensor) -> Tensor:
    return x * gather_rows(gate, index)


def plain_rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    normed = x.float() * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + eps)
    return (normed * weight.float()).to(x.dtype)


def put_back_modulation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(layers, "modulated_norm", plain_norm)
    patch.setattr(layers, "gated", plain_gate)


def put_back_all(patch: pytest.MonkeyPatch) -> None:
    put_back_modulation(patch)
    patch.setattr(layers, "rms_norm", plain_rms)
    patch.setattr(layers, "cast_once", lambda x, count: (x,) * count)
    patch.setattr(FeedForward, "forward", nn.Sequential.forward)


def saved_by(module: nn.Module, call: Callable[[], Any]) -> tuple[Any, int]:
    """Its result, and the bytes that its backward pass will ask for; weights do not count."""
    storages: dict[int, tuple[Any, int]] = {}
    weights = {weight.untyped_storage()._cdata for weight in module.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            storages[storage._cdata] = storage, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    return result, sum(size for _, size in storages.values())


# --- The same gradients ---


def gradients_of(net: XWAMTransformer, x: Latents, own_times: bool = False) -> Callable[..., Any]:
    target, text, times = some_latents(), some_text(), some_times(x)
    if own_times:
        times = replace(times, actions=times.actions.expand(2, -1).clone())
        times.actions[1, :3] = 0

    def gradients(dtype: torch.dtype | None = None) -> tuple[Latents, list[Tensor], int]:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            said, kept = saved_by(net, lambda: net(x, times, net.embed_text(text), depth=True))
        wrong = said.velocity.map(lambda a, b: (a - b).square().sum(), target)
        loss = wrong.video + wrong.actions + wrong.states + said.depth.square().sum()
        return said.velocity, list(torch.autograd.grad(loss, list(net.parameters()))), kept

    return gradients


@pytest.mark.parametrize("own_times", [False, True], ids=["one index", "an index per sample"])
def test_what_is_made_again_has_the_same_gradients(net, monkeypatch, own_times: bool) -> None:
    gradients = gradients_of(net, some_latents(), own_times)
    said, ours, less = gradients()
    put_back_all(monkeypatch)
    plain_said, plain, more = gradients()
    assert equal(said, plain_said), "the same operations in the same order"
    for (name, _), a, b in zip(net.named_parameters(), ours, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * b.abs().max()), name
    assert less < 0.75 * more  # at this width, in float32; at 5 B see below


def test_halves_round_as_before(net, monkeypatch) -> None:
    """Under autocast values are equal, and gradients no further from float32's than the plain form's."""
    gradients = gradients_of(net, some_latents())
    _, exact, _ = gradients()
    said, ours, less = gradients(torch.bfloat16)
    put_back_all(monkeypatch)
    plain_said, plain, more = gradients(torch.bfloat16)
    assert equal(said, plain_said) and less < more

    def error(found: list[Tensor]) -> Tensor:
        return torch.stack([(a - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])

    assert error(ours).mean() < 1.05 * error(plain).mean()
    assert (error(ours) < 0.05).all()


def test_recomputed_blocks_have_the_same_gradients(net) -> None:
    gradients = gradients_of(net, some_latents())
    _, kept, more = gradients()
    net.checkpoint_every = 2
    _, recomputed, less = gradients()
    assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True)) and less < more
    net.checkpoint_every = 1
    assert gradients()[2] < less, "every block instead of every second"


@pytest.mark.parametrize("frozen", ["weight", "x"])
def test_only_what_learns_gets_gradients(frozen: str) -> None:
    x, weight = torch.randn(2, 3, 8), nn.Parameter(torch.rand(8))
    x.requires_grad_(frozen != "x")
    weight.requires_grad_(frozen != "weight")
    rms_norm(x, weight, 1e-6).square().sum().backward()
    assert (x.grad is None) == (frozen == "x") and (weight.grad is None) == (frozen == "weight")


def test_a_feed_forward_that_somebody_changed_is_called_as_it_is() -> None:
    ffn, x = FeedForward(nn.Linear(4, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 4)), torch.randn(2, 4)
    wanted, calls = ffn(x), Count(ffn[2])
    assert torch.equal(ffn(x), wanted) and calls.calls == 1  # somebody listens
    ffn[2] = nn.Sequential(nn.Linear(8, 4), nn.Tanh())  # as an adapter takes its place
    ffn(x).sum().backward()
    assert ffn[2][0].weight.grad is not None and ffn[0].weight.grad is not None
    assert ffn(x).abs().max() <= 1


def test_a_copy_for_several_products_is_one() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    assert all(each is x for each in cast_once(x, 3))
    with torch.autocast("cpu", torch.bfloat16):
        one, two, three = cast_once(x, 3)
    assert one.dtype == torch.bfloat16 and one.data_ptr() == two.data_ptr() == three.data_ptr()
    (one.float().sum() + 2 * two.float().sum() + 4 * three.float().sum()).backward()
    assert x.grad is not None and x.grad.dtype == torch.float32 and (x.grad == 7).all()


# --- Counted at full size ---

TOKENS, DIM = 761, 3072
TOKEN_COPY = TOKENS * DIM * 4  # bytes of one float32 number for every channel of every token


def kept_by_a_block(levels: int) -> int:
    """Of the 5 B model, one sample, half precision as on a GPU; weights, kept in bf16, are not copied."""
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
        torch.set_default_dtype(torch.bfloat16)
        block = layers.Block(TransformerSizes())
        torch.set_default_dtype(torch.float32)
        x = torch.empty(1, TOKENS, DIM, requires_grad=True)
        modulation = torch.empty(1, levels, 6, DIM, requires_grad=True)
        index = torch.zeros(1, TOKENS, dtype=torch.long)
        rope = torch.empty(TOKENS, 128), torch.empty(TOKENS, 128)
        text = torch.empty(1, 512, DIM, dtype=torch.bfloat16, requires_grad=True)
        return saved_by(block, lambda: block(x, modulation, index, rope, text))[1]


def test_a_block_of_the_5b_model_keeps_less_than_half(monkeypatch) -> None:
    monkeypatch.setattr(layers, "_is_slow_in_halves", lambda x: False)
    ours = kept_by_a_block(3)
    put_back_modulation(monkeypatch)
    assert kept_by_a_block(3) - ours >= 5.9 * TOKEN_COPY  # two norms, two scales, two gates
    put_back_all(monkeypatch)
    plain = kept_by_a_block(3)
    # The reference computes the modulation of every token and keeps all of it.
    monkeypatch.setattr(layers, "gated", lambda x, gate, _: x * gate)
    monkeypatch.setattr(
        layers,
        "modulated_norm",
        lambda x, scale, shift, _, eps: F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale) + shift,
    )
    reference = kept_by_a_block(TOKENS)
    modulation = 12 * TOKEN_COPY  # rows of all tokens; 1 + scale and the norm, twice each; both gates' inputs
    print(f"bytes of a block: reference {reference:,}, plain {plain:,}, ours {ours:,}")
    assert modulation / reference > 0.3
    assert ours < 0.5 * plain
    assert ours < 0.4 * reference


def test_a_table_for_many_times_serves_acting_and_training_alike() -> None:
    """Acting picks a row by its number, training by comparison, and many rows always by number."""
    rows, index = torch.randn(2, 3, 4), torch.randint(0, 3, (1, 7))
    with torch.no_grad():
        picked = gather_rows(rows, index)
    assert torch.equal(picked, gather_rows(rows, index)) and torch.equal(picked, rows[:, index[0]])

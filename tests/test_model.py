"""Properties of the network that hold whatever its weights are."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
import torch
from torch import Tensor
from toy_model import SIZES, Count, close, equal, some_latents, some_text, some_times, toy_network

from lerobot_xwam.model.losses import LossMasks, LossWeights, xwam_loss
from lerobot_xwam.model.noise import times_per_token
from lerobot_xwam.model.rope import rope_table
from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer, init_from_nothing, init_new_parts


@pytest.fixture
def net() -> XWAMTransformer:
    return toy_network()


@torch.no_grad()
def test_depth_changes_no_other_output(net: XWAMTransformer) -> None:
    x, text = some_latents(), net.read_text(some_text())
    times = some_times(x)
    with_depth, without = net(x, times, text, depth=True), net(x, times, text, depth=False)
    assert with_depth.depth is not None and with_depth.depth.shape == x.video.shape
    assert without.depth is None
    assert equal(with_depth.velocity, without.velocity)


def test_velocities_do_not_reach_the_depth_branch(net: XWAMTransformer) -> None:
    x = some_latents()
    said = net(x, some_times(x), net.embed_text(some_text()), depth=True)
    branch = [*net.depth_blocks.parameters(), *net.depth_head.parameters()]
    spoken = said.velocity.video.sum() + said.velocity.actions.sum() + said.velocity.states.sum()
    assert all(g is None for g in torch.autograd.grad(spoken, branch, allow_unused=True, retain_graph=True))
    assert all(g is not None for g in torch.autograd.grad(said.depth.sum(), branch))


@pytest.mark.parametrize("views", range(1, 9))
@torch.no_grad()
def test_one_to_eight_views(net: XWAMTransformer, views: int) -> None:
    x = some_latents(batch=1, views=views)
    said = net(x, some_times(x), net.read_text(some_text(1)), depth=True)
    assert said.velocity.video.shape == said.depth.shape == x.video.shape
    assert said.velocity.video.isfinite().all() and said.velocity.actions.shape == x.actions.shape


@torch.no_grad()
def test_views_differ_by_their_embedding_alone(net: XWAMTransformer) -> None:
    """All views share positions: views and embeddings in another order give the same, in that order."""
    x, text, order = some_latents(views=3), some_text(), [2, 0, 1]
    times = some_times(x)
    said = net(x, times, net.read_text(text), depth=True)
    net.view_embedding.weight[:3] = net.view_embedding.weight[order]
    other = net(replace(x, video=x.video[:, :, :, order]), times, net.read_text(text), depth=True)
    assert torch.allclose(other.velocity.video, said.velocity.video[:, :, :, order], atol=1e-5)
    assert torch.allclose(other.depth, said.depth[:, :, :, order], atol=1e-5)
    assert torch.allclose(other.velocity.actions, said.velocity.actions, atol=1e-5)


@torch.no_grad()
def test_reading_the_text_beforehand_changes_nothing(net: XWAMTransformer) -> None:
    x, text = some_latents(), some_text()
    times = some_times(x)
    read_once = net(x, times, net.read_text(text), depth=True)
    read_in_each_block = net(x, times, net.embed_text(text), depth=True)
    assert equal(read_once.velocity, read_in_each_block.velocity)
    assert torch.equal(read_once.depth, read_in_each_block.depth)


@torch.no_grad()
def test_padding_of_the_text_is_attended_to(net: XWAMTransformer) -> None:
    x, text = some_latents(), some_text()
    times = some_times(x)
    said = net(x, times, net.read_text(text), depth=False)
    cut = net(x, times, net.read_text(text[:, :-1]), depth=False)
    assert not close(said.velocity, cut.velocity, 1e-3)


@torch.no_grad()
def test_three_times_equal_a_time_per_token(net: XWAMTransformer) -> None:
    x, text = some_latents(), net.read_text(some_text())
    few = some_times(x)
    batch = len(x.actions)

    def spelled(index: Tensor) -> Tensor:
        return few.levels.gather(1, index.expand(batch, -1))

    many = times_per_token(spelled(few.video[..., 0]), spelled(few.actions), spelled(few.states))
    assert close(net(x, few, text, depth=True).velocity, net(x, many, text, depth=True).velocity)


def test_a_network_that_has_acted_can_still_learn(net: XWAMTransformer) -> None:
    """LeRobot acts under inference mode; nothing kept from there may reach the backward pass."""
    rope_table.cache_clear()
    x, text = some_latents(), some_text()
    times = some_times(x)
    with torch.inference_mode():
        acted = net(x, times, net.read_text(text), depth=True)
    said = net(x, times, net.embed_text(text), depth=True)
    said.velocity.video.sum().backward()
    assert equal(acted.velocity, said.velocity) and net.patch_in.weight.grad is not None


@torch.no_grad()
def test_outputs_stay_float32_under_autocast(net: XWAMTransformer) -> None:
    x = some_latents()
    with torch.autocast("cpu", torch.bfloat16):
        said = net(x, some_times(x), net.read_text(some_text()), depth=True)
    for tensor in (said.velocity.video, said.velocity.actions, said.velocity.states, said.depth):
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("every", [1, 2])
def test_checkpointing_changes_neither_loss_nor_gradients(net: XWAMTransformer, every: int) -> None:
    x, target, text = some_latents(), some_latents(), some_text()
    times, depth = some_times(x), torch.randn_like(x.video)
    masks = LossMasks(x.map(torch.ones_like), torch.ones(2, dtype=torch.bool))

    def loss_and_gradients() -> tuple[Tensor, list[Tensor]]:
        said = net(x, times, net.embed_text(text), depth=True)
        loss, _ = xwam_loss(said, target, depth, masks, LossWeights())
        return loss, list(torch.autograd.grad(loss, list(net.parameters())))

    plain, gradients = loss_and_gradients()
    blocks = Count(net.blocks[0])
    net.checkpoint_every = every
    again, recomputed = loss_and_gradients()
    assert blocks.calls == 2, "the first block should run again in the backward pass"
    assert torch.equal(plain, again)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, recomputed, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": 25}, "no even head width"),
        ({"dim": 6, "heads": 2}, "choose dim = heads x 2n"),
        ({"time_dim": 7}, "must be even"),
        ({"depth_blocks": 4}, "copies of the last trunk blocks"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SIZES, **change)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 5, 2, 2, 4, 4), "5 channels, the network was built for 4"),
        ((2, 4, 2, 9, 4, 4), "9 views given, the network has embeddings for 8"),
        ((2, 4, 2, 2, 4, 3), "4x3 cannot be cut into 2x2 patches"),
    ],
)
def test_latents_that_do_not_fit_are_refused(net: XWAMTransformer, shape: tuple[int, ...], said: str) -> None:
    x = replace(some_latents(), video=torch.randn(shape))
    with pytest.raises(ValueError, match=said):
        net(x, some_times(x), net.read_text(some_text()), depth=False)


def test_depth_without_a_branch_is_refused() -> None:
    net = XWAMTransformer(replace(SIZES, depth_blocks=0))
    x = some_latents()
    with pytest.raises(ValueError, match="without a depth branch"):
        net(x, some_times(x), net.read_text(some_text()), depth=True)


def test_new_parts_start_as_copies_and_small_noise(net: XWAMTransformer) -> None:
    untouched = {
        name: p.clone() for name, p in net.named_parameters() if name.startswith(("blocks", "video_head"))
    }
    init_new_parts(net, torch.Generator().manual_seed(0))
    first = SIZES.blocks - SIZES.depth_blocks
    for j, block in enumerate(net.depth_blocks):
        for name, tensor in net.blocks[first + j].state_dict().items():
            copied = block.state_dict()[name]
            assert torch.equal(copied, tensor) and copied.data_ptr() != tensor.data_ptr()
    assert all(torch.equal(dict(net.named_parameters())[name], p) for name, p in untouched.items())
    assert net.view_embedding.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not net.action_in[0].bias.any()


@torch.no_grad()
def test_a_fresh_network_predicts_nothing_yet() -> None:
    net = XWAMTransformer(SIZES)
    init_from_nothing(net, torch.Generator().manual_seed(0))
    x = some_latents()
    said = net(x, some_times(x), net.read_text(some_text()), depth=True)
    assert not any(
        t.any() for t in (said.velocity.video, said.velocity.actions, said.velocity.states, said.depth)
    )
    again = XWAMTransformer(SIZES)
    init_from_nothing(again, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_the_full_size_has_as_many_parameters_as_the_paper_says() -> None:
    with torch.device("meta"):
        net = XWAMTransformer(TransformerSizes())
    counts = {name: prod(parameter.shape) for name, parameter in net.named_parameters()}
    branch = sum(n for name, n in counts.items() if name.startswith(("depth_blocks", "depth_head")))
    new = ("view_embedding", "action_in", "action_out", "state_in", "state_out")
    small = sum(n for name, n in counts.items() if name.startswith(new))
    total = sum(counts.values())
    assert round(total / 1e9, 3) == 6.675
    assert round(branch / 1e9, 3) == 1.637
    assert round((total - branch - small) / 1e9, 3) == 5.0

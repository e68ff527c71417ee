"""Work that was removed without changing a result: each time the same numbers, and a count of the work.

What training no longer keeps for its backward pass: test_kept_bytes.py.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from toy_model import PLAN, SIZES, Count, close, some_latents, some_text, some_times, toy_network
from toys import packed_batch, small_config, wake_up

from lerobot_xwam.codecs.one_frame import flatten_first_frames
from lerobot_xwam.codecs.video import VideoCodec
from lerobot_xwam.model import layers
from lerobot_xwam.model.noise import clock_times, given_first
from lerobot_xwam.model.rope import rope_table
from lerobot_xwam.model.sampler import Plan, clock_values, denoise_actions, denoiser, finish_video
from lerobot_xwam.model.schedule import flow_grid, unipc_step, unipc_steps
from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.model.types import Asked, Latents, Prediction, Times
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.planning.codecs import KNOWN

TERA = 1e12


class Kernels(TorchDispatchMode):
    """Counts operations that compute something, by name."""

    VIEWS = (
        "view",
        "expand",
        "slice",
        "select",
        "unbind",
        "split",
        "transpose",
        "permute",
        "unsqueeze",
        "t.",
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.results: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        if not name.startswith(self.VIEWS) and "view" not in name:
            self.seen[name] += 1
        if isinstance(out, Tensor):
            self.results.append(out.dtype)
        return out


def flops_of(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


@pytest.fixture
def net() -> XWAMTransformer:
    return toy_network()


# --- The count that the others add up to ---


@pytest.fixture(scope="module")
def full() -> dict[str, float]:
    """TFLOP of the parts of a chunk at 5 B, one sample, three views of 256x320, on the meta device."""
    with torch.device("meta"):
        net = XWAMTransformer(TransformerSizes())
        x = Latents(torch.empty(1, 48, 3, 3, 16, 20), torch.empty(1, 32, 14), torch.empty(1, 9, 16))
        clock, context = torch.empty(1), torch.empty(1, 512, 4096)
        times = clock_times(clock, clock, given_first(x))
        memory = net.read_text(context)
        table = net.tabulate_times([0.0, *range(1, 60)])
        counted = {
            "text": flops_of(lambda: net.read_text(context, depth=False)),
            "times": flops_of(lambda: net.tabulate_times([0.0, *range(1, 60)])),
        }
        for rows in ("imagined", "none"):
            counted[rows] = flops_of(
                lambda rows=rows: net(x, times, memory, depth=False, video=rows, table=table)
            )
        counted["plain"] = flops_of(lambda: net(x, times, net.embed_text(context), depth=False))
    return {name: count / TERA for name, count in counted.items()}


def test_a_chunk_of_the_5b_model_costs_what_it_must(full: dict[str, float]) -> None:
    """6.9 TFLOP a step are required; the reference spends 7.67, reading text and times at every step."""
    steps = Plan().action_steps
    chunk = full["text"] + full["times"] + (steps - 1) * full["imagined"] + full["none"]
    assert chunk == pytest.approx(6.9 * steps, rel=0.03)
    assert full["imagined"] == pytest.approx(6.9, rel=0.01)
    assert full["none"] < full["imagined"] - 0.1
    assert full["plain"] > 7.5  # without the removals, and without a time per token


# --- 1: the condition is one flat frame ---


def tiny_vae() -> Any:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    sizes = {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 4, "latents_mean": [0.1] * 4, "num_res_blocks": 1}
    return AutoencoderKLWan.from_config(KNOWN["vae"] | sizes | {"latents_std": [0.5] * 4}).eval()


@torch.no_grad()
def test_a_first_frame_is_encoded_flat() -> None:
    plain, frames = tiny_vae(), torch.randn(2, 3, 9, 32, 48)
    flat = copy.deepcopy(plain)
    assert flatten_first_frames(flat) == flatten_first_frames(flat) > 20
    for count in (1, 9):
        wanted = plain.encode(frames[:, :, :count]).latent_dist.mode()
        ours = flat.encode(frames[:, :, :count]).latent_dist.mode()
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            flat.decode(wanted).sample, plain.decode(wanted).sample, rtol=1e-5, atol=1e-5
        )
    flat.double(), plain.double()  # a weight that was cast is seen
    one = frames[:, :, :1].double()
    torch.testing.assert_close(flat.encode(one).latent_dist.mode(), plain.encode(one).latent_dist.mode())


def test_the_condition_of_the_5b_model_is_a_fraction_of_a_clips_encoding() -> None:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        plain = AutoencoderKLWan.from_config(KNOWN["vae"])
        spent = {n: flops_of(lambda n=n: plain.encode(torch.empty(1, 3, n, 256, 320))) for n in (1, 9)}
        codec = VideoCodec(plain)
        ours = flops_of(lambda: codec.vae.encode(torch.empty(1, 3, 1, 256, 320)))
    assert ours <= spent[9] / 8
    assert ours <= spent[1] * 0.4
    assert 3 * ours / TERA == pytest.approx(0.40, rel=0.01)


# --- 3: the prompt is read once ---


def acting(**settings: Any) -> tuple[XWAMPolicy, dict[str, Any]]:
    config = small_config(inference_seed=3, **settings)
    return wake_up(XWAMPolicy(config)).eval(), packed_batch(config)


def test_a_prompt_is_read_once_for_all_robots_and_episodes() -> None:
    policy, batch = acting()  # two samples, one sentence
    blocks = [*policy.net.blocks]
    keys = [Count(block.text_attn.k) for block in blocks]
    read: list[int] = []
    blocks[0].text_attn.k.register_forward_pre_hook(lambda _, args: read.append(len(args[0])))
    first = policy.predict_action_chunk(batch)
    policy.reset()
    assert torch.equal(policy.predict_action_chunk(batch), first)
    assert {count.calls for count in keys} == {1} and read == [1]
    (kept,) = policy._denoisers.prepared._prompts.values()
    assert kept.trunk[0][0].untyped_storage().nbytes() == kept.trunk[0][0][:1].nbytes  # shared by both

    alone = {**batch, "task": ["lift the cube", "put it down"]}
    apart = policy.predict_action_chunk(alone)
    torch.testing.assert_close(apart[0], first[0], rtol=1e-5, atol=1e-5)
    assert read == [1, 2]
    with torch.no_grad():
        policy.net.text_in[0].bias += 0.5
    assert not torch.allclose(policy.predict_action_chunk(batch), first)  # another weight: read again
    assert read == [1, 2, 1]


# --- 4: times are looked up ---


@torch.no_grad()
def test_times_are_tabulated_before_the_loop(net: XWAMTransformer) -> None:
    noise, condition, text = some_latents(), some_latents(), net.read_text(some_text())
    given, plan = given_first(noise), Plan(video_steps=12, action_steps=7)
    plain = denoise_actions(denoiser(net, text), noise, condition, given, plan)
    table, mlp = net.tabulate_times(clock_values(plan)), Count(net.time_in)
    looked_up = denoise_actions(denoiser(net, text, table), noise, condition, given, plan)
    assert close(looked_up.latents, plain.latents) and mlp.calls == 0


@torch.no_grad()
def test_a_time_that_is_not_in_the_table_is_never_taken_for_another(net: XWAMTransformer) -> None:
    table = net.tabulate_times([0.0, 500.0, 999.0])
    embedding, modulation = table.at(torch.tensor([[0.0, 500.0], [501.0, 1000.0]]))
    assert embedding[0].isfinite().all() and modulation[0].isfinite().all()
    assert embedding[1].isnan().all() and modulation[1].isnan().all()


# --- 5: real rotary tables, made once ---


@torch.no_grad()
def test_rotary_tables_are_real_and_made_once(net: XWAMTransformer) -> None:
    rope_table.cache_clear()
    x, text = some_latents(), net.read_text(some_text())
    with Kernels() as kernels:
        for _ in range(3):
            net(x, some_times(x), text, depth=True)
    assert rope_table.cache_info().misses == 1
    assert not any(dtype.is_complex for dtype in kernels.results)


# --- 6: one product for queries, keys and values; rows that nobody reads ---


@torch.no_grad()
def test_queries_keys_and_values_are_one_product(net: XWAMTransformer) -> None:
    x, text = some_latents(), net.read_text(some_text())
    times, names = some_times(x), list(net.state_dict())

    def products() -> tuple[Prediction, int]:
        with Kernels() as kernels:
            said = net(x, times, text, depth=True)
        return said, kernels.seen["addmm.default"]

    plain, before = products()
    blocks = SIZES.blocks + SIZES.depth_blocks
    assert net.join_projections() == net.join_projections() == blocks
    joined, after = products()
    assert before - after == 2 * blocks
    assert close(joined.velocity, plain.velocity)
    torch.testing.assert_close(joined.depth, plain.depth, rtol=1e-5, atol=1e-5)
    assert list(net.state_dict()) == names
    for rows in ("imagined", "none"):  # the last block asks for fewer queries
        fewer = net(x, times, text, depth=False, video=rows).velocity
        torch.testing.assert_close(fewer.actions, plain.velocity.actions, rtol=1e-5, atol=1e-5)


def test_joined_weights_are_saved_trained_copied_and_replaced_like_any_others(net, tmp_path) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attention, x = net.blocks[0].self_attn, torch.randn(1, 3, SIZES.dim)
    rope = (torch.ones(3, SIZES.head_dim), torch.zeros(3, SIZES.head_dim))
    with torch.inference_mode():  # as LeRobot acts
        net.join_projections()
    assert attention._joint is not None
    save_model(net, str(tmp_path / "model.safetensors"))
    assert attention._joint is None and net.join_projections()
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == before.keys() and all(torch.equal(saved[n], before[n]) for n in before)

    def said(part: layers.Attention) -> Tensor:
        with torch.no_grad():
            return part.project(x, rope)[0]

    twin = copy.deepcopy(attention)
    with torch.no_grad():
        twin.q.bias += 1
    assert not torch.allclose(said(twin), said(attention))
    right = said(attention)
    attention.q.load_state_dict({n: t + 1 for n, t in attention.q.state_dict().items()}, assign=True)
    assert not torch.allclose(said(attention), right)  # seen, though nobody told
    assert attention.join() and attention._joint is not None
    net.double()
    assert attention._joint is None
    net.float().join_projections()
    net.train()
    assert attention._joint is None
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    attention.project(x, rope)[0].sum().backward()
    optimizer.step()
    net.eval().join_projections()
    torch.testing.assert_close(said(attention), attention.queries(x, rope).detach(), rtol=1e-5, atol=1e-5)


def test_an_adapter_is_never_joined_away(net: XWAMTransformer) -> None:
    attention = net.blocks[0].self_attn
    attention.q = nn.Sequential(attention.q, nn.Tanh())
    assert not attention.join() and net.join_projections() == SIZES.blocks + SIZES.depth_blocks - 1


@pytest.mark.parametrize("depth", [False, True])
@torch.no_grad()
def test_rows_that_nobody_reads_are_left_away(net: XWAMTransformer, depth: bool) -> None:
    x, text = some_latents(views=3), net.read_text(some_text())
    times, last = some_times(x), net.blocks[-1].ffn
    rows: list[int] = []
    last.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[1]))
    every, imagined, none = (
        net(x, times, text, depth=depth, video=video) for video in ("all", "imagined", "none")
    )
    frame = 3 * 4  # three views of 2x2 tokens
    assert rows == [2 * frame + 16 + 5, frame + 16 + 5, 16 + 5]
    for fewer in (imagined, none):
        for name in ("actions", "states"):
            torch.testing.assert_close(
                getattr(fewer.velocity, name), getattr(every.velocity, name), rtol=1e-5, atol=1e-5
            )
        if depth:
            torch.testing.assert_close(fewer.depth, every.depth, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        imagined.velocity.video[:, :, 1:], every.velocity.video[:, :, 1:], rtol=1e-5, atol=1e-5
    )
    assert not imagined.velocity.video[:, :, 0].any()
    assert none.velocity.video.isnan().all() and none.velocity.video.shape == x.video.shape


def asked_of(net: XWAMTransformer, plan: Plan, **how: Any) -> tuple[Any, Any, list[Asked]]:
    noise, condition, text = some_latents(), some_latents(), net.read_text(some_text())
    given, asked, plain = given_first(noise), list[Asked](), denoiser(net, text)

    def watched(x: Latents, times: Times, what: Asked) -> Prediction:
        asked.append(what)
        return plain(x, times, what)

    draft = denoise_actions(watched, noise, condition, given, plan, **how)
    return draft, lambda: finish_video(watched, draft, condition, given, plan), asked


@torch.no_grad()
def test_the_last_action_step_alone_can_leave_the_video_away(net: XWAMTransformer) -> None:
    torch.manual_seed(5)
    with_video, finish, asked = asked_of(net, PLAN)
    assert asked == [Asked(video="imagined")] * 2
    wanted = finish()
    torch.manual_seed(5)
    without, finish, asked = asked_of(net, PLAN, video=False)
    assert asked == [Asked(video="imagined"), Asked(video="none")]
    assert close(replace(without.latents, video=with_video.latents.video), with_video.latents)
    rollout = finish()  # all the same: the call is made once more
    assert len(asked) == PLAN.video_steps + 1
    assert torch.equal(rollout.latents.actions, without.actions)
    assert close(rollout.latents, wanted.latents, 1e-4) and torch.allclose(
        rollout.depth, wanted.depth, atol=1e-4
    )


def test_a_policy_that_imagines_nothing_asks_for_no_video_in_the_end() -> None:
    policy, batch = acting()
    asked: list[str] = []
    policy.net.register_forward_pre_hook(lambda _, __, how: asked.append(how["video"]), with_kwargs=True)
    actions = policy.predict_action_chunk(batch)
    assert asked == ["imagined", "none"]
    policy.reset()
    policy.config.save_predicted_video = True
    torch.testing.assert_close(policy.predict_action_chunk(batch), actions, rtol=1e-5, atol=1e-5)
    assert asked[2:] == ["imagined"] * policy.config.video_steps


def test_depth_inside_the_video_reads_every_row() -> None:
    policy, batch = acting(depth="channel", depth_of=("front",))
    asked: list[str] = []
    policy.net.register_forward_pre_hook(lambda _, __, how: asked.append(how["video"]), with_kwargs=True)
    policy.predict_action_chunk(batch)
    assert asked == ["all", "none"]


# --- 7: the solver is a weighted sum ---


def test_a_solver_step_is_eight_operations() -> None:
    """diffusers' scheduler, fed the same grid, launches several times as many."""
    from diffusers import UniPCMultistepScheduler

    x, velocity, grid = torch.randn(2, 4, 3), torch.randn(10, 2, 4, 3), flow_grid(10, 5.0)
    ours, memory = x, ()
    with Kernels() as kernels:
        for step, v in zip(unipc_steps(grid), velocity, strict=True):
            ours, memory = unipc_step(ours, v, memory, step)
    assert kernels.seen.total() <= 10 * 9

    theirs = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, solver_order=2
    )
    theirs.set_timesteps(sigmas=np.array(grid.sigmas[:-1]))
    theirs.set_begin_index(0)
    sample = x
    with Kernels() as stock:
        for t, v in zip(theirs.timesteps, velocity, strict=True):
            sample = theirs.step(v, t, sample).prev_sample
    torch.testing.assert_close(ours, sample, rtol=1e-4, atol=1e-4)
    assert stock.seen.total() > 5 * kernels.seen.total()

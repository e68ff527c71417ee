"""The policy as LeRobot uses it: losses, acting, optimiser, what is saved and what starts anew."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import checkpoint, policy_options, train_here, train_options
from safetensors.torch import load_file
from toys import (
    ONE_CAMERA,
    THREE_CAMERAS,
    Toy,
    copies,
    make_toy,
    pack,
    packed_batch,
    random_frames,
    small_config,
    wake_up,
)

from lerobot_xwam.data import batch as packed
from lerobot_xwam.data.batch import Observation
from lerobot_xwam.data.views import center_crop
from lerobot_xwam.model.types import Latents
from lerobot_xwam.model_card import render_model_card
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.presets import WAN22


@pytest.fixture(scope="module")
def rgbd() -> Toy:
    """Three cameras with depth. Tests leave its weights alone."""
    toy = make_toy(THREE_CAMERAS)
    wake_up(toy.policy)
    return toy


def train(policy: XWAMPolicy, batch: dict[str, Any], steps: int = 2) -> list[float]:
    policy.train()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        loss, _ = policy(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def clones(batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if torch.is_tensor(v) else list(v) for k, v in batch.items()}


# --- the loss ---


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_mean_of_the_samples(rgbd: Toy, training: bool) -> None:
    batch = rgbd.batch([0, 10, 20])
    rgbd.policy.train(training)
    np.random.seed(0)
    loss, logs = rgbd.policy(batch)
    np.random.seed(0)
    each, _ = rgbd.policy(batch, reduction="none")
    assert each.shape == (3,)
    assert each.std() > 0
    torch.testing.assert_close(each.mean(), loss)
    assert set(logs) == {"loss_video", "loss_actions", "loss_states", "loss_depth"}
    assert all(type(value) is float for value in logs.values())
    assert sum(logs.values()) == pytest.approx(loss.item(), rel=1e-5)


def test_loss_weights_scale_their_terms() -> None:
    plain = small_config(clean_action_ratio=0.0)
    policy, batch = XWAMPolicy(plain).eval(), packed_batch(plain)
    _, logs = policy(batch)
    policy.config = small_config(clean_action_ratio=0.0, loss_video=3.0, loss_actions=0.0, loss_states=2.0)
    loss, _ = policy(batch)
    assert logs["loss_actions"] > 0
    assert loss.item() == pytest.approx(3 * logs["loss_video"] + 2 * logs["loss_states"], rel=1e-5)


def test_validation_loss_is_deterministic(rgbd: Toy) -> None:
    """Whatever the random state and the place in the batch: a sample's noise comes from its dataset index."""
    rgbd.policy.eval()
    one, _ = rgbd.policy(rgbd.batch([0, 20]), reduction="none")
    np.random.seed(5)
    torch.manual_seed(5)
    two, _ = rgbd.policy(rgbd.batch([20, 0]), reduction="none")
    torch.testing.assert_close(one, two.flip(0))
    assert not torch.isclose(one[0], one[1])


def test_training_noise_changes_every_step(rgbd: Toy) -> None:
    batch = rgbd.batch()
    rgbd.policy.train()
    assert len({rgbd.policy(batch)[0].item() for _ in range(3)}) == 3


def test_samples_do_not_mix() -> None:
    config = small_config()
    policy, frames = wake_up(XWAMPolicy(config)).eval(), random_frames(config)
    changed = clones(frames)
    for key in (*config.cameras, "observation.state", "action"):
        changed[key][1] = 1 - changed[key][1]
    changed["task"][1] = "something else"
    first, _ = policy(pack(config, frames), reduction="none")
    second, _ = policy(pack(config, changed), reduction="none")
    torch.testing.assert_close(first[0], second[0])
    assert not torch.isclose(first[1], second[1])


def test_steps_beyond_the_episode_earn_no_loss() -> None:
    config = small_config(clean_action_ratio=0.0)
    policy, frames = XWAMPolicy(config).eval(), random_frames(config)  # its fresh heads say zero to anything
    frames["action_is_pad"][:, 7:] = True
    frames["observation.state_is_pad"][:, 3:] = True
    _, before = policy(pack(config, frames))
    frames["action"][:, 7:] = 50.0
    frames["observation.state"][:, 3:] = 50.0
    _, after = policy(pack(config, frames))
    assert before["loss_actions"] > 0
    assert after["loss_actions"] == pytest.approx(before["loss_actions"], rel=1e-5)
    assert after["loss_states"] == pytest.approx(before["loss_states"], rel=1e-5)
    frames["action"][:, 6] = 50.0
    assert policy(pack(config, frames))[1]["loss_actions"] > 2 * before["loss_actions"]


@pytest.mark.parametrize("law", ["ans", "decoupled", "synchronous"])
def test_noise_laws(law: str) -> None:
    config = small_config(noise_law=law, clean_action_ratio=0.5)
    policy, batch = XWAMPolicy(config).train(), packed_batch(config, batch=8)
    clocks: list[torch.Tensor] = []
    policy.net.register_forward_pre_hook(lambda _, args: clocks.append(args[1].levels))
    logs = [policy(batch)[1] for _ in range(4)]
    given, video, action = torch.cat(clocks).unbind(-1)  # each 32
    assert (given == 0).all()
    assert video.max() > 500
    if law == "ans":
        assert 8 <= (action == 0).sum() <= 24
        assert (video >= action).all()
        assert (video > action).any()
    elif law == "decoupled":
        assert (video < action).any()
        assert (action > 0).all()
    else:
        assert torch.equal(video, action)
    assert all(entry["loss_actions"] > 0 for entry in logs)


def test_clean_actions_earn_no_loss() -> None:
    config = small_config(clean_action_ratio=1.0)
    _, logs = XWAMPolicy(config).train()(packed_batch(config))
    assert logs["loss_actions"] == logs["loss_states"] == 0
    assert logs["loss_video"] > 0


def test_text_dropout_replaces_the_instruction() -> None:
    config = small_config(text_dropout=1.0)
    policy, batch = XWAMPolicy(config), packed_batch(config)
    asked: list[list[str]] = []
    policy._encode_text = lambda tasks, encode=policy._encode_text: asked.append(tasks) or encode(tasks)
    policy.train()(batch)
    policy.eval()(batch)
    assert asked == [["", ""], ["lift the cube"] * 2]


def test_the_instruction_may_be_a_default() -> None:
    """Also with a checkpoint's saved processors: `--policy.path=... --policy.default_task=...`."""
    config = small_config()
    policy, frames = XWAMPolicy(config).eval(), random_frames(config)
    asked: list[list[str]] = []
    policy._encode_text = lambda tasks, encode=policy._encode_text: asked.append(tasks) or encode(tasks)
    frames["task"] = ["", "sort"]
    batch = pack(config, frames)
    config.default_task = "tidy up"
    policy(batch)
    policy.predict_action_chunk(batch)
    assert asked == [["tidy up", "sort"]] * 2


# --- depth ---


def test_without_depth_the_branch_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="lerobot_xwam"):
        toy = make_toy(ONE_CAMERA)
        before = copies(toy.policy.named_parameters())
        train(toy.policy, toy.batch())
    assert [r.message for r in caplog.records if "depth" in r.message] == [
        "X-WAM: the dataset has no depth features; training with the depth loss off"
    ]
    changed = {name for name, value in toy.policy.named_parameters() if not torch.equal(value, before[name])}
    depth = {name for name in before if name.startswith(("net.depth_blocks", "net.depth_head"))}
    assert depth
    assert changed
    assert not changed & depth
    assert "loss_depth" not in toy.policy(toy.batch())[1]


def test_with_depth_the_branch_learns() -> None:
    toy = make_toy(THREE_CAMERAS)
    before = copies(toy.policy.named_parameters())
    train(toy.policy, toy.batch())
    still = {name for name, value in toy.policy.named_parameters() if torch.equal(value, before[name])}
    assert not {name for name in still if name.startswith(("net.depth_blocks", "net.depth_head"))}


@pytest.mark.parametrize("mode", ["none", "sequence", "channel", "interleaved"])
def test_depth_modes_train_and_act(mode: str) -> None:
    toy = make_toy(THREE_CAMERAS, depth=mode, save_predicted_video=True)
    wake_up(toy.policy).eval()
    batch = toy.batch()
    loss, logs = toy.policy(batch)
    assert ("loss_depth" in logs) == (mode == "interleaved")
    if mode == "none":
        assert packed.DEPTH not in batch
    else:
        nearer = {**batch, packed.DEPTH: batch[packed.DEPTH].clone()}
        nearer[packed.DEPTH][:, :, :, 0] = 0.9
        assert not torch.isclose(toy.policy(nearer)[0], loss)  # depth is in the objective
    assert all(np.isfinite(train(toy.policy, batch)))
    actions = toy.policy.predict_action_chunk(toy.pre(toy.observation()))
    assert actions.shape == (1, 16, 14)
    film = toy.policy.decode_predicted_latents(toy.policy.last_predicted_latents)
    assert film.shape == (5, 32 if mode == "none" else 64, 3 * 48, 3)


# --- acting ---


def acting(config: Any, batch: int = 1) -> dict[str, Any]:
    """A packed observation without time axis and action."""
    frames = random_frames(config, batch)
    seen = {key: frames[key][:, 0] for key in (*config.cameras, "observation.state")}
    return pack(config, {**seen, "task": frames["task"]})


def test_select_action_works_through_the_chunk() -> None:
    config = small_config(n_action_steps=3)
    policy = wake_up(XWAMPolicy(config))
    batch = acting(config, batch=2)
    chunks: list[torch.Tensor] = []
    predict = policy.predict_action_chunk
    policy.predict_action_chunk = lambda *args, **kw: chunks.append(predict(*args, **kw)) or chunks[-1]
    taken = [policy.select_action(batch) for _ in range(7)]
    assert len(chunks) == 3
    assert all(action.shape == (2, 14) for action in taken)
    executed = [chunk[:, step] for chunk in chunks for step in range(3)][:7]
    torch.testing.assert_close(torch.stack(taken), torch.stack(executed))
    policy.reset()
    policy.select_action(batch)
    assert len(chunks) == 4


def test_the_whole_chunk_is_executed_by_default() -> None:
    assert small_config().n_action_steps == small_config().chunk_size == 16


def test_rollouts_of_a_batch_do_not_mix() -> None:
    config = small_config(inference_seed=7)
    policy, both = wake_up(XWAMPolicy(config)), acting(config, batch=2)
    first = {key: value[:1] for key, value in both.items() if key.startswith("observation.") or key == "task"}
    together, alone = policy.predict_action_chunk(both), policy.predict_action_chunk(first)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1])


def test_inference_seed_makes_chunks_repeatable() -> None:
    config = small_config(inference_seed=7)
    policy, batch = wake_up(XWAMPolicy(config)), acting(config)
    assert torch.equal(policy.predict_action_chunk(batch), policy.predict_action_chunk(batch))
    policy.config.inference_seed = None
    one, two = policy.predict_action_chunk(batch), policy.predict_action_chunk(batch)
    assert not torch.allclose(one, two)
    torch.manual_seed(3)
    one = policy.predict_action_chunk(batch)
    torch.manual_seed(3)
    assert torch.equal(policy.predict_action_chunk(batch), one)


def test_noise_can_be_given() -> None:
    config = small_config()
    policy, batch = wake_up(XWAMPolicy(config)), acting(config)
    noise = Latents(torch.randn(1, 16, 2, 1, 4, 6), torch.randn(1, 16, 14), torch.randn(1, 5, 16))
    assert torch.equal(policy.predict_action_chunk(batch, noise), policy.predict_action_chunk(batch, noise))


def test_guidance_uses_the_empty_instruction() -> None:
    config = small_config(inference_seed=1)
    policy, batch = wake_up(XWAMPolicy(config)), acting(config)
    plain = policy.predict_action_chunk(batch)
    calls: list[int] = []
    hook = policy.net.register_forward_pre_hook(lambda *_: calls.append(1))
    policy.predict_action_chunk(batch)
    assert len(calls) == config.action_steps  # no second pass for guidance 1
    hook.remove()
    policy.config.guidance = 3.0
    assert not torch.allclose(policy.predict_action_chunk(batch), plain)


def test_a_prompt_is_read_once_for_many_chunks() -> None:
    config = small_config()
    policy, batch = wake_up(XWAMPolicy(config)).eval(), acting(config)
    read: list[int] = []
    policy.net.read_text = lambda *args, f=policy.net.read_text, **kw: read.append(1) or f(*args, **kw)
    for _ in range(3):
        policy.predict_action_chunk(batch)
    assert len(read) == 1
    policy.predict_action_chunk({**batch, "task": ["push the cube"]})
    assert len(read) == 2


def test_training_makes_the_policy_read_its_prompt_again() -> None:
    config = small_config(inference_seed=1)
    policy, batch = wake_up(XWAMPolicy(config)).eval(), acting(config)
    before = policy.predict_action_chunk(batch)
    train(policy, packed_batch(config))
    after = policy.eval().predict_action_chunk(batch)
    policy.reset()
    torch.testing.assert_close(policy.predict_action_chunk(batch), after)
    assert not torch.allclose(before, after)


def test_predicted_video(rgbd: Toy) -> None:
    """Two chunks make one film; it starts with what the robot sees."""
    policy, config = rgbd.policy, rgbd.policy.config
    observation = rgbd.pre(rgbd.observation())
    assert policy.predict_action_chunk(observation) is not None
    assert policy.last_predicted_latents is None  # costs nothing if nobody asks
    config.save_predicted_video = True
    try:
        policy.predict_action_chunk(observation)
        latents = policy.last_predicted_latents
        assert latents.shape == (1, 16, 2, 6, 4, 6)  # B C T (3 RGB and 3 depth views) h w
        film = policy.decode_predicted_latents(torch.cat([latents, latents], dim=2))
        assert film.shape == (10, 64, 144, 3)
        assert film.dtype == torch.uint8
        assert torch.equal(film[:5], film[5:])
        codec = policy.codecs.video(torch.device("cpu"))
        video = codec.decode(latents[:, :, :, :3])[0]  # V F 3 H W
        seen = codec.decode(codec.encode(center_crop(observation[packed.VIDEO], 0.95)))[0]
        torch.testing.assert_close(video[:, 0], seen[:, 0], atol=1e-4, rtol=0)
        left = ((video[0, 0].permute(1, 2, 0) + 1) * 127.5).round()
        torch.testing.assert_close(film[0, :32, :48].float(), left, atol=1, rtol=0)
        policy.reset()
        assert policy.last_predicted_latents is None
    finally:
        config.save_predicted_video = False
        policy.reset()


def test_unpacked_batches_are_refused(rgbd: Toy) -> None:
    with pytest.raises(ValueError, match=r"lacks .*preprocessor first"):
        rgbd.policy(rgbd.raw([0]))


# --- precision, memory ---


def test_bfloat16_is_switched_on_inside_the_policy() -> None:
    """Loss close to float32, weights stay float32, and nobody has to autocast: lerobot-eval does not."""
    config = small_config(inference_seed=1)
    policy, batch = wake_up(XWAMPolicy(config)).eval(), packed_batch(config)
    half = XWAMPolicy(small_config(inference_seed=1, dtype="bfloat16")).eval()
    half.load_state_dict(policy.state_dict())
    exact, rounded = policy(batch)[0], half(batch)[0]
    assert rounded.dtype == torch.float32
    assert exact.item() != rounded.item()
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    products: set[torch.dtype] = set()
    half.net.blocks[0].self_attn.out.register_forward_hook(lambda *args: products.add(args[2].dtype))
    actions = half.predict_action_chunk(acting(config))
    assert products == {torch.bfloat16}
    assert actions.dtype == torch.float32
    torch.testing.assert_close(actions, policy.predict_action_chunk(acting(config)), atol=0.1, rtol=0.1)
    train(half, batch)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for every in (0, 1, 2):
        config = small_config(checkpoint_every=every)
        torch.manual_seed(0)
        policy, batch = wake_up(XWAMPolicy(config)).train(), packed_batch(config)
        np.random.seed(0)
        loss, _ = policy(batch)
        loss.backward()
        gradients.append({n: p.grad for n, p in policy.named_parameters() if p.grad is not None} | {"": loss})
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


# --- optimiser and sharding ---


def test_all_trainable_weights_are_optimised(rgbd: Toy) -> None:
    listed = rgbd.policy.get_optim_params()
    assert len(listed) == len(list(rgbd.policy.net.parameters())) == len({id(p) for p in listed})


def test_optimizer_and_scheduler_presets() -> None:
    config = small_config(optimizer_lr=1e-3, scheduler_warmup_steps=10, optimizer_weight_decay=0.02)
    policy = XWAMPolicy(config)
    preset = config.get_optimizer_preset()
    optimizer = preset.build(policy.get_optim_params())
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 0.02)
    assert preset.grad_clip_norm == 1.0
    scheduler = config.get_scheduler_preset().build(optimizer, num_training_steps=110)
    rates = []
    for _ in range(110):
        rates.append(group["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0
    assert rates[5] == pytest.approx(0.5e-3)
    assert max(rates) == rates[10] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx(0.5e-3)  # the middle of the cosine
    assert group["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("attribute", ["_fsdp_wrap_modules", "_no_split_modules"])
def test_sharding_units_are_the_blocks(attribute: str) -> None:
    policy = XWAMPolicy(small_config())
    units = [type(m).__name__ for m in policy.modules() if type(m).__name__ in getattr(policy, attribute)]
    assert units == ["Block"] * 3  # two of the trunk, one of the depth branch


# --- what is saved ---


def test_frozen_codecs_are_not_part_of_the_policy(rgbd: Toy) -> None:
    rgbd.policy(rgbd.batch())  # loads them
    assert rgbd.policy.codecs.video(torch.device("cpu")).vae is not None
    assert all(name.startswith("net.") for name in rgbd.policy.state_dict())
    assert not any("vae" in name or "text_encoder" in name for name, _ in rgbd.policy.named_modules())


def test_save_and_load_is_exact(rgbd: Toy, tmp_path: Path) -> None:
    rgbd.policy.save_pretrained(tmp_path)
    again = XWAMPolicy.from_pretrained(tmp_path)
    torch.testing.assert_close(again.state_dict(), rgbd.policy.state_dict(), rtol=0, atol=0)
    assert not again.training
    assert dataclasses.replace(again.config, pretrained_path=None) == rgbd.policy.config


def test_model_card_says_what_it_is(rgbd: Toy) -> None:
    card = rgbd.policy.generate_model_card(
        "somebody/lift", "xwam", None, ["lab"], dataset_meta=rgbd.dataset.meta
    )
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "lerobot"
    assert data["datasets"] == "somebody/lift"
    assert {"robotics", "lerobot", "xwam", "world-model", "arxiv:2604.26694", "lab"} <= set(data["tags"])
    text = card.text
    for fact in ("front_depth", "observation.images.wrist", "`ee`, state of 8, action of 7", "2 episodes"):
        assert fact in text, text
    assert "Trained from random weights" in text
    assert "{{" not in str(card)
    assert "None" not in text


def test_model_card_names_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wan = render_model_card(small_config(codecs=WAN22), "a/b", "mit", None)
    assert (wan.data.license, wan.data.base_model) == ("mit", "Wan-AI/Wan2.2-TI2V-5B")
    assert f"`{WAN22}`" in wan.text  # where the frozen codecs are
    base = render_model_card(small_config(base_weights="somebody/xwam-base"), "a/b", None, None)
    assert base.data.base_model == "somebody/xwam-base"
    monkeypatch.chdir(tmp_path)
    Path("outputs/base").mkdir(parents=True)
    for folder in ("./weights", "outputs/base", "a/b/c"):
        local = render_model_card(small_config(base_weights=folder), "a/b", None, None)
        assert local.data.base_model is None
        assert f"Weights start from `{folder}`" in local.text


# --- resuming ---


@pytest.mark.slow
def test_resumed_training_is_the_same_training(tmp_path: Path) -> None:
    """40 steps straight, or 20 and 20 more from the checkpoint: same losses and weights, to the bit."""
    fast = policy_options(optimizer_lr=1e-3, scheduler_warmup_steps=5)
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    options = train_options(
        ONE_CAMERA, straight, "--steps=40", "--save_freq=20", "--batch_size=4", policy=fast
    )
    losses = train_here(*options)
    again = train_here(
        f"--config_path={checkpoint(straight, 20) / 'train_config.json'}",
        "--resume=true",
        f"--output_dir={resumed}",
    )
    assert len(losses) == 40
    assert again == losses[20:]
    first, second = (load_file(checkpoint(run, 40) / "model.safetensors") for run in (straight, resumed))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


# --- starting from other weights ---


def test_base_weights_for_another_robot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = wake_up(XWAMPolicy(small_config(cameras=["front"])))
    base.save_pretrained(tmp_path)
    config = small_config(
        cameras=["a", "b"], base_weights=str(tmp_path), state_width=20, action_width=9, max_views=2
    )
    with caplog.at_level(logging.INFO, logger="lerobot_xwam"):
        policy = XWAMPolicy(config)
    old, new = base.state_dict(), policy.state_dict()
    anew = {name for name in new if old[name].shape != new[name].shape}
    assert anew == {
        "net.view_embedding.weight",
        "net.action_in.0.weight",
        "net.action_out.2.weight",
        "net.action_out.2.bias",
        "net.state_in.0.weight",
        "net.state_out.2.weight",
        "net.state_out.2.bias",
    }
    kept = new.keys() - anew
    torch.testing.assert_close({n: new[n] for n in kept}, {n: old[n] for n in kept}, rtol=0, atol=0)
    assert all(torch.isfinite(value).all() for value in new.values())
    (message,) = [record.message for record in caplog.records if "new for this robot" in record.message]
    assert all(name in message for name in anew)
    assert all(np.isfinite(train(policy, packed_batch(config))))


def test_base_weights_of_the_same_shape_are_all_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = wake_up(XWAMPolicy(small_config()))
    base.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="lerobot_xwam"):
        policy = XWAMPolicy(small_config(cameras=["x", "y"], base_weights=str(tmp_path)))
    torch.testing.assert_close(policy.state_dict(), base.state_dict(), rtol=0, atol=0)
    assert "new for this robot" not in caplog.text


def test_depth_may_be_left_out_of_trained_weights(tmp_path: Path) -> None:
    base = wake_up(XWAMPolicy(small_config(depth_of=["front"])))
    base.save_pretrained(tmp_path)
    flat = small_config(depth="none")
    for policy in (
        XWAMPolicy.from_pretrained(tmp_path, config=flat),
        XWAMPolicy(dataclasses.replace(flat, base_weights=str(tmp_path))),
    ):
        held, known = policy.state_dict(), base.state_dict()
        assert not any("depth" in name for name in held)
        torch.testing.assert_close(dict(held), {name: known[name] for name in held}, rtol=0, atol=0)


def test_the_same_seed_gives_the_same_new_policy() -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(torch.cat([p.flatten() for p in XWAMPolicy(small_config()).parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_observation_is_enough_to_imagine() -> None:
    """Drafting first and finishing later gives what predict_action_chunk executes and the video after it."""
    config = small_config(inference_seed=3, depth_of=["front"])
    policy, batch = wake_up(XWAMPolicy(config)), acting(config)
    imagination = policy.imagine(Observation.of(batch))
    draft = imagination.draft()
    torch.testing.assert_close(draft.actions, policy.predict_action_chunk(batch))
    rollout = imagination.finish(draft)
    assert torch.equal(rollout.latents.actions, draft.actions)
    assert rollout.latents.video.shape == (1, 16, 2, 1, 4, 6)
    assert rollout.depth.shape == (1, 16, 2, 1, 4, 6)

"""Real learning: the tiny policy over-fits one short episode, in its actions and in what it imagines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.factory import make_policy, make_pre_post_processors

from lerobot_xwam import XWAMConfig
from lerobot_xwam.data.batch import Clip
from lerobot_xwam.envs.tabletop.dataset import write_dataset
from lerobot_xwam.modeling_xwam import XWAMPolicy

STEPS = 300
LEARNING_RATE = 3e-3


@dataclass
class Lesson:
    policy: XWAMPolicy
    batch: dict[str, Any]  # every window of the episode that fits into it
    error_before: float


def action_error(policy: XWAMPolicy, batch: dict[str, Any]) -> float:
    """Mean squared error of predicted actions in model units, where there is an action to predict."""
    clip = Clip.of(batch)
    torch.manual_seed(0)
    error = (policy.predict_action_chunk(batch) - clip.actions).square() * clip.action_mask
    return float(error.sum() / clip.action_mask.sum())


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    root = write_dataset(
        tmp_path_factory.mktemp("data") / "one", episodes=1, cameras=("front",), seed=3, progress=False
    )
    meta = LeRobotDatasetMetadata("local/one", root=root)
    torch.manual_seed(0)
    config = XWAMConfig(
        preset="tiny", device="cpu", push_to_hub=False, crop_ratio=1.0, video_steps=20, action_steps=5
    )
    config.brightness = config.contrast = config.saturation = config.hue = 0.0
    policy = make_policy(config, ds_meta=meta)
    preprocess, _ = make_pre_post_processors(config, dataset_stats=meta.stats)
    indices = {
        key: config.observation_delta_indices for key in meta.features if key.startswith("observation")
    }
    indices["action"] = config.action_delta_indices
    deltas = {key: [i / meta.fps for i in offsets] for key, offsets in indices.items()}
    dataset = LeRobotDataset("local/one", root=root, delta_timestamps=deltas, video_backend="pyav")
    windows = [dataset[i] for i in range(0, len(dataset) - config.chunk_size, 2)]
    batch = preprocess(torch.utils.data.default_collate(windows))
    error_before = action_error(policy, batch)
    _learn(policy, batch)
    return Lesson(policy.eval(), batch, error_before)


def _learn(policy: XWAMPolicy, batch: dict[str, Any]) -> None:
    """A plain training loop on one batch; the frozen codecs see the same frames always, so they look once."""
    policy.train()
    clean = policy._encode_clip(Clip.of(batch), [torch.Generator() for _ in batch["task"]], batch)
    policy._encode_clip = lambda *_: clean  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        loss, _ = policy(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    del policy._encode_clip


@pytest.mark.timeout(600)
def test_actions_are_learnt(lesson: Lesson) -> None:
    after = action_error(lesson.policy, lesson.batch)
    print(f"action error {lesson.error_before:.4f} -> {after:.5f}")
    assert lesson.error_before / after > 20


@pytest.mark.timeout(600)
def test_imagined_future_beats_a_world_that_stands_still(lesson: Lesson) -> None:
    policy, clip = lesson.policy, Clip.of(lesson.batch)
    torch.manual_seed(1)
    imagination = policy.imagine(clip.observation)
    rollout = imagination.finish(imagination.draft())
    codec, seen = policy.codecs.video(torch.device("cpu")), clip.observation.video
    imagined = codec.decode(rollout.latents.video)

    def psnr(frames: torch.Tensor, truth: torch.Tensor) -> float:
        return float(-10 * ((frames[:, :, 1:] - truth[:, :, 1:]).square().mean() / 4).log10())

    ours, still = psnr(imagined, seen), psnr(seen[:, :, :1].expand_as(seen), seen)
    print(f"PSNR {ours:.2f} dB, if nothing moved {still:.2f} dB")
    assert ours > still


@pytest.mark.timeout(600)
def test_depth_is_imagined(lesson: Lesson) -> None:
    """In latents, where the tiny VAE's own blur does not count: nine tenths of the variance are explained."""
    policy, clip = lesson.policy, Clip.of(lesson.batch)
    torch.manual_seed(2)
    imagination = policy.imagine(clip.observation)
    rollout = imagination.finish(imagination.draft())
    _, wanted, _ = policy._encode_clip(clip, [], lesson.batch)
    assert wanted is not None and rollout.depth is not None
    unexplained = float((rollout.depth - wanted).square().mean() / wanted.var())
    print(f"depth latents: {unexplained:.4f} of the variance unexplained")
    assert unexplained < 0.1

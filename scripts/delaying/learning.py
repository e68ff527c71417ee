"""A small X-WAM learns to pass the posts: a plain training loop, minutes on one core."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from torch import Tensor
from tqdm import trange

from lerobot_xwam import XWAMConfig
from lerobot_xwam.data.batch import Clip
from lerobot_xwam.files import appearing
from lerobot_xwam.model.types import Latents
from lerobot_xwam.modeling_xwam import XWAMPolicy

from .posts import ACTION, CAMERA, GREY, SIZE, STATE, TASK, demonstration

DEMONSTRATIONS = 2000
LEARNING_RATE = 2e-3
SAVE_EVERY = 200  # steps


def configuration(training_delay: int) -> XWAMConfig:
    """24 actions a chunk: 12 until the next one is asked for, and 12 while that is made."""
    return XWAMConfig(
        preset="tiny",
        device="cpu",
        push_to_hub=False,
        interface="native",
        depth="none",
        height=SIZE,
        width=SIZE,
        num_frames=9,
        actions_per_frame=3,
        action_width=len(ACTION),
        state_width=len(STATE),
        dim=64,
        ffn_dim=192,
        heads=4,
        blocks=3,
        time_dim=32,
        text_tokens=8,
        noise_law="synchronous",
        time_shift=2.0,
        video_steps=10,
        action_steps=10,
        rtc_training_delay=training_delay,
        action_guard="off",
        default_task=TASK,
        input_features={
            CAMERA: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
            "observation.state": PolicyFeature(FeatureType.STATE, (len(STATE),)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (len(ACTION),))},
    )


def train(folder: Path, steps: int, batch: int, training_delay: int, seed: int = 0) -> Path:
    """A checkpoint like any other, in this folder. Stopped, it goes on where it was."""
    seeded(seed, 0)
    config = configuration(training_delay)
    policy = XWAMPolicy(config)
    episodes = [windows_of(index, config) for index in range(DEMONSTRATIONS)]
    states, actions = (torch.cat([each[part] for each in episodes]) for part in (0, 1))
    stats = {"observation.state": _statistics(states), "action": _statistics(actions)}
    preprocess, postprocess = make_pre_post_processors(config, dataset_stats=stats)
    fixed(policy, preprocess, states[:1], actions[:1])
    policy.train()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=LEARNING_RATE, weight_decay=0.0)
    begun = folder.with_suffix(".unfinished.pt")
    first = resumed(begun, policy, optimizer)
    picture = torch.full((batch, config.num_frames, 3, SIZE, SIZE), GREY)
    for step in (bar := trange(first, steps, initial=first, total=steps, desc="learning", unit="step")):
        seeded(seed, step)
        at = torch.randint(len(states), (batch,))
        packed = preprocess(
            {CAMERA: picture, "observation.state": states[at], "action": actions[at], "task": [TASK] * batch}
        )
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, steps)
        loss, logs = policy(packed)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(actions=f"{logs['loss_actions']:.3f}", refresh=False)
        if (step + 1) % SAVE_EVERY == 0:
            kept = {"policy": policy.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            with appearing(begun) as file:
                torch.save(kept, file)
    del policy._encode_clip, policy._encode_text
    policy.eval().save_pretrained(folder)
    preprocess.save_pretrained(folder)
    postprocess.save_pretrained(folder)
    begun.unlink(missing_ok=True)
    return folder


def seeded(seed: int, step: int) -> None:
    """Of one step: so that a run that was stopped goes on with the same numbers."""
    torch.manual_seed(seed * 1_000_003 + step)
    np.random.seed(seed * 1_000_003 + step)


def resumed(begun: Path, policy: XWAMPolicy, optimizer: torch.optim.Optimizer) -> int:
    """-> the step to go on with"""
    if not begun.is_file():
        return 0
    kept = torch.load(begun, weights_only=True)
    policy.load_state_dict(kept["policy"])
    optimizer.load_state_dict(kept["optimizer"])
    return int(kept["step"])


def fixed(policy: XWAMPolicy, preprocess: Any, states: Tensor, actions: Tensor) -> None:
    """Nothing is seen and one thing is said: both are encoded once, just as they are when it acts."""
    grey = torch.full((1, policy.config.num_frames, 3, SIZE, SIZE), GREY)
    one = preprocess({CAMERA: grey, "observation.state": states, "action": actions, "task": [TASK]})
    policy.eval()  # in training a picture is made brighter or darker
    video = policy._encode_clip(Clip.of(one), [torch.Generator()], one)[0].video
    words = {text: policy._encode_text([text]) for text in (TASK, "")}

    def encode(clip: Clip, *_: Any) -> tuple[Latents, None, None]:
        many = video.expand(len(clip.actions), -1, -1, -1, -1, -1)
        return Latents(many, clip.actions, clip.observation.states), None, None

    policy._encode_clip = encode  # type: ignore[assignment]
    policy._encode_text = lambda tasks: torch.cat([words[text] for text in tasks])  # type: ignore[method-assign]


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: up in a twentieth of the time, then down along a cosine."""
    rising = max(1.0, steps / 20)
    return min(1.0, (step + 1) / rising) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def windows_of(seed: int, config: XWAMConfig) -> tuple[Tensor, Tensor]:
    """Every window of one demonstration, which waits at its end. -> (states N F P, actions N K A)"""
    done, chunk = demonstration(seed), config.chunk_size
    targets, seen = (
        np.concatenate([rows, rows[-1:].repeat(chunk, axis=0)]) for rows in (done.targets, done.states)
    )
    starts = range(len(done.targets))
    states = [seen[start : start + chunk + 1 : config.actions_per_frame] for start in starts]
    actions = [targets[start + 1 : start + 1 + chunk] for start in starts]
    return torch.from_numpy(np.stack(states)), torch.from_numpy(np.stack(actions))


def _statistics(values: Tensor) -> dict[str, np.ndarray]:
    rows = values.flatten(0, -2).double().numpy()
    found = {"q01": np.quantile(rows, 0.01, axis=0), "q99": np.quantile(rows, 0.99, axis=0)}
    return {
        **found,
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(0),
        "std": rows.std(0),
    }

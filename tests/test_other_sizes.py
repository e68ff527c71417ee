"""scripts/compare_with_reference.py reads every size from the folder: it is given folders of other sizes.

They are recorded with our own code, so they say nothing about the mathematics; tests/golden does that.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from reference import folder as names
from reference.compare import compare_folder
from reference.report import explanations

from lerobot_xwam.model.losses import LossMasks, LossWeights, xwam_loss
from lerobot_xwam.model.noise import (
    CLOCK,
    add_noise,
    clock_times,
    draw_noise,
    given_first,
    times_per_token,
    velocity,
)
from lerobot_xwam.model.sampler import Plan, denoise_actions, denoiser, finish_video
from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.model.types import Latents, Prediction
from lerobot_xwam.weights.keys import to_official


@dataclass(frozen=True)
class Odd:
    sizes: TransformerSizes
    batch: int
    frames: int  # of the video, not latent
    views: int
    height: int
    width: int
    text: int

    def latents(self) -> Latents:
        steps = 1 + (self.frames - 1) // 4
        video = (self.batch, self.sizes.channels, steps, self.views, self.height, self.width)
        actions = (self.batch, (self.frames - 1) * self.sizes.actions_per_frame, self.sizes.action_dim)
        return Latents(
            torch.randn(video),
            torch.randn(actions),
            torch.randn(self.batch, self.frames, self.sizes.state_dim),
        )

    def context(self) -> Tensor:
        return torch.randn(self.batch, self.text, self.sizes.text_dim)


ONE_VIEW = Odd(
    TransformerSizes(
        dim=40,
        ffn_dim=56,
        heads=2,
        blocks=3,
        depth_blocks=1,
        channels=6,
        views=1,
        action_dim=7,
        state_dim=9,
        text_dim=10,
        time_dim=16,
        actions_per_frame=3,
    ),
    batch=1,
    frames=5,
    views=1,
    height=6,
    width=4,
    text=4,
)
NO_DEPTH = Odd(
    TransformerSizes(
        dim=36,
        ffn_dim=24,
        heads=3,
        blocks=2,
        depth_blocks=0,
        channels=4,
        views=5,
        action_dim=14,
        state_dim=16,
        text_dim=8,
        time_dim=12,
        actions_per_frame=1,
        eps=1e-5,
    ),
    batch=3,
    frames=13,
    views=4,
    height=2,
    width=8,
    text=9,
)


@torch.no_grad()
def record(odd: Odd, root: Path) -> None:
    net = XWAMTransformer(odd.sizes).eval()
    weights = {to_official(name): tensor for name, tensor in net.state_dict().items()}
    save_file(weights, root / names.WEIGHTS)
    config = {"num_heads": odd.sizes.heads, "eps": odd.sizes.eps, "action_num": odd.sizes.actions_per_frame}
    (root / names.CONFIG).write_text(json.dumps({"model": config}))
    record_forward(odd, net, root)
    record_training(odd, net, root)
    record_rollout(odd, net, root)


def record_forward(odd: Odd, net: XWAMTransformer, root: Path) -> None:
    x, context = odd.latents(), odd.context()
    clocks = [
        torch.rand(odd.batch, part.shape[axis]) * 1000 for part, axis in zip(parts(x), (2, 1, 1), strict=True)
    ]
    said = net(x, times_per_token(*clocks), net.read_text(context), depth=bool(odd.sizes.depth_blocks))
    stored = dict(zip(("in.x", "in.actions", "in.proprios"), parts(x), strict=True)) | {"in.context": context}
    stored |= dict(zip(("in.t_2d", "in.t_actions_2d", "in.t_proprios_2d"), clocks, strict=True))
    save_file(stored | {f"depth_on.{k}": v for k, v in outputs(said, "video").items()}, root / names.FORWARD)


def record_training(odd: Odd, net: XWAMTransformer, root: Path) -> None:
    clean, eps, context = odd.latents(), odd.latents(), odd.context()
    depth = bool(odd.sizes.depth_blocks)
    t_video, t_action = torch.rand(odd.batch), torch.rand(odd.batch)
    given = given_first(clean)
    noisy = add_noise(clean, eps, t_video, t_action, given)
    said = net(
        noisy, clock_times(CLOCK * t_video, CLOCK * t_action, given), net.embed_text(context), depth=depth
    )
    masks = Latents(
        ~given.video, torch.ones_like(clean.actions), torch.ones_like(clean.states) * ~given.states
    )
    depth_target = torch.randn_like(clean.video) if depth else None
    sample = torch.ones(odd.batch, dtype=torch.bool)
    weights = LossWeights(actions=0.5)
    loss, logs = xwam_loss(said, velocity(clean, eps), depth_target, LossMasks(masks, sample), weights)
    modalities = ("latents", "actions", "proprios")
    stored = {f"in.clean_{k}": v for k, v in zip(modalities, parts(clean), strict=True)}
    stored |= {f"odd.noise_{k}": v for k, v in zip(modalities, parts(eps), strict=True)}
    stored |= {f"odd.xt_{k}": v for k, v in zip(modalities, parts(noisy), strict=True)}
    stored |= {f"odd.pred_{k}": v for k, v in outputs(said, "latents").items()}
    stored |= {
        "in.context": context,
        "in.null_context": context[0].clone(),
        "odd.context_used": context.clone(),
    }
    stored |= {"in.action_mask": masks.actions, "in.proprio_mask": torch.ones_like(clean.states)}
    stored |= {"in.clean_depth_latents": depth_target} if depth_target is not None else {}
    stored |= {"odd.t_video": t_video, "odd.t_action": t_action}
    counts = clean.video.shape[2], clean.actions.shape[1], clean.states.shape[1]
    for name, t, count in zip(modalities, (t_video, t_action, t_action), counts, strict=True):
        clock = (CLOCK * t)[:, None].repeat(1, count)
        clock[:, : 0 if name == "actions" else 1] = 0
        stored[f"odd.t_{name}"] = clock
    save_file({key: tensor.clone() for key, tensor in stored.items()}, root / names.TRAIN)
    numbers = {"loss": loss.item(), "video_loss": logs["loss_video"], "action_loss": logs["loss_actions"]}
    case = {"config_overrides": {"action_loss_weight": 0.5}, "text_dropped": [False] * odd.batch}
    case |= {"action_loss_sample_mask": [True] * odd.batch} | numbers
    (root / names.TRAIN_SAID).write_text(json.dumps({"cases": {"odd": case}}))


def record_rollout(odd: Odd, net: XWAMTransformer, root: Path) -> None:
    seeds, depth = list(range(odd.batch)), bool(odd.sizes.depth_blocks)
    known, context = odd.latents(), odd.context()
    eps = draw_noise(known, [torch.Generator().manual_seed(seed) for seed in seeds])
    condition, given = known, given_first(known)
    plan, denoise = Plan(4, 2, 3.0, depth), denoiser(net, net.read_text(context))
    rollout = finish_video(
        denoise, denoise_actions(denoise, eps, condition, given, plan), condition, given, plan
    )
    stored = {f"in.noise_{k}": v for k, v in zip(("latents", "actions", "proprios"), parts(eps), strict=True)}
    stored |= {"in.cond_latent": known.video[:, :, :1], "in.proprio0": known.states[:, 0]}
    stored |= {"in.context": context, "in.uncond_context": context.clone()}
    final = dict(zip(("latents", "actions", "proprios"), parts(rollout.latents), strict=True))
    final |= {"depth_latents": rollout.depth} if rollout.depth is not None else {}
    stored |= {f"odd.{k}": v for k, v in final.items()}
    save_file({key: tensor.clone() for key, tensor in stored.items()}, root / names.GENERATE)
    case = {"TO": 4, "Ta": 2, "cfg": 0.0, "depth": depth, "early": False, "n_model_calls": 4}
    case |= {"t_video": [999, 899, 749, 499], "t_action": [999, 749, 0, 0]}
    said = {"shift": 3.0, "seeds_cpu_generator": seeds, "cases": {"odd": case}}
    (root / names.GENERATE_SAID).write_text(json.dumps(said))


def parts(x: Latents) -> tuple[Tensor, Tensor, Tensor]:
    return x.video, x.actions, x.states


def outputs(said: Prediction, video: str) -> dict[str, Tensor]:
    found = dict(zip((video, "actions", "proprios"), parts(said.velocity), strict=True))
    return found | ({"depth": said.depth} if said.depth is not None else {})


@pytest.mark.parametrize("odd", [ONE_VIEW, NO_DEPTH], ids=["one view", "no depth"])
def test_other_sizes_are_compared(odd: Odd, tmp_path: Path) -> None:
    record(odd, tmp_path)
    outcomes = compare_folder(names.GoldenFolder(tmp_path))
    assert not explanations(outcomes)
    passed = {outcome.name for outcome in outcomes if outcome.status == "PASS"}
    assert passed == {"forward.depth_on", "train.odd", "generate.noise", "generate.odd"}


def test_other_weights_are_seen(tmp_path: Path) -> None:
    record(ONE_VIEW, tmp_path)
    folder = names.GoldenFolder(tmp_path)
    folder.network.blocks[2].ffn_norm.eps = 1e-2
    failed = {outcome.name for outcome in compare_folder(folder) if outcome.status == "FAIL"}
    assert failed == {"forward.depth_on", "train.odd", "generate.odd"}

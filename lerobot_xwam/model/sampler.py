"""Asynchronous denoising: actions first, the video as long as anybody wants to see it.

Calls 1..T_a denoise everything; then actions and states are final and may leave for the robot. Calls
T_a+1..T_O go on with the video while the actions stand clean at time 0: the network is then an action-
conditioned world model. Stopping in between and going on later gives the same numbers as one uninterrupted
run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .noise import clock_times
from .schedule import flow_grid, unipc_step, unipc_steps
from .transformer import XWAMTransformer
from .types import Denoiser, Draft, Latents, Prediction, Rollout, TextMemory, Times


@dataclass(frozen=True)
class Plan:
    """How many network calls each modality gets. Equal numbers denoise synchronously."""

    video_steps: int = 50
    action_steps: int = 10
    shift: float = 5.0
    depth: bool = True  # asked of the network in the very last video call only

    def __post_init__(self) -> None:
        if not 1 <= self.action_steps <= self.video_steps:
            raise ValueError(
                f"action_steps {self.action_steps} must lie between 1 and video_steps {self.video_steps}: "
                "actions finish first, or together with the video"
            )


def denoise_actions(
    denoise: Denoiser, noise: Latents, condition: Latents, given: Latents, plan: Plan
) -> Draft:
    """Phase one: T_a calls, then actions and states are clean. `condition` holds the given values, `given`
    says where.
    """
    start = Draft(latents=_with_given(noise, condition, given), step=0, solver={})
    return _advance(denoise, start, condition, given, plan, until=plan.action_steps)


def finish_video(denoise: Denoiser, draft: Draft, condition: Latents, given: Latents, plan: Plan) -> Rollout:
    """Phase two: the remaining T_O - T_a calls, conditioned on the final actions."""
    done = _advance(denoise, draft, condition, given, plan, until=plan.video_steps)
    return Rollout(latents=done.latents, depth=done.depth)


def _advance(
    denoise: Denoiser, draft: Draft, condition: Latents, given: Latents, plan: Plan, until: int
) -> Draft:
    video_grid = flow_grid(plan.video_steps, plan.shift)
    action_grid = flow_grid(plan.action_steps, plan.shift)
    for k in range(draft.step, until):
        x = draft.latents
        acting = k < plan.action_steps
        times = _times_at(video_grid.timesteps[k], action_grid.timesteps[k] if acting else 0, x, given)
        prediction = denoise(x, times, plan.depth and k + 1 == plan.video_steps)

        grids = {"video": video_grid} | ({"actions": action_grid, "states": action_grid} if acting else {})
        moved, solver = {}, dict(draft.solver)
        for name, grid in grids.items():
            moved[name], solver[name] = unipc_step(
                getattr(x, name),
                getattr(prediction.velocity, name),
                solver.get(name, ()),
                unipc_steps(grid)[k],
            )
        latents = _with_given(replace(x, **moved), condition, given)
        draft = Draft(latents, step=k + 1, solver=solver, depth=prediction.depth)
    return draft


def _with_given(x: Latents, condition: Latents, given: Latents) -> Latents:
    return x.map(lambda x, known, mask: torch.where(mask, known, x), condition, given)


def _times_at(video: int, action: int, x: Latents, given: Latents) -> Times:
    batch = len(x.actions)
    clock = torch.tensor([[video], [action]], dtype=torch.float32).expand(2, batch).to(x.video.device)
    return clock_times(clock[0], clock[1], given)


def denoiser(net: XWAMTransformer, text: TextMemory) -> Denoiser:
    """The network with its prompt read: the only thing the sampler sees of it."""
    return lambda x, times, depth: net(x, times, text, depth=depth)


def guided_denoiser(net: XWAMTransformer, text: TextMemory, empty: TextMemory, guidance: float) -> Denoiser:
    """uncond + g (cond - uncond), for everything but depth. g = 1 is the plain network and costs no second
    pass.
    """
    if guidance == 1:
        return denoiser(net, text)

    def pull(unconditioned: Tensor, conditioned: Tensor) -> Tensor:
        return unconditioned + guidance * (conditioned - unconditioned)

    def denoise(x: Latents, times: Times, depth: bool) -> Prediction:
        with_text = net(x, times, text, depth=depth)
        without = net(x, times, empty, depth=False)
        return Prediction(without.velocity.map(pull, with_text.velocity), with_text.depth)

    return denoise

"""The grid of noise levels and UniPC: ours, and diffusers' when it is fed our grid."""

from __future__ import annotations

from functools import partial

import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from lerobot_xwam.model.noise import CLOCK
from lerobot_xwam.model.schedule import Grid, Memory, flow_grid, unipc_step, unipc_steps

from .folder import UNIPC, UNIPC_SAID, GoldenFolder
from .measure import Case, Measure, as_tensor, difference, identical


def cases(folder: GoldenFolder) -> list[Case]:
    counts = sorted({int(key.split(".")[1]) for key in folder.keys(UNIPC)})
    return [Case(f"unipc.{steps}", partial(compare, folder, steps)) for steps in counts]


def compare(folder: GoldenFolder, steps: int) -> list[Measure]:
    stored = folder.tensors(UNIPC)
    grid = flow_grid(steps, folder.json(UNIPC_SAID)["shift"])
    measures = []
    if (timesteps := stored.get(f"timesteps.{steps}")) is not None:
        measures.append(identical("timesteps", as_tensor(list(grid.timesteps)), timesteps))
    if (sigmas := stored.get(f"sigmas.{steps}")) is not None:
        measures.append(difference("sigmas", torch.tensor(grid.sigmas), sigmas))
    if (samples := stored.get(f"trace.{steps}.samples")) is not None:
        said = stored[f"trace.{steps}.model_outputs"]
        measures.append(difference("our trace", our_trace(grid, samples[0], said), samples))
        measures.append(
            difference("diffusers' trace on our grid", diffusers_trace(grid, samples[0], said), samples)
        )
    return measures


def our_trace(grid: Grid, sample: Tensor, said: Tensor) -> Tensor:
    """Samples before every step and after the last. -> n+1 ..."""
    trace = [sample]
    memory: Memory = ()
    for velocity, step in zip(said, unipc_steps(grid), strict=True):
        sample, memory = unipc_step(sample, velocity, memory, step)
        trace.append(sample)
    return torch.stack(trace)


def diffusers_trace(grid: Grid, sample: Tensor, said: Tensor) -> Tensor:
    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=int(CLOCK),
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
    )
    scheduler.set_timesteps(sigmas=torch.tensor(grid.sigmas[:-1], dtype=torch.float64).numpy())
    scheduler.set_begin_index(0)
    trace = [sample]
    for velocity, timestep in zip(said, scheduler.timesteps, strict=True):
        trace.append(scheduler.step(velocity, timestep, trace[-1]).prev_sample)
    return torch.stack(trace)

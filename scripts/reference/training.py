"""A training step: noising, the network's clock, predictions, every loss term, gradients where recorded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lerobot_xwam.model.losses import LossMasks, LossWeights, xwam_loss
from lerobot_xwam.model.noise import CLOCK, add_noise, clock_times, given_first, velocity
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.model.types import Latents, Prediction, Times
from lerobot_xwam.weights.encoder_keys import take
from lerobot_xwam.weights.keys import to_official

from .folder import TRAIN, TRAIN_SAID, GoldenFolder
from .forward import outputs
from .measure import Case, Measure, as_tensor, difference, identical, same_names, same_number

# The recording's names of loss terms and of their weights, and ours.
TERMS = {"video": "video", "action": "actions", "proprio": "states", "depth": "depth", "dct": "spectrum"}
ROUNDING = 1e-4  # a gradient that much smaller than the largest is partly rounding error
MODALITIES = ("latents", "actions", "proprios")


def cases(folder: GoldenFolder) -> list[Case]:
    return [
        Case(f"train.{name}", partial(compare, folder, name)) for name in folder.json(TRAIN_SAID)["cases"]
    ]


def compare(folder: GoldenFolder, name: str) -> list[Measure]:
    network, stored, said = folder.network, folder.tensors(TRAIN), folder.json(TRAIN_SAID)["cases"][name]
    inputs, case = take(stored, "in."), take(stored, f"{name}.")
    clean, noise = _latents(inputs, "clean_"), _latents(case, "noise_")
    given = given_first(clean)
    noisy = add_noise(clean, noise, case["t_video"], case["t_action"], given)
    times = clock_times(CLOCK * case["t_video"], CLOCK * case["t_action"], given)
    wants_depth = "pred_depth" in case

    with torch.set_grad_enabled("grad_norms" in said or "grad_global_norm" in said or _has_gradients(case)):
        prediction = network(noisy, times, network.embed_text(case["context_used"]), depth=wants_depth)
        masks = LossMasks(
            latents=Latents(~given.video, inputs["action_mask"], inputs["proprio_mask"] * ~given.states),
            sample=case["t_action"] > 0,
        )
        depth_target = inputs["clean_depth_latents"] if wants_depth else None
        target, weights = velocity(clean, noise), loss_weights(said["config_overrides"])
        loss, logs = xwam_loss(prediction, target, depth_target, masks, weights)
    per_sample, _ = xwam_loss(prediction, target, depth_target, masks, weights, "none")

    measures = _noising(case, noisy, times)
    measures += [
        identical("samples with an action loss", masks.sample, as_tensor(said["action_loss_sample_mask"])),
        identical("text after dropout", _dropped(inputs, said["text_dropped"]), case["context_used"]),
    ]
    measures += _predictions(case, prediction)
    measures += [
        same_number(f"{theirs}_loss", logs.get(f"loss_{ours}", 0.0), said[f"{theirs}_loss"])
        for theirs, ours in TERMS.items()
        if f"{theirs}_loss" in said
    ]
    measures += [
        same_number("loss", loss.item(), said["loss"]),
        same_number("loss, mean over samples", per_sample.mean().item(), said["loss"]),
    ]
    return measures + (_gradients(network, loss, said, case) if loss.requires_grad else [])


def loss_weights(overrides: Mapping[str, Any]) -> LossWeights:
    return LossWeights(
        **{
            ours: overrides[f"{theirs}_loss_weight"]
            for theirs, ours in TERMS.items()
            if f"{theirs}_loss_weight" in overrides
        }
    )


def clock_shown(times: Times) -> dict[str, Tensor]:
    """What the network's clock shows each frame, action and state. -> B T, B K, B S"""
    batch = len(times.levels)
    index = {"latents": times.video[..., 0], "actions": times.actions, "proprios": times.states}
    return {name: times.levels.gather(1, i.expand(batch, -1)) for name, i in index.items()}


def _latents(tensors: Mapping[str, Tensor], prefix: str) -> Latents:
    return Latents(*(tensors[prefix + modality] for modality in MODALITIES))


def _dropped(inputs: Mapping[str, Tensor], dropped: list[bool]) -> Tensor:
    return torch.where(as_tensor(dropped)[:, None, None], inputs["null_context"], inputs["context"])


def _noising(case: Mapping[str, Tensor], noisy: Latents, times: Times) -> list[Measure]:
    ours = dict(zip(MODALITIES, (noisy.video, noisy.actions, noisy.states), strict=True))
    clock = clock_shown(times)
    return [difference(f"xt_{name}", ours[name], case[f"xt_{name}"]) for name in MODALITIES] + [
        difference(f"t_{name}", clock[name], case[f"t_{name}"]) for name in MODALITIES
    ]


def _predictions(case: Mapping[str, Tensor], prediction: Prediction) -> list[Measure]:
    ours = outputs(prediction)
    ours["latents"] = ours.pop("video")
    return [
        difference(f"pred_{name}", ours.get(name), tensor) for name, tensor in take(case, "pred_").items()
    ]


def _has_gradients(case: Mapping[str, Tensor]) -> bool:
    return any(key.startswith(("grad.", "grads.", "grad_")) for key in case)


def _gradients(
    network: XWAMTransformer, loss: Tensor, said: Mapping[str, Any], case: Mapping[str, Tensor]
) -> list[Measure]:
    named = dict(network.named_parameters())
    raw = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    ours = {
        to_official(name): torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), raw, strict=True)
    }
    measures = []
    if "grad_global_norm" in said:
        total = torch.stack([gradient.norm() for gradient in ours.values()]).norm().item()
        measures.append(same_number("gradient norm", total, said["grad_global_norm"]))
    if norms := said.get("grad_norms"):
        measures.append(same_names("names of parameters", set(), norms.keys() - ours.keys()))
        floor = ROUNDING * max(norms.values())
        measures += [
            same_number(f"gradient norm of {name}", ours[name].norm().item(), norm, floor=floor)
            for name, norm in norms.items()
            if name in ours
        ]
    for prefix in ("grad.", "grads.", "grad_"):
        for name, gradient in take(case, prefix).items():
            measures.append(difference(f"gradient of {name}", ours.get(name), gradient))
    return measures

"""Evaluation I/O: observations of RoboCasa and RoboTwin into the universal interface, actions back out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from lerobot_xwam.benchmarks import robocasa, robotwin
from lerobot_xwam.benchmarks.seeds import chunk_seed
from lerobot_xwam.data.authors_layout.clips import padded
from lerobot_xwam.data.authors_layout.frames import rgb_frames
from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.data.views import center_crop, resize
from lerobot_xwam.space.poses import ROTATION, STATE, arms, integrate_chunk, side_by_side
from lerobot_xwam.weights.encoder_keys import take

from .folder import EVALUATION, EVALUATION_SAID, GoldenFolder
from .measure import Case, Measure, as_tensor, difference, identical, same_names

BFLOAT16 = 2e-2  # of std: one rounding to 8 bits of mantissa
Tensors = Mapping[str, Tensor]


def cases(folder: GoldenFolder) -> list[Case]:
    stored, said = folder.tensors(EVALUATION), folder.json(EVALUATION_SAID)
    found = [
        Case(f"eval_io.{name}", partial(check, take(stored, f"{name}."), said.get(name, {})))
        for name, check in (("future", _integration), ("robotwin", _robotwin), ("robocasa", _robocasa))
        if take(stored, f"{name}.")
    ]
    for kind, check in (("pre", _preprocessing), ("norm", _scaling)):
        for name in dict.fromkeys(key.split(".")[1] for key in stored if key.startswith(f"{kind}.")):
            full = f"{kind}.{name}"
            found.append(
                Case(f"eval_io.{full}", partial(check, take(stored, f"{full}."), said.get(full, {}), name))
            )
    if seeds := _recorded_seeds(said):
        found.append(Case("eval_io.seeds", partial(_seeds, seeds)))
    if "robocasa_max_steps" in said:
        found.append(Case("eval_io.robocasa_max_steps", partial(_limits, said["robocasa_max_steps"])))
    return found


def _integration(stored: Tensors, _: Any) -> list[Measure]:
    rows = zip(stored["initial"].numpy(), stored["actions"].numpy(), strict=True)
    return _poses(
        "poses", np.stack([integrate_chunk(state, actions) for state, actions in rows]), stored["poses"]
    )


def _robotwin(stored: Tensors, said: Mapping[str, Any]) -> list[Measure]:
    ours = robotwin.state_from_endposes(
        stored["left_endpose"].numpy(),
        said["left_gripper"],
        stored["right_endpose"].numpy(),
        said["right_gripper"],
    )
    sent = robotwin.endposes_of_chunk(stored["state16"].numpy(), stored["actions14"].numpy())
    return [
        difference("state", torch.from_numpy(ours), stored["state16"]),
        *_poses("absolute poses", sent, stored["sent_ee16"]),
        *_cameras(take(stored, "rgb."), robotwin.CAMERAS, said.get("camera_order"), stored["video_model"]),
    ]


def _robocasa(stored: Tensors, _: Any) -> list[Measure]:
    state = robocasa.state_from_world(
        *(stored[key].numpy() for key in ("eef_pos", "eef_mat", "base_pos", "base_mat")),
        finger=float(stored["gripper_joint_pos"][0]),
        finger_open=float(stored["gripper_actuator_max"][0]),
    )
    wide, _mask = padded(state[None], stored["state16"].shape[-1])
    rendered = take(stored, "rendered.")
    pictures = {name: torch.from_numpy(robocasa.upright(image).copy()) for name, image in rendered.items()}
    return [
        difference("state", torch.from_numpy(wide[0]), stored["state16"]),
        *_cameras(pictures, robocasa.CAMERAS, sorted(rendered), stored["video_model"]),
    ]


def _cameras(pictures: Tensors, ours: tuple[str, ...], theirs: Any, video: Tensor) -> list[Measure]:
    """Which cameras, in which order, and what is made of their pictures.  # video: V H W 3"""
    order = [f"{i} {name}" for i, name in enumerate(theirs or ours)]
    height, width = video.shape[1:3]
    views = [rgb_frames(pictures[name][None], (height, width))[0].permute(1, 2, 0) for name in ours]
    return [
        same_names("cameras", {f"{i} {name}" for i, name in enumerate(ours)}, set(order)),
        difference("video", torch.stack(views), video),
    ]


def _preprocessing(stored: Tensors, said: Mapping[str, Any], _: str) -> list[Measure]:
    """Depth is resized like RGB at first, and by nearest neighbours when what was cropped is resized back."""
    height, width = said["video_size_HW"]
    ratio = said.get("crop_ratio", 0.95)
    measures = []
    for source, target, depth in (("in", "out", False), ("depth_in", "depth_out", True)):
        if target in stored:
            ours = center_crop(resize(stored[source], (height, width)), ratio, depth=depth)
            measures.append(difference(target, ours, stored[target]))
    if "out_from_bf16" in stored:
        ours = center_crop(resize(stored["in"].bfloat16(), (height, width)), ratio).float()
        measures.append(difference("out_from_bf16", ours, stored["out_from_bf16"], BFLOAT16))
    return measures


def _scaling(stored: Tensors, _: Any, robot: str) -> list[Measure]:
    """The scaling both ways. RoboCasa's actions are the controller's: their gripper is turned round."""
    quantiles = {
        key: {q: stored[f"{name}_{q}"].tolist() for q in ("q01", "q99")}
        for key, name in ((OBS_STATE, "state"), (ACTION, "action"))
    }
    scaling = Scaling.fit("ee", quantiles, OBS_STATE, ACTION)
    action_dims = len(scaling.action_half)
    there = 8 * (action_dims // 7)  # numbers of the arms that are there; the rest of a state is masked
    state, _mask = padded(scaling.state(stored["state_raw"])[None, :there].numpy(), len(stored["state_norm"]))
    actions = scaling.raw_action(stored["actions_norm"][..., :action_dims].double()).numpy()
    if robot == "robocasa":
        actions = robocasa.action_to_controller(actions)[..., : stored["actions"].shape[-1]]
    states = scaling.raw_state(stored["proprios_norm"].double())
    return [
        difference("state, scaled", torch.from_numpy(state[0]), stored["state_norm"]),
        difference("actions, in units", torch.from_numpy(actions), stored["actions"]),
        difference("states, in units", states[..., :there], stored["proprios"][..., :there]),
    ]


def _recorded_seeds(said: Mapping[str, Any]) -> dict[tuple[int, ...], int]:
    """`"3_7_32": 1807013551` in `seeds`, or `seed_for(0,2,64)` anywhere."""
    groups = [value for value in said.values() if isinstance(value, dict)]
    seeds = dict(said.get("seeds", {}))
    seeds |= {key: value for group in groups for key, value in group.items() if key.startswith("seed_for(")}
    return {tuple(map(int, re.findall(r"\d+", key))): value for key, value in seeds.items()}


def _seeds(recorded: Mapping[tuple[int, ...], int]) -> list[Measure]:
    ours = [chunk_seed(*key) for key in recorded]
    return [identical("seeds of chunks", as_tensor(ours), as_tensor(list(recorded.values())))]


def _limits(recorded: Mapping[str, int]) -> list[Measure]:
    ours, theirs = (
        {f"{task} {steps}" for task, steps in said.items()} for said in (robocasa.MAX_STEPS, recorded)
    )
    return [same_names("steps per task", ours, theirs)]


def _poses(what: str, ours: np.ndarray, reference: Tensor) -> list[Measure]:
    """q and -q are one rotation; a recording may have either."""
    theirs, poses = arms(reference.numpy(), STATE), arms(ours, STATE).copy()
    products = np.sum(poses[..., ROTATION] * theirs[..., ROTATION], axis=-1, keepdims=True)
    poses[..., ROTATION] *= np.where(products < 0, -1.0, 1.0)
    return [difference(what, torch.from_numpy(side_by_side(poses)), reference)]

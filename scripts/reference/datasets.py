"""Dataset construction: what the authors' dataset class made of an episode, from its JSON and its frames.

Also the statistics their script computed of the same episodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from lerobot_xwam.data.authors_layout.clips import ClipPlan, ClipValues, cut, padded, universal_actions
from lerobot_xwam.data.authors_layout.episode import RAW_ACTIONS, Episode, parse_episode
from lerobot_xwam.data.authors_layout.frames import depth_frames, rgb_frames
from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.data.statistics import InterfaceStatistics
from lerobot_xwam.space.poses import ACTION as ACTION_NUMBERS
from lerobot_xwam.space.poses import STATE as STATE_NUMBERS
from lerobot_xwam.weights.encoder_keys import take
from lerobot_xwam.weights.official_config import statistics_of, to_quantiles

from .folder import DATASET, DATASET_SAID, STATISTICS_SAID, GoldenFolder
from .measure import Case, Measure, as_tensor, difference, identical, same_names, same_number

Said = Mapping[str, Any]


def cases(folder: GoldenFolder) -> list[Case]:
    return [
        Case(f"dataset.{name}", partial(compare, folder, name)) for name in folder.json(DATASET_SAID)["cases"]
    ]


def statistics_cases(folder: GoldenFolder) -> list[Case]:
    return [
        Case(f"compute_stats.{name}", partial(compare_statistics, folder, name))
        for name, said in folder.json(STATISTICS_SAID).items()
        if isinstance(said, dict) and "q01" in said
    ]


def compare(folder: GoldenFolder, name: str) -> list[Measure]:
    said = folder.json(DATASET_SAID)
    case, settings = said["cases"][name], said["cases"][name]["kw"]
    plan = ClipPlan(settings["sequence_length"], settings["frame_skip"], settings.get("action_skip", 1))
    episode = read_episode(folder, name, case)
    scaling = scaling_of(statistics_named(said, name, case), episode.arms)
    measures = list(_facts(case, plan, episode))
    for i, start in enumerate(case["clip_start_frames"]):
        recorded = take(folder.tensors(DATASET), f"{name}.{i}.")
        measures += _vectors(f"{i}.", recorded, cut(episode, plan, start), scaling)
        moves = as_tensor([int(camera.moves) for camera in episode.cameras])
        if "camera_type_mask" in recorded:
            measures.append(identical(f"{i}.camera_type_mask", moves, recorded["camera_type_mask"]))
        if {"video", "depths"} & recorded.keys():
            ids, size = plan.frame_ids(start), tuple(settings["video_size"])
            ours = _videos(_raw_frames(folder, name, case), episode, ids, size, settings)
            measures += [
                difference(f"{i}.{kind}", ours[kind], recorded[kind]) for kind in ours if kind in recorded
            ]
    return measures


def compare_statistics(folder: GoldenFolder, name: str) -> list[Measure]:
    """The case of the same name in the dataset's recording says how many frames an action lasts."""
    case = folder.json(DATASET_SAID)["cases"].get(name, {}) if folder.has(DATASET_SAID) else {}
    episode = read_episode(folder, name, case)
    statistics = InterfaceStatistics(episode.arms)
    if episode.raw_actions is not None:
        statistics.add_actions(episode.states, universal_actions(episode), gripper="measured")
    else:
        assert episode.targets is not None
        skip = case.get("kw", {}).get("action_skip", 1)
        statistics.add_deltas(episode.states, episode.targets, skip)
    vectors = statistics.vectors()
    ours = to_quantiles({OBS_STATE: vectors["state"], ACTION: vectors["action"]})
    measures = []
    for quantile in ("q01", "q99"):
        theirs = folder.json(STATISTICS_SAID)[name][quantile]
        measures.append(same_names(f"parts of {quantile}", set(ours[quantile]), set(theirs)))
        measures += [
            difference(
                f"{quantile} of {part}", torch.tensor(ours[quantile][part]), torch.tensor(theirs[part])
            )
            for part in theirs.keys() & ours[quantile].keys()
        ]
    return measures


def read_episode(folder: GoldenFolder, name: str, case: Said) -> Episode:
    content = folder.json(episode_file(folder, name, case))
    if re.search(rf"{RAW_ACTIONS}\s+(is\s+|are\s+)?removed", _sentences(case)):
        content["actions"].pop(RAW_ACTIONS, None)
    return parse_episode(content, name, bool(case.get("kw", {}).get("inverse_gripper", False)))


def episode_file(folder: GoldenFolder, name: str, case: Said) -> str:
    """The file a case names, else the one that is called like the case, or like its first words."""
    if named := re.search(r"episode_\w+\.json", _sentences(case)):
        return named[0]
    words = name.split("_")
    for count in range(len(words), 0, -1):
        file = f"episode_{'_'.join(words[:count])}.json"
        if folder.has(file):
            return file
    raise ValueError(f"no episode_*.json for the case {name!r}")


def statistics_named(said: Said, name: str, case: Said) -> Said:
    """The quantiles a case was scaled with: `"stats": "robotwin"`, or `... robotwin stats` in a sentence."""
    known = {key.removeprefix("stats_"): value for key, value in said.items() if key.startswith("stats_")}
    if isinstance(case.get("stats"), dict):
        return case["stats"]
    found = case.get("stats") or next((key for key in known if f"{key} stats" in _sentences(case)), None)
    if found not in known:
        raise ValueError(
            f"{name}: does not say which statistics it was scaled with; known are {', '.join(known)}"
        )
    return known[found]


def scaling_of(quantiles: Said, arm_count: int) -> Scaling:
    """Of as many arms as the episode has; a dataset's statistics may know another one."""
    whole = statistics_of(DATASET_SAID, {"dataset": {"statistics": quantiles}})  # type: ignore[arg-type]
    widths = {OBS_STATE: STATE_NUMBERS * arm_count, ACTION: ACTION_NUMBERS * arm_count}
    known = {key: {q: values[: widths[key]] for q, values in part.items()} for key, part in whole.items()}
    return Scaling.fit("ee", known, OBS_STATE, ACTION)


def _facts(case: Said, plan: ClipPlan, episode: Episode) -> Iterator[Measure]:
    """What the recording says in words and numbers."""
    if "len_dataset" in case:
        yield same_number("number of windows", len(plan.starts(episode.frames)), case["len_dataset"])
    if "sorted_views" in case:
        ours = [f"{i} {camera.name}" for i, camera in enumerate(episode.cameras)]
        yield same_names("views", set(ours), {f"{i} {view}" for i, view in enumerate(case["sorted_views"])})
    if "fps" in case and episode.cameras[0].fps:
        yield same_number("frames per second", episode.cameras[0].fps / plan.frame_skip, case["fps"])
    if "prompt" in case:
        yield same_names("instruction", {case["prompt"]} & set(episode.instructions), {case["prompt"]})
    for i, start in enumerate(case["clip_start_frames"]):
        starting = plan.action_ids(start)
        targets = [frame + plan.action_skip - 1 for frame in starting]
        for key, ours in (("frame_ids", plan.frame_ids(start)), ("raw_action_ids", starting)):
            if key in case:
                yield identical(f"{i}.{key}", as_tensor(ours), as_tensor(case[key][i]))
        if "action_ids" in case:  # an action may be called by the frame it starts at or by that of its target
            ours = targets if case["action_ids"][i] == targets else starting
            yield identical(f"{i}.action_ids", as_tensor(ours), as_tensor(case["action_ids"][i]))


def _vectors(
    prefix: str, recorded: Mapping[str, Tensor], values: ClipValues, scaling: Scaling
) -> Iterator[Measure]:
    state = scaling.state(torch.from_numpy(values.states))
    action = scaling.action(torch.from_numpy(values.actions))
    for key, ours in (("proprio", state), ("action", action)):
        wide, mask = padded(ours.numpy(), recorded[f"{key}s"].shape[-1])
        yield difference(f"{prefix}{key}s", torch.from_numpy(wide), recorded[f"{key}s"])
        if f"{key}_mask" in recorded:
            yield identical(f"{prefix}{key}_mask", torch.from_numpy(mask), recorded[f"{key}_mask"])


def _videos(
    raw: Mapping[str, Tensor], episode: Episode, ids: list[int], size: tuple[int, ...], settings: Said
) -> dict[str, Tensor]:
    """-> V T 3 h w each"""
    per_view = bool(settings.get("normalize_depths_per_view", False))
    height, width = size
    rgb, depth = [], []
    for camera in episode.cameras:
        at = [camera.start + i for i in ids]
        rgb.append(rgb_frames(raw[f"{camera.name}.rgb_path"][at], (height, width)))
        depth.append(depth_frames(raw[f"{camera.name}.depth_path"][at], (height, width), per_view))
    return {"video": torch.stack(rgb), "depths": torch.stack(depth)}


def _raw_frames(folder: GoldenFolder, name: str, case: Said) -> dict[str, Tensor]:
    """Frames as decoded; cases of one episode share them."""
    cases_said, file = folder.json(DATASET_SAID)["cases"], episode_file(folder, name, case)
    same = [other for other, said in cases_said.items() if episode_file(folder, other, said) == file]
    for owner in (name, *same):
        if raw := take(folder.tensors(DATASET), f"{owner}.raw."):
            return raw
    raise ValueError(f"{name}: the recording has no raw frames of {file}")


def _sentences(case: Said) -> str:
    return " ".join(value for value in case.values() if isinstance(value, str))

r"""Imagine RGB-D futures: of the policy's own actions, or of any others ("what happens if I do this?").

It begins at a frame of a dataset, at a saved observation, or in a simulator. --actions says what is done:

  own        what the policy would do itself (the default)
  recorded   what the dataset recorded
  opposite   the opposite motion of what was recorded (or, without a recording, of the policy's own)
  FILE       .npy, or .npz with `actions`: steps x numbers in the robot's units, edited or another policy's

A saved observation is an .npz with observation.images.<camera> (H W 3 uint8, RGB), observation.state (robot
units), task (the instruction) and fps; its cameras' places come from --calibration.

Several --actions may be given; they are shown beside each other. The folder holds report.html (a page with
everything that opens offline), imagined.mp4, views/*.mp4, imagined.png, clouds/*/*.ply (--clouds glb: .glb),
imagined.npz, imagined.json, and with --rerun imagined.rrd. It appears when it is complete.

Example:
  lerobot-xwam imagine --policy outputs/train/checkpoints/last/pretrained_model \
      --dataset data/lift --actions own opposite --out imagined
  lerobot-xwam imagine --policy ... --env xwam_tabletop --samples 3 --out imagined
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scene_options import (
    add_scene_arguments,
    calibrated,
    camera_facts,
    effectors_of,
    env_options,
    require_metrics,
    scene_of,
    training_overlap,
)

if TYPE_CHECKING:
    from lerobot_xwam.world.effectors import Effectors
    from lerobot_xwam.world.moments import Moment
    from lerobot_xwam.world.opening import Opened
    from lerobot_xwam.world.showing.exhibition import Exhibition

CLOUDS = {"ply": ("ply",), "glb": ("glb",), "both": ("ply", "glb")}
HELP = "imagine RGB-D futures of own or given actions: films, point clouds, a page to look at"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--dataset", help="dataset folder or Hub id")
    parser.add_argument("--observation", type=Path, help="saved observation (.npz) instead of a dataset")
    parser.add_argument("--env", help="simulator instead of a dataset, e.g. xwam_tabletop")
    parser.add_argument("--env-option", nargs="+", default=[], metavar="NAME=VALUE", help="of the simulator")
    parser.add_argument("--episode", type=int, default=0, help="of the dataset, or the simulator's seed (0)")
    parser.add_argument("--frame", type=int, default=0, help="control step within the episode (default 0)")
    parser.add_argument("--fps", type=float, help="control steps per second of a saved observation")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; must not exist")
    parser.add_argument("--actions", nargs="+", default=["own"], help="own, recorded, opposite or FILE")
    parser.add_argument(
        "--task", metavar="TEXT", help="say this instead, e.g. 'move about' (default: what was said then)"
    )
    parser.add_argument("--samples", type=int, default=1, help="futures of each (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first future's noise (default 0)")
    parser.add_argument("--video-steps", type=int, help="denoising steps (default: the policy's)")
    parser.add_argument(
        "--clouds",
        choices=list(CLOUDS),
        default="ply",
        help="files of the point clouds: ply for MeshLab and Open3D, glb for browsers, or both (default ply)",
    )
    parser.add_argument("--rerun", action="store_true", help="also a Rerun recording (needs lerobot[viz])")
    parser.add_argument("--scale", type=int, help="enlarge the pictures (default: small ones)")
    parser.add_argument("--device", help="default: the policy's")
    add_scene_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lerobot_xwam.weights.output_folder import appearing_folder, refuse_existing
    from lerobot_xwam.world.opening import open_policy
    from lerobot_xwam.world.report import markdown
    from lerobot_xwam.world.showing.films import enlargement
    from lerobot_xwam.world.showing.hanging import count_ticks, write_exhibition

    _check(arguments)
    refuse_existing(arguments.out)
    with appearing_folder(arguments.out) as folder:  # now: a place that cannot be written is known at once
        opened = open_policy(arguments.policy, arguments.device, arguments.video_steps)
        facts: dict[str, Any] = {"policy": arguments.policy, "video_steps": opened.policy.config.video_steps}
        exhibition = _imagined(arguments, opened, facts)
        scale = arguments.scale or enlargement(exhibition)
        steps = count_ticks(exhibition, arguments.rerun)
        with tqdm(total=steps, desc="writing", unit="step", leave=False) as bar:
            table = write_exhibition(
                folder,
                exhibition,
                facts,
                scale=scale,
                recording=arguments.rerun,
                clouds_as=CLOUDS[arguments.clouds],
                tick=bar.update,
            )
    if table is not None:
        print(markdown(table))
    if facts["not fused"]:
        print(f"not in the clouds: {facts['not fused']}")
    print(f"look at {arguments.out / 'report.html'}")


def _check(arguments: argparse.Namespace) -> None:
    from lerobot_xwam.world.showing.recording import require_rerun

    sources = [arguments.dataset, arguments.observation, arguments.env]
    if sum(source is not None for source in sources) != 1:
        raise ValueError("give one of --dataset, --observation and --env")
    for name, least in (("samples", 1), ("video_steps", 1), ("scale", 1), ("frame", 0)):
        value = vars(arguments)[name]
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least {least} is needed")
    if arguments.observation is not None and arguments.frame:
        raise ValueError("--frame: a saved observation is one moment only")
    env_options(arguments.env_option)
    if arguments.observation is None:
        require_metrics("torchmetrics", "scipy")
    if arguments.rerun:
        require_rerun()


def _imagined(arguments: argparse.Namespace, opened: Opened, facts: dict[str, Any]) -> Exhibition:
    """All futures, and what really happened."""
    from tqdm import tqdm

    from lerobot_xwam.world.doing import chosen_actions, compared, imagine_all
    from lerobot_xwam.world.keep_still import keep_still
    from lerobot_xwam.world.moments import NOWHERE
    from lerobot_xwam.world.showing.exhibition import TRUTH, Exhibition

    with ExitStack() as closing:
        moment, effectors = _moment(arguments, opened, facts, closing)
        if arguments.task:
            moment = replace(moment, observation=replace(moment.observation, tasks=[arguments.task]))
        seeds = range(arguments.seed, arguments.seed + arguments.samples)
        chosen = {choice: chosen_actions(choice, moment, arguments.seed) for choice in arguments.actions}
        model = moment.model
        calls = len(seeds) * sum(
            model.calls if each is None else model.calls_given for each in chosen.values()
        )
        with tqdm(total=calls, desc="imagining", unit="call", leave=False) as bar:
            futures = imagine_all(moment, chosen, seeds, bar.update)
        followed = moment.recorded
        if moment.live is not None:
            followed = moment.live.follow(futures[0].actions)
    rig, refused = calibrated(arguments) or (
        (NOWHERE, {}) if followed is None else (followed.rig, dict(followed.refused))
    )
    scene = scene_of(arguments, moment.model, rig, effectors)
    if arguments.keep_still:
        rgb, known = (
            moment.model.seen(moment.observation),
            None if followed is None else followed.truth.metres,
        )
        metres = None if known is None else known[:, 0]
        futures = [keep_still(each, rgb, metres, scene.static) for each in futures]
        facts["what stands still"] = "as seen"
    cameras = camera_facts(moment.model.cameras, rig, refused)
    facts |= {"task": moment.task, "actions": list(chosen), "seeds": list(seeds), **cameras}
    facts |= {"seconds per frame": round(moment.model.seconds, 6), "far": scene.filters.far}
    truth = None
    if followed is not None and followed.truth.frames > 1:
        truth = replace(followed.truth, name=TRUTH)
    return Exhibition(
        futures, truth, scene, moment.task, compared(moment, futures, truth), cameras["not fused"]
    )


def _moment(
    arguments: argparse.Namespace, opened: Opened, facts: dict[str, Any], closing: ExitStack
) -> tuple[Moment, Effectors | None]:
    from lerobot_xwam.world.live import open_live
    from lerobot_xwam.world.moments import live_moment, recorded_moment, saved_moment
    from lerobot_xwam.world.opening import Episodes

    episode, frame = arguments.episode, arguments.frame
    if arguments.observation is not None:
        facts["observation"] = str(arguments.observation)
        effectors = effectors_of(arguments, opened, [])
        return saved_moment(opened, arguments.observation, arguments.fps), effectors
    facts |= {"episode": episode, "frame": frame}
    if arguments.env:
        options = env_options(arguments.env_option)
        facts |= {"env": arguments.env, **options}
        world = open_live(opened, arguments.env, options)
        closing.callback(world.env.close)
        effectors = effectors_of(arguments, opened, [])
        return live_moment(world, episode, frame, arguments.seed, effectors), effectors
    episodes = Episodes.open(arguments.dataset, opened.policy.config)
    facts |= {"dataset": arguments.dataset}
    effectors = effectors_of(arguments, opened, episodes.state_names)
    moment = recorded_moment(opened, episodes, episode, frame, effectors)
    facts |= training_overlap(arguments.policy, arguments.dataset, [episode])
    return moment, effectors

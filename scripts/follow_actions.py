"""Does a small world model follow any action? Opposite motions in the tabletop world, imagined and done.

    lerobot-xwam tabletop --behaviour play --cameras front --size 64 80 --no-depth --episodes 300 \\
        --out data/play
    lerobot-xwam cache-latents --config configs/play.json --dataset data/play --variants 1 --out data/latents
    lerobot-train --config_path=configs/play.json --dataset.root=data/latents/dataset \\
        --policy.latent_cache=data/latents
    python scripts/follow_actions.py --policy outputs/play/checkpoints/last/pretrained_model \\
        --out outputs/follow

From unseen moments the hand is sent along each axis of the world and back, both from the same noise. Both
are done in the world, too, so the truth is known: of the hand's place, and of the picture. Writes follow.json
with every number, follow.md, and a picture of every pair of the first moment.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidencing.answers import Side, compare, known
from evidencing.probes import AXES
from tqdm import tqdm

from lerobot_xwam.envs.tabletop.play import Player
from lerobot_xwam.files import appearing
from lerobot_xwam.pictures import contact_sheet, write_png
from lerobot_xwam.world.footage import Floats
from lerobot_xwam.world.live import LiveWorld, Raw, open_live
from lerobot_xwam.world.opening import open_policy

UNSEEN = 1_000_000  # seeds of training start at 0
STEP = 0.008  # metres that the hand is sent in one action; play does 0.002 to 0.012
SHARE, COSINE = "apart: share of the simulator's", "apart: cosine with the simulator's"
PICTURES, KEPT = "pictures, static: imagined", "pictures, static: kept"


def main(given: list[str] | None = None) -> int:
    arguments = parse_arguments(given)
    try:
        opened = open_policy(arguments.policy, arguments.device)
        config = opened.policy.config
        size = {"observation_height": config.height, "observation_width": config.width}
        cameras = ",".join(key.removeprefix("observation.images.") for key in config.cameras)
        world = open_live(opened, "xwam_tabletop", {"cameras": cameras, "interface": "ee", **size})
        pairs = []
        for number in tqdm(range(arguments.starts), desc="opposite actions", unit="start"):
            pictures = arguments.out if number == 0 else None
            pairs += try_start(world, arguments.seed + number, pictures)
    except (ValueError, OSError) as error:
        print(f"follow_actions: {error}", file=sys.stderr)
        return 1
    print(write_report(arguments.out, pairs))
    return 0


def parse_arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id, interface ee, one arm")
    parser.add_argument("--starts", type=int, default=10, help="moments (default 10); each has three pairs")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first one (default %(default)s)")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(given)
    if arguments.starts < 1:
        parser.error(f"--starts {arguments.starts}: 1 or more")
    return arguments


def try_start(world: LiveWorld, seed: int, pictures: Path | None) -> list[dict[str, Any]]:
    """Three pairs of opposite motions from one moment."""
    found = []
    for name, axis in AXES.items():
        actions = np.zeros((world.opened.policy.config.chunk_size, 7), np.float32)  # K A
        actions[:, :3] = axis * STEP
        sides = [side for sign in (1, -1) if (side := done(world, seed, sign * actions))]
        if len(sides) < 2:  # the episode ended on the way: a cube happened to be lifted
            continue
        found.append({"seed": seed, "axis": name, **known(compare(*sides, list(world.model.cameras)))})
        if pictures is not None:
            write_png(pictures / f"{name}.png", strip(sides, name))
    return found


def done(world: LiveWorld, seed: int, actions: Floats) -> Side | None:
    """The same actions imagined and done."""
    frames = world.happen(somewhere(world, seed), actions)
    if len(frames) < world.opened.policy.config.num_frames:
        return None
    clip = world.happened(frames, actions, seed, 0, None).clip
    (imagined,) = world.model.imagine_given(world.observation(frames[0]), actions, [0])
    commanded = actions[:, :3].sum(axis=0, dtype=np.float64)[None]  # 1 arm, 3
    truth, kept = world.model.recorded(clip), world.model.through_codec(clip, "through the codec")
    return Side(commanded, imagined, truth, kept)


def somewhere(world: LiveWorld, seed: int) -> Raw:
    """A moment where play could begin."""
    world.reset(seed)
    inner: Any = world.env.envs[0].unwrapped
    Player(inner.world, np.random.default_rng(seed))  # puts the hand somewhere
    return world.happen({}, np.zeros((world.opened.policy.config.actions_per_frame, 7), np.float32))[-1]


def strip(sides: list[Side], axis: str) -> np.ndarray:
    """What the first camera saw and would see, of both directions. -> H W 3"""
    rows = {}
    for side, sign in zip(sides, "+-", strict=True):
        rows[f"done, {sign}{axis}"], rows[f"imagined, {sign}{axis}"] = side.truth.rgb[0], side.imagined.rgb[0]
    return contact_sheet(rows, list(range(sides[0].truth.frames)), scale=2)


def write_report(out: Path, pairs: list[dict[str, Any]]) -> str:
    """follow.json and follow.md. -> the text of follow.md"""
    text = table(pairs)
    for name, content in (("follow.md", text), ("follow.json", json.dumps(pairs, indent=1) + "\n")):
        with appearing(out / name) as file:
            file.write_text(content, encoding="utf-8")
    return text


def table(pairs: list[dict[str, Any]]) -> str:
    """What was found, of hands and of pictures. Half of the counts would be chance."""
    sides = [side for pair in pairs for side in pair["sides"]]
    along = [side["imagined along the command"] > 0 for side in sides]
    opposite = [all(s["imagined along the command"] > 0 for s in pair["sides"]) for pair in pairs]
    nearer = [(s["pictures: own truth"] or 0) > (s["pictures: the other's"] or 0) for s in sides]
    apart = [(pair[PICTURES][-1] or 0) > 0 for pair in pairs]
    lines = [
        "| at the end of a chunk | |",
        "|---|---|",
        f"| imagined hands that move as they were told | {sum(along)} of {len(along)} |",
        f"| opposite commands, opposite ways | {sum(opposite)} of {len(opposite)} |",
        f"| difference of the two hands, share of the true one | {mean(pairs, SHARE):.2f} |",
        f"| its direction, cosine with the true one | {mean(pairs, COSINE):.3f} |",
        f"| pictures nearer to their own truth than to the other's | {sum(nearer)} of {len(nearer)} |",
        f"| opposite commands, pictures that differ the right way | {sum(apart)} of {len(apart)} |",
        f"| difference of the two pictures, correlation with the true one | {mean(pairs, PICTURES):.2f} |",
        f"| the same of the truth through the video codec | {mean(pairs, KEPT):.2f} |",
    ]
    return "\n".join(lines) + "\n"


def mean(pairs: list[dict[str, Any]], name: str) -> float:
    """Of the last frame."""
    values = [pair[name][-1] for pair in pairs if pair[name][-1] is not None]
    return float(np.mean(values)) if values else float("nan")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

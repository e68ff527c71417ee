"""All probes of one start: imagined, done in the simulator, and compared; with a picture of one pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lerobot_xwam.pictures import contact_sheet, write_png
from lerobot_xwam.world.footage import Footage
from lerobot_xwam.world.world_model import WorldModel

from .answers import Side, compare, known
from .picture import SHOWN
from .probes import AXES, RECORDED, Probe, Start, probes
from .simulator import Simulator

NOISE = 0  # of both sides: only the actions differ


def try_all(
    model: WorldModel,
    simulator: Simulator,
    start: Start,
    picture: Path,
    kinds: Sequence[str] = (RECORDED, *AXES),
    said: str | None = None,
) -> list[dict[str, Any]]:
    """Numbers of every pair of these kinds; one is left out if an episode ended on the way. `said`: the
    instruction while something else than what was recorded is done; None: the episode's.
    """
    static, found = simulator.static(model.cameras), []
    now = simulator.at(start)
    observation = simulator.observation(now)
    for probe in list(probes(start, simulator.arms, simulator.interface)):
        sides: list[Side] = []
        seen = observation if said is None or probe.kind == RECORDED else replace(observation, tasks=[said])
        if probe.kind not in kinds:
            continue
        for actions, commanded in probe.sides:
            clip = simulator.do(start, actions)
            if clip is None:
                break
            (imagined,) = model.imagine_given(seen, actions, [NOISE])
            kept = model.through_codec(clip, "through the codec")
            sides.append(Side(commanded, imagined, model.recorded(clip), kept))
        if len(sides) < 2:
            continue
        about = {"task": start.task, "episode": start.episode, "frame": start.frame, "kind": probe.kind}
        found.append(about | known(compare(*sides, static)))
        if probe.kind == SHOWN:
            write_png(picture, strip(sides, static[0], probe))
    return found


def strip(sides: list[Side], camera: str, probe: Probe) -> np.ndarray:
    """What one camera saw and would see, of both directions. -> H W 3"""

    def film(footage: Footage) -> np.ndarray:
        return footage.rgb[footage.cameras.index(camera)]  # F H W 3

    rows = {}
    for side, sign in zip(sides, "+-", strict=True):
        rows[f"simulated, {sign}{probe.kind}"] = film(side.truth)
        rows[f"imagined, {sign}{probe.kind}"] = film(side.imagined)
    return contact_sheet(rows, list(range(sides[0].truth.frames)), scale=2)

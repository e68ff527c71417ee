"""The authors' layout as a source: metadata.json, a JSON per episode, an RGB and a depth video per camera.

metadata.json lists the episodes' files, as a list or under any names, as paths or as entries that hold one.
Without it every *.json of the folder that looks like an episode is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.authors_layout.clips import from_controller
from ..data.authors_layout.episode import BadEpisodeError, CameraFiles, Episode, parse_episode
from ..space.poses import ACTION, ROTATION, STATE, arms, side_by_side
from ..space.resampling import moves_towards, squeezes
from ..space.rotations import Array, continuous
from .episode import Pictures, SourceEpisode
from .settings import Settings
from .videos import probe, read_frames

METADATA = "metadata.json"


@dataclass(frozen=True)
class AuthorsSource:
    settings: Settings

    @property
    def root(self) -> Path:
        return Path(self.settings.source)

    def names(self) -> list[str]:
        """Files of the episodes, relative to the folder, in the order of metadata.json or sorted."""
        if not self.root.is_dir():
            raise ValueError(f"{self.root} is no folder; give one with episodes in the authors' layout")
        listing = self.root / METADATA
        if listing.is_file():
            found = list(dict.fromkeys(_listed(_json(listing))))
        else:
            files = sorted(path for path in self.root.rglob("*.json") if _looks_like_an_episode(path))
            found = [str(path.relative_to(self.root)) for path in files]
        if not found:
            raise ValueError(f"{self.root}: no episodes; neither {METADATA} nor any *.json here names one")
        return found[: self.settings.limit or None]

    def frames(self, name: str) -> int:
        """How long an episode is, for estimates; 0 if it cannot be told."""
        try:
            return int(_json(self.root / name)["num_frames"])
        except (BadEpisodeError, KeyError, TypeError, ValueError):
            return 0

    def read(self, name: str) -> SourceEpisode:
        settings = self.settings
        episode = parse_episode(_json(self.root / name), name, settings.inverse_gripper)
        if not episode.instructions and settings.instructions == "required":
            raise BadEpisodeError(f"{name}: has no instruction; --instructions optional keeps such episodes")
        if not episode.cameras:
            raise BadEpisodeError(f"{name}: has no camera")
        skip = settings.action_skip
        kept = range(0, episode.frames - skip + 1, skip)
        if len(kept) < 2:
            raise BadEpisodeError(f"{name}: {episode.frames} frames are no episode")
        with_depth = self._with_depth(episode)
        fps, size = self._checked(episode, with_depth)

        def pictures() -> Iterator[Pictures]:
            return self._pictures(episode, with_depth, kept)

        return SourceEpisode(
            name=name,
            fps=fps / skip,
            states=smooth(episode.states)[kept],
            actions=_actions(episode, skip)[kept],
            instructions=episode.instructions or ("",),
            cameras=tuple(camera.name for camera in episode.cameras),
            depth_cameras=with_depth,
            size=(settings.height, settings.width) if settings.height else size,
            pictures=pictures,
        )

    def _with_depth(self, episode: Episode) -> tuple[str, ...]:
        if self.settings.depth == "none":
            return ()
        there = [c.name for c in episode.cameras if c.depth is not None and (self.root / c.depth).is_file()]
        absent = sorted({camera.name for camera in episode.cameras} - set(there))
        if absent and self.settings.depth == "required":
            raise BadEpisodeError(f"{episode.name}: no depth of {', '.join(absent)}; see --depth")
        return tuple(there)

    def _checked(self, episode: Episode, with_depth: tuple[str, ...]) -> tuple[float, tuple[int, int]]:
        """Every video has the frames the episode needs, at its rate and one size. -> fps, (height, width)"""
        sizes, rates = set(), set()
        for camera in episode.cameras:
            needed = camera.start + episode.frames
            if camera.end is not None and camera.end - camera.start != episode.frames:
                raise BadEpisodeError(
                    f"{episode.name}: {camera.name} covers {camera.end - camera.start} frames, the episode "
                    f"has {episode.frames}"
                )
            for path in self._files(camera, with_depth):
                facts = probe(path)
                if facts.frames < needed:
                    raise BadEpisodeError(f"{path}: {facts.frames} frames, {needed} are needed: truncated?")
                sizes.add((facts.height, facts.width))
                rates.add(round(camera.fps or facts.fps, 3))
                if camera.fps and facts.fps and abs(facts.fps - camera.fps) > 0.02 * camera.fps:
                    raise BadEpisodeError(f"{path}: {facts.fps:g} fps, the episode says {camera.fps:g}")
        if len(rates) > 1:
            raise BadEpisodeError(f"{episode.name}: cameras of different rates {sorted(rates)}")
        if len(sizes) > 1 and not self.settings.height:
            raise BadEpisodeError(f"{episode.name}: pictures of different sizes {sorted(sizes)}; give --size")
        fps = rates.pop()
        if self.settings.fps and abs(fps - self.settings.fps) > 1e-2:
            raise BadEpisodeError(f"{episode.name}: {fps:g} fps, this dataset has {self.settings.fps:g}")
        return fps, sizes.pop()

    def _files(self, camera: CameraFiles, with_depth: tuple[str, ...]) -> list[Path]:
        files = [self.root / camera.rgb]
        return [*files, self.root / str(camera.depth)] if camera.name in with_depth else files

    def _pictures(self, episode: Episode, with_depth: tuple[str, ...], kept: range) -> Iterator[Pictures]:
        streams: dict[str, Iterator[NDArray[Any]]] = {}
        for camera in episode.cameras:
            wanted = range(camera.start, camera.start + kept[-1] + 1, kept.step)
            rgb, *depth = (read_frames(path, wanted) for path in self._files(camera, with_depth))
            streams[camera.name] = (self._sized(frame) for frame in rgb)
            for stream in depth:
                streams[f"{camera.name}_depth"] = (self._metres(frame) for frame in stream)
        for frames in zip(*streams.values(), strict=True):
            yield dict(zip(streams, frames, strict=True))

    def _sized(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _resized(frame, self.settings, depth=False).round().astype(np.uint8)

    def _metres(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """# H W 3 -> H W 1"""
        settings = self.settings
        share = _resized(frame, settings, depth=True)[..., :1].astype(np.float64) / 255
        if settings.depth_code == "linear":
            metres = settings.depth_near + share * (settings.depth_far - settings.depth_near)
        else:
            metres = 1 / (1 / settings.depth_far + share * (1 / settings.depth_near - 1 / settings.depth_far))
        return metres.astype(np.float32)


def smooth(states: Array) -> Array:
    """Quaternions whose signs do not flip from frame to frame.  # T 8|16"""
    per_arm = arms(states, STATE).copy()
    for arm in range(per_arm.shape[1]):
        per_arm[:, arm, ROTATION] = continuous(per_arm[:, arm, ROTATION])
    return side_by_side(per_arm)


def _actions(episode: Episode, skip: int) -> Array:
    """One per frame that may be kept. The last ones, without a next gripper, leave it.  # T-skip+1"""
    if episode.raw_actions is not None:
        if skip != 1:
            raise ValueError(f"action_skip={skip}: a controller's raw actions are for one step each")
        return from_controller(episode.raw_actions)
    if episode.targets is None:
        raise BadEpisodeError(f"{episode.name}: has neither commanded poses nor raw actions")
    moves = arms(moves_towards(episode.states, episode.targets, skip), ACTION)
    squeezed = squeezes(episode.states, skip)
    moves[..., -1] = 0
    moves[: len(squeezed), :, -1] = squeezed
    return side_by_side(moves)


def _resized(frame: NDArray[np.uint8], settings: Settings, depth: bool) -> NDArray[Any]:
    if not settings.height or frame.shape[:2] == (settings.height, settings.width):
        return frame
    import torch

    from ..data.views import resize

    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    return resize(picture, (settings.height, settings.width), depth=depth)[0].permute(1, 2, 0).numpy()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadEpisodeError(f"{path}: cannot be read as JSON ({error})") from error


def _listed(said: Any) -> Iterator[str]:
    """Every string in it that names a JSON file."""
    if isinstance(said, str) and said.endswith(".json"):
        yield said
    elif isinstance(said, dict | list):
        for value in said.values() if isinstance(said, dict) else said:
            yield from _listed(value)


def _looks_like_an_episode(path: Path) -> bool:
    return path.name != METADATA and '"num_frames"' in path.read_text(encoding="utf-8", errors="replace")

"""Who is compared in one run: the imaginations, the frozen first frame, an outside depth estimator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lerobot_xwam.data.batch import Clip
from lerobot_xwam.estimating.estimator import Estimator, Kind

from .estimator import estimate_depth
from .footage import Footage
from .keep_still import keep_still
from .scores import CEILING, Scene, Window, score
from .world_model import Tick, WorldModel

JOINT = "X-WAM, own actions"
GIVEN = "X-WAM, given the actions"
STILL = "repeat the last frame"
STILL_CODEC = "repeat the last frame, through the codec"
KEPT = "{}, what stands still as seen"


@dataclass(frozen=True)
class External:
    """Somebody else's depth for our pictures."""

    name: str
    estimator: Estimator
    kind: Kind


@dataclass(frozen=True)
class Contest:
    model: WorldModel
    conditions: Sequence[str] = ("joint", "given")
    seeds: Sequence[int] = (0,)
    external: External | None = None
    codec_rows: bool = False  # also what the video codec alone makes of the truth, and of the last frame
    keep_still: bool = False  # also imaginations in which static cameras keep what does not move

    @property
    def calls(self) -> int:
        """Network calls per window."""
        calls = {"joint": self.model.calls, "given": self.model.calls_given}
        return len(self.seeds) * sum(calls[condition] for condition in self.conditions)

    def footages(
        self, clip: Clip, truth: Footage, static: Sequence[str], tick: Tick
    ) -> Iterator[tuple[str, Footage]]:
        """Every row's footage of one window. `static`: cameras that stand still."""
        yield STILL, truth.standing_still(STILL)
        if self.codec_rows:
            kept = self.model.through_codec(clip, CEILING)
            yield STILL_CODEC, kept.standing_still(STILL_CODEC)
            yield CEILING, kept
        for condition in self.conditions:
            row = JOINT if condition == "joint" else GIVEN
            if condition == "joint":
                futures = self.model.imagine(clip.observation, self.seeds, tick)
            else:
                futures = self.model.imagine_given(clip.observation, truth.actions, self.seeds, tick=tick)
            for future in futures:
                yield row, future
                if self.keep_still:
                    metres = None if truth.metres is None else truth.metres[:, 0]
                    yield KEPT.format(row), keep_still(future, truth.rgb[:, 0], metres, static)
                if self.external is not None:
                    by, name = self.external, f"{row}, depth by {self.external.name}"
                    yield name, estimate_depth(future, truth, by.estimator, by.kind, name)

    def hold(self, clip: Clip, scene: Scene, episode: int, start: int, tick: Tick) -> Iterator[Window]:
        """The scores of one window."""
        truth = self.model.recorded(clip)
        for row, footage in self.footages(clip, truth, scene.static, tick):
            yield Window(row, episode, start, score(footage, truth, scene))

"""What is compared: where depth travels, and how the noise of video and actions is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One row of the table. The other settings are those of the configuration file."""

    name: str
    depth: str
    noise_law: str
    together: bool = False  # actions take as many denoising steps as the video: one clock for both

    def policy(self, video_steps: int, action_steps: int) -> dict[str, str | int]:
        """Settings of the policy, in training and when it acts."""
        return {
            "depth": self.depth,
            "noise_law": self.noise_law,
            "video_steps": video_steps,
            "action_steps": video_steps if self.together else action_steps,
        }


FULL = Variant("interleaved", "interleaved", "ans")  # the paper's method: in both tables

DEPTH = {
    "none": Variant("none", "none", "ans"),
    "sequence": Variant("sequence", "sequence", "ans"),
    "channel": Variant("channel", "channel", "ans"),
    "interleaved": FULL,
}
NOISE = {
    "synchronous": Variant("synchronous", "interleaved", "synchronous", together=True),
    "decoupled": Variant("decoupled", "interleaved", "decoupled"),
    "ANS": FULL,
}
# In a table, a variant is called by what sets it apart there.
TABLES = {"where depth travels (noise: ans)": DEPTH, "noise of video and actions (depth: interleaved)": NOISE}
VARIANTS = {variant.name: variant for variant in (*DEPTH.values(), *NOISE.values())}


@dataclass(frozen=True)
class Run:
    """One training with one seed, and what is measured of it."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}-{self.seed}"


def all_runs(names: list[str], seeds: int) -> list[Run]:
    """The first seed of every variant comes first: an ablation that is stopped has whole rows."""
    return [Run(VARIANTS[name], seed) for seed in range(seeds) for name in names]

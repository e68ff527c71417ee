"""What a user can set about acting on a robot: chunks in real time, imagining on the side, safety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass
class RobotSettings:
    """A part of XWAMConfig."""

    # `lerobot-rollout --inference.type=rtc` puts its RTCConfig here: of a run, not of a checkpoint.
    rtc_config: ClassVar[Any] = None

    # --- Real-time chunking ---
    # "prefix": actions that will have been executed are given, those after them lean on the last chunk;
    # "guided": LeRobot's own guidance of the velocities
    rtc_method: Literal["prefix", "guided"] = "prefix"
    # Training every second sample with its first 1..N actions given, N the largest delay to expect; 0: none
    rtc_training_delay: int = 0

    # --- Imagining while the robot moves ---
    # "background": after every chunk, until the next observation; "every_n": after every n-th
    imagine: Literal["off", "background", "every_n"] = "off"
    imagine_every_n: int = 4

    # --- Safety ---
    # "limits": no action leaves the range of the dataset or moves faster than anything in it; "finite": only
    # NaN and infinity are kept from the robot; "auto": "limits" for native actions, "finite" for end-effector
    # deltas. Saved with the postprocessor: what a checkpoint was trained with, it keeps.
    action_guard: Literal["auto", "limits", "finite", "off"] = "auto"
    # How often a camera may repeat its image, to the bit, from chunk to chunk before it counts as frozen; 0:
    # do not look. Simulators repeat images, cameras do not.
    stale_after: int = 0
    on_stale: Literal["log", "hold", "stop"] = "hold"
    deadline_s: float = 0.0  # a chunk that takes longer is counted and logged; 0: do not look
    # When it does not come as imagined: "log" says so; "slow": half speed until a whole chunk went as
    # imagined; "replan": a new chunk from here; "stop": hold until the next episode (acting/supervisor.py).
    # The state is always compared, pictures where they are imagined (imagine="background"). Needs
    # `lerobot-xwam calibrate-monitor`.
    monitor: Literal["off", "log", "slow", "replan", "stop"] = "off"
    monitor_false_alarms: float = 0.01  # share of comparisons on normal episodes; about 4 a second at 15 Hz
    monitor_file: str = ""  # the calibration; "": monitor.safetensors beside the checkpoint
    monitor_log: str = "outputs/monitor"  # folder of the record, a file per episode; "": none

    def refuse_bad_robot_settings(self, chunk_size: int, loss_spectrum: float) -> None:
        for name, allowed in {
            "rtc_method": ("prefix", "guided"),
            "imagine": ("off", "background", "every_n"),
            "action_guard": ("auto", "limits", "finite", "off"),
            "on_stale": ("log", "hold", "stop"),
            "monitor": ("off", "log", "slow", "replan", "stop"),
        }.items():
            if (value := vars(self)[name]) not in allowed:
                raise ValueError(f"{name}={value!r} is unknown: use one of {', '.join(map(repr, allowed))}")
        if not 0 <= self.rtc_training_delay < chunk_size:
            raise ValueError(
                f"rtc_training_delay={self.rtc_training_delay} must lie between 0 (off) and {chunk_size - 1}:"
                f" of a chunk of {chunk_size} actions one must be left to learn"
            )
        if self.rtc_training_delay and loss_spectrum:
            raise ValueError(
                f"rtc_training_delay={self.rtc_training_delay} with loss_spectrum={loss_spectrum}: given "
                "actions earn no loss, but a spectrum cannot leave them out. Set one of the two to 0"
            )
        if self.imagine_every_n < 1:
            raise ValueError(f"imagine_every_n={self.imagine_every_n}: use 1 (every chunk) or more")
        if self.stale_after < 0 or self.deadline_s < 0:
            raise ValueError(
                f"stale_after={self.stale_after}, deadline_s={self.deadline_s}: use 0 (off) or more"
            )

        if not 0 < self.monitor_false_alarms < 1:
            raise ValueError(
                f"monitor_false_alarms={self.monitor_false_alarms} is a share of the comparisons: "
                "use 0.01, or another value between 0 and 1"
            )

    def imagines_after(self, chunk: int) -> bool:
        """Whether the chunk with this number (from 0, of an episode) is imagined to its end."""
        if self.imagine == "every_n":
            return chunk % self.imagine_every_n == 0
        return self.imagine == "background"

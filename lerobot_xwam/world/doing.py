"""Which actions a future is imagined with: the policy's own, recorded, opposite, or from a file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .footage import Floats, Footage
from .moments import Moment
from .world_model import Tick

OWN, RECORDED, OPPOSITE = "own", "recorded", "opposite"


def chosen_actions(choice: str, moment: Moment, seed: int) -> Floats | None:
    """K A in robot units; None: the policy's own."""
    if choice == OWN:
        return None
    if choice == RECORDED:
        return _recorded(moment, choice)
    if choice == OPPOSITE:
        return _opposite(moment, seed)
    actions = read_actions(Path(choice))
    moment.model.scaled_actions(actions)  # its own check, before anything is imagined
    return actions


def imagine_all(
    moment: Moment, chosen: Mapping[str, Floats | None], seeds: Sequence[int], tick: Tick
) -> list[Footage]:
    """Every choice with every seed, each under the name by which it is shown."""
    model, futures = moment.model, []
    for choice, actions in chosen.items():
        if actions is None:
            films = model.imagine(moment.observation, seeds, tick)
        else:
            films = model.imagine_given(moment.observation, actions, seeds, tick=tick)
        title = (
            f"{choice} actions" if choice in (OWN, RECORDED, OPPOSITE) else f"actions of {Path(choice).name}"
        )
        for seed, film in zip(seeds, films, strict=True):
            futures.append(replace(film, name=title if len(seeds) == 1 else f"{title}, seed {seed}"))
    return futures


def compared(moment: Moment, futures: Sequence[Footage], truth: Footage | None) -> frozenset[str]:
    """Futures that the truth can judge: those of the actions that led to it, and, as in the paper's joint
    prediction over recordings, those of the policy's own.
    """
    if truth is None:
        return frozenset()
    if moment.live is not None:  # the first one's actions were done
        return frozenset(each.name for each in futures if _alike(each.actions, futures[0].actions))
    own = f"{OWN} actions"
    return frozenset(
        each.name for each in futures if each.name.startswith(own) or _alike(each.actions, truth.actions)
    )


def _alike(actions: Floats, others: Floats) -> bool:
    return actions.shape == others.shape and np.allclose(actions, others, atol=1e-5)


def read_actions(path: Path) -> Floats:
    """An .npy of K A, or an .npz (such as imagined.npz) with it under `actions`."""
    if path.suffix not in {".npy", ".npz"}:
        raise ValueError(
            f"--actions {path}: wanted {OWN}, {RECORDED}, {OPPOSITE}, or a file that ends in .npy or .npz"
        )
    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.lib.npyio.NpzFile):
            with held:
                if "actions" not in held:
                    raise ValueError(f"no 'actions' in it, but {sorted(held)}")
                values = held["actions"]
        else:
            values = held
        actions = np.asarray(values, dtype=np.float32)
    except (ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"--actions {path}: cannot be read as an array of numbers ({error})") from error
    if actions.ndim == 3 and len(actions) == 1:
        actions = actions[0]
    if actions.ndim != 2:
        raise ValueError(
            f"--actions {path}: shape {actions.shape}, wanted (steps, numbers) of one future; save "
            "the one that you mean"
        )
    return actions


def _recorded(moment: Moment, choice: str) -> Floats:
    if moment.recorded is None:
        raise ValueError(f"--actions {choice}: only a dataset has recorded actions; give a file instead")
    model, truth = moment.model, moment.recorded.truth
    if truth.frames < model.policy.config.num_frames:
        raise ValueError(
            f"--actions {choice}: the recording ends {truth.times[-1]:.2f} s after this frame, before the "
            "policy's horizon; choose an earlier --frame"
        )
    return truth.actions


def _opposite(moment: Moment, seed: int) -> Floats:
    """Of what was recorded, or else of what the policy would do."""
    interface = moment.model.policy.config.interface
    if interface != "ee":
        raise ValueError(
            f"--actions {OPPOSITE}: actions of interface {interface!r} may be targets, which have no "
            "opposite; only 'ee' actions are motions. Save edited actions as .npy and give that file"
        )
    own = moment.recorded is None
    return -(moment.model.act(moment.observation, seed) if own else _recorded(moment, OPPOSITE))

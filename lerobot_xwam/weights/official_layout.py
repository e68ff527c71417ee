"""A released experiment on disk: where its weights and its configuration lie, and what the weights are.

EXPERIMENT/config.yaml
EXPERIMENT/checkpoints/last.ckpt/checkpoint/mp_rank_00_model_states.pt
    module:  model.* (the network)   vae.mean, vae.std, vae.model.*   text_encoder.model.*
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .account import listed
from .conversion import refuse_strange_dtypes, refuse_unexplained
from .encoder_keys import Table
from .keys import from_official
from .pickle_index import read_checkpoint
from .stored import Stored

STATES = "mp_rank_00_model_states.pt"
PLACE = f"checkpoints/last.ckpt/checkpoint/{STATES}"
MODEL, VAE, VAE_NORMS, TEXT = "model.", "vae.model.", ("vae.mean", "vae.std"), "text_encoder.model."


@dataclass(frozen=True)
class Official:
    """The tensors of a released file."""

    path: Path
    network: dict[str, Stored]  # by our names
    theirs: dict[str, str]  # our name -> the release's, without `model.`
    frozen: dict[str, Stored]  # VAE and text encoder, by the release's full names
    besides: dict[str, Any]  # what lies beside `module` in the file

    def vae(self) -> dict[str, Stored]:
        return {n.removeprefix(VAE): t for n, t in self.frozen.items() if n.startswith(VAE)}

    def text_encoder(self) -> dict[str, Stored]:
        return {n.removeprefix(TEXT): t for n, t in self.frozen.items() if n.startswith(TEXT)}


def find_states(source: Path) -> Path:
    """The weights of an experiment, of a `.ckpt` folder, or the file itself."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or folder")
    for place in (STATES, f"checkpoint/{STATES}", f"last.ckpt/checkpoint/{STATES}", PLACE):
        if (source / place).is_file():
            return source / place
    found = sorted(source.glob(f"**/{STATES}"))
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} in it: {listed(map(str, found))}. Name one" if found else "none in it"
    raise FileNotFoundError(
        f"{source}: looked for {STATES}, {problem}. A released experiment has {PLACE}; the file itself "
        "can be given, too"
    )


def find_config(states: Path, given: Path | None) -> Path | None:
    """The experiment's config.yaml: the one named, or the nearest one above the weights."""
    if given is not None:
        if not given.is_file():
            raise FileNotFoundError(f"--config {given}: no such file")
        return given
    parents = states.absolute().parents[: len(Path(PLACE).parts)]
    return next((folder / "config.yaml" for folder in parents if (folder / "config.yaml").is_file()), None)


def read_official(path: Path) -> Official:
    """The file's table, every name of it explained."""
    tree = read_checkpoint(path)
    module = tree.get("module") if isinstance(tree, dict) else None
    if not isinstance(module, dict) or not all(isinstance(value, Stored) for value in module.values()):
        keys = listed(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(
            f"{path}: has no dict of tensors under 'module', as DeepSpeed writes it (it has {keys})"
        )
    refuse_strange_dtypes(path, module)
    if module and not any(stored.nbytes for stored in module.values()):
        raise ValueError(
            f"{path}: all its tensors are empty: ZeRO stage 3 left them partitioned over other files. "
            "Join them with DeepSpeed's zero_to_fp32.py first"
        )
    network, theirs, frozen, unknown = {}, {}, {}, []
    for name, stored in module.items():
        if name.startswith(MODEL):
            try:
                ours = from_official(name.removeprefix(MODEL))
            except KeyError:
                unknown.append(name)
                continue
            network[ours], theirs[ours] = stored, name
        elif name in VAE_NORMS or name.startswith((VAE, TEXT)):
            frozen[name] = stored
        else:
            unknown.append(name)
    refuse_unexplained(path, unknown)
    return Official(path, network, theirs, frozen, {k: v for k, v in tree.items() if k != "module"})


def strangers(names: Iterable[str], table: Table) -> list[str]:
    """Names whose stem (all but the last part) an encoder's table does not know."""
    return [name for name in names if name.rpartition(".")[0] not in table]

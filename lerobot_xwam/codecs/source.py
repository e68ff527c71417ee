"""Where codecs come from: the package itself, a local folder, or the Hub. All have the layout of a diffusers
repo.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache

ASSETS = Path(__file__).parent.parent / "assets"
PACKAGED = {name: ASSETS / name for name in ("tiny", "small")}
PARTS = ("vae", "text_encoder", "tokenizer")
SMALL_FILES = {
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "tokenizer": "tokenizer/tokenizer_config.json",
}

logger = logging.getLogger(__name__)


def locate(source: str, parts: Sequence[str] = PARTS) -> tuple[str, bool]:
    """-> (folder or Hub id, is it local?). A local folder must hold these parts."""
    folder = PACKAGED[source] if source in PACKAGED else Path(source).expanduser()
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") != 1:
            raise FileNotFoundError(
                f"codecs {source!r}: no such folder. Give a folder with {', '.join(PARTS)} as in "
                "Wan-AI/Wan2.2-TI2V-5B-Diffusers, that Hub id itself, or 'tiny'"
            )
        return source, False
    if missing := [part for part in parts if not (folder / part).is_dir()]:
        raise FileNotFoundError(
            f"codecs {str(folder)!r}: {', '.join(missing)} not found in it. The layout is that of "
            "Wan-AI/Wan2.2-TI2V-5B-Diffusers (subfolders vae, text_encoder, tokenizer)"
        )
    return str(folder), True


def refuse_what_cannot_load(source: str, revision: str | None, parts: Sequence[str] = PARTS) -> None:
    """A folder must be there; offline, a Hub id must have been downloaded before."""
    path, local = locate(source, parts)
    if local or not constants.HF_HUB_OFFLINE:
        return
    cached = [try_to_load_from_cache(path, SMALL_FILES[part], revision=revision) for part in parts]
    if not all(isinstance(file, str) for file in cached):
        raise FileNotFoundError(
            f"codecs {path!r}: not in the Hugging Face cache, and HF_HUB_OFFLINE forbids to download it. Go "
            f"online once, or give a local copy with --policy.codecs=FOLDER (subfolders {', '.join(PARTS)})"
        )


def local_part(source: str, revision: str | None, part: str) -> Path | None:
    """The folder of one part on this machine; None: it was not downloaded yet."""
    path, local = locate(source)
    if local:
        return Path(path) / part
    known = try_to_load_from_cache(path, f"{part}/config.json", revision=revision)
    return Path(known).parent if isinstance(known, str) else None


def load_part(load: Callable[..., Any], source: str, revision: str | None, part: str, **kwargs: Any) -> Any:
    """Load one part; a download says so, and a failed one says what to do."""
    refuse_what_cannot_load(source, revision, parts=(part,))
    path, local = locate(source, parts=(part,))
    if not local:
        logger.info("X-WAM: loading %s of %s (downloaded once, then cached)", part, path)
    try:
        return load(path, subfolder=part, **({} if local else {"revision": revision}), **kwargs)
    except OSError as error:
        where = f"folder {path!r}" if local else f"Hub id {path!r}"
        raise OSError(
            f"codecs: {part} of {where} could not be loaded: {str(error).splitlines()[0]} "
            f"Give a complete copy with --policy.codecs=FOLDER (subfolders {', '.join(PARTS)})"
        ) from error

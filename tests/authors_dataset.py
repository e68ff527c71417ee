"""A small dataset in the authors' layout, made of the recorded episodes and drawn videos."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import av
import numpy as np

GOLDEN = Path(__file__).parent / "golden"
HEIGHT, WIDTH, FPS, MARGIN = 32, 48, 20, 2
Content = dict[str, Any]


def drawn(frames: int, seed: int, depth: bool) -> np.ndarray:
    """A ramp that moves, its brightness after the frame: no two frames are alike.  # T H W 3"""
    t = np.arange(frames)[:, None, None]
    ramp = np.broadcast_to(np.linspace(0, 1, WIDTH), (frames, HEIGHT, WIDTH))
    grey = 30 + 100 * ramp + (t * 2 + 7 * seed) % 90
    colours = grey[..., None] * (np.ones(3) if depth else np.array([1.0, 0.8, 0.5]))
    return colours.round().astype(np.uint8)


def write_video(path: Path, frames: np.ndarray, fps: int = FPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def episode(kind: str, index: int) -> Content:
    """episode_dual.json or episode_raw.json, moved a little, with videos of its own."""
    content = json.loads((GOLDEN / f"episode_{kind}.json").read_text())
    shift = 0.01 * index
    for group in ("proprios", "actions"):
        for key in content[group]:
            if key.endswith("_ee_pos"):
                content[group][key] = [[value + shift for value in row] for row in content[group][key]]
    for name, camera in content["observations"].items():
        for stream in ("rgb", "depth"):
            camera[f"{stream}_path"] = f"{stream}/{name}/{index:07d}.mp4"
        camera["fps"] = float(FPS)
    content["instructions"] = [f"pick up cup {index}", f"take cup {index}", ""]
    return content


def write_dataset(root: Path, count: int, kind: str = "dual", videos: bool = True) -> list[str]:
    names = [f"episodes/{index:04d}.json" for index in range(count)]
    for index, name in enumerate(names):
        content = episode(kind, index)
        write_json(root / name, content)
        for number, camera in enumerate(content["observations"].values()):
            for depth, stream in enumerate(("rgb", "depth")) if videos else ():
                frames = camera["start"] + content["num_frames"] + MARGIN
                write_video(root / camera[f"{stream}_path"], drawn(frames, index + number, bool(depth)))
    write_json(root / "metadata.json", {"name": "cups", "episodes": [{"path": name} for name in names]})
    return names


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit(root: Path, name: str, change: Any) -> None:
    content = json.loads((root / name).read_text())
    change(content)
    write_json(root / name, copy.deepcopy(content))

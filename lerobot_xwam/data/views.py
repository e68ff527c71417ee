"""Camera frames on their way in: resize, crop, colour. RGB bilinear, depth nearest-exact, no antialiasing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Augmentation:
    """A random crop per view, one colour change shared by all views of a sample."""

    crop_ratio: float = 0.95
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.05


def resize(frames: Tensor, size: tuple[int, int], *, depth: bool = False) -> Tensor:
    """frames: ... C H W -> ... C height width"""
    if tuple(frames.shape[-2:]) == size:
        return frames
    lead = frames.shape[:-3]
    flat = frames.reshape(-1, *frames.shape[-3:])
    if depth:
        flat = F.interpolate(flat, size=size, mode="nearest-exact")
    else:
        flat = F.interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=False)
    return flat.reshape(*lead, *flat.shape[1:])


def crop_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    return int(height * ratio), int(width * ratio)


def center_crop(frames: Tensor, ratio: float, *, depth: bool = False) -> Tensor:
    """Cut the middle and resize back, where training crops at random. frames: ... C H W"""
    if ratio == 1:
        return frames
    height, width = frames.shape[-2:]
    rows, columns = crop_size(height, width, ratio)
    top, left = (height - rows) // 2, (width - columns) // 2
    return resize(frames[..., top : top + rows, left : left + columns], (height, width), depth=depth)


def augment(
    rgb: Tensor,  # B V F 3 H W in [-1, 1]
    depth: Tensor | None,  # B V F C H W
    how: Augmentation,
    generators: list[torch.Generator],
) -> tuple[Tensor, Tensor | None]:
    """Random crops (one per view, the same for RGB and depth) and one colour change per sample."""
    _, views, _, _, height, width = rgb.shape
    windows = [[_random_window(height, width, how.crop_ratio, g) for _ in range(views)] for g in generators]
    rgb = torch.stack([_cut(sample, window) for sample, window in zip(rgb, windows, strict=True)])
    colours = zip((rgb + 1) / 2, generators, strict=True)
    rgb = torch.stack([jitter(sample, how, generator) for sample, generator in colours]) * 2 - 1
    if depth is None:
        return rgb, None
    cuts = [_cut(sample, window, depth=True) for sample, window in zip(depth, windows, strict=True)]
    return rgb, torch.stack(cuts)


def _random_window(height: int, width: int, ratio: float, generator: torch.Generator) -> Window:
    rows, columns = crop_size(height, width, ratio)
    top = int(torch.randint(height - rows + 1, (), generator=generator))
    left = int(torch.randint(width - columns + 1, (), generator=generator))
    return slice(top, top + rows), slice(left, left + columns)


def _cut(sample: Tensor, windows: list[Window], *, depth: bool = False) -> Tensor:
    """Cut each view's window and resize it back. sample: V F C H W"""
    size = (sample.shape[-2], sample.shape[-1])
    views = zip(sample, windows, strict=True)
    return torch.stack(
        [resize(view[..., rows, columns], size, depth=depth) for view, (rows, columns) in views]
    )


def jitter(rgb: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue in random order. rgb: ... 3 H W in [0, 1]"""

    def factor(spread: float, middle: float) -> float:
        return middle + spread * (2 * float(torch.rand((), generator=generator)) - 1)

    changes = [
        (TF.adjust_brightness, factor(how.brightness, 1.0)),
        (TF.adjust_contrast, factor(how.contrast, 1.0)),
        (TF.adjust_saturation, factor(how.saturation, 1.0)),
        (TF.adjust_hue, factor(how.hue, 0.0)),
    ]
    for i in torch.randperm(len(changes), generator=generator).tolist():
        change, value = changes[i]
        rgb = change(rgb, value)
    return rgb

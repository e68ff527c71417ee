"""LPIPS from a local file of AlexNet weights. Nothing is ever downloaded."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch

from .metrics import Perceptual

WANTED = "features.0.weight"


def load_lpips(weights: Path) -> Perceptual:
    """LPIPS (AlexNet) with torchvision's ImageNet weights from a .pth or .safetensors file.

    The small linear heads come with torchmetrics. Without a file there is no LPIPS: random weights would
    give numbers that compare with nothing.
    """
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet

    if not weights.is_file():
        raise FileNotFoundError(
            f"--lpips-weights {weights}: no such file. It is torchvision's AlexNet (alexnet-owt-*.pth), "
            "which this command does not download; leave the option away to go without LPIPS"
        )
    try:
        if weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            held = load_file(weights)
        else:
            held = torch.load(weights, map_location="cpu", weights_only=True)
        backbone = alexnet(weights=None)
        backbone.load_state_dict({k: v for k, v in held.items() if k.startswith("features.")}, strict=False)
        if WANTED not in held:
            raise ValueError(f"no {WANTED!r} in it")
    except Exception as error:  # unpickling refuses in many ways; all mean the same to the user
        reason = str(error).splitlines()[0]
        raise ValueError(f"--lpips-weights {weights}: not torchvision's AlexNet ({reason})") from error
    network = _LPIPS(pretrained=False, net="alex", pnet_rand=True)
    with torch.no_grad():
        ours = dict(network.net.named_parameters())  # slice1.0.weight, ...: the same layers, regrouped
        for name, tensor in backbone.features.named_parameters():
            (match,) = (key for key in ours if key.split(".", 1)[1] == name)
            ours[match].copy_(tensor)
    heads = files("torchmetrics.functional.image") / "lpips_models" / "alex.pth"
    linear = torch.load(str(heads), map_location="cpu", weights_only=True)
    missing = network.load_state_dict(linear, strict=False).unexpected_keys
    assert not missing, f"torchmetrics' LPIPS heads do not fit: {missing}"
    network.eval().requires_grad_(False)
    return lambda a, b: network(a, b)

"""dtype="auto": bfloat16 only where the hardware has it; who asks for it elsewhere is told what it costs."""

from __future__ import annotations

import logging

import pytest
import torch

from lerobot_xwam import XWAMConfig
from lerobot_xwam.fast_dtype import fast_dtype, warn_of_emulation


@pytest.mark.parametrize(
    ("processor", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_f": True}, "float32"),  # wide, but without bfloat16
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64"}, "float32"),
    ],
)
def test_auto_follows_the_processor(
    processor: dict[str, object], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    assert fast_dtype("cpu") == dtype
    assert XWAMConfig(preset="tiny", device="cpu", dtype="auto").dtype == dtype


def test_an_older_torch_and_another_device_get_what_is_right_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert fast_dtype("cpu") == fast_dtype("mps") == "float32"


def test_emulation_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    warn_of_emulation.cache_clear()
    with caplog.at_level(logging.WARNING, logger="lerobot_xwam"):
        warn_of_emulation("cpu")
        warn_of_emulation("cpu")
    assert sum("ten times slower" in record.message for record in caplog.records) == 1

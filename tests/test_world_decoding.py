"""Streamed decoding equals decoding at once, piece by piece, and its memory is that of one view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.codecs.video import VideoCodec
from lerobot_xwam.model.types import Latents, Rollout
from lerobot_xwam.world.decoding import decode_in_pieces, frame_count, stream

DEPTH = DepthCodec(0.1, 10.0)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    return VideoCodec.load("tiny", None, torch.device("cpu"), torch.float32)


def rollout(codec: VideoCodec, frames: int, views: int, size: tuple[int, int] = (4, 6)) -> Rollout:
    video, depth = torch.randn(2, 1, codec.channels, frames, views, *size)
    return Rollout(Latents(video, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), depth)


def test_streams_equal_the_whole(codec: VideoCodec) -> None:
    latents = torch.randn(1, codec.channels, 3, 1, 4, 6)
    whole = codec.decode(latents)[0, 0]  # F 3 H W
    pieces = list(stream(codec, latents[:, :, :, 0]))
    assert [piece.shape[1] for piece in pieces] == [1, 4, 4]
    assert torch.allclose(torch.cat(pieces, dim=1)[0], whole, atol=1e-6)


def test_two_streams_do_not_disturb_each_other(codec: VideoCodec) -> None:
    """RGB and depth of one view are decoded in turn, and somebody may use the VAE in between."""
    latents = torch.randn(2, codec.channels, 3, 4, 6)
    alone = [torch.cat(list(stream(codec, each[None])), dim=1) for each in latents]
    one, other = stream(codec, latents[:1]), stream(codec, latents[1:])
    together: list[list[torch.Tensor]] = [[], []]
    for _ in range(3):
        together[0].append(next(one))
        codec.decode(torch.randn(1, codec.channels, 2, 1, 4, 6))
        together[1].append(next(other))
    for wanted, got in zip(alone, together, strict=True):
        assert torch.equal(torch.cat(got, dim=1), wanted)


def test_pieces_are_metric_and_complete(codec: VideoCodec) -> None:
    imagined = rollout(codec, frames=3, views=2)
    assert imagined.depth is not None
    pieces = list(decode_in_pieces(imagined, codec, DEPTH))
    assert [(piece.view, piece.start) for piece in pieces] == [(v, s) for v in (0, 1) for s in (0, 1, 5)]
    code = codec.decode(imagined.depth)[0].mean(dim=2)  # V F H W
    by_view: list[list[np.ndarray]] = [[], []]
    for piece in pieces:
        assert piece.metres is not None
        by_view[piece.view].append(piece.metres)
    metres = np.stack([np.concatenate(each) for each in by_view])
    np.testing.assert_allclose(metres, DEPTH.decode(code).numpy(), rtol=1e-4)
    assert metres.shape[1] == frame_count(3) == 9


def test_frames_come_as_they_are_ready(codec: VideoCodec) -> None:
    """The first frame is there after one of the decoder's six calls."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = codec.vae.decoder.register_forward_pre_hook(count)
    try:
        pieces = decode_in_pieces(Rollout(rollout(codec, 3, 2).latents, None), codec, DEPTH)
        first = next(pieces)
        assert calls == 1 and len(first.rgb) == 1 and first.metres is None
        assert len(list(pieces)) == 5 and calls == 6
    finally:
        handle.remove()


def peak_tensors(codec: VideoCodec, imagined: Rollout) -> int:
    """The most bytes of tensors that were alive at once while all pieces were decoded and thrown away."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for piece in decode_in_pieces(imagined, codec, DEPTH):
            del piece
    alive, peak = 0, 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


def test_memory_does_not_grow_with_views_and_frames(codec: VideoCodec) -> None:
    small = peak_tensors(codec, rollout(codec, frames=3, views=1))
    large = peak_tensors(codec, rollout(codec, frames=9, views=4))
    assert small > 100_000  # it measures something
    assert large < 1.1 * small, f"{small} bytes for 1 view of 9 frames, {large} for 4 views of 33"


def test_one_sample_at_a_time(codec: VideoCodec) -> None:
    latents = Latents(torch.randn(2, codec.channels, 2, 1, 4, 6), torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))
    with pytest.raises(ValueError, match="2 samples; decode one at a time"):
        next(decode_in_pieces(Rollout(latents, None), codec, DEPTH))

"""Imagining while the robot moves: actions leave first, the rest of the video is denoised in a thread.

One imagination at a time, one thread for each, which ends with it. `stop` ends it and returns as soon as the
network is free: after the call that is under way, never after a whole imagination. Nobody else uses the
network meanwhile. An exception in here is logged once and never reaches the robot.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event, Lock, Thread, current_thread
from typing import Any

import torch
from torch import Tensor

from ..imagination import Imagination
from ..model.types import Denoiser, Draft, Prediction, Rollout

END_OF_PROGRAM_S = 5.0  # how long the end of the program waits for a network call

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imagined:
    """What became of one chunk's imagination."""

    chunk: int  # which chunk of the episode, from 0
    rollout: Rollout  # its actions are the chunk that was executed


Deliver = Callable[[Imagined], None]


class _Stopped(Exception):
    """Raised between two network calls: nobody waits for this imagination any more."""


@dataclass
class _Job:
    stopping: Event = field(default_factory=Event)
    network_is_free: Event = field(default_factory=Event)
    telling: bool = False
    thread: Thread | None = None

    def politely(self, denoise: Denoiser, device: torch.device) -> Denoiser:
        """Stops between calls. Every call is waited for: a GPU would queue up many that nobody could stop."""

        def call(*args: Any) -> Prediction:
            if self.stopping.is_set():
                raise _Stopped
            said = denoise(*args)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
            return said

        return call


class Background:
    """Finishes imaginations, one at a time."""

    def __init__(self) -> None:
        self.finished = self.stopped = self.failed = self.skipped = 0
        self._lock = Lock()
        self._job: _Job | None = None
        self._jobs: list[_Job] = []  # whose threads may still be alive: for the end of the program
        self._episode = 0
        self._told = False  # of a failure
        self._stream: torch.cuda.Stream | None = None  # one for all: each keeps memory of its own
        weakref.finalize(self, _end, self._jobs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()  # a copy of the policy has a background of its own

    @property
    def is_busy(self) -> bool:
        """Whether there is a thread."""
        job = self._job
        return job is not None and job.thread is not None and job.thread.is_alive()

    def stop(self) -> int:
        """Free the network: wait for the call under way, drop the rest. -> the episode, for `start`"""
        with self._lock:
            job = self._job
            if job is not None:
                job.stopping.set()
        if job is not None and job.thread is not current_thread():
            job.network_is_free.wait()
        return self._episode

    def new_episode(self) -> None:
        """Nothing of the last episode is delivered, or started, any more."""
        with self._lock:
            self._episode += 1
            self._told = False
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the running imagination is done and delivered. -> whether it is"""
        job = self._job
        if job is None or job.thread is None:
            return True
        job.thread.join(timeout)
        return not job.thread.is_alive()

    def start(
        self,
        imagination: Imagination,
        draft: Draft,
        chunk: int,
        episode: int,
        keep: Deliver,
        tell: Deliver | None = None,
    ) -> bool:
        """Finish this draft in a thread, `keep` the result (quickly) and `tell` it (as long as that takes).

        -> whether it was begun: not if its episode is over, or if somebody is still being told of another.
        """
        device = draft.actions.device
        acting = None
        if device.type == "cuda":
            acting = torch.cuda.current_stream(device)
            acting.synchronize()  # the actions are there; what follows cannot stand in their way
        with self._lock:
            if episode != self._episode:
                return False
            if self._job is not None and self._job.telling:
                self.skipped += 1
                return False
            job = _Job()
            job.thread = Thread(
                target=self._run,
                args=(job, imagination, draft, chunk, episode, keep, tell, acting),
                name="xwam-imagines",
                daemon=True,
            )
            try:
                job.thread.start()
            except RuntimeError:  # the system has no thread to give
                self._failed(chunk)
                return False
            self._job, self._jobs[:] = job, [job]
        return True

    def _run(
        self,
        job: _Job,
        imagination: Imagination,
        draft: Draft,
        chunk: int,
        episode: int,
        keep: Deliver,
        tell: Deliver | None,
        acting: Any,
    ) -> None:
        try:
            device = draft.actions.device
            patient = replace(imagination, denoise=job.politely(imagination.denoise, device))
            try:
                with self._own_stream(device):
                    rollout = patient.finish(draft)
                    _will_be_read_on(acting, rollout)
            finally:
                job.network_is_free.set()
            imagined = Imagined(chunk, rollout)
            with self._lock:
                if episode != self._episode or job is not self._job:
                    raise _Stopped  # done, but too late
                keep(imagined)
                self.finished += 1
                job.telling = tell is not None
            if tell is not None:
                tell(imagined)
        except _Stopped:
            self.stopped += 1
        except Exception:
            self._failed(chunk)
        finally:
            job.telling = False
            job.network_is_free.set()

    @contextmanager
    def _own_stream(self, device: torch.device) -> Iterator[None]:
        """On a GPU the robot's work must not queue up behind an imagination's."""
        if device.type != "cuda":
            yield
            return
        if self._stream is None or self._stream.device != device:
            self._stream = torch.cuda.Stream(device)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._stream.synchronize()  # also when stopped: the memory that it used is free only now

    def _failed(self, chunk: int) -> None:
        self.failed += 1
        if not self._told:
            self._told = True
            logger.exception(
                "X-WAM: imagining chunk %d failed; the robot goes on without it (said once an episode)", chunk
            )


def _end(jobs: list[_Job]) -> None:
    """At the end of the program, or of the policy: threads must not outlive the libraries they are in."""
    for job in jobs:
        job.stopping.set()
        if job.thread is not None and job.thread is not current_thread():
            job.thread.join(END_OF_PROGRAM_S)


def _will_be_read_on(stream: Any, rollout: Rollout) -> None:
    """Results outlive the stream that made them: their memory must not be used again before they are read."""
    if stream is None:
        return

    def record(tensor: Tensor) -> Tensor:
        tensor.record_stream(stream)
        return tensor

    rollout.latents.map(record)
    if rollout.depth is not None:
        record(rollout.depth)

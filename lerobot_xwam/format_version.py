"""The version of a saved configuration: one that a newer package wrote is refused by saying so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import draccus
from draccus.utils import DecodingError


class FormatVersion(int):
    """Of a saved configuration: read before our other fields, so that a newer file is called newer."""

    def problem(self) -> str | None:
        if self <= FORMAT_VERSION:
            return None
        return (
            f"format_version {self}: this checkpoint was written by a newer lerobot_policy_xwam "
            f"(this one reads up to {FORMAT_VERSION}): pip install --upgrade lerobot_policy_xwam"
        )


FORMAT_VERSION = FormatVersion(1)


@draccus.decode.register(FormatVersion)
def _read_format_version(raw: Any, path: Sequence[str] = ()) -> FormatVersion:
    version = FormatVersion(raw)
    if problem := version.problem():
        raise DecodingError(path, problem)
    return version

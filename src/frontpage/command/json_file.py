"""Strict JSON: numbers unrounded, never NaN, secrets hidden, replaced in one step."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frontpage.command.disk_full import replacing
from frontpage.command.masking import hide_all
from frontpage.command.terminal import printable_json


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by strict JSON in one step; a number that is not finite becomes null, secrets are hidden."""
    with replacing(path) as partial:
        partial.write_text(strict_json(content), encoding="utf-8")


def strict_json(content: Any, indent: int | None = 1) -> str:
    """`content` as strict JSON, on one line with `indent` None; what is not finite is null, secrets are hidden."""
    return printable_json(json.dumps(_finite(hide_all(content)), indent=indent, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

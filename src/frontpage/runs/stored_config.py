"""The config that a run has stored: read without reaching outside of it, and found elsewhere where it is damaged."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frontpage.command.errors import BadValue, UserError
from frontpage.command.moved_targets import with_todays_targets
from frontpage.command.notices import notice
from frontpage.runs.checkpoint import open_checkpoint
from frontpage.runs.run import Run

IN_CHECKPOINT = "run_config"  # the same in each checkpoint of a run
NODES = "model data tokenizer optimizer scheduler trainer paths".split()  # no run's config has anything else there
DEEPEST = 50  # levels of a config
REFERENCE = re.compile(r"\$\{[\w.]*\}")  # to another key of the same config; all else in ${...} asks a resolver


def stored_config(run: Run) -> DictConfig:
    """The config of a run or of an export; what a crash has torn is taken from `run.json` or a checkpoint, and said.

    Raises UserError where it cannot be read anywhere, and for `${oc.env:...}` and the like in it: what a run has stored
    is resolved already, and must not read the environment of whoever opens it.
    """
    recorded = (run.record or {}).get("config")
    content, source = _read(run.config_file, recorded), run.config_file
    if content is None:
        content, source = _elsewhere(run, recorded)
        notice(f"{run.config_file} is damaged; the run's settings are those in {source}")
    check_plain(content, source)
    return OmegaConf.create(with_todays_targets(content))


def check_plain(node: Any, source: object, key: str = "") -> None:
    """Raise a UserError that names the key of a `${...}` which is no reference to another key of the config."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            check_plain(name, source, key or "its keys")
            check_plain(value, source, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            check_plain(value, source, f"{key}.{index}")
    elif isinstance(node, str) and "${" in REFERENCE.sub("", node):
        raise UserError(f"{key}={node}: in {source}; a stored config holds values, and reads nothing from elsewhere")


def _read(path: Path, recorded: Any) -> dict[str, Any] | None:
    """The content of a whole file; None for one that is cut off, empty, not text or no config of a run."""
    try:
        text = path.read_text(encoding="utf-8")
        # A text that was cut off seldom ends with a line; where it does, later keys are missing.
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False) if text.endswith("\n") else None
    except OSError as error:
        raise BadValue("run", path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException):  # the first of Unicode
        return None
    needed = set(recorded if isinstance(recorded, dict) else ())
    return content if _is_config(content) and needed <= content.keys() else None


def _is_config(content: Any) -> bool:
    """Whether something has the form of a run's config: a node as `model`, and nodes where else there must be some."""
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return False
    return all(isinstance(content.get(name, {}), dict) for name in NODES) and not _is_deeper(content, DEEPEST)


def _is_deeper(node: Any, levels: int) -> bool:
    """Whether lists and mappings lie in one another for more than so many levels."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels < 0 or any(_is_deeper(one, levels - 1) for one in inside if isinstance(one, dict | list))


def _elsewhere(run: Run, recorded: Any) -> tuple[dict[str, Any], Path]:
    """(config, its file) of `run.json`, or else of the last checkpoint that holds it; UserError without one."""
    if _is_config(recorded):
        return recorded, run.record_file
    for path in sorted(run.checkpoints.glob("*.ckpt"), reverse=True):
        try:
            config = open_checkpoint(path, "checkpoint").content.get(IN_CHECKPOINT)
        except UserError:
            continue
        if _is_config(config):
            return config, path
    raise BadValue("run", run.config_file, "damaged, and neither run.json nor a checkpoint holds the run's settings")

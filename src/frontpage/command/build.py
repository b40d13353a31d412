"""Config becomes code here: `_target_` nodes are instantiated, and what a constructor refuses names its config key."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import execution_whitelist, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from frontpage.command.allowed_targets import check_composed, check_stored
from frontpage.command.errors import UserError


def build(node: DictConfig, key: str, **late: Any) -> Any:
    """Instantiate a `_target_` node of a config composed here; `late` are the arguments known at run time only.

    A ValueError of the constructor, a wrong argument, a missing package and too little memory become a UserError that
    names `key`, the node's place in the config, and so does a target that no config file names.
    """
    return _instantiate(node, key, check_composed(node, key), late)


def build_stored(node: DictConfig, key: str, run: Path | str, trusted: Iterable[Path | str] = (), **late: Any) -> Any:
    """`build` for a node that `run` has stored: it names what configs/ offer at that place, unless it is `trusted`."""
    return _instantiate(node, key, check_stored(node, key, run, trusted), late)


def _instantiate(node: DictConfig, key: str, targets: tuple[str, ...], late: dict[str, Any]) -> Any:
    try:
        return instantiate(node, _execution_whitelist_=execution_whitelist(targets, reset=True), **late)
    except (ValueError, ImportError, MisconfigurationException) as error:
        raise UserError(at_key(key, node, error)) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise UserError(f"{key}: of the sizes given it does not fit into the memory of this machine") from error
        raise
    except TypeError as error:
        if "argument" in str(error):
            raise UserError(at_key(key, node, error)) from error
        raise


def build_all(nodes: DictConfig | None, key: str) -> list[Any]:
    """Instantiate every node of a group such as `callbacks`, in order; null entries are skipped."""
    return [build(node, f"{key}.{name}") for name, node in (nodes or {}).items() if node is not None]


def at_key(key: str, node: DictConfig, error: Exception) -> str:
    """What a constructor said, under the key it speaks of: `n_head=3: ...` becomes `model.n_head=3: ...`.

    A name that the node `key` lacks is looked for in the nodes below it. Of a dotted name the first part is.
    """
    text = str(error)
    named = re.match(r"(\w+)[\w.]*=", text)
    place = _place(OmegaConf.to_container(node, resolve=False), named[1]) if named else None
    return f"{key}.{place}{text[named.end(1) :]}" if place else f"{key}: {text}"


def _place(node: dict, name: str) -> str | None:
    """The dotted path of the key `name` in nested dictionaries, the outermost one."""
    if name in node:
        return name
    inside = ((key, _place(value, name)) for key, value in node.items() if isinstance(value, dict))
    return next((f"{key}.{place}" for key, place in inside if place), None)

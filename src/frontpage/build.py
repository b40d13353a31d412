"""Config becomes code here: `_target_` nodes are instantiated, and what a constructor refuses names its config key."""

from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from frontpage.cli import WHITELIST
from frontpage.errors import UserError


def build(node: DictConfig, key: str, **late: Any) -> Any:
    """Instantiate a `_target_` node; `late` are the arguments known at run time only.

    A ValueError or TypeError of the constructor becomes a UserError that names `key`, the node's place in the config.
    """
    try:
        return hydra.utils.instantiate(node, _execution_whitelist_=WHITELIST, **late)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, ValueError | TypeError):
            raise UserError(f"{key}: {cause}") from error
        raise


def build_all(nodes: DictConfig | None, key: str) -> list[Any]:
    """Instantiate every node of a group such as `callbacks`, in order; null entries are skipped."""
    return [build(node, f"{key}.{name}") for name, node in (nodes or {}).items() if node is not None]

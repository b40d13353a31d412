"""Where the classes that older runs name are today: what a stored config has as `_target_`, by prefix."""

from typing import Any

MOVED = {
    "frontpage.callbacks.": "frontpage.training.callbacks.",
    "frontpage.metrics_file.": "frontpage.training.loggers.metrics_file.",
    "frontpage.models.gpt.GPTModule": "frontpage.recipe.modules.GPTModule",
    "frontpage.models.modern.ModernModule": "frontpage.recipe.modules.GPTModule",
    "frontpage.models.unet_gpt.UNetGPTModule": "frontpage.recipe.modules.UNetGPTModule",
    "frontpage.optimizers.": "frontpage.recipe.optimizers.",
    "frontpage.schedules.": "frontpage.recipe.schedules.",
    "frontpage.tensorboard_run.": "frontpage.training.loggers.tensorboard_run.",
    "frontpage.tokenizer.": "frontpage.data.tokenizer.",
    "frontpage.trainer.": "frontpage.training.trainer.",
    "frontpage.wandb_run.": "frontpage.training.loggers.wandb_run.",
}
# What ModernModule settled by itself, and a preset of GPT says in its config (configs/model/modern.yaml).
SETTLED = {
    "frontpage.models.modern.ModernModule": {
        "activation": "swiglu",
        "norm": "rms",
        "norm_position": "pre",
        "bias": False,
        "tie_embeddings": True,
    }
}


def moved(target: str) -> str:
    """Today's name of a class or function."""
    old = next((prefix for prefix in MOVED if target.startswith(prefix)), "")
    return MOVED.get(old, "") + target.removeprefix(old)


def with_todays_targets(node: Any) -> Any:
    """A config as plain types, every `_target_` in it under today's name."""
    if isinstance(node, list):
        return [with_todays_targets(item) for item in node]
    if not isinstance(node, dict):
        return node
    inside = {key: with_todays_targets(value) for key, value in node.items()}
    target = node.get("_target_")
    if isinstance(target, str):
        inside["_target_"] = moved(target)
        inside = SETTLED.get(target, {}) | inside
    return inside

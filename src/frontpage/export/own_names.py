"""A run under our own names: `model.safetensors`, `config.yaml`, `tokenizer.json`; holds every architecture."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frontpage.command.build import build_stored
from frontpage.command.errors import BadValue
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.run import Run
from frontpage.runs.stored_config import stored_config

FILES = ("config.yaml", "tokenizer.json", "model.safetensors")


def write(folder: Path, config: DictConfig, module: LanguageModule) -> None:
    """Write the three files; a matrix that is both embedding and head is stored once."""
    from safetensors.torch import save

    OmegaConf.save(config, folder / "config.yaml")
    module.tokenizer.save(folder / "tokenizer.json")
    weights = {name: weight.contiguous() for name, weight in module.net.state_dict().items()}
    if module.net.head.weight is module.net.token_embedding.weight:
        del weights["head.weight"]
    (folder / "model.safetensors").write_bytes(save(weights, {"format": "pt"}))


def load_export(folder: Path | str, trusted: Iterable[Path | str] = ()) -> tuple[DictConfig, LanguageModule]:
    """(config, module) as `frontpage.runs.load_run` gives them, from a folder of `write`; UserError for another one."""
    from safetensors.torch import load_file

    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadValue("export", folder, f"not a folder of --format safetensors (it has no {' and no '.join(missing)})")
    config = stored_config(Run(folder))
    tokenizer = TitleTokenizer.load(folder / "tokenizer.json")
    module = build_stored(config.model, "model", folder, trusted, vocab_size=tokenizer.vocab_size)
    weights = load_file(folder / "model.safetensors")
    if module.net.head.weight is module.net.token_embedding.weight:
        weights["head.weight"] = weights["token_embedding.weight"]
    module.net.load_state_dict(weights)
    module.tokenizer = tokenizer
    return config, module.eval()

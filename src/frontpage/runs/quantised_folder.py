"""A folder with a model of integers: `model.safetensors` beside a run's `config.yaml` and `tokenizer.json`."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frontpage.command.allowed_targets import check_stored
from frontpage.command.build import build_stored
from frontpage.command.errors import BadValue, UserError
from frontpage.command.extras import installing
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.precision.fake_quantised import FakeQuantised
from frontpage.recipe.precision.integers import load_plain_state, plain_state
from frontpage.runs.provenance import load_tokenizer
from frontpage.runs.run import Run
from frontpage.runs.stored_config import stored_config
from frontpage.runs.stored_values import check_model

BITS = "bits"  # in the file's metadata: what tells it from one of --format safetensors


def write(folder: Path, config: DictConfig, module: LanguageModule, mode: FakeQuantised) -> None:
    """Write the three files of a module whose net `mode` has quantised."""
    from safetensors.torch import save

    OmegaConf.save(config, folder / "config.yaml")
    module.tokenizer.save(folder / "tokenizer.json")
    metadata = {"format": "pt", BITS: str(mode.bits)}
    (folder / "model.safetensors").write_bytes(save(plain_state(module.net, mode.bits), metadata))


def is_quantised(folder: Path) -> bool:
    """Whether a folder holds what `write` wrote."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return False
    if find_spec("safetensors") is None:
        raise UserError(f"{path}: reading it needs safetensors, {installing('export')}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return BITS in (file.metadata() or {})
    except SafetensorError:
        return False


def load_quantised(folder: Path, trusted: Iterable[Path | str] = ()) -> tuple[DictConfig, LanguageModule]:
    """(config, module) as `load_run` gives them, the linear layers of its trunk torchao's integers.

    Raises UserError where a file does not fit the others.
    """
    from safetensors.torch import load_file

    run = Run(folder)
    config, tokenizer = stored_config(run), load_tokenizer(run.tokenizer_file, "run")
    check_stored(config.model, "model", folder, trusted)
    check_model(config, run.config_file)
    if config.get("precision") is None:
        raise BadValue("run", run.config_file, "holds no precision, and the weights beside it are integers")
    mode = build_stored(config.precision, "precision", folder, trusted)
    module = build_stored(config.model, "model", folder, trusted, vocab_size=tokenizer.vocab_size)
    if not isinstance(mode, FakeQuantised):
        raise BadValue("run", run.config_file, f"has precision={mode.name}, and the weights beside it are integers")
    mode.quantise(module.net)
    try:
        load_plain_state(module.net, load_file(folder / "model.safetensors"), mode.bits)
    except ValueError as error:
        raise BadValue("run", folder / "model.safetensors", str(error)) from error
    module.tokenizer = tokenizer
    return config, module.eval()

"""Which tokenizer and which settings weights belong to: kept in each checkpoint, compared wherever weights are read.

Equal shapes are no sign of equal meaning: under another tokenizer, or with other heads, the same numbers are noise.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import get_object
from omegaconf import OmegaConf

from frontpage.command.errors import BadValue
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.runs.checkpoint import Checkpoint
from frontpage.runs.record import told
from frontpage.runs.stored_config import stored_config

KEY = "provenance"  # in a checkpoint
# Keys of a model that do not change what its weights compute: how they are trained and started, and how fast.
WITHOUT_EFFECT = set(
    "optimizer scheduler dropout attention_dropout init init_std scaled_residual_init scale_gate"
    " activation_checkpointing compile original_metric packed_metric partial_validation lr_scaling lr_scaling_rows"
    " weight_decay_of_others document_mask accuracy technique"
    " attention.backend attention.chunk"
    " addition.recurrence.start addition.layer_scale.start addition.embedding_norm.std"
    " addition.embedding_again.stream addition.embedding_again.embedding".split()
)
OF_TRAINING = {"stochastic_depth"}  # additions without weights, which only training has
OF_SHAPES = {"d_model", "n_layer", "d_ff", "widths"}  # the shapes of the weights tell them apart, however spelt


class Beginning(NamedTuple):
    """Where a run's first weights came from, None for drawn ones, and whether its tokenizer came with them."""

    started_from: str | None = None
    tokenizer_taken: bool = False


@dataclass(frozen=True)
class Provenance:
    """What is written into each checkpoint of a run."""

    tokenizer: str  # tokenizer.json
    tokenizer_settings: dict[str, Any]  # `config.tokenizer` that made it
    model: dict[str, Any]  # `config.model` without its optimizer and schedule
    titles: str  # fingerprint of the run's titles
    started_from: str | None  # the checkpoint of the first weights (`init_from`)
    tokenizer_taken: bool  # from there as well; else it was trained on the run's titles

    def as_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)


def provenance_of_run(
    settings: Mapping[str, Any], tokenizer: TitleTokenizer, titles: str, beginning: Beginning
) -> Provenance:
    """Of the weights that a run of `settings`, a resolved config as plain types, is about to train."""
    model = {name: value for name, value in settings["model"].items() if name not in ("optimizer", "scheduler")}
    return Provenance(tokenizer.to_json(), dict(settings["tokenizer"]), model, titles, *beginning)


def provenance_in(checkpoint: Checkpoint) -> Provenance | None:
    """What a checkpoint says of itself; None for one from before it was kept, UserError where it makes no sense."""
    found = checkpoint.content.get(KEY)
    if found is None:
        return None
    kinds = {"tokenizer": str, "tokenizer_settings": dict, "model": dict, "titles": str}
    kinds |= {"started_from": str | None, "tokenizer_taken": bool}
    if not isinstance(found, dict) or not all(isinstance(found.get(name, ...), kind) for name, kind in kinds.items()):
        raise checkpoint.mistake("not a checkpoint of this project (its provenance cannot be read)")
    try:
        TitleTokenizer.from_json(found["tokenizer"])
    except Exception as error:  # the library raises nothing more exact
        raise checkpoint.mistake(f"the tokenizer in it cannot be read ({error})") from error
    return Provenance(**{field.name: found[field.name] for field in fields(Provenance)})


def provenance_around(checkpoint: Checkpoint) -> Provenance | None:
    """What a checkpoint says of itself, or what the run's directory that it lies in says of it; else None."""
    found, run = provenance_in(checkpoint), checkpoint.run
    if found is not None or not run.can_be_reopened:
        return found
    config = OmegaConf.to_container(stored_config(run), resolve=False)
    if not isinstance(config, dict) or not config.get("model"):
        return None
    titles = told(run.record, "data", "fingerprint") or ""
    settings = {name: config.get(name) or {} for name in ("model", "tokenizer")}
    return provenance_of_run(settings, load_tokenizer(run.tokenizer_file, checkpoint.key), titles, Beginning())


def load_tokenizer(path: Path, key: str) -> TitleTokenizer:
    """A run's `tokenizer.json`; UserError for a damaged one."""
    try:
        return TitleTokenizer.load(path)
    except Exception as error:  # the library raises nothing more exact
        raise BadValue(key, path, f"not a readable tokenizer ({error})") from error


def written_tokenizer(titles: object, text: str) -> TitleTokenizer:
    """A tokenizer in place of one that is trained on `titles`: `text` is its tokenizer.json."""
    return TitleTokenizer.from_json(text)


def tokenizer_of(provenance: Provenance) -> Callable[[Any], TitleTokenizer]:
    """A factory as the data take it, which gives the tokenizer that weights belong to."""
    return partial(written_tokenizer, text=provenance.tokenizer)


def same_tokenizer(provenance: Provenance, tokenizer: TitleTokenizer) -> bool:
    """Whether a tokenizer is the one that weights belong to, whichever version of the library wrote it."""
    own = tokenizer.to_json()
    return provenance.tokenizer == own or TitleTokenizer.from_json(provenance.tokenizer).to_json() == own


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys of two `config.model` whose difference changes what the same weights compute: {key: (before, now)}.

    Of another class, that alone is told: `model` of an architecture, `model.attention` of an attention, and
    `model.addition.x` of an addition that one of them lacks.
    """
    old, new = _flat(before), _flat(now)
    found = {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}
    additions = {f"model.addition.{name}" for one in (before, now) for name in one.get("addition") or ()}
    for whole in ("model", "model.attention", *sorted(additions)):
        if whole in found:
            found = {key: pair for key, pair in found.items() if key == whole or not key.startswith(f"{whole}.")}
    return found


def said(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences in words: `model.n_head=4 (was 2)`."""
    return ", ".join(f"{key}={in_words(new)} (was {in_words(old)})" for key, (old, new) in found.items())


def in_words(value: Any) -> str:
    """A value as a message shows it; a node by its class."""
    if isinstance(value, dict):
        return str(value.get("_target_", "...")).rpartition(".")[2]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _flat(model: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `config.model` that its weights' function depends on, with their defaults, spelt in one way."""
    found: dict[str, Any] = {}
    chosen = {name: node for name, node in (model.get("addition") or {}).items() if name not in OF_TRAINING}
    additions = ((f"model.addition.{name}", node) for name, node in chosen.items())
    for key, node in (("model", model), ("model.attention", model.get("attention")), *additions):
        if not isinstance(node, Mapping):
            continue
        found[key] = str(node.get("_target_")).rpartition(".")[2]  # where a class lies is not what it computes
        values = {**defaults_of(str(node.get("_target_"))), **node}
        found |= {
            f"{key}.{name}": None if value == {} else value
            for name, value in values.items()
            if not (name.startswith("_") or name in ("attention", "addition") or name in OF_SHAPES)
            and f"{key}.{name}".removeprefix("model.") not in WITHOUT_EFFECT
        }
    if found.get("model.n_kv_head") == found.get("model.n_head"):
        found["model.n_kv_head"] = None
    if not found.get("model.addition"):  # none, however spelt
        found.pop("model.addition", None)
    if found.get("model.positions") != "rotary":
        found.pop("model.rotary_base", None)
        found.pop("model.rotary_share", None)
    return found


def defaults_of(target: str) -> dict[str, Any]:
    """What a class of ours takes for the keys that a config from an older version lacks."""
    if not target.startswith("frontpage."):  # a config that was stored is not asked to import anything else
        return {}
    try:
        function = get_object(target)
    except (ImportError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for one in (function, getattr(function, "architecture", None)):
        for base in reversed(getattr(one, "__mro__", ())):
            if "__init__" in vars(base) and base.__module__.startswith("frontpage."):
                parameters = inspect.signature(base.__init__).parameters.values()
                found |= {each.name: each.default for each in parameters if each.default is not each.empty}
    return found

"""The formats by name: one run becomes one new folder, and is compared with what it came from."""

import copy
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from frontpage.command.build import build
from frontpage.command.check import check_value
from frontpage.command.errors import BadValue, UserError
from frontpage.command.extras import installing
from frontpage.command.limits import Text
from frontpage.command.notices import notice
from frontpage.command.run_folder import check_name
from frontpage.export import gguf_file, hugging_face, own_names
from frontpage.export.card import model_card
from frontpage.export.folder import new_folder
from frontpage.export.layout import choose
from frontpage.export.traits import option_of, read_traits
from frontpage.export.verify import Agreement, verify_gguf, verify_hugging_face, verify_own_names, verify_quantised
from frontpage.recipe.language_module import LanguageModule
from frontpage.recipe.precision.fake_quantised import FakeQuantised
from frontpage.runs import quantised_folder
from frontpage.runs.checkpoint_file import update_of
from frontpage.runs.record import damage_of, read_record
from frontpage.runs.run import Run

FORMATS = ("hf", "safetensors", "gguf", "quantised")
NEEDED = {"hf": ("safetensors",), "safetensors": ("safetensors",), "gguf": ("gguf",)}  # packages
NEEDED["quantised"] = ("safetensors", "torchao")


class Written(NamedTuple):
    """What a format has to say of its export: the layout's name, rows of the model card, notices, the comparison."""

    layout: str
    facts: dict[str, Any]
    notices: list[str]
    verified: Agreement | None


def can_compare(form: str, asked: bool | None = None) -> bool:
    """Whether an export in `form` is compared with its run: as asked, by default where what that needs is installed.

    Raises UserError where the format, or a comparison that was asked for, needs a package that is not there.
    """
    needed = [name for name in NEEDED[form] if importlib.util.find_spec(name) is None]
    if needed:
        extra = "quantised" if "torchao" in needed else "export"
        raise UserError(f"--format {form} needs {' and '.join(needed)}: {installing(extra)}")
    can = form != "hf" or importlib.util.find_spec("transformers") is not None
    if asked and not can:
        raise UserError(f"--verify needs transformers: {installing('transformers')}")
    return can if asked is None else asked


def export(
    run: Path,
    config: DictConfig,
    module: LanguageModule,
    *,
    form: str,
    output: Path,
    checkpoint: str = "best",
    precision: str = "fp32",
    verify: bool = True,
    licence: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Write the model of a reopened run in the format `form` to the new folder `output`.

    `licence` and `language` are the model card's. Returns `format`, `layout`, `output`, `files` (bytes by name),
    `verified` (an Agreement or None) and `notices`. Raises UserError where the format cannot hold the model or the
    folder is in use, Disagreement where the export computes something else.
    """
    what = f"its {type(module).__name__} is of other tasks than titles; a language model of titles can be exported"
    if not isinstance(module, LanguageModule):
        raise BadValue("run", run, what)
    check_value("name", config.get("name"), Text)  # a file is named by it, and it is the word of whoever made the run
    check_name(config)
    writers = {"hf": _hugging_face, "safetensors": _own_names, "gguf": _gguf, "quantised": _quantised}
    record = _record(run)
    record["metrics"] = _metrics_of(record, Run(run), checkpoint)
    with new_folder(output) as folder:
        written, net = writers[form](folder, config, module, precision, verify), module.net
        facts = {"layers": len(net.blocks), "width": net.widths[0], "vocabulary": net.vocab_size} | written.facts
        facts["length"] = net.block_size
        said = {"facts": facts, "licence": licence, "language": language}
        card = model_card(record, form=form, architecture=written.layout, checkpoint=checkpoint, **said)
        (folder / "README.md").write_text(card, encoding="utf-8")
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return {
        "format": form,
        "layout": written.layout,
        "output": str(output),
        "files": files,
        "verified": written.verified,
        "notices": written.notices,
    }


def _hugging_face(folder: Path, config: DictConfig, module: LanguageModule, precision: str, compare: bool) -> Written:
    traits = read_traits(config.model, module.net)
    layout = choose(traits, hugging_face.LAYOUTS, option_of(config.model.attention), "transformers")
    hugging_face.write(folder, module, traits, layout)
    repeated = layout.name == "gpt2" and traits.n_kv_head != traits.n_head
    notices = ["gpt2 has no grouped queries: keys and values were repeated, the file is larger than the model"]
    verified = verify_hugging_face(folder, module) if compare else None
    return Written(f"{layout.architecture} ({layout.name})", {}, notices * repeated, verified)


def _own_names(folder: Path, config: DictConfig, module: LanguageModule, precision: str, compare: bool) -> Written:
    own_names.write(folder, config, module)
    verified = verify_own_names(folder, module) if compare else None
    return Written(f"{type(module.net).__name__} ({type(module.net).__module__})", {}, [], verified)


def _gguf(folder: Path, config: DictConfig, module: LanguageModule, precision: str, compare: bool) -> Written:
    if "_target_" not in (config.get("tokenizer") or {}):
        raise UserError("tokenizer._target_: the run's config.yaml lacks it, and a gguf file says which kind it is")
    traits = read_traits(config.model, module.net)
    layout = choose(traits, gguf_file.LAYOUTS, option_of(config.model.attention), "llama.cpp")
    gguf_file.check_gguf(module.tokenizer, traits, precision, option_of(config.tokenizer))
    path = folder / f"{config.name}-{precision}.gguf"
    meant = gguf_file.write(path, module, traits, layout, precision, config.name)
    notices = ["llama.cpp puts no blank before a title: begin every prompt with one"]
    if traits.activation == "gelu":
        notices.append(
            "llama.cpp computes GELU by its tanh form, from a table in half precision: logits differ a little"
        )
    verified = verify_gguf(path, meant, precision) if compare else None
    return Written(f"{layout.name} in GGUF", {"precision": precision, "file": path.name}, notices, verified)


def _quantised(folder: Path, config: DictConfig, module: LanguageModule, precision: str, compare: bool) -> Written:
    """`module` has the weights that updates changed (`load_run(..., as_trained=True)`)."""
    mode, felt = quantising_mode(config), copy.deepcopy(module)
    mode.quantise(module.net)
    quantised_folder.write(folder, config, module, mode)
    group = "a row" if mode.group_size is None else f"{mode.group_size} weights"
    facts = {"weights": f"int{mode.bits}, a factor for each {group}; embedding, norms and head fp32"}
    mode.reopened(felt.net)
    verified = verify_quantised(folder, felt) if compare else None
    return Written(f"{type(module.net).__name__} in int{mode.bits}", facts, [], verified)


def quantising_mode(config: DictConfig) -> FakeQuantised:
    """The mode of a run that was trained for integers; UserError for any other run."""
    allowed = "of a run with precision=int8_qat or int4_qat, whose weights were trained for integers"
    mode = None if config.get("precision") is None else build(config.precision, "precision")
    if not isinstance(mode, FakeQuantised):
        raise BadValue("--format", "quantised", f"{allowed}; this one has precision={mode and mode.name or 'null'}")
    return mode


def _metrics_of(record: dict[str, Any], run: Run, checkpoint: str) -> dict[str, Any]:
    """The `metrics` of a record that were measured with the weights of a checkpoint: those of its own update."""
    place = {"best": run.best, "last": run.last}.get(checkpoint, Path(checkpoint))
    if place.resolve().parent != run.checkpoints.resolve():
        return {}  # those of the run are not those of a checkpoint from elsewhere
    update, found = update_of(place), record.get("metrics") or {}
    steps = record.get("steps") if record.get("status") == "finished" else None  # older records do not say more
    measured = {"best": (found.get("best") or {}).get("step"), "final": record.get("validated_at", steps)}
    return {name: found.get(name) for name, at in measured.items() if update is None or at == update}


def _record(run: Path) -> dict[str, Any]:
    """The run's record, empty where there is none; a notice where it is damaged."""
    record = read_record(run)
    if record is None and Run(run).record_file.exists():
        notice(f"{run}: {damage_of(run)}; the model card says nothing of the run")
    return record or {}

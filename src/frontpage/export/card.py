"""The model card: README.md of an export, with the metadata that the hub reads, filled from the run's record."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frontpage.command.terminal import printable
from frontpage.data.arithmetic.questions import OPERATIONS

UNKNOWN = "not recorded"
TEMPLATE = Path(__file__).with_name("card.md.jinja")
# What is always told, in this order; of all else that was measured, whatever has a standard error.
MEANING = {
    "val/nats_per_char": "nats a character, those of each text and 5 for its end",
    "val/coverage": "share of the tokens that were scored",
    "val/bits_per_byte": "bits a byte of UTF-8",
    "val/loss": "nats a token",
    "val/perplexity": "perplexity a token",
    "val/packed_nats_per_char": "nats a character with texts sharing a window",
}
OF_ANSWERS = {"val/nats_per_char": "nats a character of the answers", "val/coverage": "share of their tokens scored"}
ABOUT = {  # what a record counts: what the model has read
    "titles": "Hacker News titles",
    "invented titles": "titles that a grammar invents",
    "questions": "arithmetic modulo a number",
    "documents": "one text in several translations",
    "texts": "short texts",
}


def model_card(
    record: Mapping[str, Any],
    *,
    form: str,
    architecture: str,
    checkpoint: str,
    facts: Mapping[str, Any],
    licence: str | None = None,
    language: str | None = None,
) -> str:
    """README.md of an export in the format `form`.

    `record` is the run's run.json (empty where there is none), `checkpoint` what was asked for, `facts` what goes into
    the description of the model by name, and `file` and `length` of the example. `licence` is that of the weights
    (null: mit where the titles were invented for the project, else unknown), `language` a code, or some
    with commas between (null: en for titles).
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    record = _in_lines(record)
    config, data = record.get("config", {}), record.get("data") or {}
    name, corpus, source = config.get("name", "model"), config.get("data", {}), data.get("source", UNKNOWN)
    unit = next((one for one in ABOUT if f"train_{one}" in data), "texts")
    invented = corpus.get("_target_", "").endswith("SyntheticTitles") and not corpus.get("path")
    of_hub = corpus.get("repository") and not corpus.get("path")
    repository, _, revision = source.partition("@") if of_hub else (None, "", None)
    metrics = list(_metrics(record.get("metrics", {}), checkpoint))
    meaning = MEANING | (OF_ANSWERS if unit == "questions" else {})
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=repository or unit,
            dataset_name=f"validation {unit} of {Path(source).name}",  # of a file its name
            dataset_split="validation",
            dataset_revision=revision,
            metric_type=metric,
            metric_name=meaning.get(metric, metric),
            metric_value=value,
            metric_args=None if error is None else {"standard_error": error},
        )
        for metric, value, error in metrics
    ]
    tags = [] if unit != "titles" else ["titles"] if invented else ["hacker-news", "titles"]
    codes = [("en" if unit == "titles" else None)] if language is None else language.split(",")
    metadata = ModelCardData(
        language=codes if len(codes) > 1 else codes[0],
        license=licence or ("mit" if invented else "unknown"),
        library_name="transformers" if form == "hf" else None,
        pipeline_tag="text-generation",
        tags=[*tags, "frontpage"],
        datasets=repository and [repository],
        model_name=name,
        eval_results=results or None,
    )
    said = {"record": record, "data": data, "metrics": metrics, "meaning": meaning, "unknown": UNKNOWN}
    said |= {"prompt": _prompt(unit, corpus.get("operation")), "joined": corpus.get("join") == "day"}
    said |= {"name": name, "about": ABOUT["invented titles" if invented else unit], "unit": unit}
    said |= {"invented": invented, "licence": licence}
    said |= {"form": form, "architecture": architecture, "checkpoint": checkpoint, "facts": facts}
    template = TEMPLATE.read_text(encoding="utf-8")
    return f"{ModelCard.from_template(metadata, template_str=template, **said)}\n"


def _prompt(unit: str, operation: str | None) -> str:
    """Of the examples, as the texts begin; a question that every modulus has."""
    sign, _ = OPERATIONS.get(operation, OPERATIONS["plus"])
    return {"titles": "Show HN:", "questions": f"1 {sign} 2 ="}.get(unit, "")


def _metrics(metrics: Mapping[str, Any], checkpoint: str) -> Iterator[tuple[str, float, float | None]]:
    """Those of the checkpoint, with their standard errors: `best` has its own, `last` is the newest validation."""
    found = metrics.get({"best": "best", "last": "final"}.get(Path(checkpoint).stem, "")) or {}
    for name in dict.fromkeys((*MEANING, *(name for name in found if f"{name}_se" in found))):
        if found.get(name) is not None:
            yield name, found[name], found.get(f"{name}_se")


def _in_lines(node: Any) -> Any:
    """The record with each text on one line, since whoever made the run has written it."""
    if isinstance(node, Mapping):
        return {key: _in_lines(value) for key, value in node.items()}
    return printable(node) if isinstance(node, str) else node

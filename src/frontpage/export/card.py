"""The model card: README.md of an export, filled from the run's record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNKNOWN = "not recorded"
HEADLINE = ("val/nats_per_char", "val/bits_per_byte", "val/loss", "val/perplexity", "val/packed_nats_per_char")
MEANING = {
    "val/nats_per_char": "nats a character (of each title and 5 for its end)",
    "val/bits_per_byte": "bits a byte of UTF-8",
    "val/loss": "nats a token",
    "val/perplexity": "perplexity a token",
    "val/packed_nats_per_char": "nats a character with titles sharing a window",
}
USE = {
    "hf": '''```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
start = tokenizer("Show HN:", return_tensors="pt")  # begins with <eos>, as every title in training
title = tokenizer.decode(model.generate(**start)[0], skip_special_tokens=True)

@torch.no_grad()
def nats(title: str) -> float:
    """Surprise of a whole title, its end counted; divide by len(title) + 5 for nats a character."""
    tokens = tokenizer(title, return_tensors="pt").input_ids[0]
    targets = torch.cat((tokens[1:], torch.tensor([tokenizer.eos_token_id])))
    return float(torch.nn.functional.cross_entropy(model(tokens[None]).logits[0], targets, reduction="sum"))
```

`<eos>` stands before and behind every title; the tokenizer puts the first by itself. Each row of a batch is one
title: several titles in a row would see one another. `generation_config.json` draws as learned (temperature 1, all
tokens); padding goes to the left.''',
    "safetensors": """```python
from frontpage.export.own_names import load_export
from frontpage.models.generate import generate

config, module = load_export(".")  # what frontpage.runs.reopen.load_run returns
print([one.title for one in generate(module, module.tokenizer, prompt="Show HN:", num=3, seed=0)])
```

The names of the weights are those of this project; `module(tokens)` maps (B, T), each row one title that begins with
`<eos>`, to logits (B, T, V).""",
    "quantised": """```
python scripts/evaluate.py FOLDER data.path=titles.parquet
```

`frontpage.runs.reopen.load_run(FOLDER)` gives `(config, module)`; `module(tokens)` maps (B, T), each row one title that
begins with `<eos>`, to logits (B, T, V). It needs torchao (`pip install -e '.[quantised]'`). Integers of 4 bits lie two
in a byte, the first in the low half.""",
    "gguf": """```
llama-completion -m {file} -p " Show HN:" -n {length}
```

The blank before the prompt belongs there: each title was read with one before it, which llama.cpp does not add.
`<eos>` before it is added by llama.cpp. Special tokens must not be read out of a prompt (`parse_special=False`).""",
}


def model_card(
    record: Mapping[str, Any], *, form: str, architecture: str, checkpoint: str, facts: Mapping[str, Any]
) -> str:
    """README.md of an export in the format `form`.

    `record` is the run's run.json (empty where there is none), `checkpoint` what was asked for, `facts` what goes into
    the description of the model by name, and `file` and `length` of the example.
    """
    config, data = record.get("config", {}), record.get("data", {})
    name = config.get("name", "model")
    front = ["---", *(["library_name: transformers"] if form == "hf" else []), "pipeline_tag: text-generation"]
    front += ["tags:", "- hacker-news", "- titles", "- frontpage", "---"]
    trained = {
        "command": f"`{record.get('command', UNKNOWN)}`",
        "commit": f"{record.get('git_commit') or UNKNOWN}" + " with changes" * bool(record.get("git_dirty")),
        "status": record.get("status", UNKNOWN),
        "updates": _number(record.get("steps")),
        "tokens seen": _number(record.get("tokens_seen")),
        "seconds": _number(record.get("seconds")),
        "device": f"{record.get('device', UNKNOWN)}, {record.get('precision', UNKNOWN)}",
        "weights": f"checkpoint `{checkpoint}`, {record.get('validated_weights', UNKNOWN)}",
    }
    read = {
        "source": data.get("source", UNKNOWN),
        "fingerprint": data.get("fingerprint", UNKNOWN),
        "titles": f"{_number(data.get('train_titles'))} to train, {_number(data.get('validation_titles'))} to validate",
        "tokens": f"{_number(data.get('train_tokens'))} to train, {_number(data.get('validation_tokens'))} to validate",
    }
    shown = {key: value for key, value in facts.items() if key not in ("file", "length")}
    parameters = {"architecture": architecture, "parameters": _number(record.get("parameters")), **shown}
    use = USE[form].replace("{file}", str(facts.get("file"))).replace("{length}", str(facts.get("length")))
    return "\n".join(
        [
            *front,
            f"# {name}",
            "",
            "A small language model of Hacker News titles, trained and exported by Frontpage. It continues a title, or",
            "invents one.",
            "",
            "## Use",
            "",
            use,
            "",
            "## Model",
            "",
            *_table(parameters),
            "",
            "## Metrics",
            "",
            *_metrics(record.get("metrics", {}), checkpoint),
            "",
            "## Training",
            "",
            *_table(trained),
            "",
            "## Data",
            "",
            *_table(read),
            "",
            "## Licence and limits",
            "",
            _licence(config),
            "",
            "It knows titles and nothing else: it answers no question, follows no instruction, and states what is not"
            " so. It repeats the habits, the names and the prejudices of what it has read, and can repeat a training"
            f" title word for word. A title is at most {facts.get('length')} tokens long.",
            "",
        ]
    )


def _metrics(metrics: Mapping[str, Any], checkpoint: str) -> list[str]:
    """Those of the checkpoint: `best` has its own in the record, `last` is the newest validation."""
    known = {"best": "best", "last": "final"}.get(Path(checkpoint).stem)
    found = metrics.get(known or "", {})
    if found.get("val/nats_per_char") is None:
        return ["Not recorded for this checkpoint; `python scripts/evaluate.py` scores any file of titles."]
    lines = ["| on the validation titles, each title alone | value |", "|---|---|"]
    for name in HEADLINE:
        if found.get(name) is not None:
            error = found.get(f"{name}_se")
            spread = f" \u00b1 {error:.4f} (standard error over titles)" if error is not None else ""
            lines.append(f"| {MEANING[name]} (`{name}`) | {found[name]:.4f}{spread} |")
    return lines


def _licence(config: Mapping[str, Any]) -> str:
    data = config.get("data", {})
    invented = str(data.get("_target_", "")).endswith("SyntheticTitles") and not data.get("path")
    if invented:
        return "Trained on titles that were invented by a grammar for this project, under its MIT licence."
    return (
        "Whoever publishes these weights chooses their licence; none is stated here. The training titles belong to the"
        " people who wrote them, and those of Hacker News to it (Y Combinator) as well; their terms are not the"
        " project's MIT licence, which covers the code only."
    )


def _table(rows: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"

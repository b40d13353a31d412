"""The test set: scored once, at the end, with the best weights, and only on request."""

from pathlib import Path

from frontpage.callbacks.record_run import write_json
from frontpage.evaluation.score import ScoredTitles
from frontpage.run_directory import read_record
from frontpage.runs import load_run


def score_test_set(directory: Path, titles: list[str], source: str) -> dict[str, float | None]:
    """Score `titles` with a run's best checkpoint, print the result and add it to `run.json` as `test`.

    The metrics are those of `evaluation.md`, named `test/...`.
    """
    config, module = load_run(directory)
    found = ScoredTitles(module, titles, config.data).metrics()
    metrics = {name.replace("val/", "test/", 1): value for name, value in found.items()}
    record = read_record(directory) or {}
    write_json(directory / "run.json", record | {"test": {"source": source, "titles": len(titles), "metrics": metrics}})
    nats, error = metrics["test/nats_per_char"], metrics["test/nats_per_char_se"]
    print(f"test set: {len(titles):,} titles of {source}: test/nats_per_char {nats:.4f} ± {error:.4f}", flush=True)
    return metrics

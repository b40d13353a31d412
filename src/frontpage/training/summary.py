"""What a run prints before and after it trains."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from omegaconf import DictConfig
from tqdm import tqdm

from frontpage.attention.kernels.describe import describe_attention
from frontpage.command.terminal import printable, printable_lines
from frontpage.data.run_data import RunData
from frontpage.machine.accelerator import device_name
from frontpage.machine.peak_memory import GIB, in_words
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.open_run import CurrentRun
from frontpage.training.callbacks.best_checkpoint import ALL, BestCheckpoint
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.callbacks.process_times import ProcessTimes
from frontpage.training.callbacks.record_run import RecordRun
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.callbacks.sample_titles import SampleTitles
from frontpage.training.plan import RunPlan

FAST, SLOW = 0.6, 0.15  # model FLOPs utilisation of large and of small models, as runs of this project have it


def print_finished(run: CurrentRun, config: DictConfig) -> None:
    """That a finished run has nothing left to do, why, and what would change that."""
    print(f"ckpt_path=last: the run in {run.path} is finished; nothing to do ({run.finished})", flush=True)
    if config.test and "test" not in (run.record or {}):
        print(
            f"test=true: not acted on; python scripts/evaluate.py {run.path} data.path={config.data.test_path}",
            flush=True,
        )


def print_start(
    run: CurrentRun,
    trainer: L.Trainer,
    module: TrainingModule,
    data: RunData,
    record: RecordRun,
) -> None:
    """What will run, on what, how long and how large, a line each."""
    parameters = sum(parameter.numel() for parameter in module.net.parameters())
    plan, config, device = record.plan, record.config, trainer.strategy.root_device
    attention = describe_attention(module.net, data.block_size, device, module.document_mask)
    chosen = "" if module.net.blocks[0].attention.backend != "auto" else ", chosen by backend=auto"
    dropout, attention_dropout = (config["model"].get(key, 0) for key in ("dropout", "attention_dropout"))
    devices = f" x {trainer.world_size} devices" if trainer.world_size > 1 else ""
    accumulated = f" x {plan.accumulated} accumulated" if plan.accumulated > 1 else ""
    (least, most), at_most = plan.updates_per_epoch, "at most " if plan.least_rows < plan.rows else ""
    visible = "all" if attention["visible_pairs"] == 1 else f"{attention['visible_pairs']:.3g}"
    lines = {
        "device": f"{device_name(trainer)}, precision {trainer.precision}",
        "data": data.size_words(),
        "model": f"{type(module.net).__name__}, {parameters:,} parameters, dropout {dropout:g},"
        f" of attention {attention_dropout:g}",
        "attention": f"{attention['class']}, computed by {attention['backend']}{chosen};"
        f" {visible} of a document's causal pairs visible",
        "update": f"{at_most}{plan.rows:,} rows of {data.block_size:,}, {plan.tokens:,} tokens"
        f" (batch {plan.micro_batch:,}{accumulated}{devices})",
        "length": f"{plan.updates:,} updates, {least:,}{'' if least == most else f' to {most:,}'} an epoch"
        + (f", at most {config['trainer']['max_time']}" if config["trainer"].get("max_time") else ""),
        "operations": f"{plan.flops_per_token / 1e6:,.2f} million a token as the run begins,"
        f" about {plan.flops:.2g} in all",
        "intervals": f"log {_interval(config['log_interval'], 'each epoch')},"
        f" validate {_interval(config['val_interval'], 'by trainer.evals_per_epoch')},"
        f" save {_interval(config['save_interval'], 'at validations')}",
        "memory": in_words(plan.memory.total) + " estimated" if plan.memory else "no estimate",
        "static": f"{plan.memory.static.a_parameter(parameters)} estimated" if plan.memory else "no estimate",
        "checkpoints": _checkpoints(plan, trainer),
        "time": f"roughly {tqdm.format_interval(plan.seconds_at_peak / FAST)} to"
        f" {tqdm.format_interval(plan.seconds_at_peak / SLOW)} and the validations, at {FAST:.0%} to {SLOW:.0%} of the"
        " measured matmul rate",
        "run": str(run.path),
    }
    print("\n".join(f"{name + ':':<12} {printable(line)}" for name, line in lines.items()), flush=True)


def _checkpoints(plan: RunPlan, trainer: L.Trainer) -> str:
    """How many are kept, and their bytes; at most, where their number grows with the run, which may end early."""
    several = any(isinstance(one, BestCheckpoint) and one.save_top_k not in (0, 1) for one in trainer.callbacks)
    named = " (best.ckpt is another name of the best one)" if several else ""
    grows = any(isinstance(one, LastCheckpoint) and one.milestones for one in trainer.callbacks)
    grows = grows or any(isinstance(one, BestCheckpoint) and one.save_top_k == ALL for one in trainer.callbacks)
    kept = f"{'at most ' * grows}{plan.checkpoints:,} kept{named}"
    each, all_ = in_words(plan.checkpoint_bytes), in_words(plan.checkpoint_bytes * plan.checkpoints)
    return f"{kept}, {each} each, {all_} in all"


def _interval(updates: int | None, otherwise: str) -> str:
    return otherwise if updates is None else f"every {updates:,} updates"


def print_summary(run: CurrentRun, trainer: L.Trainer, data: RunData) -> None:
    """What the module says of its metrics, the test set, speed, invented titles, the run's directory."""
    record = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun)).record
    final, best, module = record["metrics"]["final"], record["metrics"]["best"], trainer.lightning_module
    clock = clock_of(trainer)
    unit = f" {module.loss_unit}" if module.loss_unit else ""
    rows = [("train/loss", f"{final.get('train/loss', float('nan')):.4f}{unit}"), *module.summary_rows(final, best)]
    if record["reason"]:
        rows.insert(0, ("ended early", record["reason"]))
    if record["validated_weights"] != "as trained":
        rows.insert(0, ("validated weights", record["validated_weights"]))
    rows += [*_test_rows(record.get("test")), *module.floor_rows(final, data)]
    rows.append(("speed", f"{clock.tokens_per_second:,.0f} tokens/s"))
    slowest = next(one for one in trainer.callbacks if isinstance(one, ProcessTimes)).summary(record["processes"])
    if slowest is not None:
        rows.append(("slowest process", slowest))
    estimated, measured = record["estimated_memory_bytes"], record["peak_memory_bytes"]
    shown = "no estimate" if estimated is None else f"estimated {estimated / GIB:.2f} GiB"
    rows.append(("memory", f"{shown}, measured peak {measured / GIB:.2f} GiB"))
    counted = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun)).static_bytes
    if counted is not None:
        rows.append(("static memory", f"measured {counted.a_parameter(record['parameters'])}"))
    rows += [("profile", str(path)) for path in sorted(run.path.glob("*profile*"))]
    rows.append(("run directory", str(run.path)))
    width = max(len(name) for name, _ in rows)
    lines = ["", f"finished: {record['steps']:,} updates, {clock.tokens_seen:,} tokens, {clock.elapsed_seconds:.0f} s"]
    lines += [f"  {name:<{width}} {words}" for name, words in rows]
    titles = next((callback.titles for callback in trainer.callbacks if isinstance(callback, SampleTitles)), [])
    lines += ["  invented titles:"] + [f"    {title}" for title in titles] if titles else []
    print("\n".join(map(printable_lines, lines)), flush=True)


def _test_rows(test: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The headline of the test set, and of those of its titles that were not trained on."""
    if test is None:
        return []
    titles, seen, unseen = test["titles"], test["seen_titles"], test["metrics_unseen"]
    rows = [("test/nats_per_char", f"{_with_error(test['metrics'])} ({titles:,} titles of the test set)")]
    if seen and unseen is None:
        rows.append(("", "all of them were trained on: this says nothing of new titles"))
    elif seen:
        rows.append(("of unseen titles", f"{_with_error(unseen)} ({titles - seen:,}; {seen:,} were trained on)"))
    return rows


def _with_error(test: dict[str, float | None]) -> str:
    """The headline of a test set with its standard error, which a single title has not."""
    error = test["test/nats_per_char_se"]
    return f"{test['test/nats_per_char']:.4f}" + ("" if error is None else f" ± {error:.4f}")

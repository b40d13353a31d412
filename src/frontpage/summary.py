"""What a run prints before and after it trains."""

import lightning as L

from frontpage.attention.describe import describe_attention
from frontpage.callbacks.record_run import RecordRun
from frontpage.callbacks.run_clock import clock_of
from frontpage.callbacks.sample_titles import SampleTitles
from frontpage.memory import GIB
from frontpage.models.language_module import LanguageModule
from frontpage.run_directory import RunDirectory
from frontpage.trainer import device_name


def print_start(run: RunDirectory, trainer: L.Trainer, module: LanguageModule, data: L.LightningDataModule) -> None:
    """One line each on the device, the data and the model."""
    about, parameters = data.description(), sum(parameter.numel() for parameter in module.net.parameters())
    device = trainer.strategy.root_device
    attention = describe_attention(module.net, data.block_size, device, module.document_mask)
    chosen = "" if module.net.blocks[0].attention.backend != "auto" else ", chosen by backend=auto"
    print(
        f"device: {device_name(trainer)}, precision {trainer.precision}\n"
        f"data: {about['source']}: {about['train_titles']:,} titles train, {about['validation_titles']:,} validate;"
        f" {about['train_tokens']:,} and {about['validation_tokens']:,} tokens of {about['vocab_size']:,} kinds\n"
        f"model: {type(module.net).__name__}, {parameters:,} parameters\n"
        f"attention: {attention['class']}, computed by {attention['backend']}{chosen};"
        f" {attention['visible_pairs']:.3g} of a document's causal pairs visible\n"
        f"run: {run.path}",
        flush=True,
    )


def print_summary(run: RunDirectory, trainer: L.Trainer, data: L.LightningDataModule) -> None:
    """Losses, coverage, speed, invented titles, the run's directory."""
    record = next(callback for callback in trainer.callbacks if isinstance(callback, RecordRun)).record
    final, best = record["metrics"]["final"], record["metrics"]["best"]
    clock = clock_of(trainer)
    lines = ["", f"finished: {record['steps']:,} updates, {clock.tokens_seen:,} tokens, {clock.elapsed_seconds:.0f} s"]
    if record["validated_weights"] != "as trained":
        lines.append(f"  validated weights    {record['validated_weights']}")
    if record["reason"]:
        lines.append(f"  ended early          {record['reason']}")
    lines.append(f"  train/loss           {final.get('train/loss', float('nan')):.4f} nats a token")
    lines.append(
        f"  val/loss             {final['val/loss']:.4f} nats a token (perplexity {final['val/perplexity']:.2f})"
    )
    error = final["val/nats_per_char_se"]
    lines.append(
        f"  val/nats_per_char    {final['val/nats_per_char']:.4f} ± {error:.4f}, best {best['val/nats_per_char']:.4f}"
    )
    lines.append(f"  val/bits_per_byte    {final['val/bits_per_byte']:.4f}")
    lines.append(f"  val/coverage         {final['val/coverage']:.4g}")
    if final.get("val/packed_nats_per_char") is not None:
        lines.append(f"  val/packed_nats_per_char {final['val/packed_nats_per_char']:.4f}")
    if "val/mainrun_coverage" in final:
        loss = final["val/mainrun_loss"]
        shown = "none: no span fits" if loss is None else f"{loss:.4f}"
        share = final["val/mainrun_coverage"]
        lines.append(f"  val/mainrun_loss     {shown} (of {share:.1%} of the tokens: no loss, see docs/metrics.md)")
    floor = data.floor() if hasattr(data, "floor") else None
    if floor is not None:
        least = floor["floor/nats_per_char"]
        lines.append(
            f"  floor of the grammar {least:.4f} nats a character; this run is at"
            f" {final['val/nats_per_char'] / least:.3f} of it"
        )
    lines.append(f"  speed                {clock.tokens_per_second:,.0f} tokens/s")
    estimated, measured = record["estimated_memory_bytes"], record["peak_memory_bytes"]
    shown = "no estimate" if estimated is None else f"estimated {estimated / GIB:.2f} GiB"
    lines.append(f"  memory               {shown}, measured peak {measured / GIB:.2f} GiB")
    titles = next((callback.titles for callback in trainer.callbacks if isinstance(callback, SampleTitles)), [])
    lines += ["  invented titles:"] + [f"    {title}" for title in titles] if titles else []
    lines += [f"  profile              {path}" for path in sorted(run.path.glob("*profile*"))]
    lines.append(f"  run directory        {run.path}")
    print("\n".join(lines), flush=True)

"""What this machine offers: `python scripts/doctor.py`, or with the sizes of an experiment, `experiment=adamw_gpt`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import warnings
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.config_folder import CONFIGS
from frontpage.machine.doctor import check_free_memory, examine
from frontpage.machine.peak_memory import GIB
from frontpage.training.preflight import check_config


def main() -> None:
    """Look, measure, print."""
    parser = Arguments(
        "Say what this machine has: processor, GPUs, rates, attention kernels, disk, versions, keys.",
        ("processor", "gpus", "attention"),
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="whose attention to try: experiment=adamw_gpt"
    )
    parser.add_argument(
        "--free-gpu", type=number(float, 0), metavar="GIB", help="end with 2 unless the first GPU has that much free"
    )
    arguments = parser.parse_intermixed_args()
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", *(arguments.overrides or ["experiment=quickstart"])])
    check_config(config)
    sizes = config.data.batch_size, config.model.n_head, config.data.block_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reasons why a kernel does not run: they are in its row
        found = examine(Path(config.paths.log_dir), *sizes, config.model.d_model // config.model.n_head)
    report(found)
    save_json(arguments.json, found)
    if arguments.free_gpu:
        check_free_memory(found["gpus"], arguments.free_gpu)


def report(found: dict[str, Any]) -> None:
    """Print everything, aligned."""
    processor, precision, disk = found["processor"], found["precision"], found["disk"]
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in found["matmul_flops"].items())
    rows = [
        ("processor", f"{processor['name']}, {processor['cores']} cores, {processor['threads']} threads used"),
        ("features", " ".join(processor["features"]) or "not known"),
        *(("gpu", gpu_line(gpu)) for gpu in found["gpus"] or [None]),
        ("matmul", f"{rates} TFLOP/s on {found['device']}"),
        ("precision", f"trainer.precision=auto takes {precision['auto']}: {precision['reason']}"),
        ("compiler", compiler_line(found["compiler"])),
        ("disk", f"{disk['free_bytes'] / GIB:.1f} of {disk['bytes'] / GIB:.1f} GiB free for {disk['folder']}"),
        ("versions", ", ".join(f"{name} {number or 'missing'}" for name, number in found["versions"].items())),
        ("keys", ", ".join(f"{name} {'present' if there else 'absent'}" for name, there in found["keys"].items())),
    ]
    print("\n".join(f"{name:<10} {text}" for name, text in rows))
    batch, heads, length, width = found["attention"]["shape"]
    print(f"attention  forward and backward, batch {batch}, {heads} heads of {width}, {length} tokens")
    for row in found["attention"]["kernels"]:
        result = row["problem"] or f"{row['milliseconds']:.2f} ms"
        print(f"  {row['dtype']} {row['kernel']:<20} {result}")


def compiler_line(compiler: dict[str, str | None]) -> str:
    """A C++ compiler in words."""
    if compiler["problem"]:
        return f"{compiler['problem']}: gated_delta is slower on a CPU, and model.compile=true cannot run there"
    return f"{compiler['name']}, for gated_delta and model.compile=true on a CPU"


def gpu_line(gpu: dict[str, Any] | None) -> str:
    """A GPU in words."""
    if gpu is None:
        return "none that CUDA knows"
    held = "; held by " + ", ".join(gpu["held_by"]) if gpu["held_by"] else ""
    return f"{gpu['name']}, {gpu['free_bytes'] / GIB:.1f} of {gpu['bytes'] / GIB:.1f} GiB free{held}"


if __name__ == "__main__":
    program(main)

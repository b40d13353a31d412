"""What a preset needs on so many GPUs: a strategy, a batch, memory a device, and a rate that is assumed to be reached.

Memory is the estimate of `training/memory`, operations are those of `machine/flops.py`; nothing is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from frontpage.machine.flops import training_flops_per_token
from frontpage.machine.peak_memory import GIB
from frontpage.training.memory.estimate import TrainingMemory
from frontpage.training.memory.tables import STATES, composed, estimate, on_meta

TOKENS_A_WEIGHT = 20  # of a run that is best for its operations (Hoffmann et al. 2022, arXiv 2203.15556)
# Tokens of an update for weights up to so many (Brown et al. 2020, arXiv 2005.14165, table 2.1).
UPDATES = {1e9: 2**19, 3e9: 2**20, float("inf"): 2**21}
MOST_TOKENS = 2**15  # of a micro-batch: more of them take memory and are no faster
LEAST_ROWS = 4  # of a micro-batch that is worth a device's while, where an update has so many for it
AGAIN = 4 / 3  # operations where every block is computed again in the backward pass
SMALL = ["tokenizer.vocab_size=8192", "data.block_size=512"]
SEVEN_BILLION = [
    "model=deep_narrow",
    *("model.d_model=4096", "model.n_layer=32", "model.n_head=32", "model.d_ff=11008", "model.norm=rmsnorm"),
    *("model.tie_embeddings=false", "tokenizer.vocab_size=32000", "data.block_size=2048"),
]
NAMES = "tiny gpt modern unet_gpt deep_narrow microscope tower deep_narrow_40 deep_narrow_60 deep_narrow_48".split()
PRESETS = {name: [f"model={name}", *SMALL] for name in NAMES} | {"7 billion": SEVEN_BILLION}
WAYS = (("ddp", "none"), ("ddp", "full"), ("fsdp", "none"), ("fsdp", "full"))  # the first that fits is taken


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines: nothing of it is measured."""

    card: float = 80.0  # GiB of a GPU
    peak: float = 989e12  # operations a second of its bf16 products, from its data sheet
    utilization: float = 0.4  # the share of them that training reaches
    node: int = 8  # GPUs of a machine
    link: float = 450e9  # bytes a second that a GPU sends within a machine, from the data sheet of NVLink 4
    network: float = 50e9  # and to others: a card of 400 Gb a second for each GPU


@dataclass(frozen=True)
class Row:
    """A preset on so many devices; `strategy` is None, and the rest 0, where it does not fit."""

    devices: int
    strategy: str | None
    checkpointing: str = "none"
    rows: int = 0  # of a micro-batch on a device
    accumulate: int = 0
    update_tokens: int = 0
    device_bytes: int = 0  # as a GPU sees it
    host_bytes: int = 0  # of a machine: each process builds the whole net before it is cut
    rate: float = 0.0  # tokens a second, of all devices
    days: float = 0.0  # of TOKENS_A_WEIGHT tokens a weight
    sent: float = 0.0  # bytes that a device sends an update
    bound: str = "products"  # what the rate is bound by: products or network


@dataclass(frozen=True)
class PresetPlan:
    """A preset's sizes, and its rows of the table."""

    name: str
    overrides: list[str]
    weights: int
    block_size: int
    flops: float  # of a token, forward and backward
    rows: list[Row]


def plan_preset(name: str, devices: list[int], cluster: Cluster, precision: str = "bf16-mixed") -> PresetPlan:
    """The plan of one of PRESETS for each number of devices."""
    overrides = [*PRESETS[name], f"trainer.precision={precision}"]
    configs = {state: composed([*overrides, f"model.activation_checkpointing={state}"]) for state in STATES}
    modules = {state: on_meta(config) for state, config in configs.items()}
    net, block_size = modules["none"].net, configs["none"].data.block_size
    weights = sum(weight.numel() for weight in net.parameters())
    flops = training_flops_per_token(net, block_size)

    @cache
    def alone(state: str, rows: int) -> TrainingMemory:
        return estimate(configs[state], modules[state], rows, card=True)

    def needed(strategy: str, state: str, rows: int, many: int) -> int:
        memory = alone(state, rows)
        if strategy == "ddp":
            return memory.copied(many).on_card()
        parts = memory.spread(many, net)
        validation = memory.weights + parts.weights + parts.optimizer  # when each device has all weights, too
        return parts._replace(total=max(parts.total, validation)).on_card()

    update = next(tokens for most, tokens in UPDATES.items() if weights <= most)
    sizes = (update // block_size, MOST_TOKENS // block_size)
    found = [_row(many, *sizes, needed, int(cluster.card * GIB)) for many in devices]
    rows = [_with_rate(row, weights, block_size, flops, cluster) for row in found]
    return PresetPlan(name, PRESETS[name], weights, block_size, flops, rows)


def _row(devices: int, rows: int, most: int, needed: Callable[[str, str, int, int], int], card: int) -> Row:
    """The first of WAYS in which a micro-batch fits, with the largest power of two of at most `most` rows.

    `rows` are those of an update, powers of two as `most` is, and `devices` should be one.
    """
    share = max(rows // devices, 1)
    for strategy, state in WAYS:
        if devices == 1 and strategy == "fsdp":
            break
        micro = min(share, most)
        while micro >= min(share, LEAST_ROWS):
            size = needed(strategy, state, micro, devices)
            if size <= card:
                named = "auto" if devices == 1 else strategy
                return Row(devices, named, state, micro, share // micro, device_bytes=size)
            micro //= 2
    return Row(devices, None)


def _with_rate(row: Row, weights: int, block_size: int, flops: float, cluster: Cluster) -> Row:
    """The row with what follows from its choices."""
    if row.strategy is None:
        return row
    tokens = row.rows * row.accumulate * block_size * row.devices
    products = (
        row.devices * cluster.peak * cluster.utilization / (flops * (AGAIN if row.checkpointing == "full" else 1))
    )
    # All-reduce sends gradients twice. FSDP gathers weights before both passes and sums gradients, each micro-batch.
    times = {"auto": 0, "ddp": 2, "fsdp": 3 * row.accumulate}[row.strategy]
    sent = times * 4 * weights * (row.devices - 1) / row.devices
    network = tokens * (cluster.link if row.devices <= cluster.node else cluster.network) / max(sent, 1)
    rate = min(products, network)
    return replace(
        row,
        update_tokens=tokens,
        host_bytes=4 * weights * min(row.devices, cluster.node),
        rate=rate,
        days=TOKENS_A_WEIGHT * weights / rate / 86_400,
        sent=sent,
        bound="products" if rate == products else "network",
    )

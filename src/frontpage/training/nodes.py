"""How many nodes and devices a run has: what its keys say, what its launcher says, and that both agree."""

import os

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from frontpage.command.errors import BadValue, UserError
from frontpage.command.process_family import launched


def settle_nodes(num_nodes: int | None, devices: int | str | list[int]) -> tuple[int, int | str | list[int]]:
    """The nodes of a run, and the devices of each; UserError where its launcher has started other ones."""
    here = launched()
    if here is None:
        if num_nodes not in (None, 1):
            allowed = "1 or null: neither torchrun nor srun has started this process on several nodes"
            raise BadValue("trainer.num_nodes", num_nodes, allowed)
        return 1, devices
    if here.each is None:
        raise UserError(f"{here.by}: {here.processes} processes on {here.nodes} nodes; as many on each are needed")
    if num_nodes not in (None, here.nodes):
        raise BadValue("trainer.num_nodes", num_nodes, f"{here.nodes} or null, the nodes that {here.by} has started")
    asked = devices if isinstance(devices, int | str) else len(devices)
    if str(asked) not in ("auto", str(here.each)):
        allowed = f"{here.each} or auto (trainer=ddp, trainer=fsdp), the processes that {here.by} has started on a node"
        raise BadValue("trainer.devices", devices, allowed)
    return here.nodes, here.each if asked == "auto" else devices


def cluster_environment() -> ClusterEnvironment:
    """Lightning's of the launcher; it is told, for what Lightning finds by itself holds in batch scripts, too."""
    here = launched()
    if here is None:
        return LightningEnvironment()
    if here.by == "torchrun":
        return TorchElasticEnvironment()
    os.environ["SLURM_NTASKS_PER_NODE"] = str(here.each or here.processes)  # which srun leaves out, or has of the job
    return SLURMEnvironment(auto_requeue=False)

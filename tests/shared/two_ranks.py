"""Functions that run in two gloo processes at once, without Lightning."""

import socket

import torch.distributed as dist
import torch.multiprocessing as mp


def in_two_ranks(function, *arguments):
    """`function(*arguments)` in two processes of one group; its first argument may be a folder to write to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_joined, (port, function, arguments), nprocs=2, start_method="spawn")


def _joined(rank, port, function, arguments):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        function(*arguments)
    finally:
        dist.destroy_process_group()

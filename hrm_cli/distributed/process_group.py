"""The process group: device and rank of each process, the communication backend, and the rendezvous.

The launcher (`hrm_cli.distributed.launcher`) gives each process its `RankInfo`. A `Rendezvous` creates the `World`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from hrm_cli.distributed.world import PeerLost, World
from hrm_cli.errors import ConfigError, HRMError
from hrm_cli.models.device import find_device
from hrm_cli.printable import counted

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""Timeout of collective operations. It is long because rank 0 may be writing a large checkpoint to a slow disk."""
RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""Maximum time until all processes of a job have joined."""
_ENDED = "ended"


@dataclass(frozen=True)
class RankInfo:
    """The rank of a process, and the size of its job."""

    processes: int
    """Number of processes on each host."""
    hosts: int = 1
    host: int = 0
    """Number of this host, counted from 0."""
    local_rank: int = 0
    """Number of this process on its host, counted from 0."""

    @property
    def rank(self) -> int:
        """The global rank of this process."""
        return self.host * self.processes + self.local_rank

    @property
    def world_size(self) -> int:
        """The number of processes on all hosts."""
        return self.hosts * self.processes


def choose_device(name: str, rank_info: RankInfo) -> torch.device:
    """The device of a process. With CUDA, each process of a host has its own. Raises ConfigError if there are too few.

    Initializes no device, because the launcher also calls this and must not allocate device memory.
    """
    device = find_device(name)
    if device.type == "cuda":
        if device.index is not None:
            raise ConfigError(
                f"device {name} is one device, but there are {rank_info.processes} processes on this host; use cuda, "
                "so that every process gets its own device"
            )
        count = torch.cuda.device_count()
        if count < rank_info.processes:
            raise ConfigError(
                f"{rank_info.processes} processes on this host, but it has {counted(count, 'CUDA device')}; "
                f"use --nproc-per-node {count}"
            )
        return torch.device("cuda", rank_info.local_rank)
    if device.type != "cpu":
        raise ConfigError(f"several processes train on cuda or cpu, not on {device.type}; use device cpu")
    return device


def choose_backend(name: str | None, device: torch.device) -> str:
    """`nccl` on CUDA and `gloo` elsewhere, unless `name` is given. Raises ConfigError if `name` cannot be used."""
    if name is None:
        return "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"
    if name == "nccl" and device.type != "cuda":
        raise ConfigError(
            f"--backend nccl: NCCL works on CUDA devices, and this run is on {device.type}; use gloo"
        )
    if name == "nccl" and not dist.is_nccl_available():
        raise ConfigError("--backend nccl: this build of torch has no NCCL; use gloo")
    return name


class Rendezvous:
    """The rendezvous of a job's processes through the launcher's store."""

    def __init__(self, rank_info: RankInfo) -> None:
        """Waits for all processes. Raises PeerLost if some do not join, JobEnded if a host has ended the job.

        Requires the environment variables that torch's elastic launcher sets.
        """
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        _choose_interface(address)
        self.rank_info = rank_info
        with _as_peers_lost():
            self._launcher = dist.TCPStore(address, port, is_master=False, timeout=RENDEZVOUS_TIMEOUT)
            self._store = join_store(self._launcher, rank_info.rank, rank_info.world_size)

    def agree(self, task: dict[str, Any] | None) -> dict[str, Any]:
        """Broadcasts rank 0's task to every rank."""
        with _as_peers_lost():
            if self.rank_info.rank == 0:
                self._store.set("task", json.dumps(task))
            document: dict[str, Any] = json.loads(self._store.get("task"))
        return document

    def end_job(self, message: str, status: int) -> None:
        """Ends the job also for processes that restart later on other hosts."""
        with contextlib.suppress(RuntimeError):
            self._launcher.set(_ENDED, json.dumps([message, status]))

    @contextmanager
    def world(self, backend: str, device: torch.device) -> Iterator[World]:
        """The world of all processes. The process group is destroyed if the block ends without an error."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
        rank_info = self.rank_info
        with _as_peers_lost():
            dist.init_process_group(
                # Small numbers and bytes stay in host memory, so gloo is used in addition to NCCL.
                "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,
                store=self._store,
                rank=rank_info.rank,
                world_size=rank_info.world_size,
                timeout=COLLECTIVE_TIMEOUT,
            )
        through_host = backend == "gloo" and device.type == "cuda"
        yield World(rank_info.rank, rank_info.world_size, through_host=through_host)
        # Not after an error, because some backends would wait for lost ranks.
        dist.destroy_process_group()


class JobEnded(HRMError):  # noqa: N818 - the name describes the event
    """A process on another host has ended the job permanently."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@contextmanager
def _as_peers_lost() -> Iterator[None]:
    try:
        yield
    except PeerLost:
        raise
    except RuntimeError as error:
        raise PeerLost(f"the processes of the job could not be connected: {error}") from error


def join_store(
    store: dist.Store, rank: int, size: int, timeout: timedelta = RENDEZVOUS_TIMEOUT
) -> dist.Store:
    """Waits for all processes of this attempt. Returns a store with a common prefix for them.

    The prefix is new for each attempt, because the launcher's store also contains entries of processes that exited
    before a restart. Raises PeerLost if not all processes join, and JobEnded if one of them has ended the job.
    """
    until = time.monotonic() + timeout.total_seconds()
    if rank == 0:
        rendezvous = uuid.uuid4().hex
        store.set("rendezvous", rendezvous)
        arrivals = [f"{rendezvous}/{other}" for other in range(1, size)]
        while missing := [i for i, key in enumerate(arrivals, start=1) if not store.check([key])]:
            _wait(store, until, f"processes {', '.join(map(str, missing))} of {size}")
        for key in arrivals:
            store.set(f"{rendezvous}/{store.get(key).decode()}", "")
        return dist.PrefixStore(rendezvous, store)
    own = uuid.uuid4().hex
    while True:
        # Read again in each iteration. At first this may be an old rendezvous, whose processes have exited.
        rendezvous = store.get("rendezvous").decode()
        store.set(f"{rendezvous}/{rank}", own)
        if store.check([f"{rendezvous}/{own}"]):
            return dist.PrefixStore(rendezvous, store)
        _wait(store, until, f"process 0 of {size}")


def _wait(store: dist.Store, until: float, whom: str) -> None:
    if store.check([_ENDED]):
        raise JobEnded(*json.loads(store.get(_ENDED)))
    if time.monotonic() > until:
        raise PeerLost(f"timed out waiting for {whom}")
    time.sleep(0.02)


def own_address(other: str) -> str:
    """This host's address on the route to `other`. Raises ConfigError if there is no route."""
    try:
        found = socket.getaddrinfo(other, 1, type=socket.SOCK_DGRAM)
        family, *_, target = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigError(f"{other}: this host is unreachable ({error.strerror or error})") from None


def _choose_interface(address: str) -> None:
    # gloo would use the interface of the host name, which may have no address, or an address that others cannot reach.
    if "GLOO_SOCKET_IFNAME" not in os.environ and (name := _interface(own_address(address))) is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name


def _interface(address: str) -> str | None:
    """The name of the network interface with this IPv4 address; None if unknown (works on Linux only)."""
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                try:
                    # SIOCGIFADDR: the request contains the name, the answer the address at byte 20.
                    answer = fcntl.ioctl(probe.fileno(), 0x8915, name.encode().ljust(256, b"\0"))
                except OSError:
                    continue
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    except (ImportError, OSError):
        pass
    return None

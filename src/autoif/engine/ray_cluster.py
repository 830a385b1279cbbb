"""What we need of Ray: its machines, and an actor on each. Nothing else imports it.

Ray does not repeat anything for us: what a lost worker had is given to another by the driver, who
knows what is stored. No key is in an actor's constructor or in a runtime environment, which Ray
keeps; those go in a call of a method.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any, Protocol

from autoif.base.errors import AutoIFError, SetupError, one_line
from autoif.engine.ray_worker import ShardWorker

AT_ONCE = 1000  # calls of an actor's methods: shards, and the beat beside them


@dataclass(frozen=True, slots=True)
class RayNode:
    """A machine. id: Ray's; cpus: what Ray lends of it."""

    id: str
    host: str
    cpus: int


class LostWorker(Exception):
    """The actor or its machine is gone, or does not answer. `str`: why."""


class Remote(Protocol):
    """A `ShardWorker` on another machine."""

    async def call(self, method: str, *args: object, seconds: float | None = None) -> Any:
        """Raises LostWorker, or what of ours the method raised."""

    def kill(self) -> None: ...


class Cluster(Protocol):
    """Machines, and what is started on them: `RayCluster`, or a test's."""

    async def connect(self) -> None: ...

    async def nodes(self) -> list[RayNode]: ...

    def start(self, node: RayNode, cpus: int) -> Remote: ...

    def share(self, value: object) -> object: ...

    async def close(self) -> None: ...


class RayWorker:
    """A `Remote` that is an actor of Ray's."""

    def __init__(self, actor: Any, ray: Any) -> None:
        self._actor, self._ray = actor, ray

    async def call(self, method: str, *args: object, seconds: float | None = None) -> Any:
        """Raises LostWorker, or what of ours the method raised."""
        errors = self._ray.exceptions
        try:
            async with asyncio.timeout(seconds):
                return await getattr(self._actor, method).remote(*args)
        except TimeoutError:
            raise LostWorker(f"no answer for {seconds:.0f} s") from None
        except errors.RayTaskError as error:
            if isinstance(error.cause, AutoIFError):
                raise error.cause from None
            raise LostWorker(one_line(f"{type(error.cause).__name__}: {error.cause}")) from None
        except errors.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise LostWorker(one_line(lines[-1])) from None

    def kill(self) -> None:
        self._ray.kill(self._actor, no_restart=True)


class RayCluster:
    """A connection to the cluster at `address` ("" is the one of this machine, or RAY_ADDRESS)."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ray: Any = None
        self._ours = False  # the connection: another may have made it, in a notebook

    async def connect(self) -> None:
        """Raises SetupError."""
        try:
            import ray
            import ray.exceptions
        except ImportError:
            raise SetupError("--cluster needs Ray: pip install 'autoif[cluster]'") from None
        self._ray = ray
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            # In a thread, where Ray leaves the handlers of signals alone.
            await asyncio.to_thread(
                ray.init,
                self._address or "auto",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except Exception as error:  # of many kinds
            where = self._address or "this machine (is `ray start --head` running?)"
            raise SetupError(f"no Ray cluster at {where}: {one_line(error)}") from None
        self._ours = True

    async def nodes(self) -> list[RayNode]:
        """The machines that are there now and lend a CPU."""
        return [
            RayNode(row["NodeID"], row["NodeManagerAddress"], int(row["Resources"]["CPU"]))
            for row in await asyncio.to_thread(self._ray.nodes)
            if row["Alive"] and row["Resources"].get("CPU", 0) >= 1
        ]

    def start(self, node: RayNode, cpus: int) -> RayWorker:
        """An actor on that machine. It lives as long as this process."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._ray.remote(ShardWorker).options(
            num_cpus=cpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=AT_ONCE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        return RayWorker(actor.remote(), self._ray)

    def share(self, value: object) -> object:
        """An argument for many calls, sent to each machine once."""
        return self._ray.put(value)

    async def close(self) -> None:
        if self._ours:
            await asyncio.to_thread(self._ray.shutdown)

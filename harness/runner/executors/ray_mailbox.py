"""The actor that passes on what tasks on the nodes send, beside the run.

    tasks ── begin, post, save ──▶ Mailbox ◀── take ── run

It keeps the last checkpoint of each pack: a task that Ray starts again after its node was lost resumes from it. This
module imports nothing of the harness, since the actor has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib

WAIT_SECONDS = 60.0
GATHER_SECONDS = 0.5


class Mailbox:
    """Holds messages of tasks until the run takes them, and the last checkpoint file of each pack."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, bytes]] = []
        self._unsaved: set[str] = set()
        self._checkpoints: dict[str, tuple[str, bytes]] = {}
        self._starts: dict[str, list[str]] = {}
        self._arrived = asyncio.Event()
        self._has_ended = False

    async def begin(self, name: str, node: str, message: bytes) -> tuple[list[str], tuple[str, bytes] | None]:
        """Note that a job begins on a node; returns the nodes of its earlier starts and its last checkpoint."""
        earlier_nodes = list(self._starts.setdefault(name, []))
        self._starts[name].append(node)
        await self.post(name, message)
        return earlier_nodes, self._checkpoints.get(name)

    async def post(self, name: str, message: bytes) -> None:
        self._messages.append((name, message))
        self._arrived.set()

    async def save(self, name: str, file: str, content: bytes) -> None:
        """Keep a checkpoint file, which replaces the job's last one."""
        self._checkpoints[name] = file, content
        self._unsaved.add(name)
        self._arrived.set()

    async def take(self) -> tuple[list[tuple[str, bytes]], dict[str, tuple[str, bytes]]]:
        """Messages and new checkpoints by job, after waiting up to `WAIT_SECONDS` for the first.

        Those of the next `GATHER_SECONDS` come with it, so that the run is not woken for each.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), WAIT_SECONDS)
            if not self._has_ended:
                await asyncio.sleep(GATHER_SECONDS)
        messages, self._messages = self._messages, []
        checkpoints = {name: self._checkpoints[name] for name in self._unsaved if name in self._checkpoints}
        self._unsaved.clear()
        self._arrived.clear()
        return messages, checkpoints

    async def wake(self) -> None:
        """Let `take` return what there is."""
        self._arrived.set()

    async def end(self) -> None:
        """Let `take` return at once."""
        self._has_ended = True
        self._arrived.set()

    async def forget(self, name: str) -> tuple[str, bytes] | None:
        """Drop what belongs to a finished job; returns its last checkpoint."""
        self._starts.pop(name, None)
        return self._checkpoints.pop(name, None)

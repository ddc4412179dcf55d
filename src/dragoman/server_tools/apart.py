"""Work on what a model or a page says, in a process of its own: one that never ends can be ended."""

from __future__ import annotations

import asyncio
import sys

from dragoman.server_tools.base import ServerToolError


async def run_apart(*program: str, data: bytes, seconds: float) -> tuple[int, bytes]:
    """The exit status and the output of a Python program that needs the standard library alone.

    `program` is what the interpreter is given: a file, or `-c` and a text. One that takes longer is a
    `ServerToolError`; it is ended then, and so it is where nobody waits for it any more.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", *program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate(data)
    except TimeoutError:
        raise ServerToolError("execution_time_exceeded", f"it takes longer than {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out

"""The start of the engines where nobody ran the lifespan: that of a mounted application is not run."""

from __future__ import annotations

import asyncio

from dragoman.errors import DragomanError, EngineConfigurationError, OverloadedError
from dragoman.routing.client import InferenceEngineClient


class Starter:
    """Starts the engines when they are first asked for, if they are not started yet."""

    def __init__(self, client: InferenceEngineClient) -> None:
        self._client = client

    async def ensure(self, seconds: float) -> None:
        """Returns when they are started; `OverloadedError` where that takes longer, while it goes on."""
        if self._client.is_started:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._client.start()
        except TimeoutError:
            raise OverloadedError("the engines are still starting", retry_after=5) from None
        except DragomanError as error:
            # its words are for who runs this: they name files and packages of this machine
            raise EngineConfigurationError(
                "the engines cannot be started", log_detail=error.message
            ) from error

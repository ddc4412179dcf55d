"""vLLM itself: the only module that imports it, and public names only. Checked on 0.32."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.rl.factories import register_rl_api_routers
from vllm.entrypoints.serve import register_vllm_dev_api_routers
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from dragoman.engines.in_process import App
from dragoman.errors import EngineUnavailableError, SettingsError


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]  # vLLM is in no environment that is type-checked
    """vLLM's own arguments; a wrong one ends no process."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"engines: vLLM does not accept its arguments: {message}")


class LoadedVLLM:
    """A model loaded by vLLM in processes below this one, and vLLM's application for it."""

    def __init__(self, args: argparse.Namespace, llm: AsyncLLM) -> None:
        self._args = args
        self._llm = llm

    @classmethod
    def load(cls, words: list[str]) -> LoadedVLLM:
        """Loads a model by the words of vLLM's command line; takes a minute, and is called in a thread."""
        # without it the processes below would be forks of this one, whose threads they could not have
        cli_env_setup()
        args = make_arg_parser(_Parser()).parse_args(words)
        try:
            validate_parsed_serve_args(args)
            for plugin, manager in (
                (args.tool_parser_plugin, ToolParserManager.import_tool_parser),
                (args.reasoning_parser_plugin, ReasoningParserManager.import_reasoning_parser),
            ):
                if plugin:
                    manager(plugin)
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"engines: vLLM does not accept its arguments: {error}") from error
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineUnavailableError(f"vLLM could not load {args.model}: {error}") from error
        return cls(args, llm)

    async def application(self) -> App:
        """The doors that vLLM has, with those for trainers; nothing listens for it."""
        tasks = await self._llm.get_supported_tasks()
        app = build_app(self._args, tasks, self._llm.model_config)
        if os.environ.get("VLLM_SERVER_DEV_MODE", "0") == "0":
            register_vllm_dev_api_routers(app)
            register_rl_api_routers(app)
        await init_app_state(self._llm, app.state, self._args, tasks)
        found: App = app
        return found

    @property
    def running(self) -> int:
        """Requests that run or wait."""
        count: int = self._llm.get_num_unfinished_requests()
        return count

    def shutdown(self) -> None:
        """Ends the processes below."""
        self._llm.shutdown()

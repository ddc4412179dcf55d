"""What a missing ability means for clients of the Messages API, and which setting of the engine brings it.

Flags were read in the help of vLLM 0.32, SGLang 0.5.23, transformers 5.23 and llama.cpp of October 2026;
Ollama's in its docs.
"""

from __future__ import annotations

import msgspec


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """meaning: for a client. not_shown: where the model hid it. remedies: by dialect, "" for all others.

    A remedy is empty where none is known.
    """

    meaning: str
    remedies: dict[str, str]
    not_shown: str = ""

    def remedy(self, dialect: str) -> str:
        """What turns it on in an engine of this kind."""
        return self.remedies.get(dialect, self.remedies[""])


_PARSER = {
    "vllm": "--enable-auto-tool-choice --tool-call-parser NAME (hermes, qwen3_coder, llama3_json, ...)",
    "sglang": "--tool-call-parser NAME (auto, qwen, qwen3_coder, llama3, mistral, ...)",
    "llamacpp": "--jinja, and a model whose calls fit its template (--chat-template-file FILE)",
    "ollama": "a model with the capability `tools` (`ollama show MODEL` lists them)",
    "transformers": "a model whose calls it reads (Qwen, Gemma 4; a `response_template`)",
    "": "a server that takes `tools`; one that does, but under another dialect, may need --dialect",
}
_FORCED = {
    "vllm": "--tool-call-parser NAME; arguments are held to the schema of tools with `strict: true`",
    "sglang": "--tool-call-parser NAME that fits the model, and --grammar-backend xgrammar",
    "llamacpp": _PARSER["llamacpp"],
    "ollama": "nothing: Ollama does not force calls",
    "transformers": "nothing: it ignores tool_choice",
    "": "",
}
_TEMPLATE = {
    "vllm": "--chat-template FILE",
    "sglang": "--chat-template FILE",
    "llamacpp": "--chat-template-file FILE",
    "ollama": "TEMPLATE in the model's Modelfile",
    "": "another chat template",
}
_A_LARGER_MODEL = "A larger model may show it. The rows of forced calls show what the engine itself can do."

HINTS: dict[str, Hint] = {
    "chat": Hint(
        meaning="Nothing works without it.",
        remedies={"": "the row holds the server's own words; its log may say more"},
    ),
    "streaming": Hint(
        meaning="Clients see the answer only when it is complete; most of them always stream.",
        remedies={"": "a proxy in between may buffer (turn that off), else a server that streams"},
    ),
    "through": Hint(
        meaning="The server answers, but not to what Dragoman sends, or not in a form that it reads.",
        remedies={"": "--dialect, if this server is another than was found"},
    ),
    "usage": Hint(
        meaning="input_tokens and output_tokens are estimates: clients compact too early or too late.",
        remedies={"": "a server that sends `usage`"},
    ),
    "stream_usage": Hint(
        meaning="The tokens of streamed answers are estimates: clients compact too early or too late.",
        remedies={
            "vllm": "--enable-force-include-usage, if something in between drops stream_options",
            "": "a server that obeys stream_options.include_usage",
        },
    ),
    "models": Hint(
        meaning="GET /v1/models of Dragoman has nothing to show, and no default model.",
        remedies={"": "`models` of the engine in dragoman.toml names them"},
    ),
    "context": Hint(
        meaning="Claude Code's own prompt has 12,000 tokens, and it takes an unknown context for a million.",
        remedies={
            "vllm": "--max-model-len N",
            "sglang": "--context-length N",
            "llamacpp": "-c N (shared by the slots of -np); of the embedded engine: local.context",
            "ollama": "OLLAMA_CONTEXT_LENGTH=65536, or num_ctx of the model",
            "": "CLAUDE_CODE_MAX_CONTEXT_TOKENS tells Claude Code, where the server does not",
        },
    ),
    "overflow": Hint(
        meaning="Clients compact a conversation when they are told that it is too long. They are not told.",
        remedies={
            "ollama": "OLLAMA_CONTEXT_LENGTH=65536, or num_ctx of the model, so that nothing is cut",
            "": "a context that is never reached",
        },
    ),
    "tools": Hint(
        meaning="Agents such as Claude Code cannot act: calls do not come, or come as text.",
        remedies=_PARSER,
        not_shown=_A_LARGER_MODEL,
    ),
    "forced_any": Hint(
        meaning="tool_choice `any` gives text or arguments of another form, or a 400 where this is known.",
        remedies=_FORCED,
    ),
    "forced_named": Hint(
        meaning="tool_choice `tool` may give text, another tool or arguments of another form.",
        remedies=_FORCED,
    ),
    "no_calls": Hint(
        meaning="With tool_choice `none` calls come as text, or fail: Dragoman lets none through.",
        remedies={
            "vllm": "--exclude-tools-when-tool-choice-none takes the tools out of the prompt",
            "": "the client can leave out `tools`",
        },
    ),
    "parallel": Hint(
        meaning="One call per turn: agents work, with more turns.",
        remedies={"": ""},
        not_shown="Agents work without: with one call per turn, in more turns.",
    ),
    "tool_results": Hint(
        meaning="Agents cannot go on after a call.",
        remedies=_PARSER,
    ),
    "reasoning": Hint(
        meaning="Thinking reaches the client as text, and the next prompt as an answer.",
        remedies={
            "vllm": "--reasoning-parser NAME (qwen3, deepseek_r1, gpt_oss, ...)",
            "sglang": "--reasoning-parser NAME (auto, qwen3, deepseek-r1, gpt-oss, ...)",
            "llamacpp": "--jinja and --reasoning-format auto",
            "ollama": "a model with the capability `thinking` (`ollama show MODEL` lists them)",
            "transformers": "a model whose thinking it reads (Qwen, Gemma 4; a `response_template`)",
            "": "a server that reads thinking out of the answer",
        },
    ),
    "switch": Hint(
        meaning="`thinking` of a request has little effect: the model thinks as it likes, at that cost.",
        remedies={
            "vllm": "a template with enable_thinking; --default-chat-template-kwargs sets it for all",
            "llamacpp": "a template with enable_thinking; --reasoning-budget 0 turns it off for all",
            "transformers": "a template with enable_thinking; --reasoning on or off sets it for all",
            "": "a template with enable_thinking",
        },
    ),
    "earlier": Hint(
        meaning="The next prompt does not extend the last: its cache ends there, a trainer's tokens drift.",
        remedies={
            "vllm": "--default-chat-template-kwargs where the row names one, else --chat-template FILE",
            "llamacpp": "--chat-template-kwargs where the row names one, else --chat-template-file FILE",
            **{name: _TEMPLATE[name] for name in ("sglang", "ollama", "")},
            "transformers": "nothing: it leaves earlier thinking out",
        },
    ),
    "arguments": Hint(
        meaning="As with dropped thinking: the prompt changes where the model spelled a call otherwise.",
        remedies=_TEMPLATE,
    ),
    "system": Hint(
        meaning="The system prompt is the beginning of the first user turn: nothing is lost.",
        remedies=_TEMPLATE,
    ),
    "system_turns": Hint(
        meaning="System turns of newer clients cannot stand where they are; Dragoman makes them user turns.",
        remedies=_TEMPLATE,
    ),
    "images": Hint(
        meaning="A request with an image is refused with a 400.",
        remedies={
            "vllm": "a model that sees; --limit-mm-per-prompt must allow images",
            "sglang": "a model that sees, and --enable-multimodal",
            "llamacpp": "--mmproj FILE, the projector that belongs to the model",
            "ollama": "a model with the capability `vision` (`ollama show MODEL` lists them)",
            "": "a model that sees",
        },
    ),
    "structured": Hint(
        meaning="output_config.format is not kept to: the answer may be no JSON.",
        remedies={
            "vllm": "--structured-outputs-config with backend xgrammar and disable_any_whitespace true",
            "sglang": "--grammar-backend xgrammar",
            "transformers": "nothing: it ignores response_format",
            "": "",
        },
    ),
    "stops": Hint(
        meaning="Nothing is lost: Dragoman looks for stop strings itself where an engine does not name them.",
        remedies={"": ""},
    ),
    "prefill": Hint(
        meaning="A last assistant turn, which the client began, is refused with a 400.",
        remedies={
            "llamacpp": "start it without --no-prefill-assistant",
            "": "",
        },
    ),
    "counting": Hint(
        meaning="count_tokens is a 501; Claude Code estimates then.",
        remedies={"": "a server whose count Dragoman knows: llama.cpp, vLLM, SGLang"},
    ),
    "cached": Hint(
        meaning="cache_read_input_tokens is always 0: nobody sees whether the prompt's cache works.",
        remedies={
            "vllm": "--enable-prompt-tokens-details (and not --no-enable-prefix-caching)",
            "sglang": "--enable-cache-report",
            "": "",
        },
    ),
    "logprobs": Hint(
        meaning="Nothing for clients; trainers get no log-probabilities.",
        remedies={"vllm": "--max-logprobs N, where it was set to 0", "": ""},
    ),
    "token_ids": Hint(
        meaning="Nothing for clients; trainers would have to tokenize texts again, which is not exact.",
        remedies={
            "llamacpp": "its /completion gives ids of prompts and answers",
            "": "vLLM and SGLang give them",
        },
    ),
}

"""What each part of a request does here, as data: the translation reads it, and the docs print it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Effect = Literal["translated", "placement", "no effect", "refused"]


class Row(NamedTuple):
    """One field or type: what becomes of it, and how or why."""

    name: str
    effect: Effect
    what: str


# The fields of a request's body, in the order of the wire types.
PARAMETERS: tuple[Row, ...] = (
    Row("model", "placement", "resolved to a served model by name and alias; unknown names are a 404"),
    Row("messages", "translated", "turns of the chat; consecutive turns of one role are one turn"),
    Row(
        "system",
        "translated",
        "the system turn at the head, or the first user turn's beginning where the template takes none; a "
        "billing header at its start is removed",
    ),
    Row("tools", "translated", "function tools, schemas byte for byte; see the table of tools"),
    Row(
        "tool_choice",
        "translated",
        "auto, required, a named function or none; tools stay in the prompt; no forced call is a 500",
    ),
    Row("thinking", "translated", "the engine's thinking switch and budget, where it has them"),
    Row(
        "output_config",
        "translated",
        "effort as the engine spells it; json_schema as structured output, checked; no task_budget",
    ),
    Row("metadata", "placement", "a session inside user_id keeps a conversation on one engine"),
    Row("session_id", "placement", "keeps a conversation on one engine; never sent to it"),
    Row(
        "cache_control",
        "no effect",
        "engines cache prefixes by themselves; hits are in cache_read_input_tokens",
    ),
    Row("speed", "no effect", "an engine has one speed; usage says standard"),
    Row(
        "context_management",
        "translated",
        "old results and thinking are cleared before the translation; see the table of edits",
    ),
    Row("mcp_servers", "refused", "an empty list is accepted; nothing here connects to MCP servers"),
    Row("container", "no effect", "there are no containers; one with skills is refused"),
    Row(
        "thread",
        "translated",
        "a continued conversation is made whole from what this server kept; in a count, continue is refused",
    ),
    Row("compaction", "refused", "nothing here writes compactions"),
    Row(
        "max_tokens",
        "translated",
        "never refused for its size; 0 reads the prompt into the cache and answers []",
    ),
    Row("stream", "translated", "events or one message, of equal content"),
    Row("stop_sequences", "translated", "any number; the one that matched is reported"),
    Row("temperature", "translated", "sampling"),
    Row("top_p", "translated", "sampling"),
    Row("top_k", "translated", "sampling; 0 is no cut"),
    Row("service_tier", "no effect", "there is one tier; usage says standard"),
    Row("inference_geo", "no effect", "the engine runs where it runs"),
    Row("diagnostics", "no effect", "answered with null"),
    Row("fallbacks", "no effect", "there are no policy refusals to fall back from"),
    Row("fallback_credit_token", "no effect", "nothing is billed"),
    Row("billing_policy", "no effect", "nothing is billed"),
    Row("safeguards", "no effect", "engines have none to configure"),
    Row("tags", "no effect", "attribution for a bill that does not exist"),
    Row("user_profile_id", "no effect", "there are no user profiles"),
    Row("workspace_id", "no effect", "there are no workspaces"),
)

# The fields of one message beside its role and content.
MESSAGE_FIELDS: tuple[Row, ...] = (
    Row(
        "role",
        "translated",
        "a system turn stays where it stands; one between a call and its result goes after",
    ),
    Row("content", "translated", "a string equals one text block"),
    Row(
        "clear_at",
        "translated",
        "next_user_message: a system turn is left out once a later user turn is there",
    ),
    Row(
        "output_config", "translated", "the effort of the latest system turn holds; a format is refused there"
    ),
)

# The types of edits in context_management.
EDITS: tuple[Row, ...] = (
    Row(
        "clear_thinking_20251015",
        "translated",
        "thinking of all but the newest `keep` turns is left out; with keep all, nothing is done or counted",
    ),
    Row(
        "clear_tool_uses_20250919",
        "translated",
        "old results become a short note, their calls' arguments {} where asked; clear_at_least makes steps",
    ),
    Row("compact_20260112", "no effect", "it never triggers; long conversations are compacted by the client"),
    Row("unknown", "no effect", "an edit of a type that is not known; refused in strict mode only"),
)

# The fields of a custom tool.
TOOL_FIELDS: tuple[Row, ...] = (
    Row("name", "translated", "unique, 1 to 128 of a-z A-Z 0-9 _ -"),
    Row("type", "translated", "see the types of tools; unknown ones are refused by name"),
    Row("description", "translated", "as it is"),
    Row("input_schema", "translated", "byte for byte; it must be an object schema"),
    Row("cache_control", "no effect", "engines cache prefixes by themselves"),
    Row(
        "strict",
        "translated",
        "calls are held to the schema by the engine and checked; a schema that cannot be held is a 400",
    ),
    Row("eager_input_streaming", "no effect", "arguments always stream as the model writes them"),
    Row(
        "defer_loading",
        "translated",
        "true keeps the tool out of the prompt's head; it is written out where a reference loads it",
    ),
    Row("input_examples", "translated", "joins the schema as its `examples`"),
    Row("allowed_callers", "no effect", "the model is the only caller"),
    Row("display_width_px", "translated", "computer: stands in the tool's description"),
    Row("display_height_px", "translated", "computer: stands in the tool's description"),
    Row("display_number", "translated", "computer: stands in the tool's description"),
    Row("enable_zoom", "translated", "computer_20251124: true offers the action zoom"),
    Row("max_characters", "translated", "text_editor_20250728: stands in the tool's description"),
    Row("max_uses", "translated", "server tools: calls beyond it give the error max_uses_exceeded"),
    Row("allowed_domains", "translated", "server tools of the web: others are left out, or not fetched"),
    Row("blocked_domains", "translated", "server tools of the web: never both with allowed_domains"),
    Row(
        "user_location",
        "translated",
        "web_search: handed to the backend; SearXNG and folders have no use for it",
    ),
    Row("max_content_tokens", "translated", "web_fetch: a page's text is cut there, about"),
    Row("citations", "translated", "web_fetch: repeated in the document; engines cite nothing"),
    Row("url_sources", "refused", "web_fetch: but for `all`; every source counts"),
    Row("response_inclusion", "no effect", "server tools: nothing runs code, so no result is consumed by it"),
    Row("use_cache", "no effect", "web_fetch: pages are always read anew"),
)

_KNOWN = "a function with the known schema under the name"
# The types of tools; `*` stands for any version.
TOOL_TYPES: tuple[Row, ...] = (
    Row("custom", "translated", "also null or absent: a function"),
    Row("bash_20241022", "translated", f"{_KNOWN} bash"),
    Row("bash_20250124", "translated", f"{_KNOWN} bash"),
    Row("text_editor_20241022", "translated", f"{_KNOWN} str_replace_editor"),
    Row("text_editor_20250124", "translated", f"{_KNOWN} str_replace_editor"),
    Row("text_editor_20250429", "translated", f"{_KNOWN} str_replace_based_edit_tool"),
    Row("text_editor_20250728", "translated", f"{_KNOWN} str_replace_based_edit_tool"),
    Row("memory_20250818", "translated", f"{_KNOWN} memory"),
    Row("computer_20241022", "translated", f"{_KNOWN} computer"),
    Row("computer_20250124", "translated", f"{_KNOWN} computer, with scroll, wait and held keys"),
    Row("computer_20251124", "translated", f"{_KNOWN} computer, with zoom where it is enabled"),
    Row("computer_toolset_*", "refused", "many tools under one name; declare computer_20251124"),
    Row("browser_toolset_*", "refused", "many tools under one name; declare each tool as a custom one"),
    Row("web_search_*", "translated", "runs here where `server_tools` names a search or a folder"),
    Row("web_fetch_*", "translated", "runs here where `server_tools` allows it, or names a folder"),
    Row("code_execution_*", "refused", "runs on a server that has a sandbox"),
    Row("advisor_*", "refused", "asks another model on the server"),
    Row("tool_search_tool_*", "translated", "runs here, over the deferred tools of the request"),
    Row("mcp_toolset", "refused", "connects to an MCP server"),
)

# The types of content blocks.
BLOCKS: tuple[Row, ...] = (
    Row("text", "translated", "system and user blocks join with a newline, assistant blocks with nothing"),
    Row("image", "translated", "base64 as a data URI, url by setting; user turns and tool results only"),
    Row("thinking", "translated", "back to the engine as earlier thinking; foreign ones by setting"),
    Row("redacted_thinking", "translated", "back to the engine if it is ours, else dropped with a count"),
    Row("tool_use", "translated", "a call, its arguments as the model spelled them"),
    Row("tool_result", "translated", "a tool turn after the call; its images in the user turn that follows"),
    Row("tool_reference", "translated", "inside a result: the schema of the deferred tool as text"),
    Row("search_result", "translated", "its texts between tags that hold its source and title"),
    Row(
        "document",
        "translated",
        "its text and images between tags that hold its title and context; PDF, url and file by setting; in "
        "assistant turns only under versions of the API before 2026-10-21",
    ),
    Row("browser_state", "translated", "its tabs and changes as text"),
    Row("server_tool_use", "translated", "a call, where its tool is declared and runs here; else its text"),
    Row(
        "web_search_tool_result", "translated", "the result of such a call; else titles and addresses as text"
    ),
    Row(
        "web_fetch_tool_result", "translated", "the result of such a call; else address and document as text"
    ),
    Row("code_execution_tool_result", "translated", "history as text: output and return code, or the error"),
    Row(
        "bash_code_execution_tool_result",
        "translated",
        "history as text: output and return code, or the error",
    ),
    Row("text_editor_code_execution_tool_result", "translated", "history as text, or the error"),
    Row("tool_search_tool_result", "translated", "the result of such a call; else the tools' names as text"),
    Row("advisor_tool_result", "translated", "history as text: the advice, or the error"),
    Row("mcp_tool_use", "translated", "history of a tool that ran elsewhere: its name and input as text"),
    Row("mcp_tool_result", "translated", "history as text"),
    Row("mcp_tool_listing", "translated", "history as text: the tools that the server listed"),
    Row("container_upload", "refused", "there are no containers"),
    Row("fallback", "no effect", "it only marks a change of model inside an answer"),
    Row(
        "compaction",
        "translated",
        "a user turn with the summary, in place of all before it, and its tool_changes as text",
    ),
    Row("tool_addition", "translated", "system turns only: the tool's schema as text; MCP tools are refused"),
    Row("tool_removal", "translated", "system turns only: a line as text; the tool can be forced no more"),
)

# Fields of blocks that are accepted and have no effect.
BLOCK_FIELDS: tuple[Row, ...] = (
    Row("cache_control", "no effect", "engines cache prefixes by themselves"),
    Row("text.citations", "no effect", "marks of earlier answers; the text holds all there is to read"),
    Row("document.citations", "no effect", "engines cite nothing"),
    Row("search_result.citations", "no effect", "engines cite nothing"),
    Row("image.transformations", "no effect", "engines scale images by themselves"),
    Row("tool_use.caller", "no effect", "the model is the only caller"),
    Row("tool_use.toolset_name", "no effect", "toolsets are not available, so no call belongs to one"),
    Row("tool_result.toolset_name", "no effect", "toolsets are not available, so no result belongs to one"),
    Row("*_tool_use.caller", "no effect", "what called a tool that ran elsewhere changes nothing here"),
    Row("*_tool_result.caller", "no effect", "what called a tool that ran elsewhere changes nothing here"),
    Row("*.encrypted_*", "no effect", "only its maker can read it; left out of the text"),
    Row("compaction.signature", "no effect", "summaries are taken at their word"),
    Row("thinking.block_binding", "no effect", "a signature opens on every engine and model"),
    Row("tool_addition.tool:mcp_*", "refused", "nothing connects to MCP servers"),
    Row("tool_removal.tool:mcp_*", "refused", "nothing connects to MCP servers"),
)

# Where the content of images and documents can come from.
SOURCES: tuple[Row, ...] = (
    Row("image.source:base64", "translated", "a data URI"),
    Row("image.source:url", "translated", "handed to the engine, fetched here, or refused, by setting"),
    Row("image.source:file", "translated", "the bytes of a file of the Files API"),
    Row("document.source:text", "translated", "text in place"),
    Row("document.source:content", "translated", "text and images in place"),
    Row(
        "document.source:base64",
        "translated",
        "a PDF: the text of its pages, or their images for a model that sees; limits by setting",
    ),
    Row("document.source:url", "refused", "unless a setting has them fetched here: then text, or a PDF"),
    Row("document.source:file", "translated", "a file of the Files API: text, or a PDF as above"),
)

UNAVAILABLE_BLOCKS: dict[str, str] = {row.name: row.what for row in BLOCKS if row.effect == "refused"}

# How the types of tools begin that the API defines and a client or a server runs.
CLIENT_TOOLS: tuple[str, ...] = (
    "bash_",
    "text_editor_",
    "memory_",
    "computer_",
    "browser_toolset_",
)
SERVER_TOOLS: tuple[str, ...] = (
    "web_search_",
    "web_fetch_",
    "code_execution_",
    "advisor_",
    "tool_search_tool_",
    "mcp_toolset",
)

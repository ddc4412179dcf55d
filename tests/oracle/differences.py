"""Every difference between our types and the SDK's, with its reason.

A row explains the differences whose place fits its pattern (`*` stands for anything) and whose `what` is the
same. A row that explains nothing is as wrong as a difference without a row.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tests.oracle.compare import What

Kind = Literal["by setting", "no effect", "refused", "lenient", "ours", "never sent", "read later"]


class Row(NamedTuple):
    """Where, what differs, what kind of difference it is, and why."""

    place: str
    what: What
    kind: Kind
    reason: str

    def explains(self, place: str, what: str) -> bool:
        """Whether this is the row of that difference."""
        pattern = ".*".join(map(re.escape, self.place.split("*")))
        return what == self.what and re.fullmatch(pattern, place) is not None


DIFFERENCES: tuple[Row, ...] = (
    # --- fields of a request ---
    Row(
        "*.betas",
        "missing",
        "no effect",
        "the SDK sends it as the header anthropic-beta; unknown betas are fine",
    ),
    Row("request.temperature", "ours", "ours", "gone from the newest API version; engines sample with it"),
    Row("request.top_p", "ours", "ours", "gone from the newest API version; engines sample with it"),
    Row("request.top_k", "ours", "ours", "gone from the newest API version; engines sample with it"),
    Row("*.session_id", "ours", "ours", "names the conversation for placement; any client may send it"),
    Row("request.safeguards", "ours", "no effect", "sent by Claude Code, in no SDK type; engines have none"),
    Row("request.tags", "ours", "no effect", "sent by Claude Code, in no SDK type; attribution only"),
    Row("*.billing_policy", "opaque", "no effect", "nothing is billed, so nothing in it is read"),
    Row("*.compaction", "opaque", "refused", "nothing here writes compactions, so nothing in it is read"),
    Row(
        "request.container",
        "opaque",
        "no effect",
        "there are no containers; only skills are looked at, and refused",
    ),
    Row(
        "request.context_management.edits[]:unknown",
        "ours",
        "lenient",
        "stands for an edit of a type that is not known here, which has no effect",
    ),
    Row("request.diagnostics", "opaque", "no effect", "always answered with null"),
    Row("request.fallback*", "opaque", "no effect", "engines do not refuse by policy, nothing falls back"),
    Row(
        "request.mcp_servers[]", "opaque", "refused", "nothing connects to MCP servers; an empty list is fine"
    ),
    Row(
        "request.output_config.task_budget", "opaque", "no effect", "engines know no budget for a whole task"
    ),
    Row(
        "request.thinking:*.block_binding",
        "opaque",
        "no effect",
        "a signature opens on every engine and model",
    ),
    Row("*.user_profile_id", "opaque", "no effect", "there are no user profiles"),
    Row("*.workspace_id", "opaque", "no effect", "there are no workspaces"),
    Row("*.speed", "laxer", "lenient", "an engine has one speed, any word for it is accepted"),
    Row("request.service_tier", "laxer", "lenient", "there is one tier, any word for it is accepted"),
    Row("*.cache_control:ephemeral.ttl", "laxer", "lenient", "it has no effect, so any lifetime is accepted"),
    Row("count.container", "ours", "lenient", "a body for the answer can be sent to be counted as it is"),
    Row(
        "count.metadata",
        "ours",
        "lenient",
        "it may hold the session, which places the count beside its cache",
    ),
    Row("count.thread", "ours", "refused", "known so that the count of a part of a conversation is refused"),
    # --- turns ---
    Row("turn.clear_at", "laxer", "lenient", "unknown words have no effect"),
    Row("turn.output_config.format", "ours", "refused", "known so that its refusal can name it"),
    Row("turn.output_config.task_budget", "ours", "no effect", "engines know no budget for a task"),
    # --- content blocks of requests ---
    Row(
        "block:*.citations",
        "opaque",
        "no effect",
        "marks of earlier answers; the text holds all there is to read",
    ),
    Row("block:*.caller", "opaque", "no effect", "the model is the only caller"),
    Row("block:*_tool_result.content", "opaque", "lenient", "history of any shape becomes text"),
    Row("block:*_tool_result.content", "laxer", "lenient", "history of any shape becomes text"),
    Row(
        "block:thinking.signature",
        "laxer",
        "lenient",
        "clients of other servers send thinking back without one",
    ),
    Row(
        "block:image.source:base64.media_type",
        "laxer",
        "read later",
        "checked where its refusal can list them",
    ),
    Row("block:*image.transformations", "opaque", "no effect", "engines scale images by themselves"),
    Row(
        "block:document.source:*.media_type",
        "laxer",
        "read later",
        "checked where its refusal can list them",
    ),
    Row("block:server_tool_use.name", "laxer", "lenient", "history becomes text whatever its name is"),
    Row("block:tool_reference", "ours", "refused", "known in any place, so that its refusal can name it"),
    Row("block:tool_*.tool", "opaque", "read later", "read where its refusal can name the path of the block"),
    Row("block:browser_state.state_changes[]*", "laxer", "lenient", "a change of any kind becomes text"),
    Row("block:browser_state.state_changes[]:*", "missing", "lenient", "a change of any kind becomes text"),
    Row(
        "block:compaction.tool_changes",
        "opaque",
        "read later",
        "read where its refusal can name the path of the block",
    ),
    Row("block:fallback.*", "opaque", "no effect", "the block only marks a change of model and is dropped"),
    Row("block:fallback.*", "laxer", "no effect", "the block only marks a change of model and is dropped"),
    Row("block:fallback.cache_control", "ours", "lenient", "every block but thinking may carry it"),
    Row("block:mcp_tool_listing.cache_control", "ours", "lenient", "every block but thinking may carry it"),
    Row("block:mcp_tool_listing.*", "laxer", "lenient", "history of any shape becomes text"),
    Row("block:mcp_tool_listing.tools", "opaque", "lenient", "history of any shape becomes text"),
    Row("block:mcp_tool_use.server_name", "laxer", "lenient", "history of any shape becomes text"),
    # --- tools ---
    Row("tool:custom.name", "laxer", "read later", "all kinds of tools share one type; checked by kind"),
    Row(
        "tool:custom.input_schema",
        "laxer",
        "read later",
        "all kinds of tools share one type; checked by kind",
    ),
    Row("tool:custom.input_schema", "opaque", "read later", "kept byte for byte, for the engine compiles it"),
    Row("tool:custom.input_examples", "opaque", "read later", "kept byte for byte inside the schema"),
    Row("tool:custom.allowed_callers", "opaque", "no effect", "the model is the only caller"),
    Row("tool:bash_*", "missing", "read later", "all kinds of tools share one type; checked by kind"),
    Row("tool:text_editor_*", "missing", "read later", "all kinds of tools share one type; checked by kind"),
    Row("tool:memory_*", "missing", "read later", "all kinds of tools share one type; checked by kind"),
    Row("tool:computer_2*", "missing", "read later", "all kinds of tools share one type; checked by kind"),
    Row("tool:custom.display_*", "ours", "read later", "all kinds of tools share one type; checked by kind"),
    Row(
        "tool:custom.enable_zoom", "ours", "read later", "all kinds of tools share one type; checked by kind"
    ),
    Row(
        "tool:custom.max_characters",
        "ours",
        "read later",
        "all kinds of tools share one type; checked by kind",
    ),
    Row("tool:computer_toolset_*", "missing", "refused", "many tools under one name; refused by its type"),
    Row("tool:browser_toolset_*", "missing", "refused", "many tools under one name; refused by its type"),
    Row(
        "tool:web_search_*",
        "missing",
        "by setting",
        "runs here where `server_tools` names a search or a folder",
    ),
    Row(
        "tool:web_fetch_*",
        "missing",
        "by setting",
        "runs here where `server_tools` allows it, or names a folder",
    ),
    Row("tool:code_execution_*", "missing", "refused", "runs on a server that has a sandbox"),
    Row("tool:advisor_*", "missing", "refused", "asks another model on the server"),
    Row(
        "tool:tool_search_tool_*",
        "missing",
        "read later",
        "runs here, over the deferred tools of the request",
    ),
    *(
        Row(
            f"tool:custom.{field}", "ours", "read later", "all kinds of tools share one type; checked by kind"
        )
        for field in (
            "max_uses",
            "allowed_domains",
            "blocked_domains",
            "user_location",
            "max_content_tokens",
            "citations",
            "url_sources",
            "response_inclusion",
            "use_cache",
        )
    ),
    Row("tool:mcp_toolset", "missing", "refused", "connects to an MCP server"),
    # --- answers ---
    Row("answer:text.citations", "stricter", "never sent", "engines cite nothing; always null"),
    Row("answer:*tool_*.caller", "missing", "never sent", "the model is the only caller"),
    Row("answer:server_tool_use.name", "laxer", "ours", "the name that the tool was declared with"),
    Row(
        "answer:web_fetch_tool_result.*:base64",
        "missing",
        "never sent",
        "a page is given as text, a PDF's text too",
    ),
    Row("answer:tool_use.toolset_name", "missing", "never sent", "toolsets are not available"),
    Row(
        "answer:redacted_thinking",
        "missing",
        "never sent",
        "omitted thinking stays in the signature of its block",
    ),
    Row("answer:*_tool_result", "missing", "never sent", "no such tool runs here"),
    Row("answer:*_tool_use", "missing", "never sent", "no such tool runs here"),
    Row("answer:mcp_tool_listing", "missing", "never sent", "nothing connects to MCP servers"),
    Row("answer:container_upload", "missing", "never sent", "there are no containers"),
    Row("answer:compaction", "missing", "never sent", "nothing here writes compactions"),
    Row("answer:fallback", "missing", "never sent", "one model gives the whole answer"),
    Row("*.container", "missing", "never sent", "there are no containers; always null"),
    Row("*.stop_details:refusal", "missing", "never sent", "engines do not say why they refuse; always null"),
    Row("*.stop_reason=compaction", "missing", "never sent", "nothing here writes compactions"),
    Row("*.input_transformations", "missing", "never sent", "the request reaches the model as it came"),
    Row("message.diagnostics", "missing", "never sent", "engines do not say why a cache missed; always null"),
    Row("*.usage.fallback_credit", "missing", "never sent", "nothing is billed"),
    Row("*.usage.iterations", "missing", "never sent", "the rounds of an answer are counted together"),
    # --- events and errors ---
    Row("event:ping", "ours", "ours", "in every API stream, in no SDK type; the SDKs skip it"),
    Row("event:error", "ours", "ours", "in API streams, in no SDK event type; the SDKs raise it"),
    Row("event:*.delta:citations_delta", "missing", "never sent", "engines cite nothing"),
    Row("event:*.delta:compaction_delta", "missing", "never sent", "nothing here writes compactions"),
    Row(
        "event:*.estimated_tokens", "missing", "never sent", "what engines count of thinking comes at the end"
    ),
    Row(
        "error:*.details",
        "ours",
        "ours",
        "`error_code` and what belongs to it; the SDKs choose the exception by it",
    ),
    Row("error:conflict_error", "ours", "ours", "a 409 of the API, in no common SDK type"),
    Row("error:request_too_large", "ours", "ours", "a 413 of the API, in no common SDK type"),
    Row("error:not_supported", "ours", "ours", "a 501: not to be had on this engine"),
    # --- models ---
    Row("model.line*", "missing", "never sent", "open models belong to no such line; always null"),
    Row("model.capabilities", "missing", "never sent", "engines do not say it in these terms; always null"),
    Row(
        "model.deprecated_at", "stricter", "never sent", "nobody announces that for open models; always null"
    ),
    Row("model.retires_at", "stricter", "never sent", "nobody announces that for open models; always null"),
    Row("model.allowed_fallback_models", "missing", "never sent", "there are no fallbacks"),
    Row("model_page.object", "ours", "ours", "the key of OpenAI clients, in the same list"),
    Row("model.object", "ours", "ours", "the key of OpenAI clients, in the same objects"),
    Row("model.created", "ours", "ours", "the key of OpenAI clients, in the same objects"),
    Row("model.owned_by", "ours", "ours", "the key of OpenAI clients, in the same objects"),
    # --- files ---
    Row("file_page.has_more", "ours", "ours", "for clients that turn pages by ids, as lists of batches are"),
    Row("file_page.first_id", "ours", "ours", "for clients that turn pages by ids, as lists of batches are"),
    Row("file_page.last_id", "ours", "ours", "for clients that turn pages by ids, as lists of batches are"),
    Row("file.scope*", "missing", "never sent", "no session owns files here; always null"),
    # --- batches ---
    Row("batches.requests[].params", "opaque", "read later", "each is a whole request, read when it runs"),
    Row("batches.user_profile_id", "missing", "lenient", "a header of that name has no effect either"),
    Row("batches.workspace_id", "missing", "lenient", "a header of that name has no effect either"),
    Row("batch.archived_at", "stricter", "never sent", "results live as long as their batch; always null"),
)

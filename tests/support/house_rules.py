"""The checkers behind the house rules: pure functions from a file's text to what breaks a rule in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40

# A directive that silences a tool, and whatever follows it on its line.
_DIRECTIVE = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[\w\-, ]+\])?"
    r"|pragma:\s*no cover)(?P<rest>.*)"
)
_REASON = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}")
_UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
# Written in pieces, so that this file does not hold what it looks for.
_PRIVATE_PLACES = re.compile(
    r"(?<![\w.~$}/-])/(?:ro" + r"ot|wo" + r"rk|opt|Users/\w+|home/(?!user\b)\w+|tmp/te" + r"am)/"
)
_REGISTRY_HOSTS = re.compile(
    r"\b(?:py" + r"pi\.org|pythonhos" + r"ted\.org|registry\.(?:npm" + r"js\.org|yarnpkg\.com))"
)
_SKIPPING = {"skip", "skipif", "xfail", "importorskip"}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def long_module(source: str) -> list[str]:
    """A module with more lines than the limit."""
    lines = source.count("\n")
    return [f"1: {lines} lines"] if lines > MAX_MODULE_LINES else []


def long_functions(source: str) -> list[str]:
    """Functions with more lines than the limit, their docstring not counted."""
    return [
        f"{node.lineno}: {node.name} has {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, FunctionNode) and (length := _function_lines(node)) > MAX_FUNCTION_LINES
    ]


def _function_lines(node: FunctionNode) -> int:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return length


def missing_docstring(source: str) -> list[str]:
    """A module that holds code but no docstring."""
    tree = ast.parse(source)
    return ["1: no module docstring"] if tree.body and ast.get_docstring(tree) is None else []


def silent_directives(source: str) -> list[str]:
    """`noqa`, `type: ignore` and `pragma` without words of reason after them on the line."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        directive = _DIRECTIVE.search(line)
        if directive and not _REASON.search(directive["rest"]):
            found.append(f"{number}: {line.strip()[-60:]}")
    return found


def broad_excepts(source: str) -> list[str]:
    """`except Exception` and wider, or `suppress` of them, that end there without a comment saying why."""
    lines = source.splitlines()
    return [
        f"{number}: a broad except without a reason"
        for number in _broad_lines(ast.parse(source))
        if not _REASON.search(lines[number - 1].partition("#")[2])
    ]


def _broad_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            # what cleans up and raises again swallows nothing
            caught = [] if _raises_again(node) else [node.type]
        elif isinstance(node, ast.Call) and _last_name(node.func) == "suppress":
            caught = [*node.args]
        else:
            continue
        if any(kind is None or _names_broad(kind) for kind in caught):
            yield node.lineno


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _names_broad(node: ast.expr) -> bool:
    members = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(_last_name(member) in {"Exception", "BaseException"} for member in members)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def skips_without_reason(source: str) -> list[str]:
    """Skips and expected failures that do not say why."""
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in _SKIPPING and _of_pytest(node.value)):
            continue
        call = calls.get(id(node))
        if call is None or not _gives_reason(call, node.attr):
            found.append(f"{node.lineno}: {node.attr} without a reason")
    return found


def _of_pytest(node: ast.expr) -> bool:
    return _last_name(node) == "pytest" or (isinstance(node, ast.Attribute) and node.attr == "mark")


def _gives_reason(call: ast.Call, name: str) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if name in {"skip", "xfail"}:
        given += call.args[:1]
    return any(not (isinstance(value, ast.Constant) and not value.value) for value in given)


def conditional_assertions(source: str) -> list[str]:
    """Assertions of a test that stand under an `if`: a test that may check nothing."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, FunctionNode) and function.name.startswith("test"):
            conditions = (node for node in ast.walk(function) if isinstance(node, ast.If))
            asserts = {
                node.lineno
                for branch in conditions
                for node in ast.walk(branch)
                if isinstance(node, ast.Assert)
            }
            found += [f"{line}: an assertion under a condition" for line in sorted(asserts)]
    return found


def imported_modules(source: str) -> list[tuple[int, str]]:
    """Every module that a source imports, by line: `import a.b` and `from a import b` both give `a.b`."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def forbidden_imports(source: str, forbidden: frozenset[str]) -> list[str]:
    """Imports of the forbidden modules, or of anything inside them."""
    return [
        f"{line}: imports {module}"
        for line, module in imported_modules(source)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


def unfinished_marks(text: str) -> list[str]:
    """Marks of work that was left for later."""
    return _matching_lines(text, _UNFINISHED)


def private_places(text: str) -> list[str]:
    """Paths of one machine and addresses of package registries."""
    return _matching_lines(text, _PRIVATE_PLACES) + _matching_lines(text, _REGISTRY_HOSTS)


def _matching_lines(text: str, pattern: re.Pattern[str]) -> list[str]:
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {found.group()}" for number, line in lines if (found := pattern.search(line))]


def unlocked_requirements(text: str) -> list[str]:
    """Lines of a lock that pin without a hash, or name a place to fetch from."""
    entries = text.replace("\\\n", " ").splitlines()
    found = []
    for entry in entries:
        if "://" in entry or entry.startswith("-"):
            found.append(f"an address or an option: {entry[:60]}")
        elif entry and not entry.startswith("#") and ("==" not in entry or "--hash=sha256:" not in entry):
            found.append(f"not pinned with a hash: {entry[:60]}")
    return found

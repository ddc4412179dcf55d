"""The Files API over HTTP: uploads as they come, lists in pages, bytes, and every refusal."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import Serve
from tests.server.http import connected, error_of, eventually, read_response

VERSION = {"anthropic-version": "2023-06-01"}


def upload(
    url: str, data: bytes = b"hello", *, name: str = "a.txt", kind: str = "text/plain", **fields: Any
) -> httpx.Response:
    files = {"file": (name, data, kind)}
    return httpx.post(f"{url}/v1/files", files=files, data=fields, headers=VERSION)


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    """A body of parts, each with its own headers."""
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def part(name: str, data: bytes, *lines: str, rest: str = "") -> bytes:
    head = "\r\n".join([f'content-disposition: form-data; name="{name}"{rest}', *lines])
    return head.encode() + b"\r\n\r\n" + data


def post(url: str, body: bytes, kind: str = "multipart/form-data; boundary=xyz") -> httpx.Response:
    return httpx.post(f"{url}/v1/files", content=body, headers={**VERSION, "content-type": kind})


@pytest.fixture
def url(serve: Serve, tmp_path: Path) -> str:
    """A server with a state folder of its own; files of at most 1000 bytes, 1500 in all."""
    return serve(state_dir=str(tmp_path), files={"max_bytes": 1000, "quota_bytes": 1500}).url


def test_a_file_goes_in_and_comes_back(url: str) -> None:
    made = upload(url, name="été.txt", expires_in_seconds="3600")
    assert made.status_code == 200, made.text
    file = made.json()
    assert file["id"].startswith("file_")
    assert {name: file[name] for name in file.keys() - {"id", "created_at", "expires_at"}} == {
        "type": "file",
        "filename": "été.txt",
        "mime_type": "text/plain",
        "size_bytes": 5,
        "downloadable": True,
        "scope": None,
    }
    assert file["created_at"][13:] == file["expires_at"][13:]
    assert httpx.get(f"{url}/v1/files/{file['id']}").json() == file
    content = httpx.get(f"{url}/v1/files/{file['id']}/content")
    assert content.content == b"hello"
    assert content.headers["content-type"] == "text/plain"
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9t%C3%A9.txt"
    assert content.headers["x-content-type-options"] == "nosniff"
    assert content.headers["request-id"].startswith("req_")
    gone = httpx.delete(f"{url}/v1/files/{file['id']}?beta=true")
    assert gone.json() == {"id": file["id"], "type": "file_deleted"}
    for path in ("", "/content"):
        missing = httpx.get(f"{url}/v1/files/{file['id']}{path}")
        assert (missing.status_code, error_of(missing)["type"]) == (404, "not_found_error")


def test_any_bytes_come_back_as_they_went_in(url: str) -> None:
    data = bytes(range(256)) * 3 + b"\r\n--xyz\r\n--"
    file = upload(url, data, kind="application/pdf").json()
    assert httpx.get(f"{url}/v1/files/{file['id']}/content").content == data
    empty = upload(url, b"").json()
    assert (empty["size_bytes"], empty["expires_at"]) == (0, None)
    assert httpx.get(f"{url}/v1/files/{empty['id']}/content").content == b""


def test_a_head_has_no_body(url: str) -> None:
    file = upload(url).json()
    found = httpx.head(f"{url}/v1/files/{file['id']}/content")
    assert (found.status_code, found.headers["content-length"], found.content) == (200, "5", b"")


@pytest.mark.parametrize(
    ("rest", "line", "name", "kind"),
    [
        ('; filename="../../etc/passwd"', "content-type: text/plain", "passwd", "text/plain"),
        (r'; filename="C:\\dir\\a.txt"', "content-type: text/plain", "a.txt", "text/plain"),
        ('; filename="a.png"', "x-other: 1", "a.png", "image/png"),
        ('; filename="a.pdf"', "content-type: application/octet-stream", "a.pdf", "application/pdf"),
        ('; filename="a"', "content-type: Text/Plain; charset=utf-8", "a", "text/plain"),
        ('; filename="a"', "x-other: 1", "a", "application/octet-stream"),
        ('; filename=""', "content-type: application/pdf", "unnamed.pdf", "application/pdf"),
        ("", "content-type: x/unheard-of", "unnamed", "x/unheard-of"),
        (
            "; filename*=UTF-8''%C3%A9t%C3%A9%20%F0%9F%98%80.pdf",
            "x-other: 1",
            "été 😀.pdf",
            "application/pdf",
        ),
        ("; filename*=utf-8'fr'%C3%A9.txt; filename=\"e.txt\"", "x-other: 1", "é.txt", "text/plain"),
        ("; filename=\"e.txt\"; filename*=iso-8859-1''%E9.txt", "x-other: 1", "é.txt", "text/plain"),
        (
            "; filename*0*=UTF-8''%C3%A9; filename*1*=t%C3%A9; filename*2=\"; x.txt\"",
            "x-other: 1",
            "été; x.txt",
            "text/plain",
        ),
        ('; filename*0="a"; filename*1="b.txt"', "x-other: 1", "ab.txt", "text/plain"),
        ("; filename*=UTF-8''at%203%E2%80%AFPM.png", "x-other: 1", "at 3\u202fPM.png", "image/png"),
        ("; filename*=UTF-8''%E5%A0%B1%E3%80%80x.pdf", "x-other: 1", "報\u3000x.pdf", "application/pdf"),
        ("; FileName*=UTF-8''a%2F..%2F%C3%A9.txt", "x-other: 1", "é.txt", "text/plain"),
        ('; filename="100%25 été.txt"', "x-other: 1", "100%25 été.txt", "text/plain"),
        ('; filename*0="é"; filename*1=".txt"', "x-other: 1", "é.txt", "text/plain"),
        ("; filename*=a%20b.txt", "x-other: 1", "a b.txt", "text/plain"),
        ('; filename="a*b.txt"', "x-other: 1", "a*b.txt", "text/plain"),
        ("; note*=UTF-8''x", "content-type: application/pdf", "unnamed.pdf", "application/pdf"),
        # what cannot be read gives way to what can
        ("; filename*=UTF-8''%FF; filename=\"e.txt\"", "x-other: 1", "e.txt", "text/plain"),
        ("; filename*=no-charset''a; filename=\"e.txt\"", "x-other: 1", "e.txt", "text/plain"),
    ],
)
def test_names_and_types(url: str, rest: str, line: str, name: str, kind: str) -> None:
    made = post(url, form(part("file", b"x", line, rest=rest)))
    assert made.status_code == 200, made.text
    assert (made.json()["filename"], made.json()["mime_type"]) == (name, kind)


FILE = part("file", b"x", rest='; filename="a"')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(part("other", b"x")), "file: Field required"),
        (form(FILE, FILE), "file: it stands in the form twice"),
        (form(FILE, part("expires_in_seconds", b"soon")), "expires_in_seconds: Input should be an integer"),
        (form(FILE, part("expires_in_seconds", b"3599")), "expires_in_seconds: Input should be an integer"),
        (
            form(FILE, part("expires_in_seconds", b"7776001")),
            "expires_in_seconds: Input should be an integer",
        ),
        (form(FILE, part("note", b"x" * 65_537)), "note: it is longer than"),
        (form(part("file", b"x", "content-type: no type")), "file: its content-type 'no type' is not"),
        (form(part("file", b"x", rest=f'; filename="{"x" * 256}"')), "file: its filename is longer than 255"),
        (form(part("file", b"x", rest='; filename="?"').replace(b"?", b"\xff")), "not valid UTF-8"),
        (form(part("file", b"x", rest="; filename*=UTF-8''%FF.txt")), "file: its filename* cannot be read"),
        (form(part("file", b"x", rest="; filename*=é.txt")), "file: its filename* cannot be read"),
        (form(part("file", b"x", rest=f"; filename*{'9' * 5000}=a")), "not valid multipart/form-data"),
        (form(part("file", b"x", rest="; filename*=UTF-8''a.txt; filename*0=b")), "not valid multipart"),
        (form(part("file", b"x", rest="; filename*=koi8-r''%C1")), "file: its filename* cannot be read"),
        (form(part("file", b"x", rest="; filename*=UTF-8''a%0D%0Ab")), "file: its filename* cannot be read"),
        (form(part("file", b"x", rest=f"; filename*=UTF-8''{'%C3%A9' * 256}")), "longer than 255"),
        (form(FILE)[:-4], "its last boundary is missing"),
        (b"", "its last boundary is missing"),
        (b"no form at all", "not valid multipart/form-data"),
        (form(b"content-disposition: attachment\r\n\r\nx"), "not valid multipart/form-data"),
        (form(b"content-disposition: form-data\r\n\r\nx"), "not valid multipart/form-data"),
        (form(b"x: 1\r\n" * 17 + FILE), "not valid multipart/form-data"),
    ],
)
def test_what_is_wrong_with_a_form_is_named(url: str, body: bytes, words: str) -> None:
    refused = post(url, body)
    assert refused.status_code == 400, refused.text
    assert words in error_of(refused)["message"]
    assert httpx.get(f"{url}/v1/files").json()["data"] == []


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 415),
        ("multipart/form-data", 400),
        (f"multipart/form-data; boundary={'x' * 71}", 400),
    ],
)
def test_a_body_that_is_declared_otherwise_is_refused(url: str, kind: str, status: int) -> None:
    refused = post(url, form(FILE), kind)
    assert refused.status_code == status
    assert error_of(refused)["message"].startswith("content-type: ")


def test_other_fields_are_refused_in_strict_mode_only(serve: Serve, url: str, tmp_path: Path) -> None:
    body = form(FILE, part("other", b"x"))
    assert post(url, body).status_code == 200
    strict = serve(state_dir=str(tmp_path), strict=True).url
    assert error_of(post(strict, body))["message"] == "other: Extra inputs are not permitted"


def test_a_file_that_is_too_large_is_refused_whether_declared_or_not(url: str) -> None:
    for size in (1001, 200_000):
        refused = upload(url, b"x" * size)
        assert (refused.status_code, error_of(refused)["type"]) == (413, "request_too_large")
    pieces = iter([form(part("file", b"x" * 200_000, rest='; filename="a"'))])
    headers = {**VERSION, "content-type": "multipart/form-data; boundary=xyz"}
    undeclared = httpx.post(f"{url}/v1/files", content=pieces, headers=headers)
    assert undeclared.status_code == 413
    assert httpx.get(f"{url}/v1/files").json()["data"] == []


def test_a_full_store_says_so_with_its_code(url: str) -> None:
    assert upload(url, b"x" * 1000).status_code == 200
    full = upload(url, b"x" * 501)
    assert full.status_code == 400
    error = error_of(full)
    assert error["type"] == "invalid_request_error"
    assert error["details"]["error_code"] == "storage_quota_exceeded"


def test_pages_lead_through_all_files(url: str) -> None:
    made = [upload(url, b"x").json()["id"] for _ in range(5)]
    pages: list[list[str]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = httpx.get(f"{url}/v1/files", params=query).json()
        pages.append([file["id"] for file in page["data"]])
        if page["next_page"] is None:
            break
        assert page["next_page"].startswith("page_")
        query["page"] = page["next_page"]
    assert pages == [made[:2:-1], made[2:0:-1], made[:1]]


def test_pages_lead_both_ways_by_ids_as_older_clients_turn_them(url: str) -> None:
    made = [upload(url, b"x").json()["id"] for _ in range(5)][::-1]

    def page(query: str) -> tuple[list[str], bool]:
        found = httpx.get(f"{url}/v1/files?{query}").json()
        ids = [file["id"] for file in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, found["has_more"]

    assert page("") == (made, False)
    assert page("limit=2") == (made[:2], True)
    assert page(f"limit=2&after_id={made[1]}") == (made[2:4], True)
    assert page(f"limit=2&after_id={made[3]}") == (made[4:], False)
    assert page(f"after_id={made[4]}") == ([], False)
    assert page(f"limit=2&before_id={made[3]}") == (made[1:3], True)
    assert page(f"limit=9&before_id={made[3]}") == (made[:3], False)
    assert page(f"limit=3&before_id={made[3]}") == (made[:3], False)
    assert page(f"before_id={made[0]}") == ([], False)
    assert page(f"ids[]={made[0]}&ids[]={made[4]}") == ([made[0], made[4]], False)


def test_both_ways_of_paging_can_be_mixed(url: str) -> None:
    made = [upload(url, b"x").json()["id"] for _ in range(5)][::-1]
    first = httpx.get(f"{url}/v1/files?limit=2&after_id={made[0]}").json()
    second = httpx.get(f"{url}/v1/files?limit=2&page={first['next_page']}").json()
    assert [file["id"] for file in second["data"]] == made[3:]
    assert (second["has_more"], second["next_page"]) == (False, None)


def test_a_file_that_is_gone_is_no_place_to_go_on_from(url: str) -> None:
    made = upload(url, b"x").json()["id"]
    httpx.delete(f"{url}/v1/files/{made}")
    refused = httpx.get(f"{url}/v1/files?after_id={made}")
    assert (refused.status_code, error_of(refused)["type"]) == (400, "invalid_request_error")
    assert made in error_of(refused)["message"]


def test_files_can_be_asked_for_by_their_ids(url: str) -> None:
    made = [upload(url, b"x").json()["id"] for _ in range(3)]
    query = [("ids[]", made[0]), ("ids[]", made[2]), ("ids[]", made[0]), ("ids", "file_none")]
    page = httpx.get(f"{url}/v1/files", params=query).json()
    assert [file["id"] for file in page["data"]] == [made[2], made[0]]
    assert page["next_page"] is None
    assert httpx.get(f"{url}/v1/files?scope_id=session_1").json() == {
        "data": [],
        "next_page": None,
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("page=page_%FF", "page"),
        ("page=page_YTpi", "page"),
        ("page=page_LTE6eA", "page"),
        ("page=page_OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk6eA", "page"),
        ("ids[]=a&limit=2", "limit"),
        ("ids[]=a&after_id=b", "after_id"),
        ("ids[]=a&before_id=b", "before_id"),
        ("after_id=a&before_id=b", "after_id"),
        ("after_id=file_none", "after_id"),
        ("before_id=file_none", "before_id"),
        ("page=page_x&after_id=a", "page"),
        ("page=page_x&before_id=a", "page"),
        ("ids[]=a&page=page_x", "page"),
        ("&".join(f"ids[]={number}" for number in range(101)), "ids"),
    ],
)
def test_questions_that_cannot_be_answered(url: str, query: str, name: str) -> None:
    refused = httpx.get(f"{url}/v1/files?{query}")
    assert refused.status_code == 400
    assert error_of(refused)["message"].startswith(f"{name}: ")


def test_another_key_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    url = serve(state_dir=str(tmp_path), api_keys={"ann": "key-a", "bob": "key-b"}).url
    ann, bob = {"x-api-key": "key-a"}, {"x-api-key": "key-b"}
    made = httpx.post(f"{url}/v1/files", content=form(FILE), headers={**ann, "content-type": CONTENT})
    file = f"{url}/v1/files/{made.json()['id']}"
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert httpx.request(method, file + path, headers=bob).status_code == 404
        assert httpx.request(method, file + path).status_code == 401
    assert httpx.get(f"{url}/v1/files", headers=bob).json()["data"] == []
    assert httpx.get(f"{file}/content", headers=ann).content == b"x"


CONTENT = "multipart/form-data; boundary=xyz"


def test_a_web_page_cannot_upload_to_an_open_door(url: str) -> None:
    refused = httpx.post(f"{url}/v1/files", content=form(FILE), headers={"content-type": CONTENT})
    assert refused.status_code == 400
    assert error_of(refused)["message"].startswith("anthropic-version: ")


def test_other_methods_are_refused_by_name(url: str) -> None:
    refused = httpx.put(f"{url}/v1/files")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST, HEAD")


def begin_upload(sock: socket.socket, url: str, size: int) -> None:
    head = [
        "POST /v1/files HTTP/1.1",
        f"host: {url.removeprefix('http://')}",
        "anthropic-version: 2023-06-01",
        f"content-type: {CONTENT}",
        f"content-length: {size}",
    ]
    sock.sendall("\r\n".join([*head, "", ""]).encode() + form(FILE)[:50])


def drafts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("files/*") if path.name != ".lock"]


def test_a_client_that_leaves_in_the_middle_leaves_nothing(url: str, tmp_path: Path) -> None:
    with connected(url) as sock:
        begin_upload(sock, url, 500)
        assert eventually(lambda: len(drafts(tmp_path)) == 1)
    assert eventually(lambda: drafts(tmp_path) == [])
    assert httpx.get(f"{url}/v1/files").json()["data"] == []


def test_a_body_that_does_not_come_is_given_up(serve: Serve, tmp_path: Path) -> None:
    url = serve(state_dir=str(tmp_path), timeouts={"body": 0.3}).url
    with connected(url) as sock:
        begin_upload(sock, url, 500)
        assert read_response(sock).status_code == 408
    assert eventually(lambda: drafts(tmp_path) == [])


def test_a_file_that_is_shorter_on_the_disk_cuts_the_connection(url: str, tmp_path: Path) -> None:
    file = upload(url, b"x" * 1000).json()
    (tmp_path / "files" / file["id"]).write_bytes(b"x" * 10)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/v1/files/{file['id']}/content")

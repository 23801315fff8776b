"""`/v1/files`: uploads to the disk, and what becomes of them."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from front_process import FrontProcess, error_of

from chatq.http.batch_store import BatchStore
from chatq.http.download import Download
from chatq.http.errors import NotFound
from chatq.http.file_store import FileStore
from for_each import for_each


def test_what_is_uploaded_is_there_to_the_byte(front: FrontProcess) -> None:
    content = bytes(range(256)) * 10_000
    file = front.upload(content).json()
    assert (file["object"], file["bytes"], file["purpose"]) == ("file", 2_560_000, "batch")
    assert file["filename"] == "in.jsonl"
    assert front.client.get(f"/v1/files/{file['id']}").json() == file
    answer = front.client.get(f"/v1/files/{file['id']}/content")
    assert answer.content == content
    part = front.client.get(f"/v1/files/{file['id']}/content", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=2-", 206, b"cdef"),
        ("bytes=-2", 206, b"ef"),
        ("bytes=4-99", 206, b"ef"),
        ("bytes=-99", 206, b"abcdef"),
        ("bytes=5-2", 200, b"abcdef"),
        ("bytes=0-1,3-4", 200, b"abcdef"),
        ("bytes=x", 200, b"abcdef"),
        ("lines=1-2", 200, b"abcdef"),
        ("", 200, b"abcdef"),
    ],
)
def test_one_range_of_bytes_is_answered_and_any_other_ignored(
    front: FrontProcess, asked: str, status: int, content: bytes
) -> None:
    file_id = front.upload(b"abcdef").json()["id"]
    answer = front.client.get(f"/v1/files/{file_id}/content", headers={"range": asked})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_download_is_whole_though_the_file_is_deleted_before_its_first_byte(tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    with files.writing() as (path, target):
        target.write(b"abcdef")
        target.close()
        stored = files.keep(path, filename="in.jsonl", purpose="batch")
    download = Download(files, stored)
    files.delete(stored.id)
    answer = asyncio.run(answer_of(download))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"abcdef", "6")
    with pytest.raises(NotFound, match=stored.id):
        Download(files, stored)


async def answer_of(app: Download) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client:
        return await client.get("/")


@pytest.mark.parametrize(
    ("content", "asked"), [(b"abcdef", "bytes=6-"), (b"abcdef", "bytes=-0"), (b"", "bytes=-1")]
)
def test_a_range_that_a_file_has_not_is_told_so(front: FrontProcess, content: bytes, asked: str) -> None:
    file_id = front.upload(content).json()["id"]
    answer = front.client.get(f"/v1/files/{file_id}/content", headers={"range": asked})
    assert error_of(answer) == (416, "invalid_request")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_files_are_listed_in_pages_the_newest_first(front: FrontProcess) -> None:
    made = [front.upload(b"x").json()["id"] for _ in range(3)]
    first = front.client.get("/v1/files", params={"limit": 2}).json()
    assert [file["id"] for file in first["data"]] == [made[2], made[1]]
    assert (first["has_more"], first["last_id"]) == (True, made[1])
    second = front.client.get("/v1/files", params={"limit": 1, "after": first["last_id"]}).json()
    assert [file["id"] for file in second["data"]] == [made[0]]
    oldest = front.client.get("/v1/files", params={"order": "asc", "limit": 1}).json()["data"][0]
    assert oldest["created_at"] <= first["data"][0]["created_at"]
    assert front.client.get("/v1/files", params={"purpose": "vision"}).json()["data"] == []


def test_a_file_that_was_deleted_is_gone(front: FrontProcess) -> None:
    file_id = front.upload(b"x").json()["id"]
    gone = front.client.delete(f"/v1/files/{file_id}")
    assert gone.json() == {"id": file_id, "object": "file", "deleted": True}
    for path in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        assert error_of(front.client.get(path)) == (404, "not_found")
    assert error_of(front.client.delete(f"/v1/files/{file_id}")) == (404, "not_found")


@pytest.mark.parametrize("name", ["../../config.yaml", "%2e%2e%2fconfig.yaml", "file-..", "file-" + "0" * 28])
def test_no_other_file_can_be_named(front: FrontProcess, name: str) -> None:
    assert front.client.get(f"/v1/files/{name}/content").status_code == 404


def test_an_upload_for_something_else_is_refused(front: FrontProcess) -> None:
    assert error_of(front.upload(b"x", purpose="fine-tune")) == (400, "invalid_request")


def test_a_life_is_an_hour_to_thirty_days(front: FrontProcess) -> None:
    file = front.upload(
        b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    ).json()
    assert file["expires_at"] == file["created_at"] + 3600
    for seconds in ("3599", "2592001", "x", "-5"):
        assert error_of(front.upload(b"x", **{"expires_after[seconds]": seconds}))[0] == 400


HEADERS = {"content-type": "multipart/form-data; boundary=b", "authorization": "Bearer any"}
PURPOSE = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        PURPOSE + b"--b--\r\n",
        FILE + b"--b--\r\n",
        PURPOSE + FILE,
        PURPOSE + FILE + FILE + b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 20_000 + b"\r\n--b--\r\n",
        PURPOSE * 200 + FILE + b"--b--\r\n",
    ],
)
def test_an_upload_that_is_not_whole_is_refused_and_leaves_nothing(front: FrontProcess, body: bytes) -> None:
    before = front.client.get("/v1/files").json()["data"]
    assert error_of(front.client.post("/v1/files", content=body, headers=HEADERS)) == (400, "invalid_request")
    assert front.client.get("/v1/files").json()["data"] == before
    folder = front.installation.data / "http" / "files"
    assert not list(folder.glob("upload-*"))


def test_another_kind_of_body_is_refused(front: FrontProcess) -> None:
    answer = front.client.post("/v1/files", json={}, headers={"authorization": "Bearer any"})
    assert error_of(answer) == (415, "invalid_request")


@for_each(("store", "inside"), [(FileStore, "files"), (BatchStore, "batches")])
def test_a_folder_that_others_could_enter_is_closed_to_them(
    store: Callable[[Path], object], inside: str, tmp_path: Path
) -> None:
    (tmp_path / inside).mkdir()
    (tmp_path / inside).chmod(0o775)
    store(tmp_path)
    assert stat.S_IMODE((tmp_path / inside).stat().st_mode) == 0o700


def test_folders_are_made_for_the_front_alone(tmp_path: Path) -> None:
    FileStore(tmp_path / ".chatq" / "http")
    made = [".chatq", ".chatq/http", ".chatq/http/files"]
    assert [stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in made] == [0o700] * 3

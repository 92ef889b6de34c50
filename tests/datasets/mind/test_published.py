"""Where MIND's files come from, and what is said when they are not the published ones."""

import contextlib
import functools
import http.server
import pathlib
import shutil
import socket
import threading
import time

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.checksums import compute_url_info

from tfrs_npa.datasets.mind import published
from tfrs_npa.datasets.mind.archives import Archive
from tfrs_npa.datasets.mind.errors import MindFileError
from tfrs_npa.datasets.mind.mind_dataset_builder import Builder

DUMMY_DATA = pathlib.Path(published.__file__).parent / "dummy_data"


def zip_of(name, folder):
    return shutil.make_archive(folder / name, "zip", DUMMY_DATA / name.replace("demo", "small"))


def manager(tmp_path, **options):
    """Returns a download manager with the manual folder tmp_path/manual."""
    return tfds.download.DownloadManager(
        download_dir=tmp_path / "downloads",
        manual_dir=tmp_path / "manual",
        manual_dir_instructions="x",
        **options,
    )


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/served in place of the real downloads; returns the paths asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            if self.command == "GET":
                asked.append(self.path)

    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(published, "DOWNLOADS", f"http://127.0.0.1:{running.server_port}")
        yield asked
        running.shutdown()


def test_download(tmp_path, server):
    zip_of("MINDdemo_train", tmp_path / "served")
    zip_of("MINDdemo_dev", tmp_path / "served")
    archives = published.locate(manager(tmp_path), "demo")
    assert list(archives) == ["train", "validation"]
    assert {split: archive.size("news") for split, archive in archives.items()} == {
        "train": (DUMMY_DATA / "MINDsmall_train/news.tsv").stat().st_size,
        "validation": (DUMMY_DATA / "MINDsmall_dev/news.tsv").stat().st_size,
    }
    published.locate(manager(tmp_path), "demo")
    assert len(server) == 2  # the second time, from disk


def test_manual_folder_needs_no_network(tmp_path, server):
    zip_of("MINDdemo_train", tmp_path / "manual")
    shutil.copytree(DUMMY_DATA / "MINDsmall_dev", tmp_path / "manual/MINDdemo_dev")
    archives = published.locate(manager(tmp_path), "demo")
    assert archives["train"].name("news") == f"{tmp_path}/manual/MINDdemo_train.zip/news.tsv"
    assert archives["validation"].name("news") == f"{tmp_path}/manual/MINDdemo_dev/news.tsv"
    assert not server


def test_only_what_is_missing_is_downloaded(tmp_path, server):
    zip_of("MINDdemo_train", tmp_path / "manual")
    zip_of("MINDdemo_dev", tmp_path / "served")
    assert list(published.locate(manager(tmp_path), "demo")) == ["train", "validation"]
    assert [pathlib.Path(path).name for path in server] == ["MINDdemo_dev.zip"]


def test_failed_download_says_what_to_put_where(tmp_path, server):
    with pytest.raises(MindFileError, match="404.*put the zips of MIND into the manual folder"):
        published.locate(manager(tmp_path), "large")


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DOWNLOADS", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(published, "_RETRIES", 0)
    with pytest.raises(MindFileError, match="refused.*manual folder") as caught:
        published.locate(manager(tmp_path), "small")
    assert caught.value.__suppress_context__
    assert "urllib3" not in str(caught.value)


@pytest.fixture(params=["accepts and is silent", "swallows packets"])
def silent_server(request, monkeypatch):
    """A server that has eight addresses, as those of real downloads do, and never answers."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: look_up(*args)[:1] * 8)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        if request.param == "swallows packets":  # when its queue is full
            for _ in range(3):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        monkeypatch.setattr(published, "DOWNLOADS", "http://{}:{}".format(*server.getsockname()))
        yield


def test_a_server_that_never_answers(tmp_path, silent_server, monkeypatch):
    """TFDS by itself waits for a connection and for an answer as long as it takes."""
    assert published._SECONDS_TO_ANSWER < 10
    monkeypatch.setattr(published, "_SECONDS_TO_ANSWER", 0.3)
    before, started = downloader._open_url, time.monotonic()
    with pytest.raises(MindFileError, match="(timed out|no answer).*manual folder"):
        published.locate(manager(tmp_path), "large")
    assert time.monotonic() - started < 2
    assert downloader._open_url is before


def test_a_server_that_fails_is_asked_a_few_times(tmp_path, server, monkeypatch):
    """TFDS by itself asks 11 times, in more than three minutes."""
    zip_of("MINDdemo_dev", tmp_path / "manual")
    before, asked = downloader.MAX_RETRIES, []

    def fail(handler):
        asked.append(handler.path)
        handler.send_error(503)

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "do_GET", fail)
    with pytest.raises(MindFileError, match="cannot download .*MINDdemo_train.zip .*manual folder"):
        published.locate(manager(tmp_path), "demo")
    assert asked == ["/MINDdemo_train.zip"] * 5
    assert downloader.MAX_RETRIES == before


def test_truncated_download(tmp_path, server):
    zip_of("MINDdemo_train", tmp_path / "served")
    path = pathlib.Path(zip_of("MINDdemo_dev", tmp_path / "served"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MindFileError, match="truncated or damaged"):
        published.locate(manager(tmp_path), "demo")


def test_download_that_is_not_the_published_file(tmp_path, server):
    zips = [
        pathlib.Path(zip_of(f"MINDdemo_{name}", tmp_path / "served")) for name in ("train", "dev")
    ]
    checksums = {f"{published.DOWNLOADS}/{path.name}": compute_url_info(path) for path in zips}
    intact = zips[1].read_bytes()
    zips[1].write_bytes(intact[:50] + b"?" + intact[51:])
    with pytest.raises(MindFileError, match="damaged, or no longer what it was") as caught:
        published.locate(manager(tmp_path, url_infos=checksums), "demo")
    message = str(caught.value)
    assert message.count("\n") == 0
    assert f"{published.DOWNLOADS}/MINDdemo_dev.zip" in message
    assert f"{tmp_path}/downloads/" in message
    assert "Delete it and start again" in message and "--manual_dir" in message
    assert caught.value.__suppress_context__

    # What the message says helps.
    zips[1].write_bytes(intact)
    archives = published.locate(manager(tmp_path, url_infos=checksums), "demo")
    assert list(archives) == ["train", "validation"]


def test_checksums_are_those_of_the_addresses_used():
    class Recorder:
        manual_dir = pathlib.Path("/nonexistent")
        urls = set()

        def download(self, urls):
            self.urls |= set(urls.values())
            raise OSError("not here")

    recorder = Recorder()
    for size in ("demo", "small"):
        with pytest.raises(MindFileError):
            published.locate(recorder, size)
    assert set(Builder.url_infos) == recorder.urls
    assert all(len(info.checksum) == 64 for info in Builder.url_infos.values())


def rows_in_blocks(*place):
    return [row for block in published.read_blocks(*place) for row in block.impressions()]


@pytest.mark.parametrize("read", [functools.partial(published.read, "behaviors"), rows_in_blocks])
def test_differences_from_the_published_files_are_logged(read, monkeypatch, caplog):
    archive = Archive(DUMMY_DATA / "MINDsmall_dev")
    assert len(list(read(archive, "small", "validation"))) == 2
    assert "has 94 bytes, the published file has 42838544" in caplog.text
    assert "has 2 rows, the published file has 73152" in caplog.text
    assert "has 6 candidates, the published file has 2740998" in caplog.text

    caplog.clear()
    same = published.Published(archive.size("news"), 3, 0)
    monkeypatch.setitem(published.PUBLISHED, ("small", "validation", "news"), same)
    assert len(list(published.read("news", archive, "small", "validation"))) == 3
    assert not caplog.records

"""JSON that is no JSON, nested without end or of another form, wherever some is read: a sentence, or as if none."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wan_animate import cli
from wan_animate.chain import job_list
from wan_animate.chain.job_folder import JobFolder
from wan_animate.errors import InputError
from wan_animate.json_text import parse_json
from wan_animate.queue.client import ComfyClient, PromptRejected, ServerError
from wan_animate.queue.jobs import read_table
from wan_animate.queue.listen import Listener
from wan_animate.queue.state import FILE, State

from .cli.test_jobs import stopped_job
from .support.hostile_weights import nested_json

NESTED = nested_json()
WRONG = [NESTED, "", "{", "7", "[]", '{"options": 5, "version": 1e999, "made": {"1": {}}}', "\ud800"]


def test_nested_text_is_a_value_error():
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    for text in (NESTED, '{"a":' * 100_000, "{", b"\xff", "9" * 5000):
        with pytest.raises(ValueError):
            parse_json(text)


@pytest.mark.parametrize("name", ["command.json", "segments.json", "segment_0000.json", "boundaries.json"])
def test_a_jobs_files(tmp_path, capsys, name):
    folder = tmp_path / ".old-00"
    stopped_job(folder)
    assert (folder / name).exists() or name in ("command.json", "boundaries.json")
    for text in WRONG:
        (folder / name).write_bytes(text.encode(errors="surrogatepass"))
        (found,) = job_list.find_jobs([tmp_path]) or [None]
        assert found is not None and found.name == ".old-00"
        job = JobFolder(folder)
        assert job.boundaries() in (None, []) and job.version >= 1 and len(job.records(1)) == 1
        assert cli.main(["jobs", "list", str(tmp_path)]) == 0
        assert cli.main(["jobs", "resume", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        lines = said.strip().splitlines()
        assert len(lines) <= 2 and all(line.startswith("wan-animate: ") for line in lines), (text[:40], said)


@pytest.mark.parametrize(
    "changed", [{"cwd": "a\0b"}, {"cwd": 5}, {"options": {"steps": "many"}}, {"options": {"person_point": [1]}}]
)
def test_a_command_of_other_values(tmp_path, capsys, changed):
    stopped_job(tmp_path / ".old-00")
    options = {"image": "a.png", "video": "a.mp4", "models": "m", **changed.pop("options", {})}
    text = json.dumps({"options": options, "sampling": {}, "cwd": str(tmp_path), **changed})
    (tmp_path / ".old-00" / job_list.COMMAND).write_text(text)
    assert cli.main(["jobs", "resume", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "run its command again" in said and "Traceback" not in said, said


@pytest.mark.parametrize("line", [NESTED, "{", "7", "[]", '{"key": []}', "{}"])
def test_the_queues_record(tmp_path, line):
    (tmp_path / FILE).write_text(line + "\n")
    with pytest.raises(InputError, match="is no record of jobs"):
        State(tmp_path)


def test_a_table_with_an_endless_cell(tmp_path):
    (tmp_path / "t.csv").write_text("image,seed\n" + "a" * 200_000 + ",1\n")
    with pytest.raises(InputError, match=r"line 2 of .* cannot be read"):
        read_table(tmp_path / "t.csv")


@contextmanager
def answering(text: str, status: int):
    """A server that answers everything with this; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("text", [NESTED, "<html>", "[1]", "null"])
def test_a_server_that_is_no_comfyui(tmp_path, text):
    (tmp_path / "a.png").write_bytes(b"a")
    with answering(text, 200) as url:
        client = ComfyClient(url)
        calls = [client.check, client.node_info, client.is_idle, lambda: client.history("a"), lambda: client.state("a"),
                 lambda: client.post_prompt({}), lambda: client.upload(tmp_path / "a.png")]  # fmt: skip
        for call in calls:
            with pytest.raises(ServerError, match="is no ComfyUI"):
                call()
    with answering(text, 400) as url, pytest.raises(PromptRejected) as error:
        ComfyClient(url).post_prompt({})
    assert "\n" not in str(error.value)


def test_messages_of_another_form_are_not_heard():
    heard = []
    listener = Listener(ComfyClient("http://127.0.0.1:1"), "me")
    listener.add("a", lambda *message: heard.append(message))
    right = {"type": "x", "data": {"prompt_id": "a"}}
    for message in (7, None, [], {}, {"data": 5}, {"data": {"prompt_id": []}}, right):
        listener._hear(message)
    listener.close()
    assert heard == [("x", {"prompt_id": "a"})]

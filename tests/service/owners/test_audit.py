"""The audit log: what began and ended, by whom; and a file that several processes share and that may be rotated."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service.callers import Caller
from service.owners import audit
from tests.service.conftest import content
from tests.service.keyholders import KeysOnDisk, audited, holder
from tests.service.steps.test_restoring import Robot
from tests.service.test_process import ROOT


@pytest.mark.anyio
async def test_an_episode_is_told_from_its_start_to_its_end(serve, tmp_path, caplog):
    caplog.set_level(logging.INFO, "lamo.audit")
    key = KeysOnDisk(tmp_path / "keys.toml").add("lab")
    async with serve(keys=tmp_path / "keys.toml") as service, holder(service, key) as lab:
        robot = Robot(lab)
        await robot.start()
        await lab.client.put(f"/episodes/{robot.episode}", json={"target_return": 20.0})  # again: nothing new
        await robot.play(0, 3)
        await robot.lose()
        await robot.lose()  # there is nothing left to delete
        assert (await robot.restore()).status_code == 200
        for _ in range(2):
            assert (await lab.end(robot.episode, step=3, terminated=True)).status_code == 200
    lines = [line for line in audited(caplog) if "episode_id" in line]
    assert [line["event"] for line in lines] == [
        "episode started",
        "episode deleted",
        "episode restored",
        "episode ended",
    ]
    for line in lines:
        assert (line["owner"], line["key_id"], line["episode_id"]) == ("lab", key.split("_")[1], robot.episode)
        assert line["request_id"]
        assert line["trace_id"]
        if line["event"] != "episode deleted":
            assert (line["policy"], line["revision"]) == (robot.state["policy"], robot.state["revision"])
    assert not {"observation", "action", "reward", "labels"} & {name for line in lines for name in line}


@pytest.mark.anyio
async def test_where_there_are_no_keys_episodes_are_told_too(serve, caplog):
    caplog.set_level(logging.INFO, "lamo.audit")
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0, **content(0))
    [line] = [line for line in audited(caplog) if "episode_id" in line]
    assert (line["event"], line["owner"], line["episode_id"]) == ("episode started", "local", episode)
    assert "key_id" not in line


WRITER = """
import sys
from pathlib import Path
from service.owners import audit
from service.callers import Caller
audit.write_to(Path(sys.argv[1]))
for number in range(200):
    audit.tell("episode started", Caller("lab", str(number)), episode_id="x" * 128)
"""


def test_several_processes_append_whole_lines_to_one_file(tmp_path):
    path = tmp_path / "audit.log"
    path.write_text("kept\n")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    kept, *lines = path.read_text().splitlines()
    assert kept == "kept"
    told = [json.loads(line) for line in lines]
    assert len(told) == 600
    assert {line["pid"] for line in told} == {writer.pid for writer in writers}


@pytest.fixture
def own_logger():
    """The audit logger, afterwards as it was."""
    handlers, level = audit.logger.handlers[:], audit.logger.level
    yield
    for handler in audit.logger.handlers[:]:
        audit.logger.removeHandler(handler)
        handler.close()
    audit.logger.handlers[:], audit.logger.propagate = handlers, True
    audit.logger.setLevel(level)


@pytest.mark.usefixtures("own_logger")
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path):
    path = tmp_path / "audit.log"
    audit.write_to(path)
    audit.tell("first", Caller())
    path.rename(tmp_path / "audit.log.1")
    audit.tell("second", Caller())
    assert json.loads((tmp_path / "audit.log.1").read_text())["event"] == "first"
    assert json.loads(path.read_text())["event"] == "second"


@pytest.mark.usefixtures("own_logger")
def test_a_file_that_cannot_be_opened_anew_keeps_nobody_from_acting(tmp_path, capsys):
    folder = tmp_path / "audit"
    folder.mkdir()
    audit.write_to(folder / "audit.log")
    folder.rename(tmp_path / "away")
    for _ in range(2):
        audit.tell("lost", Caller())
    assert capsys.readouterr().err.count("No such file or directory") == 2
    folder.mkdir()
    audit.tell("found", Caller())
    assert json.loads((folder / "audit.log").read_text())["event"] == "found"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.usefixtures("own_logger")
def test_a_full_disk_keeps_nobody_from_acting_while_the_file_is_moved_away(tmp_path, capsys):
    path = tmp_path / "audit.log"
    path.symlink_to("/dev/full")
    audit.write_to(path)
    audit.tell("lost", Caller())
    path.unlink()
    for event in ("lost too", "found"):
        audit.tell(event, Caller())
    assert "No space left on device" in capsys.readouterr().err
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "found"


@pytest.mark.usefixtures("own_logger")
def test_it_is_told_whatever_the_log_level(capsys):
    from service.logs import log_to_stderr

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        log_to_stderr("error")
        audit.write_to(None)
        audit.tell("keys read", owners=1)
        told = json.loads(capsys.readouterr().err)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert (told["logger"], told["event"], told["owners"]) == ("lamo.audit", "keys read", 1)

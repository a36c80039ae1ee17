"""A client that was open when its process forked, as simulators side by side do, is used on both sides."""

import subprocess
import sys

PLAY = """
import os, sys
from clients.policy_client import PolicyClient

with PolicyClient(sys.argv[1], deadline_seconds=5) as client:
    episodes = [client.start("drift"), client.start("drift")]
    mine = int(os.fork() == 0)
    for step in range(6):
        reward = 0.5 if step else None
        answer = episodes[mine].act([float(mine), 0.0, 0.0], reward)
        assert answer.episode_id == episodes[mine].episode_id, "an answer of the other process"
    if mine:
        os._exit(0)
    assert os.wait()[1] == 0, "the child failed"
"""


def test_neither_process_reads_the_answers_of_the_other(url, service):
    service.delay_seconds = 0.01
    played = subprocess.run(
        [sys.executable, "-c", PLAY, url], capture_output=True, text=True, timeout=30, check=False
    )
    assert (played.returncode, played.stderr) == (0, "")
    assert [episode.committed_step for episode in service.episodes.values()] == [5, 5]

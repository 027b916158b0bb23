"""The example of docs/data-format.md, which reads a shard without palpate, runs as printed."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

import data_fakes
from palpate.data.codecs import DEPTH_STEP
from palpate.data.writer import EpisodeWriter

PAGE = Path(__file__).parents[1] / "docs" / "data-format.md"


def test_the_example_reads_a_shard_without_palpate(tmp_path, monkeypatch):
    for module in ("layout", "writer", "shards", "reader"):
        monkeypatch.setattr(f"palpate.data.{module}.BLOCK", 2)
    episodes = [data_fakes.fake_episode(i, absent=("sound",)) for i in range(2)]
    with EpisodeWriter.create(tmp_path / "DATA", task="gentle") as writer:
        for episode in episodes:
            writer.write(episode)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert "palpate." not in code
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    assert printed.getvalue().startswith("0 object-0 ")
    want = episodes[0].streams
    np.testing.assert_array_equal(np.stack(names["touch"]), want["touch.thumb"].values)
    np.testing.assert_allclose(names["depth"], want["camera.depth"].values[0], atol=DEPTH_STEP)
    np.testing.assert_array_equal(names["joints"].astype(np.float32), want["hand.joint_position"].values)
    (shard,) = (tmp_path / "DATA" / "shards").iterdir()
    frame = pd.read_parquet(shard, columns=["index", "label.stable", "group.object"])
    assert frame["label.stable"].tolist() == [e.labels["stable"] for e in episodes]

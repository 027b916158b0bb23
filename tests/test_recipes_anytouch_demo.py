from dataclasses import replace

import numpy as np
import pytest

from palpate.data.reader import open_dataset
from palpate.evaluation.report_anytouch_demo import retrieval_table
from palpate.recipes import anytouch_demo
from palpate.recipes.anytouch_demo import DemoConfig, run_demo
from palpate.recipes.anytouch_story import found_among, shown_touches
from touch_fakes import SHAPE, write_touches


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_touch_finds_its_own_words_among_all_different_ones():
    text = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    found = {
        "touch": unit([[1, 0.1, 0], [1, 0.5, 0], [0, 0.2, 1], [0, 1, 0.9]]),
        "text": text,
        "has_text": np.ones(4),
        "vision": text,
        "has_vision": np.array([1.0, 0.0, 0.0, 0.0]),
    }
    (words,) = found_among(found, np.array(["a", "b", "c", "d"]))
    assert words.name == "words" and words.choices == 3, "two touches share their words; one picture is no choice"
    assert words.first.value == 0.5 and words.among_ten.value == 1.0
    table = retrieval_table([replace(words, choices=40)])
    assert table.rows[0][2] == "2.5" and table.rows[0][4] == "25.0"


def test_shown_touches_have_a_pressed_frame_of_each_sensor(tmp_path):
    data = write_touches(tmp_path / "touches", touches=6, objects=3)
    shown = shown_touches(data)
    assert len(shown) == 4 and shown[0].seen is not None and shown[0].said == "Number 0 is felt. It is soft."
    frames = open_dataset(data).episode(0).streams["touch.digit"].values
    change = [np.abs(frame.astype(int) - frames[0]).sum() for frame in (shown[0].felt["digit"], frames[0])]
    assert change[0] > 10 * change[1] + 1000


@pytest.mark.slow
def test_the_demo_ends_in_a_page_and_goes_on_where_it_was(tmp_path, monkeypatch):
    made = []

    def collect(config, name, touches, seed):
        made.append(name)
        folder = config.out / name
        return folder if folder.exists() else write_touches(folder, touches=touches, objects=touches // 2)

    monkeypatch.setattr(anytouch_demo, "_collect", collect)
    config = DemoConfig(
        out=tmp_path / "demo", touches=24, checked=24, epochs=(1, 1), shape=replace(SHAPE, sensors=()), targets=("hardness",)
    )
    said = []
    page = run_demo(config, said.append, progress=False)
    text = page.read_text()
    assert "data:image/png" in text and 'src="http' not in text and "stage-2" in text
    assert "hidden patches" in (config.out / "summary.txt").read_text()
    assert sum("epoch" in line for line in said) == 2
    run_demo(config, said.append, progress=False)
    assert sum("epoch" in line for line in said) == 2, "nothing is trained twice"

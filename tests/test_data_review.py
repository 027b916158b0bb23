import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data.reader import open_dataset
from palpate.data.review import COLUMNS, Doubt, read_review, write_review
from palpate.data.writer import EpisodeWriter


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "d"
    with EpisodeWriter.create(root, task="regrasp") as writer:
        for index in range(4):
            writer.write(Episode(index=index, seed=0, task="regrasp", labels={"stable": float(index % 2), "gentle": 1.0}))
    write_review(root, [Doubt(trial=i, label="stable", probability=0.5) for i in (1, 2, 3)])
    return root


def say(root, trial, word):
    path = root / "review.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line + word if line.startswith(f"{trial},") else line for line in lines) + "\n")


def test_an_unedited_review_changes_nothing(folder):
    np.testing.assert_array_equal(open_dataset(folder).column("label.stable"), [0, 1, 0, 1])


def test_the_person_has_the_last_word_in_columns_and_in_trials(folder):
    say(folder, 1, "0")
    say(folder, 2, "1")
    say(folder, 3, "?")
    reader = open_dataset(folder)
    np.testing.assert_array_equal(reader.column("label.stable"), [0, 0, 1, np.nan])
    assert [reader.episode(i).labels["stable"] for i in range(4)] == [0.0, 0.0, 1.0, None]
    np.testing.assert_array_equal(reader.column("label.gentle"), np.ones(4))


def test_new_doubts_keep_what_a_person_wrote(folder):
    say(folder, 2, "1")
    write_review(folder, [Doubt(trial=2, label="stable", probability=0.9), Doubt(trial=0, label="stable", probability=0.3)])
    assert [(d.trial, d.person) for d in read_review(folder)] == [(0, ""), (1, ""), (2, "1"), (3, "")]


def test_without_doubts_there_is_no_file(tmp_path):
    write_review(tmp_path, [])
    assert read_review(tmp_path) == [] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial,person\n1,0\n", r"the columns are .*they must be trial, label"),
        (",".join(COLUMNS) + "\n1,stable,0.5,yes\n", r"line 2: person is 'yes'; write 1"),
        (",".join(COLUMNS) + "\none,stable,0.5,1\n", r"line 2: .*whole number"),
    ],
)
def test_a_broken_review_is_named_with_its_line(folder, text, message):
    (folder / "review.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)

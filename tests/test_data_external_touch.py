"""Importers of public touch data sets, on miniatures of their layouts and with what goes wrong in them."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from miniatures import MINIATURES, TOUCH, camera_pictures, touch_pictures, write_picture, write_table
from palpate.cli.main import COMMANDS, main
from palpate.core.errors import DataError, UnknownNameError
from palpate.data.external import image_folders
from palpate.data.external.image_folders import Fact, Wishes, spans
from palpate.data.external.pictures import SWAP_FACTOR, liveliness
from palpate.data.external.touch_sets import TOUCH_SETS, import_touch
from palpate.data.reader import open_dataset

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SIDES = {"gelsight-mini": "gelsight", "digit": "digit", "duragel": "duragel"}


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Every miniature, and what was written."""
    root = tmp_path_factory.mktemp("sets")
    return {name: (root / name, build(root / name)) for name, build in MINIATURES.items()}


@pytest.fixture
def copied(sources, tmp_path):
    """A copy of a miniature that a test may damage."""

    def copy(name):
        return Path(shutil.copytree(sources[name][0], tmp_path / "source" / name))

    return copy


def imported(name, folder, out, **options):
    done = import_touch(name, folder, out, **options)
    return done, list(open_dataset(out))


@pytest.mark.parametrize("name", TOUCH_SETS)
def test_every_picture_of_a_layout_comes_back_once_where_it_belongs(name, sources, tmp_path):
    folder, written = sources[name]
    done, episodes = imported(name, folder, tmp_path / "out")
    assert done.left_out == () and done.episodes == len(episodes) > 0
    assert {e.task for e in episodes} == {"touch"}
    left = {key: dict(images) for key, images in written.items()}
    for episode in episodes:
        first = int(episode.arrays["first_picture"][0])
        for stream, values in episode.streams.items():
            if stream.startswith("contact."):
                continue
            own = left[episode.groups["folder"], stream]
            share = TOUCH_SETS[name].camera_by_share and stream.startswith("camera.")
            rate = 1.0 if name == "feel" else 30.0
            step = len(written[episode.groups["folder"], stream]) / len(_partner(written, episode, stream)) if share else 1.0
            numbers = first + np.round(values.times * rate * step).astype(int)
            for number, image in zip(numbers, values.values, strict=True):
                wanted = own.pop(int(number))
                if values.spec.kind == "touch":
                    np.testing.assert_array_equal(image, wanted)
                else:  # JPEG, twice where the set is JPEG too
                    assert np.abs(image.astype(float) - wanted).mean() < (3.0 if stream.startswith("touch.") else 8.0)
    assert not any(left.values())


def _partner(written, episode, stream):
    return written[episode.groups["folder"], f"touch.{stream.removeprefix('camera.rgb.')}"]


@pytest.mark.parametrize("name", TOUCH_SETS)
def test_any_folder_between_the_tree_and_the_pictures_will_do(name, sources, tmp_path):
    folder, _ = sources[name]
    tree = tmp_path / "tree"
    home = TOUCH_SETS[name].home
    inner = {"tag": 1, "visgel": 1, "cloth": 1, "objectfolder-real": 1, "tvl": 3, "ssvtp": 3, "ycb-slide": 1}.get(
        name, len(home)
    )
    at = tree.joinpath(*home[:inner])
    at.parent.mkdir(parents=True)
    at.symlink_to(folder)
    done = import_touch(name, tree, tmp_path / "out", limit=1)
    assert done.episodes == 1


def test_tacquad_is_one_episode_an_item_with_a_stream_and_a_camera_a_sensor(sources, tmp_path):
    _, episodes = imported("tacquad", sources["tacquad"][0], tmp_path / "out")
    cup = next(e for e in episodes if e.groups["spot"] == "data_indoor/cup_1")
    assert {s for s in cup.streams if not s.startswith("contact.")} == {
        f"{k}.{s}" for k in ("touch", "camera.rgb") for s in SIDES
    }
    assert "object" not in cup.groups and cup.texts == {}
    np.testing.assert_array_equal(cup.streams["contact.digit"].values[:, 0], [0, 0, 0, 1, 1, 1, 1])
    touch, camera = cup.streams["touch.gelsight-mini"], cup.streams["camera.rgb.gelsight-mini"]
    np.testing.assert_allclose(touch.times, np.arange(6) / 30)
    np.testing.assert_allclose(camera.times, np.arange(3) * 2 / 30)  # frame 1 of 3 goes with frame 2 of 6


def test_touch_and_go_is_cut_where_the_material_changes(sources, tmp_path):
    _, episodes = imported("tag", sources["tag"][0], tmp_path / "out")
    first = [e for e in episodes if e.groups["folder"] == "20220410_031604"]
    assert [e.groups.get("material") for e in first] == ["class-03", "class-07", None]
    assert [e.labels for e in first] == [
        {"hard_class": 0.0, "rough_class": 1.0},
        {"hard_class": 1.0, "rough_class": 0.0},
        {"hard_class": None, "rough_class": None},
    ]
    assert [len(e.streams["touch.gelsight"].times) for e in first] == [4, 3, 1]
    np.testing.assert_array_equal(first[0].streams["contact.gelsight"].values[:, 0], [0, 0, 1, 1])
    assert {e.groups["split"] for e in episodes} == {"train", "test"}


def test_the_tables_of_the_other_sets_become_labels_groups_and_texts(sources, tmp_path):
    episodes = {
        name: imported(name, sources[name][0], tmp_path / name)[1]
        for name in ("objectfolder1", "objectfolder2", "tvl", "ssvtp", "feel", "visgel", "ycb-slide", "cloth")
    }
    one = {e.groups["spot"]: e.groups for e in episodes["objectfolder1"]}
    assert one["7/2"] == {"folder": "7", "object": "7", "spot": "7/2", "split": "test", "material": "class-02"}
    assert "split" not in one["7/1"]
    assert {e.groups["object"] for e in episodes["objectfolder2"]} == {"101", "230"}
    assert [e.texts for e in episodes["tvl"]] == [{"touch": "smooth, hard, cool."}] * 2
    assert [e.groups["split"] for e in episodes["tvl"]] == ["train", "test"]
    assert [e.texts for e in episodes["ssvtp"]] == [{"touch": "fabric, soft, woven."}, *[{}] * 4]
    assert [e.groups.get("split") for e in episodes["ssvtp"]] == ["train", "train", "test", None, None]
    held = {e.groups["spot"]: (e.labels["stable"], e.groups["split_3"]) for e in episodes["feel"]}
    assert held["coffee_mug/1"] == (1.0, "train") and held["4_in_rhino_toy/0"] == (0.0, "test")
    assert [e.name for e in episodes["feel"][0].events] == ["before", "during", "after"]
    np.testing.assert_array_equal(episodes["visgel"][1].streams["contact.gelsight"].values[:, 0], [0, 0, 0, 0, 1, 1])
    assert {s for e in episodes["ycb-slide"] for s in e.streams} == {"touch.digit"}
    assert {s for e in episodes["cloth"] for s in e.streams} == {"touch.gelsight", "contact.gelsight"}


def test_a_folder_that_is_not_the_set_is_told_with_what_was_expected_and_found(sources, tmp_path):
    with pytest.raises(DataError, match=r"is not tacquad: it has no data_\{indoor,outdoor\}/ITEM.*it holds dataset/, test"):
        import_touch("tacquad", sources["tag"][0], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds nothing"):
        import_touch("feel", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match="is no folder; give the folder of ssvtp"):
        import_touch("ssvtp", tmp_path / "absent", tmp_path / "out")
    with pytest.raises(UnknownNameError, match="tacquad, tag, tvl"):
        import_touch("tactac", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wishes_that_make_no_sense_are_refused(sources, tmp_path):
    with pytest.raises(DataError, match="rate_hz is -1"):
        Wishes(rate_hz=-1.0)
    with pytest.raises(DataError, match="at least 16 pixels"):
        Wishes(longest=3)
    with pytest.raises(DataError, match="limit is 0"):
        import_touch("cloth", sources["cloth"][0], tmp_path / "out", limit=0)


def test_damaged_and_odd_pictures_are_counted_and_named_and_the_rest_is_imported(copied, tmp_path):
    source = copied("cloth")
    frames = source / "Data_ICRA18/Data/1/Cloth_a/gelsight_frame"
    (frames / "0001.png").write_bytes(b"not a picture")
    (frames / "0002.png").write_bytes(b"")
    write_picture(frames / "0003.png", np.zeros((TOUCH[1], TOUCH[0], 3), np.uint8))
    (frames / "notes.txt").write_text("no picture at all")
    done, episodes = imported("cloth", source, tmp_path / "out")
    damaged, odd = done.left_out
    assert "1/Cloth_a, touch.gelsight: 2 pictures cannot be decoded" in damaged and "gelsight_frame/0001.png" in damaged
    assert odd.endswith("other sizes than the set's 48 x 36: 1 of 36 x 48, turned by a quarter")
    np.testing.assert_allclose(episodes[0].streams["touch.gelsight"].times, [0, 4 / 30])
    assert len(episodes[1].streams["touch.gelsight"].times) == 5


def test_a_camera_of_another_size_is_absent_and_a_recording_without_touch_is_left_out(copied, tmp_path):
    source = copied("visgel")
    unit = source / "images/vision/seen/rec_00001"
    for number in range(6):
        write_picture(unit / f"frame{number:04d}.jpg", np.zeros((20, 30, 3), np.uint8))
    for path in (source / "images/touch/unseen/rec_00031").iterdir():
        path.write_bytes(b"?")
    (source / "images/vision/unseen/rec_00031/frame0000.jpg").unlink()
    write_picture(unit.parent / "rec_00002/frame0000.jpg", camera_pictures(0, 1)[0])
    more = source / "images/touch/seen/rec_00002"
    write_picture(more / "frame0000.jpg", touch_pictures(0, 1)[0])
    done, episodes = imported("visgel", source, tmp_path / "out")
    assert [e.groups["folder"] for e in episodes] == ["seen/rec_00001", "seen/rec_00002"]
    assert ["camera.rgb" in e.streams for e in episodes] == [False, True]
    assert "seen/rec_00001, camera.rgb: pictures of other sizes than the set's 60 x 40: 6 of 30 x 20" in done.left_out
    assert "unseen/rec_00031 from picture 0: no touch picture can be read" in done.left_out


def test_nothing_readable_is_an_error_that_says_why(copied, tmp_path):
    source = copied("ycb-slide")
    for path in source.rglob("*.jpg"):
        path.write_bytes(b"?")
    with pytest.raises(DataError, match="nothing could be imported") as error:
        import_touch("ycb-slide", source, tmp_path / "out")
    assert "pictures cannot be decoded" in str(error.value)


def test_missing_vision_and_text_are_absent_and_told(copied, tmp_path):
    source = copied("ssvtp")
    shutil.rmtree(source / "images_rgb")
    shutil.rmtree(source / "text")
    done, episodes = imported("ssvtp", source, tmp_path / "out")
    assert all(set(e.streams) == {"touch.digit"} and e.texts == {} for e in episodes)
    assert "no text/labels_N.txt: texts are absent" in done.notes


def test_a_still_without_a_partner_does_not_get_the_camera_picture_of_another(copied, tmp_path):
    source = copied("ssvtp")
    (source / "images_tac/image_2_tac.jpg").unlink()
    (source / "images_rgb/image_3_rgb.jpg").unlink()
    _, episodes = imported("ssvtp", source, tmp_path / "out")
    assert [(e.groups["spot"], "camera.rgb" in e.streams) for e in episodes] == [
        ("all/0", True),
        ("all/1", True),
        ("all/3", False),
        ("all/4", True),
    ]


def test_tables_that_are_empty_absent_or_list_too_much_are_told(copied, tmp_path):
    source = copied("visgel")
    table = source / "images/contact_visgel.csv"
    table.write_text("\n\n")
    done, episodes = imported("visgel", source, tmp_path / "empty")
    assert "images/contact_visgel.csv is empty: what it should tell is absent" in done.notes
    assert all("contact.gelsight" not in e.streams for e in episodes)
    write_table(table, [["seen/rec_00001/frame0004.jpg"], ["seen/rec_00001/frame0099.jpg"], ["seen/rec_7/frame0001.jpg"]])
    done, episodes = imported("visgel", source, tmp_path / "more")
    assert "the tables list 1 folders that are not there: seen/rec_7" in done.notes
    assert "the tables list 1 pictures that are not there: seen/rec_00001 picture 99" in done.notes
    np.testing.assert_array_equal(episodes[0].streams["contact.gelsight"].values[:, 0], [0, 0, 0, 0, 1, 0])
    table.unlink()
    assert "no images/contact_visgel.csv" in " ".join(imported("visgel", source, tmp_path / "absent")[0].notes)


@pytest.mark.parametrize(
    ("name", "file", "content", "says"),
    [
        ("tacquad", "contact_indoor.csv", "cup_1,1,2\n", "row 1: 3 cells; it must be an item"),
        ("tacquad", "contact_indoor.csv", "cup_1,a,2,3,4,5,6\n", "row 1: 'a' is no whole number"),
        ("tag", "train.txt", "20220410_031604/7.jpg,3\n", "names no picture of tag"),
        ("tag", "train.txt", "20220410_031604/0000000002.jpg\n", "row 1: '' is no whole number"),
        ("feel", "feel.csv", "coffee_mug,0,yes\n", "it must be object, number, 1"),
        ("tvl", "data1/contact.json", "[1, 2]", "holds a list; it must be a dict"),
        ("objectfolder2", "label.json", "{", "not JSON"),
        ("visgel", "images/contact_visgel.csv", b"\xff\xfe\x00", "not a CSV file in UTF-8"),
        ("tvl", "data1/train.csv", "url,tactile\na,b\n", "row 2: 2 cells"),
    ],
)
def test_damaged_tables_are_refused_with_file_and_row(name, file, content, says, copied, tmp_path):
    source = copied(name)
    (source / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=says) as error:
        import_touch(name, source, tmp_path / "out")
    assert Path(file).name in str(error.value)


def test_a_split_file_that_would_run_code_is_refused(copied, tmp_path):
    source = copied("feel")
    np.save(source / "split_4.npy", np.array({"train": Path("x")}, dtype=object))
    with pytest.raises(DataError, match="which could run any code"):
        import_touch("feel", source, tmp_path / "out")


def test_swapped_folders_are_named_and_exchanged_only_when_asked(copied, tmp_path):
    source = copied("tvl")
    run = next((source / "data3").glob("4-*"))
    (run / "tactile").rename(run / "x")
    (run / "vision").rename(run / "tactile")
    (run / "x").rename(run / "vision")
    kept, _ = imported("tvl", source, tmp_path / "kept")
    assert any("look swapped in 1 of 2 folders looked at: data3/4-" in n and "import with --swap" in n for n in kept.notes)
    done, episodes = imported("tvl", source, tmp_path / "swapped", wishes=Wishes(swap=True))
    assert any("and were exchanged" in note for note in done.notes)
    assert {e.streams["touch.digit"].spec.shape[:2] for e in episodes} == {TOUCH}


def test_a_set_that_is_swapped_as_a_whole_is_seen_and_a_right_one_is_not(copied, sources, tmp_path):
    source = copied("ssvtp")
    (source / "images_tac").rename(source / "x")
    (source / "images_rgb").rename(source / "images_tac")
    (source / "x").rename(source / "images_rgb")
    done, episodes = imported("ssvtp", source, tmp_path / "out", wishes=Wishes(swap=True))
    assert any("look swapped in 1 of 1" in note for note in done.notes)
    assert {e.streams["touch.digit"].spec.shape[:2] for e in episodes} == {TOUCH}
    for name in ("tacquad", "tag", "visgel", "tvl", "ssvtp", "feel"):
        assert not any("swapped" in note for note in import_touch(name, sources[name][0], tmp_path / name).notes)


def test_an_interrupted_import_goes_on_to_the_same_data(sources, tmp_path, monkeypatch):
    folder, _ = sources["objectfolder2"]
    _, whole = imported("objectfolder2", folder, tmp_path / "whole")
    reads = []
    real = image_folders.read_pictures

    def stopping(*args):
        reads.append(args)
        if len(reads) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(image_folders, "read_pictures", stopping)
    with pytest.raises(KeyboardInterrupt):
        import_touch("objectfolder2", folder, tmp_path / "part")
    assert len(open_dataset(tmp_path / "part")) == 3
    with pytest.raises(DataError, match="--resume"):
        import_touch("objectfolder2", folder, tmp_path / "part")
    with pytest.raises(DataError, match="longest: was None, now 32"):
        import_touch("objectfolder2", folder, tmp_path / "part", resume=True, wishes=Wishes(longest=32))
    done, episodes = imported("objectfolder2", folder, tmp_path / "part", resume=True)
    assert done.episodes == 6
    for ours, theirs in zip(episodes, whole, strict=True):
        assert ours.groups == theirs.groups and ours.index == theirs.index
        np.testing.assert_array_equal(ours.streams["touch.taxim"].values, theirs.streams["touch.taxim"].values)


def test_pictures_shrink_and_the_clock_follows_the_wishes(sources, tmp_path):
    _, episodes = imported("cloth", sources["cloth"][0], tmp_path / "out", wishes=Wishes(longest=24, rate_hz=10.0), limit=1)
    stream = episodes[0].streams["touch.gelsight"]
    assert stream.spec.shape == (18, 24, 3) and stream.spec.rate_hz == 10.0
    np.testing.assert_allclose(stream.times, np.arange(5) / 10)
    assert len(episodes) == 1


def test_long_recordings_are_cut_into_pieces_of_bounded_length(tmp_path):
    frames = tmp_path / "source/mug/dataset_0/frames"
    image = touch_pictures(0, 1)[0]
    for number in range(100, 300):
        write_picture(frames / f"frame_{number:07d}.jpg", image)
    _, episodes = imported("ycb-slide", tmp_path / "source", tmp_path / "out")
    assert [(int(e.arrays["first_picture"][0]), len(e.streams["touch.digit"].times)) for e in episodes] == [
        (100, 28),
        (128, 128),
        (256, 44),
    ]


def test_pieces_end_at_blocks_and_where_facts_change():
    a, b = Fact(labels={"x": 1.0}), Fact(labels={"x": 2.0})
    assert spans([0, 1, 2, 5, 6, 9], 4, {}) == [(0, 4), (5, 8), (9, 12)]
    assert spans([0, 1, 2, 3, 4, 5], 10, {1: a, 2: a, 4: b}) == [(0, 3), (3, 10)]
    assert spans([], 4, {}) == [] and spans([7, 9], None, {7: a, 9: b})[0][0] == 0


def test_every_set_has_its_command_and_the_command_says_what_it_found(sources, tmp_path, capsys):
    assert set(TOUCH_SETS) <= set(COMMANDS["import"])
    assert all(COMMANDS["import"][name][0].source == name for name in TOUCH_SETS)
    call = ["import", "feel", str(sources["feel"][0]), "--out", str(tmp_path / "out"), "--limit", "2"]
    assert main(call) == 0
    told = capsys.readouterr().out
    assert "2 episodes, task touch" in told and "the set tells no times" in told
    assert main(["import", "tag", str(sources["feel"][0]), "--out", str(tmp_path / "no")]) == 1
    assert "palpate import tag: " in capsys.readouterr().err


def test_real_gels_and_real_cameras_are_told_apart():
    clips, photos = SHARED / "octopi_physiclear", SHARED / "softgrasp_apple21"
    for folder in (clips, photos):
        if not folder.is_dir():
            pytest.skip(f"no folder {folder}")
    touches = [liveliness(_frames(path)) for path in sorted(clips.glob("*.mov"))[::60]]
    pictures = sorted(path for path in photos.rglob("*.jpg") if path.stem.isdigit())[::20]
    camera = liveliness([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in pictures])
    assert len(touches) >= 5 and camera is not None
    for touch in touches:
        assert touch is not None and SWAP_FACTOR * touch < camera


def _frames(path, count=8):
    video = cv2.VideoCapture(str(path))
    every = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // count, 1)
    frames, number = [], 0
    while video.grab():
        if number % every == 0:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
        number += 1
    return frames

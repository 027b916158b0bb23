from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError, RecordError
from palpate.core.randomness import generator
from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data.lerobot import export_lerobot
from palpate.data.reader import open_dataset
from palpate.data.table import decode_episode, encode_episode
from palpate.data.writer import EpisodeWriter
from palpate.learning.batches import BatchSource, Indexed
from palpate.recipes import touch_clips
from palpate.recipes.touch_clips import FLIP, JITTER, TouchClips, augment
from palpate.recipes.touch_collection import TouchConfig, collect_touch
from palpate.recipes.touch_frames import ClipSettings, clip_windows, open_recordings, square
from palpate.sensors.touch.words import sentences_of

SETTINGS = ClipSettings(size=16, most=4)
TEXT = "Hard, smooth metal. It does not give."


def touch(name, frames, rate=30.0):
    spec = StreamSpec(name=name, kind="touch", shape=frames.shape[1:], dtype="uint8", rate_hz=rate)
    return Stream(spec=spec, times=np.arange(len(frames)) / rate, values=frames)


def pressed(rng, count=14, shape=(24, 32)):
    """Frames of a gel that is pressed from frame 4 to the one before the last but three."""
    frames = np.full((count, *shape, 3), 100.0) + rng.normal(0, 1, (count, *shape, 3))
    level = rng.uniform(40, 80, 3)
    for i in range(4, count - 4):
        frames[i, 6:14, 8 : 16 + i % 3] += level
    return frames.clip(0, 255).astype(np.uint8)


def made_up(index, sensors=("digit", "duragel"), spot=True, **more):
    """A touch of one place by several sensors, without a camera."""
    rng = generator(5, index)
    streams = {f"touch.{s}": touch(f"touch.{s}", pressed(rng, shape=(32, 24) if s == "digit" else (24, 32))) for s in sensors}
    groups = {"object": f"thing-{index // 2}"} | ({"spot": f"place-{index}"} if spot else {})
    return Episode(index=index, seed=0, task="touch", groups=groups, streams=streams, **more)


def written(folder, episodes, **config):
    with EpisodeWriter.create(folder, task="touch", config=config) as out:
        for episode in episodes:
            out.write(episode)
    return folder


def spelled(sentences):
    """Vectors that tell sentences apart, in the place of an encoder."""
    rows = np.array([[len(s), sum(map(ord, s)), ord(s[0])] for s in sentences], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    return collect_touch(
        TouchConfig(
            out=tmp_path_factory.mktemp("clips") / "data",
            sensors=("gelsight-mini, duragel", "tac3d"),
            touches=3,
            objects=6,
            seed=4,
            workers=1,
            picture=32,
            rate_hz=20.0,
        )
    )


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("aligned")
    episodes = [made_up(i, texts={"touch": TEXT} if i % 2 else {}) for i in range(6)]
    other = [made_up(i, sensors=("pad",), spot=False) for i in range(3)]
    folders = [written(tmp_path / "a", episodes), written(tmp_path / "b", other, source="octopi_physiclear")]
    return TouchClips.open(folders, SETTINGS, progress=False).aligned(spelled, progress=False)


def test_texts_of_an_episode_survive_the_disk_and_absent_ones_stay_absent(tmp_path):
    with_text, without = made_up(0, texts={"touch": TEXT}), made_up(1)
    assert decode_episode(encode_episode(with_text)).texts == {"touch": TEXT}
    reader = open_dataset(written(tmp_path / "d", [with_text, without]))
    assert [e.texts for e in reader] == [{"touch": TEXT}, {}]
    assert reader.column("text.touch").tolist() == [TEXT, None] and reader.summary()["texts"] == {"touch": 1}
    for wrong in ("", "  ", 3):
        with pytest.raises(RecordError, match="absent is not empty"):
            encode_episode(replace(with_text, texts={"touch": wrong}))


def test_a_collected_touch_has_a_picture_words_and_one_spot_for_all_sensors(collected, tmp_path):
    reader = open_dataset(collected)
    assert reader.head.config["sensors"] == ["gelsight-mini", "duragel", "tac3d"], "commas and spaces both part names"
    for episode in reader:
        assert episode.streams["camera.rgb"].values.shape == (1, 96, 96, 3)
        assert 3 <= len(sentences_of(episode.texts["touch"])) <= 4
        assert episode.groups["spot"].startswith(episode.groups["object"])
        np.testing.assert_allclose(np.diff(episode.streams["touch.duragel"].times), 1 / 20, rtol=1e-9)
    blind = TouchConfig(
        out=tmp_path / "blind", sensors=("gelsight",), touches=1, objects=6, seed=4, workers=1, picture=32, camera=False
    )
    (episode,) = open_dataset(collect_touch(blind))
    assert "camera.rgb" not in episode.streams and "touch.gelsight-2017" in episode.streams
    assert episode.texts == reader[0].texts, "words are of the touch, not of the sensors"
    with pytest.raises(PalpateError, match="--rate-hz 1"):
        collect_touch(replace(blind, out=tmp_path / "no", rate_hz=1.0))


def test_clips_of_collected_touches_hold_contact_at_the_asked_size(collected):
    part = open_recordings(collected, SETTINGS, progress=False)
    assert sorted(set(part.sensor)) == ["duragel", "gelsight-mini"], "a force field is no picture"
    assert part.clip.shape[1:] == (4, 16, 16, 3) and part.has_clip.any()
    assert len(part.picture) == 3 and part.picture_of.tolist() == [0, 0, 1, 1, 2, 2], "one picture for all sensors"
    assert set(part.text) == {e.texts["touch"] for e in open_dataset(collected)}
    again = open_recordings(collected, SETTINGS, progress=False)
    assert again.fingerprint == part.fingerprint
    assert open_recordings(collected, replace(SETTINGS, most=2), progress=False).fingerprint != part.fingerprint


def test_changes_are_of_the_gel_at_rest_and_a_gel_at_rest_is_grey(tmp_path):
    root = written(tmp_path / "data", [made_up(0)])
    plain, change = (open_recordings(root, replace(SETTINGS, view=view), progress=False) for view in ("picture", "change"))
    np.testing.assert_array_equal(plain.has_clip, change.has_clip)
    rest = np.median(open_dataset(root).episode(0).streams["touch.duragel"].values[:3], axis=0)
    expected = plain.clip[plain.has_clip].astype(float) - square(rest.astype(np.uint8), 16) + 128
    duragel = change.sensor[np.repeat(np.arange(2), SETTINGS.most)[change.has_clip]] == "duragel"
    np.testing.assert_allclose(change.clip[change.has_clip][duragel], expected[duragel], atol=3.0)
    assert np.abs(change.clip[change.has_clip][:, :, -3:].astype(int) - 128).max() <= 6
    assert plain.fingerprint != change.fingerprint


def test_colours_of_a_change_turn_about_no_change():
    frames = np.full((8, 2, 4, 4, 3), 128, np.uint8)
    frames[:, :, :2] = (150, 128, 110)
    out = augment(frames, generator(3), change=True)
    quiet = np.abs(out.astype(int) - 128).max(axis=-1).reshape(8, 2, -1).argsort(axis=-1)[..., :8]
    np.testing.assert_allclose(np.take_along_axis(out.reshape(8, 2, 16, 3), quiet[..., None], axis=2), 128, atol=1)
    assert len({tuple(np.sort(clip.reshape(-1, 3), axis=0)[-1]) for clip in out}) > 4  # each clip in colours of its own


def test_windows_lie_in_contact_at_about_the_asked_rate():
    contact = np.ones(40, bool)
    contact[18] = False
    for rate, step in ((60.0, 2), (30.0, 1), (10.0, 1)):
        windows = clip_windows(contact, np.arange(40) / rate, ClipSettings(most=100))
        assert (np.diff(windows, axis=1) == step).all() and not (windows == 18).any()
    few = clip_windows(contact, np.arange(40) / 30.0, ClipSettings(most=5))
    assert len(few) == 5 and few[0, 0] == 0 and few[-1, -1] == 39, "spread over the whole touch"
    times = np.arange(40) / 30.0
    times[20:] += 1.0
    gapped = clip_windows(np.ones(40, bool), times, ClipSettings(most=100))
    assert not ((gapped[:, 0] < 20) & (gapped[:, -1] >= 20)).any(), "no clip over a gap"
    assert clip_windows(contact[:3], np.arange(3) / 30.0, ClipSettings()).shape == (0, 4)


def test_higher_pictures_are_turned_a_quarter_left_and_all_are_squashed():
    tall = np.zeros((40, 20, 3), np.uint8)
    tall[:, 15:] = 200  # right in the tall one, above after a quarter turn to the left
    np.testing.assert_array_equal(square(tall, 20)[:5], 200)
    np.testing.assert_array_equal(square(tall, 20)[5:], 0)
    wide = tall.transpose(1, 0, 2)
    np.testing.assert_array_equal(square(wide, 20)[15:], 200)


def test_recordings_use_the_importers_contact_flags_and_keep_stills_where_contact_is_short(tmp_path):
    episode = made_up(0, sensors=("digit",))
    flags = np.zeros((14, 1), np.uint8)
    flags[[6, 7]] = 1
    spec = StreamSpec(name="contact.digit", kind="series", shape=(1,), dtype="uint8")
    told = Stream(spec=spec, times=np.arange(14) / 30.0, values=flags)
    alone = replace(
        made_up(1, sensors=("digit",)), streams={"touch.digit": touch("touch.digit", pressed(generator(1), 1, (32, 24)))}
    )
    folder = written(tmp_path / "d", [replace(episode, streams={**episode.streams, "contact.digit": told}), alone])
    part = open_recordings(folder, SETTINGS, progress=False)
    assert not part.has_clip.any() and part.has_still.reshape(2, 4).sum(axis=1).tolist() == [2, 1]
    np.testing.assert_array_equal(part.still[0], square(episode.streams["touch.digit"].values[6], 16))
    assert (part.picture_of == -1).all() and len(part.picture) == 0
    clips = TouchClips.open([folder], SETTINGS, progress=False)
    assert len(clips.rows("still")) == 3 == len(clips)


def test_an_epoch_gives_every_still_and_clip_once_in_batches_of_one_kind(aligned):
    source: BatchSource = aligned
    batches = list(source.epoch(generator(2), 4))
    sizes = {
        kind: sum(len(b.labels) for b in batches if ("next" in b.inputs) == (kind == "clip")) for kind in ("still", "clip")
    }
    assert sizes == {kind: len(aligned.rows(kind)) for kind in sizes} and sum(sizes.values()) == len(source) > 20
    for batch in batches:
        frames = 3 if "next" in batch.inputs else 1
        assert batch.inputs["clip"].shape[1:] == (frames, 16, 16, 3) and batch.inputs["clip"].dtype == np.uint8
        assert batch.labels.shape == (len(batch.inputs["clip"]), 0)
    kinds = ["next" in b.inputs for b in batches]
    assert kinds != sorted(kinds) and kinds != sorted(kinds, reverse=True), "stills and clips come mixed"
    for a, b in zip(batches, source.epoch(generator(2), 4), strict=True):
        for name in a.inputs:
            np.testing.assert_array_equal(a.inputs[name], b.inputs[name])


def test_positives_are_of_the_spot_by_another_sensor_and_negatives_of_another_spot(aligned):
    for kind in ("still", "clip"):
        rows = aligned.recording(kind)
        names = np.concatenate([part.sensor for part in aligned.parts])
        own = aligned.spot[rows] != ""
        assert own.any() and not own.all()
        partner = aligned._partners(kind, rows, generator(1))
        np.testing.assert_array_equal(partner >= 0, own)
        near = rows[partner[own]]
        np.testing.assert_array_equal(aligned.spot[near], aligned.spot[rows[own]])
        assert (names[near] != names[rows[own]]).all()
        far = rows[aligned._strangers(kind, rows, generator(1))]
        assert (aligned.spot[far[own]] != aligned.spot[rows[own]]).all() and (far != rows).all()
        batch = aligned.batch(kind, np.arange(len(rows)), generator(3))
        np.testing.assert_array_equal(batch.presence["positive"], own)
        assert (batch.inputs["positive"][~own] == 0).all() and (batch.inputs["negative"][own].max(axis=(1, 2, 3, 4)) > 0).all()
        np.testing.assert_array_equal(
            np.sort([batch.inputs["sensor"][own], batch.inputs["positive_sensor"][own]], axis=0)[0], 0
        )


def test_sensors_are_told_by_place_and_strangers_are_minus_one(aligned):
    assert aligned.sensors == ("digit", "duragel", "gelsight-mini"), "the imported pad is a GelSight Mini"
    known = replace(aligned, sensors=("duragel",))
    batch = known.of_kind("clip").batch(np.arange(len(known.rows("clip"))))
    names = np.concatenate([part.sensor for part in aligned.parts])[aligned.recording("clip")]
    np.testing.assert_array_equal(batch.inputs["sensor"], np.where(names == "duragel", 0, -1))


def test_sentences_are_those_of_the_touch_and_absent_where_nothing_is_said(aligned):
    whole = spelled([TEXT])[0]
    fitting = spelled([TEXT, *sentences_of(TEXT)])
    indices = np.arange(len(aligned.rows("clip")))
    plain = aligned.of_kind("clip").batch(indices)
    has = plain.presence["text"]
    assert has.any() and not has.all() and "vision" not in plain.inputs
    np.testing.assert_allclose(plain.inputs["text"][has], np.broadcast_to(whole, (has.sum(), 3)), rtol=1e-6)
    assert (plain.inputs["text"][~has] == 0).all()
    drawn = np.concatenate([aligned.batch("clip", indices, generator(k)).inputs["text"][has] for k in range(5)])
    nearest = np.abs(drawn[:, None] - fitting).sum(axis=2)
    assert nearest.min(axis=1).max() < 1e-6 and set(nearest.argmin(axis=1)) == {0, 1, 2}


def test_vectors_of_sentences_are_computed_once(aligned):
    folders = [part.root for part in aligned.parts]
    asked = []

    def counting(sentences):
        asked.append(len(sentences))
        return spelled(sentences)

    again = TouchClips.open(folders, SETTINGS, progress=False).aligned(counting, progress=False)
    assert asked == [1], "one probe tells the encoder; the rest is kept"
    assert again.sentences is not None
    np.testing.assert_array_equal(again.sentences.vector, aligned.sentences.vector)


def test_features_of_pictures_reach_the_samples_of_their_touch(collected, aligned, monkeypatch):
    seen = []

    def fake(backbone, images, config, **more):
        seen.append(len(images))
        return np.asarray(images, np.float32).reshape(len(images), -1)[None, :, :7].astype(np.float16)

    monkeypatch.setattr(touch_clips, "extract_features", fake)
    monkeypatch.setattr(touch_clips, "build_backbone", lambda name: name)
    clips = TouchClips.open([aligned.parts[0].root, collected], SETTINGS, progress=False).aligned(None, progress=False)
    assert seen == [3], "a picture is encoded once, however many sensors felt it"
    batch = clips.of_kind("still").batch(np.arange(len(clips.rows("still"))))
    rows = clips.recording("still")
    from_first = rows < len(aligned.parts[0].sensor)
    np.testing.assert_array_equal(batch.presence["vision"], ~from_first)
    part = clips.parts[1]
    want = part.picture[part.picture_of[rows[~from_first] - len(aligned.parts[0].sensor)]].reshape(-1, 96 * 96 * 3)[:, :7]
    np.testing.assert_allclose(batch.inputs["vision"][~from_first], want, rtol=1e-3)
    assert (batch.inputs["vision"][from_first] == 0).all() and "text" not in batch.inputs


def test_held_out_objects_are_never_trained_on(aligned):
    train, held = aligned.split(0.34, 0)
    assert len(train) + len(held) == len(aligned) and min(len(train), len(held)) > 0
    assert not set(train.object[train.kept]) & set(held.object[held.kept])
    indexed: Indexed = held.of_kind("clip")
    assert len(indexed) == len(held.rows("clip"))
    a, b = (indexed.batch(np.arange(3)) for _ in range(2))
    for name in a.inputs:
        np.testing.assert_array_equal(a.inputs[name], b.inputs[name])
    with pytest.raises(PalpateError, match="give more than 0"):
        aligned.split(0.9, 0)


def test_evaluation_shows_the_frames_as_they_are(aligned):
    batch = aligned.of_kind("clip").batch(np.array([0]))
    part = aligned.parts[0]
    first = part.clip[np.flatnonzero(part.has_clip)[0]]
    np.testing.assert_array_equal(batch.inputs["clip"][0], first[:3])
    np.testing.assert_array_equal(batch.inputs["next"][0], first[3])
    still = aligned.of_kind("still").batch(np.array([0]))
    np.testing.assert_array_equal(still.inputs["clip"][0, 0], first[2])


def test_augmentation_treats_all_frames_of_a_clip_alike_and_clips_differently():
    rng = generator(0)
    one = rng.integers(60, 190, (16, 16, 3)).astype(np.uint8)
    clips = np.broadcast_to(one, (200, 4, 16, 16, 3)).copy()
    out = augment(clips, generator(1))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
    assert len(np.unique(out[:, 0].reshape(200, -1), axis=0)) > 190
    grey = np.full((200, 1, 8, 8, 3), 100, np.uint8)
    levels = augment(grey, generator(2)).astype(float)
    np.testing.assert_allclose(levels, levels[..., :1].repeat(3, axis=-1), atol=1)
    low, high = 100 * (1 - JITTER[0]), 100 * (1 + JITTER[0])
    assert low - 1 <= levels.min() < low + 8 and high - 8 < levels.max() <= high + 1, (
        "a grey keeps its hue; contrast leaves its mean"
    )


def test_flips_come_in_half_of_the_clips_each_way(monkeypatch):
    monkeypatch.setattr(touch_clips, "JITTER", (0.0, 0.0, 0.0, 0.0))
    corner = np.zeros((400, 1, 6, 8, 3), np.uint8)
    corner[:, :, 0, 0] = 200
    out = augment(corner, generator(3))[:, 0, ..., 0]
    shares = [out[:, r, c].astype(bool).mean() for r, c in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    assert sum(shares) == 1.0
    np.testing.assert_allclose(shares, FLIP**2, atol=0.07)


def test_data_that_cannot_be_cut_is_refused_with_a_reason(tmp_path):
    series = StreamSpec(name="press.force", kind="series", shape=(1,), dtype="float32")
    numbers = Stream(spec=series, times=np.arange(3.0), values=np.zeros((3, 1), np.float32))
    no_touch = written(tmp_path / "n", [Episode(index=0, seed=0, task="touch", streams={"press.force": numbers})])
    with pytest.raises(DataError, match="no streams touch"):
        open_recordings(no_touch, SETTINGS, progress=False)
    still = np.full((12, 24, 32, 3), 90, np.uint8)
    idle = written(
        tmp_path / "i", [Episode(index=0, seed=0, task="touch", streams={"touch.digit": touch("touch.digit", still)})]
    )
    with pytest.raises(DataError, match="none of 1 recordings shows contact"):
        open_recordings(idle, SETTINGS, progress=False)
    with pytest.raises(DataError, match="at least one folder"):
        TouchClips.open([], SETTINGS)
    with pytest.raises(PalpateError, match="1 or more"):
        ClipSettings(most=0)


def test_the_lerobot_export_says_that_texts_stay_behind(tmp_path):
    folder = written(tmp_path / "d", [made_up(0, texts={"touch": TEXT})])
    report = export_lerobot(folder, tmp_path / "out", fps=30)
    assert "words of the task only" in report.left_out["text.touch"]

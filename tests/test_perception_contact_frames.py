from pathlib import Path

import cv2
import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.perception.contact_frames import find_contact

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "octopi_physiclear"
H, W = 48, 64


def recording(depths, *, noise=1.5, drift=0.0, seed=0):
    """A lit gel with a dent as deep as told; `drift` brightens all of it over time."""
    rng = generator(seed)
    y, x = np.mgrid[:H, :W]
    gel = np.stack([100 + 0.4 * x, 110 - 0.3 * y, 90 + 0.2 * y], axis=-1)
    dent = np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 60.0)[..., None] * [60.0, -40.0, 25.0]
    light = drift * np.arange(len(depths))[:, None, None, None]
    frames = gel + np.asarray(depths)[:, None, None, None] * dent + light + rng.normal(0, noise, (len(depths), H, W, 3))
    return np.clip(frames, 0, 255).astype(np.uint8)


PRESS = [0, 0, 0, 0.2, 0.5, 0.8, 1, 1, 1, 0.7, 0.3, 0, 0, 0]


def test_frames_of_a_press_are_told_from_the_gel_at_rest():
    found = find_contact(recording(PRESS))
    np.testing.assert_array_equal(found.contact, np.array(PRESS) > 0)
    assert found.quiet >= 5 and found.strength[7] > 5 * found.threshold
    quiet = recording([0] * 30).mean(axis=0)
    assert np.abs(found.background - quiet).mean() < 1.5


def test_a_long_hold_is_not_taken_for_the_background():
    depths = [0, 0, 0, 0.5, *[1.0] * 40, 0.5, 0, 0, 0]
    found = find_contact(recording(depths))
    np.testing.assert_array_equal(found.contact, np.array(depths) > 0)


@pytest.mark.parametrize("ends", ["starts", "stops"])
def test_recordings_that_start_or_stop_in_contact_take_the_other_end(ends):
    depths = [1.0] * 6 + [0.6, 0.3] + [0.0] * 6
    depths = depths if ends == "starts" else depths[::-1]
    np.testing.assert_array_equal(find_contact(recording(depths)).contact, np.array(depths) > 0)


def test_a_leftover_first_frame_is_contact_and_not_the_background():
    depths = [0.9, 0, 0, 0, 0, 0.4, 1, 1, 0.4, 0, 0, 0]
    np.testing.assert_array_equal(find_contact(recording(depths)).contact, np.array(depths) > 0)


def test_noise_and_drifting_lamps_alone_are_no_contact():
    for seed in range(8):
        assert not find_contact(recording([0] * 12, noise=4.0, seed=seed)).contact.any()
        assert not find_contact(recording([0] * 40, drift=0.5, seed=seed)).contact.any()
    assert not find_contact(np.full((5, H, W, 3), 90, np.uint8)).contact.any(), "frozen frames"


def test_the_threshold_follows_the_recordings_own_noise():
    calm, wild = (find_contact(recording(PRESS, noise=n)) for n in (1.0, 12.0))
    assert wild.threshold > 1.5 * calm.threshold
    assert calm.contact[3] and wild.contact[6:9].all() and not wild.contact[:3].any()


def test_a_known_background_tells_contact_that_never_ends():
    held = recording([1.0] * 10)
    assert not find_contact(held).contact.any(), "it cannot be known without"
    assert find_contact(held, recording([0])[0]).contact.all()


def test_wrong_forms_are_refused():
    with pytest.raises(RecordError, match="T, H, W, 3"):
        find_contact(np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(RecordError, match="differ in size"):
        find_contact(recording([0, 0, 0]), np.zeros((8, 8, 3), np.uint8))


def test_a_real_clip_whose_first_frame_is_a_leftover_is_read_right():
    clip = SHARED / "scissor_handle_4.mov"
    if not clip.is_file():
        pytest.skip(f"PhysiCLeAR recordings are absent: {SHARED}")
    video, frames = cv2.VideoCapture(str(clip)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    found = find_contact(np.stack(frames))
    assert found.contact[0] and not found.contact[1:5].any(), "frame 0 is of the take before"
    assert 0.3 < found.contact.mean() < 0.9 and found.quiet >= 8

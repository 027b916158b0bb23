"""Touch sensors on the SoftGrasp hand: what they show of what presses on them, and that nothing else changes."""

from dataclasses import dataclass

import numpy as np
import pytest

from palpate.core.randomness import generator
from palpate.core.records import Command
from palpate.core.transforms import pose
from palpate.worlds.humanoid_hand import FINGERS, radians
from palpate.worlds.softgrasp import SoftgraspConfig, SoftgraspWorld, camera_config
from palpate.worlds.softgrasp_objects import OBJECTS, SoftgraspObject, softgrasp_object
from palpate.worlds.softgrasp_physics import Rig
from palpate.worlds.softgrasp_touch import WORN, Fingertips, felt_shape

LENGTH = {"thumb": 0.036, "middle": 0.048}


@dataclass
class Held:
    """A link of the middle finger flat before the side of an object, at half its height, and the force on it [N]."""

    thing: SoftgraspObject
    force: float
    aside: float = 0.0

    def last_link(self, finger):
        # The finger points down; its palmar side, -z of the link, looks along -x of the object.
        turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
        centre = LENGTH["middle"] - 0.0095
        at = np.array([self.thing.size[1] / 2 + 0.008, self.aside, self.thing.size[2] / 2 + centre])
        return pose(turn, at), LENGTH["middle"], np.array([0.0, 0.0, self.force]) if finger == "middle" else np.zeros(3)


@pytest.fixture(scope="module")
def tips():
    return Fingertips()


def change(tips, held):
    """Change of the middle finger's picture since the gel was at rest (H, W) grey levels, mean of the colours, noise taken off."""
    still = Held(held.thing, 0.0)
    shown = []
    for rig in (held, still):
        tips.begin_episode(generator(0, 3))
        shown.append(tips.sense(rig, 0.0)["middle"].image.astype(float))
    return np.abs(shown[0] - shown[1]).mean(axis=2)


def contact(tips, held):
    found = tips.contact("middle", held)
    assert found is not None
    return found


def test_a_gel_that_nothing_presses_shows_itself_at_rest(tips):
    np.testing.assert_array_equal(change(tips, Held(softgrasp_object(6), 0.0)), 0.0)
    assert tips.contact("middle", Held(softgrasp_object(6), -1.0)) is None
    beside = Held(softgrasp_object(6), 1.0, aside=0.1)
    assert tips.contact("middle", beside) is None


def test_a_harder_press_shows_more_and_carries_the_force(tips):
    thing = softgrasp_object(6)
    seen = [float(change(tips, Held(thing, force)).mean()) for force in (0.3, 1.0, 3.0)]
    assert 0.05 < seen[0] < 0.7 * seen[1] < 0.5 * seen[2]
    pressed = contact(tips, Held(thing, 2.0))
    np.testing.assert_allclose(pressed.force[2], 2.0, rtol=1e-3)


def test_a_soft_thing_spreads_the_same_force_over_more_gel_and_dents_it_less(tips):
    rubber, cup = softgrasp_object(3), softgrasp_object(1)
    soft, hard = (contact(tips, Held(thing, 1.5)) for thing in (rubber, cup))
    assert float(soft.contact_area) > 1.5 * float(hard.contact_area)
    assert float(soft.sunk.max()) < 0.6 * float(hard.sunk.max())
    assert change(tips, Held(rubber, 1.5)).max() < change(tips, Held(cup, 1.5)).max()


def test_a_thinner_bottle_leaves_a_narrower_print_and_a_carton_a_round_one(tips):
    def width_and_height(number):
        there = contact(tips, Held(softgrasp_object(number), 1.5)).pressure > 0
        return there.any(axis=0).sum(), there.any(axis=1).sum()

    thin, thick, flat = (width_and_height(number) for number in (12, 1, 8))
    assert thin[0] < thick[0] < flat[0] and abs(flat[0] - flat[1]) <= 1
    assert thin[0] / thin[1] < thick[0] / thick[1] < 0.95  # upright things are straight along the finger


def test_a_press_beside_the_middle_shows_there(tips):
    columns = np.arange(32)
    centre = []
    for aside in (-0.003, 0.0, 0.003):
        pressure = contact(tips, Held(softgrasp_object(6), 1.0, aside=aside)).pressure
        centre.append(float((pressure.sum(axis=0) * columns).sum() / pressure.sum()))
    assert centre[1] == pytest.approx(15.5, abs=0.3)
    assert centre[0] - centre[1] == pytest.approx(centre[1] - centre[2], abs=0.3) and abs(centre[0] - centre[1]) > 1.5


def test_every_object_has_a_shape_of_its_own_size():
    for thing in OBJECTS:
        shape = felt_shape(thing)
        assert (shape.young is not None) == (thing.hardness == "deformable")
        half = shape.parts[0].size[0]
        assert half == pytest.approx(thing.radius if shape.parts[0].kind == "frustum" else thing.size[1] / 2)
        assert shape.parts[0].at[2] == pytest.approx(thing.size[2] / 2)


def test_the_load_on_a_link_pushes_it_off_the_object_as_hard_as_its_contacts_say():
    rig = Rig(softgrasp_object(6))
    rig.reset(np.zeros(2), 0.0, 0.0)
    for share in np.linspace(1.0, 0.25, 60):
        rig.step(radians(np.array([share] * 5 + [0.0])), 0.0)
    normal = dict(zip(FINGERS, rig.finger_forces(), strict=True))
    for finger in WORN:
        object_from_link, length, force = rig.last_link(finger)
        assert length == pytest.approx(LENGTH[finger])
        size = float(np.linalg.norm(force))
        assert 0.3 < size < 1.3 * normal[finger]  # friction adds to the normal force, the first link may carry some
        outward = object_from_link[:3, :3] @ force
        tip = object_from_link[:3, 3] - [0.0, 0.0, rig.thing.size[2] / 2]
        assert outward[:2] @ tip[:2] > 0.0


def test_touch_changes_nothing_else_and_begins_at_rest():
    episodes = []
    for touch in (False, True):
        world = SoftgraspWorld(SoftgraspConfig(objects=(6,), camera=camera_config(12, 16), touch=touch))
        first = world.begin(2, 0)
        assert set(first.touch) == set(first.touch_rest) == (set(WORN) if touch else set())
        for share in np.linspace(1.0, 0.3, 45):
            last = world.step(Command(joints=np.array([share] * 5 + [0.0])))
        episodes.append(world.finish())
        for finger in last.touch:
            np.testing.assert_array_equal(last.touch_rest[finger].image, first.touch[finger].image)
    bare, worn = episodes
    assert set(worn.streams) - set(bare.streams) == {"touch.thumb", "touch.middle"}
    for name, stream in bare.streams.items():
        np.testing.assert_array_equal(stream.values, worn.streams[name].values, err_msg=name)
    images = worn.streams["touch.middle"]
    assert images.spec.kind == "touch" and images.spec.shape == (96, 72, 3) and len(images.times) == 46
    moved = np.abs(images.values.astype(float) - images.values[0]).mean(axis=(1, 2, 3))
    assert moved[-1] > 1.5 * moved[1]  # pressed, against the noise of the camera

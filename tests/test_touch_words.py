import re
from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.recipes.touch_motion import draw_touch
from palpate.sensors.touch.forms import KINDS
from palpate.sensors.touch.materials import MATERIALS, get_material
from palpate.sensors.touch.photo import photograph
from palpate.sensors.touch.shapes import Pose, Thing, make_shape, parse_shape
from palpate.sensors.touch.words import LONGEST, count_words, describe_touch, sentences_of, surface_roughness

HARD = r"\b(hard|rigid|solid)\b"
SOFT = r"\b(very soft|squishy|yielding|soft|pliable|compliant)\b"


def described(thing, n=30):
    return [describe_touch(thing, generator(0, k)) for k in range(n)]


def test_every_shape_and_material_is_described_in_three_or_four_short_sentences():
    for i, name in enumerate(KINDS):
        for j, material in enumerate(MATERIALS.values()):
            text = describe_touch(Thing(make_shape(name), material), generator(1, i, j))
            assert 3 <= len(sentences_of(text)) <= 4, text
            assert count_words(text) <= LONGEST
            assert not re.search(r"moderate|medium|\{|\}|  |\ba [aeiou]|\.\.|None", text), text
            assert all(s[0].isupper() and s.endswith(".") for s in sentences_of(text))


def test_words_are_counted_with_punctuation_as_the_papers_prompt_asks():
    assert count_words("Hard, smooth, cold metal with fine parallel ridges.") == 11
    assert count_words("It's coarse-grained.") == 3


def test_words_follow_the_true_hardness_roughness_and_spacing():
    steel, foam = (Thing(parse_shape("sphere:4mm"), get_material(name)) for name in ("steel", "foam"))
    assert all(re.search(HARD, text, re.I) and not re.search(SOFT, text, re.I) for text in described(steel))
    assert all(re.search(SOFT, text, re.I) and not re.search(HARD, text, re.I) for text in described(foam))
    harder = replace(foam, material=replace(foam.material, young=None))
    assert all(re.search(HARD, text, re.I) for text in described(harder)), "it is the modulus that counts, not the name"
    rough = replace(steel, material=replace(steel.material, roughness=60e-6))
    assert all(re.search("rough|gritty|abrasive", text, re.I) for text in described(rough))
    assert not any(re.search("gritty|abrasive|rough", text, re.I) for text in described(steel))
    for pitch, words in (("0.8mm", "fine|closely spaced"), ("3mm", "broad|widely spaced")):
        waves = Thing(parse_shape(f"waves:{pitch}"))
        assert all(re.search(words, text, re.I) for text in described(waves))


def test_wording_varies_and_depends_on_its_generator_only():
    thing = Thing(parse_shape("coin:6mm"), get_material("wood"))
    assert len(set(described(thing, 40))) >= 35
    assert describe_touch(thing, generator(3, 1)) == describe_touch(thing, generator(3, 1))


def test_the_roughness_of_a_rough_plane_adds_to_its_materials():
    thing = Thing(parse_shape("rough:0.03mm"), replace(get_material("wood"), roughness=40e-6))
    assert surface_roughness(thing) == pytest.approx(50e-6)


def test_the_camera_shows_the_touched_place_in_the_objects_own_colour():
    ball = Thing(parse_shape("sphere:4mm"), get_material("tomato"), seed=5)
    picture = photograph(ball, generator(0, 1), 64)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    redness = picture[..., 0].astype(float) - picture[..., 2]
    middle, border = redness[26:38, 26:38], np.concatenate([redness[:4].ravel(), redness[-4:].ravel()])
    assert middle.mean() > border.mean() + 60, "a red thing on a table that is not"
    aside = photograph(replace(ball, pose=Pose(6e-3, 0.0)), generator(0, 1), 64)
    moved = aside[..., 0].astype(float) - aside[..., 2]
    assert moved[26:38, 26:38].mean() < middle.mean() - 60, "a thing beside the touched place is not in the middle"


def test_objects_look_the_same_at_each_touch_but_not_each_other():
    ball = Thing(parse_shape("sphere:6mm"), get_material("plastic"), seed=1)
    centre = [photograph(ball, generator(0, k), 32)[13:19, 13:19].mean(axis=(0, 1)) for k in range(4)]
    hues = [c / c.sum() for c in centre]
    np.testing.assert_allclose(hues, np.broadcast_to(np.mean(hues, axis=0), (4, 3)), atol=0.06)
    np.testing.assert_array_equal(photograph(ball, generator(0, 2), 32), photograph(ball, generator(0, 2), 32))
    others = [photograph(replace(ball, seed=s), generator(0, 0), 32)[13:19, 13:19].mean(axis=(0, 1)) for s in range(8)]
    assert np.ptp([c / c.sum() for c in others], axis=0).max() > 0.2
    with pytest.raises(RecordError, match="16 or more"):
        photograph(ball, generator(0), 8)


def test_light_falls_from_one_side_so_that_relief_shows():
    flat, ridged = (Thing(parse_shape(s), get_material("paper")) for s in ("block:60mm", "waves:2mm,height=0.6mm"))
    contrast = [photograph(t, generator(0, 3), 64).mean(axis=2)[16:48, 16:48].std() for t in (flat, ridged)]
    assert contrast[1] > 2.5 * contrast[0]


def test_pieces_of_one_material_differ_and_each_touch_has_its_own_spot():
    touches = [draw_touch(0, i, 200) for i in range(120)]
    assert len({t.spot for t in touches}) == len(touches)
    assert all(t.spot.startswith(f"{t.object_name}/") for t in touches)
    for name, usual in (("rubber", 2.5e6), ("foam", 60e3)):
        young = [t.thing.material.young or 0.0 for t in touches if t.thing.material.name == name]
        assert len(set(young)) > 1, "several pieces"
        assert all(0.2 < value / usual < 5 for value in young)
    assert all((t.thing.material.young is None) == (MATERIALS[t.thing.material.name].young is None) for t in touches)

"""Captioned pictures: balanced, and described truly."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import captions, words


def test_every_block_of_96_rows_holds_each_caption_once_and_ids_spell_it():
  data = check_data(captions.data(n=200, test=50, size=16))
  caption, words = data.arrays["caption"], data.info["vocabulary"]
  for start in (0, 96):
    assert np.array_equal(np.sort(caption[start : start + 96]), np.arange(96))
  assert not np.array_equal(caption[:96], caption[96:192])
  texts = data.info["labels"]["caption"]
  assert len(texts) == len(set(texts)) == 96 and words[0] == "<pad>" and len(words) == 15
  for row in range(0, 200, 17):
    assert " ".join(words[i] for i in data.arrays["ids"][row]) == texts[caption[row]]
    named = [data.info["labels"][what][data.arrays[what][row]] for what in ("colour", "shape", "position")]
    assert " ".join(named) == texts[caption[row]]
  assert np.array_equal(data.sets["test"], np.arange(150, 200))


def test_the_picture_shows_what_the_caption_says():
  data = captions.data(n=192, test=1, size=32, noise=0.0)
  inks = np.array(list(captions.COLOURS.values())) * 255
  for row in range(0, 192, 7):
    image, half = data.arrays["image"][row].astype(float), 16
    colour, place = data.arrays["colour"][row], data.arrays["position"][row]
    inked = np.abs(image - inks[colour]).max(-1) < 1.5
    quarters = [inked[i : i + half, j : j + half].sum() for i in (0, half) for j in (0, half)]
    assert np.argmax(quarters) == place and quarters[place] > 20
    assert quarters[place] == sum(quarters)


def test_shapes_differ_in_area_as_drawn():
  data = captions.data(n=960, test=1, size=32, noise=0.0)
  inks = np.array(list(captions.COLOURS.values()))[data.arrays["colour"]] * 255
  inked = (np.abs(data.arrays["image"] - inks[:, None, None]).max(-1) < 1.5).sum((1, 2))
  areas = [inked[data.arrays["shape"] == s].mean() for s in range(4)]  # in units of the radius: 3.14, 3.10, 1.8, 2.3
  assert areas[0] > 1.2 * areas[3] > 1.2 * areas[2] and abs(areas[0] / areas[1] - 1) < 0.1


def test_the_same_seed_draws_the_same_bytes_and_more_rows_do_not_change_the_first():
  a, b, c = captions.data(n=120, test=9, size=16), captions.data(n=240, test=9, size=16), captions.data(
    n=120, test=9, size=16, seed=1)
  assert np.array_equal(a.arrays["image"][:96], b.arrays["image"][:96])
  assert np.array_equal(a.arrays["caption"], b.arrays["caption"][:120])
  assert not np.array_equal(a.arrays["caption"], c.arrays["caption"])


def test_labelled_pictures_are_described_by_templates_in_turn():
  pytest.importorskip("sklearn")
  data = captions.data("digits", test=100, size=0, templates=3)
  label, caption, texts = data.arrays["label"], data.arrays["caption"], data.info["labels"]["caption"]
  assert np.array_equal(caption, label * 3 + np.arange(data.n) % 3)
  assert texts[:3] == ["a photo of a 0.", "a blurry photo of a 0.", "a black and white photo of a 0."]
  known = data.info["vocabulary"]
  spelt = [" ".join(known[i] for i in ids if i) for ids in data.arrays["ids"][:40]]
  assert spelt == [" ".join(words.split(texts[c])) for c in caption[:40]]
  assert data.arrays["image"].shape[1:] == (8, 8, 3)


@pytest.mark.parametrize("wrong", [{"source": "drawing"}, {"n": 1}, {"test": 3000}, {"size": 8}, {"noise": 2.0},
                                   {"source": "digits", "templates": 19}])  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
  with pytest.raises(Invalid):
    captions.data(**wrong)


def test_public_pairs_are_taken_out_of_train():
  data, whole = captions.data(n=200, test=50, size=16, known=60), captions.data(n=200, test=50, size=16)
  assert len(data.sets["known"]) == 60 and "known" not in whole.sets
  both = np.concatenate([data.sets["known"], data.sets["train"]])
  assert np.array_equal(np.sort(both), whole.sets["train"])
  assert np.array_equal(data.arrays["image"], whole.arrays["image"])

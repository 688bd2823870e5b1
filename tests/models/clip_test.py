"""CLIP against a numpy reading of the same checkpoints, and against recorded outputs where they are at hand."""

import json
import pathlib

import jax
import numpy as np
import pytest

from experiments import pipeline, plan
from ue_jax.core.errors import Invalid
from ue_jax.models import clip, clip_vision, weights
from ue_jax.train import log

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "clip"
CONFIG = {
  "text_config": {"num_attention_heads": 2, "hidden_act": "quick_gelu", "eos_token_id": 20},
  "vision_config": {"num_attention_heads": 4, "hidden_act": "gelu"},
}
IDS = np.array([[3, 5, 20, 0, 0], [7, 8, 9, 1, 20]], np.int32)


def arrays_vit(width=16, patch=4, grid=2, vocabulary=30, length=6, out=6):
  """Random weights with the names of transformers: two blocks a tower."""
  rng = np.random.default_rng(0)
  new = lambda *shape: (0.3 * rng.normal(size=shape)).astype(np.float32)
  out_arrays = {
    "vision_model.embeddings.class_embedding": new(width),
    "vision_model.embeddings.patch_embedding.weight": new(width, 3, patch, patch),
    "vision_model.embeddings.position_embedding.weight": new(1 + grid**2, width),
    "text_model.embeddings.token_embedding.weight": new(vocabulary, width),
    "text_model.embeddings.position_embedding.weight": new(length, width),
    "visual_projection.weight": new(out, width), "text_projection.weight": new(out, width),
    "logit_scale": np.array(2.0, np.float32),
  }  # fmt: skip
  names = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (width, width), "self_attn.v_proj": (width, width),
           "self_attn.out_proj": (width, width), "mlp.fc1": (24, width), "mlp.fc2": (width, 24)}
  norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"]
  for tower in ("vision_model", "text_model"):
    for i in range(2):
      here = f"{tower}.encoder.layers.{i}"
      norms += [f"{here}.layer_norm1", f"{here}.layer_norm2"]
      for name, shape in names.items():
        out_arrays |= {f"{here}.{name}.weight": new(*shape), f"{here}.{name}.bias": new(shape[0])}
  for name in norms:
    out_arrays |= {f"{name}.weight": 1 + new(width), f"{name}.bias": new(width)}
  return out_arrays


def released(arrays):
  """The same weights under the names of the released code, with queries, keys and values in one array."""
  out = {}
  for name, x in arrays.items():
    if "self_attn.q_proj" in name:
      parts = [arrays[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
      name, x = name.replace("self_attn.q_proj.", "attn.in_proj_"), np.concatenate(parts)
    elif "self_attn.k_proj" in name or "self_attn.v_proj" in name:
      continue
    for old, new in (
      ("vision_model.encoder.layers", "visual.transformer.resblocks"), ("self_attn", "attn"), ("layer_norm", "ln_"),
      ("text_model.encoder.layers", "transformer.resblocks"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
      ("vision_model.embeddings.patch_embedding", "visual.conv1"), ("vision_model.pre_layrnorm", "visual.ln_pre"),
      ("vision_model.embeddings.class_embedding", "visual.class_embedding"), ("text_model.final_ln_norm", "ln_final"),
      ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
      ("vision_model.post_layernorm", "visual.ln_post"), ("text_model.embeddings.token_embedding", "token_embedding"),
      ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
      ("text_model.final_layer_norm", "ln_final"), ("text_model.final_ln_", "ln_final"),
    ):  # fmt: skip
      if not (old == "layer_norm" and "final" in name):
        name = name.replace(old, new)
    if name in ("visual_projection.weight", "text_projection.weight"):
      name, x = {"v": "visual.proj", "t": "text_projection"}[name[0]], x.T
    out[name] = x
  return out


def norm(a, name, x):
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  return x * a[f"{name}.weight"] + a[f"{name}.bias"]


def linear(a, name, x):
  return x @ a[f"{name}.weight"].T + a.get(f"{name}.bias", 0)


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def heads_of(x, heads):
  return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def blocks(a, tower, x, heads, act, causal):
  """One sequence `[t, width]` through both blocks, in float64."""
  for i in range(2):
    here = f"{tower}.encoder.layers.{i}"
    h = norm(a, f"{here}.layer_norm1", x)
    q, k, v = (heads_of(linear(a, f"{here}.self_attn.{n}_proj", h), heads) for n in "qkv")
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    if causal:
      scores = np.where(np.tri(len(x)), scores, -np.inf)
    mixed = (softmax(scores) @ v).swapaxes(0, 1).reshape(len(x), -1)
    x = x + linear(a, f"{here}.self_attn.out_proj", mixed)
    x = x + linear(a, f"{here}.mlp.fc2", act(linear(a, f"{here}.mlp.fc1", norm(a, f"{here}.layer_norm2", x))))
  return x


def gelu(x):
  return 0.5 * x * (1 + np.vectorize(__import__("math").erf)(x / np.sqrt(2)))


def quick(x):
  return x / (1 + np.exp(-1.702 * x))


def see(a, picture):
  """The embedding of one normalised picture by the ViT."""
  kernel = a["vision_model.embeddings.patch_embedding.weight"]
  n, p = picture.shape[0], kernel.shape[-1]
  cut = [picture[i : i + p, j : j + p] for i in range(0, n, p) for j in range(0, n, p)]
  x = np.stack([np.einsum("hwc,ochw->o", one, kernel) for one in cut])
  x = np.concatenate([a["vision_model.embeddings.class_embedding"][None], x])
  x = norm(a, "vision_model.pre_layrnorm", x + a["vision_model.embeddings.position_embedding.weight"])
  x = blocks(a, "vision_model", x, 4, gelu, causal=False)
  return linear(a, "visual_projection", norm(a, "vision_model.post_layernorm", x[0]))


def read(a, ids, end=20):
  """The embedding of one text."""
  x = a["text_model.embeddings.token_embedding.weight"][ids]
  x = x + a["text_model.embeddings.position_embedding.weight"][: len(ids)]
  x = norm(a, "text_model.final_layer_norm", blocks(a, "text_model", x, 2, quick, causal=True))
  return linear(a, "text_projection", x[list(ids).index(end)])


def images(size, b=2):
  return np.random.default_rng(1).random((b, size, size, 3)).astype(np.float32)


def normalised(x):
  return ((x - clip_vision.MEAN) / clip_vision.STD).astype(np.float64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  """A folder with a small ViT under the names of transformers, and its arrays in float64."""
  folder = tmp_path_factory.mktemp("clip")
  arrays = arrays_vit()
  weights.write(folder / "model.safetensors", arrays)
  (folder / "config.json").write_text(json.dumps(CONFIG))
  return folder, {name: x.astype(np.float64) for name, x in arrays.items()}


def test_recorded_outputs_are_met_to_1e_4():
  folder = GOLDEN
  with np.load(folder / "io.npz", allow_pickle=False) as io:
    pixels, ids = io["pixels"].transpose(0, 2, 3, 1), io["ids"]
    wanted = [io[name] for name in ("image_embeds", "text_embeds", "logits_per_image")]
  params, state = clip.load(folder)
  apply = jax.jit(clip.model().apply)
  picture = pixels * np.float32(clip_vision.STD) + np.float32(clip_vision.MEAN)
  unit = jax.jit(clip.unit)
  image, text = (np.asarray(unit(apply(params, x, state=state).features)) for x in (picture, ids))
  for got, want in zip((image, text, np.asarray(clip.scale(params)) * image @ text.T), wanted):
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_both_towers_equal_a_numpy_reading_of_the_checkpoint(checkpoint):
  folder, a = checkpoint
  params, state = clip.load(folder / "model.safetensors")
  apply = jax.jit(clip.model().apply)  # sizes come from the parameters
  x = images(8)
  np.testing.assert_allclose(
    apply(params, x, state=state).features, np.stack([see(a, one) for one in normalised(x)]), atol=1e-4)
  text = apply(params, IDS, state=state)
  np.testing.assert_allclose(text.features, np.stack([read(a, ids) for ids in IDS]), atol=1e-4)
  changed = np.where(np.arange(5) > np.array([[2], [4]]), 11, IDS)  # what stands behind the end is not read
  np.testing.assert_allclose(apply(params, changed, state=state).features, text.features, atol=1e-6)


def test_the_names_of_the_released_code_give_the_same_model(checkpoint, tmp_path):
  folder, _ = checkpoint
  weights.write(tmp_path / "open_clip_model.safetensors", released(arrays_vit()))
  (tmp_path / "config.json").write_text(json.dumps(CONFIG))
  one, other = clip.load(folder), clip.load(tmp_path)
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def arrays_resnet(width=4, size=64, out=6):
  """Random weights of a ResNet of one and two bottlenecks under the names of the released code, with a text tower."""
  rng = np.random.default_rng(2)
  new = lambda *shape: (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
  a = {name: x for name, x in released(arrays_vit(out=out)).items() if not name.startswith("visual.")}

  def unit(conv, bn, inside, outside, kernel):
    a[f"{conv}.weight"] = new(outside, inside, kernel, kernel)
    a[f"{bn}.weight"], a[f"{bn}.bias"] = 1 + new(outside, 9), new(outside, 9)
    a[f"{bn}.weight"], a[f"{bn}.bias"] = a[f"{bn}.weight"][:, 0], a[f"{bn}.bias"][:, 0]
    a[f"{bn}.running_mean"] = new(outside, 9)[:, 0]
    a[f"{bn}.running_var"] = (0.5 + rng.random(outside)).astype(np.float32)

  for i, (inside, outside) in enumerate([(3, 2), (2, 2), (2, width)], 1):
    unit(f"visual.conv{i}", f"visual.bn{i}", inside, outside, 3)
  now = width
  for layer, j, planes in ((1, 0, 4), (2, 0, 8), (2, 1, 8)):
    here = f"visual.layer{layer}.{j}"
    for i, shape in enumerate([(now, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)], 1):
      unit(f"{here}.conv{i}", f"{here}.bn{i}", *shape)
    if j == 0:
      unit(f"{here}.downsample.0", f"{here}.downsample.1", now, 4 * planes, 1)
    now = 4 * planes
  a["visual.attnpool.positional_embedding"] = new(1 + (size // 8) ** 2, now)
  for name, rows in (("q", now), ("k", now), ("v", now), ("c", out)):
    here = f"visual.attnpool.{name}_proj"
    a |= {f"{here}.weight": new(rows, now), f"{here}.bias": new(rows, 9)[:, 0]}
  return a


def unit_of(a, conv, bn, x, stride=1):
  kernel = a[f"{conv}.weight"]
  pad = kernel.shape[-1] // 2
  x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
  windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (1, 2))[:, ::stride, ::stride]
  y = np.einsum("chwij,ocij->ohw", windows, kernel)
  shape = lambda what: a[f"{bn}.{what}"][:, None, None]
  return (y - shape("running_mean")) / np.sqrt(shape("running_var") + 1e-5) * shape("weight") + shape("bias")


def halved(x):
  return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean((2, 4))


def see_resnet(a, picture):
  """The embedding of one normalised picture `[3, h, w]` by the ResNet, a head of attention as wide as its features."""
  relu = lambda y: np.maximum(y, 0)
  x = picture
  for i in (1, 2, 3):
    x = relu(unit_of(a, f"visual.conv{i}", f"visual.bn{i}", x, 2 if i == 1 else 1))
  x = halved(x)
  for layer, j in ((1, 0), (2, 0), (2, 1)):
    here = f"visual.layer{layer}.{j}"
    shrink = halved if layer > 1 and j == 0 else lambda y: y
    h = relu(unit_of(a, f"{here}.conv1", f"{here}.bn1", x))
    h = shrink(relu(unit_of(a, f"{here}.conv2", f"{here}.bn2", h)))
    h = unit_of(a, f"{here}.conv3", f"{here}.bn3", h)
    if j == 0:
      x = unit_of(a, f"{here}.downsample.0", f"{here}.downsample.1", shrink(x))
    x = relu(x + h)
  x = x.reshape(len(x), -1).T
  x = np.concatenate([x.mean(0, keepdims=True), x]) + a["visual.attnpool.positional_embedding"]
  q, k, v = (linear(a, f"visual.attnpool.{n}_proj", x) for n in "qkv")
  mixed = softmax(q[:1] @ k.T / np.sqrt(q.shape[-1])) @ v
  return linear(a, "visual.attnpool.c_proj", mixed)[0]


def test_the_resnet_tower_equals_a_numpy_reading_of_the_checkpoint(tmp_path):
  arrays = arrays_resnet()
  weights.write(tmp_path / "open_clip_model.safetensors", arrays)
  params, state = clip.load(tmp_path)
  x = images(64)
  got = jax.jit(lambda x: clip.model(image="resnet").apply(params, x, state=state).features)(x)
  a = {name: y.astype(np.float64) for name, y in arrays.items()}
  want = np.stack([see_resnet(a, one.transpose(2, 0, 1)) for one in normalised(x)])
  np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("image", ["resnet", "resnet18"])
def test_training_mode_moves_running_statistics_and_evaluation_does_not(image, key):
  model = clip.model(image=image, text="mean", vocabulary=5, width=8, depths=(1, 1), heads=4, embedding=6, size=16)
  x = images(16, 4)
  params, state = model.init(key, x)
  apply = jax.jit(model.apply, static_argnames="train")
  same = apply(params, x, state=state).state
  moved = apply(params, x, state=state, train=True).state
  jax.tree.map(np.testing.assert_array_equal, same, state)
  far = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), moved["image"]["stats"], state["image"]["stats"])
  assert min(jax.tree.leaves(far)) > 0
  assert apply(params, x, state=state).features.shape == (4, 6)


def test_a_mean_of_tokens_leaves_padding_out(key):
  model = clip.model(image="cnn", text="mean", vocabulary=9, embedding=6, widths=(4,))
  params, state = model.init(key, images(8))
  found = jax.jit(model.apply)(params, np.array([[3, 4, 0], [3, 4, 4]], np.int32), state=state).features
  table = np.asarray(params["text"]["embed"])
  np.testing.assert_allclose(found, [(table[3] + table[4]) / 2, (table[3] + 2 * table[4]) / 3], atol=1e-6)


def test_what_is_no_clip_is_refused_by_name(checkpoint, tmp_path):
  folder, _ = checkpoint
  arrays = arrays_vit()
  for change, word in (
    ({"visual_projection.weight": None}, "visual_projection"),
    ({"vision_model.pre_layrnorm.bias": np.zeros(3, np.float32)}, "ln_pre"),
  ):
    kept = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    weights.write(tmp_path / "model.safetensors", kept)
    with pytest.raises(Invalid, match=word):
      clip.load(tmp_path)
  with pytest.raises(Invalid, match="no such file"):
    clip.load(tmp_path / "nowhere.safetensors")
  weights.write(tmp_path / "model.safetensors", arrays)
  (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "text_config": {"num_attention_heads": 3}}))
  with pytest.raises(Invalid):
    clip.load(tmp_path)
  with pytest.raises(Invalid, match="model.patch"):
    clip.model(size=30, patch=8)


def test_unlearnable_clusters_learns_against_its_image_tower_named_in_a_config(checkpoint, tmp_path):
  folder, _ = checkpoint
  config = {
    "data": {"name": "data.synthetic", "n": 40, "test": 8, "size": 16},
    "surrogate": {"name": "models.clip", "path": str(folder / "model.safetensors")},
    "protect": {"name": "protect.unlearnable_clusters", "k": 2, "steps": 5, "eps": 8 / 255, "every": 1},
  }
  made = plan.plan(config)
  results = pipeline.Results(made, tmp_path)
  clean, after = results(made.clean), results(made.variants["unlearnable_clusters"])
  moved = np.abs(after.arrays["image"][:40].astype(int) - clean.arrays["image"])
  assert 0 < moved.max() <= 8
  (log_file,) = (tmp_path / "logs").glob("protect-*.jsonl")
  far = [row["kl"] for row in log.read(log_file) if row.get("kl") is not None]
  assert len(far) > 1 and far[-1] < 0.95 * far[0]

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import attention, generate, transformer
from ue_jax.models.attention import Tokens

IDS = np.random.default_rng(0).integers(0, 13, (2, 6)).astype(np.int32)
NET = transformer.model(13, 16, 2, 4, 2, 12)


@functools.cache
def params():
  drawn = NET.init(jax.random.key(0), IDS)[0]
  return jax.tree.map(lambda p: p + 0.02 if p.ndim == 1 else 2 * p, drawn)  # larger than at the start: all parts count


run = jax.jit(lambda p, ids: NET.apply(p, ids))


def rms(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def rope(x, base=1e4):
  length, size = x.shape
  angle = np.arange(length)[:, None] * base ** (-np.arange(0, size, 2) / size)
  turned = (x[:, : size // 2] + 1j * x[:, size // 2 :]) * np.exp(1j * angle)
  return np.concatenate([turned.real, turned.imag], -1)


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def head(q, k, v):
  scores = q @ k.T / np.sqrt(q.shape[-1])
  scores[np.triu_indices(len(q), 1)] = -1e30
  return softmax(scores) @ v


def decoder(p, ids, heads=4, kv_heads=2):
  """One sequence through the whole network, in float64."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), p)
  x = p["embed"]["embedding"][ids]
  size = x.shape[-1] // heads
  for i in range(2):
    b = p[f"block_{i}"]
    w = {name: b[name]["kernel"] for name in ("q", "k", "v", "o", "gate", "up", "down")}
    h = rms(x, b["ln1"]["scale"])
    cut = lambda y, n: y[:, n * size : (n + 1) * size]
    out = []
    for n in range(heads):
      m = n // (heads // kv_heads)
      out.append(head(rope(cut(h @ w["q"], n)), rope(cut(h @ w["k"], m)), cut(h @ w["v"], m)))
    x = x + np.concatenate(out, -1) @ w["o"]
    h = rms(x, b["ln2"]["scale"])
    gate = h @ w["gate"]
    x = x + (gate / (1 + np.exp(-gate)) * (h @ w["up"])) @ w["down"]
  features = rms(x, p["norm"]["scale"])
  return features @ p["head"]["kernel"], features


def assert_equals_numpy(out, ids, oracle):
  """Both rows of `out` are what `oracle` says of `ids`: (logits, features)."""
  for row in range(2):
    logits, features = oracle(ids[row])
    np.testing.assert_allclose(out.features[row], features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out.logits[row], logits, rtol=1e-3, atol=1e-4)
  assert out.logits.std() > 0.5  # not a comparison of zeros


def test_the_whole_decoder_equals_numpy():
  assert_equals_numpy(run(params(), IDS), IDS, lambda ids: decoder(params(), ids))


def test_one_head_of_attention_equals_numpy(key):
  q, k, v = jax.random.normal(key, (3, 1, 7, 1, 4))
  out = transformer.attend(q, k, v)
  np.testing.assert_allclose(out[0, :, 0], head(*(np.asarray(x[0, :, 0]) for x in (q, k, v))), rtol=1e-4, atol=1e-5)


def test_attention_of_accelerators_gives_the_numbers_of_that_of_cpus(key, monkeypatch):
  valid = jnp.arange(7) < jnp.array([[7], [4]])
  masks = (None, attention.visible(7, 7, 3, None), attention.visible(7, 7, None, valid),
           attention.visible(7, 7, 2, valid))  # fmt: skip
  q, k, v = (jax.random.normal(jax.random.fold_in(key, n), (2, 7, n, 8)) for n in (6, 2, 3))
  for kv in (k, v):  # three and two query heads for each key head
    ours, theirs = ([jax.jit(way)(q, kv, 2 * kv, seen) for seen in masks]
                    for way in (attention.attend, attention.given))  # fmt: skip
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
  assert np.abs(ours[0] - ours[3]).max() > 0.1, "masks matter"
  low = [x.astype(jnp.bfloat16) for x in (q, k, k)]
  ours, theirs = jax.jit(attention.attend)(*low), jax.jit(attention.given)(*low)
  assert ours.dtype == theirs.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.float32(theirs), np.float32(ours), atol=0.03)
  asked = []
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(jax.nn, "dot_product_attention", lambda *args, **how: asked.append(how) or args[0])
  attention.attend(q, k, k)
  assert [how["is_causal"] for how in asked] == [True]


def test_rotation_equals_numpy_keeps_length_and_sees_only_distance(key):
  x = jax.random.normal(key, (1, 9, 1, 8))
  by = transformer.turns(9, 4, 100.0)
  turned = np.asarray(transformer.rotate(x, by))[0, :, 0]
  np.testing.assert_allclose(turned, rope(np.asarray(x)[0, :, 0], 100.0), atol=1e-5)
  same = np.asarray(transformer.rotate(jnp.broadcast_to(x[:, :1], x.shape), by))[0, :, 0]
  products = same @ same.T
  for distance in range(4):
    np.testing.assert_allclose(np.diag(products, distance), products[0, distance], rtol=1e-4)
  assert abs(products[0, 1] - products[0, 3]) > 1e-3


def test_norm_equals_numpy(key):
  x = 5 * jax.random.normal(key, (2, 3, 8))
  scale = jnp.arange(8, dtype=jnp.float32)
  out = transformer.RMSNorm().apply({"params": {"scale": scale}}, x)
  np.testing.assert_allclose(out, rms(np.asarray(x), np.asarray(scale)), rtol=1e-5)


def test_a_token_changes_nothing_before_it():
  changed = IDS.copy()
  changed[:, 3] = (changed[:, 3] + 1) % 13
  before, after = run(params(), IDS).logits, run(params(), changed).logits
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert (abs(before[:, 3:] - after[:, 3:]).max(-1) > 1e-4).all()


def test_padding_on_the_right_changes_nothing():
  padded = np.pad(IDS, ((0, 0), (0, 3)))
  np.testing.assert_allclose(run(params(), padded).logits[:, :6], run(params(), IDS).logits, atol=1e-5)


def test_grouped_queries_equal_full_attention_with_repeated_keys_and_values():
  full = transformer.model(13, 16, 2, 4, None, 12)
  repeated = jax.tree.map(lambda x: x, params())
  for i in range(2):
    for name in "kv":
      kernel = params()[f"block_{i}"][name]["kernel"].reshape(16, 2, 1, 4)
      repeated[f"block_{i}"][name] = {"kernel": jnp.repeat(kernel, 2, axis=2).reshape(16, 16)}
  shapes = tree.shapes(jax.eval_shape(full.init, jax.random.key(0), IDS)[0])
  assert tree.shapes(repeated) == shapes
  logits = jax.jit(lambda p: full.apply(p, IDS).logits)(repeated)
  np.testing.assert_allclose(logits, run(params(), IDS).logits, atol=1e-5)


@pytest.mark.parametrize("site, silent", [
  ("mlp_out", ("down",)), ("keys", ("down",)), ("gate", ("gate",)), ("attention", ("o",)),
])
def test_a_zero_tap_is_a_model_without_that_part(site, silent):
  taps = {f"block_{i}/{site}": jnp.zeros_like for i in range(2)}
  without = {
    name: {k: jax.tree.map(jnp.zeros_like, v) if k in silent else v for k, v in part.items()}
    if name.startswith("block") else part for name, part in params().items()
  }
  out = jax.jit(lambda p: NET.apply(p, IDS, taps=taps).logits)(params())
  np.testing.assert_allclose(out, run(without, IDS).logits, atol=1e-5)
  assert not np.allclose(out, run(params(), IDS).logits, atol=1e-2)


def test_taps_read_what_their_names_say():
  seen = {}
  taps = {f"block_1/{site}": lambda x, site=site: seen.setdefault(site, x) for site in transformer.SITES}
  out, seen = jax.jit(lambda params: (NET.apply(params, IDS, taps=taps), seen))(params())
  out, seen, block = *jax.device_get((out, seen)), params()["block_1"]
  assert seen["gate"].shape == seen["keys"].shape == (2, 6, 12)
  np.testing.assert_allclose(seen["mlp_out"], seen["keys"] @ block["down"]["kernel"], atol=1e-5)
  np.testing.assert_allclose(out.features, rms(np.asarray(seen["residual"]), params()["norm"]["scale"]), atol=1e-4)
  up = rms(np.asarray(seen["residual"] - seen["mlp_out"]), block["ln2"]["scale"]) @ block["up"]["kernel"]
  np.testing.assert_allclose(seen["keys"], jax.nn.silu(seen["gate"]) * up, atol=1e-4)


def test_the_head_is_linear_in_the_features():
  out = run(params(), IDS)
  np.testing.assert_allclose(out.logits, out.features @ params()["head"]["kernel"], atol=1e-4)


def test_a_tied_model_has_no_head_and_reads_with_the_embedding(key):
  net = transformer.model(13, 16, 1, 4, tied=True)
  tied, _ = net.init(key, IDS)
  assert "head" not in tied
  out = jax.jit(net.apply)(tied, IDS)
  np.testing.assert_allclose(out.logits, out.features @ tied["embed"]["embedding"].T, atol=1e-5)


def test_bfloat16_weights_give_nearly_the_same_and_float32_logits():
  out = run(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params()), IDS)
  assert out.logits.dtype == jnp.float32 and out.features.dtype == jnp.bfloat16
  reference = run(params(), IDS).logits
  assert abs(out.logits - reference).max() < 0.1 * abs(reference).max()


def test_the_slope_of_the_gate_is_that_of_silu_to_second_order_and_at_large_numbers():
  gate, up = jnp.array([-200.0, -20, -3, -0.5, 0, 0.5, 3, 20, 200]), jnp.linspace(-2, 3, 9)
  plain = lambda g, u: jax.nn.silu(g) * u
  for order in (lambda f: f, lambda f: jax.grad(lambda g, u: jnp.sum(f(g, u)), (0, 1)),
                lambda f: jax.jacfwd(jax.grad(lambda g, u: jnp.sum(f(g, u)), (0, 1)), (0, 1))):  # fmt: skip
    found, wanted = (jax.jit(order(f))(gate, up) for f in (transformer.gated, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-6), found, wanted)
  half = gate.astype(jnp.bfloat16)
  low = jax.jit(jax.grad(lambda g: jnp.sum(transformer.gated(g, jnp.ones_like(g)).astype(jnp.float32))))(half)
  np.testing.assert_allclose(low.astype(jnp.float32), jax.jit(jax.vmap(jax.grad(jax.nn.silu)))(gate), atol=4e-3)


@pytest.mark.parametrize("remat", [False, True])
def test_scanned_blocks_give_the_same_logits_and_gradients(remat):
  net = transformer.model(13, 16, 2, 4, 2, 12, scan=True, remat=remat)
  assert tree.shapes(jax.eval_shape(net.init, jax.random.key(0), IDS)[0]) == tree.shapes(params())
  loss = lambda net: jax.jit(jax.value_and_grad(lambda p: jnp.mean(jnp.square(net.apply(p, IDS).logits))))(params())
  (value, slope), (wanted, reference) = loss(net), loss(NET)
  np.testing.assert_allclose(value, wanted, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, abs(b).max())), slope, reference)
  text = str(jax.make_jaxpr(lambda p: net.apply(p, IDS).logits)(params()))
  assert "length=2" in text and "length=2" not in str(jax.make_jaxpr(lambda p: NET.apply(p, IDS).logits)(params()))


def test_scanned_blocks_are_unrolled_for_taps_caches_and_padding():
  net = transformer.model(13, 16, 2, 4, 2, 12, scan=True)
  taps = {"block_1/mlp_out": jnp.zeros_like}
  out = [jax.jit(lambda p, net=net: net.apply(p, IDS, taps=taps).logits)(params()) for net in (net, NET)]
  np.testing.assert_allclose(*out, atol=1e-6)
  padded = Tokens(IDS, np.arange(6) >= np.array([[0], [2]]))
  out = [jax.jit(lambda p, net=net: net.apply(p, padded).logits)(params()) for net in (net, NET)]
  np.testing.assert_allclose(out[0][1, 2:], out[1][1, 2:], atol=1e-5)
  said = [generate.generate(net, params(), IDS, 2).ids for net in (net, NET)]
  np.testing.assert_array_equal(*said)


def test_a_text_longer_than_the_context_is_refused_and_one_as_long_is_not():
  net = transformer.model(13, 16, 2, 4, 2, 12, context=6)
  np.testing.assert_array_equal(jax.jit(net.apply)(params(), IDS).logits, run(params(), IDS).logits)
  with pytest.raises(Invalid, match="tokens = 7: give the model texts of at most 6 tokens"):
    net.apply(params(), np.pad(IDS, ((0, 0), (0, 1))))
  with pytest.raises(Invalid, match="generate.prompt = '6 tokens and 1 new ones': the model reads up to 6"):
    generate.generate(net, params(), IDS, 1)


def test_a_small_fact_model_has_269_thousand_parameters_and_documented_deviations(key):
  drawn, state = transformer.model(440).init(key, IDS)
  assert tree.size(drawn) == 2 * 440 * 96 + 2 * (4 * 96**2 + 3 * 96 * 192 + 2 * 96) + 96 == 269_280
  assert state == {}
  wanted = {
    "embed/embedding": 96**-0.5, "head/kernel": 96**-0.5, "block_1/q/kernel": 96**-0.5,
    "block_0/o/kernel": 96**-0.5 / 2, "block_1/down/kernel": 192**-0.5 / 2,
  }
  leaves = dict(tree.named_leaves(drawn))
  for name, std in wanted.items():
    np.testing.assert_allclose(leaves[name].std(), std, rtol=0.04)
  small = dict(tree.named_leaves(transformer.model(440, embed_std=0.02).init(key, IDS)[0]))
  np.testing.assert_allclose(small["embed/embedding"].std(), 0.02, rtol=0.04)
  assert (small["head/kernel"] == leaves["head/kernel"]).all()  # and nothing else is another


def test_the_base_of_the_rotation_may_be_traced():
  logits = jax.jit(lambda base: transformer.model(13, 16, 2, 4, 2, 12, base).apply(params(), IDS).logits)
  np.testing.assert_allclose(logits(jnp.float32(1e4)), run(params(), IDS).logits, atol=1e-5)
  assert not np.allclose(logits(jnp.float32(10.0)), run(params(), IDS).logits, atol=1e-3)


@pytest.mark.parametrize("field, kwargs", [
  ("width", dict(width=20)), ("kv_heads", dict(kv_heads=3)), ("vocabulary", dict(vocabulary=0)),
  ("depth", dict(depth=1.0)), ("head_size", dict(head_size=3)), ("window", dict(window=0)),
  ("context", dict(context=0)), ("epsilon", dict(epsilon=0)), ("embed_std", dict(embed_std=0.0)),
  ("rope_scaling.rope_type", dict(rope_scaling=dict(type="yarn"))),
])
def test_wrong_sizes_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    transformer.model(**{"vocabulary": 13, **kwargs})


def test_padding_on_the_left_changes_nothing_where_there_is_text():
  padded, valid = np.pad(IDS, ((0, 0), (3, 0))), np.arange(9) > 2
  tokens = transformer.Tokens(padded, np.stack([valid, valid]))
  out = jax.jit(NET.apply)(params(), tokens)
  np.testing.assert_allclose(out.logits[:, 3:], run(params(), IDS).logits, atol=1e-5)
  assert np.isfinite(out.logits).all()
  assert not np.allclose(run(params(), padded).logits[:, 3:], out.logits[:, 3:], atol=1e-2)  # the mask is needed


def test_a_token_sees_a_window_and_through_two_blocks_two_of_them():
  net = transformer.model(13, 16, 2, 4, 2, 12, window=2)
  changed = IDS.copy()
  changed[:, 1] = (changed[:, 1] + 1) % 13
  apply = jax.jit(lambda ids: net.apply(params(), ids).logits)
  before, after = apply(IDS), apply(changed)
  moved = abs(before - after).max(-1) > 1e-5
  np.testing.assert_array_equal(moved, np.array([[False, True, True, True, False, False]] * 2))
  wide = transformer.model(13, 16, 2, 4, 2, 12, window=6)
  np.testing.assert_allclose(jax.jit(wide.apply)(params(), IDS).logits, run(params(), IDS).logits, atol=5e-6)


def test_heads_of_their_own_size_and_biases_of_queries_keys_and_values(key):
  net = transformer.model(13, 16, 1, 4, 2, 12, head_size=6, qkv_bias=True)
  block = net.init(key, IDS)[0]["block_0"]
  assert block["q"]["kernel"].shape == (16, 24) and block["k"]["kernel"].shape == (16, 12)
  assert block["o"]["kernel"].shape == (24, 16) and block["v"]["bias"].shape == (12,) and "bias" not in block["o"]
  # a bias of the values reaches the stream unmixed: the weights of attention sum to one
  seen = {}
  shifted = {**block, "v": {**block["v"], "bias": jnp.arange(12.0)}}
  for name, p in (("plain", block), ("shifted", shifted)):
    tree_ = {**net.init(key, IDS)[0], "block_0": p}
    net.apply(tree_, IDS, taps={"block_0/attention": lambda x, name=name: seen.setdefault(name, x)})
  wanted = jnp.repeat(jnp.arange(12.0).reshape(2, 1, 6), 2, axis=1).reshape(-1) @ block["o"]["kernel"]
  np.testing.assert_allclose((seen["shifted"] - seen["plain"])[0, 3], wanted, atol=1e-4)


@pytest.mark.parametrize("window", [None, 3])
def test_reading_in_parts_with_a_cache_is_reading_at_once(window):
  net = transformer.model(13, 16, 2, 4, 2, 12, window=window)
  padded, valid = np.pad(IDS, ((0, 0), (2, 0))), np.arange(8) >= np.array([[2], [0]])
  whole = jax.jit(net.apply)(params(), transformer.Tokens(padded, valid)).logits
  step = jax.jit(lambda p, tokens, cache: net.apply(p, tokens, state=cache))
  cache, seen = net.cache(params(), 2, 10), []
  for part in (slice(0, 4), slice(4, 8)):
    out = step(params(), transformer.Tokens(padded[:, part], valid[:, part]), cache)
    cache = out.state
    seen.append(out.logits)
  np.testing.assert_allclose(np.concatenate(seen, 1)[valid], whole[valid], atol=1e-5)
  assert int(cache.filled) == 8 and cache.valid.sum() == valid.sum()
  with pytest.raises(Invalid, match="nowhere"):
    net.apply(params(), IDS, state=cache, taps={"nowhere": lambda x: x})


def test_computing_blocks_anew_gives_the_same_gradient_and_keeps_less_for_it():
  sizes, ids = dict(vocabulary=13, width=16, depth=6, heads=2, hidden=64), np.resize(IDS, (4, 32))
  found = []
  for remat in (False, True):
    net = transformer.model(**sizes, remat=remat)
    drawn = net.init(jax.random.key(0), ids)[0]
    loss = lambda p, net=net: jnp.mean(net.apply(p, ids).logits ** 2)
    kept = jax.eval_shape(lambda p, loss=loss: jax.vjp(loss, p)[1], drawn)
    found.append((tree.shapes(drawn), jax.jit(jax.value_and_grad(loss))(drawn), tree.size(kept) - tree.size(drawn)))
  (shapes, usual, much), (same, anew, little) = found
  assert shapes == same and 0 < little < 0.2 * much
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-4), usual, anew)

"""Rules for operators that move elements, ask for extents, or make tensors: axes, index ranges and extents that fit."""

import numpy as np
from onnx import helper

from builder import BOOL, F32, I64, Reject
from elementwise import axes, axis

INDEX = (np.int64, np.int64, np.int32)


def reshape(g):
    x = g.pick(g.dtype("Reshape"))
    size = x.array.size
    factors, left = [], size
    while left > 1 and len(factors) < 3:
        divisors = [d for d in range(1, left + 1) if left % d == 0]
        factors.append(g.choice(divisors))
        left //= factors[-1]
    shape = [*factors, left] if size else [0, *g.shape(1)]
    g.rng.shuffle(shape)
    if size and g.chance(0.4):
        shape[g.rng.randrange(len(shape))] = -1
    elif size == 1 and g.chance(0.5):
        shape = []
    if size and g.chance(0.2) and x.rank and len(shape) and shape[0] == x.shape[0]:
        shape[0] = 0
    allow = 1 if g.opset >= 14 and not size else None
    g.node("Reshape", [x, g.const(shape, np.int64)], allowzero=allow)


def flatten(g):
    x = g.pick(g.dtype("Flatten"), least=1)
    g.node("Flatten", [x], axis=g.choice((None, *range(x.rank + 1))))


def transpose(g):
    x = g.pick(g.dtype("Transpose"))
    perm = list(range(x.rank))
    g.rng.shuffle(perm)
    g.node("Transpose", [x], perm=perm if g.chance(0.85) else None)


def squeeze(g):
    x = g.pick(g.dtype("Squeeze"), where=lambda v: 1 in v.shape)
    ones = [a for a, e in enumerate(x.shape) if e == 1]
    chosen = g.rng.sample(ones, g.rng.randint(1, len(ones))) if g.chance(0.7) else None
    if g.opset < 13:
        return g.node("Squeeze", [x], axes=chosen)
    return g.node("Squeeze", [x, g.const(chosen, np.int64) if chosen is not None else None])


def unsqueeze(g):
    x = g.pick(g.dtype("Unsqueeze"), where=lambda v: v.rank < 4)
    rank = x.rank + g.rng.randint(1, 2)
    chosen = g.rng.sample(range(rank), rank - x.rank)
    if g.opset < 13:
        return g.node("Unsqueeze", [x], axes=sorted(chosen))
    return g.node("Unsqueeze", [x, g.const([a - rank if g.chance(0.3) else a for a in chosen], np.int64)])


def concat(g):
    x = g.pick(g.dtype("Concat"), least=1)
    at = axis(g, x.rank)
    others = []
    for _ in range(g.rng.randint(0, 3)):
        if g.chance(0.5):
            fits = lambda v: v.rank == x.rank and all(a == b for k, (a, b) in enumerate(zip(v.shape, x.shape)) if k != at % x.rank)
            found = [v for v in g.available() if v.dtype == x.dtype and fits(v)]
            others.append(g.choice(found))
        else:
            shape = list(x.shape)
            shape[at] = g.extent(8)
            others.append(g.fresh(x.dtype, shape))
    operands = [x, *others]
    g.rng.shuffle(operands)
    g.node("Concat", operands, axis=at)


def split(g):
    x = g.pick(g.dtype("Split"), least=1, empty=0)
    at = axis(g, x.rank)
    extent = x.shape[at]
    count = g.rng.randint(1, min(4, extent))
    cuts = sorted(g.rng.sample(range(1, extent), count - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, extent])]
    if g.opset < 13:
        return g.node("Split", [x], outputs=count, axis=at, split=sizes)
    # The last part may be smaller, and has to be there.
    if g.opset >= 18 and g.chance(0.4) and (count - 1) * -(-extent // count) < extent:
        return g.node("Split", [x], outputs=count, axis=at, num_outputs=count)
    return g.node("Split", [x, g.const(sizes, np.int64)], outputs=count, axis=at)


def slice_(g):
    x = g.pick(g.dtype("Slice"), least=1)
    chosen = axes(g, x.rank)
    starts, ends, steps = [], [], []
    for a in chosen:
        extent = x.shape[a]
        step = g.choice((1, 1, 1, 2, 3, -1, -2)) if g.opset >= 10 else 1
        low, high = sorted((g.rng.randint(0, extent), g.rng.randint(0, extent)))
        start, end = (low, high) if step > 0 else (high, low)
        if g.chance(0.2):
            end = np.iinfo(np.int32).max if step > 0 else -(extent + 5)
        elif g.chance(0.3) and extent and 0 < start < extent:
            start -= extent
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
    if g.opset < 10:
        return g.node("Slice", [x], axes=chosen, starts=starts, ends=ends)
    kind = g.choice(INDEX)
    operands = [g.const(v, kind) for v in (starts, ends, chosen)]
    if any(s != 1 for s in steps) or g.chance(0.3):
        operands.append(g.const(steps, kind))
    return g.node("Slice", [x, *operands])


def pad(g):
    x = g.pick(g.dtype("Pad", among=None if g.opset >= 11 else (F32,)), least=1, empty=0)
    modes = ("constant", "constant", "reflect", "edge") + (("wrap",) if g.opset >= 19 else ())
    mode = g.choice(modes)
    some = axes(g, x.rank) if g.opset >= 18 and g.chance(0.3) else list(range(x.rank))

    def amount(a):
        low = -min(1, x.shape[a] - 1) if mode == "constant" and g.chance(0.2) else 0
        return g.rng.randint(low, min(3, x.shape[a] - 1) if mode in ("reflect", "wrap") else 3)

    pads = [amount(a) for a in some] + [amount(a) for a in some]
    mode = mode if mode != "constant" or g.chance(0.5) else None
    if g.opset < 11:
        return g.node("Pad", [x], pads=pads, mode=mode, value=g.choice((None, 1.5)))
    value = g.const(g.data(x.dtype, ())) if g.chance(0.5) else None
    axes_ = g.const(some, np.int64) if some != list(range(x.rank)) else None
    return g.node("Pad", [x, g.const(pads, np.int64), value, axes_], mode=mode)


def tile(g):
    x = g.pick(g.dtype("Tile"), where=lambda v: v.array.size < 500)
    repeats = [g.choice((0, 1, 1, 2, 3)) if g.chance(0.3) else g.choice((1, 2)) for _ in range(x.rank)]
    g.node("Tile", [x, g.const(repeats, np.int64)])


def expand(g):
    x = g.pick(g.dtype("Expand"), where=lambda v: v.array.size < 500)
    shape = [g.extent(5) if e == 1 else g.choice((1, e)) for e in x.shape]
    if g.chance(0.3):
        shape = [g.extent(3), *shape]
    g.node("Expand", [x, g.const(shape, np.int64)])


def indices(g, extent, shape, kind, negative=True):
    """Indices into an axis, some of them counted from the end."""
    if extent == 0:
        raise Reject("nothing to index")
    low = -extent if negative and g.opset >= 11 and g.chance(0.4) else 0
    if kind is np.int64 or kind is np.int32:
        found = [v for v in g.available() if v.dtype == kind and v.shape == tuple(shape) and v.array.size
                 and v.array.min() >= low and v.array.max() < extent]
        if found and g.chance(0.3):
            return g.choice(found)
    return g.put(g.data(kind, shape, low, extent - 1))


def gather(g):
    x = g.pick(g.dtype("Gather"), least=1, empty=0)
    at = axis(g, x.rank)
    if at % x.rank == 0 and g.chance(0.3):
        at = None
    index = indices(g, x.shape[at or 0], g.shape(g.rng.randint(0, 2), 6), g.choice(INDEX))
    g.node("Gather", [x, index], axis=at)


def gather_elements(g):
    x = g.pick(g.dtype("GatherElements"), least=1, empty=0)
    at = axis(g, x.rank)
    shape = [g.rng.randint(1, min(e, 9)) for e in x.shape]
    shape[at] = g.extent(9)
    g.node("GatherElements", [x, indices(g, x.shape[at], shape, g.choice(INDEX))], axis=at)


def gather_nd(g):
    x = g.pick(g.dtype("GatherND"), least=1, empty=0)
    batch = g.rng.randint(0, x.rank - 1) if g.opset >= 12 and g.chance(0.4) else 0
    depth = g.rng.randint(1, x.rank - batch)
    shape = (*x.shape[:batch], *g.shape(g.rng.randint(0, 2), 4, empty=0))
    columns = [g.data(np.int64, shape, -e if g.chance(0.3) else 0, e - 1) for e in x.shape[batch:batch + depth]]
    g.node("GatherND", [x, g.put(np.stack(columns, -1))], batch_dims=batch or None)


def scatter_elements(g):
    old = g.opset < 11
    op = "Scatter" if old else "ScatterElements"
    x = g.pick(g.dtype(op), least=1, empty=0)
    at = axis(g, x.rank)
    shape = [g.rng.randint(1, min(e, 6)) for e in x.shape]
    # Along the axis no index twice, since then the order would matter.
    rng = np.random.default_rng(g.rng.getrandbits(32))
    index = np.argsort(rng.random((*shape, x.shape[at])), -1)
    index = np.take_along_axis(index, np.indices(shape)[at % x.rank][..., None], -1)[..., 0]
    # The same permutation for a whole line, so that its entries differ.
    line = rng.permutation(x.shape[at])[:shape[at]]
    index = np.broadcast_to(line.reshape([-1 if k == at % x.rank else 1 for k in range(x.rank)]), shape).astype(g.choice(INDEX))
    if not old and g.chance(0.3):
        index = index - np.asarray(x.shape[at], index.dtype)
    reductions = (None, "none") + (("add", "mul") if g.opset >= 16 else ()) + (("min", "max") if g.opset >= 18 else ())
    reduction = g.choice(reductions) if g.opset >= 16 and x.dtype != BOOL else None
    if reduction in ("add", "mul", "min", "max"):
        index = g.data(index.dtype, shape, 0, x.shape[at] - 1)
    g.node(op, [x, g.put(index), g.pick(x.dtype, shape=tuple(shape), reuse=0.3)], axis=at, reduction=reduction)


def scatter_nd(g):
    x = g.pick(g.dtype("ScatterND"), least=1, empty=0)
    depth = g.rng.randint(1, x.rank)
    count = int(np.prod(x.shape[:depth]))
    n = g.rng.randint(1, min(count, 6))
    flat = np.array(g.rng.sample(range(count), n))
    reductions = (None, "none") + (("add", "mul") if g.opset >= 16 else ()) + (("min", "max") if g.opset >= 18 else ())
    reduction = g.choice(reductions) if g.opset >= 16 and x.dtype != BOOL else None
    if reduction in ("add", "mul", "min", "max"):
        flat = np.array([g.rng.randrange(count) for _ in range(n)])
    index = np.stack(np.unravel_index(flat, x.shape[:depth]), -1).astype(np.int64)
    g.node("ScatterND", [x, g.put(index), g.pick(x.dtype, shape=(n, *x.shape[depth:]), reuse=0.3)], reduction=reduction)


def one_hot(g):
    depth = g.rng.randint(1, 9)
    kind = g.choice((np.int64, np.int64, np.int32, np.float32))
    index = g.put(g.data(np.int64, g.shape(g.rng.randint(0, 3), 7), -depth - 1, depth).astype(kind))
    values = g.fresh(g.choice((np.float32, np.int64, np.int32)), (2,))
    at = axis(g, index.rank + 1, negative=True) if g.chance(0.7) else None
    g.node("OneHot", [index, g.const(g.choice(([depth], depth)), np.int64), values], axis=at)


def shape_of(g):
    x = g.pick(g.dtype("Shape"))
    if g.opset < 15:
        return g.node("Shape", [x])
    return g.node("Shape", [x], start=g.choice((None, 0, 1, -1, -7)), end=g.choice((None, 1, 2, -1, 9)))


def size_of(g):
    g.node("Size", [g.pick(g.dtype("Size"))])


def constant_of_shape(g):
    shape = g.const(np.array(g.shape(), np.int64))
    value = helper.make_tensor("value", helper.np_dtype_to_tensor_dtype(F32), [1], [1.5])
    g.node("ConstantOfShape", [shape], value=value if g.chance(0.7) else None)


def range_(g):
    dtype = g.dtype("Range")
    start, count = g.rng.randint(-4, 4), g.rng.randint(0, 12)
    step = g.choice((1, 1, 2, -1, -2))
    values = [start, start + step * count, step]
    if dtype.kind == "f" and g.chance(0.5):
        values = [v / 4 for v in values]
    g.node("Range", [g.const(np.array(v, dtype)) for v in values])


def eye_like(g):
    x = g.pick(g.dtype("EyeLike", "T1"), rank=2)
    g.node("EyeLike", [x], k=g.choice((None, 1, -1, 2)), dtype=g.choice((None, 1, 7)))


def non_zero(g):
    g.node("NonZero", [g.pick(g.dtype("NonZero"), least=1)])


def compress(g):
    x = g.pick(g.dtype("Compress"), least=1, empty=0)
    at = axis(g, x.rank) if g.chance(0.7) else None
    extent = x.shape[at] if at is not None else x.array.size
    g.node("Compress", [x, g.fresh(BOOL, (g.rng.randint(1, min(extent, 40)),))], axis=at)


def unique(g):
    x = g.pick(g.dtype("Unique"), least=1, empty=0)
    g.node("Unique", [x], outputs=g.choice(("o", "oooo", "o.o", "oo")), axis=axis(g, x.rank) if g.chance(0.5) else None,
           sorted=g.choice((None, 0, 1)))


def reverse_sequence(g):
    x = g.pick(g.dtype("ReverseSequence"), least=2, empty=0)
    batch = g.choice((0, 1))
    lengths = g.put(g.data(I64, (x.shape[batch],), 1, x.shape[1 - batch]))
    g.node("ReverseSequence", [x, lengths], batch_axis=batch, time_axis=1 - batch)


def trilu(g):
    x = g.pick(g.dtype("Trilu"), least=2)
    g.node("Trilu", [x, g.const(np.array(g.rng.randint(-3, 3), np.int64)) if g.chance(0.6) else None], upper=g.choice((None, 0, 1)))


def depth_to_space(g):
    block = g.choice((2, 3))
    dtype = g.dtype("DepthToSpace")
    x = g.pick(dtype, shape=(g.extent(3), block * block * g.extent(5), g.extent(5), g.extent(5)), reuse=0.3)
    g.node("DepthToSpace", [x], blocksize=block, mode=g.choice((None, "DCR", "CRD")) if g.opset >= 11 else None)


def space_to_depth(g):
    block = g.choice((2, 3))
    shape = (g.extent(3), g.extent(5), block * g.extent(5), block * g.extent(5))
    g.node("SpaceToDepth", [g.pick(g.dtype("SpaceToDepth"), shape=shape, reuse=0.3)], blocksize=block)


def center_crop_pad(g):
    x = g.pick(g.dtype("CenterCropPad"), least=1)
    chosen = axes(g, x.rank) if g.chance(0.5) else None
    count = len(chosen) if chosen is not None else x.rank
    g.node("CenterCropPad", [x, g.const([g.extent(9) for _ in range(count)], np.int64)], axes=chosen)


def tensor_scatter(g):
    b, h, s, d = g.extent(3), g.extent(3), g.choice((5, 8)), g.extent(7)
    t = g.rng.randint(1, s)
    past = g.pick(F32, shape=(b, h, s, d), reuse=0.3)
    update = g.pick(F32, shape=(b, h, t, d), reuse=0.3)
    mode = g.choice((None, "linear", "circular"))
    write = g.put(g.data(I64, (b,), 0, s - 1 if mode == "circular" else s - t)) if g.chance(0.7) else None
    g.node("TensorScatter", [past, update, write], mode=mode)


def identity_of_constant(g):
    g.node("Identity", [g.const(g.data(F32, g.shape()))])


RULES = [
    ("Reshape", 5, 7, reshape), ("Flatten", 2, 9, flatten), ("Transpose", 5, 7, transpose), ("Squeeze", 2, 7, squeeze),
    ("Unsqueeze", 2, 7, unsqueeze), ("Concat", 5, 7, concat), ("Split", 4, 7, split), ("Slice", 5, 7, slice_), ("Pad", 4, 7, pad),
    ("Tile", 2, 7, tile), ("Expand", 3, 8, expand), ("Gather", 4, 7, gather), ("GatherElements", 2, 11, gather_elements),
    ("GatherND", 2, 11, gather_nd), ("ScatterElements", 2, 9, scatter_elements), ("ScatterND", 2, 11, scatter_nd),
    ("OneHot", 2, 9, one_hot), ("Shape", 2, 7, shape_of), ("Size", 1, 7, size_of), ("ConstantOfShape", 1, 9, constant_of_shape),
    ("Range", 1, 11, range_), ("EyeLike", 1, 9, eye_like), ("NonZero", 1, 9, non_zero), ("Compress", 1, 9, compress),
    ("Unique", 1, 11, unique), ("ReverseSequence", 1, 10, reverse_sequence), ("Trilu", 1, 14, trilu),
    ("DepthToSpace", 1, 7, depth_to_space), ("SpaceToDepth", 1, 7, space_to_depth), ("CenterCropPad", 1, 18, center_crop_pad),
    ("TensorScatter", 1, 24, tensor_scatter), ("Identity", 1, 7, identity_of_constant),
]

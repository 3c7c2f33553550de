"""Rules for operators of neural networks: geometry of windows, normalisation, recurrence, resampling, attention and losses."""

import numpy as np

from builder import F32, F64, I32, I64, Reject

AUTO = ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")


def image(g, dtype, least=1, most=3, channels=None, extent=13):
    """A value [batch, channels, ...]; one that exists where it fits."""
    fits = lambda v: least + 2 <= v.rank <= most + 2 and 0 not in v.shape and (channels is None or v.shape[1] == channels)
    found = [v for v in g.available() if v.dtype == dtype and fits(v)]
    if found and g.chance(0.6):
        return g.choice(found)
    rank = g.rng.choice(range(least, most + 1))
    c = channels or g.choice((1, 2, 3, 4, 5, 8, 16, 17, 32))
    spatial = [g.extent(extent if rank < 3 else 5) for _ in range(rank)]
    return g.fresh(dtype, (g.extent(3), c, *spatial), kind="input" if g.chance(0.8) else None)


def window(g, spatial, kernel=None, dilated=True, most=4):
    """Attributes of a window that is inside of the padded extents at least once."""
    rank = len(spatial)
    kernel = kernel or [g.rng.randint(1, most) for _ in spatial]
    strides = [g.choice((1, 1, 2, 3)) for _ in spatial] if g.chance(0.6) else None
    dilations = [g.choice((1, 1, 2)) for _ in spatial] if dilated and g.chance(0.3) else None
    pads = auto = None
    how = g.rng.randrange(3)
    if how == 0:
        pads = [g.rng.randint(0, (k - 1)) for k in kernel] + [g.rng.randint(0, k - 1) for k in kernel]
    elif how == 1:
        auto = g.choice(AUTO)
        if auto in ("SAME_UPPER", "SAME_LOWER") and dilations is not None:
            dilations = None
    for k in range(rank):
        reach = (kernel[k] - 1) * (dilations or [1] * rank)[k] + 1
        have = spatial[k] + (pads[k] + pads[k + rank] if pads else 0)
        if reach > have and auto not in ("SAME_UPPER", "SAME_LOWER"):
            raise Reject("the window is too large")
    return {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads, "auto_pad": auto}


def conv(g, x=None, dtype=None):
    dtype = dtype or g.dtype("Conv")
    x = x or image(g, dtype)
    channels = x.shape[1]
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    group = g.choice((1, 1, 1, channels, g.choice(divisors)))
    features = group * g.choice((1, 2, 3, 4, 16 if group == 1 else 1, 33 if group == 1 else 1))
    kernel = [g.rng.randint(1, min(4, e + 1)) for e in x.shape[2:]]
    if g.chance(0.4):
        kernel = [3 if g.chance(0.6) else 1] * len(kernel)
    attributes = window(g, x.shape[2:], kernel)
    kernel = attributes.pop("kernel_shape")
    w = g.fresh(dtype, (features, channels // group, *kernel), -1, 1, kind="constant" if g.chance(0.85) else "input")
    bias = g.fresh(dtype, (features,), -1, 1, kind="constant" if g.chance(0.85) else "input") if g.chance(0.6) else None
    attributes |= {"group": group if group > 1 else None, "kernel_shape": kernel if g.chance(0.5) else None}
    return g.node("Conv", [x, w, bias], **attributes)


def large_conv(g):
    """Images and channels that fill vectors and tiles, as most layers of networks do: 3x3, 1x1, one group or one per channel."""
    height, width = (g.choice((7, 12, 14, 17, 24)) for _ in range(2))
    x = g.fresh(F32, (1, g.choice((16, 32, 40, 48, 64)), height, width), -1, 1, kind="input")
    for _ in range(g.rng.randint(1, 2)):
        c = x.shape[1]
        depthwise = g.chance(0.25)
        n = c if depthwise else g.choice((16, 24, 32, 64))
        k = g.choice((1, 3, 3, 5))
        w = g.fresh(F32, (n, 1 if depthwise else c, k, k), -0.2, 0.2, kind="constant")
        bias = g.fresh(F32, (n,), kind="constant") if g.chance(0.7) else None
        stride = g.choice((1, 1, 1, 2))
        y = g.node("Conv", [x, w, bias], group=c if depthwise else None, pads=[k // 2] * 4, strides=[stride, stride])
        y = g.node("Add", [y, x]) if y.shape == x.shape and g.chance(0.4) else y
        x = g.node(g.choice(("Relu", "Sigmoid", "LeakyRelu")), [y]) if g.chance(0.7) else y
    if g.chance(0.3):
        g.node(g.choice(("GlobalAveragePool", "GlobalMaxPool")), [x])


def conv_transpose(g):
    dtype = g.dtype("ConvTranspose")
    x = image(g, dtype, most=2, extent=7)
    channels = x.shape[1]
    group = g.choice((1, 1, channels))
    features = g.choice((1, 2, 3, 16))
    kernel = [g.rng.randint(1, 4) for _ in x.shape[2:]]
    rank = len(kernel)
    strides = [g.choice((1, 2, 3)) for _ in kernel] if g.chance(0.7) else None
    dilations = [g.choice((1, 2)) for _ in kernel] if g.chance(0.2) else None
    pads = [g.rng.randint(0, (k - 1) // 2) for k in kernel] * 2 if g.chance(0.4) else None
    auto = g.choice(AUTO) if pads is None and dilations is None and g.chance(0.3) else None
    extra = [g.rng.randint(0, s - 1) for s in strides or [1] * rank] if g.chance(0.3) and auto is None else None
    w = g.fresh(dtype, (channels, features, *kernel), -1, 1)
    bias = g.fresh(dtype, (features * group,), -1, 1) if g.chance(0.5) else None
    return g.node("ConvTranspose", [x, w, bias], group=group, strides=strides, dilations=dilations, pads=pads, auto_pad=auto,
                  output_padding=extra)


def pool(op):
    def rule(g):
        x = image(g, g.dtype(op, among=None if op != "MaxPool" else (F32, F64, np.dtype(np.int8), np.dtype(np.uint8))))
        dilated = (op == "MaxPool" and g.opset >= 10) or (op == "AveragePool" and g.opset >= 19) or (op == "LpPool" and g.opset >= 18)
        attributes = window(g, x.shape[2:], dilated=dilated)
        if op == "AveragePool":
            attributes["count_include_pad"] = g.choice((None, 0, 1))
        if op == "LpPool":
            attributes["p"] = g.choice((None, 1, 2, 3))
        if attributes["auto_pad"] is None and g.opset >= {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[op]:
            attributes["ceil_mode"] = g.choice((None, None, 0, 1))
        outputs = 2 if op == "MaxPool" and g.opset >= 8 and g.chance(0.3) else 1
        g.node(op, [x], outputs=outputs, **attributes)
    return rule


def global_pool(op):
    def rule(g):
        g.node(op, [image(g, g.dtype(op))], **({"p": g.choice((1, 2))} if op == "GlobalLpPool" else {}))
    return rule


def max_unpool(g):
    x = g.fresh(F32, (g.extent(2), g.extent(3), 2 * g.extent(5), 2 * g.extent(5)), kind="input")
    y, index = g.node("MaxPool", [x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    g.node("MaxUnpool", [y, index], kernel_shape=[2, 2], strides=[2, 2])


def batch_normalization(g, x=None):
    dtype = g.dtype("BatchNormalization")
    x = x or g.pick(dtype, least=2)
    c = x.shape[1]
    kind = "constant" if g.chance(0.8) else "input"
    scale, bias, mean = (g.fresh(x.dtype, (c,), -1.5, 1.5, kind=kind) for _ in range(3))
    variance = g.fresh(x.dtype, (c,), 0.25, 2, kind=kind)
    return g.node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=g.choice((None, 1e-3)))


def instance_normalization(g):
    x = image(g, g.dtype("InstanceNormalization"))
    scale, bias = (g.fresh(x.dtype, (x.shape[1],)) for _ in range(2))
    g.node("InstanceNormalization", [x, scale, bias], epsilon=g.choice((None, 1e-3)))


def group_normalization(g):
    x = image(g, g.dtype("GroupNormalization"))
    groups = g.choice([d for d in range(1, x.shape[1] + 1) if x.shape[1] % d == 0])
    count = groups if g.opset < 21 else x.shape[1]
    scale, bias = (g.fresh(x.dtype, (count,)) for _ in range(2))
    g.node("GroupNormalization", [x, scale, bias], num_groups=groups, epsilon=g.choice((None, 1e-3)))


def lrn(g):
    g.node("LRN", [image(g, F32, least=2, most=2)], size=g.choice((1, 3, 5)), alpha=g.choice((None, 0.1)), beta=g.choice((None, 0.5)),
           bias=g.choice((None, 2.0)))


ACTIVATIONS = ("Tanh", "Relu", "Sigmoid")


def recurrent(op, gates):
    def rule(g):
        dtype = F32
        steps, batch, features, hidden = g.extent(5), g.extent(4), g.extent(8), g.choice((1, 2, 3, 5, 8, 16, 17))
        direction = g.choice((None, "forward", "reverse", "bidirectional"))
        d = 2 if direction == "bidirectional" else 1
        kind = "constant" if g.chance(0.8) else "input"
        x = g.pick(dtype, shape=(steps, batch, features), reuse=0.3)
        w = g.fresh(dtype, (d, gates * hidden, features), -0.5, 0.5, kind=kind)
        r = g.fresh(dtype, (d, gates * hidden, hidden), -0.5, 0.5, kind=kind)
        b = g.fresh(dtype, (d, 2 * gates * hidden), -0.5, 0.5, kind=kind) if g.chance(0.7) else None
        lengths = g.put(g.data(I32, (batch,), 1, steps)) if g.chance(0.3) else None
        state = lambda: g.fresh(dtype, (d, batch, hidden), -1, 1) if g.chance(0.5) else None
        operands = [x, w, r, b, lengths, state()]
        attributes = {"hidden_size": hidden, "direction": direction, "clip": g.choice((None, None, 0.7))}
        if op == "LSTM":
            operands += [state(), g.fresh(dtype, (d, 3 * hidden), -0.5, 0.5) if g.chance(0.3) else None]
            attributes["input_forget"] = None
        if op == "GRU":
            attributes["linear_before_reset"] = g.choice((None, 0, 1))
        if g.chance(0.2):
            attributes["activations"] = [g.choice(ACTIVATIONS) for _ in range({"RNN": 1, "GRU": 2, "LSTM": 3}[op] * d)]
        outputs = g.choice(("oo", "oo", "o", ".o") + (("ooo", "..o") if op == "LSTM" else ()))
        g.node(op, operands, outputs=outputs, **attributes)
    return rule


def resize_any(g):
    """Resampling of any axes of any rank, where the operator has such modes."""
    x = g.pick(F32, least=1, empty=0, where=lambda v: v.rank <= 5 and v.array.size < 700)
    scales = [g.choice((1.0, 1.0, 0.5, 0.75, 1.5, 2.0)) for _ in x.shape]
    sizes = [int(e * s) for e, s in zip(x.shape, scales)]
    if 0 in sizes:
        raise Reject("nothing is left")
    attributes = {"mode": g.choice(("nearest", "nearest", "linear")), "nearest_mode": g.choice((None, "floor")),
                  "coordinate_transformation_mode": g.choice(("half_pixel", "asymmetric"))}
    if g.opset < 13 or g.chance(0.5):
        roi = g.const([], np.float32) if g.opset < 13 else None
        return g.node("Resize", [x, roi, g.const(scales, np.float32)], **attributes)
    return g.node("Resize", [x, None, None, g.const(sizes, np.int64)], **attributes)


def resize(g):
    dtype = g.dtype("Resize", "T" if g.opset < 11 else "T1", among=(F32, np.dtype(np.uint8), np.dtype(np.int8)))
    x = image(g, dtype, least=1, most=2, extent=8)
    mode = g.choice((None, "nearest", "linear", "linear", "cubic")) if g.opset >= 11 else g.choice((None, "nearest", "linear"))
    if x.dtype != F32:
        mode = g.choice((None, "nearest"))
    if mode == "cubic" and x.rank != 4:
        mode = "linear"
    scales = [1.0, 1.0, *[g.choice((0.5, 0.6, 1.0, 1.5, 2.0, 2.0, 3.0)) for _ in x.shape[2:]]]
    if any(int(e * s) == 0 for e, s in zip(x.shape, scales)):
        raise Reject("nothing is left")
    if g.opset < 11:
        return g.node("Resize", [x, g.put(np.array(scales, np.float32), "constant")], mode=mode)
    coordinates = (None, "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    coordinates += ("half_pixel_symmetric",) if g.opset >= 19 else ()
    attributes = {"mode": mode, "coordinate_transformation_mode": g.choice(coordinates)}
    if mode in (None, "nearest"):
        attributes["nearest_mode"] = g.choice((None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    if mode == "cubic":
        attributes |= {"cubic_coeff_a": g.choice((None, -0.5)), "exclude_outside": g.choice((None, 0, 1))}
    if g.opset >= 18 and mode in ("linear", "cubic") and g.chance(0.3):
        attributes["antialias"] = 1
    roi = g.const([], np.float32) if g.opset < 13 else None
    if g.chance(0.5):
        return g.node("Resize", [x, roi, g.const(scales, np.float32)], **attributes)
    sizes = [*x.shape[:2], *[int(e * s) for e, s in zip(x.shape[2:], scales[2:])]]
    empty = g.const([], np.float32) if g.opset < 13 else None
    if g.opset >= 18 and g.chance(0.4):
        policy = g.choice((None, "stretch", "not_larger", "not_smaller"))
        attributes |= {"axes": list(range(2, x.rank)), "keep_aspect_ratio_policy": policy}
        sizes = sizes[2:]
    return g.node("Resize", [x, roi, empty, g.const(sizes, np.int64)], **attributes)


def upsample(g):
    if g.opset > 9:
        raise Reject("replaced by Resize")
    x = image(g, F32, least=2, most=2, extent=7)
    scales = [1.0, 1.0, *[g.choice((1.0, 2.0, 3.0)) for _ in x.shape[2:]]]
    mode = g.choice((None, "nearest", "linear"))
    if g.opset < 9:
        return g.node("Upsample", [x], scales=scales, mode=mode)
    return g.node("Upsample", [x, g.const(scales, np.float32)], mode=mode)


def grid_sample(g):
    x = image(g, F32, least=2, most=2, extent=8)
    grid = g.fresh(F32, (x.shape[0], g.extent(5), g.extent(5), 2), -1.3, 1.3)
    modes = ("bilinear", "nearest", "bicubic") if g.opset < 20 else ("linear", "nearest", "cubic")
    g.node("GridSample", [x, grid], mode=g.choice((None, *modes)), padding_mode=g.choice((None, "zeros", "border", "reflection")),
           align_corners=g.choice((None, 0, 1)))


def affine_grid(g):
    n = g.extent(3)
    spatial = g.choice((2, 3))
    theta = g.pick(F32, shape=(n, spatial, spatial + 1), reuse=0.2)
    extents = g.const([n, 1, *[g.extent(5) for _ in range(spatial)]], np.int64)
    g.node("AffineGrid", [theta, extents], align_corners=g.choice((None, 0, 1)))


def boxes(g, count, height, width, index=None):
    rng = np.random.default_rng(g.rng.getrandbits(32))
    low = rng.integers(0, [width, height], (count, 2))
    high = low + rng.integers(1, [width + 1, height + 1], (count, 2))
    b = np.concatenate([low, high], 1).astype(np.float32)
    return np.concatenate([index[:, None], b], 1).astype(np.float32) if index is not None else b


def roi_align(g):
    x = image(g, F32, least=2, most=2)
    count = g.extent(4)
    index = g.put(g.data(I64, (count,), 0, x.shape[0] - 1))
    mode = g.choice((None, "half_pixel", "output_half_pixel")) if g.opset >= 16 else None
    g.node("RoiAlign", [x, g.put(boxes(g, count, *x.shape[2:])), index], output_height=g.extent(4), output_width=g.extent(4),
           sampling_ratio=g.choice((None, 1, 2)), spatial_scale=g.choice((None, 0.5)), mode=g.choice((None, "avg")),
           coordinate_transformation_mode=mode)


def max_roi_pool(g):
    x = image(g, F32, least=2, most=2)
    count = g.extent(4)
    rois = boxes(g, count, *x.shape[2:], index=g.data(I64, (count,), 0, x.shape[0] - 1))
    g.node("MaxRoiPool", [x, g.put(rois)], pooled_shape=[g.extent(3), g.extent(3)])


def col2im(g):
    kernel = [g.rng.randint(1, 3) for _ in range(2)]
    extents = [g.rng.randint(k, 9) for k in kernel]
    windows = int(np.prod([e - k + 1 for e, k in zip(extents, kernel)]))
    x = g.fresh(F32, (g.extent(3), g.extent(3) * int(np.prod(kernel)), windows))
    g.node("Col2Im", [x, g.const(extents, np.int64), g.const(kernel, np.int64)])


def deform_conv(g):
    x = image(g, F32, least=2, most=2, extent=8)
    kernel = [g.rng.randint(1, min(3, e)) for e in x.shape[2:]]
    out = [e - k + 1 for e, k in zip(x.shape[2:], kernel)]
    n, taps = g.extent(3), int(np.prod(kernel))
    w = g.fresh(F32, (n, x.shape[1], *kernel), -1, 1)
    offset = g.fresh(F32, (x.shape[0], 2 * taps, *out), -1, 1)
    bias = g.fresh(F32, (n,)) if g.chance(0.5) else None
    mask = g.fresh(F32, (x.shape[0], taps, *out), 0, 1) if g.chance(0.5) else None
    g.node("DeformConv", [x, w, offset, bias, mask], kernel_shape=kernel)


def attention(g):
    batch, heads, kv, q, d, dv = g.extent(2), g.choice((1, 2, 4)), g.extent(7), g.extent(7), g.choice((2, 4, 8)), g.choice((2, 4, 8))
    groups = g.choice((1, 1, 2)) if heads % 2 == 0 else 1
    three = g.chance(0.4)
    attributes = {"is_causal": g.choice((None, 0, 1)), "softcap": g.choice((None, None, 2.0)), "scale": g.choice((None, 0.5))}
    kv_heads = heads // groups
    if three:
        shapes = [(batch, q, heads * d), (batch, kv, kv_heads * d), (batch, kv, kv_heads * dv)]
        attributes |= {"q_num_heads": heads, "kv_num_heads": kv_heads}
    else:
        shapes = [(batch, heads, q, d), (batch, kv_heads, kv, d), (batch, kv_heads, kv, dv)]
    operands = [g.pick(F32, shape=s, reuse=0.2) for s in shapes]
    if g.chance(0.4):
        operands.append(g.fresh(F32, g.choice(((q, kv), (batch, 1, q, kv), (1, heads, q, kv)))))
    g.node("Attention", operands, **attributes)


def rotary_embedding(g):
    batch, heads, sequence, d = g.extent(3), g.choice((1, 2, 3)), g.extent(5), g.choice((2, 4, 8))
    x = g.pick(F32, shape=(batch, heads, sequence, d), reuse=0.3)
    cos, sin = (g.fresh(F32, (9, d // 2), -1, 1) for _ in range(2))
    ids = g.put(g.data(I64, (batch, sequence), 0, 8))
    g.node("RotaryEmbedding", [x, cos, sin, ids], interleaved=g.choice((None, 0, 1)))


def dft(g):
    batch, n = g.extent(3), g.choice((1, 2, 3, 5, 8, 16))
    inverse = g.choice((None, 0, 1))
    x = g.fresh(F32, (batch, n, 2 if inverse else g.choice((1, 2))))
    onesided = g.choice((None, 0, 1)) if not inverse and x.shape[-1] == 1 else None
    if g.opset < 20:
        return g.shifted("DFT", [x], axis=g.choice((None, 1)), inverse=inverse, onesided=onesided)
    return g.shifted("DFT", [x, None, g.const(np.array(1, np.int64))], inverse=inverse, onesided=onesided)


def stft(g):
    x = g.fresh(F32, (g.extent(2), g.choice((16, 32)), 1), kind="input")
    length = g.choice((4, 8))
    g.shifted("STFT", [x, g.const(np.array(g.choice((2, 4)), np.int64)), g.fresh(F32, (length,), 0, 1, kind="constant"),
                       g.const(np.array(length, np.int64))], onesided=g.choice((None, 0, 1)))


def mel_weights(g):
    values = [np.array(v, np.int64) for v in (g.choice((4, 8)), g.choice((16, 32)), 8192)]
    g.node("MelWeightMatrix", [g.const(v) for v in [*values, np.array(0, np.float32), np.array(4096, np.float32)]])


def loss(op):
    def rule(g):
        n, c = g.extent(5), g.extent(5)
        spatial = g.shape(g.choice((0, 0, 1, 2)), 3, empty=0)
        x = g.pick(F32, shape=(n, c, *spatial), reuse=0.3)
        labels = g.put(g.data(I64, (n, *spatial), 0, c - 1))
        weights = g.fresh(F32, (c,), 0.25, 2) if g.chance(0.4) else None
        ignore = g.rng.randrange(c) if g.chance(0.2) and c > 1 else None
        outputs = 2 if op == "SoftmaxCrossEntropyLoss" and g.chance(0.4) else 1
        g.node(op, [x, labels, weights], outputs=outputs, reduction=g.choice((None, "none", "mean", "sum")), ignore_index=ignore)
    return rule


def non_max_suppression(g):
    batch, count, classes = g.extent(2), g.extent(17), g.extent(3)
    corners = np.stack([boxes(g, count, 20, 20) / 20 for _ in range(batch)])
    scores = np.argsort(np.random.default_rng(g.rng.getrandbits(32)).random(batch * classes * count)).reshape(batch, classes, count)
    scores = (scores / scores.size).astype(np.float32)
    g.node("NonMaxSuppression", [g.put(corners), g.put(scores), g.const(np.array([g.rng.randint(0, 5)], np.int64)),
                                 g.const(np.array([g.choice((0.3, 0.5, 0.7))], np.float32)),
                                 g.const(np.array([g.choice((0.0, 0.4))], np.float32)) if g.chance(0.7) else None],
           center_point_box=g.choice((None, 0)))


RULES = [
    ("Conv", 12, 7, conv), ("large convolution", 6, 7, large_conv), ("ConvTranspose", 4, 7, conv_transpose),
    ("MaxPool", 4, 7, pool("MaxPool")),
    ("AveragePool", 4, 7, pool("AveragePool")), ("LpPool", 2, 7, pool("LpPool")), ("MaxUnpool", 1, 9, max_unpool),
    ("BatchNormalization", 3, 7, batch_normalization), ("InstanceNormalization", 2, 7, instance_normalization),
    ("GroupNormalization", 2, 18, group_normalization), ("LRN", 2, 7, lrn), ("LSTM", 3, 7, recurrent("LSTM", 4)),
    ("GRU", 3, 7, recurrent("GRU", 3)), ("RNN", 2, 7, recurrent("RNN", 1)), ("Resize", 5, 10, resize), 
    ("Resize of any axes", 2, 11, resize_any), ("Upsample", 3, 7, upsample),
    ("GridSample", 2, 16, grid_sample),
    ("AffineGrid", 1, 20, affine_grid), ("RoiAlign", 1, 10, roi_align), ("MaxRoiPool", 1, 7, max_roi_pool), ("Col2Im", 1, 18, col2im),
    ("DeformConv", 1, 19, deform_conv), ("Attention", 3, 23, attention), ("RotaryEmbedding", 1, 23, rotary_embedding),
    ("DFT", 1, 17, dft), ("STFT", 1, 17, stft), ("MelWeightMatrix", 1, 17, mel_weights),
    ("NegativeLogLikelihoodLoss", 1, 12, loss("NegativeLogLikelihoodLoss")),
    ("SoftmaxCrossEntropyLoss", 1, 12, loss("SoftmaxCrossEntropyLoss")), ("NonMaxSuppression", 1, 10, non_max_suppression),
]
RULES += [(op, 1, 7, global_pool(op)) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")]

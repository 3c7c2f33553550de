"""Rules for what holds graphs together: quantised islands, control flow, sequences, and the patterns that compilers look for."""

import numpy as np
from onnx import TensorProto, helper

import builder
import elementwise
import movement
import neural
from builder import BOOL, F16, F32, F64, I32, I64, I8, U8, Reject


# Quantisation.

def scale_and_zero(g, dtype, count=None, low=0.02, high=0.2, zero=True):
    shape = () if count is None else (count,)
    scale = g.fresh(F32, shape, low, high, kind="constant")
    if not scale.array.all():
        raise Reject("a scale of zero")
    return scale, g.fresh(dtype, shape, *((-5, 5) if dtype.kind == "i" else (110, 140)), kind="constant") if zero else None


def quantize(g):
    x = g.pick(F32, low=-100, high=100)
    per_axis = g.opset >= 13 and x.rank >= 1 and g.chance(0.4)
    at = elementwise.axis(g, x.rank) if per_axis else None
    types = (U8, I8) + ((np.dtype(np.int16), np.dtype(np.uint16)) if g.opset >= 21 else ())
    scale, zero = scale_and_zero(g, g.choice(types), x.shape[at] if per_axis else None, zero=g.chance(0.85))
    y = g.node("QuantizeLinear", [x, scale, zero], axis=at)
    if g.chance(0.6):
        g.node("DequantizeLinear", [y, scale, zero], axis=at)


def dequantize(g):
    dtype = g.choice((U8, I8, I32))
    x = g.pick(dtype)
    per_axis = g.opset >= 13 and x.rank >= 1 and g.chance(0.4)
    at = elementwise.axis(g, x.rank) if per_axis else None
    scale, zero = scale_and_zero(g, dtype, x.shape[at] if per_axis else None, zero=dtype != I32 and g.chance(0.85))
    g.node("DequantizeLinear", [x, scale, zero], axis=at)


def dynamic_quantize(g):
    g.node("DynamicQuantizeLinear", [g.pick(F32, empty=0, least=1)], outputs=3)


def round_trip(g, x, dtype, per_axis=None, low=0.02, high=0.1):
    """QuantizeLinear and DequantizeLinear around a value."""
    scale, zero = scale_and_zero(g, dtype, None if per_axis is None else x.shape[per_axis], low, high)
    q = g.node("QuantizeLinear", [x, scale, zero], axis=per_axis)
    return g.node("DequantizeLinear", [q, scale, zero], axis=per_axis)


def quantised_layer(g):
    """DequantizeLinear, a layer, QuantizeLinear: what compilers compute on the codes."""
    weights = g.choice((I8, U8))
    codes = g.choice((I8, U8))
    per_channel = g.opset >= 13 and g.chance(0.5)
    form = g.choice(("conv", "matmul", "gemm", "add", "pool", "relu"))
    if form == "conv":
        x = neural.image(g, F32, least=2, most=2)
        group = x.shape[1] if g.chance(0.3) else 1
        n = x.shape[1] if group > 1 else g.choice((1, 3, 16, 17))
        w = g.fresh(weights, (n, x.shape[1] // group, *[min(3, e) for e in x.shape[2:]]), kind="constant")
        scale, zero = scale_and_zero(g, weights, n if per_channel else None, 0.01, 0.05)
        w = g.node("DequantizeLinear", [w, scale, zero], axis=0 if per_channel else None)
        bias = g.fresh(F32, (n,), kind="constant") if g.chance(0.5) else None
        y = g.node("Conv", [round_trip(g, x, codes), w, bias], group=group, pads=[1, 1, 1, 1] if g.chance(0.5) else None)
        y = g.node("Relu", [y]) if g.chance(0.4) else y
    elif form in ("matmul", "gemm"):
        x = g.pick(F32, **({"rank": 2} if form == "gemm" else {"least": 2}), empty=0, low=-50, high=50)
        k, n = x.shape[-1], g.extent()
        transposed = form == "gemm" and g.chance(0.5)
        w = g.fresh(weights, (n, k) if transposed else (k, n), kind="constant")
        scale, zero = scale_and_zero(g, weights, n if per_channel else None, 0.01, 0.05)
        w = g.node("DequantizeLinear", [w, scale, zero], axis=(0 if transposed else 1) if per_channel else None)
        if form == "gemm":
            y = g.node("Gemm", [round_trip(g, x, codes), w, g.fresh(F32, (n,), kind="constant")], transB=1 if transposed else None)
        else:
            y = g.node("MatMul", [round_trip(g, x, codes), w])
    elif form == "add":
        a = g.pick(F32, low=-50, high=50)
        b = g.pick(F32, shape=a.shape, reuse=0.3, low=-50, high=50)
        y = g.node(g.choice(("Add", "Mul")), [round_trip(g, a, codes), round_trip(g, b, codes)])
    elif form == "pool":
        x = neural.image(g, F32, least=2, most=2)
        y = round_trip(g, x, codes)
        y = g.node("GlobalAveragePool", [y]) if g.chance(0.4) else g.node("MaxPool", [y], kernel_shape=[min(2, e) for e in x.shape[2:]])
    else:
        y = g.node(g.choice(("Relu", "Sigmoid", "LeakyRelu", "HardSigmoid")), [round_trip(g, g.pick(F32, low=-50, high=50), codes)])
    if g.chance(0.8):
        round_trip(g, y, codes, low=0.05, high=0.5)


def qlinear_conv(g):
    x = neural.image(g, g.choice((U8, I8)), least=1, most=2)
    wt = g.choice((U8, I8)) if x.dtype == U8 else I8
    n = g.choice((1, 3, 16))
    xs, xz = scale_and_zero(g, x.dtype)
    ws, wz = scale_and_zero(g, wt, n if g.chance(0.4) else None)
    ys, yz = scale_and_zero(g, x.dtype, low=0.5, high=3)
    if wt == I8 and wz.array.ndim:
        wz = g.put(np.zeros(n, np.int8), "constant")
    attributes = neural.window(g, x.shape[2:], [g.rng.randint(1, min(3, e)) for e in x.shape[2:]])
    kernel = attributes["kernel_shape"]
    w = g.fresh(wt, (n, x.shape[1], *kernel), kind="constant")
    bias = g.fresh(I32, (n,), -500, 500, kind="constant") if g.chance(0.5) else None
    g.node("QLinearConv", [x, xs, xz, w, ws, wz, ys, yz, bias], **attributes)


def qlinear_mat_mul(g):
    dtype = g.choice((U8, I8))
    a = g.pick(dtype, least=2, most=17, empty=0)
    wt = g.choice((U8, I8)) if dtype == U8 else I8
    n = g.extent()
    b = g.fresh(wt, (a.shape[-1], n))
    (xs, xz), (ws, wz) = scale_and_zero(g, dtype), scale_and_zero(g, wt)
    ys, yz = scale_and_zero(g, dtype, low=0.5, high=3)
    g.node("QLinearMatMul", [a, xs, xz, b, ws, wz, ys, yz])


def mat_mul_integer(g):
    a = g.pick(g.choice((U8, U8, I8)), least=2, most=17)
    wt = g.choice((U8, I8)) if a.dtype == U8 else I8
    b = g.fresh(wt, (a.shape[-1], g.extent()))
    zeros = [g.fresh(d, (), kind="constant") if g.chance(0.6) else None for d in (a.dtype, wt)]
    y = g.node("MatMulInteger", [a, b, *zeros])
    if g.chance(0.5):
        g.node("Mul", [g.node("Cast", [y], to=TensorProto.FLOAT), g.fresh(F32, (), 0.001, 0.01, kind="constant")])


def conv_integer(g):
    x = neural.image(g, U8, least=2, most=2)
    attributes = neural.window(g, x.shape[2:], [g.rng.randint(1, min(3, e)) for e in x.shape[2:]])
    w = g.fresh(U8, (g.choice((1, 3, 16)), x.shape[1], *attributes["kernel_shape"]))
    zeros = [g.fresh(U8, (), kind="constant") if g.chance(0.6) else None for _ in range(2)]
    g.node("ConvInteger", [x, w, *zeros], **attributes)


# Control flow.

def body(g, prefix):
    return builder.Graph(g.rng, g.opset, f"{prefix}_", g)


def info(name, dtype, shape=None):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


STEP_UNARY = ("Relu", "Neg", "Tanh", "Sigmoid", "Abs", "Sin")


def step(b, x):
    """A value of the same type and extents as x, by one or two operators that may read the outer graph."""
    for _ in range(b.rng.randint(1, 2)):
        if b.chance(0.5):
            x = b.node(b.choice(STEP_UNARY), [x])
        else:
            fits = lambda v: elementwise.broadcasts(v.shape, x.shape) and np.broadcast_shapes(v.shape, x.shape) == x.shape
            y = b.pick(F32, where=fits, reuse=0.7, most=1)
            x = b.node(b.choice(("Add", "Sub", "Mul")), [x, y])
    return x


def branch(g, x):
    """A body that reads the outer graph, and its f32 result."""
    b = body(g, g.name("branch"))
    if g.chance(0.5):
        return b, step(b, x)
    rules = [r for r in (*elementwise.RULES, *movement.RULES) if r[2] <= g.opset]
    for _ in range(g.rng.randint(1, 4)):
        mark = b.mark()
        try:
            b.rng.choice(rules)[3](b)
        except Reject:
            b.restore(mark)
    made = [v for v in b.values if v.kind == "node" and v.dtype == F32]
    return b, made[-1] if made else step(b, x)


def if_(g):
    x = g.pick(F32, low=-50, high=50)
    branches = []
    for which in ("then", "else"):
        b, y = branch(g, x)
        branches.append(helper.make_graph(b.nodes, which, [], [info(y.name, F32)]))
        g.domains |= b.domains
    condition = g.put(np.array(g.chance(0.5)), "constant" if g.chance(0.2) else "input")
    g.node("If", [condition], then_branch=branches[0], else_branch=branches[1])


def loop(g):
    if g.opset < 11:
        raise Reject("typed differently")
    start = g.pick(F32, low=-4, high=4, empty=0)
    b = body(g, g.name("loop"))
    index, condition, carried = (builder.Value(b.name(n), a, "node") for n, a in
                                 (("i", np.array(0, np.int64)), ("more", np.array(True)), ("carried", start.array)))
    b.values += [index, condition, carried]
    y = b.node("Tanh", [step(b, carried)])
    # Without iterations nothing says which extents the scanned outputs have.
    runs = g.chance(0.6)
    scanned = b.node("Mul", [y, b.node("Cast", [index], to=TensorProto.FLOAT)]) if runs else None
    keep = b.node("Identity", [condition])
    if g.chance(0.3):
        limit = b.put(np.array(g.rng.randint(0, 3), np.int64))
        keep = b.node("Less", [index, limit])
    outputs = [info(keep.name, BOOL), info(y.name, F32)] + ([info(scanned.name, F32)] if scanned else [])
    inputs = [info(index.name, I64, []), info(condition.name, BOOL, []), info(carried.name, F32)]
    graph = helper.make_graph(b.nodes, "body", inputs, outputs)
    trips = g.put(np.array(g.rng.randint(1 if runs else 0, 4), np.int64))
    more = g.put(np.array(runs or not g.chance(0.1)), "constant") if g.chance(0.5) else None
    g.node("Loop", [trips, more, start], outputs=2 if scanned else 1, body=graph)


def scan(g):
    if g.opset < 9:
        raise Reject("batched")
    x = g.pick(F32, least=1, most=8, empty=0, low=-5, high=5)
    at = g.rng.randrange(x.rank)
    element = np.take(x.array, 0, at)
    start = g.fresh(F32, element.shape, -1, 1)
    b = body(g, g.name("scan"))
    state, item = (builder.Value(b.name(n), a, "node") for n, a in (("state", start.array), ("item", element)))
    b.values += [state, item]
    y = b.node("Tanh", [b.node(g.choice(("Add", "Sub", "Mul")), [state, step(b, item)])])
    z = b.node("Neg", [y])
    graph = helper.make_graph(b.nodes, "body", [info(state.name, F32), info(item.name, F32)],
                              [info(y.name, F32), info(z.name, F32)])
    g.node("Scan", [start, x], outputs=2, body=graph, num_scan_inputs=1, scan_input_axes=[at] if at or g.chance(0.5) else None,
           scan_input_directions=g.choice((None, [0], [1])), scan_output_directions=g.choice((None, [1])),
           scan_output_axes=[g.rng.randint(0, element.ndim)] if g.chance(0.4) else None)


# Sequences and optionals, of which the rest of the graph sees tensors.

def sequence(g):
    x = g.pick(F32)
    others = [g.pick(F32, shape=x.shape, reuse=0.5) for _ in range(g.rng.randint(0, 2))]
    names = [v.name for v in (x, *others)]
    s, y = g.name("s"), g.name()
    nodes = [g.proto("SequenceConstruct", names, [s])]
    count = len(names)
    if g.chance(0.4):
        t = g.name("s")
        nodes.append(g.proto("SequenceInsert", [s, x.name, g.const(np.array(g.rng.randint(-count, count), np.int64)).name], [t]))
        s, count = t, count + 1
    if g.chance(0.3) and count > 1:
        t = g.name("s")
        nodes.append(g.proto("SequenceErase", [s, g.const(np.array(g.rng.randrange(count), np.int64)).name], [t]))
        s, count = t, count - 1
    form = g.choice(("at", "length", "concat"))
    if form == "at":
        nodes.append(g.proto("SequenceAt", [s, g.const(np.array(g.rng.randint(-count, count - 1), np.int64)).name], [y]))
    elif form == "length":
        nodes.append(g.proto("SequenceLength", [s], [y]))
    else:
        new = g.chance(0.5) or x.rank == 0
        at = 0 if x.rank == 0 else g.rng.randrange(x.rank)
        nodes.append(g.proto("ConcatFromSequence", [s], [y], axis=at, new_axis=1 if new else None))
    g.group(nodes, [y])


def split_to_sequence(g):
    x = g.pick(F32, least=1, empty=0)
    at = elementwise.axis(g, x.rank)
    s, y = g.name("s"), g.name()
    split = g.const(np.array(g.rng.randint(1, x.shape[at]), np.int64)).name if g.chance(0.6) else ""
    nodes = [g.proto("SplitToSequence", [x.name, split], [s], axis=at, keepdims=g.choice((None, 0, 1)) if not split else None),
             g.proto("SequenceAt", [s, g.const(np.array(g.choice((0, -1)), np.int64)).name], [y])]
    g.group(nodes, [y])


def optional(g):
    x = g.pick(F32)
    o, y = g.name("o"), g.name()
    g.group([g.proto("Optional", [x.name], [o]), g.proto(g.choice(("OptionalGetElement", "OptionalHasElement")), [o], [y])], [y])


# Patterns: what exporters write for one operator, and what follows layers.

def activation(g, x):
    form = g.choice(("relu", "clip", "silu", "gelu", "tanh_gelu", "hardswish", "leaky", "sigmoid", "mish", "none"))
    c = lambda v: g.put(np.array(v, x.dtype), "constant")
    if form == "relu":
        return g.node("Relu", [x])
    if form == "clip":
        return g.node("Clip", [x], min=0.0, max=6.0) if g.opset < 11 else g.node("Clip", [x, c(0), c(6)])
    if form == "silu":
        return g.node("Mul", [x, g.node("Sigmoid", [x])])
    if form == "gelu":
        inner = g.node("Erf", [g.node("Div", [x, c(np.sqrt(2))])])
        return g.node("Mul", [g.node("Mul", [x, g.node("Add", [inner, c(1)])]), c(0.5)])
    if form == "tanh_gelu":
        cube = g.node("Pow", [x, c(3)])
        inner = g.node("Mul", [g.node("Add", [x, g.node("Mul", [cube, c(0.044715)])]), c(np.sqrt(2 / np.pi))])
        return g.node("Mul", [g.node("Mul", [x, c(0.5)]), g.node("Add", [g.node("Tanh", [inner]), c(1)])])
    if form == "hardswish":
        shifted = g.node("Add", [x, c(3)])
        inner = g.node("Clip", [shifted], min=0.0, max=6.0) if g.opset < 11 else g.node("Clip", [shifted, c(0), c(6)])
        return g.node("Div", [g.node("Mul", [x, inner]), c(6)])
    if form == "leaky":
        return g.node("LeakyRelu", [x], alpha=0.1)
    if form == "mish":
        return g.node("Mul", [x, g.node("Tanh", [g.node("Softplus", [x])])])
    return g.node("Sigmoid", [x]) if form == "sigmoid" else x


def element_type(g):
    """Of a block of layers: f32 but for some."""
    return g.rng.choices((F32, F16, F64), (84, 12, 4))[0]


def conv_block(g):
    """A convolution with what follows it: normalisation, a residual, an activation."""
    dtype = element_type(g)
    x = neural.image(g, dtype)
    y = neural.conv(g, x, dtype)
    if g.chance(0.5):
        y = neural.batch_normalization(g, y)
    if g.chance(0.4):
        other = g.pick(dtype, shape=y.shape, reuse=0.7)
        y = g.node("Add", [y, other] if g.chance(0.5) else [other, y])
    elif g.chance(0.3):
        y = g.node(g.choice(("Mul", "Add")), [y, g.fresh(dtype, (y.shape[1], *[1] * (y.rank - 2)), kind="constant")])
    y = activation(g, y)
    if g.chance(0.4):
        neural.conv(g, y, dtype)
    if g.chance(0.3):
        other = y if g.chance(0.3) else g.fresh(dtype, (y.shape[0], g.choice((1, 3, 16)), *y.shape[2:]), kind="input")
        g.node("Concat", [y, other], axis=1)


def linear_block(g):
    dtype = element_type(g)
    x = g.pick(dtype, least=2, empty=0)
    n = g.extent()
    w = g.fresh(dtype, (x.shape[-1], n), -1, 1, kind="constant")
    y = g.node("MatMul", [x, w])
    if g.chance(0.7):
        bias = g.fresh(dtype, (n,), kind="constant")
        y = g.node("Add", [y, bias] if g.chance(0.6) else [bias, y])
    y = activation(g, y)
    if g.chance(0.4):
        y = g.node("Add", [y, g.pick(dtype, shape=y.shape, reuse=0.5)])
    if g.chance(0.4) and dtype == F32:
        normalised(g, y)


def large_block(g):
    """Values of so many elements that threads share the work: maps, sums, products and movements of them."""
    x = g.fresh(F32, g.choice(((64, 257), (3, 5000), (1, 8, 40, 41), (17, 33, 35), (20000,))), kind="input")
    for _ in range(g.rng.randint(1, 4)):
        form = g.choice(("unary", "binary", "reduce", "softmax", "transpose", "matmul", "concat"))
        if form == "unary":
            x = activation(g, x)
        elif form == "binary":
            x = g.node(g.choice(("Add", "Mul", "Sub")), [x, g.fresh(F32, elementwise.partner(g, x.shape), -1, 1)])
        elif form == "reduce" and g.opset < 18 and x.rank > 1:
            op = g.choice(("ReduceSum", "ReduceMean", "ReduceMax")) if g.opset < 13 else "ReduceMean"
            g.node(op, [x], axes=[g.rng.randrange(x.rank)])
        elif form == "softmax" and x.rank > 1:
            x = g.node("Softmax", [x], axis=x.rank - 1)
        elif form == "transpose" and x.rank > 1:
            x = g.node("Transpose", [x], perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
        elif form == "matmul" and x.rank > 1 and x.shape[-1] < 300:
            x = g.node("MatMul", [x, g.fresh(F32, (x.shape[-1], g.choice((16, 50, 64))), -0.2, 0.2, kind="constant")])
        elif form == "concat":
            x = g.node("Concat", [x, g.fresh(F32, (*x.shape[:-1], 7), kind="input")], axis=x.rank - 1)


def normalised(g, x=None):
    """Layer normalisation as exporters wrote it before there was an operator."""
    x = x or g.pick(F32, least=1, empty=0)
    c = lambda v: g.put(np.array(v, np.float32), "constant")

    def mean(v):
        if g.opset < 18:
            return g.node("ReduceMean", [v], axes=[-1] if g.opset >= 11 else [v.rank - 1])
        return g.node("ReduceMean", [v, g.put(np.array([-1]), "constant")])

    centred = g.node("Sub", [x, mean(x)])
    squared = g.node("Pow", [centred, c(2)]) if g.chance(0.5) else g.node("Mul", [centred, centred])
    deviation = g.node("Sqrt", [g.node("Add", [mean(squared), c(1e-2)])])
    y = g.node("Div", [centred, deviation])
    y = g.node("Mul", [y, g.fresh(F32, x.shape[-1:], kind="constant")])
    return g.node("Add", [y, g.fresh(F32, x.shape[-1:], kind="constant")])


def attention_block(g):
    batch, heads, q, k, d = g.extent(2), g.choice((1, 2, 3)), g.extent(8), g.extent(8), g.choice((1, 4, 8, 16))
    query, key, value = (g.pick(F32, shape=(batch, n, heads * d), reuse=0.3) for n in (q, k, k))

    def split(v, perm):
        extents = g.put(np.array([batch if g.chance(0.5) else 0, -1, heads, d]), "constant")
        return g.node("Transpose", [g.node("Reshape", [v, extents])], perm=perm)

    query, value, key = split(query, [0, 2, 1, 3]), split(value, [0, 2, 1, 3]), split(key, [0, 2, 3, 1])
    scores = g.node("MatMul", [query, key])
    scale = g.put(np.array(g.choice((np.sqrt(d), 2.0)), np.float32), "constant")
    scores = g.node(g.choice(("Div", "Mul")), [scores, scale]) if g.chance(0.8) else scores
    if g.chance(0.5):
        scores = g.node("Add", [scores, g.fresh(F32, g.choice(((batch, 1, 1, k), (q, k), (batch, heads, q, k))))])
    weights = g.node("Softmax", [scores], axis=3)
    y = g.node("Transpose", [g.node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    g.node("Reshape", [y, g.put(np.array([batch, q, heads * d]), "constant")])


def shape_arithmetic(g):
    """Reshape to extents that are computed from those of the operand."""
    x = g.pick(F32, least=2, empty=0)
    s = g.node("Shape", [x])
    at = g.rng.randrange(x.rank)
    extent = g.node("Gather", [s, g.put(np.array(at), "constant")], axis=0)
    rest = g.put(np.array([-1]), "constant")
    one = g.node("Unsqueeze", [extent], axes=[0]) if g.opset < 13 else g.node("Unsqueeze", [extent, g.put(np.array([0]), "constant")])
    parts = [one, rest]
    g.rng.shuffle(parts)
    y = g.node("Reshape", [x, g.node("Concat", parts, axis=0)])
    if g.chance(0.5):
        g.node("Expand", [g.fresh(F32, (1,)), g.node("Shape", [y])])


# Operators of onnxruntime's own domain that planc knows.

MS = "com.microsoft"


def microsoft(g):
    form = g.choice(("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "SkipLayerNormalization", "QLinearAdd", "QLinearMul",
                     "QLinearLeakyRelu", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "FusedGemm", "FusedConv",
                     "SkipSimplifiedLayerNormalization", "MultiHeadAttention", "Trilu", "QGemm", "ExpandDims", "EmbedLayerNormalization"))
    if form in ("Gelu", "QuickGelu"):
        g.node(form, [g.pick(F32)], domain=MS, alpha=1.702 if form == "QuickGelu" else None)
    elif form in ("FastGelu", "BiasGelu"):
        x = g.pick(F32, least=1)
        g.node(form, [x, g.fresh(F32, x.shape[-1:])], domain=MS)
    elif form == "FusedMatMul":
        m, k, n = g.extent(), g.extent(), g.extent()
        a, b = g.choice((0, 1)), g.choice((0, 1))
        g.node(form, [g.pick(F32, shape=(k, m) if a else (m, k), reuse=0.4), g.fresh(F32, (n, k) if b else (k, n))], domain=MS, transA=a,
               transB=b, alpha=g.choice((None, 0.5)))
    elif form == "SkipLayerNormalization":
        shape = (g.extent(3), g.extent(8), g.extent())
        last = [g.fresh(F32, shape[-1:]) for _ in range(3)]
        g.node(form, [g.pick(F32, shape=shape, reuse=0.4), g.fresh(F32, shape), *last[:g.rng.randint(1, 3)]], domain=MS, epsilon=1e-3)
    elif form in ("QLinearAdd", "QLinearMul"):
        a = g.pick(g.choice((U8, I8)))
        operands = []
        for v in (a, g.fresh(a.dtype, elementwise.partner(g, a.shape))):
            operands += [v, *scale_and_zero(g, a.dtype)]
        g.node(form, [*operands, *scale_and_zero(g, a.dtype, low=0.05, high=0.5)], domain=MS)
    elif form == "SkipSimplifiedLayerNormalization":
        shape = (g.extent(3), g.extent(8), g.extent())
        last = [g.fresh(F32, shape[-1:]) for _ in range(g.rng.randint(1, 2))]
        g.node(form, [g.pick(F32, shape=shape, reuse=0.4), g.fresh(F32, shape), *last], domain=MS, epsilon=1e-3)
    elif form == "MultiHeadAttention":
        batch, q, k, heads, d = g.extent(2), g.extent(7), g.extent(7), g.choice((1, 2, 3)), g.choice((2, 4, 8))
        operands = [g.fresh(F32, (batch, n, heads * d), kind="input") for n in (q, k, k)]
        operands.append(g.fresh(F32, (3 * heads * d,)) if g.chance(0.4) else None)
        operands += [None, g.fresh(F32, (batch, heads, q, k)) if g.chance(0.4) else None]
        g.node(form, operands, domain=MS, num_heads=heads, scale=g.choice((None, 0.5)))
        g.fixed = True
    elif form == "Trilu":
        x = g.pick(F32, least=2)
        g.node(form, [x, g.const(np.array(g.rng.randint(-2, 2), np.int64))], domain=MS, upper=g.choice((0, 1)))
    elif form == "QGemm":
        m, k, n = g.extent(), g.extent(), g.extent()
        a, b = g.choice((0, 1)), g.choice((0, 1))
        left = [g.fresh(U8, (k, m) if a else (m, k)), *scale_and_zero(g, U8)]
        right = [g.fresh(I8, (n, k) if b else (k, n), kind="constant"), *scale_and_zero(g, I8)]
        bias = g.fresh(I32, (n,), -500, 500) if g.chance(0.5) else None
        result = scale_and_zero(g, U8, low=0.5, high=3) if g.chance(0.6) else ()
        g.node(form, [*left, *right, bias, *result], domain=MS, transA=a, transB=b)
    elif form == "ExpandDims":
        x = g.pick(F32)
        g.node(form, [x, g.const(np.array(g.rng.randint(0, x.rank), np.int32))], domain=MS)
    elif form == "EmbedLayerNormalization":
        batch, sequence, width = g.extent(3), g.extent(5), g.extent(17)
        ids, segments = g.put(g.data(I32, (batch, sequence), 0, 8), "input"), g.put(g.data(I32, (batch, sequence), 0, 1), "input")
        tables = [g.fresh(F32, (n, width), kind="constant") for n in (9, 7, 2)]
        g.node(form, [ids, segments, *tables, g.fresh(F32, (width,)), g.fresh(F32, (width,))], outputs="o.", domain=MS, epsilon=1e-3)
    elif form == "QLinearLeakyRelu":
        a = g.pick(g.choice((U8, I8)))
        g.node(form, [a, *scale_and_zero(g, a.dtype), *scale_and_zero(g, a.dtype)], domain=MS, alpha=0.1)
    elif form == "DynamicQuantizeMatMul":
        a = g.pick(F32, least=2, empty=0)
        g.node(form, [a, g.fresh(I8, (a.shape[-1], g.extent()), kind="constant"), *scale_and_zero(g, I8)], domain=MS)
    elif form == "MatMulIntegerToFloat":
        a = g.pick(U8, least=2, empty=0)
        b = g.fresh(U8, (a.shape[-1], g.extent()), kind="constant")
        (sa, za), (sb, zb) = scale_and_zero(g, U8), scale_and_zero(g, U8)
        g.node(form, [a, b, sa, sb, za, zb], domain=MS)
    elif form == "FusedGemm":
        m, k, n = g.extent(), g.extent(), g.extent()
        g.node(form, [g.pick(F32, shape=(m, k), reuse=0.4), g.fresh(F32, (k, n)), g.fresh(F32, (n,))], domain=MS,
               activation=g.choice(("Relu", "Tanh", "Sigmoid")))
    else:
        x = neural.image(g, F32, least=2, most=2)
        w = g.fresh(F32, (g.extent(5), x.shape[1], 1, 1), kind="constant")
        g.node(form, [x, w], domain=MS, activation=g.choice(("Relu", "Tanh", "Sigmoid")))


RULES = [
    ("QuantizeLinear", 4, 10, quantize), ("DequantizeLinear", 2, 10, dequantize), ("DynamicQuantizeLinear", 2, 11, dynamic_quantize),
    ("quantised layer", 12, 10, quantised_layer), ("QLinearConv", 3, 10, qlinear_conv), ("QLinearMatMul", 3, 10, qlinear_mat_mul),
    ("MatMulInteger", 3, 10, mat_mul_integer), ("ConvInteger", 2, 10, conv_integer), ("If", 3, 9, if_), ("Loop", 3, 11, loop),
    ("Scan", 2, 9, scan), ("SequenceAt", 2, 11, sequence), ("SplitToSequence", 1, 11, split_to_sequence), ("Optional", 1, 15, optional),
    ("convolution block", 14, 7, conv_block), ("linear block", 10, 9, linear_block), ("large block", 4, 7, large_block),
    ("layer normalisation", 3, 9, normalised),
    ("attention block", 5, 7, attention_block), ("shape arithmetic", 3, 7, shape_arithmetic), ("com.microsoft", 8, 13, microsoft),
]

"""Rules for operators that work element by element, along axes, or on matrices: what their operands and attributes may be."""

import numpy as np
from onnx import helper

from builder import BOOL, F32, F64, Reject

# Operators of one operand: where they are defined (None: everywhere), the first opset, and how to draw attributes.
UNARY = {
    "Abs": (None, None, 6, {}), "Acos": (-1, 1, 7, {}), "Acosh": (1, 9, 9, {}), "Asin": (-1, 1, 7, {}), "Asinh": (None, None, 9, {}),
    "Atan": (None, None, 7, {}), "Atanh": (-0.96, 0.96, 9, {}), "Ceil": (None, None, 6, {}), "Cos": (None, None, 7, {}),
    "Cosh": (-5, 5, 9, {}), "Erf": (None, None, 9, {}), "Exp": (-8, 8, 6, {}), "Floor": (None, None, 6, {}),
    "HardSwish": (None, None, 14, {}), "Identity": (None, None, 1, {}), "Log": (0.01, None, 6, {}), "Mish": (None, None, 18, {}),
    "Neg": (None, None, 6, {}), "Not": (None, None, 1, {}), "Reciprocal": (0.1, None, 6, {}), "Relu": (None, None, 6, {}),
    "Round": (None, None, 11, {}), "Sigmoid": (None, None, 6, {}), "Sign": (None, None, 9, {}), "Sin": (None, None, 7, {}),
    "Sinh": (-5, 5, 9, {}), "Softplus": (None, None, 1, {}), "Softsign": (None, None, 1, {}), "Sqrt": (0, None, 6, {}),
    "Tan": (-1.4, 1.4, 7, {}), "Tanh": (None, None, 6, {}), "IsNaN": (None, None, 9, {}), "BitwiseNot": (None, None, 18, {}),
    "IsInf": (None, None, 10, {"detect_negative": (0, 1), "detect_positive": (0, 1)}),
    "Gelu": (None, None, 20, {"approximate": ("none", "tanh")}), "Elu": (None, None, 6, {"alpha": (1.0, 0.3, 2.0)}),
    "Celu": (None, None, 12, {"alpha": (1.0, 0.3, 2.0)}), "Selu": (None, None, 6, {"alpha": (1.6, 0.5), "gamma": (1.05, 2.0)}),
    "LeakyRelu": (None, None, 6, {"alpha": (0.01, 0.2, 1.5)}), "ThresholdedRelu": (None, None, 10, {"alpha": (0.0, 1.0, 0.5)}),
    "HardSigmoid": (None, None, 6, {"alpha": (0.2, 1 / 6), "beta": (0.5, 0.1)}),
    "Shrink": (None, None, 9, {"lambd": (0.5, 1.0), "bias": (0.0, 0.5)}), "Swish": (None, None, 24, {"alpha": (1.0, 0.5)}),
}
BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "And", "Or", "Xor", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual",
          "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu")
SINCE = {"Mod": 10, "GreaterOrEqual": 12, "LessOrEqual": 12, "BitShift": 11, "BitwiseAnd": 18, "BitwiseOr": 18, "BitwiseXor": 18}


def axis(g, rank, negative=None):
    """An axis; counted from the end now and then where the opset allows it for all operators."""
    if rank == 0:
        raise Reject("no axis")
    at = g.rng.randrange(rank)
    return at - rank if (g.opset >= 11 if negative is None else negative) and g.chance(0.4) else at


def axes(g, rank, least=1):
    """Some axes, in order or not."""
    if rank < least:
        raise Reject("too few axes")
    chosen = g.rng.sample(range(rank), g.rng.randint(least, rank))
    if g.chance(0.5):
        chosen.sort()
    return [a - rank if g.opset >= 11 and g.chance(0.3) else a for a in chosen]


def partner(g, shape):
    """Extents that broadcast with `shape`."""
    other = [1 if g.chance(0.3) else e for e in shape]
    if g.chance(0.4) and other:
        other = other[g.rng.randrange(len(other) + 1):]
    elif g.chance(0.1) and len(other) < 4:
        other = [g.extent(3), *other]
    return tuple(other)


def broadcasts(a, b):
    try:
        return np.prod(np.broadcast_shapes(a, b), dtype=int) <= 12000
    except ValueError:
        return False


def unary(op):
    low, high, _, attributes = UNARY[op]

    def rule(g):
        parameter = {"IsNaN": "T1", "IsInf": "T1", "Identity": "V" if g.opset >= 14 else "T"}.get(op, "T")
        x = g.pick(g.dtype(op, parameter), low=low, high=high)
        g.node(op, [x], **{k: g.choice(v) for k, v in attributes.items() if g.chance(0.6)})
    return rule


def binary(op):
    def rule(g):
        attributes = {}
        if op == "BitShift":
            attributes["direction"] = g.choice(("LEFT", "RIGHT"))
        dtype = g.dtype(op)
        if op == "Mod":
            attributes["fmod"] = 1 if dtype.kind == "f" else g.choice((0, 1))
        a = g.pick(dtype, low=0.1 if op == "Pow" and dtype.kind == "f" else None)
        bounds, second = {}, dtype
        if op in ("Div", "Mod"):
            bounds = {"low": 0.25, "high": 4} if dtype.kind == "f" else {"low": 1, "high": 7}
        elif op == "Pow":
            bounds = {"low": 0, "high": 3}
            second = g.dtype(op, "T1") if g.opset >= 12 else dtype
        elif op == "BitShift":
            bounds = {"low": 0, "high": 7}
        elif op == "PRelu":
            b = g.pick(dtype, shape=partner(g, a.shape), low=-2, high=2, reuse=0.2)
            if np.broadcast_shapes(a.shape, b.shape) != a.shape:
                raise Reject("the slope is larger")
            return g.node(op, [a, b])
        if g.chance(0.4):
            b = g.pick(second, where=lambda v: broadcasts(v.shape, a.shape), reuse=0.95, **bounds)
        else:
            b = g.pick(second, shape=partner(g, a.shape), reuse=0.3, **bounds)
        swapped = op in ("Add", "Sub", "Mul", "And", "Equal", "Less", "Greater", "BitwiseAnd") and second == dtype and g.chance(0.4)
        return g.node(op, [b, a] if swapped else [a, b], **attributes)
    return rule


def variadic(op):
    def rule(g):
        first = g.pick(g.dtype(op))
        others = [g.pick(first.dtype, shape=first.shape if g.opset < 8 else partner(g, first.shape), reuse=0.6)
                  for _ in range(g.rng.randint(0, 3))]
        g.node(op, [first, *others])
    return rule


def where(g):
    x = g.pick(g.dtype("Where"))
    y = g.pick(x.dtype, shape=partner(g, x.shape), reuse=0.6)
    g.node("Where", [g.pick(BOOL, shape=partner(g, x.shape), reuse=0.7), x, y])


def clip(g):
    x = g.pick(g.dtype("Clip"))
    low, high = sorted((g.choice((-2, -1, 0, 1)), g.choice((0, 1, 2, 6))))
    if g.opset < 11:
        return g.node("Clip", [x], min=float(low) if g.chance(0.7) else None, max=float(high) if g.chance(0.7) else None)
    low = max(low, 0) if x.dtype.kind == "u" else low
    bounds = [g.const(np.array(b, x.dtype)) if g.chance(0.8) else None for b in (low, high)]
    return g.node("Clip", [x, *bounds])


def cast_to(g, x, dtype):
    """Whether casting is defined for all elements."""
    if dtype.kind in "iu" and x.array.size:
        if x.dtype.kind == "f" and not np.isfinite(x.array).all():
            raise Reject("no integer")
        info = np.iinfo(dtype)
        if x.dtype.kind != "b" and (float(np.min(x.array)) < info.min or float(np.max(x.array)) > info.max):
            raise Reject("out of range")
    return dtype


def cast(g):
    x = g.pick(g.dtype("Cast", "T1"))
    dtype = cast_to(g, x, g.dtype("Cast", "T2"))
    g.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(dtype))


def cast_like(g):
    x = g.pick(g.dtype("CastLike", "T1"))
    like = g.pick(g.dtype("CastLike", "T2"))
    cast_to(g, x, like.dtype)
    g.node("CastLike", [x, like])


def dropout(g):
    x = g.pick(g.dtype("Dropout"))
    if g.opset < 12:
        return g.node("Dropout", [x], ratio=0.3)
    inputs = [x, g.put(np.array(0.4, np.float32), "constant")] if g.chance(0.5) else [x]
    return g.node("Dropout", inputs, outputs=g.choice((1, 2)))


REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
              "ReduceLogSumExp", "ReduceSumSquare")


def reduction(op):
    def rule(g):
        x = g.pick(g.dtype(op), low=0.1 if op == "ReduceLogSum" else None, least=0 if g.opset >= 13 else 1)
        chosen = axes(g, x.rank, least=min(1, x.rank)) if g.chance(0.8) else None
        keep = g.choice((None, 0, 1))
        if g.opset < (13 if op == "ReduceSum" else 18):
            return g.node(op, [x], axes=chosen, keepdims=keep)
        noop = g.choice((None, None, 0, 1))
        return g.node(op, [x, g.const(chosen, np.int64) if chosen is not None else None], keepdims=keep, noop_with_empty_axes=noop)
    return rule


def arg(op):
    def rule(g):
        x = g.pick(g.dtype(op), least=1, empty=0)
        last = g.choice((None, 0, 1)) if g.opset >= 12 else None
        g.node(op, [x], axis=axis(g, x.rank), keepdims=g.choice((None, 0, 1)), select_last_index=last)
    return rule


def along(op):
    """Softmax and its like: one operand, one axis."""
    def rule(g):
        x = g.pick(g.dtype(op), least=1 if g.opset >= 13 else 2)
        g.node(op, [x], axis=axis(g, x.rank) if g.chance(0.7) else None)
    return rule


def lp_normalization(g):
    x = g.pick(g.dtype("LpNormalization"), least=1)
    g.node("LpNormalization", [x], axis=axis(g, x.rank), p=g.choice((None, 1, 2)))


def cumulative(op):
    def rule(g):
        x = g.pick(g.dtype(op), least=1, low=-1.5 if op == "CumProd" else None, high=1.5 if op == "CumProd" else None)
        at = g.const(np.array(axis(g, x.rank), g.choice((np.int64, np.int32))))
        g.node(op, [x, at], exclusive=g.choice((None, 0, 1)), reverse=g.choice((None, 0, 1)))
    return rule


def top_k(g):
    x = g.pick(g.dtype("TopK"), least=1, empty=0)
    at = axis(g, x.rank)
    k = g.rng.randint(0 if g.chance(0.1) else 1, x.shape[at])
    if g.opset < 10:
        return g.node("TopK", [x], outputs=2, axis=at, k=k)
    largest = g.choice((None, 0, 1)) if g.opset >= 11 else None
    return g.node("TopK", [x, g.const([k], np.int64)], outputs=2, axis=at, largest=largest)


def mat_mul(g):
    dtype = g.dtype("MatMul")
    a = g.pick(dtype, least=1)
    k = a.shape[-1]
    n = g.extent()
    form = g.rng.randrange(4)
    if form == 0:
        shape = (k,)
    elif form == 1:
        shape = (k, n)
    else:
        shape = (*partner(g, a.shape[:-2]), k, n)
    b = g.pick(dtype, shape=shape, reuse=0.4)
    g.node("MatMul", [a, b])


def gemm(g):
    dtype = g.dtype("Gemm")
    a = g.pick(dtype, rank=2)
    ta, tb = g.choice((None, 0, 1)), g.choice((None, 0, 1))
    k, m = (a.shape[0], a.shape[1]) if ta else (a.shape[1], a.shape[0])
    n = g.extent()
    b = g.pick(dtype, shape=(n, k) if tb else (k, n), reuse=0.3)
    c = None
    if g.opset < 11 or g.chance(0.7):
        c = g.pick(dtype, shape=g.choice([(m, n), (n,), (1, n), (m, 1), (1, 1), ()]), reuse=0.2)
    integer = dtype.kind != "f"
    alpha, beta = (None, None) if integer else (g.choice((None, 0.5, 2.0)), g.choice((None, 0.5, 0.0, -1.0)))
    g.node("Gemm", [a, b, c], transA=ta, transB=tb, alpha=alpha, beta=beta)


EQUATIONS = ("ij,jk->ik", "bij,bjk->bik", "ij->ji", "ij->i", "ij->", "i,i->", "i,j->ij", "bhid,bhjd->bhij", "bhij,bhjd->bhid", "ii->i",
             "ij,ij->i", "...ij,...jk->...ik", "ij,jk", "ijk,k->ij", "abc,cd->abd", "ij,kj->ik", "abc->cb", "bij,jk,kl->bil", "ii",
             "bn,anm,bm->ba", " i j , j k -> k i ")


def einsum(g):
    equation = g.choice(EQUATIONS)
    dtype = g.dtype("Einsum", among=(F32, F64))
    extents = {}
    operands = []
    for term in equation.split("->")[0].split(","):
        term = term.strip()
        shape = [2, 3][:g.rng.randint(0, 2)] if "..." in term and not operands else []
        if "..." in term and operands:
            shape = list(operands[0].shape[:-2])
        shape += [extents.setdefault(c, g.extent(9)) for c in term.replace("...", "") if c != " "]
        operands.append(g.pick(dtype, shape=tuple(shape), reuse=0.5))
    g.node("Einsum", operands, equation=equation)


def det(g):
    n = g.extent(5)
    g.node("Det", [g.pick(g.dtype("Det"), shape=(*g.shape(g.rng.randint(0, 2), 4), n, n), low=-1.5, high=1.5)])


def layer_normalization(g):
    x = g.pick(g.dtype("LayerNormalization"), least=1)
    at = axis(g, x.rank)
    shape = x.shape[at:]
    scale = g.pick(x.dtype, shape=shape, reuse=0.2)
    bias = g.pick(x.dtype, shape=shape, reuse=0.2) if g.chance(0.7) else None
    outputs = g.choice(("o", "o", "ooo", "o.o")) if x.dtype == F32 else "o"
    g.node("LayerNormalization", [x, scale, bias], outputs=outputs, axis=at, epsilon=g.choice((None, 1e-5, 1e-3)))


def rms_normalization(g):
    x = g.pick(g.dtype("RMSNormalization"), least=1)
    at = axis(g, x.rank)
    g.node("RMSNormalization", [x, g.pick(x.dtype, shape=x.shape[at:], reuse=0.2)], axis=at, epsilon=g.choice((None, 1e-3)))


def simple(op, least=0, where_=None, low=None, high=None, parameter="T", **draw):
    """An operator of one operand and attributes that are drawn one by one."""
    def rule(g):
        x = g.pick(g.dtype(op, parameter), least=least, low=low, high=high, where=where_)
        g.node(op, [x], **{k: g.choice(v) for k, v in draw.items()})
    return rule


def window(op):
    def rule(g):
        size = g.const(np.array(g.extent(), g.choice((np.int64, np.int32))))
        g.shifted(op, [size], periodic=g.choice((None, 0, 1)))
    return rule


def random(op):
    """Random numbers have no expected value: what the graph sees of them is their shape."""
    def rule(g):
        drawn, shape = g.name(), g.name()
        like = op.endswith("Like")
        inputs = [g.pick(F32).name] if like else []
        attributes = {} if like else {"shape": [g.extent(5), g.extent(5)]}
        g.group([g.proto(op, inputs, [drawn], seed=3.0, dtype=1, **attributes), g.proto("Shape", [drawn], [shape])], [shape])
    return rule


RULES = [(op, 2, UNARY[op][2], unary(op)) for op in UNARY]
RULES += [(op, 3, SINCE.get(op, 7), binary(op)) for op in BINARY]
RULES += [(op, 2, 8, variadic(op)) for op in ("Sum", "Max", "Min", "Mean")]
RULES += [(op, 2, 7, reduction(op)) for op in REDUCTIONS]
RULES += [(op, 2, 7, arg(op)) for op in ("ArgMax", "ArgMin")]
RULES += [(op, 3, 7, along(op)) for op in ("Softmax", "LogSoftmax")] + [("Hardmax", 1, 7, along("Hardmax"))]
RULES += [
    ("Where", 3, 9, where), ("Clip", 3, 7, clip), ("Cast", 3, 9, cast), ("CastLike", 1, 15, cast_like), ("Dropout", 1, 7, dropout),
    ("LpNormalization", 1, 7, lp_normalization), ("CumSum", 2, 11, cumulative("CumSum")), ("CumProd", 1, 26, cumulative("CumProd")),
    ("TopK", 3, 7, top_k), ("MatMul", 8, 7, mat_mul), ("Gemm", 6, 7, gemm), ("Einsum", 3, 12, einsum), ("Det", 1, 11, det),
    ("LayerNormalization", 4, 17, layer_normalization), ("RMSNormalization", 2, 23, rms_normalization),
    ("MeanVarianceNormalization", 1, 9, simple("MeanVarianceNormalization", least=4, where_=lambda v: v.rank == 4)),
]
RULES += [(op, 1, 17, window(op)) for op in ("BlackmanWindow", "HannWindow", "HammingWindow")]
RULES += [(op, 1, 7, random(op)) for op in ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")]

#!/usr/bin/env python3
"""Makes the small models of testdata/models, each in the layout of the ONNX backend tests.

NAME/model.onnx and NAME/test_data_set_K/{input_I,output_I}.pb; the expected outputs come from onnxruntime. Every weight and
input is drawn from its own seeded stream, so a model keeps its bytes when another one changes. A model with free dims has a
second data set with other sizes. Needs numpy, onnx and onnxruntime (scripts/setup.sh).
"""

import argparse
import hashlib
import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
# The IR version each opset shipped with, so that old models look as their exporters wrote them.
ML_OPSET = 3
IR_OF_OPSET = {7: 3, 8: 3, 9: 4, 13: 7, 17: 8, 21: 10}


def stream(*key):
    """A generator that depends on nothing but `key`."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


class Builder:
    """Collects the nodes and weights of one graph; every method returns the name of the value it makes."""

    def __init__(self, name, opset):
        self.name, self.opset = name, opset
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def input(self, name, dtype, shape):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, dtype, shape):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def const(self, name, values, dtype=None):
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def weight(self, name, *shape, scale=None):
        """Normal values, by default scaled to keep the variance of what they are multiplied with."""
        if scale is None:
            scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        values = stream(self.name, name).standard_normal(shape) * scale
        return self.const(name, values, np.float32)

    def op(self, kind, inputs, outputs, **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0].replace(".", "/"), **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def graph(self):
        return helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)

    def model(self):
        ir = IR_OF_OPSET[self.opset]
        # Before IR 4 an initializer had to be listed among the inputs too.
        if ir < 4:
            known = {i.name for i in self.inputs}
            for w in self.weights:
                if w.name not in known:
                    self.inputs.append(helper.make_tensor_value_info(w.name, w.data_type, w.dims))
        imports = {"": self.opset} | {node.domain: ML_OPSET for node in self.nodes if node.domain}
        imports = [helper.make_opsetid(*entry) for entry in imports.items()]
        return helper.make_model(self.graph(), opset_imports=imports, ir_version=ir,
                                 producer_name="make_testdata")


def mlp():
    """Gemm, ReLU, Gemm, Softmax over a free batch."""
    b = Builder("mlp", 17)
    x = b.input("x", F32, ["N", 16])
    h = b.op("Gemm", [x, b.weight("fc1.weight", 16, 32), b.weight("fc1.bias", 32, scale=0.1)], "fc1.out")
    h = b.op("Relu", [h], "relu1.out")
    h = b.op("Gemm", [h, b.weight("fc2.weight", 10, 32), b.weight("fc2.bias", 10, scale=0.1)], "fc2.out", transB=1, alpha=0.5)
    b.op("Softmax", [h], "probs", axis=-1)
    b.output("probs", F32, ["N", 10])
    return b.model(), [{"x": (1, 16)}, {"x": (5, 16)}]


def batch_norm(b, x, name, channels, **attributes):
    rng = stream(b.name, name)
    stats = [
        b.const(f"{name}.scale", rng.uniform(0.5, 1.5, channels), np.float32),
        b.const(f"{name}.bias", rng.normal(0, 0.1, channels), np.float32),
        b.const(f"{name}.mean", rng.normal(0, 0.1, channels), np.float32),
        b.const(f"{name}.var", rng.uniform(0.5, 1.5, channels), np.float32),
    ]
    return b.op("BatchNormalization", [x, *stats], f"{name}.out", **attributes)


def residual_block(b, x, opset_bn=None):
    """Conv+BN+ReLU, Conv+BN, residual add, ReLU on 8 channels."""
    bn = opset_bn or {}
    y = b.op("Conv", [x, b.weight("conv1.weight", 8, 8, 3, 3)], "conv1.out", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    y = b.op("Relu", [batch_norm(b, y, "bn1", 8, **bn)], "relu1.out")
    y = b.op("Conv", [y, b.weight("conv2.weight", 8, 8, 3, 3)], "conv2.out", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    y = b.op("Add", [batch_norm(b, y, "bn2", 8, **bn), x], "sum.out")
    return b.op("Relu", [y], "relu2.out")


def convnet():
    """A residual conv net with batch norm, depthwise and strided convs, max and average pooling."""
    b = Builder("convnet", 17)
    x = b.input("image", F32, ["N", 3, 20, 20])
    y = b.op("Conv", [x, b.weight("stem.weight", 8, 3, 5, 5), b.weight("stem.bias", 8, scale=0.1)], "stem.out",
             kernel_shape=[5, 5], strides=[2, 2], auto_pad="SAME_UPPER")
    y = residual_block(b, y)
    y = b.op("MaxPool", [y], "pool.out", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = b.op("Conv", [y, b.weight("dw.weight", 8, 1, 3, 3), b.weight("dw.bias", 8, scale=0.1)], "dw.out", group=8,
             kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = b.op("Clip", [y, b.const("zero", 0, np.float32), b.const("six", 6, np.float32)], "relu6.out")
    y = b.op("Conv", [y, b.weight("pw.weight", 20, 8, 1, 1)], "pw.out")
    y = b.op("Mul", [y, b.op("Sigmoid", [y], "gate.out")], "silu.out")
    y = b.op("Flatten", [b.op("GlobalAveragePool", [y], "gap.out")], "flat.out")
    b.op("Gemm", [y, b.weight("fc.weight", 20, 7), b.weight("fc.bias", 7, scale=0.1)], "logits")
    b.output("logits", F32, ["N", 7])
    return b.model(), [{"image": (1, 3, 20, 20)}, {"image": (3, 3, 20, 20)}]


def dense():
    """Convolutions of 3 x 3 between layers of whole channel blocks, where there is a choice of algorithms."""
    b = Builder("dense", 17)
    x = b.input("image", F32, [1, 3, 18, 22])
    for i, (ic, oc) in enumerate([(3, 16), (16, 32), (32, 16)]):
        weight = b.weight(f"conv{i}.weight", oc, ic, 3, 3)
        x = b.op("Conv", [x, weight, b.weight(f"conv{i}.bias", oc, scale=0.1)], f"conv{i}.out", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        x = b.op("Relu", [x], f"relu{i}.out")
    b.op("GlobalMaxPool", [x], "features")
    b.output("features", F32, [1, 16, 1, 1])
    return b.model(), [{"image": (1, 3, 18, 22)}]


def transformer():
    """Two pre-norm encoder blocks with masked attention and erf-GELU; batch and sequence are free."""
    hidden, heads, width = 32, 4, 8
    b = Builder("transformer", 17)
    ids = b.input("ids", I64, ["batch", "seq"])
    mask = b.input("mask", I64, ["batch", "seq"])
    for name, shape in (("heads.shape", [0, 0, heads, width]), ("merge.shape", [0, 0, hidden]), ("axes12", [1, 2])):
        b.const(name, shape, np.int64)
    for name, value in (("sqrt.width", np.sqrt(width)), ("one", 1), ("minus.large", -10000), ("sqrt2", np.sqrt(2)), ("half", 0.5)):
        b.const(name, value, np.float32)

    def norm(x, name):
        scale = b.const(f"{name}.weight", stream("transformer", name).uniform(0.5, 1.5, hidden), np.float32)
        return b.op("LayerNormalization", [x, scale, b.weight(f"{name}.bias", hidden, scale=0.1)], f"{name}.out", epsilon=1e-5)

    def linear(x, name, rows, columns):
        y = b.op("MatMul", [x, b.weight(f"{name}.weight", rows, columns)], f"{name}.matmul")
        return b.op("Add", [y, b.weight(f"{name}.bias", columns, scale=0.1)], f"{name}.out")

    def block(x, masked, at):
        h = norm(x, f"{at}.norm1")
        q, k, v = (b.op("Reshape", [linear(h, f"{at}.{n}", hidden, hidden), "heads.shape"], f"{at}.{n}.heads")
                   for n in ("query", "key", "value"))
        q = b.op("Transpose", [q], f"{at}.query.t", perm=[0, 2, 1, 3])
        k = b.op("Transpose", [k], f"{at}.key.t", perm=[0, 2, 3, 1])
        v = b.op("Transpose", [v], f"{at}.value.t", perm=[0, 2, 1, 3])
        scores = b.op("Div", [b.op("MatMul", [q, k], f"{at}.scores.raw"), "sqrt.width"], f"{at}.scores")
        weights = b.op("Softmax", [b.op("Add", [scores, masked], f"{at}.scores.masked")], f"{at}.attention.weights", axis=-1)
        y = b.op("Transpose", [b.op("MatMul", [weights, v], f"{at}.context")], f"{at}.context.t", perm=[0, 2, 1, 3])
        y = b.op("Reshape", [y, "merge.shape"], f"{at}.context.merged")
        x = b.op("Add", [x, linear(y, f"{at}.project", hidden, hidden)], f"{at}.residual")
        h = linear(norm(x, f"{at}.norm2"), f"{at}.up", hidden, 64)
        erf = b.op("Erf", [b.op("Div", [h, "sqrt2"], f"{at}.gelu.scaled")], f"{at}.gelu.erf")
        h = b.op("Mul", [h, b.op("Add", [erf, "one"], f"{at}.gelu.plus1")], f"{at}.gelu.twice")
        h = b.op("Mul", [h, "half"], f"{at}.gelu.out")
        return b.op("Add", [x, linear(h, f"{at}.down", 64, hidden)], f"{at}.hidden")

    x = b.op("Gather", [b.weight("embedding", 50, hidden, scale=1.0), ids], "embedded")
    allowed = b.op("Unsqueeze", [b.op("Cast", [mask], "mask.f32", to=F32), "axes12"], "mask.4d")
    masked = b.op("Mul", [b.op("Sub", ["one", allowed], "mask.inv"), "minus.large"], "mask.bias")
    x = block(block(x, masked, "0"), masked, "1")
    b.output(x, F32, ["batch", "seq", hidden])
    return b.model(), [{"ids": (1, 6), "mask": (1, 6)}, {"ids": (3, 11), "mask": (3, 11)}]


def lstm():
    """A bidirectional LSTM with an initial state, and a GRU on top of it."""
    b = Builder("lstm", 17)
    x = b.input("x", F32, ["seq", "batch", 6])
    h0 = b.input("h0", F32, [2, "batch", 5])
    y, yh, _ = b.op("LSTM", [x, b.weight("lstm.w", 2, 20, 6), b.weight("lstm.r", 2, 20, 5), b.weight("lstm.b", 2, 40, scale=0.1),
                             "", h0, h0], ["lstm.y", "last", "lstm.c"], hidden_size=5, direction="bidirectional")
    y = b.op("Transpose", [y], "lstm.t", perm=[0, 2, 1, 3])
    y = b.op("Reshape", [y, b.const("shape", [0, 0, 10], np.int64)], "lstm.merged")
    y, _ = b.op("GRU", [y, b.weight("gru.w", 1, 12, 10), b.weight("gru.r", 1, 12, 4), b.weight("gru.b", 1, 24, scale=0.1)],
                ["gru.y", "gru.h"], hidden_size=4, linear_before_reset=1)
    b.op("Squeeze", [y, b.const("axis1", [1], np.int64)], "out")
    b.output("out", F32, ["seq", "batch", 4])
    b.output(yh, F32, [2, "batch", 5])
    return b.model(), [{"x": (4, 1, 6), "h0": (2, 1, 5)}, {"x": (9, 3, 6), "h0": (2, 3, 5)}]


def control_flow():
    """If on a data-dependent condition, a Loop that stops early and scans, and a Scan; all capture outer values."""
    b = Builder("control_flow", 17)
    x = b.input("x", F32, ["N", 4])
    trips = b.input("trips", I64, [])
    w = b.weight("w", 4, 4)

    def branch(name, **attributes):
        g = Builder(name, 17)
        g.op("Gemm", [x, w], f"{name}.out", **attributes)
        g.output(f"{name}.out", F32, ["N", 4])
        return g.graph()

    total = b.op("ReduceSum", [x], "total", keepdims=0)
    above = b.op("Greater", [total, b.const("threshold", -3, np.float32)], "above")
    y = b.op("If", [above], "chosen", then_branch=branch("then"), else_branch=branch("else", transB=1, alpha=0.5))

    body = Builder("body", 17)
    body.input("i", I64, [])
    body.input("go", BOOL, [])
    state = body.input("state", F32, ["N", 4])
    scaled = body.op("Mul", [state, body.const("grow", 1.5, np.float32)], "scaled")
    norm = body.op("ReduceMax", [body.op("Abs", [body.op("Add", [scaled, y], "next")], "abs")], "norm", keepdims=0)
    body.op("Less", [norm, body.const("bound", 40, np.float32)], "go.on")
    body.output("go.on", BOOL, [])
    body.output("next", F32, ["N", 4])
    body.output("norm", F32, [])
    go = b.const("go.initial", True, np.bool_)
    y, norms = b.op("Loop", [trips, go, y], ["looped", "norms"], body=body.graph())

    step = Builder("step", 17)
    carry, row = step.input("carry", F32, [4]), step.input("row", F32, [4])
    scaled = step.op("Mul", [row, step.const("shrink", 0.05, np.float32)], "shrunk")
    step.op("Identity", [step.op("Tanh", [step.op("Add", [carry, scaled], "added")], "carried")], "emitted")
    step.output("carried", F32, [4])
    step.output("emitted", F32, [4])
    zeros = b.const("zeros", np.zeros(4), np.float32)
    b.op("Scan", [zeros, y], ["carry.last", "scanned"], body=step.graph(), num_scan_inputs=1)
    b.output("scanned", F32, ["N", 4])
    b.output(norms, F32, ["steps"])
    return b.model(), [{"x": (3, 4), "trips": 4}, {"x": (2, 4), "trips": 50}, {"x": (5, 4), "trips": 0}]


def quantized():
    """Two convs and a Gemm between QuantizeLinear and DequantizeLinear pairs, as quantisation tools write them."""
    b = Builder("quantized", 13)
    x = b.input("image", F32, ["N", 4, 9, 9])

    def requantize(value, scale, zero):
        s, z = b.const(f"{value}.scale", scale, np.float32), b.const(f"{value}.zero", zero, np.uint8)
        q = b.op("QuantizeLinear", [value, s, z], f"{value}.q")
        return b.op("DequantizeLinear", [q, s, z], f"{value}.dq")

    def weights(name, *shape):
        values = stream("quantized", name).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        scale = np.abs(values).reshape(shape[0], -1).max(axis=1) / 127
        rounded = np.round(values / scale.reshape(-1, *[1] * (len(shape) - 1)))
        s = b.const(f"{name}.scale", scale, np.float32)
        z = b.const(f"{name}.zero", np.zeros(shape[0]), np.int8)
        return b.op("DequantizeLinear", [b.const(f"{name}.q", rounded, np.int8), s, z], f"{name}.dq", axis=0), scale

    def bias(name, x_scale, w_scale):
        rounded = np.round(stream("quantized", name).normal(0, 0.2, len(w_scale)) / (x_scale * w_scale))
        s = b.const(f"{name}.scale", x_scale * w_scale, np.float32)
        z = b.const(f"{name}.zero", np.zeros(len(w_scale)), np.int32)
        return b.op("DequantizeLinear", [b.const(f"{name}.q", rounded, np.int32), s, z], f"{name}.dq", axis=0)

    y = requantize(x, 0.03, 121)
    w, scale = weights("conv1.weight", 8, 4, 3, 3)
    y = b.op("Conv", [y, w, bias("conv1.bias", 0.03, scale)], "conv1.out", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    y = requantize(b.op("Relu", [y], "relu1.out"), 0.015, 0)
    w, scale = weights("conv2.weight", 8, 8, 1, 1)
    y = b.op("Conv", [y, w, bias("conv2.bias", 0.015, scale)], "conv2.out", kernel_shape=[1, 1])
    y = requantize(b.op("Add", [requantize(y, 0.02, 128), "relu1.out.dq"], "sum.out"), 0.03, 96)
    y = requantize(b.op("Flatten", [b.op("GlobalAveragePool", [y], "gap.out")], "flat.out"), 0.01, 64)
    w, scale = weights("fc.weight", 6, 8)
    y = b.op("Gemm", [y, w, bias("fc.bias", 0.01, scale)], "fc.out", transB=1)
    y = requantize(y, 0.012, 128)
    b.op("Identity", [y], "logits")
    b.output("logits", F32, ["N", 6])
    return b.model(), [{"image": (1, 4, 9, 9)}, {"image": (4, 4, 9, 9)}]


def opset7():
    """Opset 7: weights listed as inputs, BatchNormalization with spatial, Upsample with a scales attribute."""
    b = Builder("opset7", 7)
    x = b.input("x", F32, [1, 8, 6, 6])
    y = residual_block(b, x, {"spatial": 1, "epsilon": 1e-3})
    y = b.op("Upsample", [y], "up.out", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
    y = b.op("AveragePool", [y], "pool.out", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = b.op("Dropout", [y], "drop.out", ratio=0.4)
    y = b.op("Reshape", [y, b.const("shape", [1, -1], np.int64)], "flat.out")
    y = b.op("Gemm", [y, b.weight("fc.weight", 288, 5), b.weight("fc.bias", 5, scale=0.1)], "fc.out")
    b.op("Softmax", [y], "probs", axis=1)
    b.output("probs", F32, [1, 5])
    return b.model(), [{"x": (1, 8, 6, 6)}]


def opset8():
    """Opset 8: Softmax that flattens to two dims, Clip and Pad and Slice with attributes, Expand, Sum, Max."""
    b = Builder("opset8", 8)
    x = b.input("x", F32, [2, 3, 4])
    y = b.op("Clip", [x], "clip.out", min=-0.75, max=0.9)
    y = b.op("Pad", [y], "pad.out", pads=[0, 1, 0, 0, 0, 2], value=0.25)
    y = b.op("Slice", [y], "slice.out", axes=[1, 2], starts=[1, -5], ends=[4, 100])
    z = b.op("Expand", [b.weight("row", 5, scale=1.0), b.const("expand.shape", [2, 3, 5], np.int64)], "expand.out")
    y = b.op("Sum", [y, z, b.weight("bias", 1, 1, 5, scale=0.3)], "sum.out")
    y = b.op("Max", [y, b.op("Neg", [y], "neg.out")], "max.out")
    y = b.op("Unsqueeze", [y], "unsqueeze.out", axes=[0])
    y = b.op("Squeeze", [y], "squeeze.out", axes=[0])
    b.op("Softmax", [y], "probs", axis=1)
    values, _ = b.op("TopK", [y], ["top", "top.index"], axis=-1, k=2)
    b.output("probs", F32, [2, 3, 5])
    b.output(values, F32, [2, 3, 2])
    b.output("top.index", I64, [2, 3, 2])
    return b.model(), [{"x": (2, 3, 4)}]


def opset9():
    """Opset 9: Upsample with scales as an input, ConstantOfShape and shape arithmetic, OneHot, Where, NonZero."""
    b = Builder("opset9", 9)
    x = b.input("x", F32, ["N", 2, 3, 4])
    y = b.op("Upsample", [x, b.const("scales", [1, 1, 2, 3], np.float32)], "up.out", mode="nearest")
    rows = b.op("Gather", [b.op("Shape", [y], "shape"), b.const("zero", [0], np.int64)], "rows")
    target = b.op("Concat", [rows, b.const("rest", [-1], np.int64)], "target", axis=0)
    y = b.op("Reshape", [y, target], "flat.out")
    fill = b.op("ConstantOfShape", [b.op("Shape", [y], "flat.shape")], "fill",
                value=numpy_helper.from_array(np.array([0.1], np.float32)))
    mask = b.op("Greater", [y, fill], "mask")
    y = b.op("Where", [mask, y, b.op("Mul", [y, b.const("leak", 0.2, np.float32)], "leaky")], "where.out")
    b.op("MatMul", [y, b.weight("w", 144, 6)], "scores")
    best = b.op("ArgMax", ["scores"], "best", axis=1, keepdims=0)
    b.op("OneHot", [best, b.const("depth", [6], np.int64), b.const("off.on", [0, 1], np.float32)], "onehot")
    b.op("NonZero", ["onehot"], "where.one")
    b.output("scores", F32, ["N", 6])
    b.output("best", I64, ["N"])
    b.output("where.one", I64, [2, "hits"])
    return b.model(), [{"x": (1, 2, 3, 4)}, {"x": (4, 2, 3, 4)}]


def external_data():
    """Weights in two files beside the model, one of them in a sub folder and both with offsets."""
    b = Builder("external_data", 17)
    x = b.input("x", F32, ["N", 24])
    h = b.op("MatMul", [x, b.weight("fc1.weight", 24, 48)], "fc1.out")
    h = b.op("Elu", [b.op("Add", [h, b.weight("fc1.bias", 48, scale=0.1)], "fc1.biased")], "act.out")
    b.op("MatMul", [h, b.weight("fc2.weight", 48, 12)], "out")
    b.output("out", F32, ["N", 12])
    return b.model(), [{"x": (2, 24)}, {"x": (7, 24)}]


def classifier():
    """A forest over scaled columns, with probabilities as a list of maps, as exporters of scikit-learn write it."""
    b = Builder("classifier", 17)
    x = b.input("x", F32, ["N", 4])
    columns = {name: stream("classifier", name).normal(1, 0.3, 4).astype(np.float32).tolist() for name in ("offset", "scale")}
    x = b.op("Scaler", [x], "scaled", domain="ai.onnx.ml", **columns)
    rng, nodes, votes = stream("classifier", "trees"), [], []

    def grow(tree, depth):
        """Adds a node with all that is below it; its number within the tree."""
        at = sum(node[0] == tree for node in nodes)
        entry = [tree, at, "LEAF", 0, 0.0, 0, 0]
        nodes.append(entry)
        if depth == 0:
            votes.extend((tree, at, c, float(p)) for c, p in enumerate(rng.dirichlet([0.5] * 3) / 5))
        else:
            entry[2:5] = ["BRANCH_LEQ", int(rng.integers(4)), float(rng.normal())]
            entry[5], entry[6] = grow(tree, depth - 1), grow(tree, depth - 1)
        return at

    for tree in range(5):
        grow(tree, 3)
    lists = dict(zip(("nodes_treeids", "nodes_nodeids", "nodes_modes", "nodes_featureids", "nodes_values", "nodes_truenodeids",
                      "nodes_falsenodeids"), map(list, zip(*nodes))))
    lists |= dict(zip(("class_treeids", "class_nodeids", "class_ids", "class_weights"), map(list, zip(*votes))))
    label, scores = b.op("TreeEnsembleClassifier", [x], ["label", "scores"], domain="ai.onnx.ml", classlabels_int64s=[3, 1, 2], **lists)
    b.op("ZipMap", [scores], "probabilities", domain="ai.onnx.ml", classlabels_int64s=[3, 1, 2])
    b.output(label, I64, ["N"])
    maps = helper.make_map_type_proto(I64, helper.make_tensor_type_proto(F32, []))
    b.outputs.append(helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps)))
    return b.model(), [{"x": (1, 4)}, {"x": (6, 4)}]


MODELS = [mlp, convnet, dense, transformer, lstm, control_flow, quantized, opset7, opset8, opset9, external_data, classifier]


def value_message(name, value):
    """A tensor, or a list of maps from integers to floats, as the message that test data has for it."""
    if not isinstance(value, list):
        return numpy_helper.from_array(np.asarray(value), name)
    message = onnx.SequenceProto(name=name, elem_type=onnx.SequenceProto.MAP)
    for pairs in value:
        scalars = [numpy_helper.from_array(np.array(v, np.float32)) for v in pairs.values()]
        values = onnx.SequenceProto(elem_type=onnx.SequenceProto.TENSOR, tensor_values=scalars)
        message.map_values.append(onnx.MapProto(key_type=I64, keys=list(pairs), values=values))
    return message


def move_weights_out(model, folder):
    """Puts the weights of `model` into weights.bin and parts/more.bin."""
    (folder / "parts").mkdir()
    blobs = {"weights.bin": bytearray(64), "parts/more.bin": bytearray()}
    for index, tensor in enumerate(model.graph.initializer):
        location = list(blobs)[index % 2]
        blob, data = blobs[location], tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": len(blob), "length": len(data)}.items():
            tensor.external_data.add(key=key, value=str(value))
        blob += data
    for location, blob in blobs.items():
        (folder / location).write_bytes(blob)


def draw_input(model, info, spec, data_set):
    """The value of one input: `spec` is a shape, or the value itself."""
    if isinstance(spec, int):
        return np.array(spec, np.int64)
    rng = stream(model.graph.name, "input", info.name, data_set)
    if info.name == "mask":
        lengths = np.linspace(spec[1], 2, spec[0]).astype(np.int64)
        return (np.arange(spec[1]) < lengths[:, None]).astype(np.int64)
    if info.type.tensor_type.elem_type == I64:
        return rng.integers(0, 50, spec)
    return rng.standard_normal(spec).astype(np.float32)


def write(build, out, report=print):
    """Makes one model with its data sets in `out`/NAME."""
    model, data_sets = build()
    folder = out / build.__name__
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if build is external_data:
        move_weights_out(model, folder)
    onnx.save(model, folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    options = onnxruntime.SessionOptions()
    # The expected outputs are those of the graph as written, not of one with fused or reordered arithmetic.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    weights = {w.name for w in model.graph.initializer}
    for number, shapes in enumerate(data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        wanted = [i for i in model.graph.input if i.name not in weights]
        feeds = {i.name: draw_input(model, i, shapes[i.name], number) for i in wanted}
        results = zip([o.name for o in model.graph.output], session.run(None, feeds))
        for kind, values in (("input", feeds.items()), ("output", results)):
            for index, (name, value) in enumerate(values):
                (data / f"{kind}_{index}.pb").write_bytes(value_message(name, value).SerializeToString())
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    report(f"{build.__name__:14} {len(model.graph.node):3} nodes  opset {model.opset_import[0].version:2}  {size / 1024:6.1f} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"models to make (default: all of {', '.join(m.__name__ for m in MODELS)})")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "testdata/models", help="folder to write to")
    args = parser.parse_args()
    unknown = set(args.names) - {m.__name__ for m in MODELS}
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    for build in MODELS:
        if not args.names or build.__name__ in args.names:
            write(build, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

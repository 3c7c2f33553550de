"""Differences that are not planc's: where an oracle is wrong or the specification leaves the result open.

Each row names an operator, says narrowly when, and gives the evidence. The generator makes no such node; where other extents
bring one about in the second run, the difference counts as explained.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx

import oracle


@dataclasses.dataclass(frozen=True)
class Known:
    """`when(node, opset, operands)`: whether the row is about this node; operands are arrays, None where one is left out."""

    ops: str
    when: Callable
    evidence: str


def attribute(node, name, default=None):
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def is_f64(node, opset, operands):
    return operands[0].dtype == np.float64


def empty(node, opset, operands):
    return operands[0].size == 0


def other_extents(node, opset, operands):
    """Whether tensors that are joined differ in more than the extent along the axis."""
    at = attribute(node, "axis", 1) % operands[0].ndim
    return len({(*o.shape[:at], *o.shape[at + 1:]) for o in operands if o is not None}) > 1


def constant_planes(node, opset, operands):
    """Whether the elements of some image are equal but for rounding."""
    x = operands[0].astype(np.float64).reshape(*operands[0].shape[:2], -1)
    return x.size > 0 and bool(np.any(np.std(x, -1) < 1e-4 * (1 + np.abs(np.mean(x, -1)))))


def negative_padding(node, opset, operands):
    """Whether windows of SAME leave gaps, so that the padding that makes the extents would be negative."""
    if attribute(node, "auto_pad", b"NOTSET") not in (b"SAME_UPPER", b"SAME_LOWER"):
        return False
    kernel = attribute(node, "kernel_shape") or operands[1].shape[2:]
    strides = attribute(node, "strides") or [1] * len(kernel)
    return any(s > k for s, k in zip(strides, kernel))


def no_window(node, opset, operands):
    """Whether a window is larger than the padded extent."""
    kernel = attribute(node, "kernel_shape")
    pads = attribute(node, "pads") or [0] * 2 * len(kernel)
    dilations = attribute(node, "dilations") or [1] * len(kernel)
    extents = operands[0].shape[2:]
    return any((k - 1) * d + 1 > e + a + b for k, d, e, a, b in zip(kernel, dilations, extents, pads, pads[len(kernel):]))


def fractional_corners(node, opset, operands):
    """align_corners with scales, given or from the aspect ratio to keep, that give no whole extents."""
    if attribute(node, "coordinate_transformation_mode") != b"align_corners":
        return False
    if attribute(node, "keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return True
    if len(operands) < 3 or operands[2] is None:
        return False
    extents = np.asarray(operands[0].shape, np.float32) * operands[2] if operands[2].size else np.zeros(0)
    return bool(np.any(extents != np.floor(extents)))


def no_integer_power(node, opset, operands):
    """A power of a negative integer with a fraction as exponent, which is NaN."""
    a, b = operands[:2]
    return a.dtype.kind in "iu" and b.dtype.kind == "f" and bool(np.any(b != np.floor(b))) and bool(np.any(a < 0))


def other_skip(node, opset, operands):
    """A skip that does not broadcast to what it is added to."""
    x, skip = operands[0].shape, operands[1].shape
    return len(skip) > len(x) or any(s not in (1, e) for s, e in zip(reversed(skip), reversed(x)))


def overflows(node, opset, operands):
    """Whether a product, or a sum of squares, of integers may be outside of the type."""
    x = np.abs(operands[0].astype(np.float64))
    bits = np.sum(np.log2(np.maximum(x, 1))) if node.op_type == "ReduceProd" else np.log2(np.sum(x * x) + 1)
    x = operands[0]
    return x.dtype.kind in "iu" and bits >= 8 * x.dtype.itemsize - 1


KNOWN = (
    Known("ReduceLogSum ReduceLogSumExp", lambda node, opset, operands: operands[0].dtype.kind in "iu",
          "onnxruntime truncates each exponential to the integer type; integers were taken from the schema in opset 28, the reference "
          "evaluator refuses them ('only defined for float types')"),
    Known("ReduceProd ReduceSumSquare", overflows,
          "the specification does not say what a result outside of the type is; onnxruntime goes by f32 at times"),
    Known("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare", empty,
          "onnxruntime leaves other extents of an empty operand as they are (keepdims 1, axes [-1]: [0, 2] stays [0, 2]); "
          "ReduceMean: 'Reduction over an empty set of values yields undefined'"),
    Known("ReduceSumSquare", lambda node, opset, operands: operands[0].dtype.kind == "u",
          "onnxruntime has none for unsigned integers; the reference evaluator returns u64 for u32"),
    Known("MaxPool AveragePool LpPool ConvTranspose", negative_padding,
          "where strides exceed the kernel, onnxruntime crops by negative padding (pooling) or gives other extents than "
          "'output_shape[i] = input_shape[i] * strides[i]' (ConvTranspose)"),
    Known("MaxPool AveragePool LpPool", no_window, "a window that does not fit once: onnxruntime reads outside, planc refuses"),
    Known("Resize", fractional_corners,
          "onnxruntime takes whole extents; ONNX's tests (resize_downsample_scales_linear_align_corners) take scale * extent"),
    Known("Resize", lambda node, opset, operands: attribute(node, "coordinate_transformation_mode") == b"half_pixel_symmetric"
          and attribute(node, "mode", b"nearest") == b"nearest" and attribute(node, "nearest_mode") in (b"floor", b"ceil"),
          "positions that are whole numbers but for rounding: from 5 to 3 the middle is at 2, for onnxruntime at 1.9999999"),
    Known("LRN", lambda node, opset, operands: operands[0].size and np.max(np.abs(operands[0])) > 100,
          "onnxruntime slides the window by adding and subtracting squares, which cancel where they are large"),
    Known("LpPool", is_f64, "onnxruntime has none for f64; the reference evaluator sums up more where windows pass the rim"),
    Known("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
          lambda node, opset, operands: operands[0].shape[:1] + operands[0].shape[2:] != operands[1].shape
          or len(operands) > 2 and operands[2] is not None and operands[2].shape != operands[0].shape[1:2],
          "onnxruntime does not compare the extents of scores, labels and weights, planc refuses them"),
    Known("Gemm", lambda node, opset, operands: operands[0].size == 0 and attribute(node, "beta", 1.0) != 1.0,
          "onnxruntime forgets beta where the sums have no terms"),
    Known("Pow", no_integer_power, "the specification does not say which integer NaN becomes"),
    Known("InstanceNormalization", constant_planes,
          "onnxruntime computes x * s + (b - mean * s), which cancels where the elements are equal; planc computes (x - mean) * s + b"),
    Known("Concat", other_extents, "'All input tensors must have the same shape, except for the dimension size of the axis': onnxruntime "
          "overlooks empty ones, and planc says nothing where nothing is copied"),
    Known("GatherND", lambda node, opset, operands: operands[0].shape[:attribute(node, "batch_dims", 0)]
          != operands[1].shape[:attribute(node, "batch_dims", 0)],
          "'The first b dimensions of the shape of indices tensor and data tensor must be equal'; onnxruntime does not compare them, planc does"),
    Known("Compress", lambda node, opset, operands: operands[1].size > (
        operands[0].size if attribute(node, "axis") is None else operands[0].shape[attribute(node, "axis")]),
          "'Its length can be less than the input length along the axis', not more: onnxruntime ignores the rest, planc refuses it"),
    Known("QLinearAdd QLinearMul", lambda node, opset, operands: operands[7] is not None and operands[7].reshape(-1)[0] % 2 == 1,
          "halves: onnxruntime rounds after adding the zero point, QuantizeLinear (\"For (x / y_scale), it's rounding to the nearest even\") and planc "
          "before, which differs where the zero point is odd"),
    Known("Hardmax", lambda node, opset, operands: opset < 13 and operands[0].dtype != np.float32,
          "onnxruntime has f32 alone; the reference evaluator takes one axis where opsets before 13 flatten"),
    Known("StringNormalizer", lambda node, opset, operands: any(s == "" or " " in s for s in operands[0].reshape(-1)),
          "onnxruntime needs a locale of the system; the reference evaluator drops empty strings, which are no stopwords, and takes an "
          "element for several words, where the elements of ONNX's tests are words"),
    Known("LinearRegressor", lambda node, opset, operands: len(attribute(node, "coefficients"))
          != attribute(node, "targets", 1) * operands[0].shape[-1],
          "coefficients for another number of features: onnxruntime reads some of them, planc refuses them"),
    Known("LinearRegressor", lambda node, opset, operands: attribute(node, "targets", 1) == 1
          and attribute(node, "post_transform", b"NONE") != b"NONE",
          "one target: onnxruntime transforms nothing, or makes a softmax over one score other than 1"),
    Known("AffineGrid", lambda node, opset, operands: attribute(node, "align_corners", 0) and 1 in operands[1][2:],
          "onnxruntime puts the only position of an axis at 1; the reference evaluator and planc at -1"),
    Known("PRelu", lambda node, opset, operands: np.broadcast_shapes(operands[0].shape, operands[1].shape) != operands[0].shape,
          "'its shape must be unidirectional broadcastable to X'; onnxruntime broadcasts X too, planc refuses it"),
    Known("SkipLayerNormalization SkipSimplifiedLayerNormalization", other_skip,
          "onnxruntime does not compare the extents of input and skip, planc refuses them"),
    Known("Unique", lambda node, opset, operands: attribute(node, "sorted", 1) == 0
          and operands[0].dtype not in (np.float32, np.float64, np.int64, np.int8),
          "onnxruntime has none of this type; the reference evaluator sorts, or takes elements for slices"),
    Known("Resize Upsample", lambda node, opset, operands: opset == 10 and attribute(node, "mode", b"nearest") == b"nearest"
          and np.any(operands[1] < 1) and np.any(operands[1] > 1),
          "opset 10 does not say which element is nearest; onnxruntime decides by axis, planc by image"),
    Known("GlobalMaxPool GlobalAveragePool", is_f64, "onnxruntime has none of old opsets for f64; the reference evaluator gives another rank"),
    Known("Gelu GroupNormalization", is_f64, "onnxruntime expands the function, with constants and sums in f32"),
    Known("ConvTranspose", is_f64, "onnxruntime has none for f64; the reference evaluator takes each group's first feature and bias"),
    Known("Erf", lambda node, opset, operands: operands[0].dtype.kind in "iu",
          "integers are in the schema of opsets 9 and 12 only; neither onnxruntime nor planc has them"),
    Known("Erf", is_f64, "the reference evaluator, the only one with f64, rounds to f32 (otypes=['f'])"),
    Known("HardSwish", is_f64, "onnxruntime has none for f64; the function takes 1/6 in f32 where the specification says 'alpha = 1/6'"),
    Known("Shrink", is_f64, "onnxruntime computes in f32: x - bias with bias 0 is not x"),
)


def known_difference(node, opset, operands):
    """The row about a node, or None."""
    rows = (k for k in KNOWN if node.op_type in k.ops.split())
    return next((k for k in rows if operands and operands[0] is not None and k.when(node, opset, operands)), None)


def explained(model, inputs):
    """The evidence for a known difference in a model, node by node with these inputs as far as they go; None where there is none."""
    opset = next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    values = inputs | {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        row = known_difference(node, opset, [values.get(name) for name in node.input])
        if row:
            return f"{row.ops}: {row.evidence}"
        names = [n for n in node.output if n]
        try:
            values |= zip(names, oracle.part([node], names, values, set(), model.opset_import, model.ir_version))
        except oracle.Refused:
            continue
    return None

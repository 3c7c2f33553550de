"""What a model should compute, by onnxruntime without optimisations or, where that refuses, by the reference evaluator of ONNX.

`Refused` is raised where neither runs a model. Neither is asked twice, and nothing is cached: the models are tiny.
"""

import contextlib
import io
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# What onnxruntime 1.31 reads; newer models go to the reference evaluator.
NEWEST_OPSET = 26
NEWEST_IR = 13


class Refused(Exception):
    """Neither oracle runs this model."""


def options():
    o = onnxruntime.SessionOptions()
    o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    o.log_severity_level = 4
    # Flushing nothing and sharing nothing: what a kernel computes is what the specification's formula gives.
    o.enable_mem_pattern = o.enable_cpu_mem_arena = False
    return o


OPTIONS = options()


def onnxruntime_outputs(model, inputs):
    """What onnxruntime computes; whatever it raises is passed on."""
    s = onnxruntime.InferenceSession(model.SerializeToString(), OPTIONS, providers=["CPUExecutionProvider"])
    return s.run(None, inputs)


def reference_outputs(model, inputs):
    """What the reference evaluator computes, which is slow and meant for reading; whatever it raises is passed on."""
    quiet = io.StringIO()
    with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        return ReferenceEvaluator(model).run(None, inputs)


def tensors(outputs):
    if not all(isinstance(o, (np.ndarray, np.generic)) for o in outputs):
        raise Refused("an output is no tensor")
    arrays = (np.asarray(o) for o in outputs)
    return [a.astype(object) if a.dtype.kind == "U" else a for a in arrays]


def first(model, inputs):
    """What the first oracle that runs the model as a whole computes."""
    reasons = []
    for name, evaluate in (("onnxruntime", onnxruntime_outputs), ("reference", reference_outputs)):
        try:
            return tensors(evaluate(model, inputs))
        except Exception as error:  # each kernel has exceptions of its own
            reasons.append(f"{name}: {' '.join(str(error).split())[:200]}")
    raise Refused("; ".join(reasons))


def captures(node):
    """Names that the bodies of a node read from outside."""
    found = []
    for attribute in node.attribute:
        for body in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
            local = {i.name for i in body.input} | {i.name for i in body.initializer}
            for inner in body.node:
                found += [n for n in [*inner.input, *captures(inner)] if n and n not in local]
                local |= set(inner.output)
            found += [o.name for o in body.output if o.name not in local]
    return found


def part(nodes, names, known, constants, imports, ir_version):
    """What some nodes alone make of the arrays `known`: the values `names`. The names in `constants` are initializers."""
    used = [n for n in dict.fromkeys(n for node in nodes for n in [*node.input, *captures(node)]) if n in known]
    inputs = {n: known[n] for n in used if n not in constants}
    weights = [numpy_helper.from_array(known[n], n) for n in used if n in constants]
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in inputs.items()]
    if ir_version < 4:
        infos += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights]
    graph = helper.make_graph(nodes, "part", infos, [onnx.ValueInfoProto(name=n) for n in names], weights)
    return first(helper.make_model(graph, opset_imports=imports, ir_version=ir_version), inputs)


def stepwise(model, inputs):
    """All values of the main graph by name, each node evaluated alone by the first oracle that runs it."""
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    known = weights | inputs
    for node in model.graph.node:
        names = [n for n in node.output if n]
        known |= zip(names, part([node], names, known, set(weights), model.opset_import, model.ir_version))
    return known


def run(model, inputs):
    """(which oracle, outputs): onnxruntime on the whole model, or node by node with the reference evaluator for what it lacks."""
    try:
        return "onnxruntime", tensors(onnxruntime_outputs(model, inputs))
    except Exception as error:  # each kernel has exceptions of its own
        reason = " ".join(str(error).split())[:200]
    try:
        known = stepwise(model, inputs)
    except Refused as error:
        raise Refused(f"{reason}; node by node: {error}") from error
    return "node by node", [known[o.name] for o in model.graph.output]


def intermediates(model, inputs, names):
    """The values `names` of the main graph, by name; onnxruntime's."""
    all_out = onnx.ModelProto()
    all_out.CopyFrom(model)
    del all_out.graph.output[:]
    all_out.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    _, values = run(all_out, inputs)
    return dict(zip(names, values))


# Operators that give the same bits in each correct implementation: they move, compare, round or do integer arithmetic, or their
# result is one correctly rounded IEEE operation.
EXACT = frozenset("""Abs Add And ArgMax ArgMin BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil CenterCropPad
Clip Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Div Dropout Equal Expand EyeLike Flatten Floor Gather
GatherElements GatherND Greater GreaterOrEqual Identity If IsInf IsNaN Less LessOrEqual Loop Max MaxPool GlobalMaxPool MaxUnpool Min
Mul Neg NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement Or Pad PRelu Range ReduceMax ReduceMin Relu LeakyRelu
Reshape ReverseSequence Round Scan Scatter ScatterElements ScatterND SequenceAt SequenceConstruct SequenceInsert Shape Sign Size Slice
SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample
Where Xor MatMulInteger ConvInteger""".split())
# Operators whose operands but the first are parameters: extents, positions and thresholds.
PARAMETERS = frozenset("Resize Upsample RoiAlign MaxRoiPool".split())
# Functions with values around 1, which implementations approximate to an absolute error however small the result.
BOUNDED = frozenset("Sigmoid Tanh Erf Softmax LogSoftmax Softplus Mish Gelu HardSwish Swish Sin Cos Attention "
                    "BlackmanWindow If Loop Scan".split())
# Operators that make or take what is no tensor.
SEQUENCES = frozenset("SequenceConstruct SequenceInsert SequenceErase SplitToSequence Optional".split())
# Up to four units in the last place, relative: as much as a short sum in another order.
NOISE = {TensorProto.FLOAT: 2.0**-21, TensorProto.DOUBLE: 2.0**-50, TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}


def exact(node):
    """Whether a node gives the same bits in each correct implementation, its bodies included."""
    bodies = (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return node.op_type in EXACT and node.domain in ("", "ai.onnx") and all(exact(n) for b in bodies for n in b.node)


def with_noise(model, inputs, rng):
    """The model with every operand and result of an inexact operator moved by a unit in the last place or so, up or down by element.

    How far the outputs move is how far correct implementations may lie apart. What happens in bodies of control flow is moved where it
    comes out.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    g = graph.graph
    constants = {i.name for i in g.initializer}
    names = [i.name for i in g.input if i.name not in constants] + list(constants)
    names += [o for n in g.node if n.op_type not in SEQUENCES for o in n.output if o]
    try:
        values = intermediates(model, inputs, [n for n in names if n not in inputs and n not in constants])
    except Refused:
        return None
    values |= inputs | {i.name: numpy_helper.to_array(i) for i in g.initializer}
    nodes, moved = [], {}
    for node in g.node:
        noisy = not exact(node)
        clone = onnx.NodeProto()
        clone.CopyFrom(node)
        for k, name in enumerate(node.input):
            now = moved.get(name, name)
            shaken = noisy and name in values and (k == 0 or node.op_type not in PARAMETERS)
            clone.input[k] = move(g, nodes, now, values[name], rng, f"{node.output[0]}.in{k}") if shaken else now
        nodes.append(clone)
        for k, name in enumerate(node.output):
            if noisy and name in values:
                floor = 1.0 if node.op_type in BOUNDED else 0.0
                moved[name] = move(g, nodes, name, values[name], rng, f"{node.output[0]}.out{k}", floor)
    del g.node[:]
    g.node.extend(nodes)
    for o in g.output:
        o.name = moved.get(o.name, o.name)
    return graph


def move(g, nodes, name, value, rng, tag, floor=None):
    """Adds noise to a value, where it is a float: relative to each element or, with `floor`, to the largest one and at least `floor`.
    The new name."""
    try:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    except (KeyError, ValueError):
        return name
    if kind not in NOISE or not value.size:
        return name
    scale = value.astype(np.float64)
    scale[~np.isfinite(scale)] = 0
    if floor is not None:
        scale = np.full(value.shape, max(np.abs(scale).max(), floor))
    noise = (NOISE[kind] * rng.choice([-1.0, 0.0, 1.0], value.shape) * scale).astype(value.dtype)
    g.initializer.append(numpy_helper.from_array(np.asarray(noise), tag + ".noise"))
    nodes.append(helper.make_node("Add", [name, tag + ".noise"], [tag + ".moved"]))
    return tag + ".moved"


def spread(model, inputs, wanted, rounds):
    """How far each element of each output moves under noise, at most over these rounds; None where that cannot be said.

    For integers, booleans and NaN the spread is infinite where the element changed and zero elsewhere; so it is for all elements
    where the extents changed.
    """
    rng = np.random.default_rng(rounds)
    spreads = [np.zeros(w.shape) for w in wanted]
    for _ in range(rounds):
        noisy = with_noise(model, inputs, rng)
        if noisy is None:
            return None
        try:
            _, got = run(noisy, inputs)
        except Refused:
            return None
        for k, (g, w) in enumerate(zip(got, wanted)):
            if g.shape != w.shape:
                spreads[k][...] = np.inf
                continue
            if w.dtype.kind in "fV":
                with np.errstate(all="ignore"):
                    d = np.abs(g.astype(np.float64) - w.astype(np.float64))
                same = (g == w) | (np.isnan(g.astype(np.float64)) & np.isnan(w.astype(np.float64)))
                spreads[k] = np.maximum(spreads[k], np.where(same, 0.0, np.where(np.isfinite(d), d, np.inf)))
            else:
                spreads[k] = np.maximum(spreads[k], np.where(g == w, 0.0, np.inf))
    return spreads

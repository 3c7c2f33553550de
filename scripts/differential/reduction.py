"""Makes a failing model small: fewer outputs, nodes replaced by inputs that hold what they computed, smaller extents.

A step is kept when an oracle still runs the model and planc fails in the same way (the same verdict).
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

import comparison
import oracle

MOST_STEPS = 300


def reduce(planc, flags, model, inputs, outcome, scratch):
    """The smallest model and inputs found that fail with the verdict of `outcome`."""
    steps = 0

    def fails(candidate):
        nonlocal steps
        steps += 1
        m, values = candidate
        try:
            _, wanted = oracle.run(m, values)
            return comparison.compare(planc, flags, m, values, wanted, scratch).verdict == outcome.verdict
        except (oracle.Refused, ValueError, KeyError):
            return False

    best = model, inputs
    if outcome.output is not None:
        candidate = keep(*best, [model.graph.output[outcome.output].name])
        best = candidate if fails(candidate) else best
    progress = True
    while progress and steps < MOST_STEPS:
        progress = False
        for candidates in (fewer_outputs, cuts, specialised, slices):
            for candidate in candidates(*best):
                if candidate is not None and steps < MOST_STEPS and fails(candidate):
                    best, progress = candidate, True
                    break
    return best


def copy(model):
    clone = onnx.ModelProto()
    clone.CopyFrom(model)
    return clone


def keep(model, inputs, outputs):
    """The model with these outputs alone, and without what they do not need."""
    m = copy(model)
    infos = {o.name: o for o in m.graph.output}
    chosen = [infos[n] if n in infos else onnx.ValueInfoProto(name=n) for n in outputs]
    del m.graph.output[:]
    m.graph.output.extend(chosen)
    needed, nodes = set(outputs), []
    for node in reversed(m.graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= {n for n in [*node.input, *oracle.captures(node)] if n}
    for field, kept in (("node", nodes), ("initializer", [i for i in m.graph.initializer if i.name in needed]),
                        ("input", [i for i in m.graph.input if i.name in needed])):
        items = [onnx.NodeProto.FromString(i.SerializeToString()) if field == "node" else type(i).FromString(i.SerializeToString())
                 for i in kept]
        del getattr(m.graph, field)[:]
        getattr(m.graph, field).extend(items)
    return m, {n: v for n, v in inputs.items() if n in needed}


def fewer_outputs(model, inputs):
    """One output alone, or an intermediate value in its place."""
    outputs = [o.name for o in model.graph.output]
    if len(outputs) > 1:
        yield from (keep(model, inputs, [n]) for n in outputs)
    for node in model.graph.node[:-1]:
        for name in node.output:
            if name and [name] != outputs:
                try:
                    value = oracle.intermediates(model, inputs, [name])[name]
                    m, values = keep(model, inputs, [name])
                    del m.graph.output[:]
                    m.graph.output.append(info_of(name, value))
                    yield m, values
                except (oracle.Refused, KeyError, ValueError):
                    continue


def info_of(name, value):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype), np.asarray(value).shape)


def cuts(model, inputs):
    """The results of a node become inputs."""
    outputs = {o.name for o in model.graph.output}
    for k, node in enumerate(model.graph.node):
        names = [n for n in node.output if n]
        if set(names) & outputs or len(model.graph.node) == 1:
            continue
        try:
            values = oracle.intermediates(model, inputs, names)
        except (oracle.Refused, ValueError):
            continue
        for constant in (False, True):
            m = copy(model)
            del m.graph.node[k]
            if constant:
                m.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
                yield keep(m, inputs, [o.name for o in m.graph.output])
            else:
                m.graph.input.extend(info_of(n, v) for n, v in values.items())
                yield keep(m, inputs | values, [o.name for o in m.graph.output])


def specialised(model, inputs):
    """The extents of inputs as they are, instead of symbols."""
    m = copy(model)
    changed = False
    for info in m.graph.input:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.dim_param and info.name in inputs:
                dim.dim_value, changed = inputs[info.name].shape[axis], True
    if changed:
        yield m, inputs


def slices(model, inputs):
    """Smaller extents: every axis of one extent at once, or an axis of one tensor."""
    tensors = inputs | {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    places = [(n, a, e) for n, v in tensors.items() for a, e in enumerate(v.shape) if e > 1]
    groups = [[(n, a) for n, a, e in places if e == extent] for extent in sorted({e for _, _, e in places}, reverse=True)]
    groups += [[(n, a)] for n, a, _ in places]
    for group in groups:
        extent = tensors[group[0][0]].shape[group[0][1]]
        for small in sorted({1, 2, extent // 2, extent - 1} - {0, extent}):
            cut = dict(tensors)
            for name, axis in group:
                cut[name] = np.take(cut[name], np.arange(small), axis)
            m = copy(model)
            for i in m.graph.initializer:
                i.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(cut[i.name]), i.name))
            for info in m.graph.input:
                for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                    if not dim.dim_param:
                        dim.dim_value = cut[info.name].shape[axis]
            for o in m.graph.output:
                o.type.tensor_type.ClearField("shape")
            yield m, {n: np.ascontiguousarray(cut[n]) for n in inputs}

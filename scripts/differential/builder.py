"""Grows one random model node by node.

Every node is evaluated by the oracle as soon as it is added, so that the extents, element types and elements of every value
are known: a rule chooses operands and attributes, and need not say what comes out. A node that no oracle evaluates is taken
back (`Reject`). Everything is drawn from one seeded generator, so a seed gives the same model each time.
"""

import dataclasses
import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import oracle
from known import known_difference
from oracle import captures

F32, F64, F16 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16)
I64, I32, BOOL, U8, I8 = (np.dtype(d) for d in (np.int64, np.int32, np.bool_, np.uint8, np.int8))
DTYPES = {
    "tensor(float)": F32, "tensor(double)": F64, "tensor(float16)": F16, "tensor(int64)": I64, "tensor(int32)": I32,
    "tensor(int16)": np.dtype(np.int16), "tensor(int8)": I8, "tensor(uint8)": U8, "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32), "tensor(uint64)": np.dtype(np.uint64), "tensor(bool)": BOOL,
}
WEIGHTS = {F32: 60, F64: 6, F16: 6, I64: 8, I32: 6, BOOL: 4, U8: 4, I8: 4}
EXTENTS = (1, 1, 2, 2, 3, 3, 4, 5, 5, 7, 8, 13, 16, 17, 19, 31, 33)
MAX_ELEMENTS = 6000
# The IR version that came with each opset.
IR_OF_OPSET = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10,
               23: 11, 24: 11, 25: 12, 26: 13}
ML_VERSION, MICROSOFT_VERSION = 3, 1


class Reject(Exception):
    """This choice gives no valid node; the caller makes another one."""


@dataclasses.dataclass(eq=False)
class Value:
    """A value of the graph and the elements it has for the inputs at hand. `kind`: input, constant or node."""

    name: str
    array: np.ndarray
    kind: str

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def shape(self):
        return self.array.shape

    @property
    def rank(self):
        return self.array.ndim


class Graph:
    """One graph under construction; bodies of control flow are graphs with an outer one, whose values they may use."""

    def __init__(self, rng, opset, prefix="", outer=None):
        self.rng, self.opset, self.prefix, self.outer = rng, opset, prefix, outer
        self.inputs, self.constants, self.nodes, self.values = [], [], [], []
        self.uses, self.count, self.domains = {}, 0, set(outer.domains) if outer else set()
        self.ops = []
        # Set by a rule whose operator planc takes with known extents only.
        self.fixed = False

    # Drawing.

    def chance(self, p):
        return self.rng.random() < p

    def choice(self, items):
        return self.rng.choice(list(items))

    def extent(self, most=33):
        return self.choice([e for e in EXTENTS if e <= most])

    def shape(self, rank=None, most=33, least=0, empty=0.02):
        """Random extents; rank 0 to 4 unless given; now and then one of them is zero."""
        if rank is None:
            rank = max(least, self.rng.choices((0, 1, 2, 3, 4, 5), (4, 20, 30, 25, 18, 3))[0])
        while True:
            shape = [self.extent(most) for _ in range(rank)]
            if rank and self.chance(empty):
                shape[self.rng.randrange(rank)] = 0
            if np.prod(shape, dtype=int) <= MAX_ELEMENTS:
                return tuple(shape)
            most = max(2, most // 2)

    def name(self, stem="v"):
        root = self
        while root.outer is not None:
            root = root.outer
        root.count += 1
        return f"{self.prefix}{stem}{root.count}"

    def data(self, dtype, shape, low=None, high=None):
        """Elements in [low, high]: floats on a coarse grid half of the time, so that sums are exact and ties occur."""
        rng = np.random.default_rng(self.rng.getrandbits(63))
        dtype = np.dtype(dtype)
        if dtype == BOOL:
            return rng.integers(0, 2, shape).astype(np.bool_)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            wide = low is None and high is None and dtype.itemsize == 1
            low = (info.min if wide else max(info.min, -9)) if low is None else low
            high = (info.max if wide else 12) if high is None else high
            return np.asarray(rng.integers(low, high, shape, endpoint=True, dtype=np.int64)).astype(dtype)
        low, high = -3.0 if low is None else low, 3.0 if high is None else high
        if self.chance(0.5):
            grid = rng.integers(np.ceil(low * 8), max(np.floor(high * 8), np.ceil(low * 8)), shape, endpoint=True) / 8
            return np.asarray(np.clip(grid, low, high), dtype)
        return np.asarray(rng.uniform(low, high, shape), dtype)

    # Values.

    def fresh(self, dtype, shape, low=None, high=None, kind=None):
        return self.put(self.data(dtype, shape, low, high), kind)

    def put(self, array, kind=None):
        """A new graph input or constant with these elements; a constant is an initializer or a node."""
        array = np.asarray(array)
        kind = kind or self.rng.choices(("input", "constant"), (60, 40))[0]
        if self.outer is not None:
            kind = "constant"
        value = Value(self.name("x" if kind == "input" else "c"), array, kind)
        if kind == "input":
            self.inputs.append(value)
        elif self.outer is not None or self.chance(0.15):
            # Subgraphs may hold initializers too, but a Constant is what exporters write.
            self.nodes.append(helper.make_node("Constant", [], [value.name], value=numpy_helper.from_array(array, value.name)))
            self.ops.append("Constant")
        else:
            self.constants.append(value)
        self.values.append(value)
        return value

    def const(self, array, dtype=None):
        """A constant, mostly; now and then an input, which what depends on it has to wait for."""
        return self.put(np.asarray(array, dtype), "constant" if self.chance(0.85) else "input")

    def dtypes(self, op, parameter, domain=""):
        """The element types that the schema of this opset allows for a type parameter, and that the generator knows."""
        try:
            schema = onnx.defs.get_schema(op, self.version(domain), domain)
        except onnx.defs.SchemaError as error:
            raise Reject(f"no {op} in opset {self.opset}") from error
        allowed = next(t.allowed_type_strs for t in schema.type_constraints if t.type_param_str == parameter)
        return [DTYPES[t] for t in allowed if t in DTYPES]

    def dtype(self, op, parameter="T", domain="", among=None):
        """One of the element types that are allowed, f32 mostly."""
        allowed = [d for d in self.dtypes(op, parameter, domain) if among is None or d in among]
        if not allowed:
            raise Reject(f"{op} has no such element type in opset {self.opset}")
        return self.rng.choices(allowed, [WEIGHTS.get(d, 1) for d in allowed])[0]

    def version(self, domain):
        return {"": self.opset, "ai.onnx.ml": ML_VERSION, "com.microsoft": MICROSOFT_VERSION}[domain]

    def available(self):
        """Values that a node may read, the outer graphs' last."""
        outer = self.outer.available() if self.outer is not None else []
        return self.values + outer

    def pick(self, dtype, rank=None, least=0, shape=None, low=None, high=None, where=None, reuse=0.8, most=33, empty=0.02):
        """A value of this type: one that exists, recent ones first, or a fresh one. With `low` or `high`, within these bounds."""
        def fits(v):
            a = v.array
            if a.dtype != dtype or a.ndim < least or (rank not in (None, a.ndim)) or (shape not in (None, a.shape)):
                return False
            if a.dtype.kind in "iuf" and (low is not None or high is not None) and a.size:
                with np.errstate(all="ignore"):
                    if not (np.min(a) >= (-np.inf if low is None else low) and np.max(a) <= (np.inf if high is None else high)):
                        return False
            return (empty > 0 or a.size > 0) and (where is None or where(v))

        if self.chance(reuse):
            found = [v for v in self.available() if fits(v)]
            if found:
                nodes = [v for v in found if v.kind == "node" and not self.uses.get(v.name)] or found
                return self.choice(nodes if self.chance(0.7) else found)
        for _ in range(20):
            value = shape if shape is not None else self.shape(rank, most, least, empty)
            probe = Value("", np.empty(value, dtype), "input")
            if where is None or where(probe):
                return self.fresh(dtype, value, low, high)
        raise Reject("no such value")

    # Nodes.

    def evaluate(self, nodes, names):
        """The values `names` of some nodes alone, on what their operands hold now."""
        known = {v.name: v.array for v in self.available()}
        for node in nodes:
            if not node.domain and not onnx.defs.has(node.op_type, self.opset, ""):
                raise Reject(f"no {node.op_type} in opset {self.opset}")
            if known_difference(node, self.opset, [known.get(n) for n in node.input]):
                raise Reject(f"{node.op_type}: a known difference")
        constants = {v.name for v in self.available() if v.kind == "constant"}
        imports = self.imports({node.domain for node in nodes} | self.domains)
        return oracle.part(nodes, names, known, constants, imports, IR_OF_OPSET[self.opset])

    def imports(self, domains):
        return [helper.make_opsetid(d, self.version(d)) for d in sorted({"", *domains})]

    def node(self, op, inputs, outputs=1, domain="", **attributes):
        """Adds a node; its result, or the list of its results. `inputs` are values, None for what is left out; `outputs` is how many,
        or a string with `o` for each result and `.` for one that is left out. Attributes that are None are left out."""
        wanted = "o" * outputs if isinstance(outputs, int) else outputs
        names = [self.name() if w == "o" else "" for w in wanted]
        node = self.proto(op, [v.name if v is not None else "" for v in inputs], names, domain, **attributes)
        self.group([node], [n for n in names if n])
        made = {v.name: v for v in self.values}
        results = [made.get(n) for n in names]
        return results[0] if len(results) == 1 else results

    def proto(self, op, inputs, outputs, domain="", **attributes):
        """The node of an operator between names."""
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        try:
            return helper.make_node(op, inputs, outputs, domain=domain, name=f"{op}_{next(filter(None, outputs))}", **attributes)
        except (ValueError, TypeError) as error:
            raise Reject(f"{op}: {error}") from error

    def group(self, nodes, names):
        """Adds nodes that only make sense together, of which the tensors `names` are for the rest of the graph."""
        try:
            arrays = self.evaluate(nodes, names)
        except (oracle.Refused, ValueError, TypeError) as error:
            raise Reject(f"{nodes[-1].op_type}: {error}") from error
        for a in arrays:
            if a.size > 20 * MAX_ELEMENTS:
                raise Reject("too large")
            if a.dtype.kind == "f" and a.size:
                finite = a[np.isfinite(a)]
                if (a.size - finite.size) * 2 > a.size or (finite.size and np.abs(finite).max() > (3e3 if a.dtype == F16 else 1e5)):
                    raise Reject("large values")
        for node in nodes:
            self.nodes.append(node)
            self.ops.append(node.op_type)
            self.domains.add(node.domain)
            for name in [*node.input, *captures(node)]:
                self.uses[name] = self.uses.get(name, 0) + 1
        self.values.extend(Value(n, a, "node") for n, a in zip(names, arrays))
        return self.values[-len(names):]

    def shifted(self, op, inputs, **attributes):
        """A node and one added to its float result, of which some elements are zero but for rounding: a root, a ceiling or NonZero
        would make that large."""
        drawn, y = self.name(), self.name()
        node = self.proto(op, [v.name if v is not None else "" for v in inputs], [drawn], **attributes)
        self.group([node, self.proto("Add", [drawn, self.put(np.ones(1, np.float32), "constant").name], [y])], [y])

    def mark(self):
        """What `restore` needs to take back what a rule did before it was rejected."""
        lists = (self.inputs, self.constants, self.nodes, self.values, self.ops)
        return *map(len, lists), dict(self.uses), set(self.domains)

    def restore(self, mark):
        inputs, constants, nodes, values, ops, self.uses, self.domains = mark
        del self.inputs[inputs:], self.constants[constants:], self.nodes[nodes:], self.values[values:], self.ops[ops:]


def finish(g):
    """(model, inputs by name): the graph with its outputs chosen, symbolic extents given to some inputs, and unused inputs dropped."""
    used = {n for node in g.nodes for n in [*node.input, *captures(node)]}
    made = [v for v in g.values if v.kind == "node"]
    outputs = [v for v in made if v.name not in used or g.chance(0.15)] or made[-1:]
    if not outputs:
        raise Reject("no node")
    others = [v for v in g.values if v not in outputs]
    if others and g.chance(0.05):
        # What nothing computes may be a result too.
        outputs = [*outputs, g.choice(others)]
        used.add(outputs[-1].name)
    inputs = [v for v in g.inputs if v.name in used]
    symbols = "none" if g.fixed else g.choice(("none", "none", "shared", "own"))
    free = {}

    def extents(v):
        shape = list(v.shape)
        for axis, extent in enumerate(shape):
            if symbols == "shared" and extent > 1 and free.setdefault(extent, g.chance(0.4)):
                shape[axis] = f"d{extent}"
            elif symbols == "own" and g.chance(0.3):
                shape[axis] = f"{v.name}_{axis}"
        return shape

    infos = [helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.dtype), extents(v)) for v in inputs]
    weights = [numpy_helper.from_array(v.array, v.name) for v in g.constants if v.name in used]
    if g.opset < 9:
        infos += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights]
    results = [helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.dtype),
                                             [None] * v.rank if symbols != "none" or g.chance(0.3) else v.shape) for v in outputs]
    nodes = [n for n in g.nodes if n.op_type != "Constant" or n.output[0] in used]
    graph = helper.make_graph(nodes, "generated", infos, results, weights)
    model = helper.make_model(graph, opset_imports=g.imports(g.domains), ir_version=IR_OF_OPSET[g.opset],
                              producer_name="differential")
    return model, {v.name: v.array for v in inputs}


def generate(seed, rules):
    """The model of a seed and its inputs. `rules` is a list of (name, weight, first opset, function of a graph)."""
    rng = random.Random(f"differential {seed}")
    while True:
        g = Graph(rng, rng.choice(sorted(IR_OF_OPSET)))
        usable = [r for r in rules if r[2] <= g.opset]
        # One operator is chosen evenly over all of them, so that each has its share in a thousand models.
        wanted = usable[seed % len(usable)] if g.chance(0.5) else None
        size = rng.randint(1, 12)
        tries = 0
        while len([o for o in g.ops if o != "Constant"]) < size and tries < 40:
            tries += 1
            rule = wanted if wanted and tries <= 3 and g.chance(0.5) else rng.choices(usable, [r[1] for r in usable])[0]
            mark = g.mark()
            try:
                rule[3](g)
            except Reject:
                g.restore(mark)
        try:
            return finish(g)
        except Reject:
            continue

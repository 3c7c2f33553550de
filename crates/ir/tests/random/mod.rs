//! Random graphs: everything that a graph can hold, from a seed.

use planc_ir::{
    Attrs, Capture, Epilogue, Graph, Layout, NodeBuilder, OpName, Subgraph, TensorType, Type, ValueId,
    text::content_hash,
};
use planc_kir::{BinOp, ExprBuilder, UnOp};
use planc_tensor::{Attr, Bytes, DType, Dim, Map, Tensor};

/// A small generator (SplitMix64), so that a seed is all that a failure needs.
pub struct Rng(u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const NAMES: &[&str] =
    &["x", "conv1.out", "/a/b_0", "input:0", "12", "a b", "quo\"te", "é\u{202e}\n", "in", "_", "-", "\\"];

fn dim(r: &mut Rng) -> Dim {
    let n = Dim::sym(r.pick(&["N", "H", "odd sym"]));
    match r.below(5) {
        0 => n,
        1 => (n + Dim::from(3i64)).floor_div(&Dim::from(2i64)),
        2 => n.maximum(&Dim::sym("K")) * Dim::from(4i64) - Dim::from(1i64),
        _ => Dim::from(r.below(5)),
    }
}

fn ty(r: &mut Rng) -> Type {
    let dtype = r.pick(DType::ALL);
    match r.below(9) {
        0 => Type::Sequence(Box::new(ty(r))),
        1 => Type::Optional(Box::new(ty(r))),
        2 => TensorType::unranked(dtype).into(),
        3 => TensorType { layout: Layout::Nchw16c, ..TensorType::new(dtype, vec![dim(r), dim(r), dim(r)]) }.into(),
        4 => Type::Map { key: r.pick(Map::KEYS), value: r.pick(Map::VALUES) },
        n => TensorType::new(dtype, (5..n).map(|_| dim(r)).collect()).into(),
    }
}

pub fn tensor(r: &mut Rng) -> Tensor {
    let shape: Vec<usize> = (0..r.below(4)).map(|_| r.below(4)).collect();
    let n = shape.iter().product::<usize>();
    match r.pick(DType::ALL) {
        DType::String => Tensor::from_strings(shape, (0..n).map(|_| r.pick(NAMES).to_string()).collect()).unwrap(),
        d => {
            let bytes: Vec<u8> = (0..d.bytes_for(n).unwrap()).map(|_| r.next() as u8).collect();
            let whole = d.size().is_some();
            // What is past the last sub-byte element is not part of the text: it has to be zero.
            let bytes = if whole { bytes } else { vec![0x11; bytes.len() - usize::from(n % (8 / d.bits()) != 0)] };
            let mut bytes = bytes;
            bytes.resize(d.bytes_for(n).unwrap(), 0);
            Tensor::from_bytes(d, shape, Bytes::new(bytes)).unwrap()
        }
    }
}

fn attr(r: &mut Rng) -> Attr {
    let n = r.below(4);
    match r.below(7) {
        0 => Attr::Int(r.next() as i64),
        1 => Attr::Float(f32::from_bits(r.next() as u32)),
        2 => Attr::Str(r.pick(NAMES).into()),
        3 => Attr::Ints((0..n).map(|_| r.next() as i64 >> 40).collect()),
        4 => Attr::Floats((0..n).map(|_| f32::from_bits(r.next() as u32)).collect()),
        5 => Attr::Strs((0..n).map(|_| r.pick(NAMES).into()).collect()),
        _ => Attr::Tensor(tensor(r)),
    }
}

fn epilogue(r: &mut Rng, values: &[ValueId]) -> Epilogue {
    let sides: Vec<ValueId> = (0..r.below(3)).map(|_| r.pick(values)).collect();
    let mut b = ExprBuilder::new(&vec![DType::F32; sides.len() + 1]);
    let mut regs = vec![b.arg(sides.len() as u16), b.arg(0), b.constant(DType::F32, -1.5e-7)];
    for _ in 0..r.below(8) {
        let (x, y) = (r.pick(&regs), r.pick(&regs));
        let reg = match r.below(4) {
            0 => b.unary(r.pick(&[UnOp::Exp, UnOp::Neg, UnOp::Sigmoid]), x),
            1 => {
                let c = b.binary(BinOp::Lt, x, y);
                b.select(c, y, x)
            }
            _ => b.binary(r.pick(&[BinOp::Add, BinOp::Mul, BinOp::Max]), x, y),
        };
        regs.push(reg);
    }
    let last = regs[regs.len() - 1];
    Epilogue { expr: b.finish(last), sides }
}

/// A graph of random nodes over random values.
pub fn graph(seed: u64) -> Graph {
    let mut r = Rng(seed);
    let mut g = Graph::new(r.pick(NAMES));
    fill(&mut r, &mut g, 0);
    g
}

fn fill(r: &mut Rng, g: &mut Graph, depth: usize) {
    for _ in 0..1 + r.below(3) {
        g.add_input(r.pick(NAMES), ty(r));
    }
    for _ in 0..r.below(5) {
        g.add_const(r.pick(NAMES), tensor(r));
    }
    for _ in 0..r.below(8) {
        let values: Vec<ValueId> = g.value_ids().collect();
        let inputs = (0..r.below(4)).map(|_| if r.below(5) == 0 { None } else { Some(r.pick(&values)) }).collect();
        let attrs: Attrs = (0..r.below(4)).map(|_| (r.pick(NAMES).to_string(), attr(r))).collect();
        let mut subgraphs = vec![];
        while depth < 2 && r.below(5) == 0 {
            let mut graph = Graph::new(r.pick(NAMES));
            let captures = (0..r.below(3))
                .map(|_| {
                    let outer = r.pick(&values);
                    Capture { outer, inner: graph.add_capture(r.pick(NAMES), g.value(outer).ty.clone()) }
                })
                .collect();
            fill(r, &mut graph, depth + 1);
            subgraphs.push(Subgraph { name: r.pick(NAMES).into(), graph, captures });
        }
        let op = OpName::new(r.pick(&["", "com.example", "my domain"]), r.pick(&["Conv", "a-b", "_", "f32"]));
        let epilogue = (r.below(3) == 0).then(|| epilogue(r, &values));
        let b = NodeBuilder::new(op).optional_inputs(inputs).attrs(attrs).subgraphs(subgraphs).epilogue(epilogue);
        let outputs =
            (0..r.below(4)).map(|_| if r.below(4) == 0 { None } else { Some((r.pick(NAMES).into(), ty(r))) }).collect();
        g.add_node(b, outputs);
    }
    let values: Vec<ValueId> = g.value_ids().collect();
    g.set_outputs((0..r.below(3)).map(|_| r.pick(&values)).collect());
}

/// Every long constant of a graph, subgraphs and attributes included, without repetition.
pub fn constants(g: &Graph) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = g.value_ids().filter_map(|v| g.constant(v).cloned()).collect();
    for n in g.node_ids().map(|n| g.node(n)) {
        all.extend(n.attrs.iter().filter_map(|(_, a)| if let Attr::Tensor(t) = a { Some(t.clone()) } else { None }));
        all.extend(n.subgraphs.iter().flat_map(|s| constants(&s.graph)));
    }
    all.sort_by_key(content_hash);
    all.dedup();
    all
}

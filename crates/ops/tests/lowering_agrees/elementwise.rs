//! Operators that work element by element.

use crate::Case;
use crate::random::{Random, graph, node, ty};
use planc_tensor::DType;

const FLOAT: &[&str] = &["f32", "f32", "f64", "f16", "bf16"];
const SIGNED: &[&str] = &["f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64"];
const NUMERIC: &[&str] = &["f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];
const INT: &[&str] = &["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];
const UNSIGNED: &[&str] = &["u8", "u16", "u32", "u64"];
const BOOL: &[&str] = &["bool"];

type Types = &'static [&'static str];

/// Operators of one operand: attributes, element types.
const UNARY: &[(&str, &str, Types)] = &[
    ("Abs", "", NUMERIC),
    ("Neg", "", SIGNED),
    ("Sign", "", NUMERIC),
    ("Floor", "", FLOAT),
    ("Ceil", "", FLOAT),
    ("Round", "", FLOAT),
    ("Sqrt", "", FLOAT),
    ("Exp", "", FLOAT),
    ("Log", "", FLOAT),
    ("Sin", "", FLOAT),
    ("Cos", "", FLOAT),
    ("Tan", "", FLOAT),
    ("Asin", "", FLOAT),
    ("Acos", "", FLOAT),
    ("Atan", "", FLOAT),
    ("Sinh", "", FLOAT),
    ("Cosh", "", FLOAT),
    ("Tanh", "", FLOAT),
    ("Asinh", "", FLOAT),
    ("Acosh", "", FLOAT),
    ("Atanh", "", FLOAT),
    ("Erf", "", FLOAT),
    ("Sigmoid", "", FLOAT),
    ("Reciprocal", "", FLOAT),
    ("Relu", "", SIGNED),
    ("LeakyRelu", "alpha=0.1", FLOAT),
    ("Elu", "alpha=0.75", FLOAT),
    ("Celu", "alpha=0.5", &["f32"]),
    ("Selu", "", FLOAT),
    ("HardSigmoid", "alpha=0.3", FLOAT),
    ("HardSwish", "", FLOAT),
    ("Mish", "", FLOAT),
    ("Softplus", "", FLOAT),
    ("Softsign", "", FLOAT),
    ("Swish", "alpha=1.5", FLOAT),
    ("Gelu", "", FLOAT),
    ("Gelu", "approximate=\"tanh\"", FLOAT),
    ("Shrink", "bias=0.25, lambd=1.0", FLOAT),
    ("ThresholdedRelu", "alpha=0.5", FLOAT),
    ("IsNaN", "", FLOAT),
    ("IsInf", "", &["f32", "f64"]),
    ("IsInf", "detect_negative=0", &["f32", "f64"]),
    ("Not", "", BOOL),
    ("BitwiseNot", "", INT),
    ("Dropout", "", FLOAT),
    ("Identity", "", &["f32", "i4", "bool", "c64"]),
];

/// Operators of two operands that broadcast.
const BINARY: &[(&str, &str, Types)] = &[
    ("Add", "", NUMERIC),
    ("Sub", "", NUMERIC),
    ("Mul", "", NUMERIC),
    ("Div", "", FLOAT),
    ("Mod", "fmod=1", NUMERIC),
    ("Pow", "", FLOAT),
    ("And", "", BOOL),
    ("Or", "", BOOL),
    ("Xor", "", BOOL),
    ("BitwiseAnd", "", INT),
    ("BitwiseOr", "", INT),
    ("BitwiseXor", "", INT),
    ("BitShift", "direction=\"LEFT\"", UNSIGNED),
    ("BitShift", "direction=\"RIGHT\"", UNSIGNED),
    ("Equal", "", NUMERIC),
    ("Greater", "", NUMERIC),
    ("GreaterOrEqual", "", NUMERIC),
    ("Less", "", NUMERIC),
    ("LessOrEqual", "", NUMERIC),
];

/// Operators of any number of operands.
const FOLDS: &[(&str, Types)] = &[("Max", NUMERIC), ("Min", NUMERIC), ("Sum", FLOAT), ("Mean", FLOAT)];

/// Operands of shapes that broadcast to each other; a random one has the full shape.
fn operands(r: &mut Random, dtype: &str, count: usize) -> Vec<String> {
    let full = r.shape(0, 4);
    let widest = r.below(count);
    (0..count).map(|i| ty(dtype, &if i == widest { full.clone() } else { r.narrower(&full) })).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (op, attrs, types) in UNARY {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(types), r.shape(0, 4));
            node(op, &[ty(dtype, &shape)], attrs)
        };
        cases.push(Case::new(op, make).special().loose());
    }
    for (op, attrs, types) in BINARY {
        let make = move |r: &mut Random| {
            let dtype = r.pick(types);
            node(op, &operands(r, dtype, 2), attrs)
        };
        cases.push(Case::new(op, make).special());
    }
    for (op, types) in FOLDS {
        let make = move |r: &mut Random| {
            let (dtype, n) = (r.pick(types), 1 + r.below(4));
            node(op, &operands(r, dtype, n), "")
        };
        cases.push(Case::new(op, make).special());
    }
    // Integers by nothing are an error or 0 depending on the machine: divisors are constants other than 0.
    for op in ["Div", "Mod"] {
        let make = move |r: &mut Random| {
            let (dtype, shape, divisor) = (r.pick(INT), r.shape(0, 4), r.range(1, 7));
            let sign = if dtype.starts_with('i') && r.flag() { "-" } else { "" };
            let head = format!("in %a: {} const %b: {dtype}[] = {sign}{divisor}", ty(dtype, &shape));
            graph(&head, &format!("{op}(%a, %b)"))
        };
        cases.push(Case::new(op, make).special());
    }
    cases.push(Case::new("Pow", |r| {
        let (dtype, shape, exponent) = (r.pick(&["f32", "i32", "i64"]), r.shape(0, 3), r.range(0, 5));
        graph(&format!("in %a: {} const %b: i64[] = {exponent}", ty(dtype, &shape)), "Pow(%a, %b)")
    }));
    cases.push(Case::new("PRelu", |r| {
        let (dtype, shape) = (r.pick(FLOAT), r.shape(1, 4));
        let slope = r.narrower(&shape);
        node("PRelu", &[ty(dtype, &shape), ty(dtype, &slope)], "")
    }));
    cases.push(Case::new("Where", |r| {
        let dtype = r.pick(&["f32", "i8", "i64", "f16"]);
        let mut types = operands(r, dtype, 3);
        types[0] = types[0].replace(dtype, "bool");
        node("Where", &types, "")
    }));
    cases.push(
        Case::new("Clip", |r| {
            let (dtype, shape) = (r.pick(NUMERIC), r.shape(0, 3));
            let (low, high) = (r.range(0, 1), r.range(2, 3));
            let point = if dtype.contains('f') { ".0" } else { "" };
            let head = format!(
                "in %a: {} const %b: {dtype}[] = {low}{point} const %c: {dtype}[] = {high}{point}",
                ty(dtype, &shape)
            );
            let operands = r.pick(&["%a, %b, %c", "%a, _, %c", "%a, %b", "%a"]);
            graph(&head, &format!("Clip({operands})"))
        })
        .special(),
    );
    for (op, count) in [("BiasGelu", 2), ("FastGelu", 2), ("QuickGelu", 1)] {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(FLOAT), r.full_shape(1, 3));
            let types = [ty(dtype, &shape), ty(dtype, &shape[shape.len() - 1..])];
            node(&format!("com.microsoft::{op}"), &types[..count], "")
        };
        cases.push(Case::new(op, make).special().loose());
    }
    for op in ["QuantizeLinear", "DequantizeLinear"] {
        let make = move |r: &mut Random| {
            let (float, int, shape) =
                (r.pick(&["f32", "f16"]), r.pick(&["u8", "i8", "i16", "u16"]), r.full_shape(1, 3));
            let (x, zero) = if op == "QuantizeLinear" { (float, int) } else { (int, int) };
            let head = format!("in %a: {} const %s: {float}[] = 0.0625 in %z: {zero}[]", ty(x, &shape));
            let operands = if r.flag() || op == "QuantizeLinear" { "%a, %s, %z" } else { "%a, %s" };
            graph(&head, &format!("{op}({operands})"))
        };
        cases.push(Case::new(op, make));
    }
    cases.push(Case::new("QLinearLeakyRelu", |r| {
        let (int, shape, point) = (r.pick(&["u8", "i8"]), r.full_shape(1, 3), r.pick(&["", "1"]));
        let head = format!(
            "in %x: {} const %xs: f32[] = 0.0625 in %xz: {int}[{point}] const %ys: f32[{point}] = 0.25 in %yz: {int}[]",
            ty(int, &shape)
        );
        let operands = r.pick(&["%x, %xs, %xz, %ys, %yz", "%x, %xs, _, %ys", "%x, %xs, %xz, %ys"]);
        graph(&head, &format!("com.microsoft::QLinearLeakyRelu({operands}) {{alpha=0.25}}"))
    }));
    cases.push(
        Case::new("CastLike", |r| {
            let (from, to, shape) = (r.pick(NUMERIC), r.pick(NUMERIC), r.shape(0, 3));
            node("CastLike", &[ty(from, &shape), ty(to, &[2])], "")
        })
        .special(),
    );
    for to in DType::ALL {
        // Strings, complex numbers and types narrower than a byte are converted by the reference alone.
        let scalar = to.size().is_some() && !matches!(to, DType::C64 | DType::C128 | DType::F8E8M0);
        let float8 = to.is_float() && to.bits() == 8;
        if !scalar || float8 {
            continue;
        }
        cases.push(
            Case::new("Cast", |r| {
                let (dtype, shape) = (r.pick(&[NUMERIC, BOOL].concat()), r.shape(0, 3));
                node("Cast", &[ty(dtype, &shape)], &format!("to={}", to.onnx()))
            })
            .special(),
        );
    }
    cases
}

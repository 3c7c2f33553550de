//! Operators that move elements and operators that reduce them.

use crate::Case;
use crate::random::{Random, graph, ints, list, node, ty};

const ANY: &[&str] = &["f32", "i64", "i4", "u2", "bool", "f16", "c128", "string", "f8e5m2"];
const REDUCED: &[&str] = &["f32", "f32", "f64", "f16", "bf16", "i32", "i64", "u32", "u64"];

/// Distinct axes of a rank, some counted from the end, in any order.
fn some_axes(r: &mut Random, rank: usize) -> Vec<i64> {
    let mut axes: Vec<i64> = (0..rank as i64).filter(|_| r.flag()).collect();
    if r.flag() {
        axes.reverse();
    }
    axes.iter().map(|a| if r.below(3) == 0 { a - rank as i64 } else { *a }).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases = moves();
    cases.extend(indexed());
    let sums: &[&str] = &["ReduceSum", "ReduceMean", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2"];
    for op in [sums, &["ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMin"]].concat() {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(REDUCED), r.full_shape(0, 4));
            let (axes, keep, noop) = (some_axes(r, shape.len()), r.below(2), r.below(2));
            let axes_given = r.flag();
            let head = format!("in %a: {} {}", ty(dtype, &shape), ints("axes", &axes));
            let operands = if axes_given { "%a, %axes" } else { "%a" };
            graph(&head, &format!("{op}({operands}) {{keepdims={keep}, noop_with_empty_axes={noop}}}"))
        };
        cases.push(Case::new(op, make).loose());
    }
    for op in ["ReduceMax", "ReduceMin"] {
        let make = move |r: &mut Random| {
            let dtype = r.pick(&["bool", "u8", "i8", "f32"]);
            node(op, &[ty(dtype, &r.full_shape(0, 3))], "")
        };
        cases.push(Case::new(op, make).special());
    }
    for op in ["ArgMax", "ArgMin"] {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(&["i8", "f32", "u64", "f16"]), r.full_shape(1, 4));
            let (axis, keep, last) = (r.axis(shape.len()), r.below(2), r.below(2));
            node(op, &[ty(dtype, &shape)], &format!("axis={axis}, keepdims={keep}, select_last_index={last}"))
        };
        cases.push(Case::new(op, make));
    }
    cases.push(
        Case::new("CumSum", |r| {
            let (dtype, shape) = (r.pick(&["f32", "f64", "i32", "i64"]), r.shape(1, 4));
            let head = format!("in %a: {} const %b: i64[] = {}", ty(dtype, &shape), r.axis(shape.len()));
            graph(&head, &format!("CumSum(%a, %b) {{exclusive={}, reverse={}}}", r.below(2), r.below(2)))
        })
        .loose(),
    );
    cases.push(Case::new("TopK", |r| {
        let (dtype, shape) = (r.pick(&["f32", "i8", "i64", "f16"]), r.full_shape(1, 4));
        let axis = r.below(shape.len());
        let k = r.below(shape[axis] + 1);
        let head = format!("in %a: {} {}", ty(dtype, &shape), ints("k", &[k as i64]));
        let attrs = format!("axis={axis}, largest={}", r.below(2));
        format!("graph @g (format 1) {{ {head} %y: f32[..], %z: i64[..] = TopK(%a, %k) {{{attrs}}} out %y out %z }}")
    }));
    cases
}

fn moves() -> Vec<Case> {
    vec![
        Case::new("Reshape", |r| {
            let (dtype, shape) = (r.pick(ANY), r.full_shape(1, 4));
            let mut wanted: Vec<i64> = shape.iter().rev().map(|d| *d as i64).collect();
            let hole = r.below(wanted.len());
            wanted[hole] = -1;
            graph(&format!("in %a: {} {}", ty(dtype, &shape), ints("s", &wanted)), "Reshape(%a, %s)")
        }),
        Case::new("Flatten", |r| {
            let (dtype, shape) = (r.pick(ANY), r.shape(1, 4));
            node("Flatten", &[ty(dtype, &shape)], &format!("axis={}", r.axis(shape.len())))
        }),
        Case::new("Unsqueeze", |r| {
            let (dtype, shape) = (r.pick(ANY), r.shape(0, 3));
            let axes = [r.range(0, shape.len() as i64), -1];
            let axes = if axes[0] == shape.len() as i64 + 1 { &axes[..1] } else { &axes[..] };
            graph(&format!("in %a: {} {}", ty(dtype, &shape), ints("axes", axes)), "Unsqueeze(%a, %axes)")
        }),
        Case::new("Squeeze", |r| {
            let (dtype, mut shape) = (r.pick(ANY), r.shape(0, 3));
            let at = r.below(shape.len() + 1);
            shape.insert(at, 1);
            graph(&format!("in %a: {} {}", ty(dtype, &shape), ints("axes", &[at as i64])), "Squeeze(%a, %axes)")
        }),
        Case::new("Expand", |r| {
            let (dtype, shape) = (r.pick(&["f32", "i64", "bool", "f16"]), r.shape(0, 4));
            let wanted: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
            let x = r.narrower(&shape);
            graph(&format!("in %a: {} {}", ty(dtype, &x), ints("s", &wanted)), "Expand(%a, %s)")
        }),
        Case::new("Transpose", |r| {
            let (dtype, shape) = (r.pick(ANY), r.shape(0, 4));
            let mut perm: Vec<usize> = (0..shape.len()).collect();
            (1..perm.len()).for_each(|i| perm.swap(i, r.below(i + 1)));
            let attrs = if r.below(4) == 0 { String::new() } else { format!("perm={}", list(&perm)) };
            node("Transpose", &[ty(dtype, &shape)], &attrs)
        }),
        Case::new("Slice", |r| {
            let (dtype, shape) = (r.pick(ANY), r.shape(1, 4));
            let axes = some_axes(r, shape.len());
            let mut of = |low, high| axes.iter().map(|_| r.range(low, high)).collect::<Vec<i64>>();
            let (starts, ends, mut steps) = (of(-5, 5), of(-5, 5), of(-2, 3));
            steps.iter_mut().filter(|s| **s == 0).for_each(|s| *s = 1);
            let lists = [("starts", starts), ("ends", ends), ("axes", axes.clone()), ("steps", steps)];
            let consts: String = lists.iter().map(|(n, v)| ints(n, v)).collect();
            graph(&format!("in %a: {} {consts}", ty(dtype, &shape)), "Slice(%a, %starts, %ends, %axes, %steps)")
        }),
        Case::new("Concat", |r| {
            let (dtype, shape, n) = (r.pick(ANY), r.shape(1, 4), 1 + r.below(3));
            let axis = r.axis(shape.len());
            let at = axis.rem_euclid(shape.len() as i64) as usize;
            let types: Vec<String> = (0..n)
                .map(|_| {
                    let mut part = shape.clone();
                    part[at] = r.below(4);
                    ty(dtype, &part)
                })
                .collect();
            node("Concat", &types, &format!("axis={axis}"))
        }),
        Case::new("Tile", |r| {
            let (dtype, shape) = (r.pick(ANY), r.shape(1, 3));
            let repeats: Vec<i64> = shape.iter().map(|_| r.range(0, 3)).collect();
            graph(&format!("in %a: {} {}", ty(dtype, &shape), ints("n", &repeats)), "Tile(%a, %n)")
        }),
        Case::new("ConstantOfShape", |r| {
            let wanted: Vec<i64> = r.shape(0, 3).iter().map(|d| *d as i64).collect();
            let (dtype, value) = r.pick(&[("f32", "-1.5"), ("i64", "7"), ("bool", "true"), ("f16", "nan")]);
            graph(&ints("s", &wanted), &format!("ConstantOfShape(%s) {{value=tensor {dtype}[1] [{value}]}}"))
        }),
        Case::new("CenterCropPad", |r| {
            let (dtype, shape) = (r.pick(&["f32", "i64", "bool", "f16"]), r.full_shape(1, 3));
            let wanted: Vec<i64> = shape.iter().map(|_| r.range(1, 6)).collect();
            graph(&format!("in %a: {} {}", ty(dtype, &shape), ints("s", &wanted)), "CenterCropPad(%a, %s)")
        }),
        Case::new("Pad", |r| {
            let (dtype, shape) = (r.pick(&["f32", "i64", "bool", "f16"]), r.full_shape(1, 3));
            let mode = r.pick(&["constant", "reflect", "edge", "wrap"]);
            let low = if mode == "constant" { -1 } else { 0 };
            let high = |d: usize| if mode == "reflect" { d as i64 - 1 } else { 3 };
            let pads: Vec<i64> =
                [&shape[..], &shape[..]].concat().iter().map(|d| r.range(low.min(high(*d)), high(*d))).collect();
            // Nothing is cut from an axis of one element twice.
            let fits = (0..shape.len()).all(|a| shape[a] as i64 + pads[a] + pads[a + shape.len()] >= 0);
            let pads = if fits { pads } else { vec![1; pads.len()] };
            let (value, operands) =
                if r.flag() { (format!("in %v: {dtype}[]"), "%a, %pads, %v") } else { (String::new(), "%a, %pads") };
            let head = format!("in %a: {} {value} {}", ty(dtype, &shape), ints("pads", &pads));
            graph(&head, &format!("Pad({operands}) {{mode=\"{mode}\"}}"))
        }),
    ]
}

/// Indices into an axis of extent `n`, from both ends.
fn positions(r: &mut Random, n: usize, count: usize) -> Vec<i64> {
    (0..count).map(|_| r.range(-(n as i64), n as i64 - 1)).collect()
}

/// A constant of indices.
fn indices(shape: &[usize], values: &[i64]) -> String {
    let values = if shape.is_empty() { values[0].to_string() } else { list(values) };
    format!("const %i: {} = {values}", ty("i64", shape))
}

fn indexed() -> Vec<Case> {
    let gather = Case::new("Gather", |r| {
        let (dtype, shape, at) = (r.pick(ANY), r.full_shape(1, 4), r.full_shape(0, 2));
        let axis = r.below(shape.len());
        let values = positions(r, shape[axis], at.iter().product());
        graph(
            &format!("in %a: {} {}", ty(dtype, &shape), indices(&at, &values)),
            &format!("Gather(%a, %i) {{axis={axis}}}"),
        )
    });
    let elements = Case::new("GatherElements", |r| {
        let (dtype, shape) = (r.pick(ANY), r.full_shape(1, 4));
        let axis = r.below(shape.len());
        let mut at: Vec<usize> = shape.iter().map(|d| 1 + r.below(*d)).collect();
        at[axis] = 1 + r.below(5);
        let values = positions(r, shape[axis], at.iter().product());
        let node = format!("GatherElements(%a, %i) {{axis={axis}}}");
        graph(&format!("in %a: {} {}", ty(dtype, &shape), indices(&at, &values)), &node)
    });
    let nd = Case::new("GatherND", |r| {
        let (dtype, shape) = (r.pick(ANY), r.full_shape(1, 4));
        let batch = r.below(shape.len());
        let k = 1 + r.below(shape.len() - batch);
        let mut at = shape[..batch].to_vec();
        at.extend(r.full_shape(0, 1));
        let tuples: usize = at.iter().product();
        let values: Vec<i64> = (0..tuples).flat_map(|_| 0..k).map(|i| positions(r, shape[batch + i], 1)[0]).collect();
        at.push(k);
        let node = format!("GatherND(%a, %i) {{batch_dims={batch}}}");
        graph(&format!("in %a: {} {}", ty(dtype, &shape), indices(&at, &values)), &node)
    });
    let scatter = Case::new("ScatterElements", |r| {
        let reduction = r.pick(&["none", "add", "mul", "min", "max"]);
        let dtype = if reduction == "none" { r.pick(ANY) } else { r.pick(&["f32", "i32", "i64", "f64"]) };
        let shape = r.full_shape(1, 3);
        let axis = r.below(shape.len());
        let mut at: Vec<usize> = shape.iter().map(|d| 1 + r.below(*d)).collect();
        at[axis] = 1 + r.below(5);
        let values = positions(r, shape[axis], at.iter().product());
        let head = format!("in %a: {} in %u: {} {}", ty(dtype, &shape), ty(dtype, &at), indices(&at, &values));
        graph(&head, &format!("ScatterElements(%a, %i, %u) {{axis={axis}, reduction=\"{reduction}\"}}"))
    });
    let scatter_nd = Case::new("ScatterND", |r| {
        let reduction = r.pick(&["none", "add", "mul", "min", "max"]);
        let dtype = if reduction == "none" { r.pick(ANY) } else { r.pick(&["f32", "i32", "i64", "f64"]) };
        let shape = r.full_shape(1, 3);
        let (k, mut at) = (1 + r.below(shape.len()), r.full_shape(0, 2));
        let updates = [&at[..], &shape[k..]].concat();
        let tuples: usize = at.iter().product();
        let values: Vec<i64> = (0..tuples).flat_map(|_| 0..k).map(|i| positions(r, shape[i], 1)[0]).collect();
        at.push(k);
        let head = format!("in %a: {} in %u: {} {}", ty(dtype, &shape), ty(dtype, &updates), indices(&at, &values));
        graph(&head, &format!("ScatterND(%a, %i, %u) {{reduction=\"{reduction}\"}}"))
    });
    vec![gather, elements, nd, scatter.loose(), scatter_nd.loose()]
}

//! Layers: products, windows, normalisations, resampling.

use crate::Case;
use crate::random::{Random, graph, list, node, ty};

const FLOAT: &[&str] = &["f32", "f32", "f64", "f16", "bf16"];

pub fn cases() -> Vec<Case> {
    let mut cases = products();
    cases.extend(windows());
    cases.extend(normalisations());
    cases.extend(resampling());
    cases.extend(recurrent());
    cases.into_iter().map(Case::loose).collect()
}

fn products() -> Vec<Case> {
    /// Operands of a batched product.
    fn matrices(r: &mut Random) -> [Vec<usize>; 2] {
        let batch = r.full_shape(0, 2);
        let (m, k, n) = (1 + r.below(5), r.below(6), 1 + r.below(5));
        let (a, b) = (r.narrower(&batch), r.narrower(&batch));
        [[a, vec![m, k]].concat(), [b, vec![k, n]].concat()]
    }
    let matmul = Case::new("MatMul", |r| {
        let (dtype, [a, b]) = (r.pick(FLOAT), matrices(r));
        node("MatMul", &[ty(dtype, &a), ty(dtype, &b)], "")
    });
    let integer = Case::new("MatMulInteger", |r| {
        let ([a, b], left, right) = (matrices(r), r.pick(&["u8", "i8"]), r.pick(&["u8", "i8"]));
        let rows = if r.flag() { vec![] } else { vec![a[a.len() - 2]] };
        let columns = if r.flag() { vec![] } else { vec![b[b.len() - 1]] };
        // A zero point per row is a vector for matrices only.
        let rows = if a.len() > 2 { vec![] } else { rows };
        let columns = if b.len() > 2 { vec![] } else { columns };
        let zeros = [ty(left, &rows), ty(right, &columns)];
        let all = [vec![ty(left, &a), ty(right, &b)], zeros[..r.below(3)].to_vec()].concat();
        node("MatMulInteger", &all, "")
    })
    .special();
    let gemm = Case::new("Gemm", |r| {
        let (dtype, m, k, n) = (r.pick(&["f32", "f64", "f16"]), 1 + r.below(5), 1 + r.below(5), 1 + r.below(5));
        let (ta, tb) = (r.flag(), r.flag());
        let a = if ta { [k, m] } else { [m, k] };
        let b = if tb { [n, k] } else { [k, n] };
        let c = r.narrower(&[m, n]);
        let types = [ty(dtype, &a), ty(dtype, &b), ty(dtype, &c)];
        let attrs = format!("alpha=0.5, beta=1.5, transA={}, transB={}", u8::from(ta), u8::from(tb));
        node("Gemm", &types[..2 + r.below(2)], &attrs)
    });
    vec![matmul, integer, gemm]
}

/// A window over `rank` spatial axes with its attributes.
struct Window {
    spatial: Vec<usize>,
    kernel: Vec<usize>,
    attrs: String,
}

/// `pads` up to the kernel's reach; `dilate`: whether the operator has dilations.
fn window(r: &mut Random, dilate: bool) -> Window {
    let rank = 1 + r.below(3);
    let small = rank == 3;
    let mut of = |low: i64, high: i64| (0..rank).map(|_| r.range(low, high) as usize).collect::<Vec<_>>();
    let (kernel, strides, dilations) = (of(1, if small { 2 } else { 3 }), of(1, 2), of(1, 2));
    let dilations = if dilate { dilations } else { vec![1; rank] };
    let reach: Vec<usize> = (0..rank).map(|a| (kernel[a] - 1) * dilations[a] + 1).collect();
    let spatial: Vec<usize> = reach.iter().map(|n| n + r.below(4)).collect();
    let attrs = if r.below(3) == 0 {
        format!("auto_pad=\"{}\", strides={}", r.pick(&["SAME_UPPER", "SAME_LOWER", "VALID"]), list(&strides))
    } else {
        let pads: Vec<usize> = (0..2 * rank).map(|i| r.below(kernel[i % rank])).collect();
        format!("dilations={}, pads={}, strides={}", list(&dilations), list(&pads), list(&strides))
    };
    Window { spatial, kernel, attrs }
}

fn windows() -> Vec<Case> {
    let mut cases = vec![];
    for (op, types) in [("Conv", FLOAT), ("ConvTranspose", &["f32", "f64", "f16"][..])] {
        let make = move |r: &mut Random| {
            let dtype = r.pick(types);
            let (w, group) = (window(r, true), 1 + r.below(2));
            let (c, m) = (group * (1 + r.below(3)), group * (1 + r.below(3)));
            let filter = if op == "Conv" { [m, c / group] } else { [c, m / group] };
            let x = [&[1 + r.below(2), c], w.spatial.as_slice()].concat();
            let filter = [&filter[..], w.kernel.as_slice()].concat();
            let all = [ty(dtype, &x), ty(dtype, &filter), ty(dtype, &[m])];
            node(op, &all[..2 + r.below(2)], &format!("group={group}, {}", w.attrs))
        };
        cases.push(Case::new(op, make));
    }
    cases.push(
        Case::new("ConvInteger", |r| {
            let (w, group, left, right) =
                (window(r, true), 1 + r.below(2), r.pick(&["u8", "i8"]), r.pick(&["u8", "i8"]));
            let (c, m) = (group * (1 + r.below(2)), group * (1 + r.below(2)));
            let x = [&[1, c], w.spatial.as_slice()].concat();
            let filter = [&[m, c / group], w.kernel.as_slice()].concat();
            let zero = if r.flag() { vec![] } else { vec![m] };
            let all = [ty(left, &x), ty(right, &filter), ty(left, &[]), ty(right, &zero)];
            node("ConvInteger", &all[..2 + r.below(3)], &format!("group={group}, {}", w.attrs))
        })
        .special(),
    );
    for (op, types) in [("MaxPool", &["f32", "f64", "f16", "u8", "i8"][..]), ("AveragePool", FLOAT), ("LpPool", FLOAT)]
    {
        let make = move |r: &mut Random| {
            let dtype = r.pick(types);
            let w = window(r, true);
            let x = [&[1 + r.below(2), 1 + r.below(3)], w.spatial.as_slice()].concat();
            let extra = match op {
                "AveragePool" => format!("count_include_pad={}, ", r.below(2)),
                "LpPool" => format!("p={}, ", 1 + r.below(3)),
                _ => String::new(),
            };
            let ceil = if w.attrs.contains("auto_pad") { 0 } else { r.below(2) };
            let attrs = format!("ceil_mode={ceil}, {extra}kernel_shape={}, {}", list(&w.kernel), w.attrs);
            node(op, &[ty(dtype, &x)], &attrs)
        };
        cases.push(Case::new(op, make));
    }
    for op in ["GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"] {
        let make = move |r: &mut Random| {
            let dtype = r.pick(FLOAT);
            node(op, &[ty(dtype, &r.full_shape(3, 5))], "")
        };
        cases.push(Case::new(op, make));
    }
    cases
}

fn normalisations() -> Vec<Case> {
    let mut cases = vec![];
    for op in ["Softmax", "LogSoftmax"] {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(FLOAT), r.full_shape(1, 4));
            node(op, &[ty(dtype, &shape)], &format!("axis={}", r.axis(shape.len())))
        };
        cases.push(Case::new(op, make));
    }
    for op in ["LayerNormalization", "RMSNormalization"] {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(FLOAT), r.full_shape(1, 4));
            let axis = r.axis(shape.len());
            let tail = shape[axis.rem_euclid(shape.len() as i64) as usize..].to_vec();
            let all = [ty(dtype, &shape), ty(dtype, &tail), ty(dtype, &tail)];
            let n = if op == "LayerNormalization" { 2 + r.below(2) } else { 2 };
            node(op, &all[..n], &format!("axis={axis}, epsilon=0.01"))
        };
        cases.push(Case::new(op, make));
    }
    cases.push(Case::new("InstanceNormalization", |r| {
        let (dtype, shape) = (r.pick(FLOAT), r.full_shape(3, 5));
        let channels = [shape[1]];
        let types = [ty(dtype, &shape), ty(dtype, &channels), ty(dtype, &channels)];
        node("InstanceNormalization", &types, "epsilon=0.01")
    }));
    cases.push(Case::new("GroupNormalization", |r| {
        let (dtype, mut shape, groups) = (r.pick(FLOAT), r.full_shape(3, 5), 1 + r.below(3));
        shape[1] *= groups;
        let channels = [shape[1]];
        let types = [ty(dtype, &shape), ty(dtype, &channels), ty(dtype, &channels)];
        node("GroupNormalization", &types, &format!("epsilon=0.01, num_groups={groups}"))
    }));
    cases
}

fn resampling() -> Vec<Case> {
    let modes = ["nearest", "linear", "cubic"];
    let mut cases = vec![];
    for mode in modes {
        let make = move |r: &mut Random| {
            let (dtype, shape) = (r.pick(&["f32", "f64"]), r.full_shape(3, 4));
            let coordinates =
                ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"];
            let mut attrs = format!("coordinate_transformation_mode=\"{}\", mode=\"{mode}\"", r.pick(&coordinates));
            if mode == "nearest" {
                let nearest = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
                attrs = format!("{attrs}, nearest_mode=\"{}\"", r.pick(&nearest));
            } else {
                attrs = format!("{attrs}, antialias={}, exclude_outside={}", r.below(2), r.below(2));
            }
            let head = format!("in %a: {}", ty(dtype, &shape));
            let spatial = shape.len() - 2;
            if r.flag() {
                let mut scales = vec!["1.0".to_string(); shape.len()];
                // Powers of two: positions are exact in any precision, so that nearest samples are the same.
                (0..spatial).for_each(|a| scales[2 + a] = r.pick(&["0.5", "1.0", "2.0", "4.0"]).to_string());
                let sizes_vanish = (0..spatial).any(|a| scales[2 + a] == "0.5" && shape[2 + a] < 2);
                let scales = if sizes_vanish { vec!["2.0".to_string(); spatial] } else { scales[2..].to_vec() };
                let scales = format!("1.0, 1.0, {}", scales.join(", "));
                let head = format!("{head} const %s: f32[{}] = [{scales}]", shape.len());
                graph(&head, &format!("Resize(%a, _, %s) {{{attrs}}}"))
            } else {
                let mut sizes: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
                (0..spatial).for_each(|a| {
                    let factor = r.pick(&[1, 2, 4]);
                    sizes[2 + a] *= factor;
                });
                graph(
                    &format!("{head} {}", crate::random::ints("s", &sizes)),
                    &format!("Resize(%a, _, _, %s) {{{attrs}}}"),
                )
            }
        };
        cases.push(Case::new("Resize", make));
    }
    for mode in modes {
        let make = move |r: &mut Random| {
            let shape = r.full_shape(3, 4);
            let rank = shape.len();
            let (mut roi, mut sizes) = (vec!["0.0"; rank], shape.clone());
            roi.extend(vec!["1.0"; rank]);
            for a in 2..rank {
                // Eighths: positions are exact in any precision.
                roi[a] = r.pick(&["-0.25", "0.0", "0.125", "0.5"]);
                roi[rank + a] = r.pick(&["0.75", "1.0", "1.5"]);
                sizes[a] = r.pick(&[1, 2, 3, 5]);
            }
            let head = format!("in %a: {} const %r: f32[{}] = [{}]", ty("f32", &shape), 2 * rank, roi.join(", "));
            let sizes = sizes.iter().map(|d| *d as i64).collect::<Vec<_>>();
            let attrs = "coordinate_transformation_mode=\"tf_crop_and_resize\", extrapolation_value=7.5";
            let node = format!("Resize(%a, %r, _, %s) {{{attrs}, mode=\"{mode}\"}}");
            graph(&format!("{head} {}", crate::random::ints("s", &sizes)), &node)
        };
        cases.push(Case::new("Resize", make));
    }
    cases
}

/// Cells by name: gates, operands, results, functions per direction.
const CELLS: &[(&str, usize, usize, usize, usize)] = &[("RNN", 1, 6, 2, 1), ("GRU", 3, 6, 2, 2), ("LSTM", 4, 8, 3, 3)];

fn recurrent() -> Vec<Case> {
    let mut cases = vec![];
    for (op, gates, operands, results, functions) in CELLS {
        let make = move |r: &mut Random| {
            let (steps, batch, input, hidden) = (1 + r.below(4), 1 + r.below(3), 1 + r.below(3), 1 + r.below(3));
            let direction = r.pick(&["forward", "reverse", "bidirectional"]);
            let (d, dtype, layout) =
                (if direction == "bidirectional" { 2 } else { 1 }, r.pick(&["f32", "f64"]), r.below(2));
            let swap = |s: Vec<usize>| if layout == 1 { [vec![s[1], s[0]], s[2..].to_vec()].concat() } else { s };
            let state = swap(vec![d, batch, hidden]);
            let rows = gates * hidden;
            let lengths: Vec<usize> = (0..batch).map(|_| r.below(steps + 1)).collect();
            let shapes = [
                swap(vec![steps, batch, input]),
                vec![d, rows, input],
                vec![d, rows, hidden],
                vec![d, 2 * rows],
                vec![batch],
                state.clone(),
                state,
                vec![d, 3 * hidden],
            ];
            let (mut head, mut names) = (String::new(), vec![]);
            for (i, shape) in shapes.iter().enumerate().take(*operands) {
                if i > 2 && r.below(3) == 0 {
                    names.push("_".to_string());
                    continue;
                }
                head += &match i {
                    4 => format!("const %p4: i32[{batch}] = {} ", list(&lengths)),
                    _ => format!("in %p{i}: {} ", ty(dtype, shape)),
                };
                names.push(format!("%p{i}"));
            }
            let mut attrs = format!("direction=\"{direction}\", hidden_size={hidden}, layout={layout}");
            if r.flag() {
                let all =
                    ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus"];
                let picked: Vec<&str> = (0..d * functions).map(|_| r.pick(&all)).collect();
                attrs = format!("{attrs}, activations={}", list(&picked));
            }
            if r.flag() {
                attrs += ", clip=0.75";
            }
            attrs += match *op {
                "GRU" if r.flag() => ", linear_before_reset=1",
                "LSTM" if r.flag() => ", input_forget=1",
                _ => "",
            };
            let results: Vec<String> = (0..*results).map(|i| format!("%y{i}: {dtype}[..]")).collect();
            let node = format!("{} = {op}({}) {{{attrs}}}", results.join(", "), names.join(", "));
            format!("graph @g (format 1) {{ {head} {node} out %y0 }}")
        };
        cases.push(Case::new(op, make));
    }
    cases
}

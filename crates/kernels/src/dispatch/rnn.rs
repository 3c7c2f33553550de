//! Recurrent layers: LSTM and GRU with their default activations.
//!
//! The gates' inputs of all steps are one product; a step adds its product with the recurrent weights and runs the
//! cell. Weights come as ONNX has them, or transposed and packed in column panels when the plan was built.

use super::{Cx, Form, Operand, Output};
use crate::epilogue::{Activation, Bias, Epilogue, Residual};
use crate::gemm::{Dims, Mat, gemm, pack_b_into, packed_len, sweep};
use crate::rnn::{gru_gates, gru_step, lstm_step};
use planc_kir::{Cell, CellActivationKind, Direction, Rnn};
use planc_tensor::{DType, Layout};

/// Operands, in ONNX order.
const SEQUENCE_LENS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const PEEPHOLES: usize = 7;

/// Whether [`run`] computes a layer over operands and results of these forms.
pub(super) fn supports(rnn: &Rnn, inputs: &[Option<Form>], outputs: &[Option<Form>]) -> bool {
    use CellActivationKind::{Sigmoid, Tanh};
    let (usual, operands): (&[CellActivationKind], usize) = match rnn.cell {
        Cell::Lstm => (&[Sigmoid, Tanh, Tanh], PEEPHOLES + 1),
        Cell::Gru => (&[Sigmoid, Tanh], INITIAL_H + 1),
        Cell::Rnn => return false,
    };
    let kinds = rnn.activations.iter().map(|a| a.kind);
    let expected = usual.iter().copied().cycle().take(usual.len() * directions(rnn));
    let takes = |(i, form): (usize, &Option<Form>)| {
        let Some((dtype, layout)) = *form else { return true };
        let packed = matches!(i, 1 | 2) && layout == Layout::Panels16;
        let wanted = if i == SEQUENCE_LENS { DType::I32 } else { DType::F32 };
        i < operands && dtype == wanted && (layout == Layout::RowMajor || packed)
    };
    kinds.eq(expected)
        && rnn.clip.is_none()
        && !rnn.input_forget
        && inputs.iter().enumerate().all(takes)
        && outputs.iter().flatten().all(|form| *form == (DType::F32, Layout::RowMajor))
}

/// Whether recurrent weights of this layer may be packed as one matrix: the GRU's candidate gate, which is multiplied on
/// its own, must then begin with a panel.
pub fn recurrent_weights_pack(rnn: &Rnn) -> bool {
    rnn.cell == Cell::Lstm || rnn.hidden.is_multiple_of(8)
}

fn directions(rnn: &Rnn) -> usize {
    if rnn.direction == Direction::Both { 2 } else { 1 }
}

/// Extents of a layer.
struct Layer<'a> {
    spec: &'a Rnn,
    directions: usize,
    steps: usize,
    batch: usize,
    /// Columns of x.
    width: usize,
    /// Gates times the state's width.
    rows: usize,
}

impl Layer<'_> {
    /// The row of x, and of the gates' inputs, of a sequence at a step.
    fn row(&self, t: usize, b: usize) -> usize {
        if self.spec.batch_first { b * self.steps + t } else { t * self.batch + b }
    }

    /// Distance between the rows of a step's sequences.
    fn between(&self) -> usize {
        if self.spec.batch_first { self.steps } else { 1 }
    }

    /// Where a sequence's output of a step begins in y.
    fn y_at(&self, t: usize, d: usize, b: usize) -> usize {
        let at = if self.spec.batch_first {
            (b * self.steps + t) * self.directions + d
        } else {
            (t * self.directions + d) * self.batch + b
        };
        at * self.spec.hidden
    }

    /// Where a sequence's state begins.
    fn state_at(&self, d: usize, b: usize) -> usize {
        let at = if self.spec.batch_first { b * self.directions + d } else { d * self.batch + b };
        at * self.spec.hidden
    }

    fn y_shape(&self) -> [usize; 4] {
        let (t, b, d, h) = (self.steps, self.batch, self.directions, self.spec.hidden);
        if self.spec.batch_first { [b, t, d, h] } else { [t, d, b, h] }
    }

    fn state_shape(&self) -> [usize; 3] {
        let (b, d, h) = (self.batch, self.directions, self.spec.hidden);
        if self.spec.batch_first { [b, d, h] } else { [d, b, h] }
    }
}

/// `[x, w, r, b?, sequence_lens?, initial_h?, initial_c?, peepholes?] -> [y?, y_h?, y_c?]`.
pub(super) fn run(
    cx: &mut Cx<'_>,
    spec: &Rnn,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [Option<Output<'_>>],
) -> Result<(), String> {
    let operand = |i: usize| inputs.get(i).copied().flatten();
    let (Some(x), Some(w), Some(r)) = (operand(0), operand(1), operand(2)) else {
        return Err("an operand is missing".into());
    };
    let &[first, second, width] = x.shape else { return Err(format!("{:?} is not a batch of sequences", x.shape)) };
    let (steps, batch) = if spec.batch_first { (second, first) } else { (first, second) };
    let (gates, directions) = (if spec.cell == Cell::Lstm { 4 } else { 3 }, directions(spec));
    let rows = spec.hidden.checked_mul(gates).filter(|n| n.checked_mul(2).is_some());
    let layer = Layer { spec, directions, steps, batch, width, rows: rows.ok_or("too many gates")? };
    let floats = |o: Option<Operand<'_>>, i: usize, shape: &[usize]| match o {
        Some(o) if o.shape != shape => Err(format!("operand {i} is {:?}, not {shape:?}", o.shape)),
        _ => Ok(()),
    };
    let matrix = |o: Operand<'_>, i: usize, k: usize| match o.layout {
        Layout::Panels16 => floats(Some(o), i, &[directions, k, layer.rows]),
        _ => floats(Some(o), i, &[directions, layer.rows, k]),
    };
    matrix(w, 1, width)?;
    matrix(r, 2, spec.hidden)?;
    if r.layout == Layout::Panels16 && !recurrent_weights_pack(spec) {
        return Err("the recurrent weights are packed across gates".into());
    }
    floats(operand(3), 3, &[directions, 2 * layer.rows])?;
    floats(operand(SEQUENCE_LENS), SEQUENCE_LENS, &[batch])?;
    floats(operand(INITIAL_H), INITIAL_H, &layer.state_shape())?;
    floats(operand(INITIAL_C), INITIAL_C, &layer.state_shape())?;
    floats(operand(PEEPHOLES), PEEPHOLES, &[directions, 3 * spec.hidden])?;
    for (i, out) in outputs.iter().enumerate() {
        let shape: &[usize] = if i == 0 { &layer.y_shape() } else { &layer.state_shape() };
        if let Some(out) = out.as_ref().filter(|o| o.shape != shape) {
            return Err(format!("result {i} is {:?}, not {shape:?}", out.shape));
        }
    }
    if spec.hidden == 0 {
        return Ok(());
    }
    let lengths = lengths(&layer, operand(SEQUENCE_LENS))?;
    (0..directions).try_for_each(|d| run_direction(cx, &layer, d, &lengths, inputs, outputs))
}

/// Ranges of sequences and their common number of steps.
fn lengths(layer: &Layer<'_>, given: Option<Operand<'_>>) -> Result<Vec<(std::ops::Range<usize>, usize)>, String> {
    let Some(given) = given else { return Ok(vec![(0..layer.batch, layer.steps)]) };
    let mut groups: Vec<(std::ops::Range<usize>, usize)> = vec![];
    for (b, len) in given.elements::<i32>()?.iter().enumerate() {
        let len = usize::try_from(*len).ok().filter(|n| *n <= layer.steps);
        let len = len.ok_or_else(|| format!("a sequence is not of 0 to {} steps", layer.steps))?;
        match groups.last_mut() {
            Some((range, same)) if *same == len => range.end = b + 1,
            _ => groups.push((b..b + 1, len)),
        }
    }
    Ok(groups)
}

/// The first `n` floats of what is left.
fn take<'s>(rest: &mut &'s mut [f32], n: usize) -> &'s mut [f32] {
    let (first, others) = std::mem::take(rest).split_at_mut(n);
    *rest = others;
    first
}

fn run_direction(
    cx: &mut Cx<'_>,
    layer: &Layer<'_>,
    d: usize,
    lengths: &[(std::ops::Range<usize>, usize)],
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [Option<Output<'_>>],
) -> Result<(), String> {
    let Layer { spec, steps, batch, width, rows, .. } = *layer;
    let hidden = spec.hidden;
    let data = |i: usize| inputs.get(i).copied().flatten().map(|o| o.elements::<f32>()).transpose();
    let packed = |i: usize| inputs[i].is_some_and(|o| o.layout == Layout::Panels16);
    let (x, w, r) = (data(0)?.unwrap_or_default(), data(1)?.unwrap_or_default(), data(2)?.unwrap_or_default());
    let lstm = spec.cell == Cell::Lstm;
    // Gates that are multiplied at once; the GRU's candidate waits for the reset gate.
    let parts: &[usize] = if lstm { &[4 * hidden] } else { &[2 * hidden, hidden] };
    let w_need = if packed(1) { 0 } else { packed_len(width, rows) };
    let r_need = if packed(2) { 0 } else { parts.iter().map(|n| packed_len(hidden, *n)).sum() };
    let state = batch * hidden;
    let mut rest = cx.scratch.floats(steps * batch * rows + w_need + r_need + rows + 8 * state + hidden);
    let projected = take(&mut rest, steps * batch * rows);

    let (w_packed, r_packed): (&[f32], &[f32]);
    if packed(1) {
        let size = packed_len(width, rows);
        w_packed = &w[d * size..(d + 1) * size];
    } else {
        let to = take(&mut rest, w_need);
        let from = Mat { data: &w[d * rows * width..(d + 1) * rows * width], rs: 1, cs: width };
        pack_b_into(cx.par, width, rows, from, to);
        w_packed = to;
    }
    if packed(2) {
        let size = packed_len(hidden, rows);
        r_packed = &r[d * size..(d + 1) * size];
    } else {
        let to = take(&mut rest, r_need);
        let (mut column, mut at) = (d * rows, 0);
        for n in parts {
            let from = Mat { data: &r[column * hidden..(column + n) * hidden], rs: 1, cs: hidden };
            pack_b_into(cx.par, hidden, *n, from, &mut to[at..at + packed_len(hidden, *n)]);
            column += n;
            at += packed_len(hidden, *n);
        }
        r_packed = to;
    }

    // Both biases go with the input, but that of the candidate where the reset gate acts after the product.
    let bias = take(&mut rest, rows);
    let candidate_bias = take(&mut rest, hidden);
    bias.fill(0.0);
    candidate_bias.fill(0.0);
    if let Some(b) = data(3)? {
        let (input, recurrent) = b[d * 2 * rows..(d + 1) * 2 * rows].split_at(rows);
        bias.copy_from_slice(input);
        let joined = if !lstm && spec.linear_before_reset { 2 * hidden } else { rows };
        bias[..joined].iter_mut().zip(recurrent).for_each(|(a, b)| *a += b);
        if joined < rows {
            candidate_bias.copy_from_slice(&recurrent[joined..]);
        }
    }
    let dims = Dims { m: steps * batch, n: rows, k: width };
    let e = Epilogue::new(Bias::PerCol(bias), Activation::None);
    gemm(cx.isa, cx.par, dims, Mat::rows(x, width), w_packed, projected, rows, &e, &mut []);

    let (h, c) = (take(&mut rest, state), take(&mut rest, state));
    for (to, from) in [(&mut *h, data(INITIAL_H)?), (&mut *c, data(INITIAL_C)?)] {
        for (b, to) in to.chunks_exact_mut(hidden).enumerate() {
            match from {
                Some(from) => to.copy_from_slice(&from[layer.state_at(d, b)..][..hidden]),
                None => to.fill(0.0),
            }
        }
    }
    let sums = take(&mut rest, parts[0] * batch);
    let [reset_h, candidate] = if lstm { [&mut [][..], &mut []] } else { [(); 2].map(|()| take(&mut rest, state)) };
    let peephole = data(PEEPHOLES)?.map(|p| &p[d * 3 * hidden..(d + 1) * 3 * hidden]);
    let backwards = spec.direction == Direction::Reverse || d == 1;
    let (first_y, states) = match outputs.split_first_mut() {
        Some((y, states)) => (y.as_mut(), states),
        None => (None, &mut [][..]),
    };
    let mut y = first_y.map(Output::elements).transpose()?;
    let (isa, par) = (cx.isa, cx.par);
    // The gates' inputs of these sequences at a step, from a gate on, as what a product is added to.
    let part = |t: usize, b: usize, gate: usize| {
        Residual::new(&projected[layer.row(t, b) * rows + gate * hidden..], layer.between() * rows)
    };
    for (range, length) in lengths {
        let (b, m) = (range.start, range.len());
        if m == 0 {
            continue;
        }
        let state = b * hidden..range.end * hidden;
        let (h, c) = (&mut h[state.clone()], &mut c[state]);
        let sums = &mut sums[..m * parts[0]];
        let dims = |n: usize| Dims { m, n, k: hidden };
        for n in 0..*length {
            let t = if backwards { length - 1 - n } else { n };
            let e = Epilogue { residual: Some(part(t, b, 0)), ..Epilogue::default() };
            // In turn from either end: what the last step ended with is still in cache.
            let a = Mat::rows(h, hidden);
            sweep(isa, par, dims(parts[0]), a, r_packed, sums, parts[0], &e, &mut [], n % 2 == 1);
            if lstm {
                lstm_step(isa, hidden, sums, peephole, c, h);
            } else {
                let (reset_h, candidate) = (&mut reset_h[..m * hidden], &mut candidate[..m * hidden]);
                let weights = &r_packed[packed_len(hidden, parts[0])..];
                gru_gates(isa, hidden, sums, h, reset_h);
                if spec.linear_before_reset {
                    let e = Epilogue::new(Bias::PerCol(candidate_bias), Activation::None);
                    gemm(isa, par, dims(hidden), Mat::rows(h, hidden), weights, reset_h, hidden, &e, &mut []);
                    for (i, to) in candidate.chunks_exact_mut(hidden).enumerate() {
                        to.copy_from_slice(&projected[layer.row(t, b + i) * rows + 2 * hidden..][..hidden]);
                    }
                    gru_step(isa, hidden, sums, candidate, Some(reset_h), h);
                } else {
                    let e = Epilogue { residual: Some(part(t, b, 2)), ..Epilogue::default() };
                    gemm(isa, par, dims(hidden), Mat::rows(reset_h, hidden), weights, candidate, hidden, &e, &mut []);
                    gru_step(isa, hidden, sums, candidate, None, h);
                }
            }
            if let Some(y) = &mut y {
                for (i, row) in h.chunks_exact(hidden).enumerate() {
                    y[layer.y_at(t, d, b + i)..][..hidden].copy_from_slice(row);
                }
            }
        }
        if let Some(y) = &mut y {
            for (t, i) in (*length..steps).flat_map(|t| range.clone().map(move |i| (t, i))) {
                y[layer.y_at(t, d, i)..][..hidden].fill(0.0);
            }
        }
    }
    for (out, from) in states.iter_mut().zip([&*h, &*c]) {
        let Some(out) = out else { continue };
        let out = out.elements()?;
        for (b, from) in from.chunks_exact(hidden).enumerate() {
            out[layer.state_at(d, b)..][..hidden].copy_from_slice(from);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Against the interpreter, over cells, directions, layouts and optional operands.

    use super::super::check::{agrees, floats, i32s};
    use super::*;
    use crate::check::Rng;
    use crate::gemm::pack_b;
    use planc_kir::{CellActivation, Kernel};
    use planc_tensor::{Element, Tensor};

    fn layer(cell: Cell, direction: Direction, hidden: usize, batch_first: bool, linear_before_reset: bool) -> Rnn {
        use CellActivationKind::{Sigmoid, Tanh};
        let kinds: &[_] = if cell == Cell::Lstm { &[Sigmoid, Tanh, Tanh] } else { &[Sigmoid, Tanh] };
        let count = kinds.len() * if direction == Direction::Both { 2 } else { 1 };
        let activations = kinds.iter().cycle().take(count);
        let activations = activations.map(|kind| CellActivation { kind: *kind, alpha: 0.0, beta: 0.0 }).collect();
        let (clip, input_forget) = (None, false);
        Rnn { cell, direction, hidden, activations, clip, batch_first, linear_before_reset, input_forget }
    }

    #[test]
    fn layers() {
        let mut rng = Rng::new(5);
        let extents = [(1, 1, 1, 1), (3, 2, 5, 17), (7, 3, 16, 8), (0, 2, 3, 4), (2, 1, 33, 48)];
        for (case, (steps, batch, width, hidden)) in extents.into_iter().enumerate() {
            for cell in [Cell::Lstm, Cell::Gru] {
                for direction in [Direction::Forward, Direction::Reverse, Direction::Both] {
                    // A third of the combinations each, in turn.
                    for bits in (0..16usize).filter(|bits| (bits + case + direction as usize).is_multiple_of(3)) {
                        let (batch_first, linear) = (bits & 1 != 0, bits & 2 != 0);
                        let (optional, lens) = (bits & 4 != 0, bits & 8 != 0);
                        let spec = layer(cell, direction, hidden, batch_first, linear);
                        let d = directions(&spec);
                        let rows = hidden * if cell == Cell::Lstm { 4 } else { 3 };
                        let x = if batch_first { [batch, steps, width] } else { [steps, batch, width] };
                        let state = if batch_first { [batch, d, hidden] } else { [d, batch, hidden] };
                        let y = if batch_first { [batch, steps, d, hidden] } else { [steps, d, batch, hidden] };
                        let some = |t: Tensor, yes: bool| yes.then_some(t);
                        let mut lengths: Vec<i32> = (0..batch).map(|b| (steps * (b + 1) / batch) as i32).collect();
                        lengths.reverse();
                        let lstm = cell == Cell::Lstm;
                        let inputs = [
                            Some(floats(&mut rng, &x)),
                            Some(floats(&mut rng, &[d, rows, width])),
                            Some(floats(&mut rng, &[d, rows, hidden])),
                            some(floats(&mut rng, &[d, 2 * rows]), optional),
                            some(i32s(&[batch], &lengths), lens),
                            some(floats(&mut rng, &state), optional),
                            some(floats(&mut rng, &state), optional && lstm),
                            some(floats(&mut rng, &[d, 3 * hidden]), optional && lstm && case % 2 == 1),
                        ];
                        let results =
                            [(DType::F32, y.to_vec()), (DType::F32, state.into()), (DType::F32, state.into())];
                        let kernel = Kernel::Rnn(spec);
                        agrees(&kernel, &inputs, &results[..if lstm { 3 } else { 2 }], 1e-5);
                    }
                }
            }
        }
    }

    /// Packed weights give the same numbers, and results may be omitted.
    #[test]
    fn packed_weights() {
        let mut rng = Rng::new(6);
        let (steps, batch, width, hidden) = (4, 2, 5, 24);
        for cell in [Cell::Lstm, Cell::Gru] {
            let spec = layer(cell, Direction::Both, hidden, false, false);
            let rows = hidden * if cell == Cell::Lstm { 4 } else { 3 };
            let x = rng.vec(steps * batch * width);
            let (w, r) = (rng.vec(2 * rows * width), rng.vec(2 * rows * hidden));
            let pack = |m: &[f32], k: usize| -> Vec<f32> {
                m.chunks_exact(rows * k).flat_map(|m| pack_b(k, rows, m, 1, k)).collect()
            };
            let (wp, rp) = (pack(&w, width), pack(&r, hidden));
            let run_with = |w: (&[f32], &[usize], Layout), r: (&[f32], &[usize], Layout)| {
                let input = |(data, shape, layout)| {
                    Some(Operand { dtype: DType::F32, shape, layout, bytes: f32::to_bytes(data) })
                };
                let extents = [steps, batch, width];
                let inputs = [input((&x[..], &extents[..], Layout::RowMajor)), input(w), input(r)];
                let mut last = vec![0f32; 2 * batch * hidden];
                let shape = [2, batch, hidden];
                let (dtype, layout, bytes) = (DType::F32, Layout::RowMajor, bytemuck::cast_slice_mut(&mut last));
                let mut outputs = [None, Some(Output { dtype, shape: &shape, layout, bytes })];
                let isa = crate::isa::Isa::detect();
                let mut cx =
                    Cx { isa, par: &crate::par::Serial, scratch: &mut Default::default(), eval: &|d| d.as_const() };
                super::super::run(&mut cx, &Kernel::Rnn(spec.clone()), None, &inputs, &mut outputs).unwrap();
                last
            };
            let plain = run_with((&w, &[2, rows, width], Layout::RowMajor), (&r, &[2, rows, hidden], Layout::RowMajor));
            let packed =
                run_with((&wp, &[2, width, rows], Layout::Panels16), (&rp, &[2, hidden, rows], Layout::Panels16));
            assert_eq!(plain, packed);
        }
    }
}

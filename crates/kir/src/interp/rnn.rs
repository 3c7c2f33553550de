//! Recurrent layers, by the equations of ONNX `RNN`, `GRU` and `LSTM`.

use super::array::{Array, write};
use super::index::{count, flatten};
use super::scalar::{Scalar, sigmoid};
use super::{Cx, InterpError, MAX_ELEMENTS, Result, shape_error};
use crate::{Cell, CellActivation, CellActivationKind, Direction, Rnn};
use planc_tensor::Tensor;

/// Everything about one direction of a layer.
struct Layer<'a> {
    rnn: &'a Rnn,
    number: usize,
    w: &'a Array,
    r: &'a Array,
    bias: Option<&'a Array>,
    peepholes: Option<&'a Array>,
    activations: &'a [CellActivation],
}

impl Layer<'_> {
    /// The gate's part of a product with the input: row `gate * hidden + j` of `w` times `x`.
    fn input(&self, gate: usize, j: usize, x: &[f64]) -> f64 {
        let row = gate * self.rnn.hidden + j;
        x.iter().enumerate().map(|(i, x)| self.w.float(&[self.number, row, i]) * x).sum()
    }

    /// The same with the state.
    fn recurrent(&self, gate: usize, j: usize, h: &[f64]) -> f64 {
        let row = gate * self.rnn.hidden + j;
        h.iter().enumerate().map(|(i, h)| self.r.float(&[self.number, row, i]) * h).sum()
    }

    /// The bias beside the input's (`recurrent`: the state's) product.
    fn bias(&self, gate: usize, j: usize, recurrent: bool) -> f64 {
        let gates = gate_count(self.rnn.cell);
        let row = (gate + if recurrent { gates } else { 0 }) * self.rnn.hidden + j;
        self.bias.map_or(0.0, |b| b.float(&[self.number, row]))
    }

    /// Everything that goes into a gate but peepholes.
    fn gate(&self, gate: usize, j: usize, x: &[f64], h: &[f64]) -> f64 {
        self.input(gate, j, x) + self.recurrent(gate, j, h) + self.bias(gate, j, false) + self.bias(gate, j, true)
    }

    /// Weights of peepholes stand in the order i, o, f.
    fn peephole(&self, gate: usize, j: usize, c: f64) -> f64 {
        self.peepholes.map_or(0.0, |p| p.float(&[self.number, gate * self.rnn.hidden + j]) * c)
    }

    /// Activation number `n` of `v`, bounded before.
    fn activate(&self, n: usize, v: f64) -> f64 {
        let v = self.rnn.clip.map_or(v, |c| v.max(-f64::from(c)).min(c.into()));
        activation(&self.activations[n], v)
    }

    /// One step: the next state and cell state.
    fn step(&self, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let width = 0..self.rnn.hidden;
        match self.rnn.cell {
            Cell::Rnn => (width.map(|j| self.activate(0, self.gate(0, j, x, h))).collect(), c.to_vec()),
            Cell::Gru => {
                let z: Vec<f64> = width.clone().map(|j| self.activate(0, self.gate(0, j, x, h))).collect();
                let r: Vec<f64> = width.clone().map(|j| self.activate(0, self.gate(1, j, x, h))).collect();
                let reset: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
                let candidate = |j: usize| {
                    let recurrent = if self.rnn.linear_before_reset {
                        r[j] * (self.recurrent(2, j, h) + self.bias(2, j, true))
                    } else {
                        self.recurrent(2, j, &reset) + self.bias(2, j, true)
                    };
                    self.activate(1, self.input(2, j, x) + recurrent + self.bias(2, j, false))
                };
                (width.map(|j| (1.0 - z[j]) * candidate(j) + z[j] * h[j]).collect(), c.to_vec())
            }
            Cell::Lstm => {
                let (mut next_h, mut next_c) = (vec![], vec![]);
                for j in width {
                    let i = self.activate(0, self.gate(0, j, x, h) + self.peephole(0, j, c[j]));
                    let f = if self.rnn.input_forget {
                        1.0 - i
                    } else {
                        self.activate(0, self.gate(2, j, x, h) + self.peephole(2, j, c[j]))
                    };
                    let cell = f * c[j] + i * self.activate(1, self.gate(3, j, x, h));
                    let o = self.activate(0, self.gate(1, j, x, h) + self.peephole(1, j, cell));
                    next_h.push(o * activation(&self.activations[2], cell));
                    next_c.push(cell);
                }
                (next_h, next_c)
            }
        }
    }
}

fn gate_count(cell: Cell) -> usize {
    match cell {
        Cell::Rnn => 1,
        Cell::Gru => 3,
        Cell::Lstm => 4,
    }
}

fn activation(a: &CellActivation, x: f64) -> f64 {
    let (alpha, beta) = (f64::from(a.alpha), f64::from(a.beta));
    match a.kind {
        CellActivationKind::Relu => x.max(0.0),
        CellActivationKind::Tanh => x.tanh(),
        CellActivationKind::Sigmoid => sigmoid(x),
        CellActivationKind::Affine => alpha * x + beta,
        CellActivationKind::LeakyRelu if x < 0.0 => alpha * x,
        CellActivationKind::LeakyRelu => x,
        CellActivationKind::ThresholdedRelu if x < alpha => 0.0,
        CellActivationKind::ThresholdedRelu => x,
        CellActivationKind::ScaledTanh => alpha * (beta * x).tanh(),
        CellActivationKind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
        CellActivationKind::Elu if x < 0.0 => alpha * x.exp_m1(),
        CellActivationKind::Elu => x,
        CellActivationKind::Softsign => x / (1.0 + x.abs()),
        CellActivationKind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

pub(super) fn rnn(cx: &Cx<'_>, rnn: &Rnn) -> Result<Vec<Tensor>> {
    let (x, w, r) = (cx.array(0)?, cx.array(1)?, cx.array(2)?);
    [&x, &w, &r].into_iter().try_for_each(Array::expect_float)?;
    let (gates, hidden) = (gate_count(rnn.cell), rnn.hidden);
    let directions = if rnn.direction == Direction::Both { 2 } else { 1 };
    let functions = match rnn.cell {
        Cell::Rnn => 1,
        Cell::Gru => 2,
        Cell::Lstm => 3,
    };
    if rnn.activations.len() != functions * directions {
        return shape_error(format!("needs {} activations", functions * directions));
    }
    let [first, second, inputs] = *x.shape.as_slice() else { return shape_error("the operand has not 3 axes") };
    let (steps, batch) = if rnn.batch_first { (second, first) } else { (first, second) };
    let Some(rows) = hidden.checked_mul(2 * gates).map(|n| n / 2) else { return shape_error("too many gates") };
    w.expect(&[directions, rows, inputs], "operand 1")?;
    r.expect(&[directions, rows, hidden], "operand 2")?;
    let state_shape = if rnn.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let state_index = |d: usize, b: usize, j: usize| if rnn.batch_first { [b, d, j] } else { [d, b, j] };
    let optional = |i: usize, shape: &[usize]| -> Result<Option<Array>> {
        let a = cx.optional_array(i)?;
        a.as_ref().map_or(Ok(()), |a| a.expect(shape, &format!("operand {i}")))?;
        Ok(a)
    };
    let bias = optional(3, &[directions, 2 * rows])?;
    let lengths = optional(4, &[batch])?;
    let (initial_h, initial_c) = (optional(5, &state_shape)?, optional(6, &state_shape)?);
    let peepholes = optional(7, &[directions, hidden.saturating_mul(3)])?;
    let y_shape =
        if rnn.batch_first { vec![batch, steps, directions, hidden] } else { vec![steps, directions, batch, hidden] };
    let shapes = [y_shape, state_shape.to_vec(), state_shape.to_vec()];
    for (i, (_, shape)) in cx.outputs.iter().enumerate() {
        if *shape != shapes[i] {
            return shape_error(format!("result {i} is {shape:?}, not {:?}", shapes[i]));
        }
    }
    if shapes.iter().any(|s| count(s) > MAX_ELEMENTS) {
        return Err(InterpError::Limit("the results are too large".into()));
    }
    let zeros = |shape: &[usize]| vec![Scalar::Float(0.0); count(shape)];
    let (mut y, mut last_h, mut last_c) = (zeros(&shapes[0]), zeros(&shapes[1]), zeros(&shapes[2]));
    for d in 0..directions {
        let activations = &rnn.activations[d * functions..(d + 1) * functions];
        let layer =
            Layer { rnn, number: d, w: &w, r: &r, bias: bias.as_ref(), peepholes: peepholes.as_ref(), activations };
        let backwards = rnn.direction == Direction::Reverse || d == 1;
        for b in 0..batch {
            let length = match &lengths {
                Some(l) => match l.at(&[b]) {
                    Scalar::Int(n) => usize::try_from(n).ok().filter(|n| *n <= steps),
                    Scalar::Float(_) => None,
                }
                .ok_or_else(|| InterpError::Value(format!("a sequence is not of 0 to {steps} steps")))?,
                None => steps,
            };
            let initial = |a: &Option<Array>| -> Vec<f64> {
                (0..hidden).map(|j| a.as_ref().map_or(0.0, |a| a.float(&state_index(d, b, j)))).collect()
            };
            let (mut h, mut c) = (initial(&initial_h), initial(&initial_c));
            for n in 0..length {
                let t = if backwards { length - 1 - n } else { n };
                let at = |i: usize| if rnn.batch_first { [b, t, i] } else { [t, b, i] };
                let input: Vec<f64> = (0..inputs).map(|i| x.float(&at(i))).collect();
                (h, c) = layer.step(&input, &h, &c);
                for (j, v) in h.iter().enumerate() {
                    let index = if rnn.batch_first { [b, t, d, j] } else { [t, d, b, j] };
                    y[flatten(&shapes[0], &index)] = Scalar::Float(*v);
                }
            }
            for j in 0..hidden {
                let to = flatten(&state_shape, &state_index(d, b, j));
                last_h[to] = Scalar::Float(h[j]);
                last_c[to] = Scalar::Float(c[j]);
            }
        }
    }
    let results = [y, last_h, last_c].into_iter().zip(shapes).zip(cx.outputs);
    results.map(|((data, shape), (dtype, _))| write(*dtype, &shape, data)).collect()
}

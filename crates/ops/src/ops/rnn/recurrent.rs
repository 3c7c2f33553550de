//! What RNN, GRU and LSTM share: attributes, inference, lowering and the walk over a sequence. Formulas and gate
//! orders are those of the ONNX operators.

use crate::convolve::agree;
use crate::floats::{narrow, widen, widen_opt};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpError, Upgrade, operand};
use planc_ir::Attrs;
use planc_kir::{Cell, CellActivation, CellActivationKind as Act, Direction, Kernel, Rnn};
use planc_tensor::{Dim, Tensor, View};

/// Attributes that all recurrent operators have.
pub(crate) const ATTRS: [AttrDef; 8] = [
    AttrDef::optional("activation_alpha", AttrKind::Floats),
    AttrDef::optional("activation_beta", AttrKind::Floats),
    AttrDef::optional("activations", AttrKind::Strs),
    AttrDef::optional("clip", AttrKind::Float),
    AttrDef::str("direction", "forward"),
    AttrDef::optional("hidden_size", AttrKind::Int),
    AttrDef::int("layout", 0).since(14),
    AttrDef::int("output_sequence", 0).until(7),
];

/// Before opset 7 an attribute said whether the first result is wanted; asking for it says the same.
pub(crate) const UPGRADES: &[Upgrade] = &[Upgrade {
    to: 7,
    step: |cx| {
        cx.attrs.take("output_sequence");
        Ok(())
    },
}];

/// Rows of a weight matrix per unit of state.
pub(crate) const fn gates(cell: Cell) -> usize {
    match cell {
        Cell::Rnn => 1,
        Cell::Gru => 3,
        Cell::Lstm => 4,
    }
}

/// The activations that are used when a node names none, for one direction.
fn defaults(cell: Cell) -> &'static [&'static str] {
    match cell {
        Cell::Rnn => &["Tanh"],
        Cell::Gru => &["Sigmoid", "Tanh"],
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
    }
}

/// Name, function, default alpha and beta, how many of the two it takes.
const ACTIVATIONS: [(&str, Act, f32, f32, usize); 11] = [
    ("relu", Act::Relu, 0.0, 0.0, 0),
    ("tanh", Act::Tanh, 0.0, 0.0, 0),
    ("sigmoid", Act::Sigmoid, 0.0, 0.0, 0),
    ("affine", Act::Affine, 1.0, 0.0, 2),
    ("leakyrelu", Act::LeakyRelu, 0.01, 0.0, 1),
    ("thresholdedrelu", Act::ThresholdedRelu, 1.0, 0.0, 1),
    ("scaledtanh", Act::ScaledTanh, 1.0, 1.0, 2),
    ("hardsigmoid", Act::HardSigmoid, 0.2, 0.5, 2),
    ("elu", Act::Elu, 1.0, 0.0, 1),
    ("softsign", Act::Softsign, 0.0, 0.0, 0),
    ("softplus", Act::Softplus, 0.0, 0.0, 0),
];

/// The node's attributes as the kernel wants them.
///
/// # Errors
/// When one is wrong.
pub(crate) fn layer(attrs: &Attrs, cell: Cell, hidden: usize) -> Result<Rnn, OpError> {
    let direction = match attrs.str("direction").unwrap_or("forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        other => return Err(OpError::attribute(format!("direction is {other:?}"))),
    };
    let count = directions(direction);
    let names: Vec<&str> = match attrs.strs("activations").filter(|a| !a.is_empty()) {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => defaults(cell).repeat(count),
    };
    let want = defaults(cell).len() * count;
    // Models of one direction may carry RNN's default of two activations.
    let names = if cell == Cell::Rnn && names.len() == 2 && want == 1 { names[..1].to_vec() } else { names };
    if names.len() != want {
        return Err(OpError::attribute(format!("activations has {} names, not {want}", names.len())));
    }
    // Parameters are consumed in order by the activations that take them.
    let mut alphas = attrs.floats("activation_alpha").unwrap_or_default().iter();
    let mut betas = attrs.floats("activation_beta").unwrap_or_default().iter();
    let mut activations = Vec::with_capacity(want);
    for name in names {
        let found = ACTIVATIONS.iter().find(|a| a.0.eq_ignore_ascii_case(name));
        let (_, kind, alpha, beta, takes) =
            *found.ok_or_else(|| OpError::attribute(format!("no activation {name:?} within a recurrent cell")))?;
        let alpha = if takes >= 1 { alphas.next().copied().unwrap_or(alpha) } else { alpha };
        let beta = if takes >= 2 { betas.next().copied().unwrap_or(beta) } else { beta };
        activations.push(CellActivation { kind, alpha, beta });
    }
    let clip = attrs.float("clip").filter(|c| *c > 0.0);
    let flag = |name| attrs.int(name).is_some_and(|v| v != 0);
    Ok(Rnn {
        cell,
        direction,
        hidden,
        activations,
        clip,
        batch_first: flag("layout"),
        linear_before_reset: flag("linear_before_reset"),
        input_forget: flag("input_forget"),
    })
}

/// Number of directions.
pub(crate) const fn directions(d: Direction) -> usize {
    if matches!(d, Direction::Both) { 2 } else { 1 }
}

/// The width of the state: `hidden_size`, else what the weights say.
fn hidden(attrs: &Attrs, r: Option<&[Dim]>) -> Result<Option<usize>, OpError> {
    match attrs.int("hidden_size") {
        Some(h) => match usize::try_from(h).ok().filter(|h| *h > 0 && *h < 1 << 31) {
            Some(h) => Ok(Some(h)),
            None => Err(OpError::attribute(format!("hidden_size is {h}"))),
        },
        None => Ok(r.and_then(|r| r.get(2)).and_then(Dim::as_usize)),
    }
}

/// Inference of all results. With `transposed` weights are `[directions, in, gates * hidden]`.
///
/// # Errors
/// When attributes or shapes are wrong.
pub(crate) fn infer(cx: &mut InferCx<'_>, cell: Cell, transposed: bool) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let (x, w, r) = (cx.shape(0)?, cx.shape(1)?, cx.shape(2)?);
    for (name, s) in [("X", x), ("W", w), ("R", r)] {
        if let Some(s) = s.filter(|s| s.len() != 3) {
            return Err(OpError::shape(format!("{name} has rank {}, not 3", s.len())));
        }
    }
    let hidden =
        if transposed { hidden(cx.attrs(), None)?.or(r.and_then(|r| r[1].as_usize())) } else { hidden(cx.attrs(), r)? };
    let layer = layer(cx.attrs(), cell, hidden.unwrap_or(0))?;
    let d = Dim::from(directions(layer.direction));
    let (rows, columns) = if transposed { (2, 1) } else { (1, 2) };
    for s in [w, r].into_iter().flatten() {
        agree(&s[0], &d, "weights and direction differ in the number of directions")?;
        if let Some(h) = hidden {
            let want = Dim::from(h) * Dim::from(gates(cell));
            agree(&s[rows], &want, "the weights have another number of rows than gates times hidden_size")?;
        }
    }
    if let (Some(h), Some(r)) = (hidden, r) {
        agree(&r[columns], &Dim::from(h), "the recurrent weights do not fit hidden_size")?;
    }
    if let (Some(x), Some(w)) = (x, w) {
        agree(&x[2], &w[columns], "data and weights differ in input size")?;
    }
    let (t, b) = if layer.batch_first { (1, 0) } else { (0, 1) };
    let extent = |i: usize, axis: usize| x.map_or_else(|| cx.fresh(0, axis), |x| x[i].clone());
    let width = hidden.map_or_else(|| cx.fresh(0, 3), Dim::from);
    let (time, batch) = (extent(t, 0), extent(b, 2));
    let (all, last) = if layer.batch_first {
        (vec![batch.clone(), time, d.clone(), width.clone()], vec![batch, d, width])
    } else {
        (vec![time, d.clone(), batch.clone(), width.clone()], vec![d, batch, width])
    };
    cx.set_tensor(0, dtype, all);
    cx.set_tensor(1, dtype, last.clone());
    cx.set_tensor(2, dtype, last);
    Ok(())
}

/// Lowering to an `Rnn` kernel.
pub(crate) fn lower(cx: &LowerCx<'_>, cell: Cell) -> Lowered {
    let hidden = cx.shape(2).ok().and_then(|r| hidden(cx.attrs(), r).ok()?);
    match hidden.and_then(|h| layer(cx.attrs(), cell, h).ok()) {
        Some(layer) => Lowered::kernel(Kernel::Rnn(layer), cx.input_count()),
        None => Lowered::Reference,
    }
}

/// The operands of a layer about to run, widened, with checked element counts.
pub(crate) struct Run {
    pub layer: Rnn,
    pub time: usize,
    pub batch: usize,
    pub input: usize,
    pub x: Vec<f64>,
    pub w: Vec<f64>,
    pub r: Vec<f64>,
    pub bias: Option<Vec<f64>>,
    pub lengths: Option<Vec<i64>>,
    pub initial: [Option<Vec<f64>>; 2],
    pub peepholes: Option<Vec<f64>>,
    /// Applied to the state before it meets the recurrent weights: quantised operators round it there.
    pub round: fn(&mut [f64]),
}

/// Evaluates a layer whose operands stand where the LSTM's do.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], cell: Cell) -> Result<Vec<Tensor>, OpError> {
    let (x, w, r) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
    let at = |i: usize| inputs.get(i).copied().flatten();
    let hidden = match r.shape() {
        [_, _, h] => *h,
        s => return Err(OpError::shape(format!("R has rank {}, not 3", s.len()))),
    };
    let layer = layer(cx.attrs(), cell, hidden)?;
    let run = Run::new(layer, x, [widen(w)?, widen(r)?], at)?;
    run.results(cx, x.dtype())
}

impl Run {
    /// Takes the operands; `at(i)` is optional operand `i`.
    ///
    /// # Errors
    /// When an element count is not what the attributes say.
    pub fn new<'v>(
        layer: Rnn,
        x: View<'v>,
        [w, r]: [Vec<f64>; 2],
        at: impl Fn(usize) -> Option<View<'v>>,
    ) -> Result<Run, OpError> {
        let [a, b, input] = x.shape() else { return Err(OpError::shape(format!("X has rank {}, not 3", x.rank()))) };
        let (time, batch) = if layer.batch_first { (*b, *a) } else { (*a, *b) };
        let (d, h, g) = (directions(layer.direction), layer.hidden, gates(layer.cell));
        let lengths = match at(4) {
            Some(v) => Some(v.to_i64().ok_or_else(|| OpError::type_("sequence_lens is not of integers"))?),
            None => None,
        };
        let run = Run {
            time,
            batch,
            input: *input,
            x: widen(x)?,
            w,
            r,
            bias: widen_opt(at(3))?,
            lengths,
            initial: [widen_opt(at(5))?, widen_opt(at(6))?],
            peepholes: widen_opt(at(7))?,
            layer,
            round: |_| {},
        };
        let counts = [
            ("W", Some(run.w.len()), d * g * h * input),
            ("R", Some(run.r.len()), d * g * h * h),
            ("B", run.bias.as_ref().map(Vec::len), d * 2 * g * h),
            ("sequence_lens", run.lengths.as_ref().map(Vec::len), batch),
            ("initial_h", run.initial[0].as_ref().map(Vec::len), d * batch * h),
            ("initial_c", run.initial[1].as_ref().map(Vec::len), d * batch * h),
            ("P", run.peepholes.as_ref().map(Vec::len), d * 3 * h),
        ];
        for (name, have, want) in counts {
            if let Some(have) = have.filter(|n| *n != want) {
                return Err(OpError::shape(format!("{name} has {have} elements, not {want}")));
            }
        }
        if let Some(bad) = run.lengths.iter().flatten().find(|n| **n < 0 || **n > time as i64) {
            return Err(OpError::value(format!("a sequence of length {bad} within {time}")));
        }
        Ok(run)
    }

    /// Where the state of a direction and batch element lies in a state tensor.
    fn state_at(&self, d: usize, b: usize) -> usize {
        let dirs = directions(self.layer.direction);
        (if self.layer.batch_first { b * dirs + d } else { d * self.batch + b }) * self.layer.hidden
    }

    /// Runs the layer: all states, the last state, the last cell.
    ///
    /// # Errors
    /// When the results are too large.
    pub fn results(&self, cx: &EvalCx<'_>, dtype: planc_tensor::DType) -> Result<Vec<Tensor>, OpError> {
        let (dirs, h, t, n) = (directions(self.layer.direction), self.layer.hidden, self.time, self.batch);
        let (all, last) =
            if self.layer.batch_first { ([n, t, dirs, h], [n, dirs, h]) } else { ([t, dirs, n, h], [dirs, n, h]) };
        let mut y = vec![0.0; cx.reserve(planc_tensor::DType::F64, &all)?];
        let mut ends = [vec![0.0; dirs * n * h], vec![0.0; dirs * n * h]];
        for d in 0..dirs {
            let reverse = self.layer.direction == Direction::Reverse || d == 1;
            for b in 0..n {
                let at = self.state_at(d, b);
                let start = |i: usize| self.initial[i].as_ref().map_or(vec![0.0; h], |v| v[at..at + h].to_vec());
                let (mut state, mut cell) = (start(0), start(1));
                let length = self.lengths.as_ref().map_or(t, |l| l[b] as usize);
                for s in 0..length {
                    let step = if reverse { length - 1 - s } else { s };
                    let x_at = if self.layer.batch_first { b * t + step } else { step * n + b } * self.input;
                    self.step(d, &self.x[x_at..x_at + self.input], &mut state, &mut cell);
                    let row =
                        if self.layer.batch_first { (b * t + step) * dirs + d } else { (step * dirs + d) * n + b };
                    y[row * h..][..h].copy_from_slice(&state);
                }
                ends[0][at..at + h].copy_from_slice(&state);
                ends[1][at..at + h].copy_from_slice(&cell);
            }
        }
        let [state, cell] = ends;
        let mut results = vec![narrow(dtype, &all, y)?, narrow(dtype, &last, state)?];
        if self.layer.cell == Cell::Lstm {
            results.push(narrow(dtype, &last, cell)?);
        }
        Ok(results)
    }

    /// `from` rows of the recurrent product, bias included.
    fn recurrent(&self, d: usize, rows: std::ops::Range<usize>, state: &[f64], out: &mut [f64]) {
        let (h, g) = (self.layer.hidden, gates(self.layer.cell));
        let mut state = state.to_vec();
        (self.round)(&mut state);
        for (row, out) in rows.zip(out) {
            let r = &self.r[(d * g * h + row) * h..][..h];
            *out = dot(r, &state) + self.bias.as_ref().map_or(0.0, |b| b[d * 2 * g * h + g * h + row]);
        }
    }

    fn step(&self, d: usize, x: &[f64], state: &mut [f64], cell: &mut [f64]) {
        let (h, g) = (self.layer.hidden, gates(self.layer.cell));
        let mut gate: Vec<f64> = (0..g * h)
            .map(|row| {
                let w = &self.w[(d * g * h + row) * self.input..][..self.input];
                dot(w, x) + self.bias.as_ref().map_or(0.0, |b| b[d * 2 * g * h + row])
            })
            .collect();
        let mut recurrent = vec![0.0; g * h];
        let clip = |v: f64| self.layer.clip.map_or(v, |c| v.clamp(-f64::from(c), f64::from(c)));
        let kinds = defaults(self.layer.cell).len();
        let act = |i: usize, v: f64| activate(&self.layer.activations[d * kinds + i], v);
        match self.layer.cell {
            Cell::Rnn => {
                self.recurrent(d, 0..h, state, &mut recurrent);
                for i in 0..h {
                    state[i] = act(0, clip(gate[i] + recurrent[i]));
                }
            }
            Cell::Gru => {
                self.recurrent(d, 0..2 * h, state, &mut recurrent);
                (0..2 * h).for_each(|i| gate[i] = act(0, clip(gate[i] + recurrent[i])));
                if self.layer.linear_before_reset {
                    self.recurrent(d, 2 * h..3 * h, state, &mut recurrent[2 * h..]);
                    (0..h).for_each(|i| recurrent[2 * h + i] *= gate[h + i]);
                } else {
                    let reset: Vec<f64> = (0..h).map(|i| gate[h + i] * state[i]).collect();
                    self.recurrent(d, 2 * h..3 * h, &reset, &mut recurrent[2 * h..]);
                }
                for i in 0..h {
                    let new = act(1, clip(gate[2 * h + i] + recurrent[2 * h + i]));
                    state[i] = (1.0 - gate[i]) * new + gate[i] * state[i];
                }
            }
            Cell::Lstm => {
                self.recurrent(d, 0..4 * h, state, &mut recurrent);
                let peep =
                    |k: usize, i: usize, c: f64| self.peepholes.as_ref().map_or(0.0, |p| p[(d * 3 + k) * h + i] * c);
                for i in 0..h {
                    let total = |k: usize| gate[k * h + i] + recurrent[k * h + i];
                    let old = cell[i];
                    let input = act(0, clip(total(0) + peep(0, i, old)));
                    let forget =
                        if self.layer.input_forget { 1.0 - input } else { act(0, clip(total(2) + peep(2, i, old))) };
                    cell[i] = forget * old + input * act(1, clip(total(3)));
                    let output = act(0, clip(total(1) + peep(1, i, cell[i])));
                    state[i] = output * act(2, cell[i]);
                }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn activate(a: &CellActivation, x: f64) -> f64 {
    let (alpha, beta) = (f64::from(a.alpha), f64::from(a.beta));
    match a.kind {
        Act::Relu => x.max(0.0),
        Act::Tanh => x.tanh(),
        Act::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Act::Affine => alpha * x + beta,
        Act::LeakyRelu => {
            if x < 0.0 {
                alpha * x
            } else {
                x
            }
        }
        Act::ThresholdedRelu => {
            if x > alpha {
                x
            } else {
                0.0
            }
        }
        Act::ScaledTanh => alpha * (beta * x).tanh(),
        Act::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
        Act::Elu => {
            if x < 0.0 {
                alpha * x.exp_m1()
            } else {
                x
            }
        }
        Act::Softsign => x / (1.0 + x.abs()),
        Act::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

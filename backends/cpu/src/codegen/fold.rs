//! The frame of a generated reduction: accumulators in registers for a row, or in memory for elements apart.
//!
//! A row goes into several accumulators in turn, so that additions do not wait for each other; they meet in a fixed order
//! when the row ends. Sums of floats are kept in f64, whatever their type: the error does not grow with the length.

use super::emit::{Arg, LANES, Loop, after, field, function, map, operands, program, spread};
use super::scalar::{Scalars, fits_lanes, is_signed, register};
use super::wide::{Wide, plain, same_bits};
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8X16, I32, I32X4, I64, I128};
use cranelift_codegen::ir::{Block, BlockArg, Function, InstBuilder, Type, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use planc_kir::{BinOp, Expr, Reduce, ReduceOp, UnOp};
use planc_plan::code::{Accumulator, Call};
use planc_tensor::DType;
use std::mem::offset_of;

/// Accumulators of a row: additions take four cycles, and two or more begin in each.
const CHAINS: i64 = 4;

/// Instructions beyond which the program itself keeps the processor busy, and is not repeated for each accumulator.
const LONG: usize = 12;

/// Builds both parts of a reduction.
pub(super) fn reduce(
    func: &mut Function,
    memory: &mut FunctionBuilderContext,
    (spec, kept, epilogue): (&Reduce, Accumulator, Option<&Expr>),
    config: TargetFrontendConfig,
) {
    function(func, memory, config, |b, call, exit| {
        if let Some(epilogue) = epilogue {
            let (last, first) = (b.create_block(), b.create_block());
            let part = field(b, call, offset_of!(Call, part));
            b.ins().brif(part, last, &[], first, &[]);
            b.switch_to_block(last);
            map(b, epilogue, call, exit);
            b.switch_to_block(first);
        }
        Fold::new(spec, kept).emit(b, call, exit);
    });
}

struct Fold<'e> {
    map: &'e Expr,
    op: ReduceOp,
    /// The type of elements.
    dtype: DType,
    kept: Accumulator,
    /// Whether four elements are computed at a time.
    lanes: bool,
}

/// An accumulator, or four: one value, or two of f64.
type Kept = Vec<Value>;

impl<'e> Fold<'e> {
    fn new(spec: &'e Reduce, kept: Accumulator) -> Fold<'e> {
        let dtype = spec.map.result_type();
        let widens = match kept {
            Accumulator::F32 | Accumulator::I32 => true,
            Accumulator::F64 => register(dtype) == F32,
            Accumulator::I64 | Accumulator::I128 => false,
        };
        Fold { map: &spec.map, op: spec.op, dtype, kept, lanes: widens && fits_lanes(&spec.map) }
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, call: Value, exit: Block) {
        let args = operands(b, self.map, call);
        let (out, len) = (field(b, call, offset_of!(Call, out)), field(b, call, offset_of!(Call, len)));
        let step = field(b, call, offset_of!(Call, step));
        let (apart, together) = (b.create_block(), b.create_block());
        b.ins().brif(step, apart, &[], together, &[]);

        b.switch_to_block(apart);
        let sink = |w: &mut Wide<'_, '_>, v: Value, at: Value| {
            let kept = self.load(w, at);
            let kept = self.combine(w, &kept, v);
            self.store(w, &kept, at);
        };
        let size = self.kept.size() as i64;
        Loop { expr: self.map, lanes: self.lanes, size, sink: &sink }.run(b, &args, out, len, exit);

        b.switch_to_block(together);
        self.together(b, &args, (out, len), exit);
    }

    /// The type of an accumulator's values, and how many there are.
    fn ty(&self, lanes: bool) -> (Type, usize) {
        match (self.kept, lanes) {
            (Accumulator::F64, true) => (F64X2, 2),
            (Accumulator::F32, true) => (F32X4, 1),
            (_, true) => (I32X4, 1),
            (Accumulator::F64, false) => (F64, 1),
            (Accumulator::F32, false) => (F32, 1),
            (Accumulator::I32, false) => (I32, 1),
            (Accumulator::I64, false) => (I64, 1),
            (Accumulator::I128, false) => (I128, 1),
        }
    }

    fn load(&self, w: &mut Wide<'_, '_>, at: Value) -> Kept {
        let (ty, n) = self.ty(w.lanes);
        (0..n as i32).map(|i| w.b.ins().load(ty, plain(), at, i * 16)).collect()
    }

    fn store(&self, w: &mut Wide<'_, '_>, kept: &Kept, at: Value) {
        for (i, v) in kept.iter().enumerate() {
            w.b.ins().store(plain(), *v, at, i as i32 * 16);
        }
    }

    /// What combines with anything without a trace.
    fn neutral(&self, w: &mut Wide<'_, '_>) -> Kept {
        let (ty, n) = self.ty(w.lanes);
        let bits = self.dtype.bits();
        let (low, high) = match is_signed(self.dtype) {
            true => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
            false => (0, (u64::MAX >> (64 - bits)) as i64),
        };
        let (int, float) = match self.op {
            ReduceOp::Max => (low, f64::NEG_INFINITY),
            ReduceOp::Min => (high, f64::INFINITY),
            ReduceOp::Prod => (1, 1.0),
            _ => (0, 0.0),
        };
        let v = match self.kept {
            Accumulator::F64 | Accumulator::F32 => w.float(ty, float),
            Accumulator::I128 => {
                let narrow = w.b.ins().iconst(I64, int);
                w.b.ins().sextend(I128, narrow)
            }
            _ => w.int(ty, int),
        };
        vec![v; n]
    }

    /// An accumulator with what the program made of an element, or four.
    fn combine(&self, w: &mut Wide<'_, '_>, kept: &Kept, v: Value) -> Kept {
        let values = match self.kept {
            Accumulator::F64 => self.widened(w, v),
            Accumulator::I128 if is_signed(self.dtype) => vec![w.b.ins().sextend(I128, v)],
            Accumulator::I128 => vec![w.b.ins().uextend(I128, v)],
            _ => vec![v],
        };
        let values: Kept = values
            .into_iter()
            .map(|v| match (self.op, self.kept) {
                (ReduceOp::SumSquare | ReduceOp::L2, Accumulator::F64) => w.b.ins().fmul(v, v),
                (ReduceOp::SumSquare, _) => w.b.ins().imul(v, v),
                (ReduceOp::L1, Accumulator::F64) => w.b.ins().fabs(v),
                (ReduceOp::L1, _) => self.scalars(w).unary(UnOp::Abs, self.dtype, v),
                _ => v,
            })
            .collect();
        self.merge(w, kept, &values)
    }

    fn scalars<'a, 'f>(&'a self, w: &'a mut Wide<'_, 'f>) -> Scalars<'a, 'f> {
        Scalars { w: Wide { b: &mut *w.b, lanes: w.lanes }, expr: self.map }
    }

    /// Two accumulators as one.
    fn merge(&self, w: &mut Wide<'_, '_>, a: &Kept, c: &Kept) -> Kept {
        let float = matches!(self.kept, Accumulator::F64 | Accumulator::F32);
        let both = a.iter().zip(c);
        both.map(|(a, c)| match self.op {
            ReduceOp::Prod if float => w.b.ins().fmul(*a, *c),
            ReduceOp::Prod => w.b.ins().imul(*a, *c),
            ReduceOp::Max => self.scalars(w).binary(BinOp::Max, self.dtype, *a, *c),
            ReduceOp::Min => self.scalars(w).binary(BinOp::Min, self.dtype, *a, *c),
            _ if float => w.b.ins().fadd(*a, *c),
            _ => w.b.ins().iadd(*a, *c),
        })
        .collect()
    }

    /// An element as f64, or four as two pairs.
    fn widened(&self, w: &mut Wide<'_, '_>, v: Value) -> Kept {
        if !w.lanes {
            let own = if register(self.dtype) == F32 { DType::F32 } else { self.dtype };
            return vec![self.scalars(w).cast(own, DType::F64, v)];
        }
        let low = w.b.ins().fvpromote_low(v);
        let bytes = w.b.ins().bitcast(I8X16, same_bits(), v);
        let swapped: Vec<u8> = (8..16).chain(0..8).collect();
        let mask = w.b.func.dfg.immediates.push(swapped.into());
        let bytes = w.b.ins().shuffle(bytes, bytes, mask);
        let high = w.b.ins().bitcast(F32X4, same_bits(), bytes);
        vec![low, w.b.ins().fvpromote_low(high)]
    }

    /// The accumulators of four elements as one.
    fn joined(&self, b: &mut FunctionBuilder<'_>, kept: &Kept) -> Kept {
        let mut w = Wide { b, lanes: true };
        let one = match kept[..] {
            [low, high] => self.merge(&mut w, &vec![low], &vec![high]),
            _ => kept.clone(),
        };
        let mut w = Wide { b: &mut *w.b, lanes: false };
        let lanes = if self.kept == Accumulator::F64 { 2 } else { 4 };
        let each: Vec<Kept> = (0..lanes).map(|i| vec![w.b.ins().extractlane(one[0], i)]).collect();
        self.all(&mut w, each)
    }

    /// All accumulators as one, neighbours first.
    fn all(&self, w: &mut Wide<'_, '_>, mut kept: Vec<Kept>) -> Kept {
        while kept.len() > 1 {
            kept = kept.chunks(2).map(|p| if let [a, c] = p { self.merge(w, a, c) } else { p[0].clone() }).collect();
        }
        kept.pop().unwrap_or_default()
    }

    /// A row into one accumulator.
    fn together(&self, b: &mut FunctionBuilder<'_>, args: &[Arg], (out, len): (Value, Value), exit: Block) {
        let chains = if self.map.insts().len() > LONG { 2 } else { CHAINS };
        let group = chains * if self.lanes { LANES } else { 1 };
        let (scalar, _) = self.ty(false);
        let [whole, body, meet, rest, tail, end] = [(); 6].map(|()| b.create_block());
        for block in [rest, end] {
            b.append_block_param(block, scalar);
        }
        let nothing = self.neutral(&mut Wide { b: &mut *b, lanes: false })[0];
        let groups = b.ins().ushr_imm_u(len, i64::from(group.trailing_zeros()));
        b.ins().brif(groups, whole, &[], rest, &[nothing.into()]);

        b.switch_to_block(whole);
        let read = if self.lanes { spread(b, args) } else { args.to_vec() };
        let start: Vec<Kept> = (0..chains).map(|_| self.neutral(&mut Wide { b: &mut *b, lanes: self.lanes })).collect();
        let pointers = read.iter().map(|a| a.pointer);
        let state: Vec<Value> = [groups].into_iter().chain(pointers).chain(start.into_iter().flatten()).collect();
        enter(b, body, &state);

        b.switch_to_block(body);
        let current = b.block_params(body).to_vec();
        let (here, kept) = current[1..].split_at(read.len());
        let mut here = here.to_vec();
        let mut next = vec![];
        for kept in kept.chunks(self.ty(self.lanes).1) {
            let mut w = Wide { b: &mut *b, lanes: self.lanes };
            let v = program(&mut w, self.map, &read, &here);
            next.push(self.combine(&mut w, &kept.to_vec(), v));
            here = here.iter().zip(&read).map(|(p, a)| b.ins().iadd(*p, a.step)).collect();
        }
        let left = b.ins().iadd_imm_s(current[0], -1);
        let state: Vec<BlockArg> =
            [left].into_iter().chain(here).chain(next.iter().flatten().copied()).map(BlockArg::from).collect();
        b.ins().brif(left, body, &state, meet, &[]);

        b.switch_to_block(meet);
        let mut w = Wide { b: &mut *b, lanes: self.lanes };
        let kept = self.all(&mut w, next);
        let kept = if self.lanes { self.joined(b, &kept) } else { kept };
        b.ins().jump(rest, &[kept[0].into()]);

        b.switch_to_block(rest);
        let kept = b.block_params(rest)[0];
        let done = b.ins().band_imm_s(len, -group);
        let left = b.ins().isub(len, done);
        let later = after(b, args, done);
        let before = b.create_block();
        b.ins().brif(left, before, &[], end, &[kept.into()]);
        b.switch_to_block(before);
        let state: Vec<Value> = [left].into_iter().chain(later.iter().map(|a| a.pointer)).chain([kept]).collect();
        enter(b, tail, &state);

        b.switch_to_block(tail);
        let current = b.block_params(tail).to_vec();
        let (here, kept) = (&current[1..=later.len()], vec![current[later.len() + 1]]);
        let mut w = Wide { b: &mut *b, lanes: false };
        let v = program(&mut w, self.map, &later, here);
        let kept = self.combine(&mut w, &kept, v)[0];
        let left = b.ins().iadd_imm_s(current[0], -1);
        let mut state: Vec<BlockArg> = vec![left.into()];
        for (arg, p) in later.iter().zip(here) {
            state.push(b.ins().iadd(*p, arg.step).into());
        }
        state.push(kept.into());
        b.ins().brif(left, tail, &state, end, &[kept.into()]);

        b.switch_to_block(end);
        let kept = vec![b.block_params(end)[0]];
        let mut w = Wide { b: &mut *b, lanes: false };
        let before = self.load(&mut w, out);
        let kept = self.merge(&mut w, &before, &kept);
        self.store(&mut w, &kept, out);
        b.ins().jump(exit, &[]);
    }
}

/// Jumps to a block whose parameters are these values.
fn enter(b: &mut FunctionBuilder<'_>, block: Block, values: &[Value]) {
    for v in values {
        let ty = b.func.dfg.value_type(*v);
        b.append_block_param(block, ty);
    }
    let values: Vec<BlockArg> = values.iter().map(|v| BlockArg::from(*v)).collect();
    b.ins().jump(block, &values);
}

//! The frame of a generated function: loops over elements, loads and stores.
//!
//! Programs whose registers all have 32 bits run four elements at a time first: an operand that stays is spread over
//! four elements of the stack, so that every operand is read alike.

use super::float16;
use super::scalar::{Scalars, fits_lanes, is_signed};
use super::wide::{Wide, plain, same_bits};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Function, InstBuilder, Signature, StackSlotData, StackSlotKind, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use planc_kir::{Expr, Inst, Reg};
use planc_plan::code::Call;
use planc_tensor::DType;
use std::mem::offset_of;

/// `fn(*const Call)`.
pub(super) fn signature(call_conv: CallConv) -> Signature {
    let mut s = Signature::new(call_conv);
    s.params.push(AbiParam::new(I64));
    s
}

/// Elements of a vector.
pub(super) const LANES: i64 = 4;

/// An operand that the program reads.
#[derive(Clone, Copy)]
pub(super) struct Arg {
    number: u16,
    dtype: DType,
    pub(super) pointer: Value,
    pub(super) step: Value,
}

/// A field of the call.
pub(super) fn field(b: &mut FunctionBuilder<'_>, call: Value, at: usize) -> Value {
    b.ins().load(I64, plain(), call, at as i32)
}

/// The operands that a program reads.
pub(super) fn operands(b: &mut FunctionBuilder<'_>, expr: &Expr, call: Value) -> Vec<Arg> {
    let (pointers, steps) = (field(b, call, offset_of!(Call, args)), field(b, call, offset_of!(Call, steps)));
    let is_read = |n: &u16| expr.insts().contains(&Inst::Arg(*n));
    let numbers: Vec<u16> = (0..expr.args().len() as u16).filter(is_read).collect();
    let arg = |number: u16| {
        let at = i32::from(number) * 8;
        let (pointer, step) = (b.ins().load(I64, plain(), pointers, at), b.ins().load(I64, plain(), steps, at));
        Arg { number, dtype: expr.args()[usize::from(number)], pointer, step }
    };
    numbers.into_iter().map(arg).collect()
}

/// Builds a function of a call: `parts` emits into its first block, and jumps to the block it is given when it is done.
pub(super) fn function(
    func: &mut Function,
    memory: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
    parts: impl FnOnce(&mut FunctionBuilder<'_>, Value, Block),
) {
    let mut b = FunctionBuilder::new(func, memory);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let (call, exit) = (b.block_params(entry)[0], b.create_block());
    parts(&mut b, call, exit);
    b.switch_to_block(exit);
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
}

/// What is done with what a program makes of each element, or of four.
pub(super) struct Loop<'e> {
    pub(super) expr: &'e Expr,
    /// Whether four elements may be computed at a time.
    pub(super) lanes: bool,
    /// Bytes from one result to the next.
    pub(super) size: i64,
    /// Given the result, and where it goes.
    pub(super) sink: &'e dyn Fn(&mut Wide<'_, '_>, Value, Value),
}

impl Loop<'_> {
    /// Runs over all elements, and leaves to `exit`.
    pub(super) fn run(&self, b: &mut FunctionBuilder<'_>, args: &[Arg], out: Value, len: Value, exit: Block) {
        if self.lanes { self.vectors(b, args, out, len, exit) } else { self.elements(b, args, (out, len), false, exit) }
    }
}

/// `out = expr(args)` of all elements.
pub(super) fn map(b: &mut FunctionBuilder<'_>, expr: &Expr, call: Value, exit: Block) {
    let args = operands(b, expr, call);
    let (out, len) = (field(b, call, offset_of!(Call, out)), field(b, call, offset_of!(Call, len)));
    let dtype = expr.result_type();
    let sink = |w: &mut Wide<'_, '_>, v: Value, at: Value| store(w, dtype, v, at);
    Loop { expr, lanes: fits_lanes(expr), size: (dtype.bits() / 8) as i64, sink: &sink }.run(b, &args, out, len, exit);
}

/// The operands as vectors read them: one that stays is spread over a vector on the stack, and read again and again.
pub(super) fn spread(b: &mut FunctionBuilder<'_>, args: &[Arg]) -> Vec<Arg> {
    let mut wide = vec![];
    for arg in args {
        let size = (arg.dtype.bits() / 8) as i32;
        let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4));
        let memory = b.ins().stack_addr(I64, slot, 0);
        let ty = match size {
            1 => I8,
            2 => I16,
            _ => I32,
        };
        let element = b.ins().load(ty, plain(), arg.pointer, 0);
        for lane in 0..LANES as i32 {
            b.ins().store(plain(), element, memory, lane * size);
        }
        let pointer = b.ins().select(arg.step, arg.pointer, memory);
        let step = b.ins().imul_imm_s(arg.step, LANES);
        wide.push(Arg { pointer, step, ..*arg });
    }
    wide
}

/// What the program makes of the element, or of four, of operands at `here`.
pub(super) fn program(w: &mut Wide<'_, '_>, expr: &Expr, args: &[Arg], here: &[Value]) -> Value {
    let lanes = w.lanes;
    let mut values: Vec<Value> = Vec::with_capacity(expr.insts().len());
    for (i, inst) in expr.insts().iter().enumerate() {
        let mut w = Wide { b: &mut *w.b, lanes };
        let value = match *inst {
            Inst::Arg(n) => {
                let at = args.iter().position(|a| a.number == n).unwrap_or(0);
                load(&mut w, expr.type_of(i as Reg), here[at])
            }
            _ => Scalars { w, expr }.inst(i as Reg, inst, &values),
        };
        values.push(value);
    }
    values[values.len() - 1]
}

impl Loop<'_> {
    /// Four elements at a time, then the rest one by one.
    fn vectors(&self, b: &mut FunctionBuilder<'_>, args: &[Arg], out: Value, len: Value, exit: Block) {
        let (whole, rest, tail) = (b.create_block(), b.create_block(), b.create_block());
        let groups = b.ins().ushr_imm_u(len, 2);
        b.ins().brif(groups, whole, &[], rest, &[]);

        b.switch_to_block(whole);
        let wide = spread(b, args);
        self.elements(b, &wide, (out, groups), true, rest);

        b.switch_to_block(rest);
        let done = b.ins().band_imm_s(len, -LANES);
        let left = b.ins().isub(len, done);
        b.ins().brif(left, tail, &[], exit, &[]);

        b.switch_to_block(tail);
        let bytes = b.ins().imul_imm_s(done, self.size);
        let out = b.ins().iadd(out, bytes);
        let later = after(b, args, done);
        self.elements(b, &later, (out, left), false, exit);
    }

    /// A loop over `count` (at least 1) elements, or groups of four, which leaves to `exit`.
    fn elements(
        &self,
        b: &mut FunctionBuilder<'_>,
        args: &[Arg],
        (out, count): (Value, Value),
        lanes: bool,
        exit: Block,
    ) {
        let body = b.create_block();
        let mut state: Vec<BlockArg> = vec![count.into(), out.into()];
        state.extend(args.iter().map(|a| BlockArg::from(a.pointer)));
        for _ in &state {
            b.append_block_param(body, I64);
        }
        b.ins().jump(body, &state);

        b.switch_to_block(body);
        let current = b.block_params(body).to_vec();
        let (left, out, here) = (current[0], current[1], &current[2..]);
        let mut w = Wide { b: &mut *b, lanes };
        let result = program(&mut w, self.expr, args, here);
        (self.sink)(&mut w, result, out);
        let left = b.ins().iadd_imm_s(left, -1);
        let bytes = self.size * if lanes { LANES } else { 1 };
        let mut next: Vec<BlockArg> = vec![left.into(), b.ins().iadd_imm_s(out, bytes).into()];
        for (arg, p) in args.iter().zip(here) {
            next.push(b.ins().iadd(*p, arg.step).into());
        }
        b.ins().brif(left, body, &next, exit, &[]);
    }
}

/// The operands `done` elements further on.
pub(super) fn after(b: &mut FunctionBuilder<'_>, args: &[Arg], done: Value) -> Vec<Arg> {
    let mut later = vec![];
    for arg in args {
        let bytes = b.ins().imul(done, arg.step);
        later.push(Arg { pointer: b.ins().iadd(arg.pointer, bytes), ..*arg });
    }
    later
}

/// The element, or four, at `p` as a register holds them.
fn load(w: &mut Wide<'_, '_>, dtype: DType, p: Value) -> Value {
    let signed = is_signed(dtype);
    let raw = match (dtype.bits(), w.lanes) {
        (8, true) => {
            let four = w.b.ins().load(I32, plain(), p, 0);
            let bytes = w.b.ins().scalar_to_vector(I32X4, four);
            let bytes = w.b.ins().bitcast(I8X16, same_bits(), bytes);
            if signed {
                let words = w.b.ins().swiden_low(bytes);
                w.b.ins().swiden_low(words)
            } else {
                let words = w.b.ins().uwiden_low(bytes);
                w.b.ins().uwiden_low(words)
            }
        }
        (8, false) if dtype == DType::Bool => w.b.ins().load(I8, plain(), p, 0),
        (8, false) if signed => w.b.ins().sload8(I32, plain(), p, 0),
        (8, false) => w.b.ins().uload8(I32, plain(), p, 0),
        (16, true) if signed => w.b.ins().sload16x4(plain(), p, 0),
        (16, true) => w.b.ins().uload16x4(plain(), p, 0),
        (16, false) if signed => w.b.ins().sload16(I32, plain(), p, 0),
        (16, false) => w.b.ins().uload16(I32, plain(), p, 0),
        _ => {
            let ty = w.ty(dtype);
            w.b.ins().load(ty, plain(), p, 0)
        }
    };
    match dtype {
        DType::Bool => w.compare(IntCC::NotEqual, raw, 0),
        DType::F16 | DType::BF16 => float16::decode(w, dtype, raw),
        _ => raw,
    }
}

/// Stores a register's value as an element, or four, at `p`.
fn store(w: &mut Wide<'_, '_>, dtype: DType, v: Value, p: Value) {
    let v = match dtype {
        DType::F16 | DType::BF16 => float16::encode(w, dtype, v),
        DType::Bool => w.truth(I8, v),
        _ => v,
    };
    let signed = is_signed(dtype);
    match (dtype.bits(), w.lanes) {
        // Narrowing saturates, but the values are in range.
        (8, true) => {
            let words = w.b.ins().snarrow(v, v);
            let bytes = if signed { w.b.ins().snarrow(words, words) } else { w.b.ins().unarrow(words, words) };
            let bytes = w.b.ins().bitcast(I32X4, same_bits(), bytes);
            let four = w.b.ins().extractlane(bytes, 0);
            w.b.ins().store(plain(), four, p, 0);
        }
        (16, true) => {
            let words = if signed { w.b.ins().snarrow(v, v) } else { w.b.ins().unarrow(v, v) };
            let words = w.b.ins().bitcast(I64X2, same_bits(), words);
            let four = w.b.ins().extractlane(words, 0);
            w.b.ins().store(plain(), four, p, 0);
        }
        (8, false) if dtype != DType::Bool => {
            w.b.ins().istore8(plain(), v, p, 0);
        }
        (16, false) => {
            w.b.ins().istore16(plain(), v, p, 0);
        }
        _ => {
            w.b.ins().store(plain(), v, p, 0);
        }
    }
}

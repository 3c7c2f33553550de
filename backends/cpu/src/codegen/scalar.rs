//! One instruction of a scalar program as Cranelift instructions.
//!
//! Registers: bool is an i8 of 0 or 1; integers below 32 bits are an i32 that holds their value, extended by their own
//! sign; 16-bit floats are an f32 that they represent exactly (see [`super::float16`]); all others are themselves. Where
//! all registers have 32 bits, four elements may be computed at a time (see [`super::wide`]).

use super::float16;
use super::wide::Wide;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, Type, Value};
use planc_kir::{BinOp, Expr, Inst, Num, Reg, UnOp};
use planc_tensor::{DType, bf16, f16};

/// Whether registers can hold the type.
pub(super) fn is_known(dtype: DType) -> bool {
    use DType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, F32 | F64 | F16 | BF16 | Bool | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

/// Whether the type is an integer with a sign.
pub(super) fn is_signed(dtype: DType) -> bool {
    dtype.is_int() && !dtype.is_unsigned()
}

/// Whether four elements of the program can be computed at a time.
pub(super) fn fits_lanes(expr: &Expr) -> bool {
    use BinOp::{Div, Mod, Pow, Rem, Shl, Shr};
    expr.insts().iter().enumerate().all(|(i, inst)| {
        let dtype = expr.type_of(i as Reg);
        let of = |r: Reg| expr.type_of(r);
        let narrow = !matches!(register(dtype), I64 | F64);
        narrow
            && match *inst {
                // There is no vector form of what traps, loops, or shifts lanes by counts of their own.
                Inst::Binary(Shl | Shr | Rem | Mod, ..) => false,
                Inst::Binary(Div | Pow, a, _) => of(a).is_float(),
                Inst::Cast(_, a) => {
                    let wide = matches!(register(of(a)), I64 | F64);
                    // Between u32 and floats there is no vector conversion.
                    let unsigned = |x: DType, y: DType| x == DType::U32 && y.is_float();
                    !wide && !unsigned(of(a), dtype) && !unsigned(dtype, of(a))
                }
                _ => true,
            }
    })
}

/// The type of a register.
pub(super) fn register(dtype: DType) -> Type {
    match dtype {
        DType::Bool => I8,
        DType::F32 | DType::F16 | DType::BF16 => F32,
        DType::F64 => F64,
        DType::I64 | DType::U64 => I64,
        _ => I32,
    }
}

/// Where instructions go, and the program they belong to.
pub(super) struct Scalars<'a, 'f> {
    pub(super) w: Wide<'a, 'f>,
    pub(super) expr: &'a Expr,
}

impl Scalars<'_, '_> {
    /// Instruction `reg`, which is no operand, given the values of those before it.
    pub(super) fn inst(&mut self, reg: Reg, inst: &Inst, values: &[Value]) -> Value {
        let dtype = self.expr.type_of(reg);
        let at = |r: Reg| values[usize::from(r)];
        let of = |r: Reg| self.expr.type_of(r);
        match *inst {
            Inst::Arg(_) => values[0],
            Inst::Const(_, v) => self.constant(dtype, v),
            Inst::Unary(op, a) => self.unary(op, of(a), at(a)),
            Inst::Binary(BinOp::Pow, a, e) if dtype.is_float() => {
                let times = super::exponent(self.expr, e).unwrap_or(1);
                self.product(dtype, at(a), times)
            }
            Inst::Binary(op, a, c) => self.binary(op, of(a), at(a), at(c)),
            Inst::Select(c, a, d) => self.w.pick(at(c), at(a), at(d)),
            Inst::Cast(_, a) => self.cast(of(a), dtype, at(a)),
        }
    }

    fn constant(&mut self, dtype: DType, v: Num) -> Value {
        let ty = self.w.ty(dtype);
        match dtype {
            DType::F32 | DType::F64 => self.w.float(ty, v.as_f64()),
            DType::F16 => self.w.float(ty, f16::from_f32(v.as_f64() as f32).to_f64()),
            DType::BF16 => self.w.float(ty, bf16::from_f32(v.as_f64() as f32).to_f64()),
            DType::Bool if self.w.lanes => self.w.int(ty, -(v.as_i64() & 1)),
            DType::Bool => self.w.int(ty, v.as_i64() & 1),
            DType::I64 | DType::U64 => self.w.int(ty, v.as_i64()),
            _ => {
                let shift = 64 - dtype.bits() as u32;
                let v = v.as_i64() << shift;
                self.w.int(ty, if is_signed(dtype) { v >> shift } else { (v as u64 >> shift) as i64 })
            }
        }
    }

    /// The value of a register after arithmetic that may have left the type's range or precision.
    fn settle(&mut self, dtype: DType, v: Value) -> Value {
        match dtype {
            DType::F16 | DType::BF16 => float16::round(&mut self.w, dtype, v),
            DType::I8 | DType::I16 if self.w.lanes => {
                let by = 32 - dtype.bits() as i64;
                let high = self.w.shl(v, by);
                self.w.sar(high, by)
            }
            DType::I8 | DType::I16 => {
                let narrow = self.w.b.ins().ireduce(if dtype == DType::I8 { I8 } else { I16 }, v);
                self.w.b.ins().sextend(I32, narrow)
            }
            DType::U8 | DType::U16 => self.w.and(v, (1 << dtype.bits()) - 1),
            _ => v,
        }
    }

    fn zero(&mut self, ty: Type) -> Value {
        self.w.int(ty, 0)
    }

    fn float(&mut self, ty: Type, v: f64) -> Value {
        self.w.float(ty, v)
    }

    /// `a` to the power of 1, 2 or 3; each product is rounded.
    fn product(&mut self, dtype: DType, a: Value, times: u32) -> Value {
        let v = (1..times).fold(a, |v, _| self.w.b.ins().fmul(v, a));
        self.settle(dtype, v)
    }

    pub(super) fn unary(&mut self, op: UnOp, dtype: DType, a: Value) -> Value {
        let v = if dtype.is_float() { self.unary_float(op, dtype, a) } else { self.unary_int(op, dtype, a) };
        // The others give values that every type holds.
        let may_leave = matches!(op, UnOp::Neg | UnOp::Abs | UnOp::Not) && dtype.is_int() || op == UnOp::Sqrt;
        if may_leave { self.settle(dtype, v) } else { v }
    }

    fn unary_float(&mut self, op: UnOp, dtype: DType, a: Value) -> Value {
        let ty = self.w.ty(dtype);
        match op {
            UnOp::Neg => self.w.b.ins().fneg(a),
            UnOp::Abs => self.w.b.ins().fabs(a),
            UnOp::Sign => {
                let (zero, one) = (self.float(ty, 0.0), self.float(ty, 1.0));
                let magnitude = self.w.b.ins().fabs(a);
                let other = self.w.b.ins().fcmp(FloatCC::GreaterThan, magnitude, zero);
                let sign = self.w.with_sign_of(one, a);
                self.w.pick(other, sign, a)
            }
            UnOp::Floor => self.w.b.ins().floor(a),
            UnOp::Ceil => self.w.b.ins().ceil(a),
            UnOp::Round => self.w.b.ins().nearest(a),
            UnOp::Sqrt => self.w.b.ins().sqrt(a),
            UnOp::IsNan => self.w.b.ins().fcmp(FloatCC::NotEqual, a, a),
            // Declined before it comes here.
            _ => a,
        }
    }

    fn unary_int(&mut self, op: UnOp, dtype: DType, a: Value) -> Value {
        let ty = self.w.ty(dtype);
        match op {
            UnOp::Not if dtype == DType::Bool && !self.w.lanes => {
                let one = self.w.int(ty, 1);
                self.w.b.ins().bxor(a, one)
            }
            UnOp::Not => self.w.b.ins().bnot(a),
            UnOp::Neg => self.w.b.ins().ineg(a),
            UnOp::Abs if is_signed(dtype) => {
                let zero = self.zero(ty);
                let negative = self.w.b.ins().icmp(IntCC::SignedLessThan, a, zero);
                let negated = self.w.b.ins().ineg(a);
                self.w.pick(negative, negated, a)
            }
            UnOp::Sign => {
                let zero = self.zero(ty);
                let other = self.w.b.ins().icmp(IntCC::NotEqual, a, zero);
                let one = self.w.truth(ty, other);
                if !is_signed(dtype) {
                    return one;
                }
                let negative = self.w.b.ins().icmp(IntCC::SignedLessThan, a, zero);
                let minus = self.w.int(ty, -1);
                self.w.pick(negative, minus, one)
            }
            _ => a,
        }
    }

    pub(super) fn binary(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        if dtype.is_float() { self.binary_float(op, dtype, a, c) } else { self.binary_int(op, dtype, a, c) }
    }

    fn binary_float(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        let compare = match op {
            BinOp::Eq => Some(FloatCC::Equal),
            BinOp::Ne => Some(FloatCC::NotEqual),
            BinOp::Lt => Some(FloatCC::LessThan),
            BinOp::Le => Some(FloatCC::LessThanOrEqual),
            BinOp::Gt => Some(FloatCC::GreaterThan),
            BinOp::Ge => Some(FloatCC::GreaterThanOrEqual),
            _ => None,
        };
        if let Some(cc) = compare {
            return self.w.b.ins().fcmp(cc, a, c);
        }
        let v = match op {
            BinOp::Add => self.w.b.ins().fadd(a, c),
            BinOp::Sub => self.w.b.ins().fsub(a, c),
            BinOp::Mul => self.w.b.ins().fmul(a, c),
            BinOp::Div => self.w.b.ins().fdiv(a, c),
            BinOp::Min => return self.w.b.ins().fmin(a, c),
            BinOp::Max => return self.w.b.ins().fmax(a, c),
            BinOp::Rem | BinOp::Mod => self.remainder(op, dtype, a, c),
            // Declined before it comes here, or not of floats.
            _ => a,
        };
        self.settle(dtype, v)
    }

    /// The remainder, in f64, where it is exact; the f32 of it is exact too.
    fn remainder(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        let wide = |s: &mut Self, v: Value| if dtype == DType::F64 { v } else { s.w.b.ins().fpromote(F64, v) };
        let (x, y) = (wide(self, a), wide(self, c));
        let mut r = self.truncated(x, y);
        if op == BinOp::Mod {
            let zero = self.float(F64, 0.0);
            let other = self.w.b.ins().fcmp(FloatCC::NotEqual, r, zero);
            let down = self.w.b.ins().fcmp(FloatCC::LessThan, r, zero);
            let downwards = self.w.b.ins().fcmp(FloatCC::LessThan, y, zero);
            let apart = self.w.b.ins().bxor(down, downwards);
            let moves = self.w.b.ins().band(other, apart);
            let sum = self.w.b.ins().fadd(r, y);
            // A zero has the sign of the divisor too.
            let signed = self.w.b.ins().fcopysign(r, y);
            r = self.w.b.ins().select(other, r, signed);
            r = self.w.b.ins().select(moves, sum, r);
        }
        if dtype == DType::F64 { r } else { self.w.b.ins().fdemote(F32, r) }
    }

    /// C's `fmod` of two f64. Multiples of |y| by powers of two are subtracted from |x|, largest first: each difference
    /// is exact (Sterbenz), since the multiple is at least half of what is left.
    fn truncated(&mut self, x: Value, y: Value) -> Value {
        let zero = self.float(F64, 0.0);
        let infinity = self.float(F64, f64::INFINITY);
        let (ax, ay) = (self.w.b.ins().fabs(x), self.w.b.ins().fabs(y));
        let finite_x = self.w.b.ins().fcmp(FloatCC::LessThan, ax, infinity);
        let finite_y = self.w.b.ins().fcmp(FloatCC::LessThan, ay, infinity);
        let nonzero = self.w.b.ins().fcmp(FloatCC::GreaterThan, ay, zero);
        let valid = self.w.b.ins().band(finite_x, finite_y);
        let valid = self.w.b.ins().band(valid, nonzero);
        // The loops must end whatever the operands are.
        let one = self.float(F64, 1.0);
        let (start, unit) = (self.w.b.ins().select(valid, ax, zero), self.w.b.ins().select(valid, ay, one));

        let (double, halve, done) = (self.w.b.create_block(), self.w.b.create_block(), self.w.b.create_block());
        let multiple = self.w.b.append_block_param(double, F64);
        let (multiple2, left) = (self.w.b.append_block_param(halve, F64), self.w.b.append_block_param(halve, F64));
        let result = self.w.b.append_block_param(done, F64);
        self.w.b.ins().jump(double, &[unit.into()]);

        self.w.b.switch_to_block(double);
        let twice = self.w.b.ins().fadd(multiple, multiple);
        let fits = self.w.b.ins().fcmp(FloatCC::LessThanOrEqual, twice, start);
        self.w.b.ins().brif(fits, double, &[twice.into()], halve, &[multiple.into(), start.into()]);

        self.w.b.switch_to_block(halve);
        let takes = self.w.b.ins().fcmp(FloatCC::GreaterThanOrEqual, left, multiple2);
        let less = self.w.b.ins().fsub(left, multiple2);
        let left = self.w.b.ins().select(takes, less, left);
        let half = self.float(F64, 0.5);
        let next = self.w.b.ins().fmul(multiple2, half);
        let more = self.w.b.ins().fcmp(FloatCC::GreaterThanOrEqual, next, unit);
        self.w.b.ins().brif(more, halve, &[next.into(), left.into()], done, &[left.into()]);

        self.w.b.switch_to_block(done);
        let signed = self.w.b.ins().fcopysign(result, x);
        // A finite dividend stays below an infinite divisor; all else has no remainder.
        let nan = self.float(F64, f64::NAN);
        let endless = self.w.b.ins().fcmp(FloatCC::Equal, ay, infinity);
        let stays = self.w.b.ins().band(finite_x, endless);
        let other = self.w.b.ins().select(stays, x, nan);
        self.w.b.ins().select(valid, signed, other)
    }

    fn binary_int(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        let signed = is_signed(dtype);
        let either = |s: IntCC, u: IntCC| if signed { s } else { u };
        let compare = match op {
            BinOp::Eq => Some(IntCC::Equal),
            BinOp::Ne => Some(IntCC::NotEqual),
            BinOp::Lt | BinOp::Min => Some(either(IntCC::SignedLessThan, IntCC::UnsignedLessThan)),
            BinOp::Le => Some(either(IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual)),
            BinOp::Gt | BinOp::Max => Some(either(IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan)),
            BinOp::Ge => Some(either(IntCC::SignedGreaterThanOrEqual, IntCC::UnsignedGreaterThanOrEqual)),
            _ => None,
        };
        if let Some(cc) = compare {
            let holds = self.w.b.ins().icmp(cc, a, c);
            return if op.is_comparison() { holds } else { self.w.pick(holds, a, c) };
        }
        let v = match op {
            BinOp::Add => self.w.b.ins().iadd(a, c),
            BinOp::Sub => self.w.b.ins().isub(a, c),
            BinOp::Mul => self.w.b.ins().imul(a, c),
            BinOp::And => return self.w.b.ins().band(a, c),
            BinOp::Or => return self.w.b.ins().bor(a, c),
            BinOp::Xor => return self.w.b.ins().bxor(a, c),
            BinOp::Shl | BinOp::Shr => self.shift(op, dtype, a, c),
            BinOp::Pow => self.power(dtype, a, c),
            _ => self.quotient(op, dtype, a, c),
        };
        self.settle(dtype, v)
    }

    /// A shift whose count, seen without its sign, is below the width; else 0.
    fn shift(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        let ty = self.w.ty(dtype);
        let bits = dtype.bits() as i64;
        let shifted = if op == BinOp::Shl {
            self.w.b.ins().ishl(a, c)
        } else {
            let extended = is_signed(dtype) && bits < 32;
            let a = if extended { self.w.and(a, (1 << bits) - 1) } else { a };
            self.w.b.ins().ushr(a, c)
        };
        let inside = self.w.compare(IntCC::UnsignedLessThan, c, bits);
        let zero = self.zero(ty);
        self.w.b.ins().select(inside, shifted, zero)
    }

    /// Quotient or remainder. The processor's division is kept from what it traps on: 0 gives 0, -1 wraps.
    fn quotient(&mut self, op: BinOp, dtype: DType, a: Value, c: Value) -> Value {
        let ty = self.w.ty(dtype);
        let (zero, one) = (self.zero(ty), self.w.int(ty, 1));
        let by_zero = self.w.b.ins().icmp(IntCC::Equal, c, zero);
        if !is_signed(dtype) {
            let divisor = self.w.b.ins().select(by_zero, one, c);
            if op != BinOp::Div {
                let r = self.w.b.ins().urem(a, divisor);
                return self.w.b.ins().select(by_zero, zero, r);
            }
            let q = self.w.b.ins().udiv(a, divisor);
            return self.w.b.ins().select(by_zero, zero, q);
        }
        let minus = self.w.int(ty, -1);
        let negates = self.w.b.ins().icmp(IntCC::Equal, c, minus);
        let special = self.w.b.ins().bor(by_zero, negates);
        let divisor = self.w.b.ins().select(special, one, c);
        if op == BinOp::Div {
            let q = self.w.b.ins().sdiv(a, divisor);
            let negated = self.w.b.ins().ineg(a);
            let q = self.w.b.ins().select(negates, negated, q);
            return self.w.b.ins().select(by_zero, zero, q);
        }
        // The remainder by 1 is 0, which is right for 0 and -1 as well.
        let r = self.w.b.ins().srem(a, divisor);
        if op == BinOp::Rem {
            return r;
        }
        let other = self.w.b.ins().icmp(IntCC::NotEqual, r, zero);
        let signs = self.w.b.ins().bxor(r, c);
        let apart = self.w.b.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let moves = self.w.b.ins().band(other, apart);
        let sum = self.w.b.ins().iadd(r, c);
        self.w.b.ins().select(moves, sum, r)
    }

    /// A power by squaring; of a negative exponent the fraction is cut: 1, -1 or 0.
    fn power(&mut self, dtype: DType, a: Value, e: Value) -> Value {
        let ty = self.w.ty(dtype);
        let (zero, one) = (self.zero(ty), self.w.int(ty, 1));
        let (step, done) = (self.w.b.create_block(), self.w.b.create_block());
        let params = [step; 3].map(|block| self.w.b.append_block_param(block, ty));
        let [result, square, rest] = params;
        let power = self.w.b.append_block_param(done, ty);
        let negative = if is_signed(dtype) {
            self.w.b.ins().icmp(IntCC::SignedLessThan, e, zero)
        } else {
            self.w.b.ins().iconst(I8, 0)
        };
        let count = self.w.b.ins().select(negative, zero, e);
        self.w.b.ins().jump(step, &[one.into(), a.into(), count.into()]);

        self.w.b.switch_to_block(step);
        let odd = self.w.and(rest, 1);
        let product = self.w.b.ins().imul(result, square);
        let result = self.w.b.ins().select(odd, product, result);
        let squared = self.w.b.ins().imul(square, square);
        let halved = self.w.shr(rest, 1);
        let next: [BlockArg; 3] = [result.into(), squared.into(), halved.into()];
        let more = self.w.b.ins().icmp(IntCC::NotEqual, halved, zero);
        self.w.b.ins().brif(more, step, &next, done, &[result.into()]);

        self.w.b.switch_to_block(done);
        if !is_signed(dtype) {
            return power;
        }
        // a^-n is 1 / a^n: for 1 and -1 it is a or 1 by the parity of n, for all else 0.
        let minus = self.w.int(ty, -1);
        let odd = self.w.and(e, 1);
        let unit = self.w.b.ins().select(odd, a, one);
        let is_one = self.w.b.ins().icmp(IntCC::Equal, a, one);
        let is_minus = self.w.b.ins().icmp(IntCC::Equal, a, minus);
        let is_unit = self.w.b.ins().bor(is_one, is_minus);
        let inverse = self.w.b.ins().select(is_unit, unit, zero);
        self.w.b.ins().select(negative, inverse, power)
    }

    pub(super) fn cast(&mut self, from: DType, to: DType, v: Value) -> Value {
        if from == to {
            return v;
        }
        match (from.is_float(), to) {
            (true, DType::Bool) => {
                let ty = self.w.ty(from);
                let zero = self.float(ty, 0.0);
                self.w.b.ins().fcmp(FloatCC::NotEqual, v, zero)
            }
            (false, DType::Bool) => {
                let ty = self.w.ty(from);
                let zero = self.zero(ty);
                self.w.b.ins().icmp(IntCC::NotEqual, v, zero)
            }
            (true, _) if to.is_float() => self.float_to_float(from, to, v),
            (true, _) => self.float_to_int(to, v),
            (false, _) if to.is_float() => {
                let ty = self.w.ty(to);
                let f = self.int_to_float(from, ty, v);
                self.settle(to, f)
            }
            (false, _) => {
                let ty = self.w.ty(to);
                let v = self.resized(from, ty, v);
                self.settle(to, v)
            }
        }
    }

    fn float_to_float(&mut self, from: DType, to: DType, v: Value) -> Value {
        match (from, to) {
            (DType::F64, DType::F32) => self.w.b.ins().fdemote(F32, v),
            (DType::F64, _) => float16::round_f64(&mut self.w, to, v),
            (_, DType::F64) => self.w.b.ins().fpromote(F64, v),
            // Every 16-bit float is an f32.
            (_, DType::F32) => v,
            _ => float16::round(&mut self.w, to, v),
        }
    }

    /// Truncated and saturated; NaN gives 0.
    fn float_to_int(&mut self, to: DType, v: Value) -> Value {
        let ty = self.w.ty(to);
        if to.bits() >= 32 {
            let b = &mut *self.w.b;
            return if is_signed(to) { b.ins().fcvt_to_sint_sat(ty, v) } else { b.ins().fcvt_to_uint_sat(ty, v) };
        }
        let wide = self.w.b.ins().fcvt_to_sint_sat(ty, v);
        let (low, high) = match is_signed(to) {
            true => (-(1i64 << (to.bits() - 1)), (1i64 << (to.bits() - 1)) - 1),
            false => (0, (1i64 << to.bits()) - 1),
        };
        let (low, high) = (self.w.int(ty, low), self.w.int(ty, high));
        let below = self.w.b.ins().icmp(IntCC::SignedLessThan, wide, low);
        let v = self.w.pick(below, low, wide);
        let above = self.w.b.ins().icmp(IntCC::SignedGreaterThan, v, high);
        self.w.pick(above, high, v)
    }

    /// Rounded once.
    fn int_to_float(&mut self, from: DType, ty: Type, v: Value) -> Value {
        match from {
            DType::U64 => self.w.b.ins().fcvt_from_uint(ty, v),
            DType::U32 => {
                let wide = self.w.b.ins().uextend(I64, v);
                self.w.b.ins().fcvt_from_sint(ty, wide)
            }
            DType::Bool => {
                let int = self.w.ty(DType::I32);
                let wide = self.w.truth(int, v);
                self.w.b.ins().fcvt_from_sint(ty, wide)
            }
            _ => self.w.b.ins().fcvt_from_sint(ty, v),
        }
    }

    /// An integer in a register of another width.
    fn resized(&mut self, from: DType, ty: Type, v: Value) -> Value {
        let own = self.w.ty(from);
        match () {
            () if from == DType::Bool => self.w.truth(ty, v),
            () if own == ty => v,
            () if own.bits() > ty.bits() => self.w.b.ins().ireduce(ty, v),
            () if is_signed(from) => self.w.b.ins().sextend(ty, v),
            () => self.w.b.ins().uextend(ty, v),
        }
    }
}

//! What is spelled differently for one element and for four at a time.
//!
//! With four lanes, registers of 32 bits become vectors of 128 bits, and a bool is a lane of all ones or all zeros.

use super::scalar::register;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use planc_tensor::DType;

/// Memory that the caller vouches for.
pub(super) fn plain() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_endianness(Endianness::Little)
}

/// How lanes are numbered when bits are seen as another type.
pub(super) fn same_bits() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// Where instructions go, and how wide they are.
pub(super) struct Wide<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    /// Four elements rather than one.
    pub(super) lanes: bool,
}

impl Wide<'_, '_> {
    /// The type of a register.
    pub(super) fn ty(&self, dtype: DType) -> Type {
        match register(dtype) {
            F32 if self.lanes => F32X4,
            _ if self.lanes => I32X4,
            ty => ty,
        }
    }

    /// An integer in every lane of a register type.
    pub(super) fn int(&mut self, ty: Type, v: i64) -> Value {
        let lane = ty.lane_type();
        // The generator wants the bits of the lane, without its sign's extension.
        let bits = if lane == I64 { v } else { v & ((1 << lane.bits()) - 1) };
        let one = self.b.ins().iconst(lane, bits);
        if ty.is_vector() { self.b.ins().splat(ty, one) } else { one }
    }

    /// As `int`, in the type of `like`.
    pub(super) fn int_like(&mut self, like: Value, v: i64) -> Value {
        let ty = self.b.func.dfg.value_type(like);
        self.int(ty, v)
    }

    /// A float in every lane of a register type.
    pub(super) fn float(&mut self, ty: Type, v: f64) -> Value {
        let one = if ty.lane_type() == F64 { self.b.ins().f64const(v) } else { self.b.ins().f32const(v as f32) };
        if ty.is_vector() { self.b.ins().splat(ty, one) } else { one }
    }

    /// The bits of an f32.
    pub(super) fn bits(&mut self, v: Value) -> Value {
        self.b.ins().bitcast(if self.lanes { I32X4 } else { I32 }, same_bits(), v)
    }

    /// The f32 of bits.
    pub(super) fn of_bits(&mut self, v: Value) -> Value {
        self.b.ins().bitcast(if self.lanes { F32X4 } else { F32 }, same_bits(), v)
    }

    /// Bitwise and with a constant.
    pub(super) fn and(&mut self, v: Value, mask: i64) -> Value {
        let mask = self.int_like(v, mask);
        self.b.ins().band(v, mask)
    }

    /// A shift to the left by a constant.
    pub(super) fn shl(&mut self, v: Value, by: i64) -> Value {
        let by = self.b.ins().iconst(I32, by);
        self.b.ins().ishl(v, by)
    }

    /// A logical shift to the right by a constant.
    pub(super) fn shr(&mut self, v: Value, by: i64) -> Value {
        let by = self.b.ins().iconst(I32, by);
        self.b.ins().ushr(v, by)
    }

    /// An arithmetic shift to the right by a constant.
    pub(super) fn sar(&mut self, v: Value, by: i64) -> Value {
        let by = self.b.ins().iconst(I32, by);
        self.b.ins().sshr(v, by)
    }

    /// A comparison with a constant; gives a bool.
    pub(super) fn compare(&mut self, cc: IntCC, v: Value, with: i64) -> Value {
        let with = self.int_like(v, with);
        self.b.ins().icmp(cc, v, with)
    }

    /// `x` where the bool holds, else `y`.
    pub(super) fn pick(&mut self, c: Value, x: Value, y: Value) -> Value {
        if !self.lanes {
            return self.b.ins().select(c, x, y);
        }
        let ty = self.b.func.dfg.value_type(x);
        let mask = if ty == I32X4 { c } else { self.b.ins().bitcast(ty, same_bits(), c) };
        self.b.ins().bitselect(mask, x, y)
    }

    /// 1 or 0 in an integer register for a bool.
    pub(super) fn truth(&mut self, ty: Type, c: Value) -> Value {
        match () {
            () if self.lanes => self.and(c, 1),
            () if ty == I8 => c,
            () => self.b.ins().uextend(ty, c),
        }
    }

    /// 1 with the sign of a float, or another magnitude with it.
    pub(super) fn with_sign_of(&mut self, magnitude: Value, sign: Value) -> Value {
        if !self.lanes {
            return self.b.ins().fcopysign(magnitude, sign);
        }
        let (magnitude, sign) = (self.bits(magnitude), self.bits(sign));
        let sign = self.and(sign, 0x8000_0000);
        let all = self.b.ins().bor(magnitude, sign);
        self.of_bits(all)
    }
}

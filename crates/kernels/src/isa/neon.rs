//! NEON (aarch64 Advanced SIMD): 4 lanes, 32 registers.

use super::{Kernel, Simd};
use std::arch::aarch64::*;

/// Proof of NEON.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// # Safety
    /// The processor must have NEON.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
fn shim<K: Kernel>(s: Neon, kernel: K) -> K::Out {
    kernel.run(s)
}

/// Methods whose body is intrinsics without memory access.
macro_rules! pure {
    ($(fn $name:ident ($($arg:ident: $t:ty),*) -> $ret:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name (self, $($arg: $t),*) -> $ret {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe { $body }
        }
    )*};
}

// SAFETY: the token is only built on aarch64, where NEON is mandatory.
unsafe impl Simd for Neon {
    const LANES: usize = 4;
    /// 6x4 fills 24 of 32 registers and leaves four for B.
    const TILE_ROWS: [usize; 5] = [0, 0, 6, 2, 1];
    type V = float32x4_t;
    type I = int32x4_t;
    type M = uint32x4_t;

    #[inline(always)]
    fn tile_panels(rows: usize) -> usize {
        match rows {
            0..=1 => 4,
            2 => 2,
            _ => 1,
        }
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves the features.
        unsafe { shim(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> float32x4_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_f32(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: float32x4_t) {
        // SAFETY: as promised by the caller.
        unsafe { vst1q_f32(p, v) }
    }

    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize) -> float32x4_t {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller promises `n <= 4` readable values.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            vld1q_f32(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, v: float32x4_t) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller promises `n <= 4` writable values.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
        }
    }

    #[inline(always)]
    unsafe fn iload(self, p: *const i32) -> int32x4_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_s32(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> float32x4_t {
        // SAFETY: as promised by the caller; the token proves the features.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> float32x4_t {
        // SAFETY: as above; four bytes are read as one word, which needs no alignment.
        unsafe {
            let bytes = vreinterpret_s8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { std::arch::asm!("prfm pldl1keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly)) }
    }

    #[inline(always)]
    fn ishl<const N: i32>(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token proves the features.
        unsafe { vshlq_s32(a, vdupq_n_s32(N)) }
    }

    #[inline(always)]
    fn isra<const N: i32>(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token proves the features.
        unsafe { vshlq_s32(a, vdupq_n_s32(-N)) }
    }

    pure! {
        fn splat(x: f32) -> float32x4_t = vdupq_n_f32(x);
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b);
        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
        fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b);
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vminq_f32(a, b);
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmaxq_f32(a, b);
        fn sqrt(a: float32x4_t) -> float32x4_t = vsqrtq_f32(a);
        fn round(a: float32x4_t) -> float32x4_t = vrndnq_f32(a);
        fn abs(a: float32x4_t) -> float32x4_t = vabsq_f32(a);
        fn copysign(a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(vdupq_n_u32(0x8000_0000), b, a);
        fn lt(a: float32x4_t, b: float32x4_t) -> uint32x4_t = vcltq_f32(a, b);
        fn le(a: float32x4_t, b: float32x4_t) -> uint32x4_t = vcleq_f32(a, b);
        fn eq(a: float32x4_t, b: float32x4_t) -> uint32x4_t = vceqq_f32(a, b);
        fn select(m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(m, a, b);
        fn reduce_add(a: float32x4_t) -> f32 = vaddvq_f32(a);
        fn reduce_max(a: float32x4_t) -> f32 = vmaxvq_f32(a);
        fn reduce_min(a: float32x4_t) -> f32 = vminvq_f32(a);
        fn bits(a: float32x4_t) -> int32x4_t = vreinterpretq_s32_f32(a);
        fn of_bits(a: int32x4_t) -> float32x4_t = vreinterpretq_f32_s32(a);
        fn isplat(x: i32) -> int32x4_t = vdupq_n_s32(x);
        fn iadd(a: int32x4_t, b: int32x4_t) -> int32x4_t = vaddq_s32(a, b);
        fn isub(a: int32x4_t, b: int32x4_t) -> int32x4_t = vsubq_s32(a, b);
        fn iand(a: int32x4_t, b: int32x4_t) -> int32x4_t = vandq_s32(a, b);
        fn to_int(a: float32x4_t) -> int32x4_t = vcvtnq_s32_f32(a);
        fn to_float(a: int32x4_t) -> float32x4_t = vcvtq_f32_s32(a);
    }
}

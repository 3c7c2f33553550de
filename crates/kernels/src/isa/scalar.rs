//! The portable tier: arrays of four lanes, which the compiler may turn into whatever the baseline offers.

use super::{Kernel, Simd};

/// Needs no proof: plain Rust.
#[derive(Clone, Copy)]
pub struct Scalar;

type V = [f32; 4];
type I = [i32; 4];
type M = [bool; 4];

#[inline(never)]
fn shim<K: Kernel>(kernel: K) -> K::Out {
    kernel.run(Scalar)
}

#[inline(always)]
fn map<A: Copy, R>(a: [A; 4], f: impl Fn(A) -> R) -> [R; 4] {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}

#[inline(always)]
fn zip<A: Copy, B: Copy, R>(a: [A; 4], b: [B; 4], f: impl Fn(A, B) -> R) -> [R; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

// SAFETY: no special instructions are used.
unsafe impl Simd for Scalar {
    const LANES: usize = 4;
    const TILE_ROWS: [usize; 5] = [0, 0, 2, 0, 0];
    type V = V;
    type I = I;
    type M = M;

    #[inline(always)]
    fn tile_panels(_rows: usize) -> usize {
        1
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        shim(kernel)
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> V {
        // SAFETY: as promised by the caller; an array of f32 has the alignment of f32.
        unsafe { *p.cast::<V>() }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: V) {
        // SAFETY: as promised by the caller.
        unsafe { *p.cast::<V>() = v }
    }

    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize) -> V {
        let mut v = [0.0; 4];
        // SAFETY: the caller promises `n <= 4` readable values.
        unsafe { std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n) };
        v
    }

    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, v: V) {
        // SAFETY: the caller promises `n <= 4` writable values.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n) };
    }

    #[inline(always)]
    unsafe fn iload(self, p: *const i32) -> I {
        // SAFETY: as promised by the caller; an array of i32 has the alignment of i32.
        unsafe { *p.cast::<I>() }
    }

    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }

    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        map(a, f32::sqrt)
    }

    #[inline(always)]
    fn round(self, a: V) -> V {
        map(a, f32::round_ties_even)
    }

    #[inline(always)]
    fn abs(self, a: V) -> V {
        map(a, f32::abs)
    }

    #[inline(always)]
    fn copysign(self, a: V, b: V) -> V {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn lt(self, a: V, b: V) -> M {
        zip(a, b, |a, b| a < b)
    }

    #[inline(always)]
    fn le(self, a: V, b: V) -> M {
        zip(a, b, |a, b| a <= b)
    }

    #[inline(always)]
    fn eq(self, a: V, b: V) -> M {
        zip(a, b, |a, b| a == b)
    }

    #[inline(always)]
    fn select(self, m: M, a: V, b: V) -> V {
        let pick = |i: usize| if m[i] { a[i] } else { b[i] };
        [pick(0), pick(1), pick(2), pick(3)]
    }

    #[inline(always)]
    fn reduce_add(self, a: V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }

    #[inline(always)]
    fn reduce_max(self, a: V) -> f32 {
        a[0].max(a[1]).max(a[2].max(a[3]))
    }

    #[inline(always)]
    fn reduce_min(self, a: V) -> f32 {
        a[0].min(a[1]).min(a[2].min(a[3]))
    }

    #[inline(always)]
    fn bits(self, a: V) -> I {
        map(a, |a| a.to_bits() as i32)
    }

    #[inline(always)]
    fn of_bits(self, a: I) -> V {
        map(a, |a| f32::from_bits(a as u32))
    }

    #[inline(always)]
    fn isplat(self, x: i32) -> I {
        [x; 4]
    }

    #[inline(always)]
    fn iadd(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_add)
    }

    #[inline(always)]
    fn isub(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    fn iand(self, a: I, b: I) -> I {
        zip(a, b, |a, b| a & b)
    }

    #[inline(always)]
    fn ishl<const N: i32>(self, a: I) -> I {
        map(a, |a| a << N)
    }

    #[inline(always)]
    fn isra<const N: i32>(self, a: I) -> I {
        map(a, |a| a >> N)
    }

    #[inline(always)]
    fn to_int(self, a: V) -> I {
        map(a, |a| a.round_ties_even() as i32)
    }

    #[inline(always)]
    fn to_float(self, a: I) -> V {
        map(a, |a| a as f32)
    }
}

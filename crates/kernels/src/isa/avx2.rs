//! AVX2 with FMA and F16C: 8 lanes, 16 registers.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C, and of AVX-VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// # Safety
    /// The processor must have AVX2, FMA and F16C, and AVX-VNNI if `VNNI`.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn shim<K: Kernel, const VNNI: bool>(s: Avx2<VNNI>, kernel: K) -> K::Out {
    kernel.run(s)
}

/// All ones in the first `n` lanes.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    // SAFETY: AVX2 is promised by the caller; no memory is touched.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// Transposes 8 x 8 floats.
///
/// # Safety
/// The processor must have AVX2, and both squares be valid.
#[inline(always)]
unsafe fn transpose8(x: *const f32, xs: usize, y: *mut f32, ys: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        // No closure: compiled on its own, it would lack the instruction set.
        let mut r = [_mm256_loadu_ps(x); 8];
        for (i, r) in r.iter_mut().enumerate().skip(1) {
            *r = _mm256_loadu_ps(x.add(i * xs));
        }
        let mut t = r;
        for i in (0..8).step_by(2) {
            t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        for h in 0..2 {
            for half in 0..2 {
                // Column `2 h + half` of each 128-bit half, rows 0 to 3 and 4 to 7.
                let quad = |i: usize| {
                    let (a, b) = (_mm256_castps_pd(t[i + h]), _mm256_castps_pd(t[i + 2 + h]));
                    _mm256_castpd_ps(if half == 0 { _mm256_unpacklo_pd(a, b) } else { _mm256_unpackhi_pd(a, b) })
                };
                let (top, bottom) = (quad(0), quad(4));
                let column = 2 * h + half;
                _mm256_storeu_ps(y.add(column * ys), _mm256_permute2f128_ps::<0x20>(top, bottom));
                _mm256_storeu_ps(y.add((column + 4) * ys), _mm256_permute2f128_ps::<0x31>(top, bottom));
            }
        }
    }
}

/// Methods whose body is intrinsics without memory access.
macro_rules! pure {
    ($(fn $name:ident $(<const $n:ident: i32>)? ($($arg:ident: $t:ty),*) -> $ret:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name $(<const $n: i32>)? (self, $($arg: $t),*) -> $ret {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe { $body }
        }
    )*};
}

// SAFETY: the token is only built after detection.
unsafe impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const LANES: usize = 8;
    /// 6x2 fills 12 of 16 registers; 4x3 and wider spill.
    const TILE_ROWS: [usize; 5] = [0, 6, 3, 1, 0];
    type V = __m256;
    type I = __m256i;
    type M = __m256;

    /// Two FMA pipes of latency 4 need 8 independent accumulators.
    #[inline(always)]
    fn tile_panels(rows: usize) -> usize {
        match rows {
            0..=1 => 4,
            2..=3 => 2,
            _ => 1,
        }
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves the features.
        unsafe { shim(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: as promised by the caller.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: as promised by the caller.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: masked-out lanes are not read.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }

    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, v: __m256) {
        // SAFETY: masked-out lanes are not written.
        unsafe { _mm256_maskstore_ps(p, first(n), v) }
    }

    #[inline(always)]
    unsafe fn transpose16(self, x: *const f32, xs: usize, y: *mut f32, ys: usize) {
        // SAFETY: as promised by the caller; the token proves the features.
        unsafe {
            for quarter in 0..4 {
                let (i, j) = (quarter / 2 * 8, quarter % 2 * 8);
                transpose8(x.add(i * xs + j), xs, y.add(j * ys + i), ys);
            }
        }
    }

    #[inline(always)]
    unsafe fn iload(self, p: *const i32) -> __m256i {
        // SAFETY: as promised by the caller.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m256 {
        // SAFETY: as promised by the caller; the token proves the features.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }

    #[inline(always)]
    fn reduce_add(self, a: __m256) -> f32 {
        // SAFETY: the token proves the features, and no memory is touched.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: __m256) -> f32 {
        // SAFETY: the token proves the features, and no memory is touched.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

    #[inline(always)]
    fn reduce_min(self, a: __m256) -> f32 {
        // SAFETY: the token proves the features, and no memory is touched.
        unsafe {
            let x = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_min_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_min_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

    pure! {
        fn prefetch(p: *const f32) -> () = _mm_prefetch::<_MM_HINT_T0>(p.cast());
        fn splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        fn max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        fn sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        fn round(a: __m256) -> __m256 = _mm256_round_ps::<0x08>(a);
        fn abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        fn copysign(a: __m256, b: __m256) -> __m256 = {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        };
        fn lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        fn le(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LE_OQ>(a, b);
        fn eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
        fn select(m: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, m);
        fn bits(a: __m256) -> __m256i = _mm256_castps_si256(a);
        fn of_bits(a: __m256i) -> __m256 = _mm256_castsi256_ps(a);
        fn isplat(x: i32) -> __m256i = _mm256_set1_epi32(x);
        fn iadd(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        fn isub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        fn iand(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        fn ishl<const N: i32>(a: __m256i) -> __m256i = _mm256_slli_epi32::<N>(a);
        fn isra<const N: i32>(a: __m256i) -> __m256i = _mm256_srai_epi32::<N>(a);
        fn to_int(a: __m256) -> __m256i = _mm256_cvtps_epi32(a);
        fn to_float(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
    }
}

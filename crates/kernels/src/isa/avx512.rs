//! AVX-512 (F, BW, DQ, VL): 16 lanes, 32 registers.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof of AVX-512 F, BW, DQ, VL, AVX2 and FMA, and of AVX-512 VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub struct Avx512<const VNNI: bool>(());

impl<const VNNI: bool> Avx512<VNNI> {
    /// # Safety
    /// The processor must have AVX-512 F, BW, DQ, VL, AVX2 and FMA, and AVX-512 VNNI if `VNNI`.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn shim<K: Kernel, const VNNI: bool>(s: Avx512<VNNI>, kernel: K) -> K::Out {
    kernel.run(s)
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
unsafe impl<const VNNI: bool> Simd for Avx512<VNNI> {
    const LANES: usize = 16;
    /// 14x2 fills 28 of 32 registers and leaves two for B and one for A.
    const TILE_ROWS: [usize; 5] = [14, 14, 6, 3, 0];
    type V = __m512;
    type I = __m512i;
    type M = __mmask16;

    /// Few rows are limited by memory: of 1, 4, 8 and 16 streams, four come as fast as a plain read does (measured).
    #[inline(always)]
    fn tile_panels(rows: usize) -> usize {
        if rows <= 6 { 4 } else { 2 }
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves the features.
        unsafe { shim(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: masked-out lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) }
    }

    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, v: __m512) {
        // SAFETY: masked-out lanes are not written.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, v) }
    }

    #[inline(always)]
    unsafe fn transpose16(self, x: *const f32, xs: usize, y: *mut f32, ys: usize) {
        // SAFETY: as promised by the caller; the token proves the features.
        unsafe {
            // No closure: compiled on its own, it would lack the instruction set.
            let mut r = [_mm512_loadu_ps(x); 16];
            for (i, r) in r.iter_mut().enumerate().skip(1) {
                *r = _mm512_loadu_ps(x.add(i * xs));
            }
            // Four rounds: pairs, quads of floats within 128 bits, then 128-bit quarters twice.
            let mut t = r;
            for i in (0..16).step_by(2) {
                t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
                t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
            }
            for i in (0..16).step_by(4) {
                for h in 0..2 {
                    let (a, b) = (_mm512_castps_pd(t[i + h]), _mm512_castps_pd(t[i + 2 + h]));
                    r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
            }
            for i in 0..4 {
                _mm512_storeu_ps(y.add(i * ys), _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]));
                _mm512_storeu_ps(y.add((i + 4) * ys), _mm512_shuffle_f32x4::<0x88>(t[i + 4], t[i + 12]));
                _mm512_storeu_ps(y.add((i + 8) * ys), _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]));
                _mm512_storeu_ps(y.add((i + 12) * ys), _mm512_shuffle_f32x4::<0xdd>(t[i + 4], t[i + 12]));
            }
        }
    }

    #[inline(always)]
    unsafe fn iload(self, p: *const i32) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_loadu_epi32(p) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m512 {
        // SAFETY: as promised by the caller; the token proves the features.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }

    pure! {
        // Looked up: a permutation reads four bits of each lane, which saves isolating and converting them.
        fn nibble<const N: i32>(a: __m512i) -> __m512 = {
            let values = _mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0,
            );
            _mm512_permutexvar_ps(_mm512_srl_epi32(a, _mm_cvtsi32_si128(28 - N)), values)
        };
        fn prefetch(p: *const f32) -> () = _mm_prefetch::<_MM_HINT_T0>(p.cast());
        fn splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        fn max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        // An estimate of 14 bits, and a step of Newton's.
        fn reciprocal(a: __m512) -> __m512 = {
            let r = _mm512_rcp14_ps(a);
            _mm512_fmadd_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(1.0)), r)
        };
        fn scale(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
        fn round(a: __m512) -> __m512 = _mm512_roundscale_ps::<0x08>(a);
        fn abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        fn copysign(a: __m512, b: __m512) -> __m512 = {
            let sign = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b))
        };
        fn lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        fn le(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b);
        fn eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
        fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
        fn reduce_add(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        fn reduce_max(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
        fn reduce_min(a: __m512) -> f32 = _mm512_reduce_min_ps(a);
        fn bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
        fn of_bits(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
        fn isplat(x: i32) -> __m512i = _mm512_set1_epi32(x);
        fn iadd(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn isub(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        fn iand(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        fn ishl<const N: i32>(a: __m512i) -> __m512i = _mm512_sll_epi32(a, _mm_cvtsi32_si128(N));
        fn isra<const N: i32>(a: __m512i) -> __m512i = _mm512_sra_epi32(a, _mm_cvtsi32_si128(N));
        fn to_int(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        fn to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
    }
}

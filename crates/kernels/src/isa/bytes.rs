//! Products of bytes, tier by tier: lanes of i32 that sum four products of u8 and i8 each.
//!
//! The sums are exact modulo 2^32 on every tier. VNNI adds four products in one instruction; without it bytes are widened
//! to i16 and multiplied in pairs (`pmaddwd`, `smlal`), because the instruction that multiplies bytes (`pmaddubsw`)
//! saturates.

use super::Simd;

/// Code to be compiled for, and run on, one tier with its products of bytes.
pub trait ByteKernel {
    /// What the kernel returns.
    type Out;
    /// The kernel. Mark it and everything it calls `#[inline(always)]`.
    fn run<S: Bytes>(self, s: S) -> Self::Out;
}

/// Operations on bytes and on lanes of i32.
///
/// # Safety
/// As [`Simd`].
pub unsafe trait Bytes: Simd {
    /// As [`Simd::TILE_ROWS`], for tiles of sums.
    const QUAD_ROWS: [usize; 5];
    /// As [`Simd::tile_panels`].
    fn quad_panels(rows: usize) -> usize;
    /// Four u8 per lane, ready to be multiplied.
    type Q: Copy;
    /// Four i8 per lane, ready to be multiplied.
    type W: Copy;

    /// Calls `kernel` from a function that has this tier's target features, never inlined into the caller.
    fn call_bytes<K: ByteKernel>(self, kernel: K) -> K::Out;
    /// Reads a register of i32.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` values.
    unsafe fn load_i(self, p: *const i32) -> Self::I;
    /// Writes a register of i32.
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` values.
    unsafe fn store_i(self, p: *mut i32, v: Self::I);
    /// Reads four bytes into every lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of 4 bytes.
    unsafe fn quad(self, p: *const u8) -> Self::Q;
    /// Reads four u8 for each lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of `4 * LANES` bytes.
    unsafe fn quads(self, p: *const u8) -> Self::Q;
    /// Reads four bytes for each lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of `4 * LANES` bytes.
    unsafe fn weights(self, p: *const i8) -> Self::W;
    /// `sum + a0 w0 + a1 w1 + a2 w2 + a3 w3`, wrapping.
    fn dot(self, sum: Self::I, a: Self::Q, w: Self::W) -> Self::I;
    /// Reads one u8 for each lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` bytes.
    unsafe fn widen(self, p: *const u8) -> Self::I;
    /// Writes the lowest byte of each lane; lanes are from -128 to 255.
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` bytes.
    unsafe fn narrow(self, p: *mut u8, v: Self::I);
    /// Whether a comparison holds in any lane.
    fn any(self, m: Self::M) -> bool;
}

#[inline(never)]
fn shim_scalar<K: ByteKernel>(kernel: K) -> K::Out {
    kernel.run(super::scalar::Scalar)
}

// SAFETY: no special instructions are used.
unsafe impl Bytes for super::scalar::Scalar {
    const QUAD_ROWS: [usize; 5] = [0, 0, 2, 0, 0];
    type Q = [[u8; 4]; 4];
    type W = [[i8; 4]; 4];

    #[inline(always)]
    fn quad_panels(_rows: usize) -> usize {
        1
    }

    #[inline(always)]
    fn call_bytes<K: ByteKernel>(self, kernel: K) -> K::Out {
        shim_scalar(kernel)
    }

    #[inline(always)]
    unsafe fn load_i(self, p: *const i32) -> [i32; 4] {
        // SAFETY: as promised by the caller; an array has the alignment of its elements.
        unsafe { *p.cast() }
    }

    #[inline(always)]
    unsafe fn store_i(self, p: *mut i32, v: [i32; 4]) {
        // SAFETY: as promised by the caller.
        unsafe { *p.cast() = v }
    }

    #[inline(always)]
    unsafe fn quad(self, p: *const u8) -> Self::Q {
        // SAFETY: as promised by the caller.
        [unsafe { *p.cast() }; 4]
    }

    #[inline(always)]
    unsafe fn quads(self, p: *const u8) -> Self::Q {
        // SAFETY: as promised by the caller.
        unsafe { *p.cast() }
    }

    #[inline(always)]
    unsafe fn weights(self, p: *const i8) -> [[i8; 4]; 4] {
        // SAFETY: as promised by the caller.
        unsafe { *p.cast() }
    }

    #[inline(always)]
    fn dot(self, mut sum: [i32; 4], a: Self::Q, w: Self::W) -> [i32; 4] {
        for ((sum, a), w) in sum.iter_mut().zip(a).zip(w) {
            for (a, w) in a.into_iter().zip(w) {
                *sum = sum.wrapping_add(i32::from(a) * i32::from(w));
            }
        }
        sum
    }

    #[inline(always)]
    unsafe fn widen(self, p: *const u8) -> [i32; 4] {
        // SAFETY: as promised by the caller.
        unsafe { (*p.cast::<[u8; 4]>()).map(i32::from) }
    }

    #[inline(always)]
    unsafe fn narrow(self, p: *mut u8, v: [i32; 4]) {
        // SAFETY: as promised by the caller.
        unsafe { *p.cast() = v.map(|v| v as u8) }
    }

    #[inline(always)]
    fn any(self, m: [bool; 4]) -> bool {
        m.contains(&true)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::avx2::Avx2;
    use super::super::avx512::Avx512;
    use super::{ByteKernel, Bytes};
    use std::arch::x86_64::*;

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    fn shim_vnni<K: ByteKernel, const VNNI: bool>(s: Avx512<VNNI>, kernel: K) -> K::Out {
        kernel.run(s)
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn shim512<K: ByteKernel, const VNNI: bool>(s: Avx512<VNNI>, kernel: K) -> K::Out {
        kernel.run(s)
    }

    #[inline(never)]
    #[target_feature(enable = "avxvnni,avx2,fma")]
    fn shim_avx_vnni<K: ByteKernel, const VNNI: bool>(s: Avx2<VNNI>, kernel: K) -> K::Out {
        kernel.run(s)
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    fn shim256<K: ByteKernel, const VNNI: bool>(s: Avx2<VNNI>, kernel: K) -> K::Out {
        kernel.run(s)
    }

    /// u8 as they are multiplied: as they are with VNNI, else bytes 0 and 2, bytes 1 and 3 of each four as i16.
    ///
    /// # Safety
    /// AVX-512 F and BW must be available.
    #[inline(always)]
    unsafe fn split512<const VNNI: bool>(x: __m512i) -> (__m512i, __m512i) {
        // SAFETY: as promised by the caller.
        unsafe { if VNNI { (x, x) } else { (_mm512_and_si512(x, _mm512_set1_epi16(255)), _mm512_srli_epi16::<8>(x)) } }
    }

    /// As [`split512`].
    ///
    /// # Safety
    /// AVX2 must be available.
    #[inline(always)]
    unsafe fn split256<const VNNI: bool>(x: __m256i) -> (__m256i, __m256i) {
        // SAFETY: as promised by the caller.
        unsafe { if VNNI { (x, x) } else { (_mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(x)) } }
    }

    // SAFETY: the token is only built after detection.
    unsafe impl<const VNNI: bool> Bytes for Avx512<VNNI> {
        /// As for f32 with VNNI; without it operands take twice the registers: 12x2 and 5 for B and A fill 31 of 32.
        const QUAD_ROWS: [usize; 5] = if VNNI { [14, 14, 6, 3, 0] } else { [14, 12, 0, 0, 0] };
        /// Bytes 0 and 2, bytes 1 and 3, as i16; all bytes with VNNI.
        type Q = (__m512i, __m512i);
        type W = (__m512i, __m512i);

        #[inline(always)]
        fn quad_panels(rows: usize) -> usize {
            match rows {
                0..=3 if VNNI => 8,
                4..=6 if VNNI => 4,
                _ => 2,
            }
        }

        #[inline(always)]
        fn call_bytes<K: ByteKernel>(self, kernel: K) -> K::Out {
            // SAFETY: the token proves the features.
            unsafe { if VNNI { shim_vnni(self, kernel) } else { shim512(self, kernel) } }
        }

        #[inline(always)]
        unsafe fn load_i(self, p: *const i32) -> __m512i {
            // SAFETY: as promised by the caller; the load needs no alignment.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }

        #[inline(always)]
        unsafe fn store_i(self, p: *mut i32, v: __m512i) {
            // SAFETY: as promised by the caller; the store needs no alignment.
            unsafe { _mm512_storeu_si512(p.cast(), v) }
        }

        #[inline(always)]
        unsafe fn quad(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller.
            unsafe {
                let x = _mm512_set1_epi32(p.cast::<i32>().read_unaligned());
                split512::<VNNI>(x)
            }
        }

        #[inline(always)]
        unsafe fn quads(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller; the load needs no alignment.
            unsafe { split512::<VNNI>(_mm512_loadu_si512(p.cast())) }
        }

        #[inline(always)]
        unsafe fn weights(self, p: *const i8) -> Self::W {
            // SAFETY: as promised by the caller.
            unsafe {
                let w = _mm512_loadu_si512(p.cast());
                if VNNI {
                    (w, w)
                } else {
                    (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)), _mm512_srai_epi16::<8>(w))
                }
            }
        }

        #[inline(always)]
        fn dot(self, sum: __m512i, a: Self::Q, w: Self::W) -> __m512i {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe {
                if VNNI {
                    _mm512_dpbusd_epi32(sum, a.0, w.0)
                } else {
                    let even = _mm512_add_epi32(sum, _mm512_madd_epi16(a.0, w.0));
                    _mm512_add_epi32(even, _mm512_madd_epi16(a.1, w.1))
                }
            }
        }

        #[inline(always)]
        unsafe fn widen(self, p: *const u8) -> __m512i {
            // SAFETY: as promised by the caller.
            unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
        }

        #[inline(always)]
        unsafe fn narrow(self, p: *mut u8, v: __m512i) {
            // SAFETY: as promised by the caller.
            unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(v)) }
        }

        #[inline(always)]
        fn any(self, m: __mmask16) -> bool {
            m != 0
        }
    }

    // SAFETY: the token is only built after detection.
    unsafe impl<const VNNI: bool> Bytes for Avx2<VNNI> {
        /// As for f32 with VNNI; without it 4x2 and 7 for B, A and a product fill 15 of 16.
        const QUAD_ROWS: [usize; 5] = if VNNI { [0, 6, 3, 1, 0] } else { [0, 4, 1, 0, 0] };
        /// Bytes 0 and 2, bytes 1 and 3, as i16; all bytes with VNNI.
        type Q = (__m256i, __m256i);
        type W = (__m256i, __m256i);

        #[inline(always)]
        fn quad_panels(rows: usize) -> usize {
            match rows {
                0..=1 if VNNI => 4,
                2..=3 if VNNI => 2,
                0..=1 => 2,
                _ => 1,
            }
        }

        #[inline(always)]
        fn call_bytes<K: ByteKernel>(self, kernel: K) -> K::Out {
            // SAFETY: the token proves the features.
            unsafe { if VNNI { shim_avx_vnni(self, kernel) } else { shim256(self, kernel) } }
        }

        #[inline(always)]
        unsafe fn load_i(self, p: *const i32) -> __m256i {
            // SAFETY: as promised by the caller; the load needs no alignment.
            unsafe { _mm256_loadu_si256(p.cast()) }
        }

        #[inline(always)]
        unsafe fn store_i(self, p: *mut i32, v: __m256i) {
            // SAFETY: as promised by the caller; the store needs no alignment.
            unsafe { _mm256_storeu_si256(p.cast(), v) }
        }

        #[inline(always)]
        unsafe fn quad(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller.
            unsafe {
                let x = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
                split256::<VNNI>(x)
            }
        }

        #[inline(always)]
        unsafe fn quads(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller; the load needs no alignment.
            unsafe { split256::<VNNI>(_mm256_loadu_si256(p.cast())) }
        }

        #[inline(always)]
        unsafe fn weights(self, p: *const i8) -> Self::W {
            // SAFETY: as promised by the caller.
            unsafe {
                let w = _mm256_loadu_si256(p.cast());
                if VNNI {
                    (w, w)
                } else {
                    (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)), _mm256_srai_epi16::<8>(w))
                }
            }
        }

        #[inline(always)]
        fn dot(self, sum: __m256i, a: Self::Q, w: Self::W) -> __m256i {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe {
                if VNNI {
                    _mm256_dpbusd_avx_epi32(sum, a.0, w.0)
                } else {
                    let even = _mm256_add_epi32(sum, _mm256_madd_epi16(a.0, w.0));
                    _mm256_add_epi32(even, _mm256_madd_epi16(a.1, w.1))
                }
            }
        }

        #[inline(always)]
        unsafe fn widen(self, p: *const u8) -> __m256i {
            // SAFETY: as promised by the caller.
            unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
        }

        #[inline(always)]
        unsafe fn narrow(self, p: *mut u8, v: __m256i) {
            // SAFETY: as promised by the caller. The lowest bytes of each half are brought into its first lane.
            unsafe {
                let order = _mm256_set1_epi64x(0x0c08_0400);
                let bytes = _mm256_shuffle_epi8(v, order);
                let low = _mm256_castsi256_si128(bytes);
                let both = _mm_unpacklo_epi32(low, _mm256_extracti128_si256::<1>(bytes));
                _mm_storel_epi64(p.cast(), both);
            }
        }

        #[inline(always)]
        fn any(self, m: __m256) -> bool {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe { _mm256_movemask_ps(m) != 0 }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::super::neon::Neon;
    use super::{ByteKernel, Bytes};
    use std::arch::aarch64::*;

    #[inline(never)]
    #[target_feature(enable = "neon")]
    fn shim<K: ByteKernel>(s: Neon, kernel: K) -> K::Out {
        kernel.run(s)
    }

    /// Bytes 0 and 2, bytes 1 and 3 of each four as i16.
    ///
    /// # Safety
    /// NEON must be available.
    #[inline(always)]
    unsafe fn split(x: uint16x8_t) -> (int16x8_t, int16x8_t) {
        // SAFETY: as promised by the caller.
        unsafe {
            let even = vandq_u16(x, vdupq_n_u16(255));
            (vreinterpretq_s16_u16(even), vreinterpretq_s16_u16(vshrq_n_u16::<8>(x)))
        }
    }

    // SAFETY: the token is only built on aarch64, where NEON is mandatory.
    unsafe impl Bytes for Neon {
        /// 4x4 fills 16 of 32 registers; the rest are operands as i16 and products.
        const QUAD_ROWS: [usize; 5] = [0, 0, 4, 1, 0];
        /// Bytes 0 and 2, bytes 1 and 3, as i16.
        type Q = (int16x8_t, int16x8_t);
        type W = (int16x8_t, int16x8_t);

        #[inline(always)]
        fn quad_panels(rows: usize) -> usize {
            if rows <= 1 { 2 } else { 1 }
        }

        #[inline(always)]
        fn call_bytes<K: ByteKernel>(self, kernel: K) -> K::Out {
            // SAFETY: the token proves the features.
            unsafe { shim(self, kernel) }
        }

        #[inline(always)]
        unsafe fn load_i(self, p: *const i32) -> int32x4_t {
            // SAFETY: as promised by the caller.
            unsafe { vld1q_s32(p) }
        }

        #[inline(always)]
        unsafe fn store_i(self, p: *mut i32, v: int32x4_t) {
            // SAFETY: as promised by the caller.
            unsafe { vst1q_s32(p, v) }
        }

        #[inline(always)]
        unsafe fn quad(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller.
            unsafe { split(vreinterpretq_u16_u32(vdupq_n_u32(p.cast::<u32>().read_unaligned()))) }
        }

        #[inline(always)]
        unsafe fn quads(self, p: *const u8) -> Self::Q {
            // SAFETY: as promised by the caller.
            unsafe { split(vreinterpretq_u16_u8(vld1q_u8(p))) }
        }

        #[inline(always)]
        unsafe fn weights(self, p: *const i8) -> Self::W {
            // SAFETY: as promised by the caller.
            unsafe {
                let w = vreinterpretq_s16_s8(vld1q_s8(p));
                (vshrq_n_s16::<8>(vshlq_n_s16::<8>(w)), vshrq_n_s16::<8>(w))
            }
        }

        #[inline(always)]
        fn dot(self, sum: int32x4_t, a: Self::Q, w: Self::W) -> int32x4_t {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe {
                let low = vmull_s16(vget_low_s16(a.0), vget_low_s16(w.0));
                let low = vmlal_s16(low, vget_low_s16(a.1), vget_low_s16(w.1));
                let high = vmull_high_s16(a.0, w.0);
                let high = vmlal_high_s16(high, a.1, w.1);
                vaddq_s32(sum, vpaddq_s32(low, high))
            }
        }

        #[inline(always)]
        unsafe fn widen(self, p: *const u8) -> int32x4_t {
            // SAFETY: as promised by the caller.
            unsafe {
                let x = vreinterpret_u8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
                vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(x))))
            }
        }

        #[inline(always)]
        unsafe fn narrow(self, p: *mut u8, v: int32x4_t) {
            // SAFETY: as promised by the caller.
            unsafe {
                let half = vmovn_u32(vreinterpretq_u32_s32(v));
                let bytes = vmovn_u16(vcombine_u16(half, half));
                p.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
            }
        }

        #[inline(always)]
        fn any(self, m: uint32x4_t) -> bool {
            // SAFETY: the token proves the features, and no memory is touched.
            unsafe { vmaxvq_u32(m) != 0 }
        }
    }
}

//! Products of pairs of i16, tier by tier.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{with_avx2, with_avx512, with_vnni};

/// Vectors of i32 sums and of pairs of i16, one pair per lane.
///
/// # Safety
/// An implementor must be a token whose existence proves that its instructions are available.
pub(super) unsafe trait Dot: Copy {
    /// Lanes of 32 bits: 4, 8 or 16.
    const LANES: usize;
    /// Rows of the register tile.
    const ROWS: usize;
    /// Panels of 16 columns of the register tile; more than one only with 16 lanes.
    const PANELS: usize;
    /// Pairs.
    type P: Copy;
    /// Sums.
    type V: Copy;
    /// All lanes 0.
    fn zero(self) -> Self::V;
    /// Reads a pair per lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` values.
    unsafe fn load(self, p: *const i16) -> Self::P;
    /// Reads one pair into every lane.
    ///
    /// # Safety
    /// `p` must be valid for reads of two values.
    unsafe fn splat(self, p: *const i16) -> Self::P;
    /// `sum + a0 b0 + a1 b1`, wrapping.
    fn add_products(self, sum: Self::V, a: Self::P, b: Self::P) -> Self::V;
    /// `v` and the sums at `p`.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` values.
    unsafe fn plus(self, v: Self::V, p: *const i32) -> Self::V;
    /// Writes the sums.
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` values.
    unsafe fn store(self, p: *mut i32, v: Self::V);
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

// SAFETY: no special instructions are used.
unsafe impl Dot for Portable {
    const LANES: usize = 4;
    const ROWS: usize = 2;
    const PANELS: usize = 1;
    type P = [[i16; 2]; 4];
    type V = [i32; 4];

    #[inline(always)]
    fn zero(self) -> Self::V {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const i16) -> Self::P {
        // SAFETY: as promised by the caller; an array of i16 has the alignment of i16.
        unsafe { *p.cast() }
    }

    #[inline(always)]
    unsafe fn splat(self, p: *const i16) -> Self::P {
        // SAFETY: as promised by the caller.
        unsafe { [*p.cast(); 4] }
    }

    #[inline(always)]
    fn add_products(self, mut sum: Self::V, a: Self::P, b: Self::P) -> Self::V {
        for i in 0..4 {
            let products = i32::from(a[i][0]) * i32::from(b[i][0]) + i32::from(a[i][1]) * i32::from(b[i][1]);
            sum[i] = sum[i].wrapping_add(products);
        }
        sum
    }

    #[inline(always)]
    unsafe fn plus(self, mut v: Self::V, p: *const i32) -> Self::V {
        for (i, v) in v.iter_mut().enumerate() {
            // SAFETY: as promised by the caller.
            *v = v.wrapping_add(unsafe { *p.add(i) });
        }
        v
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut i32, v: Self::V) {
        // SAFETY: as promised by the caller; an array of i32 has the alignment of i32.
        unsafe { *p.cast() = v }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::Block;
    use super::Dot;
    use std::arch::x86_64::*;

    /// Proof of the features that a `with_` function names.
    #[derive(Clone, Copy)]
    struct Avx2(());
    #[derive(Clone, Copy)]
    struct Avx512(());
    #[derive(Clone, Copy)]
    struct Vnni(());

    /// # Safety
    /// The processor must have AVX2; the block is as [`Block::run`] wants it.
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) unsafe fn with_avx2(block: Block<'_>, buffer: &mut [i16]) {
        // SAFETY: as promised by the caller.
        unsafe { block.run(Avx2(()), buffer) }
    }

    /// # Safety
    /// The processor must have AVX-512 F, BW, DQ, VL; the block is as [`Block::run`] wants it.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(in super::super) unsafe fn with_avx512(block: Block<'_>, buffer: &mut [i16]) {
        // SAFETY: as promised by the caller.
        unsafe { block.run(Avx512(()), buffer) }
    }

    /// # Safety
    /// The processor must have AVX-512 F, BW, DQ, VL, VNNI; the block is as [`Block::run`] wants it.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub(in super::super) unsafe fn with_vnni(block: Block<'_>, buffer: &mut [i16]) {
        // SAFETY: as promised by the caller.
        unsafe { block.run(Vnni(()), buffer) }
    }

    macro_rules! dot {
        ($token:ident, $lanes:literal, $rows:literal, $panels:literal, $v:ty, $zero:ident, $load:ident, $splat:ident,
         $add:ident, $store:ident, |$sum:ident, $a:ident, $b:ident| $products:expr) => {
            // SAFETY: the token is only built in a function that has the features.
            unsafe impl Dot for $token {
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;
                const PANELS: usize = $panels;
                type P = $v;
                type V = $v;

                #[inline(always)]
                fn zero(self) -> $v {
                    // SAFETY: the token proves the features.
                    unsafe { $zero() }
                }

                #[inline(always)]
                unsafe fn load(self, p: *const i16) -> $v {
                    // SAFETY: as promised by the caller; the load needs no alignment.
                    unsafe { $load(p.cast()) }
                }

                #[inline(always)]
                unsafe fn splat(self, p: *const i16) -> $v {
                    // SAFETY: as promised by the caller.
                    unsafe { $splat(p.cast::<i32>().read_unaligned()) }
                }

                #[inline(always)]
                fn add_products(self, $sum: $v, $a: $v, $b: $v) -> $v {
                    // SAFETY: the token proves the features.
                    unsafe { $products }
                }

                #[inline(always)]
                unsafe fn plus(self, v: $v, p: *const i32) -> $v {
                    // SAFETY: as promised by the caller; the load needs no alignment.
                    unsafe { $add(v, $load(p.cast())) }
                }

                #[inline(always)]
                unsafe fn store(self, p: *mut i32, v: $v) {
                    // SAFETY: as promised by the caller; the store needs no alignment.
                    unsafe { $store(p.cast(), v) }
                }
            }
        };
    }

    // 6 rows of 2 registers leave 4 of 16 for operands and the product; 12 of 2 leave 8 of 32.
    dot!(
        Avx2,
        8,
        6,
        1,
        __m256i,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_add_epi32,
        _mm256_storeu_si256,
        |sum, a, b| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    );
    dot!(
        Avx512,
        16,
        12,
        2,
        __m512i,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_set1_epi32,
        _mm512_add_epi32,
        _mm512_storeu_si512,
        |sum, a, b| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
    );
    dot!(
        Vnni,
        16,
        12,
        2,
        __m512i,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_set1_epi32,
        _mm512_add_epi32,
        _mm512_storeu_si512,
        |sum, a, b| _mm512_dpwssd_epi32(sum, a, b)
    );
}

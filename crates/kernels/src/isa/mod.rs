//! Instruction-set tiers, the tokens that prove one is available, and the vector operations kernels are written in.
//!
//! A kernel is a value that implements [`Kernel`]; [`Isa::run`] calls it with the token of the best tier allowed, from
//! a function compiled with that tier's target features. Tokens can only be built here, after detection, so holding
//! one is the proof that its instructions exist on this machine.
//!
//! Everything a kernel calls on the way to an intrinsic must be `#[inline(always)]`: only then does it end up inside
//! the function that has the target features.

use planc_tensor::f16;
use std::fmt;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bytes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub use bytes::{ByteKernel, Bytes};

/// An instruction-set tier. The order within one architecture is "at least as capable as".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Portable code, no intrinsics. Products are rounded before they are added.
    Scalar,
    /// aarch64 with Advanced SIMD (every aarch64 processor).
    Neon,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Tier::Avx2`] with 8-bit dot products (AVX-VNNI); for f32 the same as [`Tier::Avx2`].
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// [`Tier::Avx512`] with 8-bit dot products (VNNI); for f32 the same as [`Tier::Avx512`].
    Avx512Vnni,
}

impl Tier {
    /// Every tier, least capable first.
    pub const ALL: [Self; 6] = [Self::Scalar, Self::Neon, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni];

    /// The best tier of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            if avx512 && has!("avx512vnni") {
                return Self::Avx512Vnni;
            } else if avx512 {
                return Self::Avx512;
            } else if avx2 && has!("avxvnni") {
                return Self::AvxVnni;
            } else if avx2 {
                return Self::Avx2;
            }
        }
        if cfg!(target_arch = "aarch64") { Self::Neon } else { Self::Scalar }
    }

    /// The tier called `name` (as printed), to be used as "at most this tier"; `None` for an unknown name.
    pub fn mask(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// The name in lower case: `scalar`, `neon`, `avx2`, `avxvnni`, `avx512`, `avx512vnni`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Proof that a tier is available on this machine. Copy it freely; build it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    tier: Tier,
}

impl Isa {
    /// The best tier of this machine.
    pub fn detect() -> Self {
        Self { tier: Tier::detect() }
    }

    /// The best tier of this machine that is no better than `tier`.
    ///
    /// A tier of the other architecture leaves the portable one: x86-64 with `neon` runs scalar code.
    pub fn at_most(tier: Tier) -> Self {
        let best = Tier::detect();
        let tier = match (best, tier) {
            (Tier::Neon, Tier::Scalar) | (_, Tier::Neon) if best != tier => Tier::Scalar,
            // Not every processor with AVX-512 has AVX-VNNI.
            (Tier::Avx512 | Tier::Avx512Vnni, Tier::AvxVnni) if !has_avx_vnni() => Tier::Avx2,
            _ => best.min(tier),
        };
        Self { tier }
    }

    /// Every tier this machine can run, least capable first, without those that equal another for f32.
    pub fn available() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for tier in [Tier::Scalar, Tier::Neon, Tier::Avx2, Tier::Avx512] {
            let isa = Self::at_most(tier);
            if !all.contains(&isa) {
                all.push(isa);
            }
        }
        all
    }

    /// Every tier this machine can run, least capable first.
    pub fn every() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for tier in Tier::ALL {
            let isa = Self::at_most(tier);
            if !all.contains(&isa) {
                all.push(isa);
            }
        }
        all
    }

    /// The tier.
    pub fn tier(self) -> Tier {
        self.tier
    }

    /// Runs `kernel` with the token of this tier.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self.tier {
            // SAFETY: `tier` is only set from detection, so the features of the token exist.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx512Vnni => unsafe { avx512::Avx512::<false>::new() }.call(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => unsafe { avx2::Avx2::<false>::new() }.call(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => unsafe { neon::Neon::new() }.call(kernel),
            _ => scalar::Scalar.call(kernel),
        }
    }

    /// Runs `kernel` with the token of this tier that has the best products of bytes.
    #[inline]
    pub fn run_bytes<K: ByteKernel>(self, kernel: K) -> K::Out {
        match self.tier {
            // SAFETY: `tier` is only set from detection, so the features of the token exist.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => unsafe { avx512::Avx512::<true>::new() }.call_bytes(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { avx512::Avx512::<false>::new() }.call_bytes(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::AvxVnni => unsafe { avx2::Avx2::<true>::new() }.call_bytes(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { avx2::Avx2::<false>::new() }.call_bytes(kernel),
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => unsafe { neon::Neon::new() }.call_bytes(kernel),
            _ => scalar::Scalar.call_bytes(kernel),
        }
    }
}

fn has_avx_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Code to be compiled for, and run on, one tier.
pub trait Kernel {
    /// What the kernel returns.
    type Out;
    /// The kernel. Mark it and everything it calls `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// Vector operations of one tier over f32 lanes, and the few integer operations that elementary functions need.
///
/// Comparisons with NaN are false. `min(a, b)` and `max(a, b)` return `b` when either is NaN on x86 and NaN on
/// aarch64: put the constant first, and NaN passes through on every tier.
///
/// # Safety
/// An implementor must be a token whose existence proves that its instructions are available.
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// f32 lanes of one register.
    const LANES: usize;
    /// Rows of the register tile that is `1 << i` registers wide, 0 if the tile is not built. Fewer accumulators than
    /// registers are used, because a row of B and a broadcast of A also need their registers.
    const TILE_ROWS: [usize; 5];
    /// Panels of 16 columns that a tile of `rows` rows should span.
    fn tile_panels(rows: usize) -> usize;
    /// A vector of f32.
    type V: Copy;
    /// A vector of i32.
    type I: Copy;
    /// The result of a comparison.
    type M: Copy;

    /// Calls `kernel` from a function that has this tier's target features, never inlined into the caller.
    fn call<K: Kernel>(self, kernel: K) -> K::Out;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
    /// Reads [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` values; no alignment is needed beyond that of f32.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Writes [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` values.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Reads the first `n <= LANES` values, the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reads of `n` values, and `n <= LANES`.
    unsafe fn load_n(self, p: *const f32, n: usize) -> Self::V;
    /// Writes the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `p` must be valid for writes of `n` values, and `n <= LANES`.
    unsafe fn store_n(self, p: *mut f32, n: usize, v: Self::V);
    /// Transposes 16 x 16 floats: `y[j * ys + i] = x[i * xs + j]`.
    ///
    /// # Safety
    /// Sixteen rows of 16 floats must be valid at both addresses, and the squares disjoint.
    #[inline(always)]
    unsafe fn transpose16(self, x: *const f32, xs: usize, y: *mut f32, ys: usize) {
        for i in 0..16 {
            for j in 0..16 {
                // SAFETY: as promised by the caller.
                unsafe { *y.add(j * ys + i) = *x.add(i * xs + j) };
            }
        }
    }
    /// Reads [`Simd::LANES`] i32.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` values; no alignment is needed beyond that of i32.
    unsafe fn iload(self, p: *const i32) -> Self::I;
    /// Reads [`Simd::LANES`] numbers of half precision and widens them.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` values; no alignment is needed beyond that of u16.
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> Self::V {
        let mut lanes = [0.0; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: as promised by the caller.
            *lane = f16::from_bits(unsafe { *p.add(i) }).to_f32();
        }
        // SAFETY: no tier has more lanes than the buffer.
        unsafe { self.load(lanes.as_ptr()) }
    }
    /// Reads [`Simd::LANES`] numbers in bfloat16 and widens them.
    ///
    /// # Safety
    /// As [`Simd::load_f16`].
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> Self::V {
        let mut lanes = [0.0; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: as promised by the caller.
            *lane = f32::from_bits(u32::from(unsafe { *p.add(i) }) << 16);
        }
        // SAFETY: no tier has more lanes than the buffer.
        unsafe { self.load(lanes.as_ptr()) }
    }
    /// Reads [`Simd::LANES`] bytes with sign and widens them.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` bytes.
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> Self::V {
        let mut lanes = [0.0; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: as promised by the caller.
            *lane = f32::from(unsafe { *p.add(i) });
        }
        // SAFETY: no tier has more lanes than the buffer.
        unsafe { self.load(lanes.as_ptr()) }
    }
    /// Four bits of each lane with their sign, widened: those above the `28 - N` lowest.
    #[inline(always)]
    fn nibble<const N: i32>(self, a: Self::I) -> Self::V {
        self.to_float(self.isra::<28>(self.ishl::<N>(a)))
    }
    /// Asks for the cache line of `p`; any address is allowed.
    fn prefetch(self, p: *const f32);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `1 / a` within 2e-7, relative, for a normal `a` whose reciprocal is normal.
    #[inline(always)]
    fn reciprocal(self, a: Self::V) -> Self::V {
        self.div(self.splat(1.0), a)
    }
    /// `a * b + c`, rounded once except on [`Tier::Scalar`].
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; see the trait for NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; see the trait for NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `|a|`
    fn abs(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b`
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a <= b`
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a == b`
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// `m ? a : b`
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Lanes added as a balanced tree.
    fn reduce_add(self, a: Self::V) -> f32;
    /// The largest lane.
    fn reduce_max(self, a: Self::V) -> f32;
    /// The smallest lane.
    fn reduce_min(self, a: Self::V) -> f32;

    /// The bits of a float.
    fn bits(self, a: Self::V) -> Self::I;
    /// The float of these bits.
    fn of_bits(self, a: Self::I) -> Self::V;
    /// All lanes `x`.
    fn isplat(self, x: i32) -> Self::I;
    /// `a + b`, wrapping.
    fn iadd(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`, wrapping.
    fn isub(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a & b`
    fn iand(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << N`
    fn ishl<const N: i32>(self, a: Self::I) -> Self::I;
    /// `a >> N`, arithmetic.
    fn isra<const N: i32>(self, a: Self::I) -> Self::I;
    /// `a 2^n` for an integer `n` in `[-126, 128]` and `a` in `[1/2, 2]`, to be finite if the product is.
    #[inline(always)]
    fn scale(self, a: Self::V, n: Self::V) -> Self::V {
        // Two factors, because 2^128 is no number.
        let n = self.to_int(n);
        let half = self.isra::<1>(n);
        let bias = self.isplat(127);
        let first = self.of_bits(self.ishl::<23>(self.iadd(half, bias)));
        let second = self.of_bits(self.ishl::<23>(self.iadd(self.isub(n, half), bias)));
        self.mul(self.mul(a, first), second)
    }
    /// The nearest integer, ties to even; lanes outside the range of i32 are unspecified.
    fn to_int(self, a: Self::V) -> Self::I;
    /// The float nearest to an integer.
    fn to_float(self, a: Self::I) -> Self::V;
}

#[cfg(test)]
mod tests;

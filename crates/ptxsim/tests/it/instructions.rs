//! Each family of instructions against values computed by hand.

use crate::{device, module, run};
use planc_ptxsim::{FaultKind, Module, Param};

/// Runs `code`, which takes `%a`, `%b`, `%c` (`.b64`, per lane from `inputs`) and leaves `%d`, with one lane per input.
fn compute(code: &str, inputs: &[[u64; 3]]) -> Vec<u64> {
    let text = format!(
        ".reg .b64 %base, %at, %a, %b, %c, %d, %t<8>; .reg .b32 %i, %x, %y, %z, %w, %r<8>; .reg .b16 %h<8>;
         .reg .f32 %f<8>; .reg .f64 %g<8>; .reg .pred %p<8>;
         ld.param.u64 %base, [p]; mov.u32 %i, %tid.x; mul.wide.u32 %at, %i, 32; add.u64 %at, %at, %base;
         ld.global.v2.b64 {{%a, %b}}, [%at]; ld.global.b64 %c, [%at+16];
         cvt.u32.u64 %x, %a; cvt.u32.u64 %y, %b; cvt.u32.u64 %z, %c;
         {code}
         st.global.b64 [%at+24], %d; ret;"
    );
    let module = module(".param .u64 p", &text);
    let mut device = device();
    let data: Vec<u8> = inputs.iter().flat_map(|i| [i[0], i[1], i[2], 0]).flat_map(u64::to_le_bytes).collect();
    let p = device.upload(&data).unwrap();
    let stats = run(&mut device, &module, 1, inputs.len() as u32, 0, &[Param::U64(p)]);
    stats.unwrap_or_else(|e| panic!("{code}: {e}"));
    let out = device.read(p, data.len()).unwrap();
    out.as_chunks::<32>().0.iter().map(|c| u64::from_le_bytes(c[24..].try_into().unwrap())).collect()
}

/// 32-bit operands and result.
fn check(instruction: &str, cases: &[([u32; 3], u32)]) {
    let inputs: Vec<[u64; 3]> = cases.iter().map(|c| c.0.map(u64::from)).collect();
    let out = compute(&format!("{instruction}\ncvt.u64.u32 %d, %w;"), &inputs);
    for (got, (input, want)) in out.iter().zip(cases) {
        assert_eq!(*got, u64::from(*want), "{instruction} of {input:x?}: {got:x} for {want:x}");
    }
}

/// 64-bit operands and result.
fn check64(instruction: &str, cases: &[([u64; 3], u64)]) {
    let inputs: Vec<[u64; 3]> = cases.iter().map(|c| c.0).collect();
    let out = compute(instruction, &inputs);
    for (got, (input, want)) in out.iter().zip(cases) {
        assert_eq!(got, want, "{instruction} of {input:x?}: {got:x} for {want:x}");
    }
}

/// Single precision operands and result.
fn check_f(instruction: &str, cases: &[([f32; 3], f32)]) {
    let code = format!("mov.b32 %f0, %x; mov.b32 %f1, %y; mov.b32 %f2, %z; {instruction} mov.b32 %w, %f3;");
    let inputs: Vec<[u64; 3]> = cases.iter().map(|c| c.0.map(|v| u64::from(v.to_bits()))).collect();
    let out = compute(&format!("{code}\ncvt.u64.u32 %d, %w;"), &inputs);
    for (got, (input, want)) in out.iter().zip(cases) {
        let got = f32::from_bits(*got as u32);
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{instruction} of {input:?}: {got} for {want}");
    }
}

const M: u32 = u32::MAX;

fn neg(v: i32) -> u32 {
    v as u32
}

#[test]
fn integers() {
    check("add.u32 %w, %x, %y;", &[([M, 2, 0], 1), ([3, 4, 0], 7)]);
    check("add.sat.s32 %w, %x, %y;", &[([0x7fff_ffff, 2, 0], 0x7fff_ffff), ([neg(-3), 4, 0], 1)]);
    check("sub.s32 %w, %x, %y;", &[([3, 4, 0], M)]);
    check("mul.lo.s32 %w, %x, %y;", &[([neg(-3), 4, 0], neg(-12)), ([0x10000, 0x10000, 0], 0)]);
    check("mul.hi.u32 %w, %x, %y;", &[([M, M, 0], M - 1)]);
    check("mul.hi.s32 %w, %x, %y;", &[([neg(-1), 5, 0], M)]);
    check("mad.lo.u32 %w, %x, %y, %z;", &[([3, 4, 5], 17)]);
    check("mad.hi.u32 %w, %x, %y, %z;", &[([M, M, 5], 3)]);
    check("div.u32 %w, %x, %y;", &[([M, 2, 0], 0x7fff_ffff)]);
    check("div.s32 %w, %x, %y;", &[([neg(-7), 2, 0], neg(-3)), ([0x8000_0000, M, 0], 0x8000_0000)]);
    check("rem.s32 %w, %x, %y;", &[([neg(-7), 2, 0], neg(-1)), ([7, 4, 0], 3)]);
    check("min.s32 %w, %x, %y;", &[([neg(-7), 2, 0], neg(-7))]);
    check("max.u32 %w, %x, %y;", &[([neg(-7), 2, 0], neg(-7))]);
    check("neg.s32 %w, %x;", &[([5, 0, 0], neg(-5)), ([0x8000_0000, 0, 0], 0x8000_0000)]);
    check("abs.s32 %w, %x;", &[([neg(-5), 0, 0], 5)]);
    check("sad.s32 %w, %x, %y, %z;", &[([neg(-5), 3, 10], 18)]);
    check64("mul.wide.u32 %d, %x, %y;", &[([M as u64, 4, 0], 0x3_ffff_fffc)]);
    check64("mul.wide.s32 %d, %x, %y;", &[([M as u64, 4, 0], -4i64 as u64)]);
    check64("mad.wide.s32 %d, %x, %y, %c;", &[([M as u64, 4, 10], 6)]);
    check64("mul.lo.u64 %d, %a, %b;", &[([1 << 40, 1 << 30, 0], 0), ([1 << 20, 1 << 30, 0], 1 << 50)]);
    check64("mul.hi.s64 %d, %a, %b;", &[([u64::MAX, 2, 0], u64::MAX)]);
    check64("rem.u64 %d, %a, %b;", &[([100, 7, 0], 2)]);
    check64("add.s64 %d, %a, -8;", &[([4, 0, 0], -4i64 as u64)]);
}

#[test]
fn bits() {
    check("and.b32 %w, %x, %y;", &[([0xff0, 0x3c, 0], 0x30)]);
    check("or.b32 %w, %x, 1;", &[([0xff0, 0, 0], 0xff1)]);
    check("xor.b32 %w, %x, %y;", &[([0xff, 0x0f, 0], 0xf0)]);
    check("not.b32 %w, %x;", &[([0, 0, 0], M)]);
    check("shl.b32 %w, %x, %y;", &[([1, 31, 0], 0x8000_0000), ([1, 32, 0], 0)]);
    check("shr.u32 %w, %x, %y;", &[([M, 31, 0], 1), ([M, 32, 0], 0)]);
    check("shr.s32 %w, %x, %y;", &[([M, 31, 0], M), ([0x8000_0000, 99, 0], M)]);
    check("shr.b32 %w, %x, 4;", &[([0xf0, 0, 0], 15)]);
    check("bfe.u32 %w, %x, 4, 8;", &[([0xabcd, 0, 0], 0xbc)]);
    check(
        "bfe.s32 %w, %x, %y, %z;",
        &[([0xf0, 4, 4], M), ([0xf0, 4, 5], 15), ([0x8000_0000, 31, 5], M), ([7, 0, 0], 0)],
    );
    check("bfi.b32 %w, %x, %y, 8, 4;", &[([0xff, 0, 0], 0xf00), ([0, M, 0], 0xffff_f0ff)]);
    check("popc.b32 %w, %x;", &[([0xf0f, 0, 0], 8)]);
    check("clz.b32 %w, %x;", &[([1, 0, 0], 31), ([0, 0, 0], 32)]);
    check("brev.b32 %w, %x;", &[([1, 0, 0], 0x8000_0000)]);
    check("bfind.u32 %w, %x;", &[([0x100, 0, 0], 8), ([0, 0, 0], M)]);
    check(
        "prmt.b32 %w, %x, %y, %z;",
        &[([0x4433_2211, 0x8877_6655, 0x7410], 0x8855_2211), ([0x80, 0, 0x0008], 0x8080_80ff)],
    );
    check("lop3.b32 %w, %x, %y, %z, 0x96;", &[([0xff, 0x0f, 0x3c], 0xff ^ 0x0f ^ 0x3c)]);
    check("lop3.b32 %w, %x, %y, %z, 0xca;", &[([0xff, 0xab, 0xffcd], 0xffab & 0xff | 0xff00)]);
    check("shf.l.wrap.b32 %w, %x, %y, %z;", &[([0x8000_0000, 1, 1], 3)]);
    check("shf.r.clamp.b32 %w, %x, %y, %z;", &[([0x10, 1, 4], 0x1000_0001), ([0x10, 7, 40], 7)]);
    check("dp4a.s32.s32 %w, %x, %y, %z;", &[([0xff02_03fe, 0x0102_0304, 100], 100 - 1 + 4 + 9 - 8)]);
    check("dp4a.u32.s32 %w, %x, %y, %z;", &[([0xff, 0xff, 0], neg(-255))]);
    check("slct.b32.s32 %w, %x, %y, %z;", &[([1, 2, 0], 1), ([1, 2, M], 2)]);
    check64("bfi.b64 %d, %a, %b, 32, 32;", &[([7, 9, 0], 7 << 32 | 9)]);
    check64("mov.b64 {%r0, %r1}, %a; mov.b64 %d, {%r1, %r0};", &[([1 << 32 | 2, 0, 0], 2 << 32 | 1)]);
    check("mov.b32 {%h0, %h1}, %x; mov.b32 %w, {%h1, %h0};", &[([0x1_0002, 0, 0], 0x2_0001)]);
}

#[test]
fn singles() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let tiny = f32::from_bits(1);
    check_f("add.f32 %f3, %f0, %f1;", &[([1.5, 2.0, 0.0], 3.5), ([1e8, 1.0, 0.0], 1e8)]);
    check_f("add.ftz.f32 %f3, %f0, %f1;", &[([tiny, 0.0, 0.0], 0.0), ([tiny, 1.0, 0.0], 1.0)]);
    check_f("add.sat.f32 %f3, %f0, %f1;", &[([1.5, 2.0, 0.0], 1.0), ([-1.0, 0.5, 0.0], 0.0), ([NAN, 0.5, 0.0], 0.0)]);
    check_f("sub.rn.f32 %f3, %f0, %f1;", &[([1.5, 2.0, 0.0], -0.5)]);
    check_f("mul.f32 %f3, %f0, 0f40400000;", &[([1.5, 2.0, 0.0], 4.5)]);
    check_f("mul.f32 %f3, %f0, 0.5;", &[([1.5, 2.0, 0.0], 0.75)]);
    check_f("fma.rn.f32 %f3, %f0, %f1, %f2;", &[([3.0, 4.0, 5.0], 17.0), ([4097.0, 4097.0, -16_785_408.0], 1.0)]);
    check_f("div.rn.f32 %f3, %f0, %f1;", &[([1.0, 3.0, 0.0], 1.0 / 3.0), ([1.0, 0.0, 0.0], INF)]);
    check_f("div.full.ftz.f32 %f3, %f0, %f1;", &[([6.0, 3.0, 0.0], 2.0)]);
    check_f("rcp.approx.f32 %f3, %f0;", &[([4.0, 0.0, 0.0], 0.25)]);
    check_f("sqrt.rn.f32 %f3, %f0;", &[([9.0, 0.0, 0.0], 3.0), ([-1.0, 0.0, 0.0], NAN)]);
    check_f("rsqrt.approx.f32 %f3, %f0;", &[([4.0, 0.0, 0.0], 0.5)]);
    check_f("ex2.approx.ftz.f32 %f3, %f0;", &[([3.0, 0.0, 0.0], 8.0), ([-INF, 0.0, 0.0], 0.0)]);
    check_f("lg2.approx.f32 %f3, %f0;", &[([8.0, 0.0, 0.0], 3.0)]);
    check_f("sin.approx.f32 %f3, %f0;", &[([0.0, 0.0, 0.0], 0.0)]);
    check_f("cos.approx.f32 %f3, %f0;", &[([0.0, 0.0, 0.0], 1.0)]);
    check_f("tanh.approx.f32 %f3, %f0;", &[([0.0, 0.0, 0.0], 0.0), ([INF, 0.0, 0.0], 1.0)]);
    check_f("min.f32 %f3, %f0, %f1;", &[([1.0, NAN, 0.0], 1.0), ([0.0, -0.0, 0.0], -0.0)]);
    check_f("max.NaN.f32 %f3, %f0, %f1;", &[([1.0, NAN, 0.0], NAN), ([-0.0, 0.0, 0.0], 0.0), ([1.0, 2.0, 0.0], 2.0)]);
    check_f("neg.f32 %f3, %f0;", &[([1.0, 0.0, 0.0], -1.0)]);
    check_f("abs.f32 %f3, %f0;", &[([-1.0, 0.0, 0.0], 1.0)]);
    check_f("copysign.f32 %f3, %f0, %f1;", &[([-1.0, 5.0, 0.0], -5.0)]);
    check_f("slct.f32.f32 %f3, %f0, %f1, %f2;", &[([1.0, 2.0, -0.5], 2.0)]);
    let double = |op: &str| format!("mov.b64 %g0, %a; mov.b64 %g1, %b; mov.b64 %g2, %c; {op} mov.b64 %d, %g3;");
    let bits = |v: [f64; 3]| v.map(f64::to_bits);
    check64(&double("fma.rn.f64 %g3, %g0, %g1, %g2;"), &[(bits([3.0, 4.0, 5.0]), 17f64.to_bits())]);
    check64(&double("div.rn.f64 %g3, %g0, %g1;"), &[(bits([1.0, 3.0, 0.0]), (1.0 / 3.0f64).to_bits())]);
    check64(&double("max.f64 %g3, %g0, %g1;"), &[(bits([1.0, f64::NAN, 0.0]), 1f64.to_bits())]);
}

#[test]
fn halves() {
    // 1.5 = 3e00, 2 = 4000, 3.5 = 4300; bf16: 1.5 = 3fc0, 2 = 4000, 3.5 = 4060.
    let h =
        |op: &str| format!("cvt.u16.u32 %h0, %x; cvt.u16.u32 %h1, %y; cvt.u16.u32 %h2, %z; {op} cvt.u32.u16 %w, %h3;");
    check(&h("add.f16 %h3, %h0, %h1;"), &[([0x3e00, 0x4000, 0], 0x4300)]);
    check(&h("mul.f16 %h3, %h0, %h1;"), &[([0x3e00, 0x4000, 0], 0x4200)]);
    check(&h("fma.rn.f16 %h3, %h0, %h1, %h2;"), &[([0x3e00, 0x4000, 0x3e00], 0x4480)]);
    check(&h("fma.rn.bf16 %h3, %h0, %h1, %h2;"), &[([0x3fc0, 0x4000, 0x3fc0], 0x4090)]);
    check(&h("max.f16 %h3, %h0, %h1;"), &[([0x3e00, 0xc000, 0], 0x3e00)]);
    check(&h("neg.f16 %h3, %h0;"), &[([0x3e00, 0, 0], 0xbe00)]);
    check("add.f16x2 %w, %x, %y;", &[([0x3e00_4000, 0x4000_3e00, 0], 0x4300_4300)]);
    check("fma.rn.bf16x2 %w, %x, %y, %z;", &[([0x3fc0_4000, 0x4000_4000, 0x3fc0_0000], 0x4090_4080)]);
}

#[test]
fn comparisons() {
    let nan = f32::NAN.to_bits();
    let (one, two) = (1f32.to_bits(), 2f32.to_bits());
    let p = |op: &str, ty: &str| {
        let (a, b) = if ty == "f32" { ("%f0", "%f1") } else { ("%x", "%y") };
        format!("mov.b32 %f0, %x; mov.b32 %f1, %y; setp.{op}.{ty} %p0, {a}, {b}; selp.u32 %w, 1, 0, %p0;")
    };
    for (op, ty, cases) in [
        ("lt", "s32", [([M, 1], 1), ([1, M], 0), ([1, 1], 0)]),
        ("lt", "u32", [([M, 1], 0), ([1, M], 1), ([1, 1], 0)]),
        ("hs", "u32", [([M, 1], 1), ([1, M], 0), ([1, 1], 1)]),
        ("ne", "b32", [([M, 1], 1), ([1, M], 1), ([1, 1], 0)]),
        ("eq", "f32", [([one, one], 1), ([one, two], 0), ([one, nan], 0)]),
        ("ne", "f32", [([one, one], 0), ([one, two], 1), ([one, nan], 0)]),
        ("neu", "f32", [([one, one], 0), ([one, two], 1), ([one, nan], 1)]),
        ("ltu", "f32", [([one, one], 0), ([one, two], 1), ([one, nan], 1)]),
        ("ge", "f32", [([one, one], 1), ([one, two], 0), ([one, nan], 0)]),
        ("num", "f32", [([one, one], 1), ([one, two], 1), ([one, nan], 0)]),
        ("nan", "f32", [([one, one], 0), ([one, two], 0), ([one, nan], 1)]),
    ] {
        let cases: Vec<([u32; 3], u32)> = cases.into_iter().map(|([a, b], w)| ([a, b, 0], w)).collect();
        check(&p(op, ty), &cases);
    }
    let both = "setp.ne.u32 %p1, %z, 0; setp.lt.and.u32 %p0|%p2, %x, %y, !%p1; selp.u32 %r0, 1, 0, %p0; selp.u32 %r1, 2, 0, %p2; or.b32 %w, %r0, %r1;";
    check(both, &[([1, 2, 0], 1), ([2, 1, 0], 2), ([1, 2, 1], 0)]);
    check("set.gt.u32.s32 %w, %x, %y;", &[([M, 1, 0], 0), ([1, M, 0], M)]);
    let logic = "setp.ne.u32 %p0, %x, 0; setp.ne.u32 %p1, %y, 0; xor.pred %p2, %p0, %p1; not.pred %p3, %p2; selp.u32 %w, 1, 0, %p3;";
    check(logic, &[([1, 1, 0], 1), ([1, 0, 0], 0)]);
}

#[test]
fn conversions() {
    let f = |v: f32| v.to_bits();
    let from = |op: &str| format!("mov.b32 %f0, %x; {op} cvt.u32.u16 %w, %h0;");
    check("cvt.s32.s8 %w, %x;", &[([0x180, 0, 0], neg(-128))]);
    check("cvt.u32.u8 %w, %x;", &[([0x1ff, 0, 0], 255)]);
    check("cvt.sat.s8.s32 %w, %x;", &[([300, 0, 0], 127), ([neg(-300), 0, 0], neg(-128))]);
    check("cvt.sat.u8.s32 %w, %x;", &[([300, 0, 0], 255), ([neg(-300), 0, 0], 0)]);
    check64("cvt.s64.s32 %d, %x;", &[([M as u64, 0, 0], u64::MAX)]);
    check(
        "cvt.rn.f32.s32 %f0, %x; mov.b32 %w, %f0;",
        &[([neg(-3), 0, 0], f(-3.0)), ([16_777_219, 0, 0], f(16_777_220.0))],
    );
    check("cvt.rz.f32.u32 %f0, %x; mov.b32 %w, %f0;", &[([M, 0, 0], f(4_294_967_040.0))]);
    for (mode, want) in
        [("rni", [2, 4, neg(-2)]), ("rzi", [2, 3, neg(-2)]), ("rmi", [2, 3, neg(-3)]), ("rpi", [3, 4, neg(-2)])]
    {
        let op = format!("mov.b32 %f0, %x; cvt.{mode}.s32.f32 %w, %f0;");
        let inputs = [2.5, 3.5, -2.5];
        check(&op, &inputs.into_iter().zip(want).map(|(v, w)| ([f(v), 0, 0], w)).collect::<Vec<_>>());
    }
    let to_int = "mov.b32 %f0, %x; cvt.rzi.s32.f32 %w, %f0;";
    check(to_int, &[([f(1e20), 0, 0], 0x7fff_ffff), ([f(-1e20), 0, 0], 0x8000_0000), ([f(f32::NAN), 0, 0], 0)]);
    check("mov.b32 %f0, %x; cvt.rzi.u32.f32 %w, %f0;", &[([f(-1.0), 0, 0], 0), ([f(3e9), 0, 0], 3_000_000_000)]);
    check("mov.b32 %f0, %x; cvt.rni.sat.s8.f32 %w, %f0;", &[([f(200.0), 0, 0], 127), ([f(-2.5), 0, 0], neg(-2))]);
    check(
        &from("cvt.rn.f16.f32 %h0, %f0;"),
        &[([f(1.5), 0, 0], 0x3e00), ([f(65520.0), 0, 0], 0x7c00), ([f(1e-8), 0, 0], 0)],
    );
    check(&from("cvt.rz.f16.f32 %h0, %f0;"), &[([f(65520.0), 0, 0], 0x7bff)]);
    check(&from("cvt.rn.bf16.f32 %h0, %f0;"), &[([f(3.5), 0, 0], 0x4060), ([f(1.003_906_3), 0, 0], 0x3f80)]);
    check(
        "cvt.u16.u32 %h0, %x; cvt.f32.f16 %f0, %h0; mov.b32 %w, %f0;",
        &[([0x3e00, 0, 0], f(1.5)), ([1, 0, 0], f(2f32.powi(-24)))],
    );
    check("cvt.u16.u32 %h0, %x; cvt.f32.bf16 %f0, %h0; mov.b32 %w, %f0;", &[([0x3fc0, 0, 0], f(1.5))]);
    check("mov.b32 %f0, %x; mov.b32 %f1, %y; cvt.rn.f16x2.f32 %w, %f0, %f1;", &[([f(1.5), f(2.0), 0], 0x3e00_4000)]);
    check("mov.b32 %f0, %x; mov.b32 %f1, %y; cvt.rn.relu.bf16x2.f32 %w, %f0, %f1;", &[([f(-1.5), f(2.0), 0], 0x4000)]);
    check(
        "mov.b32 %f0, %x; cvt.rna.tf32.f32 %w, %f0;",
        &[([0x3f80_1000, 0, 0], 0x3f80_2000), ([0x3f80_0fff, 0, 0], 0x3f80_0000)],
    );
    check("mov.b32 %f0, %x; cvt.rmi.f32.f32 %f1, %f0; mov.b32 %w, %f1;", &[([f(-2.5), 0, 0], f(-3.0))]);
    check("mov.b32 %f0, %x; cvt.sat.f32.f32 %f1, %f0; mov.b32 %w, %f1;", &[([f(2.5), 0, 0], f(1.0))]);
    check64(
        "mov.b64 %g0, %a; cvt.rn.f32.f64 %f0, %g0; cvt.f64.f32 %g1, %f0; mov.b64 %d, %g1;",
        &[([0.1f64.to_bits(), 0, 0], f64::from(0.1f32).to_bits())],
    );
    check64(
        "cvt.rn.f32.u64 %f0, %a; mov.b32 %w, %f0; cvt.u64.u32 %d, %w;",
        &[([(1 << 63) + (1 << 39) + 1, 0, 0], u64::from(f(9.223_373e18)))],
    );
}

#[test]
fn addresses_convert() {
    let body = ".shared .align 16 .b8 buffer[64]; .reg .b64 %a<6>; .reg .b32 %r<4>; .reg .pred %p;
        mov.u64 %a0, buffer; cvta.shared.u64 %a1, %a0; mov.u32 %r0, 7; st.shared.u32 [buffer+8], %r0;
        ld.u32 %r1, [%a1+8]; cvta.to.shared.u64 %a2, %a1; ld.shared.u32 %r2, [%a2+8]; add.u32 %r1, %r1, %r2;
        isspacep.shared %p, %a1; selp.u32 %r3, 100, 0, %p; add.u32 %r1, %r1, %r3;
        ld.param.u64 %a3, [p]; cvta.to.global.u64 %a4, %a3; st.u32 [%a4], %r1; ret;";
    let mut device = device();
    let p = device.alloc(4).unwrap();
    run(&mut device, &module(".param .u64 p", body), 1, 1, 0, &[Param::U64(p)]).unwrap();
    assert_eq!(device.read(p, 4).unwrap(), [114, 0, 0, 0]);
}

/// One warp; `code` leaves `%w`.
fn warp(code: &str) -> Result<Vec<u32>, FaultKind> {
    let text = format!(
        ".reg .b64 %base, %at; .reg .b32 %i, %w, %r<8>; .reg .pred %p<4>;
         ld.param.u64 %base, [p]; mov.u32 %i, %tid.x; mul.wide.u32 %at, %i, 4; add.u64 %at, %at, %base;
         {code}
         st.global.u32 [%at], %w; ret;"
    );
    let mut device = device();
    let p = device.alloc(128).unwrap();
    run(&mut device, &module(".param .u64 p", &text), 1, 32, 0, &[Param::U64(p)]).map_err(|f| f.kind)?;
    Ok(device.read(p, 128).unwrap().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
}

#[test]
fn warps_do_things_together() {
    let all = |f: fn(u32) -> u32| Ok((0..32).map(f).collect::<Vec<u32>>());
    assert_eq!(warp("shfl.sync.bfly.b32 %w, %i, 3, 31, -1;"), all(|i| i ^ 3));
    assert_eq!(warp("shfl.sync.down.b32 %w, %i, 4, 31, -1;"), all(|i| if i + 4 < 32 { i + 4 } else { i }));
    assert_eq!(warp("shfl.sync.up.b32 %w, %i, 4, 0, -1;"), all(|i| if i >= 4 { i - 4 } else { i }));
    assert_eq!(warp("shfl.sync.idx.b32 %w, %i, 5, 31, -1;"), all(|_| 5));
    assert_eq!(warp("shfl.sync.idx.b32 %w, %i, 5, 0x181f, -1;"), all(|i| i / 8 * 8 + 5));
    assert_eq!(
        warp("shfl.sync.down.b32 %r0|%p0, %i, 1, 0x1c1f, -1; selp.u32 %w, %r0, 99, %p0;"),
        all(|i| if i % 4 < 3 { i + 1 } else { 99 })
    );
    assert_eq!(warp("setp.lt.u32 %p0, %i, 5; vote.sync.ballot.b32 %w, %p0, -1;"), all(|_| 31));
    assert_eq!(warp("setp.lt.u32 %p0, %i, 5; vote.sync.any.pred %p1, %p0, -1; selp.u32 %w, 1, 0, %p1;"), all(|_| 1));
    assert_eq!(warp("setp.lt.u32 %p0, %i, 5; vote.sync.all.pred %p1, !%p0, -1; selp.u32 %w, 1, 0, %p1;"), all(|_| 0));
    assert_eq!(warp("redux.sync.add.u32 %w, %i, -1;"), all(|_| 496));
    assert_eq!(
        warp("setp.lt.u32 %p0, %i, 8; mov.u32 %w, 0; @%p0 activemask.b32 %w;"),
        all(|i| if i < 8 { 255 } else { 0 })
    );
    assert_eq!(warp("mov.u32 %w, %lanemask_lt;"), all(|i| (1 << i) - 1));
    let mask =
        "setp.lt.u32 %p0, %i, 16; mov.u32 %w, 0; @!%p0 bra DONE; shfl.sync.bfly.b32 %w, %i, 1, 31, 0xffff; DONE:";
    assert_eq!(warp(mask), all(|i| if i < 16 { i ^ 1 } else { 0 }));
    assert_eq!(warp(&mask.replace("0xffff", "-1")), Err(FaultKind::Divergence));
    assert_eq!(warp(&mask.replace("i, 1,", "i, 16,")), Err(FaultKind::InactiveLane));
}

#[test]
fn lanes_part_and_meet_again() {
    let code = "mov.u32 %w, 0; mov.u32 %r0, 0;
        LOOP: setp.ge.u32 %p0, %r0, %i; @%p0 bra OUT; add.u32 %w, %w, %r0; add.u32 %r0, %r0, 1; bra LOOP;
        OUT: shfl.sync.idx.b32 %r1, %w, 31, 31, -1; setp.eq.u32 %p1, %i, 31; @%p1 mov.u32 %w, %r1;";
    assert_eq!(warp(code), Ok((0..32).map(|i: u32| (0..i).sum()).collect()));
}

#[test]
fn faults_are_named_and_placed() {
    let kind = |code: &str| warp(code).map(|_| "ran").unwrap_or_else(|k| k.name());
    for (code, want) in [
        ("mov.u32 %w, %r7;", "uninitialised read"),
        ("@%p3 mov.u32 %w, 0;", "uninitialised read"),
        ("ld.global.u32 %w, [%at];", "uninitialised read"),
        ("mov.u32 %w, 0; ld.global.u32 %r0, [%at+128];", "out of bounds"),
        ("mov.u32 %w, 0; st.global.u32 [%at-4], %w;", "out of bounds"),
        ("mov.u32 %w, 0; st.global.u32 [%at+2], %w;", "misaligned"),
        ("mov.u32 %w, 0; st.global.v2.u32 [%at], {%w, %w};", "misaligned"),
        ("mov.u32 %w, 0; st.global.u32 [%base], %i;", "conflicting writes"),
        ("mov.u32 %w, 0; div.u32 %r0, %i, %w;", "division by zero"),
        ("mov.u32 %w, 0; setp.lt.u32 %p0, %i, 7; @%p0 bar.sync 0;", "divergence"),
        ("mov.u32 %w, 0; setp.lt.u32 %p0, %i, 7; @!%p0 bra OVER; barrier.sync 1; OVER: barrier.sync 0;", "deadlock"),
        ("mov.u32 %w, 0; bar.sync 16;", "bad operand"),
        ("mov.u32 %w, 0; trap;", "bad operand"),
        ("L: bra L;", "instruction budget"),
        ("mov.u32 %w, 0;", "ran"),
        ("mov.u32 %w, 0; bar.sync 0; @%p0 bra K; K:", "uninitialised read"),
    ] {
        assert_eq!(kind(code), want, "{code}");
    }
    let mut device = device();
    let p = device.alloc(128).unwrap();
    let m = module(".param .u64 p", ".reg .b64 %a;\nld.param.u64 %a, [p];\n\nst.global.u64 [%a+128], %a;\nret;");
    let fault = device.launch(&m, "k", [2, 1, 1], [1, 1, 1], 0, &[Param::U64(p)]).unwrap_err();
    assert_eq!((fault.kind, fault.line, fault.entry.as_str()), (FaultKind::OutOfBounds, 8, "k"));
    assert!(fault.to_string().contains("byte 128 of the allocation of 128 bytes"), "{fault}");
    let refused = |grid, block, params: &[Param]| {
        crate::device().launch(&m, "k", grid, block, 0, params).unwrap_err().kind == FaultKind::Launch
    };
    assert!(refused([1, 1, 1], [1025, 1, 1], &[Param::U64(p)]));
    assert!(refused([0, 1, 1], [1, 1, 1], &[Param::U64(p)]));
    assert!(refused([1, 1, 1], [1, 1, 1], &[]));
    assert!(refused([1, 1, 1], [1, 1, 1], &[Param::U32(1)]));
}

#[test]
fn the_text_is_read_strictly() {
    let error = |body: &str| {
        let text = format!(".version 7.0\n.target sm_80\n.address_size 64\n.entry k() {{\n{body}\n}}\n");
        Module::parse(&text).map(|_| ()).unwrap_err()
    };
    for (body, line, says) in [
        (".reg .b32 %r;\nfoo.u32 %r, 1;", 6, "not known"),
        (".reg .b32 %r; add.u32.wrong %r, %r, 1;", 5, ".wrong is not known"),
        (".reg .f32 %f; add.u32 %f, %f, 1;", 5, "does not fit"),
        (".reg .f32 %f; add.f32 %f, %f, 1;", 5, "no operand"),
        (".reg .f32 %f; fma.f32 %f, %f, %f, %f;", 5, "rounding"),
        (".reg .f32 %f; add.rz.f32 %f, %f, %f;", 5, "not computed"),
        (".reg .b64 %d; add.u32 %d, %d, 1;", 5, "does not fit"),
        (".reg .b32 %r; mov.u32 %r, %nothing;", 5, "not declared"),
        (".reg .b32 %r; mov.u32 %r, 0x100000000;", 5, "does not fit"),
        ("bra NOWHERE;", 5, "does not exist"),
        ("A: A: ret;", 5, "stands twice"),
        (".reg .b32 %r, %r;", 5, "declared twice"),
        (".reg .b32 %r; mul.u32 %r, %r, %r;", 5, ".lo, .hi or .wide"),
        (".reg .b32 %r; ld.global.u32 %r, [%r];", 5, "no address"),
        (".reg .b32 %r; mad.lo.u32 %r, %r, %r;", 5, "not a type"),
        ("mov.u32 %tid.x, 0;", 5, "could be written"),
        ("ret", 6, "expected"),
        (".reg .b32 %r<3>; cp.async.ca.shared.global [%r0], [%r1], 12;", 5, "cannot be copied"),
    ] {
        let e = error(body);
        assert!(e.line == line && e.message.contains(says), "{body}: {e}");
    }
    let old = ".version 7.0\n.target sm_75\n.entry k() { cp.async.commit_group; }";
    assert!(Module::parse(old).unwrap_err().message.contains("needs sm_80"));
    assert!(Module::parse(".entry k() { ret; }").is_err());
    assert!(Module::parse(".version 7.0\n.target sm_80\n.func f() { ret; }").unwrap_err().message.contains(".func"));
}

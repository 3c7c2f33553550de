//! What is printed, and what is refused.

use super::*;

const ARCH: PtxArch = PtxArch::sm(80);

/// `y[i] = x[i] + 1` for `i < n`, with a loop that does nothing and a shared buffer, so that each construct is printed.
fn sample() -> Kernel {
    let mut b = Builder::new("sample", [128, 1, 1]);
    let (x, y, n) = (b.param(Ty::U64), b.param(Ty::U64), b.param(Ty::U32));
    let shared = b.shared(512, 16);
    let tid = b.special(Special::TidX);
    let block = b.special(Special::CtaidX);
    let i = b.mad(Ty::U32, block, 128u32, tid);
    let outside = b.setp(Cmp::Ge, Ty::U32, i, n);
    b.exit_if(outside);
    let at = b.element(x, i, 4);
    let v = b.ld(Space::Global, Ty::F32, at);
    let sum = b.mov(Class::F32, 0.0f32);
    b.range(0u32, 3u32, 1u32, |b, _| b.assign(sum, Op::Add(Ty::F32), &[sum.into(), v.into()]));
    let big = b.setp(Cmp::Gt, Ty::F32, sum, 1.5f32);
    b.if_else(big, |b| b.set(sum, 1.0f32), |b| b.guarded(big, true, |b| b.set(sum, 2.0f32)));
    let lane = b.mad(Ty::U32, tid, 4u32, shared);
    b.st(Space::Shared, Ty::F32, lane, sum);
    b.barrier();
    let at = b.element(y, i, 4);
    b.st_vector(Space::Global, Ty::F32, at, &[sum]);
    b.finish()
}

#[test]
fn a_module_is_printed() {
    let text = Module { arch: ARCH, kernels: vec![sample()] }.text().unwrap();
    insta::assert_snapshot!(text);
    let again = Module { arch: PtxArch::sm(75), kernels: vec![sample()] }.text().unwrap();
    assert!(again.starts_with(".version 6.3\n.target sm_75\n"), "the lowest version that works");
}

/// The verifier's complaint about a kernel that `f` finishes.
fn refused(f: impl FnOnce(&mut Builder)) -> String {
    let mut b = Builder::new("wrong", [32, 1, 1]);
    f(&mut b);
    b.finish().verify(ARCH).expect_err("it is wrong").to_string()
}

#[test]
fn wrong_programs_are_refused() {
    type Case = (&'static str, Box<dyn FnOnce(&mut Builder)>);
    let undefined = |class| Reg { class, index: 0 };
    let cases: Vec<Case> = vec![
        (
            "is not set on every path",
            Box::new(|b| {
                let r = b.reg(Class::F32);
                b.add(Ty::F32, r, 1.0f32);
            }),
        ),
        (
            "is not set on every path",
            Box::new(|b| {
                let (r, t) = (b.reg(Class::B32), b.special(Special::TidX));
                let p = b.setp(Cmp::Eq, Ty::U32, t, 0u32);
                b.if_then(p, |b| b.set(r, 1u32));
                b.add(Ty::U32, r, 1u32);
            }),
        ),
        (
            "is not set on every path",
            Box::new(|b| {
                let (r, t) = (b.reg(Class::B32), b.special(Special::TidX));
                let p = b.setp(Cmp::Eq, Ty::U32, t, 0u32);
                b.guarded(p, false, |b| b.set(r, 1u32));
                b.add(Ty::U32, r, 1u32);
            }),
        ),
        (
            "is not set on every path",
            Box::new(|b| {
                let (r, t) = (b.reg(Class::B32), b.special(Special::TidX));
                b.range(0u32, t, 1u32, |b, i| b.set(r, i));
                b.add(Ty::U32, r, 1u32);
            }),
        ),
        (
            "expected",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                b.add(Ty::F32, t, 1.0f32);
            }),
        ),
        (
            "expected",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                b.add(Ty::U32, t, 1.0f32);
            }),
        ),
        (
            "expected",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                b.ld(Space::Global, Ty::F32, t);
            }),
        ),
        (
            "expected",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                b.add(Ty::U32, t, 1i64 << 32);
            }),
        ),
        (
            "expected",
            Box::new(|b| {
                b.op(Op::LdParam(Ty::U32), &[Operand::Param(0)]);
            }),
        ),
        (
            "another type",
            Box::new(|b| {
                b.param(Ty::U64);
                b.op(Op::LdParam(Ty::U32), &[Operand::Param(0)]);
            }),
        ),
        (
            "there is no such instruction",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                b.op(Op::Int2(Int2::Add, Ty::B32), &[t.into(), t.into()]);
            }),
        ),
        (
            "takes 2 and gives 1 operands",
            Box::new(|b| {
                b.op(Op::Add(Ty::F32), &[1.0f32.into()]);
            }),
        ),
        (
            "written twice",
            Box::new(|b| {
                let (t, at) = (b.reg(Class::F32), b.param(Ty::U64));
                b.emit(Op::Ld(Space::Global, Ty::F32, 2), &[t, t], &[Addr::from(at).into()]);
            }),
        ),
        (
            "outside of a loop",
            Box::new(|b| {
                let t = b.special(Special::TidX);
                let p = b.setp(Cmp::Eq, Ty::U32, t, 0u32);
                b.break_if(p);
            }),
        ),
        (
            "never reached",
            Box::new(|b| {
                b.push(Stmt::Exit);
                b.barrier();
            }),
        ),
        ("never ends", Box::new(|b| b.push(Stmt::Loop(vec![])))),
        (
            "not set",
            Box::new(move |b| {
                b.reg(Class::Pred);
                b.if_then(undefined(Class::Pred), |_| ());
            }),
        ),
        (
            "bytes of static shared memory",
            Box::new(|b| {
                b.shared(40 << 10, 16);
                b.shared(9 << 10, 16);
            }),
        ),
        (
            "aligned to 3",
            Box::new(|b| {
                b.shared(16, 3);
            }),
        ),
    ];
    for (i, (want, f)) in cases.into_iter().enumerate() {
        let message = refused(f);
        assert!(message.contains(want), "case {i}: {message}, not {want}");
        assert!(message.starts_with("this is a bug: "), "{message}");
    }
}

#[test]
fn targets_are_gates() {
    let mut b = Builder::new("copies", [32, 1, 1]);
    b.emit(Op::CpCommit, &[], &[]);
    let k = b.finish();
    assert_eq!(k.verify(PtxArch::sm(80)), Ok(()));
    let refused = |arch| k.verify(arch).unwrap_err().to_string();
    assert!(refused(PtxArch::sm(75)).contains("needs sm_80, the target is sm_75"));
    assert!(refused(PtxArch::sm(70)).contains("no PTX is generated for sm_70"));
}

#[test]
fn kernels_have_names_and_blocks() {
    let named = |name: &str, threads| Builder::new(name, threads).finish().verify(ARCH);
    assert!(named("1k", [1, 1, 1]).is_err() && named("", [1, 1, 1]).is_err() && named("a;b", [1, 1, 1]).is_err());
    assert!(named("k", [1024, 2, 1]).is_err() && named("k", [0, 1, 1]).is_err());
    let twice = Module { arch: ARCH, kernels: vec![sample(), sample()] };
    assert_eq!(twice.text(), Err(VerifyError::Name("sample".into())));
}

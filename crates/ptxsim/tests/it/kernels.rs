//! Whole kernels against the host, and mutants of them: each mutant must be caught, the originals must pass whatever the
//! order of blocks and warps and whenever asynchronous copies arrive.

use crate::bytes;
use planc_ptxsim::{Delivery, Device, FaultKind, Module, Options, Param, Stats};

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// The result differs from the host's.
    Wrong,
    /// Part of the result was never written.
    Unwritten,
    Fault(FaultKind),
}

/// One kernel with inputs, geometry and the host's result.
struct Case {
    text: &'static str,
    grid: [u32; 3],
    block: u32,
    shared: usize,
    inputs: Vec<Vec<u8>>,
    /// How many floats of output follow the inputs; they come before `sizes` in the parameters.
    want: Vec<f32>,
    /// Buffers of zeros between inputs and output.
    zeros: Vec<usize>,
    sizes: Vec<u32>,
    tolerance: f32,
}

impl Case {
    /// What comes of `text` in the place of the kernel; a run that does not end is a fault.
    fn mutated(&self, text: &str) -> (Outcome, String) {
        let (outcome, _, why) = self.run(text, Options { budget: 2_000_000, ..Options::default() });
        (outcome, why)
    }

    fn run(&self, text: &str, options: Options) -> (Outcome, Option<Stats>, String) {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let mut device = Device::new(options);
        let mut params: Vec<Param> =
            self.inputs.iter().map(|i| Param::U64(device.upload(i).expect("there is room"))).collect();
        for n in &self.zeros {
            params.push(Param::U64(device.upload(&vec![0; *n]).expect("there is room")));
        }
        let out = device.alloc(4 * self.want.len()).expect("there is room");
        params.push(Param::U64(out));
        params.extend(self.sizes.iter().map(|s| Param::U32(*s)));
        let name = module.entries()[0].name.clone();
        match device.launch(&module, &name, self.grid, [self.block, 1, 1], self.shared, &params) {
            Err(f) => (Outcome::Fault(f.kind), None, f.to_string()),
            Ok(stats) => match device.read(out, 4 * self.want.len()) {
                Err(e) => (Outcome::Unwritten, Some(stats), e.to_string()),
                Ok(bytes) => {
                    let got = crate::floats(&bytes);
                    let close = |(g, w): (&f32, &f32)| (g - w).abs() <= self.tolerance * w.abs().max(1.0);
                    let right = got.iter().zip(&self.want).all(close);
                    (if right { Outcome::Right } else { Outcome::Wrong }, Some(stats), String::new())
                }
            },
        }
    }
}

/// Numbers between -1 and 1 that halves hold exactly.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) ^ (i >> 3)) % 257) as f32 / 128.0 - 1.0).collect()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
}

/// A case whose results may be off by 1e-5, without shared memory or buffers of zeros.
fn case(
    text: &'static str,
    grid: [usize; 2],
    block: u32,
    inputs: Vec<Vec<u8>>,
    sizes: &[usize],
    want: Vec<f32>,
) -> Case {
    let (grid, sizes) = ([grid[0] as u32, grid[1] as u32, 1], sizes.iter().map(|s| *s as u32).collect());
    Case { text, grid, block, shared: 0, inputs, want, zeros: vec![], sizes, tolerance: 1e-5 }
}

fn vector_add(n: usize) -> Case {
    let (a, b) = (numbers(n, 1), numbers(n, 2));
    let want = a.iter().zip(&b).map(|(x, y)| x + y).collect();
    let (text, inputs) = (include_str!("kernels/vector_add.ptx"), vec![bytes(&a), bytes(&b)]);
    Case { tolerance: 0.0, ..case(text, [n.div_ceil(128), 1], 128, inputs, &[n], want) }
}

/// The product of an m x k and an n x k matrix, rows with rows.
fn rows_by_rows(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let dot = |i: usize, j: usize| -> f64 { (0..k).map(|x| f64::from(a[i * k + x]) * f64::from(b[j * k + x])).sum() };
    (0..m * n).map(|e| dot(e / n, e % n) as f32).collect()
}

fn sgemm(m: usize, n: usize, k: usize) -> Case {
    let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
    let columns: Vec<f32> = (0..n * k).map(|e| b[e % k * n + e / k]).collect();
    let want = rows_by_rows(&a, &columns, m, n, k);
    let grid = [n.div_ceil(16), m.div_ceil(16)];
    case(include_str!("kernels/sgemm.ptx"), grid, 256, vec![bytes(&a), bytes(&b)], &[m, n, k], want)
}

fn hgemm(m: usize, n: usize, k: usize) -> Case {
    let (a, b) = (numbers(m * k, 5), numbers(n * k, 6));
    let want = rows_by_rows(&a, &b, m, n, k);
    let grid = [n.div_ceil(32), m.div_ceil(32)];
    let inputs = vec![halves(&a), halves(&b)];
    Case { shared: 6144, ..case(include_str!("kernels/hgemm.ptx"), grid, 64, inputs, &[m, n, k], want) }
}

fn softmax(rows: usize, columns: usize) -> Case {
    let mut x = numbers(rows * columns, 7);
    // Its row overflows unless this maximum, of the last lane of the second warp, is taken off everywhere.
    if let Some(v) = x.get_mut(127) {
        *v = 1000.0;
    }
    let want = x.chunks(columns).flat_map(|row| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e: Vec<f64> = row.iter().map(|v| f64::from(v - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(move |v| (v / sum) as f32)
    });
    let text = include_str!("kernels/softmax.ptx");
    case(text, [rows, 1], 64, vec![bytes(&x)], &[columns], want.collect())
}

fn total(n: usize) -> Case {
    let x = numbers(n, 8);
    let (blocks, want) = (n.div_ceil(128), vec![x.iter().sum()]);
    let plain = case(include_str!("kernels/total.ptx"), [blocks, 1], 128, vec![bytes(&x)], &[n], want);
    Case { zeros: vec![4 * blocks, 4], tolerance: 1e-4, ..plain }
}

fn cases() -> Vec<Case> {
    vec![
        vector_add(1),
        vector_add(1000),
        sgemm(16, 16, 16),
        sgemm(33, 17, 50),
        hgemm(32, 32, 16),
        hgemm(32, 64, 64),
        hgemm(45, 70, 72),
        hgemm(3, 2, 8),
        softmax(3, 200),
        softmax(2, 5),
        total(1000),
        total(64),
    ]
}

#[test]
fn kernels_compute_what_the_host_computes() {
    for case in cases() {
        for seed in 0..3 {
            for delivery in [Delivery::Deferred, Delivery::Eager] {
                let (outcome, _, why) = case.run(case.text, Options { seed, delivery, ..Options::default() });
                assert_eq!(outcome, Outcome::Right, "{why}");
            }
        }
    }
}

#[test]
fn a_seed_gives_one_run() {
    let case = hgemm(64, 64, 32);
    let run = |seed| case.run(case.text, Options { seed, ..Options::default() }).1;
    assert_eq!(run(1), run(1));
    let mutant = case.text.replace("bar.sync 0;", "");
    let fault = |seed| case.run(&mutant, Options { seed, ..Options::default() }).2;
    assert_eq!(fault(5), fault(5));
}

#[test]
fn traffic_is_counted() {
    let case = hgemm(32, 32, 32);
    let stats = case.run(case.text, Options::default()).1.expect("it runs");
    // Two warps, two slices, four products each.
    assert_eq!((stats.blocks, stats.mma), (1, 16));
    // The swizzle is free of bank conflicts; without it, two of each eight rows share banks.
    assert_eq!(stats.passes, stats.ideal_passes);
    let plain = case.text.replace("and.b32 %x, %x, 1;", "mov.u32 %x, 0;");
    let (outcome, stats, _) = case.run(&plain, Options::default());
    let stats = stats.expect("it runs");
    assert_eq!((outcome, stats.passes), (Outcome::Right, 2 * stats.ideal_passes));
    let coalesced = vector_add(1024);
    let stats = coalesced.run(coalesced.text, Options::default()).1.expect("it runs");
    assert_eq!((stats.sectors, stats.ideal_sectors), (384, 384));
}

/// A kernel, what is replaced in its text by what, and how that must be found out.
struct Mutant {
    name: &'static str,
    case: fn() -> Case,
    from: &'static str,
    to: &'static str,
    want: Outcome,
}

const fn fault(
    name: &'static str,
    case: fn() -> Case,
    from: &'static str,
    to: &'static str,
    kind: FaultKind,
) -> Mutant {
    Mutant { name, case, from, to, want: Outcome::Fault(kind) }
}

const fn wrong(name: &'static str, case: fn() -> Case, from: &'static str, to: &'static str) -> Mutant {
    Mutant { name, case, from, to, want: Outcome::Wrong }
}

const ADD: fn() -> Case = || vector_add(1000);
const SGEMM: fn() -> Case = || sgemm(33, 17, 50);
const HGEMM: fn() -> Case = || hgemm(45, 94, 72);
const SOFTMAX: fn() -> Case = || softmax(3, 200);
const TOTAL: fn() -> Case = || total(1000);

const MUTANTS: &[Mutant] = &[
    fault("bound off by one", ADD, "setp.ge.u32 %outside", "setp.gt.u32 %outside", FaultKind::OutOfBounds),
    fault("no bound", ADD, "@%outside bra DONE;", "", FaultKind::OutOfBounds),
    fault(
        "odd address",
        ADD,
        "add.u64 %b, %b, %offset;",
        "add.u64 %b, %b, %offset; add.u64 %b, %b, 2;",
        FaultKind::Misaligned,
    ),
    fault(
        "vector load of a scalar's alignment",
        ADD,
        "ld.global.nc.f32 %x, [%a];",
        ".reg .f32 %w; ld.global.nc.v2.f32 {%x, %w}, [%a];",
        FaultKind::Misaligned,
    ),
    fault(
        "blocks overlap",
        ADD,
        "%i, %block, %size, %thread;\n    ld",
        "%i, %block, 64, %thread;\n    ld",
        FaultKind::GlobalRace,
    ),
    fault(
        "constant that is written",
        ADD,
        "st.global.f32 [%c], %z;",
        "st.global.f32 [%c], %z; ld.global.nc.f32 %z, [%c];",
        FaultKind::GlobalRace,
    ),
    fault("same element", ADD, "add.u64 %c, %c, %offset;", "", FaultKind::WriteConflict),
    Mutant {
        name: "wrong sense",
        case: || vector_add(128),
        from: "@%outside bra DONE;",
        to: "@!%outside bra DONE;",
        want: Outcome::Unwritten,
    },
    fault("no barrier before reading", SGEMM, "bar.sync 0; // filled", "", FaultKind::SharedRace),
    fault("no barrier before filling", SGEMM, "bar.sync 0; // read", "", FaultKind::SharedRace),
    fault("accumulator not set", SGEMM, "mov.f32 %acc, 0f00000000;", "", FaultKind::Uninitialised),
    fault("element not set outside", SGEMM, "mov.f32 %x, 0f00000000;", "", FaultKind::Uninitialised),
    fault("bound of rows", SGEMM, "%index, %k, %row_ok;", "%index, %k, %col_ok;", FaultKind::OutOfBounds),
    fault("tile too small", SGEMM, "tile_b[1024]", "tile_b[960]", FaultKind::OutOfBounds),
    fault("some threads miss the barrier", SGEMM, "bar.sync 0; // read", "@%ok bar.sync 0;", FaultKind::Divergence),
    wrong("wrong stride", SGEMM, "ld.shared.f32 %y, [%sb+960];", "ld.shared.f32 %y, [%sb+896];"),
    fault(
        "waits for one group too few",
        HGEMM,
        "cp.async.wait_group 1;",
        "cp.async.wait_group 2;",
        FaultKind::AsyncPending,
    ),
    fault("group not committed", HGEMM, "cp.async.commit_group; // of the loop", "", FaultKind::AsyncPending),
    fault("no barrier between slices", HGEMM, "bar.sync 0;", "", FaultKind::SharedRace),
    fault("no zeros outside", HGEMM, "selp.u32 %size, 16, 0, %ok;", "mov.u32 %size, 16;", FaultKind::OutOfBounds),
    fault("stage does not wrap", HGEMM, "selp.u32 %put, %x, %put, %wrap;", "", FaultKind::OutOfBounds),
    fault(
        "stage wraps too early",
        HGEMM,
        "add.u32 %end, %put, 6144;",
        "add.u32 %end, %put, 4096;",
        FaultKind::OutOfBounds,
    ),
    wrong("wrong swizzle", HGEMM, "shr.u32 %x, %row, 2; // swizzle of a", "shr.u32 %x, %row, 3;"),
    wrong("wrong lane", HGEMM, "shr.u32 %chunk, %lane, 3;", "shr.u32 %chunk, %lane, 4;"),
    wrong("fragments exchanged", HGEMM, "{%b0, %b1}, {%acc0", "{%b1, %b0}, {%acc0"),
    fault(
        "part of the warp multiplies",
        HGEMM,
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32\n        {%acc4",
        "@%a_ok mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32\n        {%acc4",
        FaultKind::Divergence,
    ),
    fault("no barrier in the reduction", SOFTMAX, "bar.sync 0; // sums", "", FaultKind::Uninitialised),
    fault("both warps use one slot", SOFTMAX, "mad.lo.u32 %slot, %warp, 4, %slot;", "", FaultKind::SharedRace),
    fault(
        "one warp does not write",
        SOFTMAX,
        "setp.eq.u32 %leader, %lane, 0;",
        "setp.eq.u32 %leader, %tid, 0;",
        FaultKind::Uninitialised,
    ),
    fault(
        "half a mask",
        SOFTMAX,
        "%bits, 8, 31, 0xffffffff; mov.b32 %o, %other; max",
        "%bits, 8, 31, 0xffff; mov.b32 %o, %other; max",
        FaultKind::Divergence,
    ),
    wrong(
        "a lane left out",
        SOFTMAX,
        "%bits, 16, 31, 0xffffffff; mov.b32 %o, %other; add",
        "%bits, 8, 31, 0xffffffff; mov.b32 %o, %other; add",
    ),
    fault(
        "blocks share a row",
        SOFTMAX,
        "mov.u32 %row, %ctaid.x;",
        "mov.u32 %row, %ctaid.x; shr.u32 %row, %row, 1;",
        FaultKind::GlobalRace,
    ),
    fault("sum not zeroed", TOTAL, "@%first st.shared.f32 [sum], %value;", "", FaultKind::Uninitialised),
    fault("no barrier after zeroing", TOTAL, "bar.sync 0; // zeroed", "", FaultKind::Uninitialised),
    fault(
        "not atomic in the block",
        TOTAL,
        "red.shared.add.f32 [sum], %value;",
        ".reg .f32 %s; ld.shared.f32 %s, [sum]; add.f32 %s, %s, %value; st.shared.f32 [sum], %s;",
        FaultKind::SharedRace,
    ),
    fault(
        "not atomic between blocks",
        TOTAL,
        "atom.global.add.u32 %ticket, [%counter], 1;",
        ".reg .b32 %t; ld.global.u32 %ticket, [%counter]; add.u32 %t, %ticket, 1; st.global.u32 [%counter], %t;",
        FaultKind::GlobalRace,
    ),
    fault("no release", TOTAL, "membar.gl; // release", "", FaultKind::GlobalRace),
    fault("no acquire", TOTAL, "membar.gl; // acquire", "", FaultKind::GlobalRace),
    fault(
        "a warp leaves before the others' barrier",
        TOTAL,
        "@!%first bra WAIT;",
        "@!%first bra DONE;",
        FaultKind::Divergence,
    ),
    fault("never ends", TOTAL, "add.u32 %i, %i, 1;\n    setp.lt.u32 %more", "setp.lt.u32 %more", FaultKind::Budget),
];

#[test]
fn every_mutant_is_caught() {
    let mut missed = vec![];
    for m in MUTANTS {
        let case = (m.case)();
        assert!(case.text.contains(m.from), "{}: the text has no {:?}", m.name, m.from);
        let text = case.text.replace(m.from, m.to);
        let (outcome, why) = case.mutated(&text);
        if outcome != m.want {
            missed.push(format!("{}: {outcome:?} for {:?} {why}", m.name, m.want));
        }
    }
    assert!(missed.is_empty(), "{} of {}:\n{}", missed.len(), MUTANTS.len(), missed.join("\n"));
}

/// Lines without which a kernel still computes the same in these cases: nothing reads the last stages, and columns that end
/// in the last quarter of a tile leave two predicates as they were.
const SPARE: &[&str] = &["cp.async.wait_all;", "setp.lt.u32 %col_ok, %x, %n;", "setp.lt.u32 %col_ok, %x, %n;"];

#[test]
fn hardly_a_line_is_spare() {
    let mut spare = vec![];
    for case in [ADD(), SGEMM(), HGEMM(), SOFTMAX(), TOTAL()] {
        for (i, line) in case.text.lines().enumerate() {
            let code = line.trim();
            if !code.contains(';') || code.starts_with(['.', '/']) || code == "ret;" {
                continue;
            }
            let rest = case.text.lines().enumerate().filter(|(j, _)| *j != i).map(|(_, l)| l);
            let text = rest.collect::<Vec<_>>().join("\n");
            if Module::parse(&text).is_err() {
                continue;
            }
            if case.mutated(&text).0 == Outcome::Right {
                spare.push(code);
            }
        }
    }
    assert_eq!(spare, SPARE);
}

#[test]
fn broken_text_is_an_error_and_nothing_worse() {
    let text = include_str!("kernels/hgemm.ptx");
    let mut refused = 0;
    for at in (0..text.len()).step_by(3).filter(|i| text.is_char_boundary(*i)) {
        let cut = format!("{}{}", &text[..at], text.get(at + 1..).unwrap_or_default());
        refused += usize::from(Module::parse(&cut).is_err());
        assert!(at + 2 > text.len() || Module::parse(&text[..at]).is_err() || at < 600, "{at}");
    }
    assert!(refused > text.len() / 9, "{refused}");
}

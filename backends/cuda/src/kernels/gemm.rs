//! `Gemm`: which kernel computes a product, and what happens to its sums.
//!
//! Vectors times matrices have kernels of their own ([`super::gemm_vector`]); 16-bit products whose rows start at multiples
//! of 16 bytes go to tensor cores ([`super::gemm_mma`]); all others go through the tiles of [`super::gemm_tile`]. Sums are
//! f32. Where the grid would leave most of a device idle, k is split: the parts of a sum go to a temporary buffer and a second
//! launch adds them in ascending order, so that results do not depend on timing.

use super::entry::{Entry, Size, count};
use super::gemm_tile::{Matrix, Source, Sums, Tile, batched, element, multiply};
use super::index::Walk;
use super::{Generated, Request, Row, Tail, Types, gemm_mma, gemm_vector};
use crate::expr;
use crate::ptx::{Cmp, Op, Operand, Reg, Space, Special, Ty};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

/// Multiprocessors that a grid should keep busy: those of an A100. It decides about tiles and splits only.
pub(super) const MULTIPROCESSORS: u64 = 108;

/// Blocks along y and z at most, on every device.
const MAX_BLOCKS: i64 = 65_535;

/// Parts of a sum at most, so that adding them stays cheap.
const MAX_SPLITS: u64 = 32;

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    if !(2..=3).contains(&inputs.len()) || outputs.len() != 1 {
        return Err("a product takes two or three operands and gives one result".into());
    }
    only_floats(inputs, outputs)
}

/// Whether all operands and results are floats that are multiplied in f32.
///
/// # Errors
/// With the first that is not.
pub(super) fn only_floats(inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match inputs.iter().chain(outputs).flatten().find(|t| !matches!(t, DType::F32 | DType::F16 | DType::BF16)) {
        Some(t) => Err(format!("no device kernel for {t}")),
        None => Ok(()),
    }
}

/// One factor of a product.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// Position among the operands, and element type.
    pub(super) input: (usize, DType),
    /// Whether k is its contiguous axis.
    pub(super) along_k: bool,
    /// Batch extents, which broadcast to the product's.
    pub(super) batch: Vec<Dim>,
}

/// Batches of `rows x depth` times `depth x columns`, row-major results behind each other.
pub(super) struct Product<'a> {
    pub(super) rows: Dim,
    pub(super) columns: Dim,
    pub(super) depth: Dim,
    pub(super) batch: Vec<Dim>,
    pub(super) a: Factor,
    pub(super) b: Factor,
    pub(super) finish: Finish<'a>,
}

/// What becomes of the sums: `alpha sum + beta bias`, the epilogue, the store.
#[derive(Clone, Debug)]
pub(super) struct Finish<'a> {
    alpha: f32,
    bias: Option<Bias>,
    before: DType,
    result: DType,
    tail: Tail<'a>,
}

#[derive(Clone, Debug)]
struct Bias {
    input: (usize, DType),
    walk: Walk,
    factor: f32,
}

impl<'a> Finish<'a> {
    /// For the result of `request`, with operand 2 as bias, of extents `bias` as they broadcast to the result.
    pub(super) fn new(request: &Request<'a>, (alpha, beta): (f32, f32), bias: Option<&[Dim]>) -> Result<Self, String> {
        let out = request.output(0)?;
        let bias = match bias {
            Some(shape) => {
                let walk = Walk::new(&out.shape, &[shape])?;
                Some(Bias { input: (2, request.input(2)?.dtype), walk, factor: beta })
            }
            None => None,
        };
        let (before, tail) = (request.result_type()?, Tail::new(request)?);
        Ok(Finish { alpha, bias, before, result: out.dtype, tail })
    }

    /// What the epilogue takes for the sum of element `flat`.
    fn value(&self, e: &mut Entry, flat: Reg, sum: Reg) -> Result<Reg, String> {
        let mut v = if self.alpha == 1.0 { sum } else { e.b.mul(Ty::F32, sum, self.alpha) };
        if let Some(Bias { input, walk, factor }) = &self.bias {
            let offset = walk.offsets(e, flat)?.pop().unwrap_or(flat);
            let base = e.input(input.0);
            let at = element(e, base, offset, input.1);
            let bias = expr::load(&mut e.b, Space::Global, input.1, at);
            v = if *factor == 1.0 { e.b.add(Ty::F32, v, bias) } else { e.b.mad(Ty::F32, bias, *factor, v) };
        }
        Ok(expr::cast(&mut e.b, DType::F32, self.before, v))
    }

    /// Stores the elements from `flat` on: one, or several that start at a multiple of their number.
    fn store(&self, e: &mut Entry, flat: Reg, sums: &[Reg]) -> Result<(), String> {
        if let [sum] = sums {
            let v = self.value(e, flat, *sum)?;
            return self.tail.store(e, flat, v);
        }
        let mut values = vec![];
        for (i, sum) in sums.iter().enumerate() {
            let flat = if i == 0 { flat } else { e.b.add(Ty::U32, flat, i as u32) };
            let v = self.value(e, flat, *sum)?;
            values.push(self.tail.apply(e, flat, v)?);
        }
        let base = e.output(0);
        let at = element(e, base, flat, self.result);
        expr::store_vector(&mut e.b, self.result, at, &values);
        Ok(())
    }

    /// How many neighbouring sums may be stored at once, at most `n`, where rows have `columns`.
    pub(super) fn width(&self, n: u32, columns: Size) -> u32 {
        let bytes = expr::memory(self.result).bytes();
        let whole = columns.known().is_some_and(|c| c.is_multiple_of(n));
        // Vectors of bytes come in fours.
        if whole && (bytes > 1 || n == 4) { n } else { 1 }
    }
}

/// Where sums go: to the result, or to the temporary buffer as a part of it.
pub(super) enum Sink<'s, 'a> {
    /// To the result.
    Result(&'s Finish<'a>),
    /// To element `offset + flat` of the temporary buffer.
    Part {
        /// First element.
        offset: Reg,
    },
}

impl<'s, 'a> Sink<'s, 'a> {
    /// The sink of part `split` of `splits` of sums for `total` elements.
    pub(super) fn new(e: &mut Entry, finish: &'s Finish<'a>, splits: u32, split: Reg, total: Size) -> Self {
        if splits == 1 { Sink::Result(finish) } else { Sink::Part { offset: e.b.mul(Ty::U32, split, total) } }
    }

    /// Stores the elements from `flat` on.
    pub(super) fn store(&self, e: &mut Entry, flat: Reg, sums: &[Reg]) -> Result<(), String> {
        match self {
            Sink::Result(finish) => finish.store(e, flat, sums),
            Sink::Part { offset } => {
                let base = e.scratch(0);
                let flat = e.b.add(Ty::U32, *offset, flat);
                let at = element(e, base, flat, DType::F32);
                e.b.st_vector(Space::Global, Ty::F32, at, sums);
                Ok(())
            }
        }
    }
}

/// How k is split: parts, and the length of each but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Parts.
    pub(super) count: u32,
    /// Length of a part; with one part, nothing depends on it.
    pub(super) length: u32,
}

impl Split {
    const WHOLE: Split = Split { count: 1, length: 0 };

    /// For `blocks` without a split, each part to be a multiple of `unit` and `at_least` long.
    pub(super) fn of(depth: &Dim, blocks: Option<u64>, total: &Dim, unit: u32, at_least: u32) -> Split {
        let (Some(depth), Some(blocks), Some(total)) = (depth.as_usize(), blocks, total.as_usize()) else {
            return Split::WHOLE;
        };
        let depth = depth as u64;
        let wanted = (2 * MULTIPROCESSORS / blocks.max(1)).min(depth / u64::from(at_least)).min(MAX_SPLITS);
        // The parts have to be indexed in 31 bits.
        if wanted < 2 || (total as u64).saturating_mul(MAX_SPLITS) >= 1 << 31 {
            return Split::WHOLE;
        }
        let length = depth.div_ceil(wanted).next_multiple_of(u64::from(unit));
        Split { count: depth.div_ceil(length) as u32, length: length as u32 }
    }

    /// The part of a block along z: batch number, number of the part, first k, and the k behind the last.
    pub(super) fn part(self, e: &mut Entry, depth: Size, batches: &Dim) -> (Option<Reg>, Reg, Operand, Operand) {
        let z = e.b.special(Special::CtaidZ);
        let (batch, part) = e.div_rem(z, Size::Const(self.count));
        let batch = (batches.as_const() != Some(1)).then_some(batch);
        if self.count == 1 {
            return (batch, part, 0u32.into(), depth.into());
        }
        let start = e.b.mul(Ty::U32, part, self.length);
        let end = e.b.add(Ty::U32, start, self.length);
        let end = e.b.op(Op::Int2(crate::ptx::Int2::Min, Ty::U32), &[end.into(), depth.into()]);
        (batch, part, start.into(), end.into())
    }

    /// Blocks along z.
    pub(super) fn grid(self, batches: &Dim) -> Dim {
        batches.clone() * Dim::from(self.count as usize)
    }
}

/// The product with all of its launches: `main`, and the sum of parts where there are several.
pub(super) fn launches(
    split: Split,
    total: &Dim,
    finish: &Finish<'_>,
    main: (crate::ptx::Kernel, planc_plan::launch::Launch),
) -> Result<Generated, String> {
    for d in &main.1.grid[1..] {
        if d.as_const().is_some_and(|n| n > MAX_BLOCKS) {
            return Err(format!("{d} blocks along one axis are too many"));
        }
    }
    if split.count == 1 {
        return Ok(main.into());
    }
    let mut e = Entry::new("gemm_sum", [256, 1, 1]);
    let n = e.size(total)?;
    let flat = e.thread();
    let outside = e.b.setp(Cmp::Ge, Ty::U32, flat, n);
    e.b.exit_if(outside);
    let base = e.scratch(0);
    let mut sum = None;
    for i in 0..split.count {
        let at = match n {
            Size::Const(n) => e.b.add(Ty::U32, flat, i * n),
            Size::Reg(_) => e.b.mad(Ty::U32, n, i, flat),
        };
        let at = element(&mut e, base, at, DType::F32);
        let part = e.b.ld(Space::Global, Ty::F32, at);
        sum = Some(sum.map_or(part, |s: Reg| e.b.add(Ty::F32, s, part)));
    }
    if let Some(sum) = sum {
        finish.store(&mut e, flat, &[sum])?;
    }
    let scratch = vec![total.clone() * Dim::from(4 * split.count as usize)];
    Ok(Generated { scratch, launches: vec![main, e.launch_threads(total.clone())] })
}

/// Stores a tile's sums where rows and columns exist, the result's matrix starting at element `first`.
pub(super) fn store_tile(
    e: &mut Entry,
    sums: &Sums,
    (sink, width): (&Sink<'_, '_>, u32),
    (rows, columns): (Size, Size),
    place: &dyn Fn(&mut Entry, Reg, Reg) -> Result<Reg, String>,
) -> Result<(), String> {
    let per_row = sums.values.len() / sums.rows.len().max(1);
    for (row, values) in sums.rows.iter().zip(sums.values.chunks(per_row.max(1))) {
        let row_exists = e.b.setp(Cmp::Lt, Ty::U32, *row, rows);
        for (first, run) in sums.columns.iter().zip(values.chunks(per_row / sums.columns.len().max(1))) {
            for (i, some) in run.chunks(width as usize).enumerate() {
                let column = if i == 0 { *first } else { e.b.add(Ty::U32, *first, i as u32 * width) };
                let exists = e.b.setp(Cmp::Lt, Ty::U32, column, columns);
                let exists = e.b.both(row_exists, exists);
                e.when(exists, |e| {
                    let flat = place(e, *row, column)?;
                    sink.store(e, flat, some)
                })?;
            }
        }
    }
    Ok(())
}

/// `extent` over `by`, rounded up.
pub(super) fn tiles(extent: &Dim, by: u32) -> Dim {
    extent.ceil_div(&Dim::from(by as usize))
}

/// The tile for a result of these extents in `batches`.
pub(super) fn tile_for(rows: &Dim, columns: &Dim, batches: &Dim) -> (Tile, Option<u64>) {
    let blocks = |t: Tile| {
        let (rows, columns) = (tiles(rows, t.rows).as_usize()?, tiles(columns, t.columns).as_usize()?);
        (rows as u64).checked_mul(columns as u64)?.checked_mul(batches.as_usize()? as u64)
    };
    let few = |d: &Dim| d.as_usize().is_some_and(|n| n <= 32);
    let tile = if few(rows) {
        Tile::FLAT
    } else if few(columns) {
        Tile::TALL
    } else if blocks(Tile::LARGE).is_some_and(|n| n >= MULTIPROCESSORS) {
        Tile::LARGE
    } else {
        Tile::SMALL
    };
    (tile, blocks(tile))
}

/// Generates a product.
pub(super) fn product(request: &Request<'_>, p: &Product<'_>) -> Result<Generated, String> {
    let one = |d: &Dim| d.as_const() == Some(1);
    if one(&p.rows) || one(&p.columns) {
        return gemm_vector::generate(p);
    }
    if gemm_mma::fits(request, p) {
        return gemm_mma::generate(p);
    }
    let batches = count(&p.batch)?;
    let total = count(&[batches.clone(), p.rows.clone(), p.columns.clone()])?;
    let (tile, blocks) = tile_for(&p.rows, &p.columns, &batches);
    let split = Split::of(&p.depth, blocks, &total, tile.depth, 8 * tile.depth);

    let mut e = Entry::new("gemm", [tile.threads(), 1, 1]);
    let (rows, columns, depth) = (e.size(&p.rows)?, e.size(&p.columns)?, e.size(&p.depth)?);
    let (batch, part, start, end) = split.part(&mut e, depth, &batches);
    let whole = |extent: Size, of: u32| extent.known().is_some_and(|n| n.is_multiple_of(of));
    let matrix = |e: &mut Entry, f: &Factor, extent: &Dim, rows: Size, of: u32| {
        let base = batched(e, f.input, (&p.batch, &f.batch), batch, &(extent.clone() * p.depth.clone()))?;
        let stride = if f.along_k { depth } else { rows };
        Ok::<_, String>(Matrix { base, dtype: f.input.1, rows, stride, along_k: f.along_k, whole: whole(rows, of) })
    };
    let a = matrix(&mut e, &p.a, &p.rows, rows, tile.rows)?;
    let b = matrix(&mut e, &p.b, &p.columns, columns, tile.columns)?;
    let (x, y) = (e.b.special(Special::CtaidX), e.b.special(Special::CtaidY));
    let (row, column) = (e.b.mul(Ty::U32, y, tile.rows), e.b.mul(Ty::U32, x, tile.columns));
    let sources: [&dyn Source; 2] = [&a, &b];
    let sums = multiply(&mut e, tile, sources, [row, column], (start, end))?;
    let elements = e.size(&total)?;
    let sink = Sink::new(&mut e, &p.finish, split.count, part, elements);
    let width = p.finish.width(4, columns);
    let place = |e: &mut Entry, row: Reg, column: Reg| {
        let row = match batch {
            Some(batch) => e.b.mad(Ty::U32, batch, rows, row),
            None => row,
        };
        Ok(e.b.mad(Ty::U32, row, columns, column))
    };
    store_tile(&mut e, &sums, (&sink, width), (rows, columns), &place)?;
    let grid = [tiles(&p.columns, tile.columns), tiles(&p.rows, tile.rows), split.grid(&batches)];
    launches(split, &total, &p.finish, e.launch(grid, 0))
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Gemm(g) = request.kernel else { return Err("not a product".into()) };
    let (a, b, out) = (request.input(0)?, request.input(1)?, request.output(0)?);
    let ([a_batch @ .., a0, a1], [b_batch @ .., b0, b1], [batch @ .., rows, columns]) =
        (a.shape.as_slice(), b.shape.as_slice(), out.shape.as_slice())
    else {
        return Err("the operands are not matrices".into());
    };
    let (own_rows, depth) = if g.trans_a { (a1, a0) } else { (a0, a1) };
    let (b_depth, own_columns) = if g.trans_b { (b1, b0) } else { (b0, b1) };
    if (own_rows, own_columns, depth) != (rows, columns, b_depth) {
        return Err(format!("the extents of {:?} and {:?} may differ", a.shape, b.shape));
    }
    let bias = request.inputs.get(2).filter(|_| request.own_inputs() > 2).and_then(Option::as_ref);
    let finish = Finish::new(request, (g.alpha, g.beta), bias.map(|b| b.shape.as_slice()))?;
    let mut p = Product {
        rows: rows.clone(),
        columns: columns.clone(),
        depth: depth.clone(),
        batch: batch.to_vec(),
        a: Factor { input: (0, a.dtype), along_k: !g.trans_a, batch: a_batch.to_vec() },
        b: Factor { input: (1, b.dtype), along_k: g.trans_b, batch: b_batch.to_vec() },
        finish,
    };
    // One b for all: the batches of a are more rows.
    if !g.trans_a && b_batch.iter().all(|d| d.as_const() == Some(1)) {
        p.rows = count(&[&p.batch[..], &[p.rows]].concat())?;
        p.batch = vec![];
        p.a.batch = vec![];
        p.b.batch = vec![];
    }
    product(request, &p)
}

//! `Conv` and `ConvTranspose`, over one spatial axis or more.
//!
//! Windows of one element are products of matrices. Others are products too, of a matrix that is never stored
//! ([`super::conv_window`]): through the tiles of [`super::gemm_tile`] with all images' positions as columns, or, where a group
//! has so few output channels that a tile would be mostly empty (depthwise convolutions above all), one thread per element.
//! Sums are f32, over channels first and window elements last.

use super::conv_window::{Columns, TransposedWeights, Window};
use super::entry::{Entry, Size, count};
use super::gemm::{Factor, Finish, Product, Sink, Split, launches, only_floats, product, store_tile, tile_for, tiles};
use super::gemm_tile::{Matrix, Source, as_f32, element, load_or_zero, multiply};
use super::index::coordinates;
use super::{Generated, Request, Row, Types};
use crate::ptx::{Class, Cmp, Op, Reg, Special, Ty};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

/// Output channels of a group from which on tiles are used.
const TILED: u32 = 8;
/// Products of one element that are written out rather than looped over.
const UNROLLED: u32 = 32;
const THREADS: u32 = 128;

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    if !(2..=3).contains(&inputs.len()) || outputs.len() != 1 {
        return Err("a convolution takes two or three operands and gives one result".into());
    }
    only_floats(inputs, outputs)
}

/// A convolution as it is computed.
struct Shape<'a> {
    window: Window,
    batch: Dim,
    /// Channels of the image.
    channels: Dim,
    groups: u32,
    /// Output channels of a group.
    rows: u32,
    /// Input channels of a group.
    depth: u32,
    image: (usize, DType),
    weights: (usize, DType),
    finish: Finish<'a>,
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let (c, transposed) = match request.kernel {
        Kernel::Conv(c) => (c, false),
        Kernel::ConvTranspose(c) => (c, true),
        _ => return Err("not a convolution".into()),
    };
    let (x, w, out) = (request.input(0)?, request.input(1)?, request.output(0)?);
    let ([batch, channels, image @ ..], [w0, w1, kernel @ ..], [_, out_channels, positions @ ..]) =
        (x.shape.as_slice(), w.shape.as_slice(), out.shape.as_slice())
    else {
        return Err("the image has no channels".into());
    };
    let window = Window::new(c, [image, kernel, positions], transposed)?;
    let known = |d: &Dim| d.as_usize().and_then(|v| u32::try_from(v).ok()).filter(|v| *v < 1 << 24);
    let (w0, w1) = known(w0).zip(known(w1)).ok_or("the weights' extents are known only at run time")?;
    let groups = u32::try_from(c.group).ok().filter(|g| *g > 0).ok_or("the groups are out of range")?;
    let (rows, depth) = if transposed { (w1, w0 / groups) } else { (w0 / groups, w1) };
    let in_groups = |d: &Dim, n: u32| d.as_const() == Some(i64::from(n) * i64::from(groups));
    if !in_groups(out_channels, rows) || !in_groups(channels, depth) {
        return Err(format!("{channels} channels and weights of {w0} x {w1} do not make {groups} groups"));
    }
    let bias = (request.own_inputs() > 2 && request.input(2).is_ok()).then(|| {
        let ones = std::iter::repeat_n(Dim::from(1usize), positions.len());
        [out_channels.clone()].into_iter().chain(ones).collect::<Vec<_>>()
    });
    let shape = Shape {
        window,
        batch: batch.clone(),
        channels: channels.clone(),
        groups,
        rows,
        depth,
        image: (0, x.dtype),
        weights: (1, w.dtype),
        finish: Finish::new(request, (1.0, 1.0), bias.as_deref())?,
    };
    if rows < TILED && (groups > 1 || rows <= 2) {
        return direct(&shape, out_channels);
    }
    // With few positions, images share tiles.
    let positions = count(positions)?;
    let wide = positions.as_const().is_none_or(|n| n >= 64) || shape.batch.as_const() == Some(1);
    if !transposed && wide && shape.window.is_identity() {
        let size = |v: u32| Dim::from(v as usize);
        let p = Product {
            rows: size(rows),
            columns: positions,
            depth: size(depth),
            batch: vec![shape.batch, size(groups)],
            a: Factor { input: shape.weights, along_k: true, batch: vec![size(groups)] },
            b: Factor { input: shape.image, along_k: false, batch: vec![batch.clone(), size(groups)] },
            finish: shape.finish,
        };
        return product(request, &p);
    }
    tiled(&shape)
}

impl Shape<'_> {
    /// Products of one element of the result.
    fn length(&self) -> Result<u32, String> {
        let n = u64::from(self.depth) * u64::from(self.window.taps());
        u32::try_from(n).ok().filter(|n| *n < 1 << 31).ok_or_else(|| "the windows have too many elements".into())
    }

    /// The two factors for a group.
    fn factors(&self, e: &mut Entry, group: Option<Reg>) -> Result<(Box<dyn Source>, Columns<'_>), String> {
        let length = self.length()?;
        let per_group = u64::from(self.rows) * u64::from(length);
        let per_group = Dim::from(per_group as usize);
        let of_group = |e: &mut Entry, (input, t): (usize, DType), size: &Dim| {
            let base = e.input(input);
            let Some(group) = group else { return Ok(base) };
            let size = e.size(size)?;
            let offset = e.b.mul(Ty::U32, group, size);
            Ok::<_, String>(element(e, base, offset, t))
        };
        let base = of_group(e, self.weights, &per_group)?;
        let dtype = self.weights.1;
        let weights: Box<dyn Source> = if self.window.transposed {
            Box::new(TransposedWeights { base, dtype, rows: self.rows, taps: self.window.taps() })
        } else {
            let (rows, stride) = (Size::Const(self.rows), Size::Const(length));
            Box::new(Matrix { base, dtype, rows, stride, along_k: true, whole: false })
        };
        let extents = self.window.axes.iter().map(|a| a.extent.clone());
        let image: Vec<Dim> = [Dim::from(self.depth as usize)].into_iter().chain(extents).collect();
        let base = of_group(e, self.image, &count(&image)?)?;
        let columns = Columns {
            base,
            dtype: self.image.1,
            window: &self.window,
            batch: self.batch.clone(),
            channels: self.channels.clone(),
            depth: Dim::from(self.depth as usize),
        };
        Ok((weights, columns))
    }
}

/// Through tiles, a group along z.
fn tiled(s: &Shape<'_>) -> Result<Generated, String> {
    let positions = count(&s.window.out())?;
    let columns = count(&[s.batch.clone(), positions.clone()])?;
    let (rows, groups) = (Dim::from(s.rows as usize), Dim::from(s.groups as usize));
    let total = count(&[columns.clone(), groups.clone(), rows.clone()])?;
    let (tile, blocks) = tile_for(&rows, &columns, &groups);
    let length = Dim::from(s.length()? as usize);
    let split = Split::of(&length, blocks, &total, tile.depth, 8 * tile.depth);

    let mut e = Entry::new("conv", [tile.threads(), 1, 1]);
    let depth = e.size(&length)?;
    let (group, part, start, end) = split.part(&mut e, depth, &groups);
    let (weights, image) = s.factors(&mut e, group)?;
    let (x, y) = (e.b.special(Special::CtaidX), e.b.special(Special::CtaidY));
    let (row, column) = (e.b.mul(Ty::U32, y, tile.rows), e.b.mul(Ty::U32, x, tile.columns));
    let sums = multiply(&mut e, tile, [&*weights, &image], [row, column], (start, end))?;
    let elements = e.size(&total)?;
    let sink = Sink::new(&mut e, &s.finish, split.count, part, elements);
    let positions = e.size(&positions)?;
    let width = s.finish.width(4, positions);
    let first = group.map(|g| e.b.mul(Ty::U32, g, s.rows));
    let place = |e: &mut Entry, row: Reg, column: Reg| {
        let row = first.map_or(row, |f| e.b.add(Ty::U32, f, row));
        let (n, position) = image.position(e, column)?;
        let row = e.b.mad(Ty::U32, n, s.groups * s.rows, row);
        Ok(e.b.mad(Ty::U32, row, positions, position))
    };
    let extents = (Size::Const(s.rows), e.size(&columns)?);
    store_tile(&mut e, &sums, (&sink, width), extents, &place)?;
    let grid = [tiles(&columns, tile.columns), tiles(&rows, tile.rows), split.grid(&groups)];
    launches(split, &total, &s.finish, e.launch(grid, 0))
}

/// One thread per element.
fn direct(s: &Shape<'_>, out_channels: &Dim) -> Result<Generated, String> {
    let positions = count(&s.window.out())?;
    let all = [s.batch.clone(), out_channels.clone(), positions.clone()];
    let total = count(&all)?;
    let length = s.length()?;
    let mut e = Entry::new(if s.depth == 1 { "conv_depthwise" } else { "conv_direct" }, [THREADS, 1, 1]);
    let size = e.size(&total)?;
    let flat = e.thread();
    let outside = e.b.setp(Cmp::Ge, Ty::U32, flat, size);
    e.b.exit_if(outside);
    let at = coordinates(&mut e, flat, &all)?;
    let (image, channel, position) = (at[0], at[1], at[2]);
    let (group, row) = e.div_rem(channel, Size::Const(s.rows));
    let (weights, columns) = s.factors(&mut e, (s.groups > 1).then_some(group))?;
    let positions = e.size(&positions)?;
    let column = e.b.mad(Ty::U32, image, positions, position);
    let (w_line, x_line) = (weights.line(&mut e, row)?, columns.line(&mut e, column)?);
    let sum = e.b.mov(Class::F32, 0.0f32);
    let end = e.b.mov(Class::B32, length);
    // Several loads are under way before the first is used.
    let some = |e: &mut Entry, first: Reg, n: u32| -> Result<(), String> {
        let mut pairs = vec![];
        for i in 0..n {
            let k = e.b.add(Ty::U32, first, i);
            let within = e.b.setp(Cmp::Lt, Ty::U32, k, end);
            let (w_depth, x_depth) = (weights.depth(e, k)?, columns.depth(e, k)?);
            let (w_at, _) = weights.at(e, &w_line, &w_depth)?;
            let (x_at, inside) = columns.at(e, &x_line, &x_depth)?;
            let inside = inside.map_or(within, |p| e.b.both(p, within));
            let w = load_or_zero(e, s.weights.1, 1, w_at, within);
            pairs.push((w, load_or_zero(e, s.image.1, 1, x_at, inside)));
        }
        for (w, x) in pairs {
            for (w, x) in w.into_iter().zip(x) {
                let (w, x) = (as_f32(e, s.weights.1, w), as_f32(e, s.image.1, x));
                e.b.assign(sum, Op::Fma(Ty::F32), &[w.into(), x.into(), sum.into()]);
            }
        }
        Ok(())
    };
    if length <= UNROLLED {
        let first = e.b.mov(Class::B32, 0u32);
        some(&mut e, first, length)?;
    } else {
        e.steps(0u32, end, 8u32, |e, k| some(e, k, 8))?;
    }
    Sink::Result(&s.finish).store(&mut e, flat, &[sum])?;
    Ok(e.launch_threads(total).into())
}

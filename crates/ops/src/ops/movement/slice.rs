//! Slice: elements start, start + step, ... before end, per axis. Bounds count from the end where negative and are
//! clamped to the extent.

use crate::indexing::{by_axis, integers, strides};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, known, normal_axis, operand};
use planc_kir::Kernel;
use planc_tensor::Dim;

/// The row of Slice.
pub const OP: OpDef = OpDef {
    name: "Slice",
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[
        Param::req("data", "T"),
        Param::req("starts", "Tind"),
        Param::req("ends", "Tind"),
        Param::opt("axes", "Tind"),
        Param::opt("steps", "Tind"),
    ],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::required("starts", AttrKind::Ints).until(10),
        AttrDef::required("ends", AttrKind::Ints).until(10),
        AttrDef::optional("axes", AttrKind::Ints).until(10),
    ],
    upgrades: &[Upgrade {
        to: 10,
        step: |cx| {
            cx.ints_to_input("starts", 1);
            cx.ints_to_input("ends", 2);
            cx.ints_to_input("axes", 3);
            Ok(())
        },
    }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let Some(data) = cx.shape(0)? else {
            cx.set_shape(0, dtype, None);
            return Ok(());
        };
        let bounds = Bounds {
            starts: cx.known(1),
            ends: cx.known(2),
            axes: if cx.has(3) { cx.known_ints(3).map(Some) } else { Some(None) },
            steps: if cx.has(4) { cx.known_ints(4).map(Some) } else { Some(None) },
        };
        let parts = bounds.resolve(data)?;
        let count = |(i, p): (usize, &Option<Part>)| match p {
            Some(Part { start_and_count: Some((_, n)), .. }) => n.clone(),
            Some(Part { start_and_count: None, .. }) | None => cx.fresh(0, i),
        };
        let shape: Vec<Dim> = parts.iter().enumerate().map(count).collect();
        let picked = match (cx.known(0), parts.as_slice()) {
            (Some(k), [Some(Part { start_and_count: Some((start, n)), step })]) => {
                let pick = |i: i64, start: i64| {
                    let at = start.checked_add(i.checked_mul(*step)?)?;
                    k.get(usize::try_from(at).ok()?).cloned()
                };
                let bounds = start.as_const().zip(n.as_const().filter(|n| *n <= 64));
                bounds.and_then(|(start, n)| (0..n).map(|i| pick(i, start)).collect())
            }
            _ => None,
        };
        cx.set_tensor(0, dtype, shape);
        known::set_if_flat(cx, 0, picked);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let ints = |i: usize| inputs.get(i).copied().flatten().map(integers).transpose();
        let dims = |v: Option<Vec<i64>>| v.map(|v| v.into_iter().map(Dim::from).collect());
        let bounds =
            Bounds { starts: dims(ints(1)?), ends: dims(ints(2)?), axes: Some(ints(3)?), steps: Some(ints(4)?) };
        let extents: Vec<Dim> = x.shape().iter().map(|d| Dim::from(*d)).collect();
        let number = |p: &Option<Part>| {
            let p = p.as_ref()?;
            let (start, n) = p.start_and_count.as_ref()?;
            Some((start.as_const()?, n.as_usize()?, p.step))
        };
        let parts: Option<Vec<_>> = bounds.resolve(&extents)?.iter().map(number).collect();
        let parts = parts.ok_or_else(|| OpError::value("starts and ends are missing"))?;
        let strides = strides(x.shape());
        let shape = parts.iter().map(|p| p.1).collect();
        let at = |a: usize, i: usize| {
            let (start, _, step) = parts[a];
            (i128::from(start) + i as i128 * i128::from(step)) as usize * strides[a]
        };
        Ok(vec![by_axis(cx, x, shape, None, at)?])
    }),
    lower: |cx| {
        let bounds = Bounds {
            starts: cx.known(1),
            ends: cx.known(2),
            axes: if cx.has(3) { cx.known_ints(3).map(Some) } else { Some(None) },
            steps: if cx.has(4) { cx.known_ints(4).map(Some) } else { Some(None) },
        };
        let Some(Ok(parts)) = cx.shape(0).ok().flatten().map(|d| bounds.resolve(d)) else { return Lowered::Reference };
        let start = |p: &Option<Part>| p.as_ref().and_then(|p| Some((p.start_and_count.as_ref()?.0.clone(), p.step)));
        match parts.iter().map(start).collect::<Option<Vec<_>>>() {
            Some(p) => {
                let (starts, steps) = p.into_iter().unzip();
                Lowered::kernel(Kernel::Slice(planc_kir::Slice { starts, steps }), 1)
            }
            None => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};

/// The operands as far as they are known; `Some(None)`: not given.
struct Bounds {
    starts: Option<Vec<Dim>>,
    ends: Option<Vec<Dim>>,
    axes: Option<Option<Vec<i64>>>,
    steps: Option<Option<Vec<i64>>>,
}

/// What is taken of an axis.
#[derive(Clone)]
struct Part {
    start_and_count: Option<(Dim, Dim)>,
    step: i64,
}

impl Bounds {
    /// What is taken of each axis; `None` where nothing is known.
    fn resolve(&self, shape: &[Dim]) -> Result<Vec<Option<Part>>, OpError> {
        let whole = |d: &Dim| Some(Part { start_and_count: Some((Dim::from(0i64), d.clone())), step: 1 });
        let mut parts: Vec<Option<Part>> = shape.iter().map(whole).collect();
        let lengths = [self.starts.as_ref().map(Vec::len), self.ends.as_ref().map(Vec::len)];
        let axes = match (&self.axes, lengths.into_iter().flatten().next()) {
            (Some(Some(axes)), _) => axes.clone(),
            (Some(None), Some(n)) => (0..n as i64).collect(),
            _ => return Ok(vec![None; shape.len()]),
        };
        let steps = match &self.steps {
            Some(Some(steps)) => Some(steps.clone()),
            Some(None) => Some(vec![1; axes.len()]),
            None => None,
        };
        let counts = lengths.into_iter().flatten().chain(steps.as_ref().map(Vec::len));
        if counts.into_iter().any(|n| n != axes.len()) {
            return Err(OpError::shape("starts, ends, axes and steps differ in length"));
        }
        let mut seen = vec![false; shape.len()];
        for (i, axis) in axes.iter().enumerate() {
            let axis = normal_axis(*axis, shape.len())?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(OpError::value(format!("axis {axis} is there twice")));
            }
            parts[axis] = match (&self.starts, &self.ends, &steps) {
                (_, _, Some(steps)) if steps[i] == 0 => return Err(OpError::value("a step is 0")),
                (Some(starts), Some(ends), Some(steps)) => Some(Part {
                    start_and_count: known::slice_axis(&shape[axis], &starts[i], &ends[i], steps[i]),
                    step: steps[i],
                }),
                _ => None,
            };
        }
        Ok(parts)
    }
}

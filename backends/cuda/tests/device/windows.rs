//! Poolings, resamplings, gathers and running sums.

use crate::check::Check;
use crate::numbers::{Rng, random, tensor};
use planc_kir::{Coordinate, Kernel, Nearest, Pool, PoolKind, Resize, ResizeMode};
use planc_tensor::{DType, Dim};

#[test]
fn poolings() {
    type Case = (&'static [usize], &'static [usize], &'static [usize], &'static [usize], [usize; 2], &'static [usize]);
    let cases: [Case; 6] = [
        (&[2, 3, 8, 9], &[3, 3], &[2, 2], &[1, 1], [1, 1], &[2, 3, 4, 5]),
        (&[1, 2, 7], &[2], &[1], &[2], [0, 1], &[1, 2, 6]),
        (&[1, 1, 12, 12], &[5, 5], &[1, 1], &[1, 1], [2, 2], &[1, 1, 12, 12]),
        (&[1, 2, 4, 4, 4], &[2, 2, 2], &[2, 2, 2], &[1, 1, 1], [0, 0], &[1, 2, 2, 2, 2]),
        (&[1, 1, 5, 5], &[2, 2], &[2, 2], &[1, 1], [0, 0], &[1, 1, 3, 3]),
        (&[0, 1, 5, 5], &[2, 2], &[2, 2], &[1, 1], [0, 0], &[0, 1, 2, 2]),
    ];
    let kinds = [PoolKind::Max, PoolKind::Average { count_pad: true }, PoolKind::Average { count_pad: false }];
    for (shape, kernel, strides, dilations, pads, out) in cases {
        for kind in kinds {
            for (t, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3)] {
                let kernel = Kernel::Pool(Pool {
                    kind,
                    kernel: kernel.to_vec(),
                    strides: strides.to_vec(),
                    dilations: dilations.to_vec(),
                    pads: vec![pads.map(Dim::from); kernel.len()],
                });
                Check::new(&kernel, tolerance).run(&[Some(random(t, shape, 13))], (t, out));
            }
        }
    }
}

#[test]
fn resamplings() {
    let modes = [
        ResizeMode::Nearest(Nearest::Floor),
        ResizeMode::Nearest(Nearest::RoundPreferFloor),
        ResizeMode::Nearest(Nearest::RoundPreferCeil),
        ResizeMode::Nearest(Nearest::Ceil),
        ResizeMode::Linear,
    ];
    let coordinates = [
        Coordinate::HalfPixel,
        Coordinate::HalfPixelSymmetric,
        Coordinate::PytorchHalfPixel,
        Coordinate::AlignCorners,
        Coordinate::Asymmetric,
        Coordinate::TfHalfPixelForNn,
    ];
    type Case = (&'static [usize], &'static [usize], Option<&'static [f32]>);
    let cases: [Case; 5] = [
        (&[1, 2, 3, 4], &[1, 2, 6, 8], None),
        (&[1, 1, 7, 5], &[1, 1, 3, 9], None),
        (&[2, 4], &[2, 1], None),
        (&[1, 1, 1], &[1, 1, 3], None),
        (&[1, 1, 4, 6], &[1, 1, 1, 3], Some(&[0.3, 0.6])),
    ];
    for mode in modes {
        for coordinate in coordinates {
            for (shape, out, scales) in cases {
                let axes: Vec<usize> = (shape.len().min(2)..shape.len().max(3)).filter(|a| *a < shape.len()).collect();
                let axes = if axes.is_empty() { vec![1] } else { axes };
                let kernel = Kernel::Resize(Resize {
                    axes,
                    scales: scales.map(<[f32]>::to_vec),
                    mode,
                    coordinate,
                    antialias: false,
                    exclude_outside: false,
                    roi: vec![],
                    extrapolation: 0.0,
                });
                Check::new(&kernel, 1e-5).run(&[Some(random(DType::F32, shape, 14))], (DType::F32, out));
            }
        }
    }
}

#[test]
fn gathers() {
    type Case = (&'static [usize], usize, &'static [usize], &'static [usize]);
    let cases: [Case; 4] = [
        (&[5, 8], 0, &[3], &[3, 8]),
        (&[5, 8], 1, &[2, 2], &[5, 2, 2]),
        (&[4, 6, 3], 1, &[], &[4, 3]),
        (&[7], 0, &[9], &[9]),
    ];
    for t in [DType::U8, DType::F16, DType::F32, DType::I64] {
        for (shape, axis, indices, out) in cases {
            for ints in [DType::I32, DType::I64] {
                let extent = shape[axis] as f64;
                let mut rng = Rng::new(15);
                let index = move || (rng.number().abs() * 1e3 % (2.0 * extent)).floor() - extent;
                let inputs = [random(t, shape, 16), tensor(ints, indices, std::iter::repeat_with(index))].map(Some);
                let kernel = Kernel::Gather { axis };
                Check::new(&kernel, 0.0).run(&inputs, (t, out));
            }
        }
    }
}

#[test]
fn gathers_by_element_and_tuple() {
    let index = |n: usize, of: f64| (0..n).map(move |i| ((i * 7 + 3) as f64 % (2.0 * of)).floor() - of);
    for t in [DType::U8, DType::F32, DType::I64] {
        let kernel = Kernel::GatherElements { axis: 1 };
        let inputs = [random(t, &[3, 4], 17), tensor(DType::I64, &[2, 5], index(10, 4.0))].map(Some);
        Check::new(&kernel, 0.0).run(&inputs, (t, &[2, 5]));
        let kernel = Kernel::GatherNd { batch_dims: 0 };
        let inputs = [random(t, &[4, 4, 8], 18), tensor(DType::I64, &[3, 2], index(6, 4.0))].map(Some);
        let c = Check { symbolic: false, ..Check::new(&kernel, 0.0) };
        c.run(&inputs, (t, &[3, 8]));
        let kernel = Kernel::GatherNd { batch_dims: 1 };
        let inputs = [random(t, &[2, 4, 3], 19), tensor(DType::I64, &[2, 5, 1], index(10, 4.0))].map(Some);
        let c = Check { symbolic: false, ..Check::new(&kernel, 0.0) };
        c.run(&inputs, (t, &[2, 5, 3]));
    }
}

#[test]
fn running_sums() {
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        for (shape, axis) in [(&[7][..], 0), (&[2, 5, 3], 1), (&[3, 4], 1)] {
            for t in [DType::F32, DType::I32, DType::I64] {
                let kernel = Kernel::CumSum { axis, exclusive, reverse };
                Check::new(&kernel, 1e-6).run(&[Some(random(t, shape, 20))], (t, shape));
            }
        }
    }
}

//! Convolutions of awkward geometry against the interpreter of kernel IR.

use crate::check::{Case, dims};
use crate::products::epilogue;
use planc_kir::{Conv, Kernel};
use planc_tensor::{DType, Dim};

/// Geometry of one case, spatial axes first to last.
#[derive(Clone, Debug)]
pub struct Geometry {
    batch: usize,
    group: usize,
    /// Channels in and out, of a group.
    channels: [usize; 2],
    image: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<[i64; 2]>,
}

impl Geometry {
    pub fn new(batch: usize, group: usize, channels: [usize; 2], image: &[usize], kernel: &[usize]) -> Geometry {
        let rank = image.len();
        let (image, kernel) = (image.to_vec(), kernel.to_vec());
        let (strides, dilations, pads) = (vec![1; rank], vec![1; rank], vec![[0, 0]; rank]);
        Geometry { batch, group, channels, image, kernel, strides, dilations, pads }
    }

    pub fn strides(mut self, s: &[usize]) -> Geometry {
        self.strides = s.to_vec();
        self
    }

    pub fn dilations(mut self, d: &[usize]) -> Geometry {
        self.dilations = d.to_vec();
        self
    }

    pub fn pads(mut self, p: &[[i64; 2]]) -> Geometry {
        self.pads = p.to_vec();
        self
    }

    pub fn case(&self, t: DType, transposed: bool, bias: bool) -> Case {
        let pads = self.pads.iter().map(|p| p.map(Dim::from)).collect();
        let conv = Conv { group: self.group, strides: self.strides.clone(), dilations: self.dilations.clone(), pads };
        let [per_in, per_out] = self.channels;
        let extents = (0..self.image.len()).map(|a| {
            let (x, reach) = (self.image[a] as i64, (self.kernel[a] as i64 - 1) * self.dilations[a] as i64 + 1);
            let (s, pads) = (self.strides[a] as i64, self.pads[a][0] + self.pads[a][1]);
            let out = if transposed { (x - 1) * s + reach - pads } else { (x + pads - reach).div_euclid(s) + 1 };
            out.max(0) as usize
        });
        let out: Vec<usize> = [self.batch, per_out * self.group].into_iter().chain(extents).collect();
        let x = [&[self.batch, per_in * self.group], &self.image[..]].concat();
        let lead = if transposed { [per_in * self.group, per_out] } else { [per_out * self.group, per_in] };
        let w = [&lead, &self.kernel[..]].concat();
        let b = [per_out * self.group];
        let inputs: &[&[usize]] = if bias { &[&x, &w, &b] } else { &[&x, &w] };
        let kernel = if transposed { Kernel::ConvTranspose(conv) } else { Kernel::Conv(conv) };
        Case::new(kernel, t, inputs, &out)
    }
}

fn geometries() -> Vec<Geometry> {
    let g = Geometry::new;
    vec![
        g(1, 1, [3, 16], &[9, 11], &[3, 3]).pads(&[[1, 1], [1, 1]]),
        g(2, 1, [5, 9], &[7, 7], &[3, 2]).strides(&[2, 1]).pads(&[[0, 1], [1, 0]]),
        g(1, 2, [3, 13], &[8, 5], &[2, 3]).dilations(&[2, 1]).pads(&[[2, 2], [1, 1]]),
        g(3, 1, [4, 33], &[5, 6], &[1, 1]),
        g(1, 1, [17, 40], &[8, 9], &[1, 1]),
        g(2, 3, [4, 10], &[9, 8], &[1, 1]),
        g(1, 1, [6, 10], &[9, 9], &[1, 1]).strides(&[2, 2]),
        g(1, 1, [5, 12], &[1, 1], &[1, 1]),
        g(2, 7, [1, 1], &[6, 5], &[3, 3]).pads(&[[1, 1], [1, 1]]),
        g(1, 4, [1, 2], &[9, 9], &[5, 5]).strides(&[2, 2]).pads(&[[2, 2], [2, 2]]),
        g(1, 3, [1, 1], &[13, 13], &[7, 7]).dilations(&[2, 1]).pads(&[[6, 6], [3, 3]]),
        g(2, 2, [5, 3], &[6, 6], &[3, 3]),
        g(1, 1, [9, 1], &[6, 7], &[3, 3]),
        g(2, 1, [3, 12], &[23], &[5]).strides(&[3]).pads(&[[2, 4]]),
        g(1, 5, [1, 1], &[31], &[4]).pads(&[[3, 0]]),
        g(1, 1, [2, 11], &[4, 5, 6], &[2, 3, 2]).pads(&[[1, 0], [1, 1], [0, 1]]),
        g(1, 1, [3, 8], &[7, 7], &[3, 3]).pads(&[[-1, -2], [0, 1]]),
        g(1, 1, [2, 8], &[2, 2], &[3, 3]),
        g(0, 1, [2, 8], &[4, 4], &[3, 3]),
        g(1, 1, [80, 12], &[6, 6], &[3, 3]).pads(&[[1, 1], [1, 1]]),
    ]
}

#[test]
fn every_geometry() {
    for g in geometries() {
        g.case(DType::F32, false, true).check();
        g.case(DType::F32, false, false).check();
    }
}

#[test]
fn every_geometry_transposed() {
    for g in geometries() {
        let mut g = g;
        // A gradient's padding is cut: not more than there is.
        g.pads.iter_mut().zip(&g.kernel).for_each(|(p, k)| *p = p.map(|v| v.min(*k as i64 - 1)));
        g.case(DType::F32, true, true).check();
    }
    Geometry::new(1, 1, [4, 9], &[5, 4], &[4, 4])
        .strides(&[2, 3])
        .pads(&[[1, 1], [1, 0]])
        .case(DType::F32, true, true)
        .check();
    Geometry::new(2, 2, [3, 1], &[5, 4], &[3, 3])
        .strides(&[3, 2])
        .dilations(&[2, 1])
        .case(DType::F32, true, false)
        .check();
}

#[test]
fn sixteen_bit_floats() {
    for t in [DType::F16, DType::BF16] {
        for g in geometries().into_iter().step_by(3) {
            g.case(t, false, true).check();
        }
        // One whose product is for tensor cores.
        let g = Geometry::new(1, 1, [24, 20], &[8, 9], &[1, 1]);
        let case = g.case(t, false, true);
        assert_eq!(case.generate().unwrap().launches[0].0.name, "gemm_mma");
        case.check();
    }
}

#[test]
fn epilogues() {
    for g in geometries().into_iter().step_by(2) {
        let mut case = g.case(DType::F32, false, true);
        case.epilogue = Some(epilogue(DType::F32));
        let out = case.output.1.clone();
        let ones = std::iter::repeat_n(Dim::from(1usize), out.len() - 2);
        case.inputs.push((DType::F32, [out[1].clone()].into_iter().chain(ones).collect()));
        case.inputs.push((DType::F32, out));
        case.check();
    }
}

#[test]
fn extents_known_at_run_time() {
    let d = |s: &str| Dim::sym(s);
    for g in [
        Geometry::new(2, 1, [3, 9], &[7, 6], &[3, 3]).pads(&[[1, 1], [1, 1]]),
        Geometry::new(2, 4, [1, 1], &[7, 6], &[3, 3]).pads(&[[1, 1], [1, 1]]),
        Geometry::new(2, 1, [5, 9], &[7, 6], &[1, 1]),
    ] {
        let mut case = g.case(DType::F32, false, true);
        let channels = case.inputs[0].1[1].clone();
        let out = case.output.1[1].clone();
        case.inputs[0].1 = vec![d("N"), channels, d("H"), d("W")];
        case.output.1 = vec![d("N"), out, d("H"), d("W")];
        case.symbols = vec![("N", 2), ("H", 7), ("W", 6)];
        case.check();
    }
}

#[test]
fn what_does_not_fit_is_declined() {
    let g = Geometry::new(1, 1, [3, 9], &[7, 6], &[3, 3]);
    let mut case = g.case(DType::F32, false, false);
    case.inputs[1].1 = dims(&[9, 4, 3, 3]);
    assert!(case.generate().unwrap_err().contains("do not make"));
    let mut case = g.case(DType::F32, false, false);
    case.inputs[1].1[2] = Dim::sym("K");
    assert!(case.generate().unwrap_err().contains("run time"));
}

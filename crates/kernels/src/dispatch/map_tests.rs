//! Maps between bytes, integers and f32, which blocks compute whether or not they are in channel blocks.

use super::super::check::{agrees, floats, random};
use super::TABLE_FROM;
use crate::check::Rng;
use planc_kir::{Kernel, parse_expr};
use planc_tensor::{DType, Tensor};

fn map(text: &str) -> Kernel {
    Kernel::Map(parse_expr(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).0)
}

const QUANTISE: &str = "(f32) u8(min(max(add(round(div(a0, 0.011:f32)), 126.0:f32), 0.0:f32), 255.0:f32))";

#[test]
fn mixed_programs() {
    let mut rng = Rng::new(91);
    for shape in [vec![1], vec![3, 5], vec![2, 3, 341], vec![512], vec![7, 1030]] {
        let (x, y) = (floats(&mut rng, &shape), random(&mut rng, DType::U8, &shape));
        agrees(&map(QUANTISE), &[Some(x.clone())], &[(DType::U8, shape.clone())], 0.0);
        let add = "(f32, u8) i8(round(mul(add(a0, mul(f32(sub(i32(a1), 7i32)), 0.01:f32)), 30.0:f32)))";
        agrees(&map(add), &[Some(x.clone()), Some(y.clone())], &[(DType::I8, shape.clone())], 0.0);
        // A scale per row, broadcast.
        let rows: Vec<usize> =
            shape.iter().enumerate().map(|(i, d)| if i + 1 < shape.len() { *d } else { 1 }).collect();
        let scale = floats(&mut rng, &rows);
        let real = "(u8, f32) mul(f32(sub(i32(a0), 131i32)), a1)";
        agrees(&map(real), &[Some(y), Some(scale)], &[(DType::F32, shape.clone())], 0.0);
    }
}

/// NaN and what no byte holds.
#[test]
fn unusual_numbers() {
    let numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0055, -0.0, 1.4029, 1.4, -1.386, 3e-41];
    let x = Tensor::new([numbers.len()], numbers.to_vec()).unwrap();
    for text in [QUANTISE, "(f32) i8(round(mul(a0, 100.0:f32)))", "(f32) u8(mul(a0, 77.7:f32))"] {
        let k = map(text);
        let Kernel::Map(e) = &k else { unreachable!("a map") };
        agrees(&k, &[Some(x.clone())], &[(e.result_type(), vec![numbers.len()])], 0.0);
    }
}

/// Of bytes to bytes: below, at and above the length from which on a table is used, and where rows repeat.
#[test]
fn tables() {
    let mut rng = Rng::new(92);
    let programs = [
        "(u8) u8(round(mul(sqrt(f32(a0)), 15.9:f32)))",
        "(i8) u8(add(round(div(max(mul(f32(sub(i32(a0), -3i32)), 0.3:f32), -4.0:f32), 0.2:f32)), 20.0:f32))",
        "(u8) i8(mul(f32(a0), -0.5:f32))",
        "(i8) i8(neg(round(mul(f32(a0), 0.7:f32))))",
    ];
    for text in programs {
        let k = map(text);
        let Kernel::Map(e) = &k else { unreachable!("a map") };
        for len in [TABLE_FROM - 1, TABLE_FROM, 3 * TABLE_FROM + 5] {
            let x = random(&mut rng, e.args()[0], &[len]);
            agrees(&k, &[Some(x)], &[(e.result_type(), vec![len])], 0.0);
        }
        let x = random(&mut rng, e.args()[0], &[1, TABLE_FROM]);
        agrees(&k, &[Some(x)], &[(e.result_type(), vec![2, TABLE_FROM])], 0.0);
    }
}
